//! Queries of clients, which see only one tenant.

use std::collections::BTreeMap;

use super::{
    AttemptRow, Broadcast, Completion, Cursor, Days, Error, Folded, Heartbeat, HistoryCursor, HistoryFold,
    IdempotencyKey, LogFilter, LogRow, ModuleVersion, UsageCursor, UsagePage, UsedKey,
    attempts::AttemptsOfTasks,
    backend::{People, Readers},
    list::{InstancePage, ListFilter},
    modules::ModulePage,
    page::Page,
    purges::Tree,
};
use crate::model::{
    Arrival, Decision, ExecutionNumber, FunctionName, InstanceId, InstanceNumber, InstanceStatus, ModuleDigest,
    ModuleNumber, Outcome, Payload, Rewinds, Started, StuckReason, Tags, TaskId, TenantId, Timestamp, Turn, TurnNumber,
    codec, codec::CodecError,
};

/// The handle for the rows of one tenant. Cheap to create.
#[derive(Debug, Clone)]
pub struct TenantStore {
    readers: Readers,
    pub(super) people: People,
    pub(super) tenant: TenantId,
}

/// An instance in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceSummary {
    /// Its number.
    pub number: InstanceNumber,
    /// Its id.
    pub id: InstanceId,
    /// The orchestration function.
    pub function: FunctionName,
    /// The digest of the module version that it runs on.
    pub module_digest: ModuleDigest,
    /// The instance's status.
    pub status: InstanceStatus,
    /// The current execution.
    pub execution: ExecutionNumber,
    /// The last turn in the current execution.
    pub last_turn: TurnNumber,
    /// When the host accepted the request.
    pub created_at: Timestamp,
    /// When it took its last step.
    pub updated_at: Timestamp,
    /// While it is pending: when its first turn runs, if that is delayed.
    pub start_at: Option<Timestamp>,
    /// The progress that the guest reported.
    pub custom_status: Option<Payload>,
    /// The reason if the instance is stuck, otherwise `None`.
    pub stuck: Option<StuckReason>,
    /// The instance that waits for it, if any.
    pub parent_id: Option<InstanceId>,
    /// The fuel that all its turns have used.
    pub fuel: u64,
    /// The rewinds of its current execution.
    pub rewinds: Rewinds,
    /// Its tags.
    pub tags: Tags,
}

/// All data of one instance except its history.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceDetails {
    /// The same data as in a list.
    pub summary: InstanceSummary,
    /// The input of the current execution.
    pub input: Option<Payload>,
    /// The result or failure if the instance has ended; `None` if it was terminated.
    pub outcome: Option<Outcome>,
    /// The reason if the instance was terminated, otherwise `None`.
    pub terminated: Option<String>,
}

/// The numbers of a tenant's modules and instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantHoldings {
    /// The tenant's modules.
    pub modules: ModuleHoldings,
    /// All instances, including those that have ended.
    pub instances: u64,
    /// Instances that have not ended.
    pub live_instances: u64,
}

/// The instance that currently has an id: what the sender of a message must know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addressee {
    /// Its number.
    pub number: InstanceNumber,
    /// The module version that it runs on.
    pub module: ModuleNumber,
    /// The orchestration function.
    pub function: FunctionName,
    /// The instance's status.
    pub status: InstanceStatus,
    /// Whether the instance is suspended or stuck, or its first turn is delayed, so that it does not process messages for
    /// now.
    pub is_at_rest: bool,
}

/// The number and size of a tenant's modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModuleHoldings {
    /// The number of modules that have a name.
    pub modules: u64,
    /// Bytes of all stored versions of its modules.
    pub bytes: u64,
}

/// Selects turns of a history.
#[derive(Debug, Clone, Copy)]
pub struct HistoryFilter {
    /// Where the page begins.
    pub from: HistoryFrom,
    /// The maximum number of turns.
    pub limit: u32,
}

/// Where a page of a history begins.
#[derive(Debug, Clone, Copy)]
pub enum HistoryFrom {
    /// After this turn of the current execution.
    Turn(TurnNumber),
    /// Where the previous page ended.
    Cursor(HistoryCursor),
}

/// The result of a query for a history.
#[derive(Debug, Clone, PartialEq)]
pub enum FoundHistory {
    /// A page of turns.
    Page(HistoryPage),
    /// The cursor belongs to an execution that is no longer current, and whose turns are deleted: the instance
    /// continued as new, or a new instance has its id.
    Over,
}

