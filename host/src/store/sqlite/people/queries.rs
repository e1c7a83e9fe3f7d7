//! The queries of clients. Each answer uses one reader and shows one point in time.

use std::collections::BTreeMap;

use sqlx::{AssertSqlSafe, SqliteExecutor, sqlite::SqliteConnection};
use tokio::sync::Semaphore;

use super::People;
use crate::{
    model::{EndPosition, InstanceId, InstanceNumber, ScheduleName, TaskId, TenantId, Turn, TurnNumber},
    store::{
        BroadcastPage, BroadcastSummary, Cursor, Days, EndedFunction, EndedInstance, EndedInstances, EntityDetails,
        EntityFilter, EntityPage, Error, Folded, FoundHistory, HistoryFilter, HistoryFold, HistoryPage,
        InstanceDetails, InstancePage, ListFilter, LogFilter, LogRow, MAX_FOLDED_BYTES, MAX_FOLDED_TURNS,
        ModuleHoldings, ModulePage, ModuleVersion, SchedulePage, ScheduleRow, TenantHoldings, UsageCursor, UsagePage,
        page::Page,
        purges::Tree,
        sqlite::{
            attempts, broadcasts,
            columns::Columns,
            completions, entities, heartbeats, history, inbox,
            instances::FIRST_ENDED,
            list, logs, modules, purges, retention, schedules,
            summaries::{number_of, state_of, summary_of},
            usage,
        },
        tenant::First,
    },
};

/// Each method uses the tenant's share of the readers, except those for administrators, which do not wait for the
/// tenant's own queries.
impl People {
    /// An instance with its input and, when it has ended, its outcome.
    pub(in crate::store) async fn details(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<InstanceDetails>, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = details(reader.connection(), &self.0.large_turns, tenant, id).await;
        reader.finish(found).await
    }

