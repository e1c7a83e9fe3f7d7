//! Takes the memory of turns from the budget of the host, from before they run until they are written.
//!
//! How much a turn decides is unknown before it runs. So a turn takes a little in advance, and its true size afterwards,
//! beyond the tenant's share if it must be. No turn of the tenant runs until its turns on their way to the writer are
//! within its share again. At most as many turns as there are guest threads exceed it at once.

use super::{GuestOwner, Session};
use crate::engine::flight_recorder::Flight;
use crate::engine::mailbox::Mailbox;
use crate::engine::shares::TurnPermit;
use crate::memory::Part;
use crate::store::TurnCommit;

/// What a turn takes before it runs, in bytes.
const IN_ADVANCE: u64 = 16 << 10;

impl Session<'_> {
    /// Waits before a turn, until no quiet period prevents it, the tenant's turns on their way to the writer leave room for another one and it is the
    /// tenant's turn at the gate. The turn includes what arrives during the wait. Returns `None` if a message arrived
    /// while the turn could not run or the host shuts down; then the owner decides again what to do.
    pub(super) async fn permit(&mut self, owner: &mut GuestOwner, mailbox: &mut Mailbox) -> Option<TurnPermit> {
        let (tenant, pool) = (owner.tenant(), self.shared.memory.part(Part::Turns));
        let turn = Flight::turn(self.instance, owner.position().0);
        loop {
            let room = async {
                self.shared.quiet_periods.until_admitted(turn).await;
                pool.take(tenant, IN_ADVANCE).await
            };
            let held = tokio::select! {
                biased;
                held = room => held,
                mail = mailbox.recv() => {
                    if let Some(mail) = mail {
                        self.receive(owner, mail);
                    }
                    return None;
                }
                () = self.shared.shutdown.cancelled() => return None,
            };
            let permit = self.shared.gate.enter(tenant).await;
            // Turns that ran during the wait may have been large.
            if pool.would_grant_again(&held) {
                self.turn = Some(held);
                while let Some(mail) = mailbox.try_recv() {
                    self.receive(owner, mail);
                }
                return Some(permit);
            }
        }
    }

    /// Counts a turn that waits for the writer.
    pub(super) fn count_turn(&mut self, commit: &TurnCommit) {
        let bytes = commit.bytes().max(IN_ADVANCE);
        match &mut self.turn {
            Some(held) => held.resize(bytes),
            None => {
                self.turn = Some(
                    self.shared
                        .memory
                        .part(Part::Turns)
                        .take_beyond_limit(commit.tenant, bytes),
                )
            }
        }
    }
}