/// A page of the history of an execution.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// The execution.
    pub execution: ExecutionNumber,
    /// Its turns, in order.
    pub turns: Vec<Turn>,
    /// Its rewinds, which supersede some of the turns.
    pub rewinds: Rewinds,
    /// The last attempts of the tasks that these turns scheduled, by task and ordinal: at most
    /// [`ATTEMPTS_KEPT`](super::ATTEMPTS_KEPT) of each, and only those of the first tasks if all of them are larger than
    /// 1 MiB. Their failures are [abridged](crate::model::Failure::abridged).
    pub attempts: Vec<AttemptRow>,
    /// How many attempts these tasks have had. Tasks without attempts have no entry.
    pub attempt_totals: BTreeMap<TaskId, u32>,
    /// The last heartbeats of these tasks; only of the first tasks if all of them are larger than 1 MiB.
    pub heartbeats: Vec<Heartbeat>,
    /// Those of these tasks that may be or were completed from outside.
    pub completions: Vec<Completion>,
    /// Where the next page begins, if more turns follow.
    pub next: Option<HistoryCursor>,
}

impl InstanceSummary {
    /// The approximate size of its data, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let custom_status = self.custom_status.as_ref().map_or(0, |status| status.as_str().len());
        let stuck = self.stuck.as_ref().map_or(0, |reason| reason.message.len());
        let tags = usize::try_from(self.tags.bytes()).unwrap_or(usize::MAX);
        Page::ROW_BYTES + self.id.as_str().len() + custom_status + stuck + tags
    }
}

impl InstanceDetails {
    /// The same with other tags.
    #[must_use]
    pub fn with_tags(mut self, tags: Tags) -> Self {
        self.summary.tags = tags;
        self
    }

    /// An instance with nothing but a status, for tests.
    #[cfg(test)]
    pub(crate) fn of_status(status: InstanceStatus) -> Self {
        let summary = InstanceSummary {
            number: InstanceNumber(1),
            id: "a".parse().expect("an id"),
            function: "Order".parse().expect("a name"),
            module_digest: ModuleDigest([0; 32]),
            status,
            execution: ExecutionNumber::FIRST,
            last_turn: TurnNumber(2),
            created_at: Timestamp(0),
            updated_at: Timestamp(0),
            start_at: None,
            custom_status: None,
            stuck: None,
            parent_id: None,
            fuel: 0,
            tags: Tags::default(),
            rewinds: Rewinds::none(ExecutionNumber::FIRST),
        };
        Self::new(summary, First::default(), End::default())
    }

    /// The details of an instance; `first` is the start of its current execution, and `end` how it ended, if it has.
    pub(super) fn new(mut summary: InstanceSummary, first: First, end: End) -> Self {
        // The row of an instance that was suspended before its start does not have the time.
        summary.start_at = first.start_at.or(summary.start_at);
        Self {
            summary,
            input: first.input,
            outcome: end.outcome,
            terminated: end.terminated,
        }
    }
}

impl HistoryFrom {
    /// The turn after which the page begins; `None` if the cursor belongs to another execution than the current one.
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
    /// A page of turns of the current execution of an instance, with the attempts of their tasks.
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
            rewinds: instance.rewinds.clone(),
            attempts: attempts.last,
            attempt_totals: attempts.totals,
            heartbeats: Vec::new(),
            completions: Vec::new(),
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

    /// An instance with its input and, if it has ended, its outcome.
    ///
    /// # Errors
    /// When the query fails, or rows of the instance cannot be read.
    pub async fn instance(&self, id: &InstanceId) -> Result<Option<InstanceDetails>, Error> {
        self.people.details(self.tenant, id).await
    }

    /// Like [`instance`](Self::instance), with turns of its current execution, both from the same snapshot.
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

    /// Like [`instance`](Self::instance), with a fold of the turns of its current execution and what belongs to the
    /// tasks that the fold names, all from the same snapshot. A history that is too long is not read.
    ///
    /// # Errors
    /// [`Error::Damaged`] when rows of the instance cannot be read, or do not follow each other; otherwise when the query
    /// fails.
    pub async fn folded<F: HistoryFold>(&self, id: &InstanceId, fold: F) -> Result<Option<Folded<F>>, Error> {
        self.people.folded(self.tenant, id, fold).await
    }

