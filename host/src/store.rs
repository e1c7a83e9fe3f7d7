//! Durable state: instances, histories, inboxes, modules.
//!
//! This module holds what is the same for every database: the units of change, the single writer with its checks and
//! caches, and the queries. Databases are behind the seam in `backend`: `sqlite` (the only module that uses SQL and
//! sqlx) and, for tests, a simulated disk.
//!
//! [`open`](Store::open) returns a [`StoreService`], which must run as long as the host, and a [`Store`], the handle
//! that all other modules clone. All changes go through the service's single writer, which combines those that are
//! ready into one transaction; an answer means that the change is on disk. Queries see what was committed before they
//! began. They use two sets of readers: one for the engine, and one for the queries of clients, which may be slow and
//! may have to wait.
//!
//! Queries for clients start at [`Store::tenant`] and cannot see another tenant. The few queries that look across
//! tenants belong to the dispatcher and the administrator, and their documentation says so.
//!
//! The store knows neither guests nor HTTP, and reads no clock: callers pass in times.

pub mod commit;
mod completions;
mod cursor;
mod entities;
mod error;
mod list;
mod logs;
mod modules;
mod ownership;
mod stats;
mod tenant;
mod usage;

mod administration;
mod attempts;
mod backend;
mod broadcasts;
mod counters;
mod decode;
mod events;
mod fold;
mod garbage;
mod heartbeats;
mod history;
mod host_keys;
mod idempotency;
mod inbox;
mod instances;
mod page;
mod purges;
mod retention;
mod schedules;
mod settings;
#[cfg(test)]
pub(crate) mod simulated;
mod sizes;
mod sqlite;
mod tags;
#[cfg(test)]
mod tests;
mod writer;

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

pub(crate) use self::sizes::ROW_BYTES;
pub use self::{
    administration::{Change, Changed, KeyRow, TenantRow},
    attempts::{ATTEMPTS_KEPT, AttemptsSoFar},
    broadcasts::{
        Broadcast, BroadcastEnd, BroadcastOutcome, BroadcastPage, BroadcastPiece, BroadcastSummary, EndBroadcast,
        EndOfBroadcast, MAX_BROADCASTS, MAX_UNFINISHED_BROADCASTS, NewBroadcast, NextBroadcast, RaisedByBroadcast,
    },
    commit::{
        AppendOutcome, AttemptRow, Creation, EntityAddress, EntityChange, IdempotencyKey, InboxAppend, InstanceRecord,
        KeyedAnswer, NewInstance, OutboundMessage, Recipient, RewoundChild, StartOutcome, Summary, TakenEvent,
        TurnCommit, TurnReceipt, WakeUp,
    },
    completions::{Completion, CompletionChange, CompletionOutcome, CompletionState, FoundCompletion, TokenHash},
    cursor::{Cursor, CursorError, HistoryCursor},
    entities::{EntityDetails, EntityFilter, EntityPage, MAX_WAITING},
    error::Error,
    fold::{Folded, HistoryFold, MAX_FOLDED_BYTES, MAX_FOLDED_TURNS},
    heartbeats::Heartbeat,
    host_keys::PositionKey,
    idempotency::UsedKey,
    list::{InstancePage, ListFilter},
    logs::{LogFilter, LogRow, LogSeq},
    modules::{ModulePage, ModuleVersion, OldVersion, PossibleUser, PossibleUsers, PutModule, PutModuleOutcome},
    page::ANSWER_BYTES,
    retention::{Descendant, EndedFunction, EndedInstance, EndedInstances, RetentionRow},
    schedules::{ScheduleChange, ScheduleChanged, SchedulePage, ScheduleRow, ScheduleWrite},
    settings::{SettingKind, SettingRow},
    sqlite::{Backup, StoreOptions, Synchronous, backup},
    stats::{BatchStats, StoreStats},
    tenant::{
        Addressee, FoundHistory, HistoryFilter, HistoryFrom, HistoryPage, InstanceDetails, InstanceSummary,
        ModuleHoldings, TenantHoldings, TenantStore,
    },
    usage::{Amount, Days, FunctionUsage, UsageCursor, UsagePage, Used},
};
use self::{
    backend::{Connection, People, Readers, Upkeep},
    counters::InstanceNumbers,
    host_keys::POSITIONS,
    schedules::ScheduleWork,
    sizes::StoredBytes,
    stats::Stats,
    writer::{
        Database, Rest, WriteGate, Writer,
        operation::{EncodedCommit, EncodedCompletion, EncodedItem, Job, Operation, Outcome},
    },
};
use crate::model::{
    EventPage, ExecutionNumber, InboxItem, InboxRow, InboxSeq, InstanceId, InstanceNumber, InstanceStatus, LogLine,
    ModuleDigest, ModuleNumber, ScheduleName, StuckReason, TaskId, TenantId, Timestamp, Turn, TurnNumber, codec,
};

