//! What people ask about: queries that see one tenant only.

use std::collections::BTreeMap;

use sqlx::{
    AssertSqlSafe, SqliteExecutor,
    sqlite::{SqliteConnection, SqliteRow},
};

use super::{
    AttemptRow, Cursor, Days, Error, FunctionUsage, HistoryCursor, LogFilter, LogRow, ModuleVersion, attempts, history,
    inbox,
    instances::{self, FIRST_ENDED},
    list::{self, InstancePage, ListFilter},
    logs, modules,
    purges::{self, Ended, EndedFilter, Tree},
    readers::Readers,
    sqlite::columns::{Columns, parse},
    usage,
};
use crate::model::{
    Arrival, Decision, ExecutionNumber, FunctionName, InstanceId, InstanceNumber, InstanceStatus, ModuleDigest,
    ModuleNumber, Outcome, Payload, StuckReason, TaskId, TenantId, Timestamp, Turn, TurnNumber,
};

/// The rows of one tenant. Cheap to make.
#[derive(Debug, Clone)]
pub struct TenantStore {
    readers: Readers,
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

pub(super) const COLUMNS: &str = "
    i.instance, i.id, f.name, m.digest, i.status, i.execution, i.last_turn, i.created_at_ms, i.updated_at_ms,
    i.custom_status, i.stuck, i.parent_link, i.fuel";

/// What the columns of an instance come from. `CROSS JOIN` keeps SQLite from beginning with another table.
pub(super) const OTHER_TABLES: &str = "
    CROSS JOIN function_names AS f ON f.function = i.function
    CROSS JOIN modules AS m ON m.module = i.module";

impl TenantStore {
    pub(super) fn new(readers: Readers, tenant: TenantId) -> Self {
        Self { readers, tenant }
    }

    /// An instance with its input and, when it has ended, its outcome.
    ///
    /// # Errors
    /// When the query fails, or rows of the instance cannot be read.
    pub async fn instance(&self, id: &InstanceId) -> Result<Option<InstanceDetails>, Error> {
        let mut reader = self.readers.people().read(Some(self.tenant)).await?;
        let found = details(reader.connection(), self.tenant, id).await;
        reader.finish(found).await
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
        let mut reader = self.readers.people().read(Some(self.tenant)).await?;
        let found = details_with_history(reader.connection(), self.tenant, id, filter).await;
        reader.finish(found).await
    }

    /// How much the tenant has. Walks through its instances: for administrators, who do not wait for the tenant's own
    /// queries.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn holdings(&self) -> Result<TenantHoldings, Error> {
        let mut reader = self.readers.people().read(None).await?;
        let found = holdings(reader.connection(), self.tenant).await;
        reader.finish(found).await
    }

