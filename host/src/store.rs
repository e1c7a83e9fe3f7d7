//! What survives: instances, histories, inboxes, modules.
//!
//! Here is what holds over any database: what is written together, what the one writer judges and remembers, what can be
//! asked. Databases stand behind the seam in `backend`: SQLite in `sqlite`, which alone knows SQL and sqlx, and for tests a
//! simulated disk.
//!
//! [`open`](Store::open) gives two things: a [`StoreService`] that must run for as long as the host does, and a [`Store`],
//! the handle that everybody else clones. All changes go through the service's one writer, which puts those that are ready
//! into one transaction; an answer means that the change is on disk. Queries see what was committed before they began. They
//! go through two sets of readers: the engine's own, and those for what people ask, which may be slow and wait.
//!
//! Queries for people hang off [`Store::tenant`] and cannot see another tenant. The few that look across tenants are the
//! dispatcher's, and say so.
//!
//! The store knows neither guests nor HTTP, and reads no clock: times come in with what is to be stored.

pub mod commit;
mod cursor;
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
mod counters;
mod decode;
mod events;
mod garbage;
mod history;
mod idempotency;
mod inbox;
mod instances;
mod page;
mod purges;
mod settings;
#[cfg(test)]
pub(crate) mod simulated;
mod sizes;
mod sqlite;
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
    commit::{
        AppendOutcome, AttemptRow, Creation, IdempotencyKey, InboxAppend, InstanceRecord, NewInstance, OutboundMessage,
        Recipient, StartOutcome, Summary, TakenEvent, TurnCommit, TurnReceipt,
    },
    cursor::{Cursor, CursorError, HistoryCursor},
    error::Error,
    list::{InstancePage, ListFilter},
    logs::{LogFilter, LogRow, LogSeq},
    modules::{ModuleVersion, OldVersion, PossibleUser, PossibleUsers, PutModule, PutModuleOutcome},
    settings::{SettingKind, SettingRow},
    sqlite::{Backup, StoreOptions, Synchronous, backup},
    stats::{BatchStats, StoreStats},
    tenant::{
        Addressee, FoundHistory, HistoryFilter, HistoryFrom, HistoryPage, InstanceDetails, InstanceSummary,
        ModuleHoldings, TenantHoldings, TenantStore,
    },
    usage::{Amount, Days, FunctionUsage, Used},
};
use self::{
    backend::{Connection, People, Readers, Upkeep},
    counters::InstanceNumbers,
    purges::EndedFilter,
    sizes::StoredBytes,
    stats::Stats,
    writer::{
        Database, WriteGate, Writer,
        operation::{EncodedCommit, EncodedItem, Job, Operation, Outcome},
    },
};
use crate::model::{
    EventPage, ExecutionNumber, InboxItem, InboxRow, InboxSeq, InstanceId, InstanceNumber, InstanceStatus, LogLine,
    ModuleNumber, StuckReason, TaskId, TenantId, Timestamp, Turn, TurnNumber, codec,
};

/// Most rows that one call of [`Store::sweep`] deletes: other commits wait for it, some ten milliseconds.
pub const MAX_SWEPT_ROWS: u64 = 1_000;

/// Most instances that one call of [`Store::purge_many`] deletes, for the same reason.
pub const MAX_PURGED_INSTANCES: u32 = 1_000;

/// What happened to a purge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurgeOutcome {
    /// The instance and all that belongs to it is gone.
    Purged,
    /// No instance has that id.
    Unknown,
    /// It has not ended; nothing was changed.
    NotEnded(InstanceStatus),
}

/// What happened to a purge of an instance and all that belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurgeTreeOutcome {
    /// That many instances are gone, it and all below it.
    Purged(u64),
    /// No instance has that id.
    Unknown,
    /// It has not ended; nothing was changed.
    NotEnded(InstanceStatus),
    /// Some below it have not ended, these among them; nothing was changed.
    ChildrenNotEnded(Vec<InstanceId>),
}