/// The maximum number of rows that one call of [`Store::sweep`] deletes. Other commits wait for it, about ten
/// milliseconds.
pub const MAX_SWEPT_ROWS: u64 = 1_000;

/// The maximum number of instances that one call of [`Store::purge_many`] deletes, for the same reason.
pub const MAX_PURGED_INSTANCES: u32 = 1_000;

/// The outcome of [`Store::purge`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeOutcome {
    /// The instance and all its rows were deleted.
    Purged,
    /// No instance has that id.
    Unknown,
    /// The instance has not ended; nothing was changed.
    NotEnded(InstanceStatus),
}

/// The outcome of [`Store::purge_tree`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurgeTreeOutcome {
    /// The instance and all its descendants were deleted: that many instances in total.
    Purged(u64),
    /// No instance has that id.
    Unknown,
    /// The instance has not ended; nothing was changed.
    NotEnded(InstanceStatus),
    /// Some descendants have not ended; nothing was changed. These are some of them.
    ChildrenNotEnded(Vec<InstanceId>),
}

/// The parameters of [`Store::purge_many`].
#[derive(Debug, Clone)]
pub struct PurgeMany {
    /// The tenant that owns the instances.
    pub tenant: TenantId,
    /// Selects the instances. States in which an instance has not ended are ignored.
    pub filter: ListFilter,
    /// Also deletes their descendants, in whatever state these ended. An instance that has a descendant which has not
    /// ended is left alone.
    pub recursive: bool,
    /// Continues from here; `None` starts from the beginning, with the newest instance.
    pub from: Option<Cursor>,
    /// The maximum number of instances per call, itself limited to [`MAX_PURGED_INSTANCES`].
    pub limit: u32,
}

/// The outcome of [`Store::purge_many`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PurgedMany {
    /// How many instances were deleted.
    pub purged: u64,
    /// How many were left alone because a descendant has not ended.
    pub left: u64,
    /// Where to continue; `None` if there are no more.
    pub next: Option<Cursor>,
}

/// The background part of the store. Dropping it ends the store as a crash would: answered operations are kept, others
/// may be lost.
pub struct StoreService {
    writer: Writer,
    upkeep: Upkeep,
}

/// The handle to the store; cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    jobs: mpsc::Sender<Job>,
    room: writer::QueueBudget,
    readers: Readers,
    people: People,
    stats: Arc<Stats>,
    numbers: InstanceNumbers,
    stored: Arc<StoredBytes>,
    position_key: PositionKey,
}

impl StoreService {
    /// Runs until `shutdown` is cancelled or all handles are dropped, then writes what is still in the queue and closes
    /// the database.
    ///
    /// # Errors
    /// When another host has taken over, or the database cannot be closed properly. Even then, all answered operations
    /// are on disk.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), Error> {
        Box::pin(self.upkeep.beside(self.writer.run(shutdown))).await
    }
}

/// What a backend opens.
struct Opened {
    connection: Connection,
    readers: Readers,
    people: People,
    upkeep: Upkeep,
    gate: WriteGate,
    stats: Arc<Stats>,
}

impl Opened {
    /// Builds the store on top of the backend.
    async fn into_store(self) -> Result<(Store, StoreService), Error> {
        let Self {
            mut connection,
            readers,
            people,
            upkeep,
            gate,
            stats,
        } = self;
        let (sender, receiver) = mpsc::channel(writer::QUEUE_CAPACITY);
        let position_key = PositionKey(connection.key(POSITIONS).await?);
        let database = Database::new(connection).await?;
        stats.set_newest_message(database.newest_message());
        let store = Store {
            jobs: sender,
            room: writer::QueueBudget::new(),
            readers,
            people,
            stats: Arc::clone(&stats),
            numbers: database.instance_numbers(),
            stored: database.stored_bytes(),
            position_key,
        };
        let writer = Writer {
            jobs: receiver,
            gate,
            stats,
            database,
            rest: Rest::default(),
        };
        Ok((store, StoreService { writer, upkeep }))
    }
}

