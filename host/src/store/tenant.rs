//! What people ask about: queries that see one tenant only.

use std::collections::BTreeMap;

use sqlx::{
    QueryBuilder, Sqlite,
    sqlite::{SqlitePool, SqliteRow},
};

use super::{
    AttemptRow, Cursor, Days, Error, FunctionUsage, LogFilter, LogRow, ModuleVersion, attempts,
    columns::{Columns, parse, stored},
    history, inbox, instances, logs, modules,
    readers::Readers,
    usage,
};
use crate::model::{
    Arrival, Decision, ExecutionNumber, FunctionName, InstanceId, InstanceNumber, InstanceStatus, ModuleDigest,
    Outcome, Payload, StuckReason, TaskId, TenantId, Timestamp, Turn, TurnNumber,
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

/// Which instances a list shows; everything that is set must fit.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// In one of these states; any if empty.
    pub statuses: Vec<InstanceStatus>,
    /// Of that orchestration function.
    pub function: Option<FunctionName>,
    /// Whose id begins with that.
    pub id_prefix: Option<String>,
    /// Created at that time or later.
    pub created_from: Option<Timestamp>,
    /// Created before that time.
    pub created_to: Option<Timestamp>,
    /// Children of that instance.
    pub parent: Option<InstanceNumber>,
}

/// How much a tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantHoldings {
    /// Modules that have a name.
    pub modules: u64,
    /// Bytes of all stored versions of its modules.
    pub module_bytes: u64,
    /// Instances, those that have ended included.
    pub instances: u64,
    /// Instances that have not ended.
    pub live_instances: u64,
}

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct InstancePage {
    /// The instances.
    pub instances: Vec<InstanceSummary>,
    /// Where the next page begins; none if this is the last one.
    pub next: Option<Cursor>,
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
    /// Whether more turns follow.
    pub more: bool,
}

const COLUMNS: &str = "
    i.instance, i.id, f.name, m.digest, i.status, i.execution, i.last_turn, i.created_at_ms, i.updated_at_ms,
    i.custom_status, i.stuck, i.parent_link, i.fuel";

/// What the columns of an instance come from. `CROSS JOIN` keeps SQLite from beginning with another table.
const OTHER_TABLES: &str = "
    CROSS JOIN function_names AS f ON f.function = i.function
    CROSS JOIN modules AS m ON m.module = i.module";

impl TenantStore {
    pub(super) fn new(readers: Readers, tenant: TenantId) -> Self {
        Self { readers, tenant }
    }

    /// An instance with its input and, when it has ended, its outcome.
    ///
    /// # Errors
    /// When the database fails, or rows of the instance cannot be read.
    pub async fn instance(&self, id: &InstanceId) -> Result<Option<InstanceDetails>, Error> {
        let Some(summary) = self.summary(id).await? else {
            return Ok(None);
        };
        let (number, execution) = (summary.number, summary.execution);
        let first = history::one(self.readers.sqlite(), number, execution, TurnNumber(1)).await?;
        let input = match &first {
            Some(turn) => input_of(turn),
            // Not begun: what it will begin with waits in the inbox, behind events that came before continue-as-new.
            None => inbox::start(self.readers.sqlite(), number)
                .await?
                .map(|started| started.input),
        };
        let mut details = InstanceDetails {
            summary,
            input,
            outcome: None,
            terminated: None,
        };
        if details.summary.status.has_ended() {
            let last_turn = details.summary.last_turn;
            if let Some(last) = history::one(self.readers.sqlite(), number, execution, last_turn).await? {
                (details.outcome, details.terminated) = end_of(last);
            }
        }
        Ok(Some(details))
    }

    /// An instance as a list shows it: cheaper than [`instance`](Self::instance).
    ///
    /// # Errors
    /// When the database fails, or the row cannot be read.
    pub async fn summary(&self, id: &InstanceId) -> Result<Option<InstanceSummary>, Error> {
        self.readers.summary(self.tenant, id).await
    }