/// Which instances to purge together.
#[derive(Debug, Clone)]
pub struct PurgeMany {
    /// Their owner.
    pub tenant: TenantId,
    /// In one of these states; those in which an instance has not ended are ignored.
    pub statuses: Vec<InstanceStatus>,
    /// Ended before this time.
    pub ended_before: Timestamp,
    /// Also what belongs to them, in whatever state it ended; one below which something has not ended stays.
    pub recursive: bool,
    /// Goes on after this one; none to begin.
    pub after: Option<InstanceNumber>,
    /// At most that many, and at most [`MAX_PURGED_INSTANCES`].
    pub limit: u32,
}

/// What a purge of many did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgedMany {
    /// How many instances are gone.
    pub purged: u64,
    /// How many stay because something below them has not ended.
    pub left: u64,
    /// Where to go on; none if there are no more.
    pub next: Option<InstanceNumber>,
}

/// The part of the store that works in the background. Dropping it ends the store as a crash would: what was answered is
/// kept, what was not may be lost.
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
}

impl StoreService {
    /// Works until `shutdown` is cancelled or all handles are gone, writes what is in the queue by then, and closes the
    /// database.
    ///
    /// # Errors
    /// When another host has taken over, or the database cannot be closed properly. Everything that was answered is on disk
    /// even then.
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
    /// The store over it.
    async fn into_store(self) -> Result<(Store, StoreService), Error> {
        let Self {
            connection,
            readers,
            people,
            upkeep,
            gate,
            stats,
        } = self;
        let (sender, receiver) = mpsc::channel(writer::QUEUE_CAPACITY);
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
        };
        let writer = Writer {
            jobs: receiver,
            gate,
            stats,
            database,
        };
        Ok((store, StoreService { writer, upkeep }))
    }
}

impl Store {
    /// The rows of one tenant, for people's queries.
    pub fn tenant(&self, tenant: TenantId) -> TenantStore {
        TenantStore::new(self.readers.clone(), self.people.clone(), tenant)
    }

    /// All tenants, by number: for the host's administrator.
    ///
    /// # Errors
    /// When the database fails, or a row cannot be read.
    pub async fn tenants(&self) -> Result<Vec<TenantRow>, Error> {
        self.readers.tenants().await
    }

    /// All API keys, without their secrets: for the host's administrator.
    ///
    /// # Errors
    /// When the database fails, or a row cannot be read.
    pub async fn api_keys(&self) -> Result<Vec<KeyRow>, Error> {
        self.readers.api_keys().await
    }

    /// The settings and secrets of all tenants, the latter sealed: for whoever gives them to activities.
    ///
    /// # Errors
    /// When the database fails, or a row cannot be read.
    pub async fn settings(&self) -> Result<Vec<SettingRow>, Error> {
        self.readers.settings().await
    }

    /// How much is stored of a tenant's instances, in bytes, as of the last commit. Modules are counted apart from that.
    pub fn stored_bytes(&self, tenant: TenantId) -> u64 {
        self.stored.of(tenant)
    }

    /// What the writer did since the host started.
    pub fn stats(&self) -> StoreStats {
        self.stats.read()
    }

    /// How large and how slow the writer's transactions were.
    pub fn batch_stats(&self) -> BatchStats {
        self.stats.read_batches()
    }

    /// How many operations wait for the writer now.
    pub fn queue_length(&self) -> usize {
        self.jobs.max_capacity() - self.jobs.capacity() + self.stats.backlog()
    }

    /// Reads everything and says what is wrong with it; nothing if all is well. Slow: for `windlass check`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn check(&self) -> Result<Vec<String>, Error> {
        self.readers.check().await
    }
}

/// Changes. Each is written whole or not at all, and answered when it is on disk.
///
/// # Cancel safety
/// Dropping one of these futures leaves open whether the change happens, unless it never got as far as the queue.
impl Store {
    /// A number for an instance that is to be [created](TurnCommit::creation) under that id. Never given out again, used or
    /// not.
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