impl Store {
    /// The handle for the rows of one tenant.
    pub fn tenant(&self, tenant: TenantId) -> TenantStore {
        TenantStore::new(self.readers.clone(), self.people.clone(), tenant)
    }

    /// The key that encrypts positions.
    pub fn position_key(&self) -> PositionKey {
        self.position_key
    }

    /// All tenants, by number, for the host's administrator.
    ///
    /// # Errors
    /// When the database fails, or a row cannot be read.
    pub async fn tenants(&self) -> Result<Vec<TenantRow>, Error> {
        self.readers.tenants().await
    }

    /// All API keys, without their secrets, for the host's administrator.
    ///
    /// # Errors
    /// When the database fails, or a row cannot be read.
    pub async fn api_keys(&self) -> Result<Vec<KeyRow>, Error> {
        self.readers.api_keys().await
    }

    /// The settings and secrets of all tenants, for activities. The secrets are sealed.
    ///
    /// # Errors
    /// When the database fails, or a row cannot be read.
    pub async fn settings(&self) -> Result<Vec<SettingRow>, Error> {
        self.readers.settings(None).await
    }

    /// The settings and secrets of one tenant. The secrets are sealed.
    ///
    /// # Errors
    /// When the database fails, or a row cannot be read.
    pub async fn settings_of(&self, tenant: TenantId) -> Result<Vec<SettingRow>, Error> {
        self.readers.settings(Some(tenant)).await
    }

    /// The stored bytes of a tenant, as of the last commit. The bytes of its modules are counted separately.
    pub fn stored_bytes(&self, tenant: TenantId) -> u64 {
        self.stored.of(tenant)
    }

    /// The same, with what was left behind since the host started and may not be deleted yet.
    pub fn stored_bytes_with_garbage(&self, tenant: TenantId) -> u64 {
        self.stored.with_garbage(tenant)
    }

    /// Waits until there is so much garbage that it should be [swept](Self::sweep) at once.
    pub async fn much_garbage(&self) {
        self.stored.much_garbage().await;
    }

    /// The writer's counters since the host started.
    pub fn stats(&self) -> StoreStats {
        self.stats.read()
    }

    /// The sizes and durations of the writer's transactions.
    pub fn batch_stats(&self) -> BatchStats {
        self.stats.read_batches()
    }

    /// How many operations currently wait for the writer.
    pub fn queue_length(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity() + self.stats.backlog()
    }

    /// Reads everything and returns a description of each problem. Slow; for `windlass check`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn check(&self) -> Result<Vec<String>, Error> {
        self.readers.check().await
    }
}

/// Changes. Each is written as a whole or not at all, and is answered when it is on disk.
///
/// # Cancel safety
/// If one of these futures is dropped, the change may or may not happen, unless the operation was not queued yet.
impl Store {
    /// Allocates a number for an instance that will be [created](TurnCommit::creation) under this id. A number is never
    /// allocated twice, whether it is used or not.
    pub fn new_number(&self, tenant: TenantId, id: &InstanceId) -> InstanceNumber {
        self.numbers.take(tenant, id)
    }

