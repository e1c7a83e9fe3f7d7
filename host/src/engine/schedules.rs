//! Starts the instances of schedules when they are due.
//!
//! One task sleeps until the first schedule of a tenant is due, and then [visits](visit) the tenant: it reads a few due
//! schedules, and for each asks the model what to do and does it. What it decides is one commit with the instance that
//! it starts, and names the state that it was decided for. So nothing happens twice, whatever happens in between: a
//! crash, a change by a client, a clock that jumps. Nothing is kept in memory, except when each tenant is due next.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::api::StartError;
use super::due_schedules::Next;
use super::mail::Mail;
use super::owners::Owners;
use super::shared::Shared;
use super::starts::{self, Wanted};
use crate::model::{
    InboxItem, InstanceNumber, Overlap, ScheduleName, ScheduleState, TenantId, Timestamp,
    schedule::{LastStart, Running, Step},
};
use crate::store::{
    AppendOutcome, Creation, Error, IdempotencyKey, InboxAppend, NewInstance, ScheduleChange, ScheduleChanged,
    ScheduleRow, StartOutcome,
};
use crate::tenancy::Exceeded;

/// How often to look at the clock, which may jump, and whether held tenants are still held.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The schedules of a tenant that one visit looks at, together. Their inputs are in memory meanwhile.
const PAGE: u32 = 8;

/// How many steps of one schedule follow each other in a visit. Further ones wait for the next visit.
const STEPS: u32 = 16;

/// The pause of a tenant whose starts are refused for a reason that concerns all of them, and after the store failed.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// How long a start waits for the end of the instance that it replaces, before it is tried again.
const END_PATIENCE: Duration = Duration::from_secs(2);

/// Looks at due schedules until shutdown.
pub(super) async fn run(shared: Arc<Shared>, owners: Owners) {
    let work = async {
        read_all(&shared).await;
        let due = &shared.due_schedules;
        loop {
            let now = shared.clock.now();
            match due.next(now, |tenant| shared.tenancy.hold(tenant).is_some()) {
                Next::Visit(tenant) => {
                    let (shared, owners) = (shared.clone(), owners.clone());
                    let tracker = shared.tracker.clone();
                    tracker.spawn(async move {
                        let shutdown = shared.shutdown.clone();
                        shutdown.run_until_cancelled(visit(&shared, &owners, tenant)).await;
                    });
                }
                Next::WaitUntil(at) => {
                    let wait = at.map_or(LOOK_AGAIN, |at| at.since(now).min(LOOK_AGAIN));
                    due.changed_within(wait).await;
                }
                Next::Idle => due.changed().await,
            }
        }
    };
    shared.shutdown.run_until_cancelled(work).await;
}

/// Reads when the first schedule of each tenant is due.
async fn read_all(shared: &Shared) {
    loop {
        match shared.store.first_due_schedules().await {
            Ok(tenants) => {
                let due = &shared.due_schedules;
                tenants.into_iter().for_each(|(tenant, at)| due.note(tenant, at));
                return;
            }
            Err(error) => {
                tracing::error!(%error, "schedules could not be read; trying again");
                tokio::time::sleep(TROUBLE_PAUSE).await;
            }
        }
    }
}

/// Looks at some due schedules of a tenant.
async fn visit(shared: &Arc<Shared>, owners: &Owners, tenant: TenantId) {
    let pause = match look_at_due(shared, owners, tenant).await {
        Ok(pause) => pause,
        Err(Error::Closed | Error::NotOwner) => Some(LOOK_AGAIN),
        Err(error) => {
            tracing::error!(%tenant, %error, "the schedules of a tenant could not be processed; trying again");
            Some(TROUBLE_PAUSE)
        }
    };
    let first = shared.store.first_due_schedule_of(tenant).await;
    let now = shared.clock.now();
    let due_at = first.unwrap_or(Some(now.after(TROUBLE_PAUSE)));
    let paused_until = pause.map_or(Timestamp(0), |pause| now.after(pause));
    shared
        .due_schedules
        .visited(tenant, due_at.map(|due_at| due_at.max(paused_until)));
}

