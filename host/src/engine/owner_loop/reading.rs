//! Reads what a session needs of its instance: the record, its history, attempts and events.
//!
//! A history is read in pages; the next page is read while the last one is replayed.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

use tokio_util::task::AbortOnDropHandle;

use super::{GuestOwner, Session, pause};
use crate::engine::flight_recorder::Flight;
use crate::engine::mailbox::Mailbox;
use crate::engine::owner::{ActivityResult, Owner, UNREADABLE};
use crate::engine::shared::Shared;
use crate::model::{ExecutionNumber, InstanceNumber, StuckReason, TaskId, Turn, TurnNumber};
use crate::replay::HostUnavailable;
use crate::store;

/// Rows of history to read at once. Bounds the memory of a cold start.
const HISTORY_PAGE: u32 = 1_000;

/// First turns of at most this size are kept in memory until they are replayed, in bytes as stored; others are read
/// again.
const KEPT_BYTES: u64 = 256 << 10;

/// Maximum number of turns to replay before other tenants get a chance to run.
const PIECE_TURNS: usize = 100;

/// Maximum recorded fuel of these turns, without the last one: about five milliseconds.
const PIECE_FUEL: u64 = 5_000_000;

/// Maximum time of a piece, without its last turn. The recorded fuel of turns of older hosts does not include the work of
/// the host.
const PIECE_TIME: Duration = Duration::from_millis(10);

/// The turns of an execution that were read in advance.
#[derive(Default)]
pub(super) struct HistoryReader {
    /// The first turns, which are read with the instance; if they are small, they are kept until the owner has committed
    /// a step.
    pub(super) first_turns: Vec<Turn>,
    /// The size of the history when it was read, in bytes.
    history_bytes: u64,
    /// The next page, which is read while the previous one is replayed.
    ahead: Option<ReadAhead>,
}

/// A page of a history that a separate task reads.
struct ReadAhead {
    execution: ExecutionNumber,
    after: TurnNumber,
    rows: AbortOnDropHandle<Result<Vec<Turn>, store::Error>>,
}

impl ReadAhead {
    fn begin(shared: &Shared, instance: InstanceNumber, execution: ExecutionNumber, after: TurnNumber) -> Self {
        let store = shared.store.clone();
        let read = async move { store.history(instance, execution, after, HISTORY_PAGE).await };
        let rows = AbortOnDropHandle::new(shared.tracker.spawn_on(read, &shared.runtime));
        Self { execution, after, rows }
    }

    fn is_of(&self, execution: ExecutionNumber, after: TurnNumber) -> bool {
        (self.execution, self.after) == (execution, after)
    }

    /// Waits for the turns.
    async fn rows(self) -> Result<Vec<Turn>, store::Error> {
        // Only this handle aborts the task; otherwise it fails only if the runtime ends.
        self.rows.await.unwrap_or(Err(store::Error::Closed))
    }
}

/// What tenants may know of damage in the store. The error itself contains numbers that all tenants share.
fn damage(instance: InstanceNumber, error: &store::Error) -> String {
    tracing::error!(instance = instance.0, %error, "an instance is damaged");
    "a part of what is stored of the instance cannot be read; the log of the host says which".into()
}

