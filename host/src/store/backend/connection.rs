//! The writer's connection: all that the writer asks of what lies below.

use std::collections::HashMap;

#[cfg(test)]
use crate::store::simulated;
use crate::{
    model::{FunctionName, InstanceNumber, StuckReason, TenantId, Timestamp},
    store::{
        BroadcastOutcome, Change, Changed, Completion, EndBroadcast, EndOfBroadcast, Error, NewBroadcast, OldVersion,
        PutModule, PutModuleOutcome, ScheduleChange, ScheduleChanged,
        attempts::{AttemptKey, Prunable},
        broadcasts::Advance,
        completions::CompletionKey,
        garbage::Swept,
        heartbeats::HeartbeatKey,
        idempotency::{StoredKey, WantedKey},
        instances::{ById, ByNumber, InstanceHead},
        modules::Counted,
        ownership::Ownership,
        sqlite,
        writer::rows::Rows,
    },
};

/// Where the writer writes.
pub(in crate::store) enum Connection {
    /// The database file.
    Sqlite(Box<sqlite::Session>),
    /// A disk that exists in memory only.
    #[cfg(test)]
    Simulated(simulated::Session),
}

impl Connection {
    /// Takes the partitions over from their last owner. From now on its transactions fail with [`Error::NotOwner`], and so do
    /// those of this connection when another one takes over.
    pub(in crate::store) async fn take_over(&mut self) -> Result<Ownership, Error> {
        on!(self, take_over())
    }

    /// Begins a transaction.
    pub(in crate::store) async fn begin(&mut self) -> Result<(), Error> {
        on!(self, begin())
    }

    /// Undoes the transaction; fails if there is none, or the connection is in no state to go on.
    pub(in crate::store) async fn roll_back(&mut self) -> Result<(), Error> {
        on!(self, roll_back())
    }

    /// Replaces the connection, whose state is in doubt.
    pub(in crate::store) async fn reopen(&mut self) -> Result<(), Error> {
        on!(self, reopen())
    }

    /// Closes the connection properly.
    pub(in crate::store) async fn close(self) -> Result<(), Error> {
        on!(self, close())
    }

    /// A key of the database.
    pub(in crate::store) async fn key(&mut self, name: &'static str) -> Result<[u8; 32], Error> {
        on!(self, key(name))
    }

    /// Where the reservations of a counter ended; none if there is no such counter.
    pub(in crate::store) async fn reserved(&mut self, counter: &'static str) -> Result<Option<u64>, Error> {
        on!(self, reserved(counter))
    }

    /// Moves the reservations of a counter on.
    pub(in crate::store) async fn reserve(&mut self, counter: &'static str, reserved: u64) -> Result<(), Error> {
        on!(self, reserve(counter, reserved))
    }

    /// How much is stored of each tenant.
    pub(in crate::store) async fn stored_bytes(&mut self) -> Result<HashMap<TenantId, u64>, Error> {
        on!(self, stored_bytes())
    }

    /// The number of a function name, given to it now if it has none yet.
    pub(in crate::store) async fn intern(&mut self, tenant: TenantId, name: &FunctionName) -> Result<u64, Error> {
        on!(self, intern(tenant, name))
    }

    /// Those of the instances that exist.
    pub(in crate::store) async fn heads_by_number(&mut self, wanted: &[ByNumber]) -> Result<Vec<InstanceHead>, Error> {
        on!(self, heads_by_number(wanted))
    }