    /// Appends a message of the host to the inbox of a live instance; none if it has ended or is gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliver(&self, to: InstanceNumber, item: InboxItem) -> Result<Option<InboxRow>, Error> {
        self.deliver_used(to, item, None).await
    }

    /// The same, for a message that something was used up for, which is noted in any case.
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

    /// Writes a step of an instance with all that it causes.
    ///
    /// # Errors
    /// [`Error::Contradiction`] when it does not continue what is stored; otherwise when the database fails.
    pub async fn commit(&self, commit: TurnCommit) -> Result<TurnReceipt, Error> {
        match self
            .ask(Operation::Commit(Box::new(EncodedCommit::new(commit))))
            .await?
        {
            Outcome::Commit(receipt) => Ok(receipt),
            other => wrong_answer(&other),
        }
    }

    /// Notes an attempt, with what it logged; says whether it was noted, which it is not if the instance has ended, is
    /// gone, or is in another execution. What it logged is kept if the instance is there at all and its log, of at most
    /// that many bytes per execution, has room; what it used in any case.
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

    /// What is noted of the attempts of some tasks of an execution; nothing of those that have none.
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

    /// Notes what was used for something that nothing else is written of: an attempt that was cancelled, a result that
    /// nobody waits for.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_usage(&self, used: Used) -> Result<(), Error> {
        match self.ask(Operation::NoteUsage(Box::new(used))).await? {
            Outcome::NoteUsage => Ok(()),
            other => wrong_answer(&other),
        }
    }

    /// Marks a live instance as stuck and forgets when to wake it; says whether there was one.
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

    /// Counts that the host ended uncleanly while a turn of the instance ran; says how often in a row it did, or nothing
    /// if the instance has ended or is gone. The next turn that is committed sets the count to zero.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_unclean_end(&self, instance: InstanceNumber) -> Result<Option<u32>, Error> {
        match self.ask(Operation::CountUncleanEnd(instance)).await? {
            Outcome::CountUncleanEnd(count) => Ok(count),
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

    /// Deletes some of the instances that fit; to be called again with what it returns as `next`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_many(&self, purge: PurgeMany) -> Result<PurgedMany, Error> {
        let PurgeMany {
            tenant,
            statuses,
            ended_before,
            recursive,
            after,
            limit,
        } = purge;
        let filter = EndedFilter {
            statuses: statuses.into_iter().filter(|status| status.has_ended()).collect(),
            before: ended_before,
            after,
            limit: limit.clamp(1, MAX_PURGED_INSTANCES),
        };
        let found = self.tenant(tenant).ended(&filter).await?;
        let (mut purged, mut left) = (0, 0);
        if recursive {
            for instance in found.instances {
                let tree = self.tenant(tenant).tree(instance).await?;
                if tree.live.is_empty() {
                    purged += self.purge_all(tenant, &tree.ended).await?;
                } else {
                    left += 1;
                }
            }
        } else {
            purged = self.purge_all(tenant, &found.instances).await?;
        }
        Ok(PurgedMany {
            purged,
            left,
            next: found.next,
        })
    }

    /// Deletes an instance that has ended, with its sub-orchestrations, theirs, and so on, if all of them have ended.
    ///
    /// Large trees are deleted in pieces, children before their parents: after a failure in the middle, the same call
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

    /// Deletes those of the instances that have ended, in this order, and says how many.
    async fn purge_all(&self, tenant: TenantId, instances: &[InstanceNumber]) -> Result<u64, Error> {
        let mut purged = 0;
        for piece in instances.chunks(MAX_PURGED_INSTANCES as usize) {
            let instances = piece.to_vec();
            match self.ask(Operation::PurgeMany { tenant, instances }).await? {
                Outcome::PurgeMany(gone) => purged += gone,
                other => wrong_answer(&other),
            }
        }
        Ok(purged)
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

    /// Takes a module's name and functions away; says whether it existed. What runs on it goes on.
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

    /// Deletes rows that nobody needs any more, about `limit` of them and at most [`MAX_SWEPT_ROWS`]; says whether there may
    /// be more to delete. To be called from time to time, and again for as long as there is more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn sweep(&self, now: Timestamp, limit: u64) -> Result<bool, Error> {
        let limit = limit.clamp(1, MAX_SWEPT_ROWS);
        Ok(self.sweep_rows(now, limit).await? >= limit || self.prune_attempts(limit).await?)
    }

    /// Deletes the bytes of an old version, unless they were uploaded again meanwhile; says whether it did.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_module_bytes(&self, version: OldVersion) -> Result<bool, Error> {
        match self.ask(Operation::DeleteModuleBytes(version)).await? {
            Outcome::DeleteModuleBytes(deleted) => Ok(deleted),
            other => wrong_answer(&other),
        }
    }

    /// Whether it can be written. Commits wait for it; so do not ask too often.
    ///
    /// # Errors
    /// When it cannot.
    pub async fn probe(&self) -> Result<(), Error> {
        match self.ask(Operation::Probe).await? {
            Outcome::Probe => Ok(()),
            other => wrong_answer(&other),
        }
    }

    async fn sweep_rows(&self, now: Timestamp, limit: u64) -> Result<u64, Error> {
        match self.ask(Operation::Sweep { now, limit }).await? {
            Outcome::Sweep(deleted) => Ok(deleted),
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

/// Queries of the dispatcher. They look across tenants: an owner and a timer know an instance by its number.
impl Store {
    /// The newest message on disk: one that [`load`](Self::load) finds afterwards and that is not newer was there
    /// before, and one that it does not find had been consumed.
    pub fn newest_message(&self) -> InboxSeq {
        self.stats.newest_message()
    }

    /// All that an owner needs to take over an instance, except the rest of its history, of an inbox of many megabytes,
    /// and many [events](Self::events). Messages that arrive meanwhile may be in it as well as delivered in another way;
    /// their sequence numbers tell.
    ///
    /// # Errors
    /// [`Error::Damaged`] when rows of the instance cannot be read.
    pub async fn load(&self, instance: InstanceNumber) -> Result<Option<InstanceRecord>, Error> {
        self.readers.takeover(instance).await
    }

    /// The oldest events of an instance of each of these folded names. Of many names or events, only the first.
    ///
    /// # Errors
    /// [`Error::Damaged`] when one cannot be read.
    pub async fn events(&self, instance: InstanceNumber, names: &[String]) -> Result<Vec<EventPage>, Error> {
        self.readers.events(instance, names).await
    }

    /// Turns of an execution after a turn, in order and without gaps: at most that many, and fewer of large ones.
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

    /// Live instances that must be woken when the host starts, besides those that [`waking_before`](Self::waking_before)
    /// finds: with messages (unless suspended, and no message ends that) or with activities in flight. In ascending order
    /// after a number, for paging.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn to_wake_at_start(
        &self,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<InstanceNumber>, Error> {
        self.readers.to_wake_at_start(after, limit).await
    }

    /// Live instances of a tenant that have something to do: messages, activities in flight, or a wake-up that was due by
    /// that time. In ascending order after a number, for paging.
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

    /// Instances that are to be woken at or before a time, the earliest first, except those of some tenants.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn waking_before(
        &self,
        time: Timestamp,
        except: &[TenantId],
        limit: u32,
    ) -> Result<Vec<(Timestamp, InstanceNumber)>, Error> {
        self.readers.waking_before(time, except, limit).await
    }

    /// The current versions of all modules of a tenant, by name. Their functions are all that can be called now.
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

    /// The old version with the next number, of whatever tenant, that no new call can name any more.
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

    /// Live instances after a number that may need the bytes of an old version. One that does not never will.
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

    /// The bytes of a module version; none if they were deleted because nothing needed them any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn module_bytes(&self, number: ModuleNumber) -> Result<Option<Vec<u8>>, Error> {
        self.readers.module_bytes(number).await
    }
}

/// An operation is always answered with its own kind of outcome.
fn wrong_answer(outcome: &Outcome) -> ! {
    unreachable!("the writer answered with {outcome:?}")
}