    /// The same, with turns of its current execution.
    pub(in crate::store) async fn details_with_history(
        &self,
        tenant: TenantId,
        id: &InstanceId,
        filter: &HistoryFilter,
    ) -> Result<Option<(InstanceDetails, FoundHistory)>, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = details_with_history(reader.connection(), &self.0.large_turns, tenant, id, filter).await;
        reader.finish(found).await
    }

    /// An instance with a fold of its current execution.
    pub(in crate::store) async fn folded<F: HistoryFold>(
        &self,
        tenant: TenantId,
        id: &InstanceId,
        fold: F,
    ) -> Result<Option<Folded<F>>, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = folded(reader.connection(), &self.0.large_turns, tenant, id, fold).await;
        reader.finish(found).await
    }

    /// How many modules and instances the tenant has. For administrators.
    pub(in crate::store) async fn holdings(&self, tenant: TenantId) -> Result<TenantHoldings, Error> {
        let mut reader = self.read(None).await?;
        let found = holdings(reader.connection(), tenant).await;
        reader.finish(found).await
    }

    /// How many modules the tenant has, and their size.
    pub(in crate::store) async fn module_holdings(&self, tenant: TenantId) -> Result<ModuleHoldings, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = module_holdings(reader.connection(), tenant).await;
        reader.finish(found).await
    }

    /// The usage of functions of the tenant over some days, by kind and name.
    pub(in crate::store) async fn usage(
        &self,
        tenant: TenantId,
        days: Days,
        after: Option<&UsageCursor>,
        limit: u32,
    ) -> Result<UsagePage, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = usage::of(reader.connection(), tenant, days, after, limit).await;
        reader.finish(found).await
    }

    /// Instances, newest first, from a cursor on.
    pub(in crate::store) async fn list(
        &self,
        tenant: TenantId,
        filter: &ListFilter,
        from: Option<&Cursor>,
        limit: u32,
    ) -> Result<InstancePage, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = list::page(reader.connection(), tenant, filter, from, limit).await;
        reader.finish(found).await
    }

    /// The same for the children of an instance; none if neither the instance nor a child of it exists.
    pub(in crate::store) async fn list_children(
        &self,
        tenant: TenantId,
        parent: &InstanceId,
        filter: ListFilter,
        from: Option<&Cursor>,
        limit: u32,
    ) -> Result<Option<InstancePage>, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = children(reader.connection(), tenant, parent, filter, from, limit).await;
        reader.finish(found).await
    }

    /// The next function with ended instances.
    pub(in crate::store) async fn next_ended_function(
        &self,
        tenant: TenantId,
        after: Option<u64>,
    ) -> Result<Option<EndedFunction>, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = retention::next_function(reader.connection(), tenant, after).await;
        reader.finish(found).await
    }

    /// The instance that follows this many that ended later.
    pub(in crate::store) async fn first_surplus(
        &self,
        of: EndedInstances<'_>,
        count: u32,
    ) -> Result<Option<EndPosition>, Error> {
        let mut reader = self.read(Some(of.tenant)).await?;
        let found = retention::first_surplus(reader.connection(), of, count).await;
        reader.finish(found).await
    }

    /// Instances between two places, those first that ended first.
    pub(in crate::store) async fn ended_between(
        &self,
        of: EndedInstances<'_>,
        after: Option<EndPosition>,
        before: EndPosition,
        limit: u32,
    ) -> Result<Vec<EndedInstance>, Error> {
        let mut reader = self.read(Some(of.tenant)).await?;
        let found = retention::between(reader.connection(), of, after, before, limit).await;
        reader.finish(found).await
    }

    /// How many instances are before a place.
    pub(in crate::store) async fn count_ended(
        &self,
        of: EndedInstances<'_>,
        before: EndPosition,
        limit: u32,
    ) -> Result<u64, Error> {
        let mut reader = self.read(Some(of.tenant)).await?;
        let found = retention::count(reader.connection(), of, before, limit).await;
        reader.finish(found).await
    }

    /// A schedule.
    pub(in crate::store) async fn schedule(
        &self,
        tenant: TenantId,
        name: &ScheduleName,
    ) -> Result<Option<ScheduleRow>, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = schedules::find(reader.connection(), tenant, name).await;
        reader.finish(found).await
    }

    /// Schedules after a name, by name.
    pub(in crate::store) async fn schedules(
        &self,
        tenant: TenantId,
        after: Option<&ScheduleName>,
        limit: u32,
    ) -> Result<SchedulePage, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = schedules::page(reader.connection(), tenant, after, limit).await;
        reader.finish(found).await
    }

    pub(in crate::store) async fn count_schedules(&self, tenant: TenantId) -> Result<u64, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let counted = schedules::count(reader.connection(), tenant).await;
        reader.finish(counted).await
    }

    pub(in crate::store) async fn broadcast_summary(
        &self,
        tenant: TenantId,
        id: &str,
    ) -> Result<Option<BroadcastSummary>, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = broadcasts::summary(reader.connection(), tenant, id).await;
        reader.finish(found).await
    }

    pub(in crate::store) async fn broadcasts(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<BroadcastPage, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = broadcasts::page(reader.connection(), tenant, after, limit).await;
        reader.finish(found).await
    }

    /// An entity.
    pub(in crate::store) async fn entity(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<EntityDetails>, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = entities::find(reader.connection(), tenant, id).await;
        reader.finish(found).await
    }

    /// Entities after an id, by id.
    pub(in crate::store) async fn entities(
        &self,
        tenant: TenantId,
        filter: &EntityFilter,
        after: Option<&InstanceId>,
        limit: u32,
    ) -> Result<EntityPage, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = entities::page(reader.connection(), tenant, filter, after, limit).await;
        reader.finish(found).await
    }

    /// Lines of an instance's log, in order; none if there is no such instance.
    pub(in crate::store) async fn logs(
        &self,
        tenant: TenantId,
        id: &InstanceId,
        filter: &LogFilter,
    ) -> Result<Option<Vec<LogRow>>, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = lines(reader.connection(), tenant, id, filter).await;
        reader.finish(found).await
    }

    /// The current versions of modules whose names follow `after`, by name.
    pub(in crate::store) async fn modules(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<ModulePage, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = modules::current(reader.connection(), tenant, after, limit).await;
        reader.finish(found).await
    }

    /// The current version of a module.
    pub(in crate::store) async fn module_named(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<ModuleVersion>, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = modules::by_name(reader.connection(), tenant, name).await;
        reader.finish(found).await
    }

    /// An instance and its descendants.
    pub(in crate::store) async fn tree(&self, tenant: TenantId, root: InstanceNumber) -> Result<Tree, Error> {
        let mut reader = self.read(Some(tenant)).await?;
        let found = purges::tree(reader.connection(), tenant, root).await;
        reader.finish(found).await
    }
}

/// A larger turn is read by one query of the host at a time, because the whole turn is in memory while its input or outcome
/// is found in it.
const LARGE_TURN_BYTES: u64 = 1 << 20;

/// How much of a history is in memory at once while it is folded, in bytes.
const FOLDED_AT_ONCE: usize = 1 << 20;