    /// How much the tenant has. Walks through its instances: for administrators, not for every request.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn holdings(&self) -> Result<TenantHoldings, Error> {
        let row = sqlx::query(
            "SELECT (SELECT count(*) FROM module_names WHERE tenant = ?1),
                (SELECT coalesce(sum(m.size), 0)
                 FROM modules AS m
                 WHERE m.tenant = ?1 AND EXISTS (SELECT 1 FROM module_bytes AS b WHERE b.module = m.module)),
                count(*), count(*) FILTER (WHERE status < 10)
             FROM instances
             WHERE partition = 0 AND tenant = ?1",
        )
        .bind(i64::from(self.tenant.0))
        .fetch_one(self.readers.sqlite())
        .await?;
        Ok(TenantHoldings {
            modules: row.number(0)?,
            module_bytes: row.number(1)?,
            instances: row.number(2)?,
            live_instances: row.number(3)?,
        })
    }

    /// What each function of the tenant has used on some days, by kind and name.
    ///
    /// # Errors
    /// When the database fails, or a row cannot be read.
    pub async fn usage(&self, days: Days) -> Result<Vec<FunctionUsage>, Error> {
        usage::of(self.readers.sqlite(), self.tenant, days).await
    }

    /// Instances, newest first, from a cursor on. Instances that are created meanwhile do not shift the pages.
    ///
    /// # Errors
    /// When the database fails, or a row cannot be read.
    pub async fn list(&self, filter: &ListFilter, from: Option<&Cursor>, limit: u32) -> Result<InstancePage, Error> {
        // One more shows whether there is a next page.
        let rows = self
            .list_query(filter, from, i64::from(limit) + 1)
            .build()
            .fetch_all(self.readers.sqlite())
            .await?;
        let mut instances = rows.iter().map(summary).collect::<Result<Vec<_>, _>>()?;
        let more = instances.len() > limit as usize;
        instances.truncate(limit as usize);
        let next = instances.last().filter(|_| more).map(|last| Cursor::below(last.number));
        Ok(InstancePage { instances, next })
    }

    pub(super) fn list_query(&self, filter: &ListFilter, from: Option<&Cursor>, limit: i64) -> QueryBuilder<Sqlite> {
        // Both indexes have the order of the list. Left alone, SQLite walks through the instances of all tenants.
        let index = if filter.parent.is_some() {
            "instances_by_parent"
        } else {
            "instances_by_tenant"
        };
        let mut query = QueryBuilder::new(format!(
            "SELECT {COLUMNS}
             FROM instances AS i INDEXED BY {index} {OTHER_TABLES}
             WHERE i.partition = 0"
        ));
        query.push(" AND i.tenant = ").push_bind(i64::from(self.tenant.0));
        if let Some(cursor) = from {
            query.push(" AND i.instance < ").push_bind(stored(cursor.number().0));
        }
        if let Some(parent) = filter.parent {
            query.push(" AND i.parent = ").push_bind(stored(parent.0));
        }
        if !filter.statuses.is_empty() {
            let mask = filter
                .statuses
                .iter()
                .fold(0, |mask, status| mask | (1_i64 << (*status as u8)));
            query.push(" AND (1 << i.status) & ").push_bind(mask);
        }
        if let Some(function) = &filter.function {
            query.push(" AND f.name = ").push_bind(function.as_str().to_owned());
        }
        if let Some(prefix) = &filter.id_prefix {
            query
                .push(" AND substr(i.id, 1, ")
                .push_bind(stored(prefix.chars().count() as u64));
            query.push(") = ").push_bind(prefix.clone());
        }
        if let Some(from) = filter.created_from {
            query.push(" AND i.created_at_ms >= ").push_bind(stored(from.0));
        }
        if let Some(to) = filter.created_to {
            query.push(" AND i.created_at_ms < ").push_bind(stored(to.0));
        }
        query.push(" ORDER BY i.instance DESC LIMIT ").push_bind(limit);
        query
    }

    /// How many instances are in each state; states without any are left out.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn counts(&self) -> Result<Vec<(InstanceStatus, u64)>, Error> {
        let rows = sqlx::query(
            "SELECT status, count(*)
             FROM instances
             WHERE partition = 0 AND tenant = ?
             GROUP BY status
             ORDER BY status",
        )
        .bind(i64::from(self.tenant.0))
        .fetch_all(self.readers.sqlite())
        .await?;
        rows.iter()
            .map(|row| Ok((instances::status(row.number(0)?)?, row.number(1)?)))
            .collect()
    }

    /// Turns of the current execution of an instance after a turn, with its attempts; none if there is no such instance.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a turn cannot be read or is missing.
    pub async fn history(&self, id: &InstanceId, after: TurnNumber, limit: u32) -> Result<Option<HistoryPage>, Error> {
        let Some(fact) = self.summary(id).await? else {
            return Ok(None);
        };
        let turns = history::after(self.readers.sqlite(), fact.number, fact.execution, after, limit).await?;
        let tasks: Vec<TaskId> = turns.iter().flat_map(Turn::called_tasks).collect();
        let attempts = attempts::of(self.readers.sqlite(), fact.number, fact.execution, &tasks).await?;
        let last = turns.last().map_or(after, |turn| turn.number);
        Ok(Some(HistoryPage {
            execution: fact.execution,
            turns,
            attempts: attempts.last,
            attempt_totals: attempts.totals,
            more: last < fact.last_turn,
        }))
    }

    /// Lines of an instance's log, in order; none if there is no such instance.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn logs(&self, id: &InstanceId, filter: &LogFilter) -> Result<Option<Vec<LogRow>>, Error> {
        match self.number(id).await? {
            Some(number) => Ok(Some(logs::of(self.readers.sqlite(), number, filter).await?)),
            None => Ok(None),
        }
    }

    /// The number of the instance that has the id now.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn number(&self, id: &InstanceId) -> Result<Option<InstanceNumber>, Error> {
        self.readers.number(self.tenant, id).await
    }

    /// The number of the instance that has the id now, if it takes messages as they come: not if it is suspended or
    /// stuck.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn awake(&self, id: &InstanceId) -> Result<Option<InstanceNumber>, Error> {
        self.readers.awake(self.tenant, id).await
    }

    /// The current versions of all modules, by name. Their functions are all that can be called now.
    ///
    /// # Errors
    /// When the database fails, or a description cannot be read.
    pub async fn modules(&self) -> Result<Vec<ModuleVersion>, Error> {
        modules::current(self.readers.sqlite(), self.tenant).await
    }

    /// The current version of a module.
    ///
    /// # Errors
    /// When the database fails, or the description cannot be read.
    pub async fn module(&self, name: &str) -> Result<Option<ModuleVersion>, Error> {
        modules::by_name(self.readers.sqlite(), self.tenant, name).await
    }

    /// Ended instances that a purge of many would delete, in ascending order after a number.
    pub(super) async fn ended(
        &self,
        statuses: &[InstanceStatus],
        before: Timestamp,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<InstanceNumber>, Error> {
        let ended = statuses.iter().filter(|status| status.has_ended());
        let mask = ended.fold(0, |mask, status| mask | (1_i64 << (*status as u8)));
        let rows = sqlx::query(
            "SELECT instance
             FROM instances INDEXED BY instances_by_tenant
             WHERE partition = 0 AND tenant = ? AND instance > ? AND (1 << status) & ? AND updated_at_ms < ?
             ORDER BY instance
             LIMIT ?",
        )
        .bind(i64::from(self.tenant.0))
        .bind(after.map_or(-1, |number| stored(number.0)))
        .bind(mask)
        .bind(stored(before.0))
        .bind(i64::from(limit))
        .fetch_all(self.readers.sqlite())
        .await?;
        rows.iter().map(|row| Ok(InstanceNumber(row.number(0)?))).collect()
    }
}

