//! The writer's connection.

use std::collections::HashMap;

use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};

use super::{
    administration, attempts, broadcasts, completions, counters, end_signal::EndSignal, garbage, heartbeats, host_keys,
    idempotency, inbox, instances, modules, names, rows::script, schedules, sizes, statement::Changes,
};
use crate::{
    model::{FunctionName, InstanceNumber, StuckReason, TenantId, Timestamp},
    store::{
        BroadcastOutcome, Change, Changed, Completion, EndBroadcast, EndOfBroadcast, Error, NewBroadcast, OldVersion,
        PutModule, PutModuleOutcome, ScheduleChange, ScheduleChanged,
        attempts::{AttemptKey, Prunable},
        broadcasts::Advance,
        completions::CompletionKey,
        garbage::{Room, Swept},
        heartbeats::HeartbeatKey,
        idempotency::{StoredKey, WantedKey},
        instances::{ById, ByNumber, InstanceHead},
        modules::Counted,
        ownership::{Epoch, Ownership},
        writer::rows::Rows,
    },
};

const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";
const ROLLBACK: &str = "ROLLBACK";

/// A connection, and the options to open it again.
pub(in crate::store) struct Session {
    connection: SqliteConnection,
    end: EndSignal,
    changes: Changes,
    options: SqliteConnectOptions,
}

impl Session {
    /// Connects to a database whose schema is up to date.
    ///
    /// # Errors
    /// If the database cannot be opened.
    pub(super) async fn connect(options: SqliteConnectOptions) -> Result<Self, sqlx::Error> {
        let (end, options) = EndSignal::of(options);
        Ok(Self {
            connection: options.connect().await?,
            end,
            changes: Changes::default(),
            options,
        })
    }

    /// Runs a statement without parameters. (sqlx's transactions rely on a rollback to succeed.)
    async fn execute(&mut self, statement: &'static str) -> Result<(), Error> {
        sqlx::query(statement).execute(&mut self.connection).await?;
        Ok(())
    }
}

/// Each method runs a query or a statement, mostly defined in the file of its table.
impl Session {
    /// The folder is locked while the database is open, so there is no other owner.
    pub(in crate::store) async fn take_over(&mut self) -> Result<Ownership, Error> {
        Ok(Ownership::of_all(Epoch::ONLY))
    }

    pub(in crate::store) async fn begin(&mut self) -> Result<(), Error> {
        self.execute(BEGIN).await
    }

    pub(in crate::store) async fn roll_back(&mut self) -> Result<(), Error> {
        self.execute(ROLLBACK).await
    }

    pub(in crate::store) async fn reopen(&mut self) -> Result<(), Error> {
        self.connection = self.options.connect().await?;
        self.changes = Changes::default();
        Ok(())
    }

    pub(in crate::store) async fn close(self) -> Result<(), Error> {
        Ok(self.connection.close().await?)
    }

    pub(in crate::store) async fn key(&mut self, name: &'static str) -> Result<[u8; 32], Error> {
        host_keys::key(&mut self.connection, name).await
    }

    pub(in crate::store) async fn reserved(&mut self, counter: &'static str) -> Result<Option<u64>, Error> {
        counters::reserved(&mut self.connection, counter).await
    }

    pub(in crate::store) async fn reserve(&mut self, counter: &'static str, reserved: u64) -> Result<(), Error> {
        Ok(counters::reserve(&mut self.connection, counter, reserved).await?)
    }

    pub(in crate::store) async fn stored_bytes(&mut self) -> Result<HashMap<TenantId, u64>, Error> {
        sizes::of_tenants(&mut self.connection).await
    }

    pub(in crate::store) async fn intern(&mut self, tenant: TenantId, name: &FunctionName) -> Result<u64, Error> {
        names::intern(&mut self.connection, tenant, name).await
    }

    pub(in crate::store) async fn heads_by_number(&mut self, wanted: &[ByNumber]) -> Result<Vec<InstanceHead>, Error> {
        instances::heads_by_number(&mut self.connection, wanted).await
    }