    /// How many modules the tenant has.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn module_holdings(&self) -> Result<ModuleHoldings, Error> {
        let mut reader = self.readers.people().read(Some(self.tenant)).await?;
        let found = module_holdings(reader.connection(), self.tenant).await;
        reader.finish(found).await
    }

    /// What each function of the tenant has used on some days, by kind and name.
    ///
    /// # Errors
    /// When the query fails, or a row cannot be read.
    pub async fn usage(&self, days: Days) -> Result<Vec<FunctionUsage>, Error> {
        let mut reader = self.readers.people().read(Some(self.tenant)).await?;
        let found = usage::of(reader.connection(), self.tenant, days).await;
        reader.finish(found).await
    }

    /// Instances, newest first, from a cursor on. Instances that are created meanwhile do not shift the pages.
    ///
    /// # Errors
    /// When the query fails, or a row cannot be read.
    pub async fn list(&self, filter: &ListFilter, from: Option<&Cursor>, limit: u32) -> Result<InstancePage, Error> {
        let mut reader = self.readers.people().read(Some(self.tenant)).await?;
        let found = list::page(reader.connection(), self.tenant, filter, from, limit).await;
        reader.finish(found).await
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
        let mut reader = self.readers.people().read(Some(self.tenant)).await?;
        let found = children(reader.connection(), self.tenant, parent, filter, from, limit).await;
        reader.finish(found).await
    }

    /// How many instances are in each state; states without any are left out.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn counts(&self) -> Result<Vec<(InstanceStatus, u64)>, Error> {
        let mut reader = self.readers.people().read(Some(self.tenant)).await?;
        let found = counts(reader.connection(), self.tenant).await;
        reader.finish(found).await
    }

    /// Lines of an instance's log, in order; none if there is no such instance.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn logs(&self, id: &InstanceId, filter: &LogFilter) -> Result<Option<Vec<LogRow>>, Error> {
        let mut reader = self.readers.people().read(Some(self.tenant)).await?;
        let found = lines(reader.connection(), self.tenant, id, filter).await;
        reader.finish(found).await
    }

    /// The current versions of all modules, by name.
    ///
    /// # Errors
    /// When the query fails, or a description cannot be read.
    pub async fn modules(&self) -> Result<Vec<ModuleVersion>, Error> {
        let mut reader = self.readers.people().read(Some(self.tenant)).await?;
        let found = modules::current(reader.connection(), self.tenant).await;
        reader.finish(found).await
    }

    /// The current version of a module.
    ///
    /// # Errors
    /// When the query fails, or the description cannot be read.
    pub async fn module(&self, name: &str) -> Result<Option<ModuleVersion>, Error> {
        let mut reader = self.readers.people().read(Some(self.tenant)).await?;
        let found = modules::by_name(reader.connection(), self.tenant, name).await;
        reader.finish(found).await
    }

    /// Ended instances that a purge of many deletes.
    pub(super) async fn ended(&self, filter: &EndedFilter) -> Result<Ended, Error> {
        let mut reader = self.readers.people().read(Some(self.tenant)).await?;
        let found = purges::ended(reader.connection(), self.tenant, filter).await;
        reader.finish(found).await
    }

    /// An instance and what belongs to it.
    pub(super) async fn tree(&self, root: InstanceNumber) -> Result<Tree, Error> {
        let mut reader = self.readers.people().read(Some(self.tenant)).await?;
        let found = purges::tree(reader.connection(), self.tenant, root).await;
        reader.finish(found).await
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

async fn details(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    id: &InstanceId,
) -> Result<Option<InstanceDetails>, Error> {
    let Some(summary) = summary_of(&mut *connection, tenant, id).await? else {
        return Ok(None);
    };
    let (number, execution) = (summary.number, summary.execution);
    let first = history::one(&mut *connection, number, execution, TurnNumber(1)).await?;
    let input = match &first {
        Some(turn) => input_of(turn),
        // Not begun: what it will begin with waits in the inbox.
        None => inbox::start(&mut *connection, number)
            .await?
            .map(|started| started.input),
    };
    let mut details = InstanceDetails {
        summary,
        input,
        outcome: None,
        terminated: None,
    };
    if details.summary.status.has_ended()
        && let Some(last) = history::one(connection, number, execution, details.summary.last_turn).await?
    {
        (details.outcome, details.terminated) = end_of(last);
    }
    Ok(Some(details))
}

async fn details_with_history(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    id: &InstanceId,
    filter: &HistoryFilter,
) -> Result<Option<(InstanceDetails, FoundHistory)>, Error> {
    let Some(details) = details(connection, tenant, id).await? else {
        return Ok(None);
    };
    let InstanceSummary {
        number,
        execution,
        last_turn,
        ..
    } = details.summary;
    let after = match filter.from {
        HistoryFrom::Turn(after) => after,
        HistoryFrom::Cursor(cursor) if (cursor.instance, cursor.execution) == (number, execution) => cursor.after,
        HistoryFrom::Cursor(_) => return Ok(Some((details, FoundHistory::Over))),
    };
    let turns = history::after(&mut *connection, number, execution, after, filter.limit).await?;
    let tasks: Vec<TaskId> = turns.iter().flat_map(Turn::called_tasks).collect();
    let attempts = attempts::of(connection, number, execution, &tasks).await?;
    let last = turns.last().map_or(after, |turn| turn.number);
    let page = HistoryPage {
        execution,
        turns,
        attempts: attempts.last,
        attempt_totals: attempts.totals,
        next: (last < last_turn).then_some(HistoryCursor {
            instance: number,
            execution,
            after: last,
        }),
    };
    Ok(Some((details, FoundHistory::Page(page))))
}

async fn holdings(connection: &mut SqliteConnection, tenant: TenantId) -> Result<TenantHoldings, Error> {
    let modules = module_holdings(&mut *connection, tenant).await?;
    let row = sqlx::query(AssertSqlSafe(format!(
        "SELECT count(*), count(*) FILTER (WHERE status < {FIRST_ENDED})
             FROM instances
             WHERE partition = 0 AND tenant = ?"
    )))
    .bind(i64::from(tenant.0))
    .fetch_one(connection)
    .await?;
    Ok(TenantHoldings {
        modules,
        instances: row.number(0)?,
        live_instances: row.number(1)?,
    })
}

async fn module_holdings(executor: impl SqliteExecutor<'_>, tenant: TenantId) -> Result<ModuleHoldings, Error> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM module_names WHERE tenant = ?1),
            (SELECT coalesce(sum(m.size), 0)
             FROM modules AS m
             WHERE m.tenant = ?1 AND EXISTS (SELECT 1 FROM module_bytes AS b WHERE b.module = m.module))",
    )
    .bind(i64::from(tenant.0))
    .fetch_one(executor)
    .await?;
    Ok(ModuleHoldings {
        modules: row.number(0)?,
        bytes: row.number(1)?,
    })
}

