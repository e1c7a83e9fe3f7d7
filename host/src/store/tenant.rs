//! What people ask about: queries that see one tenant only.

use std::collections::BTreeMap;

use super::{
    AttemptRow, Cursor, Days, Error, FunctionUsage, HistoryCursor, LogFilter, LogRow, ModuleVersion,
    attempts::AttemptsOfTasks,
    backend::{People, Readers},
    list::{InstancePage, ListFilter},
    purges::{Ended, EndedFilter, Tree},
};
use crate::model::{
    Arrival, Decision, ExecutionNumber, FunctionName, InstanceId, InstanceNumber, InstanceStatus, ModuleDigest,
    ModuleNumber, Outcome, Payload, StuckReason, TaskId, TenantId, Timestamp, Turn, TurnNumber,
};

/// The rows of one tenant. Cheap to make.
#[derive(Debug, Clone)]
pub struct TenantStore {
    readers: Readers,
    people: People,
    tenant: TenantId,
}

/// What a list shows of an instance.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSummary {
    /// Its number.
    pub number: InstanceNumber,
    /// Its id.
    pub id: InstanceId,
    /// The orchestration function.
    pub function: FunctionName,
    /// The module version it runs on.
    pub module_digest: ModuleDigest,
    /// Its state.
    pub status: InstanceStatus,
    /// The current execution.
    pub execution: ExecutionNumber,
    /// The last turn written in it.
    pub last_turn: TurnNumber,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it last took a step.
    pub updated_at: Timestamp,
    /// What the guest says about its progress.
    pub custom_status: Option<Payload>,
    /// Why it is stuck, when it is.
    pub stuck: Option<StuckReason>,
    /// The instance that waits for it.
    pub parent_id: Option<InstanceId>,
    /// Fuel that its turns have used.
    pub fuel: u64,
}

/// Everything about one instance but its history.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceDetails {
    /// What a list shows.
    pub summary: InstanceSummary,
    /// The input of the current execution.
    pub input: Option<Payload>,
    /// How it ended, once it has: result or failure; none if a person ended it.
    pub outcome: Option<Outcome>,
    /// Why a person ended it, if one did.
    pub terminated: Option<String>,
}

/// How much a tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantHoldings {
    /// Its modules.
    pub modules: ModuleHoldings,
    /// Instances, those that have ended included.
    pub instances: u64,
    /// Instances that have not ended.
    pub live_instances: u64,
}

/// The instance that has an id, as far as a message for it is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// Its number.
    pub number: InstanceNumber,
    /// The version that it is pinned to.
    pub module: ModuleNumber,
    /// Its orchestration.
    pub function: FunctionName,
    /// Its state.
    pub status: InstanceStatus,
}

/// How many modules a tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleHoldings {
    /// Modules that have a name.
    pub modules: u64,
    /// Bytes of all stored versions of its modules.
    pub bytes: u64,
}

/// Which turns of a history are wanted.
#[derive(Debug, Clone, Copy)]
pub struct HistoryFilter {
    /// Where to begin.
    pub from: HistoryFrom,
    /// At most that many.
    pub limit: u32,
}

/// Where a page of a history begins.
#[derive(Debug, Clone, Copy)]
pub enum HistoryFrom {
    /// After a turn of whichever execution is the current one.
    Turn(TurnNumber),
    /// Where a page before ended.
    Cursor(HistoryCursor),
}

/// What became of the question for a history.
#[derive(Debug, Clone, PartialEq)]
pub enum FoundHistory {
    /// The turns.
    Page(HistoryPage),
    /// The cursor is of an execution that is not the current one any more: the instance continued as new, or another
    /// one has its id. Its turns are deleted.
    Over,
}

/// A page of the history of an execution.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// Which execution.
    pub execution: ExecutionNumber,
    /// Its turns, in order.
    pub turns: Vec<Turn>,
    /// The last attempts of the tasks that these turns scheduled, by task and ordinal: at most
    /// [`ATTEMPTS_KEPT`](super::ATTEMPTS_KEPT) of each, and fewer where they would be many bytes.
    pub attempts: Vec<AttemptRow>,
    /// How many attempts those tasks have had; nothing of tasks that have had none.
    pub attempt_totals: BTreeMap<TaskId, u32>,
    /// Where the next page begins, if more turns follow.
    pub next: Option<HistoryCursor>,
}

impl InstanceDetails {
    /// Of an instance, with the last turn of one that has ended.
    pub(super) fn new(summary: InstanceSummary, input: Option<Payload>, last: Option<Turn>) -> Self {
        let (outcome, terminated) = last.map_or((None, None), end_of);
        Self {
            summary,
            input,
            outcome,
            terminated,
        }
    }
}

impl HistoryFrom {
    /// The turn after which a page of an instance's current execution begins; none if it is one of another execution.
    pub(super) fn after(self, instance: &InstanceSummary) -> Option<TurnNumber> {
        match self {
            Self::Turn(after) => Some(after),
            Self::Cursor(cursor) => {
                let is_current = (cursor.instance, cursor.execution) == (instance.number, instance.execution);
                is_current.then_some(cursor.after)
            }
        }
    }
}

impl HistoryPage {
    /// Turns of the current execution of an instance after a turn, with the attempts of their tasks.
    pub(super) fn new(
        instance: &InstanceSummary,
        after: TurnNumber,
        turns: Vec<Turn>,
        attempts: AttemptsOfTasks,
    ) -> Self {
        let last = turns.last().map_or(after, |turn| turn.number);
        Self {
            execution: instance.execution,
            turns,
            attempts: attempts.last,
            attempt_totals: attempts.totals,
            next: (last < instance.last_turn).then_some(HistoryCursor {
                instance: instance.number,
                execution: instance.execution,
                after: last,
            }),
        }
    }
}

