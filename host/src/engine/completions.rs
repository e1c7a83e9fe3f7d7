//! Activity calls that wait to be completed from outside: what a completion changes, and the end of their time.
//!
//! A call that waits has no task and no slot, only a row. An output goes to the inbox of its instance. A failure is
//! recorded as a failed attempt; then the owner of the instance starts the call again, and the retry policy applies as
//! after a crash.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use sha2::{Digest, Sha256};
use tokio::sync::{Notify, oneshot};

use super::environment::Environment;
use super::mail::Mail;
use super::owner::StartActivity;
use super::owners::Owners;
use crate::model::{
    CompletionToken, ExecutionNumber, Failure, InstanceNumber, TaskId, TenantId, Timestamp, failure::types,
};
use crate::store::{
    AttemptRow, Completion, CompletionChange, CompletionOutcome, CompletionState, Error as StoreError, FoundCompletion,
    TokenHash,
};

/// The clock is read again after this time even if no wait ends, because clocks jump.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

/// The delay before the next try if the store fails.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// How many waits end at once, or are read at once.
const PAGE: u32 = 100;

/// The hash of a token, as it is stored.
pub(super) fn token_hash(token: &CompletionToken) -> TokenHash {
    TokenHash(Sha256::digest(token.bytes()).into())
}

/// Lets the attempt of a call fail. The retry policy is applied when the call is started again.
pub(super) fn fail(
    completion: &Completion,
    failure: Failure,
    now: Timestamp,
    state: CompletionState,
) -> CompletionChange {
    let row = AttemptRow {
        execution: completion.execution,
        task: completion.task,
        ordinal: completion.ordinal,
        number: completion.attempt,
        cut_off: false,
        failure,
        fuel: completion.fuel,
        started_at: completion.started_at,
        ended_at: now,
        next_at: None,
    };
    CompletionChange::Fail(Box::new(row), state)
}

/// Tells an instance what has changed.
pub(super) fn tell(owners: &Owners, tenant: TenantId, instance: InstanceNumber, changed: &CompletionOutcome) {
    match changed {
        CompletionOutcome::Changed(Some(row)) => owners.deliver(tenant, instance, Mail::Inbox(row.clone())),
        CompletionOutcome::Changed(None) => start_calls(owners, tenant, instance),
        CompletionOutcome::Refused(_) | CompletionOutcome::Gone => {}
    }
}

/// Asks the owner of an instance to start the calls that do not run.
pub(super) fn start_calls(owners: &Owners, tenant: TenantId, instance: InstanceNumber) {
    let (guard, _) = oneshot::channel();
    owners.deliver(tenant, instance, Mail::StartCalls(guard));
}

/// Voids the tokens of calls that were cancelled and are not in progress. If the host ends before that, a token can be
/// used, but nobody gets the outcome.
pub(super) async fn void_tokens(
    environment: &Environment,
    instance: InstanceNumber,
    cancelled: &BTreeSet<(ExecutionNumber, TaskId)>,
) {
    let close = async |completion| {
        let changed = environment
            .store
            .change_completion(instance, completion, CompletionChange::Close, Vec::new(), 0);
        changed.await.map(drop)
    };
    let work = async {
        for mut calls in OpenCalls::of_each(environment, instance, cancelled) {
            while let Some(page) = calls.next_page().await? {
                let of_cancelled = page
                    .into_iter()
                    .filter(|call| cancelled.contains(&(call.execution, call.task)));
                try_join_all(of_cancelled.map(close)).await?;
            }
        }
        Ok(())
    };
    match work.await {
        Ok(()) | Err(StoreError::Closed | StoreError::NotOwner) => {}
        Err(error) => tracing::warn!(instance = instance.0, %error, "tokens could not be made void"),
    }
}