    /// The numbers of the tenant's modules and instances. Walks through all instances; for administrators, so it does
    /// not wait for the tenant's own queries.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn holdings(&self) -> Result<TenantHoldings, Error> {
        self.people.holdings(self.tenant).await
    }

    /// The number and size of the tenant's modules.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn module_holdings(&self) -> Result<ModuleHoldings, Error> {
        self.people.module_holdings(self.tenant).await
    }

    /// The usage of functions of the tenant on these days, by kind and name: at most `limit` of those after a cursor.
    ///
    /// # Errors
    /// When the query fails, or a row cannot be read.
    pub async fn usage(&self, days: Days, after: Option<&UsageCursor>, limit: u32) -> Result<UsagePage, Error> {
        self.people.usage(self.tenant, days, after, limit).await
    }

    /// Instances, newest first, starting at a cursor. Instances that are created between two calls do not shift the
    /// pages.
    ///
    /// # Errors
    /// When the query fails, or a row cannot be read.
    pub async fn list(&self, filter: &ListFilter, from: Option<&Cursor>, limit: u32) -> Result<InstancePage, Error> {
        self.people.list(self.tenant, filter, from, limit).await
    }

    /// Like [`list`](Self::list), for the children of an instance. The children of a deleted instance are found by a
    /// search through all instances. Returns `None` if there is neither the instance nor a child of it.
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

    /// Lines of an instance's log, in order, and fewer than the filter allows if they are large; `None` if there is no
    /// such instance.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn logs(&self, id: &InstanceId, filter: &LogFilter) -> Result<Option<Vec<LogRow>>, Error> {
        self.people.logs(self.tenant, id, filter).await
    }

    /// The current versions of modules, by name: at most `limit` of those whose names follow `after`, and fewer if their
    /// descriptions are large.
    ///
    /// # Errors
    /// When the query fails, or a description cannot be read.
    pub async fn modules(&self, after: Option<&str>, limit: u32) -> Result<ModulePage, Error> {
        self.people.modules(self.tenant, after, limit).await
    }

    /// The current version of a module.
    ///
    /// # Errors
    /// When the query fails, or the description cannot be read.
    pub async fn module(&self, name: &str) -> Result<Option<ModuleVersion>, Error> {
        self.people.module_named(self.tenant, name).await
    }

    /// An instance and its descendants.
    pub(super) async fn tree(&self, root: InstanceNumber) -> Result<Tree, Error> {
        self.people.tree(self.tenant, root).await
    }
}

/// Queries of the engine about one instance of a tenant. They use the engine's readers, because events and clients that
/// wait for the end of an instance depend on them.
impl TenantStore {
    /// An instance as in a list.
    ///
    /// # Errors
    /// When the database fails, or the row cannot be read.
    pub async fn summary(&self, id: &InstanceId) -> Result<Option<InstanceSummary>, Error> {
        self.readers.summary(self.tenant, id).await
    }

    /// A broadcast, finished or not.
    ///
    /// # Errors
    /// When the database fails, or the row cannot be read.
    pub async fn broadcast(&self, id: &str) -> Result<Option<Broadcast>, Error> {
        self.readers.broadcast(self.tenant, id).await
    }

    /// The number of the instance that currently has the id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn number(&self, id: &InstanceId) -> Result<Option<InstanceNumber>, Error> {
        self.readers.number(self.tenant, id).await
    }

    /// The instance that currently has the id, for a message.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn addressee(&self, id: &InstanceId) -> Result<Option<Addressee>, Error> {
        self.readers.addressee(self.tenant, id).await
    }

    /// The outcome of the call to an entity that had this idempotency key; `None` if it has not been applied, or the key
    /// has expired.
    ///
    /// # Errors
    /// When the database fails, or the answer cannot be read.
    pub async fn answer_of(&self, key: &IdempotencyKey) -> Result<Option<Outcome>, Error> {
        self.readers.answer(self.tenant, key).await
    }

    /// For what an idempotency key was used before; `None` if it was not, or has expired.
    ///
    /// # Errors
    /// When the database fails, or the row cannot be read.
    pub async fn use_of_key(&self, key: &IdempotencyKey, now: Timestamp) -> Result<Option<UsedKey>, Error> {
        self.readers.use_of_key(self.tenant, key, now).await
    }
}

/// What queries show of the start of an execution.
#[derive(Debug, Default)]
pub(super) struct First {
    input: Option<Payload>,
    /// When its first turn runs, if that is delayed and has not happened.
    start_at: Option<Timestamp>,
}

impl First {
    /// From the first arrival of its first turn.
    pub(super) fn taken(first: Arrival) -> Self {
        match first {
            Arrival::Started(started) => Self {
                input: Some(started.input),
                start_at: None,
            },
            _ => Self::default(),
        }
    }

    /// From the start message, which no turn has taken.
    pub(super) fn waiting(started: Started) -> Self {
        Self {
            input: Some(started.input),
            start_at: started.not_before,
        }
    }
}

/// How an instance ended.
#[derive(Debug, Default)]
pub(super) struct End {
    outcome: Option<Outcome>,
    /// The reason if it was terminated.
    terminated: Option<String>,
}

impl End {
    /// Reads the end from the last turn. The rest of the turn, which may be large, is decoded piece by piece.
    pub(super) fn of(last_turn: &[u8]) -> Result<Self, CodecError> {
        let (mut outcome, mut terminated) = (None, None);
        let arrival = |arrival| {
            if let Arrival::Terminated { reason } = arrival {
                terminated = Some(reason);
            }
        };
        let decision = |decision| match decision {
            Decision::Complete { output } => outcome = Some(Ok(output)),
            Decision::Fail { failure } => outcome = Some(Err(failure)),
            _ => {}
        };
        codec::visit_turn(last_turn, arrival, decision)?;
        Ok(Self { outcome, terminated })
    }
}
