//! What people ask. An answer that takes several queries is of one moment.

#[cfg(test)]
use crate::store::simulated;
use crate::{
    model::{EndPosition, InstanceId, InstanceNumber, ScheduleName, TenantId},
    store::{
        BroadcastPage, BroadcastSummary, Cursor, Days, EndedFunction, EndedInstance, EndedInstances, EntityDetails,
        EntityFilter, EntityPage, Error, Folded, FoundHistory, HistoryFilter, HistoryFold, InstanceDetails,
        InstancePage, ListFilter, LogFilter, LogRow, ModuleHoldings, ModulePage, ModuleVersion, SchedulePage,
        ScheduleRow, TenantHoldings, UsageCursor, UsagePage, purges::Tree, sqlite,
    },
};

/// Where people's queries go. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::store) enum People {
    /// Connections to the database file, apart from the engine's.
    Sqlite(sqlite::People),
    /// A disk that exists in memory only.
    #[cfg(test)]
    Simulated(simulated::Disk),
}

impl People {
    /// An instance with its input and, when it has ended, its outcome.
    pub(in crate::store) async fn details(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<InstanceDetails>, Error> {
        on!(self, details(tenant, id))
    }

    /// The same, and turns of its current execution.
    pub(in crate::store) async fn details_with_history(
        &self,
        tenant: TenantId,
        id: &InstanceId,
        filter: &HistoryFilter,
    ) -> Result<Option<(InstanceDetails, FoundHistory)>, Error> {
        on!(self, details_with_history(tenant, id, filter))
    }

    /// An instance with a fold of its current execution.
    pub(in crate::store) async fn folded<F: HistoryFold>(
        &self,
        tenant: TenantId,
        id: &InstanceId,
        fold: F,
    ) -> Result<Option<Folded<F>>, Error> {
        on!(self, folded(tenant, id, fold))
    }

    /// How much the tenant has: for administrators, who do not wait for the tenant's own queries.
    pub(in crate::store) async fn holdings(&self, tenant: TenantId) -> Result<TenantHoldings, Error> {
        on!(self, holdings(tenant))
    }

    /// How many modules the tenant has.
    pub(in crate::store) async fn module_holdings(&self, tenant: TenantId) -> Result<ModuleHoldings, Error> {
        on!(self, module_holdings(tenant))
    }

    /// What functions of the tenant have used on some days, by kind and name.
    pub(in crate::store) async fn usage(
        &self,
        tenant: TenantId,
        days: Days,
        after: Option<&UsageCursor>,
        limit: u32,
    ) -> Result<UsagePage, Error> {
        on!(self, usage(tenant, days, after, limit))
    }

    /// Instances, newest first, from a cursor on.
    pub(in crate::store) async fn list(
        &self,
        tenant: TenantId,
        filter: &ListFilter,
        from: Option<&Cursor>,
        limit: u32,
    ) -> Result<InstancePage, Error> {
        on!(self, list(tenant, filter, from, limit))
    }

    /// The same of the children of an instance; none if there is neither the instance nor a child of it.
    pub(in crate::store) async fn list_children(
        &self,
        tenant: TenantId,
        parent: &InstanceId,
        filter: ListFilter,
        from: Option<&Cursor>,
        limit: u32,
    ) -> Result<Option<InstancePage>, Error> {
        on!(self, list_children(tenant, parent, filter, from, limit))
    }

    /// An entity.
    pub(in crate::store) async fn entity(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<EntityDetails>, Error> {
        on!(self, entity(tenant, id))
    }

    /// Entities after an id, by id.
    pub(in crate::store) async fn entities(
        &self,
        tenant: TenantId,
        filter: &EntityFilter,
        after: Option<&InstanceId>,
        limit: u32,
    ) -> Result<EntityPage, Error> {
        on!(self, entities(tenant, filter, after, limit))
    }

    /// The next function with ended instances.
    pub(in crate::store) async fn next_ended_function(
        &self,
        tenant: TenantId,
        after: Option<u64>,
    ) -> Result<Option<EndedFunction>, Error> {
        on!(self, next_ended_function(tenant, after))
    }

    /// The instance that follows this many that ended later.
    pub(in crate::store) async fn first_surplus(
        &self,
        of: EndedInstances<'_>,
        count: u32,
    ) -> Result<Option<EndPosition>, Error> {
        on!(self, first_surplus(of, count))
    }

    /// Instances between two places, those first that ended first.
    pub(in crate::store) async fn ended_between(
        &self,
        of: EndedInstances<'_>,
        after: Option<EndPosition>,
        before: EndPosition,
        limit: u32,
    ) -> Result<Vec<EndedInstance>, Error> {
        on!(self, ended_between(of, after, before, limit))
    }

    /// How many instances are before a place.
    pub(in crate::store) async fn count_ended(
        &self,
        of: EndedInstances<'_>,
        before: EndPosition,
        limit: u32,
    ) -> Result<u64, Error> {
        on!(self, count_ended(of, before, limit))
    }

    /// Lines of an instance's log, in order; none if there is no such instance.
    pub(in crate::store) async fn logs(
        &self,
        tenant: TenantId,
        id: &InstanceId,
        filter: &LogFilter,
    ) -> Result<Option<Vec<LogRow>>, Error> {
        on!(self, logs(tenant, id, filter))
    }

    /// The current versions of modules whose names follow `after`, by name.
    pub(in crate::store) async fn modules(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<ModulePage, Error> {
        on!(self, modules(tenant, after, limit))
    }

    /// The current version of a module.
    pub(in crate::store) async fn module_named(
        &self,
        tenant: TenantId,
        name: &str,
    ) -> Result<Option<ModuleVersion>, Error> {
        on!(self, module_named(tenant, name))
    }

    /// A schedule.
    pub(in crate::store) async fn schedule(
        &self,
        tenant: TenantId,
        name: &ScheduleName,
    ) -> Result<Option<ScheduleRow>, Error> {
        on!(self, schedule(tenant, name))
    }

    /// The number of schedules of the tenant.
    pub(in crate::store) async fn count_schedules(&self, tenant: TenantId) -> Result<u64, Error> {
        on!(self, count_schedules(tenant))
    }

    /// Schedules after a name, by name.
    pub(in crate::store) async fn schedules(
        &self,
        tenant: TenantId,
        after: Option<&ScheduleName>,
        limit: u32,
    ) -> Result<SchedulePage, Error> {
        on!(self, schedules(tenant, after, limit))
    }

    /// A broadcast, as clients see it.
    pub(in crate::store) async fn broadcast_summary(
        &self,
        tenant: TenantId,
        id: &str,
    ) -> Result<Option<BroadcastSummary>, Error> {
        on!(self, broadcast_summary(tenant, id))
    }

    /// Broadcasts after an id, by id.
    pub(in crate::store) async fn broadcasts(
        &self,
        tenant: TenantId,
        after: Option<&str>,
        limit: u32,
    ) -> Result<BroadcastPage, Error> {
        on!(self, broadcasts(tenant, after, limit))
    }

    /// An instance and what belongs to it.
    pub(in crate::store) async fn tree(&self, tenant: TenantId, root: InstanceNumber) -> Result<Tree, Error> {
        on!(self, tree(tenant, root))
    }
}