    /// Appends a client's message to the inbox of a live instance.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn append(&self, append: InboxAppend, key: Option<IdempotencyKey>) -> Result<AppendOutcome, Error> {
        let bytes = codec::encode(&append.item);
        match self
            .ask(Operation::Append {
                append: Box::new(append),
                bytes,
                key,
            })
            .await?
        {
            Outcome::Append(outcome) => Ok(outcome),
            other => wrong_answer(&other),
        }
    }

    /// Appends a message of the host to the inbox of a live instance. Returns `None` if the instance has ended or does
    /// not exist.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliver(&self, to: InstanceNumber, item: InboxItem) -> Result<Option<InboxRow>, Error> {
        self.deliver_used(to, item, None).await
    }

    /// Like [`deliver`](Self::deliver), and records what was used to produce the message, even if the message is not
    /// delivered.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliver_used(
        &self,
        to: InstanceNumber,
        item: InboxItem,
        used: Option<Used>,
    ) -> Result<Option<InboxRow>, Error> {
        match self
            .ask(Operation::Deliver {
                to,
                item: EncodedItem::new(item),
                used: used.map(Box::new),
            })
            .await?
        {
            Outcome::Deliver(row) => Ok(row),
            other => wrong_answer(&other),
        }
    }

    /// Writes a step of an instance together with all its effects.
    ///
    /// # Errors
    /// [`Error::Contradiction`] when the commit does not continue the stored state; otherwise when the database fails.
    pub async fn commit(&self, commit: TurnCommit) -> Result<TurnReceipt, Error> {
        match self
            .ask(Operation::Commit(Box::new(EncodedCommit::new(commit))))
            .await?
        {
            Outcome::Commit(receipt) => Ok(receipt),
            other => wrong_answer(&other),
        }
    }

    /// Records an attempt with its log lines and its usage. Returns whether the attempt was recorded: it is not if the
    /// instance has ended, does not exist, or is in another execution. The log lines are kept if the instance exists
    /// and its log has room (`max_log_bytes` per execution). The usage is always recorded.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_attempt(
        &self,
        instance: InstanceNumber,
        attempt: AttemptRow,
        lines: Vec<LogLine>,
        max_log_bytes: u64,
        used: Option<Used>,
    ) -> Result<bool, Error> {
        match self
            .ask(Operation::NoteAttempt {
                instance,
                attempt: Box::new(attempt),
                lines,
                max_log_bytes,
                used: used.map(Box::new),
            })
            .await?
        {
            Outcome::NoteAttempt(noted) => Ok(noted),
            other => wrong_answer(&other),
        }
    }

    /// The recorded attempts of these tasks of an execution. Tasks without attempts have no entry.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a row cannot be read.
    pub async fn attempts_so_far(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        tasks: &[TaskId],
    ) -> Result<BTreeMap<TaskId, AttemptsSoFar>, Error> {
        self.readers.attempts_so_far(instance, execution, tasks).await
    }

    /// Stores what an attempt of the current execution of a live instance reported last. Returns whether it was stored:
    /// it is not if the instance has ended, does not exist, or is in another execution.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_heartbeat(&self, instance: InstanceNumber, heartbeat: Heartbeat) -> Result<bool, Error> {
        let heartbeat = Box::new(heartbeat);
        match self.ask(Operation::NoteHeartbeat { instance, heartbeat }).await? {
            Outcome::NoteHeartbeat(noted) => Ok(noted),
            other => wrong_answer(&other),
        }
    }

    /// What an attempt of this task reported last, if that was stored.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the row cannot be read.
    pub async fn heartbeat(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        task: TaskId,
    ) -> Result<Option<Heartbeat>, Error> {
        self.readers.heartbeat(instance, execution, task).await
    }

    /// Changes a call that may be completed from outside: the one of the instance, execution, task and token in
    /// `completion`. Log lines of the attempt are kept if the instance exists and its log has room.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn change_completion(
        &self,
        instance: InstanceNumber,
        completion: Completion,
        change: CompletionChange,
        lines: Vec<LogLine>,
        max_log_bytes: u64,
    ) -> Result<CompletionOutcome, Error> {
        let change = Operation::ChangeCompletion(Box::new(EncodedCompletion::new(
            instance,
            completion,
            change,
            lines,
            max_log_bytes,
        )));
        match self.ask(change).await? {
            Outcome::ChangeCompletion(outcome) => Ok(outcome),
            other => wrong_answer(&other),
        }
    }

    /// The call of a task, if it may be or was completed from outside.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the row cannot be read.
    pub async fn completion(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        task: TaskId,
    ) -> Result<Option<Completion>, Error> {
        self.readers.completion(instance, execution, task).await
    }

    /// Calls of an execution that run or wait and can be completed from outside, with tasks after `after`, in their order.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a row cannot be read.
    pub async fn open_completions(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        after: Option<TaskId>,
        limit: u32,
    ) -> Result<Vec<Completion>, Error> {
        self.readers.open_completions(instance, execution, after, limit).await
    }

    /// The call that a token completes, of any tenant.
    ///
    /// # Errors
    /// [`Error::Damaged`] when the row cannot be read.
    pub async fn completion_of_token(&self, token: TokenHash) -> Result<Option<FoundCompletion>, Error> {
        self.readers.completion_of_token(token).await
    }

    /// Calls of all tenants that wait although their time is over, the earliest first.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a row cannot be read.
    pub async fn expired_completions(&self, now: Timestamp, limit: u32) -> Result<Vec<FoundCompletion>, Error> {
        self.readers.expired_completions(now, limit).await
    }

    /// When the time of a waiting call of any tenant is over next.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_expiry(&self) -> Result<Option<Timestamp>, Error> {
        self.readers.next_expiry().await
    }

    /// Records the usage of something that has no other row: a cancelled attempt, or a result that no task waits for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_usage(&self, used: Used) -> Result<(), Error> {
        match self.ask(Operation::NoteUsage(Box::new(used))).await? {
            Outcome::NoteUsage => Ok(()),
            other => wrong_answer(&other),
        }
    }

    /// Marks a live instance as stuck and clears its wake-up time. Returns whether there is such a live instance.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn mark_stuck(
        &self,
        instance: InstanceNumber,
        reason: StuckReason,
        at: Timestamp,
    ) -> Result<bool, Error> {
        match self.ask(Operation::MarkStuck { instance, reason, at }).await? {
            Outcome::MarkStuck(marked) => Ok(marked),
            other => wrong_answer(&other),
        }
    }

    /// Deletes an instance that has ended.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge(&self, tenant: TenantId, id: InstanceId) -> Result<PurgeOutcome, Error> {
        match self.ask(Operation::Purge { tenant, id }).await? {
            Outcome::Purge(outcome) => Ok(outcome),
            other => wrong_answer(&other),
        }
    }

    /// Deletes some of the matching instances. To delete the others, call it again with the returned `next` as
    /// `from`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_many(&self, purge: PurgeMany) -> Result<PurgedMany, Error> {
        let PurgeMany {
            tenant,
            mut filter,
            recursive,
            from,
            limit,
        } = purge;
        if filter.statuses.is_empty() {
            filter.statuses = InstanceStatus::ALL.to_vec();
        }
        filter.statuses.retain(|status| status.has_ended());
        let (mut purged, mut left) = (0, 0);
        if filter.statuses.is_empty() {
            return Ok(PurgedMany {
                purged,
                left,
                next: None,
            });
        }
        let limit = limit.clamp(1, MAX_PURGED_INSTANCES);
        let found = self.tenant(tenant).list(&filter, from.as_ref(), limit).await?;
        let instances: Vec<_> = found.instances.iter().map(|instance| instance.number).collect();
        if recursive {
            for instance in instances {
                let tree = self.tenant(tenant).tree(instance).await?;
                if tree.live.is_empty() {
                    purged += self.purge_all(tenant, &tree.ended).await?;
                } else {
                    left += 1;
                }
            }
        } else {
            purged = self.purge_all(tenant, &instances).await?;
        }
        Ok(PurgedMany {
            purged,
            left,
            next: found.next,
        })
    }

    /// Deletes an instance that has ended and all its descendants (its sub-orchestrations, theirs, and so on), if all
    /// of them have ended.
    ///
    /// Large trees are deleted in pieces, children before their parents: if it fails halfway, repeating the call
    /// deletes the rest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_tree(&self, tenant: TenantId, id: &InstanceId) -> Result<PurgeTreeOutcome, Error> {
        let Some(number) = self.tenant(tenant).number(id).await? else {
            return Ok(PurgeTreeOutcome::Unknown);
        };
        let tree = self.tenant(tenant).tree(number).await?;
        match tree.status {
            None => Ok(PurgeTreeOutcome::Unknown),
            Some(status) if !status.has_ended() => Ok(PurgeTreeOutcome::NotEnded(status)),
            Some(_) if !tree.live.is_empty() => Ok(PurgeTreeOutcome::ChildrenNotEnded(tree.live)),
            Some(_) => Ok(PurgeTreeOutcome::Purged(self.purge_all(tenant, &tree.ended).await?)),
        }
    }

    /// Deletes those of the instances that have ended, in this order. Returns how many were deleted.
    async fn purge_all(&self, tenant: TenantId, instances: &[InstanceNumber]) -> Result<u64, Error> {
        let mut purged = 0;
        for piece in instances.chunks(MAX_PURGED_INSTANCES as usize) {
            let instances = piece.to_vec();
            let purge = Operation::PurgeMany {
                tenant,
                instances,
                is_upkeep: false,
            };
            match self.ask(purge).await? {
                Outcome::PurgeMany(gone) => purged += gone,
                other => wrong_answer(&other),
            }
        }
        Ok(purged)
    }

    /// Stores a broadcast. Its [pieces](Self::broadcast) raise the events.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn create_broadcast(&self, new: NewBroadcast) -> Result<BroadcastOutcome, Error> {
        match self.ask(Operation::CreateBroadcast(Box::new(new))).await? {
            Outcome::CreateBroadcast(outcome) => Ok(outcome),
            other => wrong_answer(&other),
        }
    }

    /// Raises the event of a broadcast for the instances of a piece, and moves the broadcast on. Returns the events;
    /// `None` if the broadcast is not where the piece begins, for example because the piece was written before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn broadcast(&self, piece: BroadcastPiece) -> Result<Option<Vec<RaisedByBroadcast>>, Error> {
        let item = EncodedItem::new(InboxItem::Event(piece.event.clone()));
        let piece = Box::new(piece);
        match self.ask(Operation::Broadcast { piece, item }).await? {
            Outcome::Broadcast(raised) => Ok(raised),
            other => wrong_answer(&other),
        }
    }

    /// Ends a broadcast before it has raised all its events. Those that it has raised stay raised.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn end_broadcast(&self, end: EndBroadcast) -> Result<EndOfBroadcast, Error> {
        match self.ask(Operation::EndBroadcast(end)).await? {
            Outcome::EndBroadcast(outcome) => Ok(outcome),
            other => wrong_answer(&other),
        }
    }

    /// Deletes some of the broadcasts, of all tenants, that were finished before a time. Returns how many; repeat it until
    /// there are none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_broadcasts(&self, before: Timestamp) -> Result<usize, Error> {
        match self.ask(Operation::ForgetBroadcasts { before }).await? {
            Outcome::ForgetBroadcasts(forgotten) => Ok(forgotten),
            other => wrong_answer(&other),
        }
    }

    /// The oldest unfinished broadcast of the next tenant after this one that has any.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_broadcast(&self, after: Option<TenantId>) -> Result<Option<NextBroadcast>, Error> {
        self.readers.next_broadcast(after).await
    }

    /// Changes tenants or API keys.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn administer(&self, change: Change) -> Result<Changed, Error> {
        match self.ask(Operation::Administer(Box::new(change))).await? {
            Outcome::Administer(changed) => Ok(changed),
            other => wrong_answer(&other),
        }
    }

    /// Changes a schedule, unless it has another revision.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn change_schedule(&self, change: ScheduleChange) -> Result<ScheduleChanged, Error> {
        self.write_schedule(change, None).await
    }

    /// Changes a schedule and creates an instance, both or neither. The instance has not run its first turn: the caller
    /// wakes it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn start_by_schedule(
        &self,
        change: ScheduleChange,
        number: InstanceNumber,
        creation: Creation,
    ) -> Result<ScheduleChanged, Error> {
        let commit = TurnCommit::of_creation(number, creation);
        let creation = Some(Box::new(EncodedCommit::new(commit)));
        self.write_schedule(change, creation).await
    }

    async fn write_schedule(
        &self,
        change: ScheduleChange,
        creation: Option<Box<EncodedCommit>>,
    ) -> Result<ScheduleChanged, Error> {
        let work = Box::new(ScheduleWork { change, creation });
        match self.ask(Operation::Schedule(work)).await? {
            Outcome::Schedule(changed) => Ok(changed),
            other => wrong_answer(&other),
        }
    }

    /// Stores a module and makes it the current version of its name.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_module(&self, put: PutModule) -> Result<PutModuleOutcome, Error> {
        match self.ask(Operation::PutModule(Box::new(put))).await? {
            Outcome::PutModule(outcome) => Ok(outcome),
            other => wrong_answer(&other),
        }
    }

    /// Deletes a module's name and functions. Returns whether it existed. Instances that run on it continue.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_module(&self, tenant: TenantId, name: &str, at: Timestamp) -> Result<bool, Error> {
        match self
            .ask(Operation::DeleteModule {
                tenant,
                name: name.to_owned(),
                at,
            })
            .await?
        {
            Outcome::DeleteModule(existed) => Ok(existed),
            other => wrong_answer(&other),
        }
    }

    /// Deletes garbage rows, about `limit` of them and at most [`MAX_SWEPT_ROWS`], and fewer if they are large. Returns
    /// whether there may be more.
    /// Call it from time to time, and repeat it while there are more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep(&self, now: Timestamp, limit: u64) -> Result<bool, Error> {
        let limit = limit.clamp(1, MAX_SWEPT_ROWS);
        Ok(self.sweep_rows(now, limit).await? || self.prune_attempts(limit).await?)
    }

    /// Deletes the bytes of an old version, unless they were uploaded again since. Returns whether it deleted them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_module_bytes(&self, version: OldVersion) -> Result<bool, Error> {
        match self.ask(Operation::DeleteModuleBytes(version)).await? {
            Outcome::DeleteModuleBytes(deleted) => Ok(deleted),
            other => wrong_answer(&other),
        }
    }

    /// Checks that the database can be written. Commits wait for it, so do not call it often.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn probe(&self) -> Result<(), Error> {
        match self.ask(Operation::Probe).await? {
            Outcome::Probe => Ok(()),
            other => wrong_answer(&other),
        }
    }

    async fn sweep_rows(&self, now: Timestamp, limit: u64) -> Result<bool, Error> {
        match self.ask(Operation::Sweep { now, limit }).await? {
            Outcome::Sweep(more) => Ok(more),
            other => wrong_answer(&other),
        }
    }

    async fn prune_attempts(&self, limit: u64) -> Result<bool, Error> {
        match self.ask(Operation::PruneAttempts { limit }).await? {
            Outcome::PruneAttempts(pruned) => Ok(pruned),
            other => wrong_answer(&other),
        }
    }

    async fn ask(&self, operation: Operation) -> Result<Outcome, Error> {
        let (reply, answer) = oneshot::channel();
        let description = operation.describe();
        let (whose, bytes) = (description.whose, description.bytes());
        let job = Job {
            operation,
            whose,
            bytes,
            room: self.room.take(bytes).await?,
            reply,
        };
        self.jobs.send(job).await.map_err(|_| Error::Closed)?;
        answer.await.map_err(|_| Error::Closed)?
    }
}