/// An instance of a tenant as a list shows it.
pub(super) async fn summary_of(
    pool: &SqlitePool,
    tenant: TenantId,
    id: &InstanceId,
) -> Result<Option<InstanceSummary>, Error> {
    let text = format!(
        "SELECT {COLUMNS}
         FROM instances AS i {OTHER_TABLES}
         WHERE i.partition = 0 AND i.tenant = ? AND i.id = ?"
    );
    let row = sqlx::query(sqlx::AssertSqlSafe(text))
        .bind(i64::from(tenant.0))
        .bind(id.as_str())
        .fetch_optional(pool)
        .await?;
    row.as_ref().map(summary).transpose()
}

/// The number of the instance that has the id now.
pub(super) async fn number_of(
    pool: &SqlitePool,
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
    .fetch_optional(pool)
    .await?;
    row.map(|row| row.number(0).map(InstanceNumber)).transpose()
}

/// The number of the instance that has the id now, unless it is suspended or stuck.
pub(super) async fn awake(
    pool: &SqlitePool,
    tenant: TenantId,
    id: &InstanceId,
) -> Result<Option<InstanceNumber>, Error> {
    let row = sqlx::query(
        "SELECT instance
         FROM instances
         WHERE partition = 0 AND tenant = ? AND id = ? AND status NOT IN (2, 3)",
    )
    .bind(i64::from(tenant.0))
    .bind(id.as_str())
    .fetch_optional(pool)
    .await?;
    row.map(|row| row.number(0).map(InstanceNumber)).transpose()
}

fn summary(row: &SqliteRow) -> Result<InstanceSummary, Error> {
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