    pub(in crate::store) async fn heads_by_id(&mut self, wanted: &[ById<'_>]) -> Result<Vec<InstanceHead>, Error> {
        instances::heads_by_id(&mut self.connection, wanted).await
    }

    pub(in crate::store) async fn find_keys(&mut self, wanted: &[WantedKey<'_>]) -> Result<Vec<StoredKey>, Error> {
        idempotency::find(&mut self.connection, wanted).await
    }

    pub(in crate::store) async fn measure_attempts(
        &mut self,
        wanted: &[AttemptKey],
    ) -> Result<Vec<(AttemptKey, u64)>, Error> {
        attempts::measure(&mut self.connection, wanted).await
    }

    pub(in crate::store) async fn measure_heartbeats(
        &mut self,
        wanted: &[HeartbeatKey],
    ) -> Result<Vec<(HeartbeatKey, u64)>, Error> {
        heartbeats::measure(&mut self.connection, wanted).await
    }

    pub(in crate::store) async fn count_messages(
        &mut self,
        instances: &[ByNumber],
    ) -> Result<Vec<(InstanceNumber, u64)>, Error> {
        inbox::count(&mut self.connection, instances).await
    }

    pub(in crate::store) async fn find_completions(
        &mut self,
        wanted: &[CompletionKey],
    ) -> Result<Vec<(CompletionKey, Completion)>, Error> {
        completions::find(&mut self.connection, wanted).await
    }

    pub(in crate::store) async fn prunable_attempts(&mut self, limit: u64) -> Result<Option<Prunable>, Error> {
        attempts::prunable(&mut self.connection, limit).await
    }

    pub(in crate::store) async fn write(&mut self, rows: &Rows<'_>) -> Result<u64, Error> {
        script(rows)
            .run(&mut self.connection, &mut self.changes, rows.certain())
            .await
    }

    pub(in crate::store) async fn commit(&mut self, rows: &Rows<'_>, begun: bool) -> Result<u64, Error> {
        let script = script(rows).ending_with(COMMIT);
        let script = if begun { script } else { script.beginning_with(BEGIN) };
        let written = script.run(&mut self.connection, &mut self.changes, rows.certain());
        self.end.run(written).await
    }

    pub(in crate::store) async fn mark_stuck(
        &mut self,
        instance: InstanceNumber,
        reason: &StuckReason,
        at: Timestamp,
    ) -> Result<bool, Error> {
        Ok(instances::mark_stuck(&mut self.connection, instance, reason, at).await?)
    }

    pub(in crate::store) async fn administer(&mut self, change: &Change) -> Result<Changed, Error> {
        administration::change(&mut self.connection, change).await
    }

    pub(in crate::store) async fn create_broadcast(&mut self, new: &NewBroadcast) -> Result<BroadcastOutcome, Error> {
        broadcasts::create(&mut self.connection, new).await
    }

    pub(in crate::store) async fn advance_broadcast(&mut self, advance: &Advance<'_>) -> Result<bool, Error> {
        broadcasts::advance(&mut self.connection, advance).await
    }

    pub(in crate::store) async fn end_broadcast(&mut self, end: &EndBroadcast) -> Result<EndOfBroadcast, Error> {
        broadcasts::end(&mut self.connection, end).await
    }

    pub(in crate::store) async fn forget_broadcasts(
        &mut self,
        before: Timestamp,
    ) -> Result<Vec<(TenantId, u64)>, Error> {
        broadcasts::forget(&mut self.connection, before).await
    }

    pub(in crate::store) async fn put_module(&mut self, put: &PutModule) -> Result<Counted<PutModuleOutcome>, Error> {
        modules::put(&mut self.connection, put).await
    }

    pub(in crate::store) async fn delete_module(
        &mut self,
        tenant: TenantId,
        name: &str,
        at: Timestamp,
    ) -> Result<bool, Error> {
        modules::delete(&mut self.connection, tenant, name, at).await
    }

    pub(in crate::store) async fn delete_module_bytes(&mut self, version: &OldVersion) -> Result<Counted<bool>, Error> {
        modules::delete_bytes(&mut self.connection, version).await
    }

    pub(in crate::store) async fn schedule_refusal(
        &mut self,
        change: &ScheduleChange,
    ) -> Result<Option<ScheduleChanged>, Error> {
        schedules::refusal(&mut self.connection, change).await
    }

    pub(in crate::store) async fn write_schedule(
        &mut self,
        change: &ScheduleChange,
        revision: u64,
    ) -> Result<Counted<()>, Error> {
        schedules::write(&mut self.connection, change, revision).await
    }

    pub(in crate::store) async fn with_old_logs(&mut self, limit: u64) -> Result<Vec<InstanceNumber>, Error> {
        garbage::with_old_logs(&mut self.connection, limit).await
    }

    pub(in crate::store) async fn sweep(&mut self, now: Timestamp, limit: u64) -> Result<Swept, Error> {
        let (mut room, mut swept) = (Room::new(limit), Swept::default());
        garbage::delete_some(&mut self.connection, &mut room, &mut swept).await?;
        if !room.is_used_up() {
            swept.keys = idempotency::delete_expired(&mut self.connection, now, &room).await?;
            swept.keys.iter().for_each(|(_, bytes)| room.take(*bytes));
        }
        swept.more = room.is_used_up();
        Ok(swept)
    }
}
