//! Creates guests for an owner, and reacts if the host cannot.

use std::sync::Arc;
use std::time::Duration;

use super::{GuestOwner, Session, pause};
use crate::engine::flight_recorder::Flight;
use crate::engine::mailbox::Mailbox;
use crate::engine::recorded_guest::{RecordedEntity, RecordedGuest};
use crate::entity::EntityGuest as _;
use crate::model::{ModuleNumber, Started};
use crate::replay::{Directory, Execution, HostUnavailable, Player};

/// How often loading a module is tried before the instance becomes stuck.
const MODULE_TRIES: u32 = 3;

impl Session<'_> {
    /// Creates a guest that has not run a turn.
    pub(super) async fn install(
        &mut self,
        owner: &mut GuestOwner,
        mailbox: &mut Mailbox,
        module: ModuleNumber,
        started: Arc<Started>,
        directory: &Arc<dyn Directory>,
    ) {
        let Some(memory) = self.guest_memory(owner, mailbox).await else {
            return;
        };
        let guest = self.shared.guests.orchestrator(module, &started, memory);
        // Creating a guest uses no fuel.
        match self.shared.gate.run(owner.tenant(), || 0, guest).await {
            Ok(mut guest) => {
                self.module_tries = 0;
                guest.pause_with(self.shared.long_turns.pause(owner.tenant(), self.permit.clone()));
                let flight = Flight::turn(self.instance, started.execution);
                let guest = RecordedGuest {
                    guest,
                    recorder: self.shared.recorder.clone(),
                    flight,
                    _counted: self.shared.stats.count_guest(owner.position().1),
                };
                let execution = Execution::new(
                    owner.id().clone(),
                    started,
                    directory.clone(),
                    self.shared.options.turn_limits,
                );
                owner.install(Player::new(guest, execution));
            }
            Err(HostUnavailable::Module(message)) => {
                self.module_tries += 1;
                owner.turn_later();
                if self.module_tries >= MODULE_TRIES {
                    owner.break_down("module-unavailable", message);
                } else {
                    pause(self.shared).await;
                }
            }
            Err(trouble) => self.trouble(owner, &trouble).await,
        }
    }

    /// Creates the guest of an entity for its next step.
    pub(super) async fn install_entity(&mut self, owner: &mut GuestOwner, mailbox: &mut Mailbox, module: ModuleNumber) {
        let Some(memory) = self.guest_memory(owner, mailbox).await else {
            return;
        };
        match self.shared.guests.entity(module, memory).await {
            Ok(mut guest) => {
                self.module_tries = 0;
                guest.pause_with(self.shared.long_turns.pause(owner.tenant(), self.permit.clone()));
                owner.install_entity(RecordedEntity {
                    guest,
                    recorder: self.shared.recorder.clone(),
                    flight: Flight::turn(self.instance, owner.position().0),
                });
            }
            Err(HostUnavailable::Module(message)) => {
                self.module_tries += 1;
                if self.module_tries >= MODULE_TRIES {
                    owner.break_down("module-unavailable", message);
                } else {
                    pause(self.shared).await;
                }
            }
            Err(trouble) => self.trouble(owner, &trouble).await,
        }
    }

    /// Handles a failure of the host to run the guest. An instance that is not stored yet does not wait: it is stored,
    /// and its first turn runs later.
    pub(super) async fn trouble(&mut self, owner: &mut GuestOwner, trouble: &HostUnavailable) {
        if let HostUnavailable::NoMemory { needed } = trouble {
            // The next guest waits until it can take that much.
            self.memory.needs(*needed, self.shared.options.observable.memory_bytes);
        }
        if let HostUnavailable::NoTurnMemory { needed } = trouble {
            self.turn_needs(*needed);
        }
        if owner.is_not_stored() {
            owner.turn_later();
        } else if matches!(
            trouble,
            HostUnavailable::NoMemory { .. } | HostUnavailable::NoTurnMemory { .. }
        ) {
            // It waits for memory before the next guest is created, or before its turn.
        } else {
            self.make_room(trouble).await;
        }
    }

    /// Evicts the guest of the instance that has been idle longest, and waits a moment.
    async fn make_room(&self, trouble: &HostUnavailable) {
        match self.shared.hot_instances.oldest() {
            Some(oldest) => self.owners.cool(oldest),
            // Not a warning: thousands of instances may try again every few milliseconds.
            None => tracing::debug!(instance = self.instance.0, %trouble, "an instance cannot run now; trying again"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
