//! The single task that writes to the database.
//!
//! Group commit: the writer takes all operations that are ready, writes them in one transaction, and answers all of
//! them when the transaction is on disk. While one batch waits for the disk, the next one collects. A batch that the
//! database rejects is rolled back and retried in halves, so that a bad operation fails alone. Operations of a tenant
//! keep their order; when more operations wait than fit into a batch, those of the tenants go first for which the
//! fewest bytes were written.
//!
//! Because it is the only writer of its partitions, it may [cache](Memory) what it wrote.

mod backlog;
mod description;
mod gate;
mod instance_heads;
pub(super) mod operation;
mod plan;
mod pruning;
mod rest;
pub(super) mod rows;
mod sizing;
mod transaction;

use std::{
    collections::{BTreeSet, HashSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::{
    backlog::{Backlog, Line},
    description::{Description, Whose},
    instance_heads::{HeadCache, InstanceHeads, Wanted},
    operation::{Job, Operation, Outcome},
    plan::{Completions, OldHeartbeats, Waiting},
    plan::{FunctionNumbers, Keys, Plan},
    pruning::OldAttempts,
    rows::Rows,
    sizing::{LinesToWrite, Sizing},
};
pub(super) use self::{gate::WriteGate, rest::Rest, transaction::Transaction};
use super::{
    BroadcastOutcome, Change, Changed, Error, ScheduleChanged, Stats,
    backend::Connection,
    broadcasts::Advance,
    counters::{self, Counters, InstanceNumbers},
    inbox::MAX_COUNTED,
    instances::ByNumber,
    ownership::Ownership,
    schedules::ScheduleWork,
    sizes::{Growth, StoredBytes},
};
use crate::model::{InboxSeq, InstanceStatus, TenantId};

/// The capacity of the queue to the writer, in operations. When it is full, callers wait.
pub(super) const QUEUE_CAPACITY: usize = 4_096;

/// The maximum number of operations that the writer sorts by tenant. Others stay in the queue, in order of arrival.
const MAX_BACKLOG: usize = 4 * QUEUE_CAPACITY;

/// The maximum number of operations in a batch. Larger batches would only delay the first operation: the cost per
/// operation hardly falls any more.
const MAX_BATCH: usize = 256;

/// The approximate limit of a batch in bytes, because other operations wait for it: some ten milliseconds of a disk's
/// time. A larger operation is a batch of its own.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// The same while operations of several tenants wait, because each step of an instance waits for the batch that is being
/// written and for its own.
const MAX_SHARED_BATCH_BYTES: usize = 1 << 20;

/// The capacity of the queue to the writer, in bytes. When it is full, callers wait.
const QUEUE_BYTES: usize = 256 << 20;

/// Batches that take longer are logged.
const SLOW: Duration = Duration::from_millis(200);

/// The maximum number of cached function names; the cache is cleared above it. Far more than the modules of a host
/// offer.
const MAX_FUNCTION_NUMBERS: usize = 50_000;

/// Operations of at most this size do not wait behind larger ones for room in the queue, in bytes. They are also written
/// while the log is too long.
const SMALL_BYTES: usize = 16 << 10;

/// The capacity of the queue for small operations, in bytes, in addition to [`QUEUE_BYTES`].
const QUEUE_SMALL_BYTES: usize = 64 << 20;

/// The byte budget of the queue to the writer, in units of [`QueueBudget::UNIT`] bytes. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct QueueBudget {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

impl QueueBudget {
    const UNIT: usize = 1 << 10;

    pub(super) fn new() -> Self {
        let room = |bytes| Arc::new(Semaphore::new(bytes / Self::UNIT));
        Self {
            small: room(QUEUE_SMALL_BYTES),
            large: room(QUEUE_BYTES),
        }
    }

    /// Waits until the queue has room for this many bytes. A larger operation than the whole budget waits until the
    /// queue has no other large ones.
    pub(super) async fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Error> {
        let room = match bytes <= SMALL_BYTES {
            true => &self.small,
            false => &self.large,
        };
        let units = bytes.div_ceil(Self::UNIT).clamp(1, QUEUE_BYTES / Self::UNIT);
        let units = u32::try_from(units).expect("clamped");
        let room = Arc::clone(room).acquire_many_owned(units).await;
        room.map_err(|_| Error::Closed)
    }
}

/// The writer, with its queue.
pub(super) struct Writer {
    pub(super) jobs: mpsc::Receiver<Job>,
    pub(super) gate: WriteGate,
    pub(super) stats: Arc<Stats>,
    pub(super) database: Database,
    pub(super) rest: Rest,
}

/// The connection, and the cached rows of the partitions that it owns.
pub(super) struct Database {
    connection: Connection,
    memory: Memory,
}

/// The writer's cached view of its partitions. It is correct while the writer owns them, because no other writer
/// changes them; afterwards, the database rejects the writer's transactions.
struct Memory {
    ownership: Ownership,
    heads: HeadCache,
    functions: FunctionNumbers,
    counters: Counters,
    stored: Arc<StoredBytes>,
    /// Tenants that were deleted since the host started. Operations for them may still be in the queue.
    gone: HashSet<TenantId>,
}

impl Writer {
    /// Writes until `shutdown` is cancelled or all handles are dropped, then writes what is still in the queue.
    ///
    /// # Errors
    /// When another host has taken over, or the connection cannot be closed.
    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Result<(), Error> {
        let mut backlog = Backlog::new();
        let mut small_is_stuck = false;
        loop {
            if shutdown.is_cancelled() && !self.jobs.is_closed() {
                self.jobs.close();
            }
            let mut batch = Vec::with_capacity(MAX_BATCH);
            if backlog.is_empty() {
                let all_gone = tokio::select! {
                    biased;
                    () = shutdown.cancelled(), if !self.jobs.is_closed() => continue,
                    taken = self.jobs.recv_many(&mut batch, MAX_BATCH) => taken == 0,
                };
                if all_gone {
                    break;
                }
            }
            let (now, bytes) = (Instant::now(), batch.iter().map(|job| job.bytes).sum::<usize>());
            batch.iter().for_each(|job| self.rest.note(job, now));
            let only_small = self.gate.is_for_small() || self.rest.is_on(now);
            if batch.len() == MAX_BATCH || bytes > MAX_SHARED_BATCH_BYTES || only_small || !backlog.is_empty() {
                self.sort(&mut backlog, batch.drain(..));
                let max_each = if only_small { SMALL_BYTES } else { usize::MAX };
                batch.extend(next_batch(&mut backlog, max_each));
                self.stats.set_backlog(backlog.len());
                if batch.is_empty() {
                    if small_is_stuck {
                        // Behind a large operation of the same tenant.
                        self.rest.end_early();
                    }
                    small_is_stuck = self.wait_for_more(&mut backlog).await;
                    continue;
                }
                small_is_stuck = false;
            }
            let gate = self.gate.pass().await;
            let begun = Instant::now();
            let has_large = batch.iter().any(|job| job.bytes > SMALL_BYTES);
            let written = self.database.write(batch, &self.stats).await;
            drop(gate);
            if has_large {
                self.rest.after_large(begun, Instant::now());
            }
            written?;
        }
        self.database.connection.close().await?;
        Ok(())
    }

    /// Sorts the received jobs, and others that are in the queue, by tenant.
    fn sort(&mut self, backlog: &mut Backlog<Job>, taken: impl Iterator<Item = Job>) {
        let queued = std::iter::from_fn(|| self.jobs.try_recv().ok());
        let room = MAX_BACKLOG.saturating_sub(backlog.len());
        for job in taken.chain(queued).take(room) {
            self.rest.note(&job, Instant::now());
            add(&mut self.database.memory.heads, backlog, job);
        }
    }

    /// Waits while only large operations may be taken from the backlog and none of them may be written. Returns whether a
    /// small operation came.
    async fn wait_for_more(&mut self, backlog: &mut Backlog<Job>) -> bool {
        let has_room = backlog.len() < MAX_BACKLOG;
        let open_for_all = async {
            self.gate.open_for_all().await;
            self.rest.over().await;
        };
        let job = tokio::select! {
            biased;
            () = open_for_all => None,
            Some(job) = self.jobs.recv(), if has_room => Some(job),
        };
        let Some(job) = job else { return false };
        let is_small = job.bytes <= SMALL_BYTES;
        self.rest.note(&job, Instant::now());
        add(&mut self.database.memory.heads, backlog, job);
        is_small
    }
}

fn add(heads: &mut HeadCache, backlog: &mut Backlog<Job>, job: Job) {
    backlog.push(heads.line_of(job.whose), job.bytes, job);
}

/// Takes a batch from the backlog, of operations that write at most `max_each` bytes.
fn next_batch(backlog: &mut Backlog<Job>, max_each: usize) -> Vec<Job> {
    let most = match backlog.is_shared() {
        true => MAX_SHARED_BATCH_BYTES,
        false => MAX_BATCH_BYTES,
    };
    let mut batch = Vec::new();
    let mut room = usize::MAX;
    while batch.len() < MAX_BATCH
        && let Some(job) = backlog.pop(max_each, room)
    {
        // The first one may exceed the limit.
        room = room.min(most).saturating_sub(job.bytes);
        batch.push(job);
    }
    batch
}

impl Database {
    /// Takes over a database, whose schema must be up to date.
    pub(super) async fn new(mut connection: Connection) -> Result<Self, Error> {
        let memory = Memory::load(&mut connection).await?;
        Ok(Self { connection, memory })
    }

    /// The stored bytes of each tenant, as of the last commit.
    pub(super) fn stored_bytes(&self) -> Arc<StoredBytes> {
        Arc::clone(&self.memory.stored)
    }

    /// The newest position that can be on disk.
    pub(super) fn newest_message(&self) -> InboxSeq {
        self.memory.counters.newest_seq()
    }

    /// The allocator of instance numbers.
    pub(super) fn instance_numbers(&self) -> InstanceNumbers {
        self.memory.counters.instances().clone()
    }

    /// Writes a batch, in halves if necessary, and answers all its operations.
    ///
    /// # Errors
    /// [`Error::NotOwner`] when another host has taken over: this writer cannot write any more.
    async fn write(&mut self, batch: Vec<Job>, stats: &Stats) -> Result<(), Error> {
        let mut left = vec![batch];
        while let Some(mut jobs) = left.pop() {
            let begun = Instant::now();
            match self.attempt(&jobs).await {
                Ok((outcomes, rows)) => {
                    let took = begun.elapsed();
                    stats.count_batch(jobs.len(), rows, took);
                    if took > SLOW {
                        let bytes: usize = jobs.iter().map(|job| job.bytes).sum();
                        tracing::debug!(operations = jobs.len(), rows, bytes, ?took, "a batch took long");
                    }
                    stats.set_newest_message(self.newest_message());
                    for (Job { reply, room, .. }, outcome) in jobs.into_iter().zip(outcomes) {
                        drop(room);
                        // The caller may have stopped waiting; the operation is done anyway.
                        let _ = reply.send(outcome);
                    }
                }
                Err(Failed::BeforeAnything(error) | Failed::RolledBack(error)) if matches!(error, Error::NotOwner) => {
                    // Dropping the jobs notifies their senders that the writer has stopped.
                    return Err(error);
                }
                Err(Failed::BeforeAnything(error)) => {
                    tracing::error!(%error, "the database cannot be written");
                    stats.count_failure();
                    for job in jobs {
                        let _ = job.reply.send(Err(error.clone()));
                    }
                }
                Err(Failed::RolledBack(error)) if jobs.len() == 1 => {
                    tracing::warn!(%error, "an operation was rejected by the database");
                    stats.count_failure();
                    if let Some(job) = jobs.pop() {
                        let _ = job.reply.send(Err(error));
                    }
                }
                Err(Failed::RolledBack(error)) => {
                    tracing::debug!(%error, operations = jobs.len(), "a batch was rejected; splitting it");
                    let second = jobs.split_off(jobs.len() / 2);
                    left.push(second);
                    left.push(jobs);
                }
            }
        }
        Ok(())
    }

    /// Writes a batch in one transaction: all of it, or none.
    async fn attempt(&mut self, jobs: &[Job]) -> Result<(Vec<Result<Outcome, Error>>, u64), Failed> {
        let counters = self.memory.counters.clone();
        match self.write_rows(jobs).await {
            Ok(Written {
                outcomes,
                heads,
                growth,
                left,
                gone,
                rows,
            }) => {
                self.memory.heads.absorb(heads);
                if jobs
                    .iter()
                    .zip(&outcomes)
                    .any(|(job, outcome)| swept_all(&job.operation, outcome))
                {
                    self.memory.stored.swept();
                }
                self.memory.stored.absorb(&growth);
                self.memory.stored.leave(&left);
                self.memory.gone = gone;
                Ok((outcomes, rows))
            }
            Err(error) => {
                self.memory.counters = counters;
                self.memory.functions.clear();
                Err(match self.roll_back().await {
                    Ok(()) => Failed::RolledBack(error),
                    Err(_) => Failed::BeforeAnything(error),
                })
            }
        }
    }

    async fn write_rows(&mut self, jobs: &[Job]) -> Result<Written, Error> {
        let Self { connection, memory } = self;
        let Memory {
            ownership,
            functions,
            counters,
            heads: cache,
            gone,
            ..
        } = memory;
        let mut transaction = Transaction::new(connection);
        let described: Vec<_> = jobs.iter().map(|job| job.operation.describe()).collect();
        let (heads, keys, attempts, heartbeats, completions, waiting) =
            gather(&described, cache, functions, &mut transaction).await?;
        let mut plan = Plan {
            heads,
            keys,
            attempts,
            heartbeats,
            completions,
            waiting,
            functions,
            counters,
            rows: Rows::default(),
            sizing: Sizing::default(),
            gone: gone.clone(),
        };
        let mut outcomes: Vec<Result<Outcome, Error>> = Vec::with_capacity(jobs.len());
        let mut rows = 0;
        for (job, operation) in jobs.iter().zip(&described) {
            if !operation.is_of(*ownership) {
                outcomes.push(Err(Error::NotOwner));
                continue;
            }
            if operation.must_see(&plan.rows) {
                plan.settle();
                plan.counters.reserve(&mut transaction).await?;
                rows += transaction.write(&std::mem::take(&mut plan.rows)).await?;
            }
            outcomes.push(step(&mut plan, &mut transaction, &job.operation).await?);
        }
        plan.settle();
        plan.counters.reserve(&mut transaction).await?;
        rows += transaction.commit(&plan.rows).await?;
        let (growth, left) = plan.sizing.into_growth();
        Ok(Written {
            outcomes,
            heads: plan.heads,
            growth,
            left,
            gone: plan.gone,
            rows,
        })
    }

    /// Ends the transaction, if there is one. If that fails (the error has already ended the transaction, or the
    /// connection is broken), replaces the connection. Fails if it is still not possible to write then.
    async fn roll_back(&mut self) -> Result<(), Error> {
        if self.connection.roll_back().await.is_ok() {
            return Ok(());
        }
        self.connection.reopen().await?;
        self.connection.begin().await?;
        self.connection.roll_back().await
    }
}

impl Memory {
    /// Takes over the partitions, and reads the rows that must be cached from the start.
    async fn load(connection: &mut Connection) -> Result<Self, Error> {
        let ownership = connection.take_over().await?;
        tracing::debug!(epoch = ownership.epoch().0, "this host owns all partitions");
        Ok(Self {
            ownership,
            heads: HeadCache::new(),
            functions: FunctionNumbers::new(),
            counters: Counters::load(connection).await?,
            stored: Arc::new(StoredBytes::new(connection.stored_bytes().await?)),
            gone: HashSet::new(),
        })
    }
}

/// Reads everything that the operations may need, in a few round trips.
async fn gather(
    operations: &[Description<'_>],
    cache: &mut HeadCache,
    functions: &mut FunctionNumbers,
    transaction: &mut Transaction<'_>,
) -> Result<(InstanceHeads, Keys, OldAttempts, OldHeartbeats, Completions, Waiting), Error> {
    let mut wanted = Wanted::default();
    let mut ending = Vec::new();
    let mut attempts = OldAttempts::default();
    let mut wanted_keys = Vec::new();
    let mut wanted_attempts = Vec::new();
    let mut wanted_heartbeats = Vec::new();
    let mut wanted_completions = Vec::new();
    let mut swept_rows = 0;
    let mut unknown_functions = BTreeSet::new();
    if functions.len() > MAX_FUNCTION_NUMBERS {
        functions.clear();
    }
    for operation in operations {
        operation.gather_instances(&mut wanted);
        wanted_attempts.extend(operation.replaced_attempts());
        wanted_heartbeats.extend(operation.heartbeat);
        wanted_completions.extend(operation.completion);
        ending.extend(operation.ending.map(ByNumber));
        if let Some(limit) = operation.prunes
            && attempts.prunable.is_none()
        {
            attempts.prunable = transaction.reading().prunable_attempts(limit).await?;
        }
        swept_rows += operation.sweeps;
        unknown_functions.extend(
            operation
                .functions()
                .filter(|(tenant, name)| !functions.contains_key(&(*tenant, (*name).clone()))),
        );
        wanted_keys.extend(operation.keys());
    }
    for (tenant, name) in unknown_functions {
        let number = transaction.changing().await?.intern(tenant, name).await?;
        functions.insert((tenant, name.clone()), number);
    }
    if swept_rows > 0 {
        let instances = transaction.reading().with_old_logs(swept_rows).await?;
        instances.into_iter().for_each(|instance| wanted.number(instance));
    }
    if let Some(prunable) = &attempts.prunable {
        wanted.number(prunable.task.instance);
    }
    let heads = cache.gather(&wanted, transaction.reading()).await?;
    if !wanted_attempts.is_empty() {
        attempts.bytes = transaction
            .reading()
            .measure_attempts(&wanted_attempts)
            .await?
            .into_iter()
            .collect();
    }
    let mut heartbeats = OldHeartbeats::new();
    if !wanted_heartbeats.is_empty() {
        heartbeats.extend(transaction.reading().measure_heartbeats(&wanted_heartbeats).await?);
    }
    let mut completions = Completions::new();
    if !wanted_completions.is_empty() {
        completions.extend(transaction.reading().find_completions(&wanted_completions).await?);
    }
    let mut waiting = Waiting::new();
    if !ending.is_empty() {
        let counted = transaction.reading().count_messages(&ending).await?;
        waiting.extend(counted.into_iter().filter(|(_, count)| *count < MAX_COUNTED));
    }
    let keys = transaction.reading().find_keys(&wanted_keys).await?;
    let keys = keys
        .into_iter()
        .map(|key| ((key.tenant, key.key.clone()), key))
        .collect();
    Ok((heads, keys, attempts, heartbeats, completions, waiting))
}

/// Why a batch was not written.
enum Failed {
    /// No transaction could begin: smaller batches would fail too.
    BeforeAnything(Error),
    /// The database rejected an operation of the batch.
    RolledBack(Error),
}

/// The results of a committed batch.
struct Written {
    outcomes: Vec<Result<Outcome, Error>>,
    heads: InstanceHeads,
    growth: Growth,
    /// What it left behind as garbage.
    left: Growth,
    gone: HashSet<TenantId>,
    rows: u64,
}

/// Whether this was a sweep that found no more garbage.
fn swept_all(operation: &Operation, outcome: &Result<Outcome, Error>) -> bool {
    matches!(
        (operation, outcome),
        (Operation::Sweep { .. }, Ok(Outcome::Sweep(false)))
    )
}

/// Executes one operation. The inner error fails only this operation; the outer one fails the batch.
async fn step<'a>(
    plan: &mut Plan<'a>,
    transaction: &mut Transaction<'_>,
    operation: &'a Operation,
) -> Result<Result<Outcome, Error>, Error> {
    Ok(Ok(match operation {
        Operation::Append { append, bytes, key } => Outcome::Append(plan.append(append, bytes, key.as_ref())),
        Operation::Deliver { to, item, used } => Outcome::Deliver(plan.deliver(*to, item, used.as_deref())),
        Operation::Commit(work) => return Ok(plan.commit(work).map(Outcome::Commit)),
        Operation::NoteAttempt {
            instance,
            attempt,
            lines,
            max_log_bytes,
            used,
        } => {
            let lines = LinesToWrite {
                lines,
                max_bytes: *max_log_bytes,
            };
            Outcome::NoteAttempt(plan.note_attempt(*instance, attempt, lines, used.as_deref()))
        }
        Operation::NoteHeartbeat { instance, heartbeat } => {
            Outcome::NoteHeartbeat(plan.note_heartbeat(*instance, heartbeat))
        }
        Operation::ChangeCompletion(work) => Outcome::ChangeCompletion(plan.change_completion(work)),
        Operation::NoteUsage(used) => {
            plan.note_usage(used);
            Outcome::NoteUsage
        }
        Operation::PruneAttempts { .. } => Outcome::PruneAttempts(plan.prune_attempts()),
        Operation::Purge { tenant, id } => Outcome::Purge(plan.purge(*tenant, id)),
        Operation::PurgeMany { tenant, instances, .. } => Outcome::PurgeMany(plan.purge_many(*tenant, instances)),
        Operation::MarkStuck { instance, reason, at } => {
            let marked = transaction.changing().await?.mark_stuck(*instance, reason, *at).await?;
            if let Some(head) = plan.heads.by_number_mut(*instance).filter(|_| marked) {
                head.status = InstanceStatus::Stuck;
            }
            Outcome::MarkStuck(marked)
        }
        Operation::Administer(change) => {
            let changed = transaction.changing().await?.administer(change).await?;
            if let (Change::DeleteTenant(tenant), Changed::Done(_)) = (&**change, changed) {
                plan.gone.insert(*tenant);
            }
            Outcome::Administer(changed)
        }
        Operation::CreateBroadcast(new) => {
            let created = transaction.changing().await?.create_broadcast(new).await?;
            if created == BroadcastOutcome::Created {
                plan.sizing.count(new.tenant, 0, new.bytes());
            }
            Outcome::CreateBroadcast(created)
        }
        Operation::Broadcast { piece, item } => {
            let recipients = plan.recipients(piece);
            let advance = Advance {
                piece,
                raised: recipients.len() as u64,
                skipped: piece.refused + (piece.instances.len() - recipients.len()) as u64,
            };
            let advanced = transaction.changing().await?.advance_broadcast(&advance).await?;
            Outcome::Broadcast(advanced.then(|| plan.raise_for_all(&recipients, item)))
        }
        Operation::EndBroadcast(end) => Outcome::EndBroadcast(transaction.changing().await?.end_broadcast(end).await?),
        Operation::ForgetBroadcasts { before } => {
            let forgotten = transaction.changing().await?.forget_broadcasts(*before).await?;
            for (tenant, bytes) in &forgotten {
                plan.sizing.count(*tenant, *bytes, 0);
            }
            Outcome::ForgetBroadcasts(forgotten.len())
        }
        Operation::PutModule(put) => {
            let put_module = transaction.changing().await?.put_module(put).await?;
            Outcome::PutModule(plan.count_change(put.tenant, put_module))
        }
        Operation::DeleteModule { tenant, name, at } => {
            Outcome::DeleteModule(transaction.changing().await?.delete_module(*tenant, name, *at).await?)
        }
        Operation::Probe => {
            counters::skip_one(transaction.changing().await?).await?;
            Outcome::Probe
        }
        Operation::Sweep { now, limit } => {
            let swept = transaction.changing().await?.sweep(*now, *limit).await?;
            Outcome::Sweep(plan.count_swept(swept))
        }
        Operation::Schedule(work) => return schedule(plan, transaction, work).await,
        Operation::DeleteModuleBytes(version) => {
            let deleted = transaction.changing().await?.delete_module_bytes(version).await?;
            Outcome::DeleteModuleBytes(plan.count_change(version.tenant, deleted))
        }
    }))
}

/// Changes a schedule, with the instance that it starts.
async fn schedule<'a>(
    plan: &mut Plan<'a>,
    transaction: &mut Transaction<'_>,
    work: &'a ScheduleWork,
) -> Result<Result<Outcome, Error>, Error> {
    let change = &work.change;
    if let Some(refused) = transaction.changing().await?.schedule_refusal(change).await? {
        return Ok(Ok(Outcome::Schedule(refused)));
    }
    if let Some(creation) = &work.creation {
        match plan.commit(creation) {
            Ok(receipt) => {
                if let Some(refused) = receipt.refused {
                    return Ok(Ok(Outcome::Schedule(ScheduleChanged::NotStarted(refused))));
                }
            }
            Err(error) => return Ok(Err(error)),
        }
    }
    let revision = plan.counters.next_seq().0;
    let written = transaction.changing().await?.write_schedule(change, revision).await?;
    plan.count_change(change.tenant, written);
    Ok(Ok(Outcome::Schedule(ScheduleChanged::Done { revision })))
}

impl HeadCache {
    /// The queue of an operation.
    fn line_of(&mut self, whose: Whose) -> Line {
        match whose {
            Whose::Tenant(tenant) => Line::Tenant(tenant),
            Whose::Instance(instance) => self.owner(instance).map_or(Line::Unknown, Line::Tenant),
            Whose::Host => Line::Host,
            Whose::Upkeep => Line::Upkeep,
        }
    }
}