/// Queries of the dispatcher. They look across tenants: owners and timers know an instance by its number.
impl Store {
    /// The newest position on disk. A later [`load`](Self::load) returns all messages up to this position, except those
    /// that were consumed; newer messages may have arrived in between.
    pub fn newest_message(&self) -> InboxSeq {
        self.stats.newest_message()
    }

    /// Reads all that an owner needs to take over an instance. Of a long history and of an inbox of many megabytes, it
    /// returns only a part; if there are many [events](Self::events), it returns none of them. Messages that arrive
    /// during the read may be both in the result and delivered in another way; compare their sequence numbers.
    ///
    /// # Errors
    /// [`Error::Damaged`] when rows of the instance cannot be read.
    pub async fn load(&self, instance: InstanceNumber) -> Result<Option<InstanceRecord>, Error> {
        self.readers.takeover(instance).await
    }

    /// The oldest events of an instance for each of these folded names. The number of names and events is limited: only
    /// the first ones are returned.
    ///
    /// # Errors
    /// [`Error::Damaged`] when an event cannot be read.
    pub async fn events(&self, instance: InstanceNumber, names: &[String]) -> Result<Vec<EventPage>, Error> {
        self.readers.events(instance, names).await
    }

    /// The turns of an execution after a turn, in order and without gaps: at most `limit`, and fewer if they are large.
    ///
    /// # Errors
    /// [`Error::Damaged`], naming the turn, when one cannot be read or is missing.
    pub async fn history(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        after: TurnNumber,
        limit: u32,
    ) -> Result<Vec<Turn>, Error> {
        self.readers.history(instance, execution, after, limit).await
    }