async fn children(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    parent: &InstanceId,
    filter: ListFilter,
    from: Option<&Cursor>,
    limit: u32,
) -> Result<Option<InstancePage>, Error> {
    let number = number_of(&mut *connection, tenant, parent).await?;
    let filter = ListFilter {
        parent: number,
        orphans_of: Some(parent.clone()).filter(|_| number.is_none()),
        ..filter
    };
    let page = list::page(connection, tenant, &filter, from, limit).await?;
    // An instance that has children left was there once.
    let is_unknown = number.is_none() && from.is_none() && page.instances.is_empty() && page.next.is_none();
    Ok(Some(page).filter(|_| !is_unknown))
}

async fn counts(executor: impl SqliteExecutor<'_>, tenant: TenantId) -> Result<Vec<(InstanceStatus, u64)>, Error> {
    let rows = sqlx::query(
        "SELECT status, count(*)
         FROM instances
         WHERE partition = 0 AND tenant = ?
         GROUP BY status
         ORDER BY status",
    )
    .bind(i64::from(tenant.0))
    .fetch_all(executor)
    .await?;
    rows.iter()
        .map(|row| Ok((instances::status(row.number(0)?)?, row.number(1)?)))
        .collect()
}

async fn lines(
    connection: &mut SqliteConnection,
    tenant: TenantId,
    id: &InstanceId,
    filter: &LogFilter,
) -> Result<Option<Vec<LogRow>>, Error> {
    match number_of(&mut *connection, tenant, id).await? {
        Some(number) => Ok(Some(logs::of(connection, number, filter).await?)),
        None => Ok(None),
    }
}

/// An instance of a tenant as a list shows it.
pub(super) async fn summary_of(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    id: &InstanceId,
) -> Result<Option<InstanceSummary>, Error> {
    let text = format!(
        "SELECT {COLUMNS}
         FROM instances AS i {OTHER_TABLES}
         WHERE i.partition = 0 AND i.tenant = ? AND i.id = ?"
    );
    let row = sqlx::query(AssertSqlSafe(text))
        .bind(i64::from(tenant.0))
        .bind(id.as_str())
        .fetch_optional(executor)
        .await?;
    row.as_ref().map(summary).transpose()
}

/// The number of the instance that has the id now.
pub(super) async fn number_of(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    id: &InstanceId,
) -> Result<Option<InstanceNumber>, Error> {
    let row = sqlx::query(
        "SELECT instance
         FROM instances
         WHERE partition = 0 AND tenant = ? AND id = ?",
    )
    .bind(i64::from(tenant.0))
    .bind(id.as_str())
    .fetch_optional(executor)
    .await?;
    row.map(|row| row.number(0).map(InstanceNumber)).transpose()
}

/// The instance that has the id now.
pub(super) async fn addressee(
    executor: impl SqliteExecutor<'_>,
    tenant: TenantId,
    id: &InstanceId,
) -> Result<Option<Addressee>, Error> {
    let row = sqlx::query(
        "SELECT i.instance, i.module, f.name, i.status
         FROM instances AS i CROSS JOIN function_names AS f ON f.function = i.function
         WHERE i.partition = 0 AND i.tenant = ? AND i.id = ?",
    )
    .bind(i64::from(tenant.0))
    .bind(id.as_str())
    .fetch_optional(executor)
    .await?;
    let addressee = |row: SqliteRow| {
        Ok(Addressee {
            number: InstanceNumber(row.number(0)?),
            module: ModuleNumber(row.small_number(1)?),
            function: parse(row.text(2)?, "the function name")?,
            status: instances::status(row.number(3)?)?,
        })
    };
    row.map(addressee).transpose()
}

/// An instance from its row: [`COLUMNS`].
pub(super) fn summary(row: &SqliteRow) -> Result<InstanceSummary, Error> {
    let number = InstanceNumber(row.number(0)?);
    Ok(InstanceSummary {
        number,
        id: parse(row.text(1)?, "the instance id")?,
        function: parse(row.text(2)?, "the function name")?,
        module_digest: modules::digest(row.bytes(3)?)?,
        status: instances::status(row.number(4)?)?,
        execution: ExecutionNumber(row.small_number(5)?),
        last_turn: TurnNumber(row.small_number(6)?),
        created_at: Timestamp(row.number(7)?),
        updated_at: Timestamp(row.number(8)?),
        custom_status: instances::custom_status(row.optional_text(9)?, number)?,
        stuck: instances::stuck(row.optional_bytes(10)?, number)?,
        parent_id: instances::parent(row.optional_bytes(11)?, number)?.map(|parent| parent.instance_id),
        fuel: row.number(12)?,
    })
}

fn input_of(first: &Turn) -> Option<Payload> {
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