impl TenantStore {
    pub(super) fn new(readers: Readers, people: People, tenant: TenantId) -> Self {
        Self {
            readers,
            people,
            tenant,
        }
    }

    /// An instance with its input and, when it has ended, its outcome.
    ///
    /// # Errors
    /// When the query fails, or rows of the instance cannot be read.
    pub async fn instance(&self, id: &InstanceId) -> Result<Option<InstanceDetails>, Error> {
        self.people.details(self.tenant, id).await
    }

    /// An instance as [`instance`](Self::instance) shows it, and turns of its current execution, both of one moment.
    ///
    /// # Errors
    /// [`Error::Damaged`] when rows of the instance cannot be read, or a turn is missing; otherwise when the query fails.
    pub async fn instance_with_history(
        &self,
        id: &InstanceId,
        filter: &HistoryFilter,
    ) -> Result<Option<(InstanceDetails, FoundHistory)>, Error> {
        self.people.details_with_history(self.tenant, id, filter).await
    }

    /// How much the tenant has. Walks through its instances: for administrators, who do not wait for the tenant's own
    /// queries.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn holdings(&self) -> Result<TenantHoldings, Error> {
        self.people.holdings(self.tenant).await
    }

    /// How many modules the tenant has.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn module_holdings(&self) -> Result<ModuleHoldings, Error> {
        self.people.module_holdings(self.tenant).await
    }

    /// What each function of the tenant has used on some days, by kind and name.
    ///
    /// # Errors
    /// When the query fails, or a row cannot be read.
    pub async fn usage(&self, days: Days) -> Result<Vec<FunctionUsage>, Error> {
        self.people.usage(self.tenant, days).await
    }

    /// Instances, newest first, from a cursor on. Instances that are created meanwhile do not shift the pages.
    ///
    /// # Errors
    /// When the query fails, or a row cannot be read.
    pub async fn list(&self, filter: &ListFilter, from: Option<&Cursor>, limit: u32) -> Result<InstancePage, Error> {
        self.people.list(self.tenant, filter, from, limit).await
    }

    /// The same of the children of an instance. Those of an instance that is gone are found by looking through all
    /// instances; none if there is neither the instance nor a child of it.
    ///
    /// # Errors
    /// When the query fails, or a row cannot be read.
    pub async fn list_children(
        &self,
        parent: &InstanceId,
        filter: ListFilter,
        from: Option<&Cursor>,
        limit: u32,
    ) -> Result<Option<InstancePage>, Error> {
        self.people
            .list_children(self.tenant, parent, filter, from, limit)
            .await
    }

    /// Lines of an instance's log, in order; none if there is no such instance.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn logs(&self, id: &InstanceId, filter: &LogFilter) -> Result<Option<Vec<LogRow>>, Error> {
        self.people.logs(self.tenant, id, filter).await
    }

    /// The current versions of all modules, by name.
    ///
    /// # Errors
    /// When the query fails, or a description cannot be read.
    pub async fn modules(&self) -> Result<Vec<ModuleVersion>, Error> {
        self.people.modules(self.tenant).await
    }

    /// The current version of a module.
    ///
    /// # Errors
    /// When the query fails, or the description cannot be read.
    pub async fn module(&self, name: &str) -> Result<Option<ModuleVersion>, Error> {
        self.people.module_named(self.tenant, name).await
    }

    /// Ended instances that a purge of many deletes.
    pub(super) async fn ended(&self, filter: &EndedFilter) -> Result<Ended, Error> {
        self.people.ended(self.tenant, filter).await
    }

    /// An instance and what belongs to it.
    pub(super) async fn tree(&self, root: InstanceNumber) -> Result<Tree, Error> {
        self.people.tree(self.tenant, root).await
    }
}

/// What the engine asks about one instance of a tenant, over its own readers: it is on the way of events and of those who
/// wait for an end.
impl TenantStore {
    /// An instance as a list shows it.
    ///
    /// # Errors
    /// When the database fails, or the row cannot be read.
    pub async fn summary(&self, id: &InstanceId) -> Result<Option<InstanceSummary>, Error> {
        self.readers.summary(self.tenant, id).await
    }

    /// The number of the instance that has the id now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn number(&self, id: &InstanceId) -> Result<Option<InstanceNumber>, Error> {
        self.readers.number(self.tenant, id).await
    }

    /// Whom a message for an id concerns now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn addressee(&self, id: &InstanceId) -> Result<Option<Addressee>, Error> {
        self.readers.addressee(self.tenant, id).await
    }
}

/// The input that an execution was given, told by its first turn.
pub(super) fn input_of(first: &Turn) -> Option<Payload> {
    first.arrivals.iter().find_map(|arrival| match arrival {
        Arrival::Started(started) => Some(started.input.clone()),
        _ => None,
    })
}

/// How an instance ended, told by its last turn.
fn end_of(last: Turn) -> (Option<Outcome>, Option<String>) {
    let terminated = last.arrivals.into_iter().find_map(|arrival| match arrival {
        Arrival::Terminated { reason } => Some(reason),
        _ => None,
    });
    let outcome = last.decisions.into_iter().find_map(|decision| match decision {
        Decision::Complete { output } => Some(Ok(output)),
        Decision::Fail { failure } => Some(Err(failure)),
        _ => None,
    });
    (outcome, terminated)
}
