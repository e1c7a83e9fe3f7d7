//! Replays what is stored: every instance's history against the module it runs on. Of entities, reads the states and what
//! waits for them.
//!
//! For `windlass check --replay`, before an upgrade of the host or when something looks wrong. It changes nothing, and
//! runs only orchestrations, whose replay does not access the outside world.

use std::sync::Arc;

use super::catalogue::Catalogue;
use super::owner::UNREADABLE;
use crate::memory::{Memory, Part};
use crate::model::{
    Arrival, Failure, FunctionName, InstanceNumber, Payload, StuckReason, TenantId, TurnNumber, failure::types,
};
use crate::replay::{
    Directory, Execution, HostUnavailable, Ledger, Player, ReplayError, ResolvedActivity, ResolvedOrchestration,
    TurnLimits,
};
use crate::store::{EntityFilter, Error, ListFilter, Store};

/// Rows to read at once.
const PAGE: u32 = 1_000;

/// The result of replaying everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Histories that were replayed to their last turn.
    pub histories: u64,
    /// Turns in them.
    pub turns: u64,
    /// Entities whose states and messages were read.
    pub entities: u64,
    /// Histories of ended instances that were not replayed because the bytes of their module were deleted, as nothing
    /// needs them any more.
    pub without_module: u64,
    /// Histories that could not be replayed, one sentence each.
    pub problems: Vec<String>,
}

/// Offers no functions: replay uses the recorded ones.
struct NoFunctions;

impl Directory for NoFunctions {
    fn activity(&self, _: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedActivity, Failure> {
        Err(Failure::new(types::UNKNOWN_FUNCTION, "replay asks for no functions"))
    }

    fn orchestration(&self, _: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedOrchestration, Failure> {
        Err(Failure::new(types::UNKNOWN_FUNCTION, "replay asks for no functions"))
    }
}

/// Replays the current execution of every instance.
///
/// # Errors
/// If the store fails; a problem with a history is not an error.
pub async fn replay_everything(store: &Store, catalogue: &Catalogue) -> Result<Verified, Error> {
    let mut verified = Verified::default();
    for tenant in store.tenants().await? {
        replay_tenant(store, catalogue, tenant.tenant, &mut verified).await?;
    }
    Ok(verified)
}

async fn replay_tenant(
    store: &Store,
    catalogue: &Catalogue,
    tenant: TenantId,
    verified: &mut Verified,
) -> Result<(), Error> {
    read_entities(store, tenant, verified).await?;
    let mut from = None;
    loop {
        let page = store
            .tenant(tenant)
            .list(&ListFilter::default(), from.as_ref(), PAGE)
            .await?;
        for instance in &page.instances {
            match replay(store, catalogue, instance.number).await {
                Ok(None) => verified.without_module += 1,
                Ok(Some(0)) => {}
                Ok(Some(turns)) => {
                    verified.histories += 1;
                    verified.turns += u64::from(turns);
                }
                Err(Problem::Store(error @ Error::Damaged(_))) => {
                    verified.problems.push(format!("{}: {error}", instance.id));
                }
                Err(Problem::Store(error)) => return Err(error),
                Err(Problem::Replay(reason)) => {
                    verified
                        .problems
                        .push(format!("{}: {}: {}", instance.id, reason.code, reason.message));
                }
            }
        }
        from = page.next;
        if from.is_none() {
            return Ok(());
        }
    }
}

/// Reads the states of all entities of a tenant.
async fn read_entities(store: &Store, tenant: TenantId, verified: &mut Verified) -> Result<(), Error> {
    let mut after = None;
    loop {
        let (of_tenant, filter) = (store.tenant(tenant), EntityFilter::default());
        match of_tenant.entities(&filter, after.as_ref(), PAGE).await {
            Ok(page) => {
                for entity in &page.entities {
                    match store.load(entity.number).await {
                        Ok(_) => verified.entities += 1,
                        Err(error @ Error::Damaged(_)) => verified.problems.push(format!("{}: {error}", entity.id)),
                        Err(error) => return Err(error),
                    }
                }
                after = page.next;
            }
            Err(error @ Error::Damaged(_)) => {
                let at = after.as_ref().map_or(String::new(), |after| format!(" after {after}"));
                let message = format!("an entity of tenant {tenant}{at}, so the others were not read: {error}");
                verified.problems.push(message);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        if after.is_none() {
            return Ok(());
        }
    }
}

enum Problem {
    Store(Error),
    Replay(StuckReason),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Store(error)
    }
}

impl From<HostUnavailable> for Problem {
    fn from(trouble: HostUnavailable) -> Self {
        Self::Replay(StuckReason {
            code: "module-unavailable".into(),
            message: trouble.to_string(),
        })
    }
}

impl From<ReplayError> for Problem {
    fn from(error: ReplayError) -> Self {
        match error {
            ReplayError::Stuck(reason) => Self::Replay(reason),
            ReplayError::Host(trouble) => trouble.into(),
        }
    }
}

fn unreadable(message: String) -> Problem {
    Problem::Replay(StuckReason {
        code: UNREADABLE.to_owned(),
        message,
    })
}

/// Replays one instance. Returns how many turns it has; `None` if it has ended and its module is gone.
async fn replay(store: &Store, catalogue: &Catalogue, number: InstanceNumber) -> Result<Option<u32>, Problem> {
    let Some(record) = store.load(number).await? else {
        return Ok(Some(0));
    };
    let (mut player, mut after) = (None, TurnNumber::NONE);
    let mut ledger = Ledger::new(record.rewinds.clone());
    while after < record.last_turn {
        let rows = store.history(number, record.execution, after, PAGE).await?;
        if rows.is_empty() {
            return Err(unreadable(format!(
                "the turns after {after} of {} are missing",
                record.last_turn
            )));
        }
        for row in &rows {
            ledger.apply(row).map_err(|error| unreadable(error.to_string()))?;
            if let (None, Some(Arrival::Started(started))) = (&player, row.arrivals.first()) {
                let loaded = catalogue.load(record.module).await;
                let is_over = record.status.has_ended();
                if loaded.is_err() && is_over && store.module_bytes(record.module).await?.is_none() {
                    return Ok(None);
                }
                let module = loaded?;
                // A command replays one instance at a time.
                let memory = Memory::unlimited()
                    .part(Part::Guests)
                    .take_beyond_limit(record.tenant, 0);
                let guest = catalogue
                    .sandbox()
                    .start_orchestrator(&module, started.limits, memory)?;
                let started = Arc::new((**started).clone());
                let limits = TurnLimits::default();
                let replaying = Player::new(
                    guest,
                    Execution::new(record.id.clone(), started, Arc::new(NoFunctions), limits),
                );
                player = Some(replaying.with_rewinds(record.rewinds.clone()));
            }
            // An instance that was terminated before its first turn has nothing to replay.
            if let Some(player) = &mut player {
                player.replay(row)?;
            }
        }
        after = ledger.last_turn();
    }
    Ok(Some(record.last_turn.0))
}