async fn details(
    connection: &mut SqliteConnection,
    large_turns: &Semaphore,
    tenant: TenantId,
    id: &InstanceId,
) -> Result<Option<InstanceDetails>, Error> {
    let Some(summary) = summary_of(&mut *connection, tenant, id).await? else {
        return Ok(None);
    };
    let (number, execution) = (summary.number, summary.execution);
    let last = if summary.status.has_ended() {
        summary.last_turn
    } else {
        TurnNumber::NONE
    };
    let bytes = history::larger_end(&mut *connection, number, execution, last).await?;
    let _permit = if bytes > LARGE_TURN_BYTES {
        large_turns.acquire().await.ok()
    } else {
        None
    };
    let first = match history::first_arrival(&mut *connection, number, execution).await? {
        Some(first) => First::taken(first),
        // No turn has run yet: the start message is in the inbox.
        None => inbox::start(&mut *connection, number)
            .await?
            .map_or_else(First::default, First::waiting),
    };
    let end = history::end(connection, number, execution, last).await?;
    Ok(Some(InstanceDetails::new(summary, first, end)))
}

async fn details_with_history(
    connection: &mut SqliteConnection,
    large_turns: &Semaphore,
    tenant: TenantId,
    id: &InstanceId,
    filter: &HistoryFilter,
) -> Result<Option<(InstanceDetails, FoundHistory)>, Error> {
    let Some(details) = details(connection, large_turns, tenant, id).await? else {
        return Ok(None);
    };
    let (number, execution) = (details.summary.number, details.summary.execution);
    let Some(after) = filter.from.after(&details.summary) else {
        return Ok(Some((details, FoundHistory::Over)));
    };
    let turns = history::after(
        &mut *connection,
        number,
        execution,
        after,
        filter.limit,
        Page::for_answer(),
    )
    .await?;
    let tasks: Vec<TaskId> = turns.iter().flat_map(Turn::called_tasks).collect();
    let attempts = attempts::of(&mut *connection, number, execution, &tasks).await?;
    let heartbeats = heartbeats::of(&mut *connection, number, execution, &tasks).await?;
    let completions = completions::of(connection, number, execution, &tasks).await?;
    let page = HistoryPage {
        heartbeats,
        completions,
        ..HistoryPage::new(&details.summary, after, turns, attempts)
    };
    Ok(Some((details, FoundHistory::Page(page))))
}

async fn folded<F: HistoryFold>(
    connection: &mut SqliteConnection,
    large_turns: &Semaphore,
    tenant: TenantId,
    id: &InstanceId,
    mut fold: F,
) -> Result<Option<Folded<F>>, Error> {
    let Some(details) = details(connection, large_turns, tenant, id).await? else {
        return Ok(None);
    };
    let summary = &details.summary;
    let (number, execution, last) = (summary.number, summary.execution, summary.last_turn);
    fold.begin(&summary.rewinds);
    let mut is_too_long = last.0 > MAX_FOLDED_TURNS;
    if !is_too_long {
        let (all, largest) = history::sizes(&mut *connection, number, execution).await?;
        is_too_long = all > MAX_FOLDED_BYTES;
        let is_large = !is_too_long && largest > LARGE_TURN_BYTES;
        let _permit = match is_large {
            true => large_turns.acquire().await.ok(),
            false => None,
        };
        let mut after = if is_too_long { last } else { TurnNumber::NONE };
        while after < last {
            let page = Page::of(FOLDED_AT_ONCE);
            let turns = history::after(&mut *connection, number, execution, after, MAX_FOLDED_TURNS, page).await?;
            let Some(newest) = turns.last().map(|turn| turn.number) else {
                break;
            };
            for turn in turns {
                let added = fold.add(turn);
                added.map_err(|problem| Error::Damaged(format!("the history of instance {number}: {problem}")))?;
            }
            after = newest;
        }
    }
    let tasks = fold.tasks();
    let attempts = attempts::last(&mut *connection, number, execution, &tasks).await?;
    let completions = completions::of(&mut *connection, number, execution, &tasks).await?;
    let mut instances = BTreeMap::new();
    for id in fold.instances(&attempts) {
        if let Some(state) = state_of(&mut *connection, tenant, &id).await? {
            instances.insert(id, state);
        }
    }
    Ok(Some(Folded {
        details,
        fold,
        is_too_long,
        attempts,
        completed_outside: completions
            .iter()
            .filter(|call| call.waits())
            .map(|call| call.task)
            .collect(),
        instances,
    }))
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
    let filter = filter.of_children(parent, number);
    let page = list::page(connection, tenant, &filter, from, limit).await?;
    // An instance that still has children existed once.
    let is_unknown = number.is_none() && from.is_none() && page.is_empty();
    Ok(Some(page).filter(|_| !is_unknown))
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