    /// Live instances that must be woken when the host starts, in addition to those that
    /// [`wake_ups`](Self::wake_ups) returns: instances with messages (a suspended instance, or one whose first turn is
    /// delayed, only if it has control messages) or with activities in flight. In ascending order after a number, for
    /// paging.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn to_wake_at_start(
        &self,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<(TenantId, InstanceNumber)>, Error> {
        self.readers.to_wake_at_start(after, limit).await
    }

    /// Live instances of a tenant that have work: messages, activities in flight, or a wake-up time up to `now`. In
    /// ascending order after a number, for paging.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn to_wake_of(
        &self,
        tenant: TenantId,
        now: Timestamp,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<InstanceNumber>, Error> {
        self.readers.to_wake_of(tenant, now, after, limit).await
    }

    /// The wake-ups of instances after a position, the earliest first, except those of the tenants in `except`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn wake_ups(
        &self,
        after: Option<(Timestamp, InstanceNumber)>,
        except: &[TenantId],
        limit: u32,
    ) -> Result<Vec<WakeUp>, Error> {
        self.readers.wake_ups(after, except, limit).await
    }

    /// The tenants that have schedules, and when the first one of each is due.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn first_due_schedules(&self) -> Result<Vec<(TenantId, Timestamp)>, Error> {
        self.readers.first_due_schedules().await
    }

    /// When the first schedule of a tenant is due.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn first_due_schedule_of(&self, tenant: TenantId) -> Result<Option<Timestamp>, Error> {
        self.readers.first_due_schedule_of(tenant).await
    }

    /// Schedules of a tenant that are due, the earliest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_schedules(
        &self,
        tenant: TenantId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduleName>, Error> {
        self.readers.due_schedules(tenant, now, limit).await
    }

    /// A schedule, for the engine.
    ///
    /// # Errors
    /// [`Error::Damaged`] when it cannot be read; otherwise when the database fails.
    pub async fn schedule(&self, tenant: TenantId, name: &ScheduleName) -> Result<Option<ScheduleRow>, Error> {
        self.readers.schedule(tenant, name).await
    }

    /// The current versions of all modules of a tenant, by name. Only their functions can be called now.
    ///
    /// # Errors
    /// When the database fails, or a description cannot be read.
    pub async fn current_modules(&self, tenant: TenantId) -> Result<Vec<ModuleVersion>, Error> {
        self.readers.current_modules(tenant).await
    }

    /// Whether any version of a tenant's modules, current or not, declares events.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn declares_events(&self, tenant: TenantId) -> Result<bool, Error> {
        self.readers.declares_events(tenant).await
    }

    /// The digests of versions whose bytes are kept, of all tenants, by number: at most `limit` of those after a number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn kept_digests(
        &self,
        after: Option<ModuleNumber>,
        limit: u32,
    ) -> Result<Vec<(ModuleNumber, ModuleDigest)>, Error> {
        self.readers.kept_digests(after, limit).await
    }

    /// The old version with the next number, of any tenant, that no new call can name any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_old_version(
        &self,
        after: Option<ModuleNumber>,
        now: Timestamp,
    ) -> Result<Option<OldVersion>, Error> {
        self.readers.next_old_version(after, now).await
    }

    /// Live instances after a number that may need the bytes of an old version. An instance that does not need them now
    /// will never need them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn possible_users(
        &self,
        version: &OldVersion,
        after: Option<InstanceNumber>,
    ) -> Result<PossibleUsers, Error> {
        self.readers.possible_users(version, after).await
    }

    /// A module version, current or not.
    ///
    /// # Errors
    /// [`Error::Damaged`] when its description cannot be read.
    pub async fn module(&self, number: ModuleNumber) -> Result<Option<ModuleVersion>, Error> {
        self.readers.module(number).await
    }

    /// The bytes of a module version; `None` if they were deleted because nothing needed them any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn module_bytes(&self, number: ModuleNumber) -> Result<Option<Vec<u8>>, Error> {
        self.readers.module_bytes(number).await
    }
}

/// Unreachable: the writer always answers an operation with its own kind of outcome.
fn wrong_answer(outcome: &Outcome) -> ! {
    unreachable!("the writer answered with {outcome:?}")
}