    /// Those of the instances that exist.
    pub(in crate::store) async fn heads_by_id(&mut self, wanted: &[ById<'_>]) -> Result<Vec<InstanceHead>, Error> {
        on!(self, heads_by_id(wanted))
    }

    /// Those of the idempotency keys that are stored, expired or not.
    pub(in crate::store) async fn find_keys(&mut self, wanted: &[WantedKey<'_>]) -> Result<Vec<StoredKey>, Error> {
        on!(self, find_keys(wanted))
    }

    /// How long the failures of those of the attempts are that exist.
    pub(in crate::store) async fn measure_attempts(
        &mut self,
        wanted: &[AttemptKey],
    ) -> Result<Vec<(AttemptKey, u64)>, Error> {
        on!(self, measure_attempts(wanted))
    }

    /// How long the details of those of the heartbeats are that exist.
    pub(in crate::store) async fn measure_heartbeats(
        &mut self,
        wanted: &[HeartbeatKey],
    ) -> Result<Vec<(HeartbeatKey, u64)>, Error> {
        on!(self, measure_heartbeats(wanted))
    }

    /// How many messages wait for each of these instances that exist, up to
    /// [`MAX_COUNTED`](crate::store::inbox::MAX_COUNTED).
    pub(in crate::store) async fn count_messages(
        &mut self,
        instances: &[ByNumber],
    ) -> Result<Vec<(InstanceNumber, u64)>, Error> {
        on!(self, count_messages(instances))
    }

    /// Those of the calls that may be completed from outside.
    pub(in crate::store) async fn find_completions(
        &mut self,
        wanted: &[CompletionKey],
    ) -> Result<Vec<(CompletionKey, Completion)>, Error> {
        on!(self, find_completions(wanted))
    }

    /// Attempts that can be pruned, of one task that has more than are kept.
    pub(in crate::store) async fn prunable_attempts(&mut self, limit: u64) -> Result<Option<Prunable>, Error> {
        on!(self, prunable_attempts(limit))
    }

    /// Writes rows within a transaction, and says how many.
    pub(in crate::store) async fn write(&mut self, rows: &Rows<'_>) -> Result<u64, Error> {
        on!(self, write(rows))
    }

    /// Writes the last rows of a transaction, which may have `begun` already, and commits it.
    pub(in crate::store) async fn commit(&mut self, rows: &Rows<'_>, begun: bool) -> Result<u64, Error> {
        on!(self, commit(rows, begun))
    }

    /// Marks a live instance as stuck; says whether there was one.
    pub(in crate::store) async fn mark_stuck(
        &mut self,
        instance: InstanceNumber,
        reason: &StuckReason,
        at: Timestamp,
    ) -> Result<bool, Error> {
        on!(self, mark_stuck(instance, reason, at))
    }

    /// Changes tenants or API keys.
    pub(in crate::store) async fn administer(&mut self, change: &Change) -> Result<Changed, Error> {
        on!(self, administer(change))
    }

    /// Stores a broadcast, unless it is stored already or the tenant has too many.
    pub(in crate::store) async fn create_broadcast(&mut self, new: &NewBroadcast) -> Result<BroadcastOutcome, Error> {
        on!(self, create_broadcast(new))
    }

    /// Moves a broadcast on; says whether it was where the piece begins.
    pub(in crate::store) async fn advance_broadcast(&mut self, advance: &Advance<'_>) -> Result<bool, Error> {
        on!(self, advance_broadcast(advance))
    }

    /// Ends a broadcast that is not finished.
    pub(in crate::store) async fn end_broadcast(&mut self, end: &EndBroadcast) -> Result<EndOfBroadcast, Error> {
        on!(self, end_broadcast(end))
    }

    /// Deletes some broadcasts that were finished before a time; returns the tenant and the counted bytes of each.
    pub(in crate::store) async fn forget_broadcasts(
        &mut self,
        before: Timestamp,
    ) -> Result<Vec<(TenantId, u64)>, Error> {
        on!(self, forget_broadcasts(before))
    }

    /// Stores a module and makes it the current version of its name.
    pub(in crate::store) async fn put_module(&mut self, put: &PutModule) -> Result<Counted<PutModuleOutcome>, Error> {
        on!(self, put_module(put))
    }

    /// Takes a module's name and functions away; says whether it existed.
    pub(in crate::store) async fn delete_module(
        &mut self,
        tenant: TenantId,
        name: &str,
        at: Timestamp,
    ) -> Result<bool, Error> {
        on!(self, delete_module(tenant, name, at))
    }

    /// Deletes bytes, unless they were uploaded again meanwhile; says whether it did.
    pub(in crate::store) async fn delete_module_bytes(&mut self, version: &OldVersion) -> Result<Counted<bool>, Error> {
        on!(self, delete_module_bytes(version))
    }

    /// Why a change of a schedule is refused, if it is.
    pub(in crate::store) async fn schedule_refusal(
        &mut self,
        change: &ScheduleChange,
    ) -> Result<Option<ScheduleChanged>, Error> {
        on!(self, schedule_refusal(change))
    }

    /// Writes a change of a schedule, which is not refused.
    pub(in crate::store) async fn write_schedule(
        &mut self,
        change: &ScheduleChange,
        revision: u64,
    ) -> Result<Counted<()>, Error> {
        on!(self, write_schedule(change, revision))
    }

    /// Instances that exist and whose logs a sweep of at most `limit` rows may shorten, and perhaps others.
    pub(in crate::store) async fn with_old_logs(&mut self, limit: u64) -> Result<Vec<InstanceNumber>, Error> {
        on!(self, with_old_logs(limit))
    }

    /// Deletes rows that nobody needs any more: at most `limit`, and fewer if they are large.
    pub(in crate::store) async fn sweep(&mut self, now: Timestamp, limit: u64) -> Result<Swept, Error> {
        on!(self, sweep(now, limit))
    }
}