/// Looks at the due schedules that are due the longest. Returns how long the tenant must pause.
async fn look_at_due(shared: &Arc<Shared>, owners: &Owners, tenant: TenantId) -> Result<Option<Duration>, Error> {
    let due = shared.store.due_schedules(tenant, shared.clock.now(), PAGE).await?;
    let visits = due.iter().map(|name| Box::pin(look_at(shared, owners, tenant, name)));
    let mut pause = None;
    for (visited, name) in join_all(visits).await.into_iter().zip(&due) {
        match visited {
            Ok(wanted) => pause = pause.max(wanted),
            Err(error @ Error::Damaged(_)) => {
                tracing::error!(%tenant, schedule = %name, %error, "a schedule cannot be read; delete and create it again");
                pause = pause.max(Some(TROUBLE_PAUSE));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(pause)
}

/// Does what is due of one schedule. Returns how long the tenant must pause.
async fn look_at(
    shared: &Arc<Shared>,
    owners: &Owners,
    tenant: TenantId,
    name: &ScheduleName,
) -> Result<Option<Duration>, Error> {
    let Some(mut row) = shared.store.schedule(tenant, name).await? else {
        return Ok(None);
    };
    for _ in 0..STEPS {
        let running = running(shared, &row, row.schedule.overlap).await?;
        let now = shared.clock.now();
        let decided = row.state.decide(&row.schedule, (tenant, name), now, running);
        let done = match decided {
            Step::Wait(next) => {
                // The index of due schedules must not show it until then.
                if row.next_at != next {
                    let state = row.state.clone();
                    record(shared, &mut row, state, now).await?;
                }
                return Ok(None);
            }
            Step::Record(state) => record(shared, &mut row, *state, now).await?,
            Step::Start { nominal, ends_running } => {
                match start(shared, owners, &mut row, nominal, ends_running).await? {
                    Started::Done => true,
                    Started::Changed => false,
                    Started::Refused(pause) => return Ok(pause),
                }
            }
        };
        if !done {
            // Somebody else changed or deleted it.
            return Ok(None);
        }
    }
    Ok(None)
}

/// Whether the instance that a schedule started last has ended. Not asked if the policy does not need it.
pub(super) async fn running(shared: &Shared, row: &ScheduleRow, overlap: Overlap) -> Result<Running, Error> {
    let Some(last) = row.state.last.as_ref().filter(|_| overlap != Overlap::Allow) else {
        return Ok(Running::No);
    };
    let found = shared.store.tenant(row.tenant).addressee(&last.id).await?;
    let runs = found.is_some_and(|found| found.number == last.number && !found.status.has_ended());
    Ok(if runs { Running::Yes } else { Running::No })
}

/// Stores a state. Returns whether the row was as expected.
async fn record(shared: &Shared, row: &mut ScheduleRow, state: ScheduleState, now: Timestamp) -> Result<bool, Error> {
    let change = ScheduleChange::advance(row, &state, now);
    match shared.store.change_schedule(change).await? {
        ScheduleChanged::Done { revision } => {
            shared.stats.schedules.count(&row.state.counts, &state.counts);
            row.next_at = state.next_look(&row.schedule, (row.tenant, &row.name), now);
            (row.revision, row.state) = (revision, state);
            Ok(true)
        }
        _ => Ok(false),
    }
}

/// What became of a start.
enum Started {
    /// It was decided; the row contains how.
    Done,
    /// Somebody else changed the schedule.
    Changed,
    /// It is tried again. If the reason concerns all schedules of the tenant, they pause.
    Refused(Option<Duration>),
}

/// Starts the instance of a time.
async fn start(
    shared: &Arc<Shared>,
    owners: &Owners,
    row: &mut ScheduleRow,
    nominal: Timestamp,
    ends_running: bool,
) -> Result<Started, Error> {
    if ends_running && !end_running(shared, owners, row, row.schedule.overlap).await? {
        let reason = "the running instance has not ended yet";
        return refuse(shared, row, nominal, reason, (Duration::ZERO, None)).await;
    }
    let id = row.name.instance_at(nominal);
    let wanted = Wanted {
        tenant: row.tenant,
        function: row.schedule.function.clone(),
        input: row.schedule.input.clone(),
        id: Some(id.clone()),
        not_before: None,
    };
    let instance = match starts::admit(shared, wanted).await {
        Ok(instance) => instance,
        Err(StartError::Store(error)) => return Err(error),
        Err(error) => {
            let pauses = pauses_after(&error);
            return refuse(shared, row, nominal, &error.to_string(), pauses).await;
        }
    };
    let now = shared.clock.now();
    match create(shared, owners, row, instance, None, |state, last| {
        state.started(nominal, last, now)
    })
    .await?
    {
        ScheduleChanged::Done { .. } => {
            let stats = &shared.stats.schedules;
            stats.started.increment();
            stats.lateness_ms.record(now.0.saturating_sub(due_at(row, nominal).0));
            Ok(Started::Done)
        }
        ScheduleChanged::NotStarted(StartOutcome::AlreadyExists(status)) => {
            let reason = format!("the instance {id:?} exists and is {status}", id = id.as_str());
            let failed = row.state.failed(nominal, &reason, now);
            let done = record(shared, row, failed, now).await?;
            Ok(if done { Started::Done } else { Started::Changed })
        }
        _ => Ok(Started::Changed),
    }
}

/// When a time was due, with its jitter.
fn due_at(row: &ScheduleRow, nominal: Timestamp) -> Timestamp {
    let before = Timestamp(nominal.0.saturating_sub(1));
    let due = row.schedule.next_due(row.tenant, &row.name, before);
    due.map_or(nominal, |due| due.at)
}

/// Creates an instance together with the state of its schedule, and wakes it.
pub(super) async fn create(
    shared: &Shared,
    owners: &Owners,
    row: &mut ScheduleRow,
    instance: NewInstance,
    key: Option<IdempotencyKey>,
    state: impl FnOnce(&ScheduleState, LastStart) -> ScheduleState,
) -> Result<ScheduleChanged, Error> {
    let (tenant, now) = (row.tenant, shared.clock.now());
    let number = shared.store.new_number(tenant, &instance.id);
    let last = LastStart {
        id: instance.id.clone(),
        number,
    };
    let state = state(&row.state, last);
    let change = ScheduleChange::advance(row, &state, now);
    let creation = Creation {
        instance,
        key,
        tags: row.schedule.tags.clone(),
    };
    let changed = shared.store.start_by_schedule(change, number, creation).await;
    match &changed {
        Ok(ScheduleChanged::Done { revision }) => {
            owners.deliver(tenant, number, Mail::Wake);
            row.next_at = state.next_look(&row.schedule, (tenant, &row.name), now);
            (row.revision, row.state) = (*revision, state);
            shared.stats.started_by_schedules.increment();
            shared.tenancy.count_start(tenant);
        }
        _ => shared.tenancy.return_start(tenant),
    }
    changed
}

/// The pauses after a refused start: of this schedule at least, and of all schedules of the tenant.
fn pauses_after(error: &StartError) -> (Duration, Option<Duration>) {
    match error {
        StartError::Quota(Exceeded { retry_after, .. }) => {
            let pause = retry_after.unwrap_or(TROUBLE_PAUSE);
            (pause, Some(pause))
        }
        StartError::Overloaded | StartError::TooManyChecks => (TROUBLE_PAUSE, Some(TROUBLE_PAUSE)),
        _ => (Duration::ZERO, None),
    }
}

/// Notes that a start was refused.
async fn refuse(
    shared: &Shared,
    row: &mut ScheduleRow,
    nominal: Timestamp,
    reason: &str,
    (own_pause, pause): (Duration, Option<Duration>),
) -> Result<Started, Error> {
    shared.stats.schedules.refused.increment();
    tracing::debug!(tenant = %row.tenant, schedule = %row.name, %nominal, reason, "a start of a schedule was refused");
    let now = shared.clock.now();
    let refused = row.state.refused(nominal, reason, own_pause, now);
    record(shared, row, refused, now).await?;
    Ok(Started::Refused(pause))
}

/// Ends the running instance of a schedule, or asks it to cancel itself. Returns whether it has ended.
pub(super) async fn end_running(
    shared: &Shared,
    owners: &Owners,
    row: &ScheduleRow,
    overlap: Overlap,
) -> Result<bool, Error> {
    let Some(LastStart { id, number }) = row.state.last.clone() else {
        return Ok(true);
    };
    let waiter = shared.waiters.register(number);
    let reason = format!("the schedule {} starts its next instance", row.name);
    let append = InboxAppend {
        tenant: row.tenant,
        id,
        item: match overlap {
            Overlap::Cancel => InboxItem::Cancel { reason },
            _ => InboxItem::Terminate { reason },
        },
        at: shared.clock.now(),
        max_bytes: shared.max_history_bytes(row.tenant),
        max_waiting: u64::MAX,
        entity: None,
    };
    match shared.store.append(append, None).await? {
        AppendOutcome::Appended {
            instance, row: message, ..
        } => {
            owners.deliver(row.tenant, instance, Mail::Inbox(message));
            Ok(
                tokio::time::timeout(END_PATIENCE, waiter.end()).await.is_ok()
                    || has_ended(shared, row, number).await?,
            )
        }
        _ => Ok(true),
    }
}

async fn has_ended(shared: &Shared, row: &ScheduleRow, number: InstanceNumber) -> Result<bool, Error> {
    let Some(last) = row.state.last.as_ref().filter(|last| last.number == number) else {
        return Ok(true);
    };
    let found = shared.store.tenant(row.tenant).addressee(&last.id).await?;
    Ok(found.is_none_or(|found| found.number != number || found.status.has_ended()))
}