impl Session<'_> {
    /// Reads the instance; `None` if it does not exist or has ended.
    pub(super) async fn load(
        &mut self,
        results: &mut VecDeque<ActivityResult>,
        mailbox: &Mailbox,
    ) -> Option<GuestOwner> {
        let (shared, instance) = (self.shared, self.instance);
        self.loading = Some(shared.loading.acquire_for(self.active.tenant()).await);
        loop {
            // Messages that were dropped until now are stored; the next read returns them.
            mailbox.take_missed();
            let inbox_from = shared.store.newest_message();
            match shared.store.load(instance).await {
                Ok(Some(mut record)) if !record.status.has_ended() => {
                    self.reader.first_turns = std::mem::take(&mut record.first_turns);
                    self.reader.history_bytes = record.history_bytes;
                    let mut owner = Owner::new(record, inbox_from);
                    owner.know_events_of(shared.options.known_event_bytes);
                    results.drain(..).for_each(|result| owner.receive_result(result));
                    if std::mem::take(&mut self.turn_too_large) {
                        let message = "its next turn is larger than the database can store";
                        owner.break_down("turn-too-large", message.into());
                    }
                    return Some(owner);
                }
                Ok(_) | Err(store::Error::Closed) => return None,
                Err(error @ store::Error::Damaged(_)) => {
                    let reason = StuckReason {
                        code: UNREADABLE.into(),
                        message: damage(instance, &error),
                    };
                    if let Err(error) = shared.store.mark_stuck(instance, reason, shared.clock.now()).await {
                        tracing::error!(instance = instance.0, %error, "an instance could not be marked as stuck");
                    } else {
                        shared.stats.stuck.increment();
                    }
                    return None;
                }
                Err(error) => {
                    tracing::warn!(instance = instance.0, %error, "an instance could not be read; trying again");
                    if !pause(shared).await {
                        return None;
                    }
                }
            }
        }
    }

    /// Lets another instance be read, once this one is in memory.
    pub(super) fn end_loading(&mut self) {
        if self.loading.take().is_some() && self.reader.history_bytes > KEPT_BYTES {
            self.reader.first_turns = Vec::new();
        }
    }

    /// Reads the recorded attempts of some tasks.
    pub(super) async fn read_attempts(&self, owner: &mut GuestOwner, tasks: &[TaskId]) {
        let (execution, _) = owner.position();
        match self.shared.store.attempts_so_far(self.instance, execution, tasks).await {
            Ok(noted) => owner.take_attempts(noted),
            Err(error @ store::Error::Damaged(_)) => owner.break_down(UNREADABLE, damage(self.instance, &error)),
            Err(error) => {
                tracing::warn!(instance_id = %owner.id(), %error, "attempts could not be read; trying again");
                pause(self.shared).await;
            }
        }
    }

    /// Reads the next rows of the history.
    pub(super) async fn feed(&mut self, owner: &mut GuestOwner, after: TurnNumber) {
        let (execution, last) = owner.position();
        let ahead = self.reader.ahead.take().filter(|ahead| ahead.is_of(execution, after));
        let rows = match (self.reader.first_turns.get(after.0 as usize..), ahead) {
            (Some(rows), _) if !rows.is_empty() => Ok(Cow::Borrowed(rows)),
            (_, Some(ahead)) => ahead.rows().await.map(Cow::Owned),
            _ => {
                let rows = self.shared.store.history(self.instance, execution, after, HISTORY_PAGE);
                rows.await.map(Cow::Owned)
            }
        };
        if let Ok([.., newest]) = rows.as_deref()
            && newest.number < last
        {
            self.reader.ahead = Some(ReadAhead::begin(self.shared, self.instance, execution, newest.number));
        }
        match rows {
            Ok(rows) if rows.is_empty() => {
                owner.break_down(UNREADABLE, format!("turns {} to {last} are missing", after.next()));
            }
            Ok(rows) => {
                self.shared.stats.count_replay(owner.is_hot(), rows.len());
                let fed = self.feed_in_pieces(owner, &rows).await;
                drop(rows);
                if let Err(trouble) = fed {
                    self.trouble(owner, &trouble).await;
                }
            }
            Err(error @ store::Error::Damaged(_)) => owner.break_down(UNREADABLE, damage(self.instance, &error)),
            Err(error) => {
                tracing::warn!(instance_id = %owner.id(), %error, "a history could not be read; trying again");
                pause(self.shared).await;
            }
        }
    }

    /// Reads events that the instance waits for.
    pub(super) async fn read_events(&self, owner: &mut GuestOwner, names: &[String]) {
        let newest = self.shared.store.newest_message();
        match self.shared.store.events(self.instance, names).await {
            Ok(pages) => owner.read_events(newest, pages),
            Err(error @ store::Error::Damaged(_)) => owner.break_down(UNREADABLE, damage(self.instance, &error)),
            Err(error) => {
                tracing::warn!(instance_id = %owner.id(), %error, "events could not be read; trying again");
                pause(self.shared).await;
            }
        }
    }

    /// Feeds rows until the time of a piece is over. Returns how many.
    fn feed_in_time(&self, owner: &mut GuestOwner, rows: &[Turn]) -> Result<usize, HostUnavailable> {
        let (began, was_hot) = (self.shared.clock.now(), owner.is_hot());
        for (row, fed) in rows.iter().zip(1..) {
            owner.feed(std::slice::from_ref(row))?;
            if owner.is_hot() != was_hot || self.shared.clock.now().since(began) >= PIECE_TIME {
                return Ok(fed);
            }
        }
        Ok(rows.len())
    }

    /// Feeds a few rows at a time, so that others can run in between. Stops on shutdown.
    async fn feed_in_pieces(&self, owner: &mut GuestOwner, rows: &[Turn]) -> Result<(), HostUnavailable> {
        let (shared, (execution, _), was_hot) = (self.shared, owner.position(), owner.is_hot());
        let mut left = rows;
        // The owner drops a guest that deviates from its history.
        while !left.is_empty() && owner.is_hot() == was_hot && !shared.shutdown.is_cancelled() {
            if left.len() < rows.len() {
                tokio::task::yield_now().await;
            }
            let (piece, _) = left.split_at(piece(left));
            let permit = shared.gate.enter(owner.tenant()).await;
            let _recording = shared.recorder.record(Flight::turn(self.instance, execution));
            permit.used(piece.iter().map(|row| row.fuel).fold(0, u64::saturating_add));
            self.permit.put(Some(permit));
            let fed = self.feed_in_time(owner, piece);
            drop(self.permit.take());
            left = &left[fed?..];
        }
        Ok(())
    }
}

/// How many of the first rows to replay at once: at least one.
fn piece(rows: &[Turn]) -> usize {
    let mut fuel: u64 = 0;
    let small = rows.iter().take(PIECE_TURNS).take_while(|row| {
        fuel = fuel.saturating_add(row.fuel);
        fuel < PIECE_FUEL
    });
    (small.count() + 1).min(PIECE_TURNS).min(rows.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Timestamp;

    fn check(fuels: &[u64], pieces: &[usize]) {
        let turn = |fuel: &u64| Turn {
            number: TurnNumber(1),
            at: Timestamp(0),
            arrivals: Vec::new(),
            decisions: Vec::new(),
            fuel: *fuel,
        };
        let rows: Vec<Turn> = fuels.iter().map(turn).collect();
        let mut left = &rows[..];
        let mut found = Vec::new();
        while !left.is_empty() {
            found.push(piece(left));
            left = &left[piece(left)..];
        }
        assert_eq!(found, pieces);
    }

    #[test]
    fn a_history_is_fed_in_pieces_of_few_turns_and_little_fuel() {
        check(&[], &[]);
        check(&[0; 250], &[100, 100, 50]);
        check(&[u64::MAX; 3], &[1, 1, 1]);
        check(&[2_000_000; 5], &[3, 2]);
        check(&[1, 9_000_000, 1, 1], &[2, 2]);
    }
}