/// Drops calls that wait: they must not be started again. None of them may be in progress.
pub(super) async fn drop_those_that_wait(
    environment: &Environment,
    instance: InstanceNumber,
    start: &mut Vec<StartActivity>,
) -> Result<(), StoreError> {
    let mut left: BTreeSet<_> = start.iter().map(|start| (start.execution, start.task)).collect();
    for mut calls in OpenCalls::of_each(environment, instance, &left) {
        while let Some(page) = calls.next_page().await? {
            for call in page.iter().filter(|call| call.state == CompletionState::Waiting) {
                left.remove(&(call.execution, call.task));
            }
        }
    }
    start.retain(|start| left.contains(&(start.execution, start.task)));
    Ok(())
}

/// Reads the calls of an execution that can be completed from outside, from one task to another.
struct OpenCalls<'a> {
    environment: &'a Environment,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    after: Option<TaskId>,
    last: TaskId,
    is_over: bool,
}

impl<'a> OpenCalls<'a> {
    /// One for each execution, for the range of these calls.
    fn of_each(
        environment: &'a Environment,
        instance: InstanceNumber,
        calls: &BTreeSet<(ExecutionNumber, TaskId)>,
    ) -> Vec<Self> {
        let mut ranges: BTreeMap<ExecutionNumber, (TaskId, TaskId)> = BTreeMap::new();
        for (execution, task) in calls {
            ranges.entry(*execution).or_insert((*task, *task)).1 = *task;
        }
        let of_execution = |(execution, (first, last)): (_, (TaskId, _))| Self {
            environment,
            instance,
            execution,
            after: first.0.checked_sub(1).map(TaskId),
            last,
            is_over: false,
        };
        ranges.into_iter().map(of_execution).collect()
    }

    /// Some calls; `None` after the last one.
    async fn next_page(&mut self) -> Result<Option<Vec<Completion>>, StoreError> {
        if self.is_over {
            return Ok(None);
        }
        let store = &self.environment.store;
        let read = store.open_completions(self.instance, self.execution, self.after, PAGE);
        let page = read.await?;
        self.after = page.last().map(|last| last.task);
        self.is_over = self.after.is_none_or(|after| after >= self.last);
        Ok((!page.is_empty()).then_some(page))
    }
}

/// Ends the wait of calls whose time is over. `changed` is notified when a call begins to wait.
pub(super) async fn run(environment: Arc<Environment>, owners: Owners, changed: Arc<Notify>) {
    let work = async {
        loop {
            match end_waits(&environment, &owners).await {
                Ok(wait) => {
                    tokio::select! {
                        biased;
                        () = changed.notified() => {}
                        () = tokio::time::sleep(wait) => {}
                    }
                }
                Err(StoreError::Closed | StoreError::NotOwner) => return,
                Err(error) => {
                    tracing::warn!(%error, "calls whose time is over could not be ended; trying again");
                    tokio::time::sleep(TROUBLE_PAUSE).await;
                }
            }
        }
    };
    environment.shutdown.run_until_cancelled(work).await;
}

/// Ends the waits that are over. Returns how long to wait for the next one.
async fn end_waits(environment: &Environment, owners: &Owners) -> Result<Duration, StoreError> {
    let Environment { store, clock, .. } = environment;
    loop {
        let now = clock.now();
        let expired = store.expired_completions(now, PAGE).await?;
        if expired.is_empty() {
            let next = store.next_expiry().await?;
            let wait = next.map_or(LOOK_AGAIN, |at| at.since(clock.now()));
            return Ok(wait.min(LOOK_AGAIN));
        }
        for found in expired {
            let FoundCompletion {
                tenant,
                instance,
                completion,
                ..
            } = found;
            let failure = Failure::new(types::TIMEOUT, "the call was not completed from outside in time");
            let change = fail(&completion, failure, now, CompletionState::Void);
            let changed = store.change_completion(instance, completion, change, Vec::new(), 0);
            tell(owners, tenant, instance, &changed.await?);
        }
    }
}
