//! Activity calls that wait to be completed from outside: what a completion changes, and the end of their time.
//!
//! A call that waits has no task and no slot, only a row. An output goes to the inbox of its instance. A failure is
//! recorded as a failed attempt; then the owner of the instance starts the call again, and the retry policy applies as
//! after a crash.

use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::{Notify, oneshot};

use super::environment::Environment;
use super::mail::Mail;
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

/// How many waits end at once.
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

/// Voids the token of a call that was cancelled while it waited. If the host ends before that, the token can be used, but
/// nobody gets the outcome.
pub(super) async fn void_token(
    environment: Arc<Environment>,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    task: TaskId,
) {
    let store = &environment.store;
    let work = async {
        let Some(completion) = store.completion(instance, execution, task).await? else {
            return Ok(());
        };
        let changed = store.change_completion(instance, completion, CompletionChange::Close, Vec::new(), 0);
        changed.await.map(drop)
    };
    match work.await {
        Ok(()) | Err(StoreError::Closed | StoreError::NotOwner) => {}
        Err(error) => tracing::warn!(instance = instance.0, task = task.0, %error, "a token could not be made void"),
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
