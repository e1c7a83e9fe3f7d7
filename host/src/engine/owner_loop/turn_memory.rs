//! Takes the memory of turns from the budget of the host, from before they run until they are written.
//!
//! How much a turn decides is unknown before it runs. So it takes as much in advance as the last turn of its instance
//! took, and its true size afterwards. A turn that is about to decide much more than it has taken is dropped, and takes
//! more before it runs again.

use super::{GuestOwner, Session};
use crate::engine::flight_recorder::Flight;
use crate::engine::mailbox::Mailbox;
use crate::engine::shares::TurnPermit;
use crate::memory::{Held, Part};
use crate::replay::TurnSize;
use crate::store::TurnCommit;

/// What a turn takes before it runs at least, in bytes.
const IN_ADVANCE: u64 = 16 << 10;

/// Decisions of this size need no memory in advance, in bytes: as many turns as there are guest threads exceed the limit
/// by a few times as much.
const SMALL: usize = 512 << 10;

/// The memory that decisions take until they are written, relative to their size: they are sent in messages or stored
/// as calls as well, and encoded.
const COPIES: u64 = 4;

impl Session<'_> {
    /// Waits before a turn, until no quiet period prevents it, the tenant's turns on their way to the writer leave room
    /// for another one and it is the tenant's turn at the gate. The turn includes what arrives during the wait. Returns
    /// `None` if a message arrived while the turn could not run or the host shuts down; then the owner decides again what to do.
    pub(super) async fn permit(&mut self, owner: &mut GuestOwner, mailbox: &mut Mailbox) -> Option<TurnPermit> {
        let (tenant, pool) = (owner.tenant(), self.shared.memory.part(Part::Turns));
        let in_advance = pool.at_most(self.last_turn_bytes).max(IN_ADVANCE);
        let turn = Flight::turn(self.instance, owner.position().0);
        loop {
            let room = async {
                self.shared.quiet_periods.until_admitted(turn).await;
                pool.take(tenant, in_advance).await
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
            let permit = self.shared.long_turns.enter(tenant).await;
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

    /// How large a turn there is memory for. A step without a permit runs no turn.
    pub(super) fn turn_room(&self) -> TurnSize {
        let held = self.turn.as_ref().map_or(u64::MAX, Held::bytes);
        let decisions = if held < self.last_turn_bytes {
            // It has most of the part for itself, and takes the rest beyond the limit.
            usize::MAX
        } else {
            usize::try_from(held / COPIES).unwrap_or(usize::MAX).max(SMALL)
        };
        TurnSize {
            decisions,
            tasks: self.growth.room(),
        }
    }

    /// Notes that a turn was dropped because it would have had this size.
    pub(super) fn turn_needs(&mut self, size: TurnSize) {
        let most = self.shared.options.turn_limits.largest_turn();
        let next = size.decisions.saturating_mul(4).min(most.decisions).max(size.decisions);
        self.last_turn_bytes = next as u64 * COPIES;
        self.growth.needs(size.tasks, most.tasks);
    }

    /// Counts a turn that waits for the writer.
    pub(super) fn count_turn(&mut self, commit: &TurnCommit) {
        let bytes = commit.bytes().max(IN_ADVANCE);
        self.last_turn_bytes = bytes;
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
