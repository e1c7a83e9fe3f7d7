//! What the engine asks. Two queries may be of two moments.

use std::collections::BTreeMap;

#[cfg(test)]
use crate::store::simulated;
use crate::{
    model::{
        EndPosition, EventPage, ExecutionNumber, InstanceId, InstanceNumber, ModuleDigest, ModuleNumber, Outcome,
        ScheduleName, TaskId, TenantId, Timestamp, Turn, TurnNumber,
    },
    store::{
        Addressee, AttemptsSoFar, Broadcast, Completion, Descendant, EndedFunction, EndedInstance, EndedInstances,
        Error, FoundCompletion, Heartbeat, IdempotencyKey, InstanceRecord, InstanceSummary, KeyRow, ModuleVersion,
        NextBroadcast, OldVersion, PossibleUsers, RetentionRow, ScheduleRow, SettingRow, TenantRow, TokenHash, UsedKey,
        WakeUp, sqlite,
    },
};

/// Where the engine's queries go. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::store) enum Readers {
    /// Connections to the database file.
    Sqlite(sqlite::Readers),
    /// A disk that exists in memory only.
    #[cfg(test)]
    Simulated(simulated::Disk),
}

impl Readers {
    /// All that an owner needs to take over an instance.
    pub(in crate::store) async fn takeover(&self, instance: InstanceNumber) -> Result<Option<InstanceRecord>, Error> {
        on!(self, takeover(instance))
    }

    /// What is noted of the attempts of some tasks.
    pub(in crate::store) async fn attempts_so_far(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        tasks: &[TaskId],
    ) -> Result<BTreeMap<TaskId, AttemptsSoFar>, Error> {
        on!(self, attempts_so_far(instance, execution, tasks))
    }

    /// The last heartbeat of a call.
    pub(in crate::store) async fn heartbeat(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        task: TaskId,
    ) -> Result<Option<Heartbeat>, Error> {
        on!(self, heartbeat(instance, execution, task))
    }

    /// The call of a task, if it may be or was completed from outside.
    pub(in crate::store) async fn completion(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        task: TaskId,
    ) -> Result<Option<Completion>, Error> {
        on!(self, completion(instance, execution, task))
    }

    /// Calls of an execution whose tokens can be used.
    pub(in crate::store) async fn open_completions(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        after: Option<TaskId>,
        limit: u32,
    ) -> Result<Vec<Completion>, Error> {
        on!(self, open_completions(instance, execution, after, limit))
    }

    /// The call that a token completes.
    pub(in crate::store) async fn completion_of_token(
        &self,
        token: TokenHash,
    ) -> Result<Option<FoundCompletion>, Error> {
        on!(self, completion_of_token(token))
    }

    /// Calls that wait although their time is over.
    pub(in crate::store) async fn expired_completions(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<FoundCompletion>, Error> {
        on!(self, expired_completions(now, limit))
    }

    /// When the time of a waiting call is over next.
    pub(in crate::store) async fn next_expiry(&self) -> Result<Option<Timestamp>, Error> {
        on!(self, next_expiry())
    }

    /// The oldest events of each of these names.
    pub(in crate::store) async fn events(
        &self,
        instance: InstanceNumber,
        names: &[String],
    ) -> Result<Vec<EventPage>, Error> {
        on!(self, events(instance, names))
    }

    /// Turns of an execution after a turn, in order and without gaps.
    pub(in crate::store) async fn history(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        after: TurnNumber,
        limit: u32,
    ) -> Result<Vec<Turn>, Error> {
        on!(self, history(instance, execution, after, limit))
    }

    /// Live instances that must be woken when the host starts, in ascending order after a number.
    pub(in crate::store) async fn to_wake_at_start(
        &self,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<(TenantId, InstanceNumber)>, Error> {
        on!(self, to_wake_at_start(after, limit))
    }

    /// Live instances of a tenant that have something to do, in ascending order after a number.
    pub(in crate::store) async fn to_wake_of(
        &self,
        tenant: TenantId,
        now: Timestamp,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<InstanceNumber>, Error> {
        on!(self, to_wake_of(tenant, now, after, limit))
    }

    /// The wake-ups after a position, the earliest first, except those of some tenants.
    pub(in crate::store) async fn wake_ups(
        &self,
        after: Option<(Timestamp, InstanceNumber)>,
        except: &[TenantId],
        limit: u32,
    ) -> Result<Vec<WakeUp>, Error> {
        on!(self, wake_ups(after, except, limit))
    }

    /// A module version, current or not.
    pub(in crate::store) async fn module(&self, number: ModuleNumber) -> Result<Option<ModuleVersion>, Error> {
        on!(self, module(number))
    }

    /// The bytes of a module version, if they are kept.
    pub(in crate::store) async fn module_bytes(&self, number: ModuleNumber) -> Result<Option<Vec<u8>>, Error> {
        on!(self, module_bytes(number))
    }

    /// The digests of versions whose bytes are kept, of all tenants, by number.
    pub(in crate::store) async fn kept_digests(
        &self,
        after: Option<ModuleNumber>,
        limit: u32,
    ) -> Result<Vec<(ModuleNumber, ModuleDigest)>, Error> {
        on!(self, kept_digests(after, limit))
    }

    /// The next version after a number that no new call can name any more.
    pub(in crate::store) async fn next_old_version(
        &self,
        after: Option<ModuleNumber>,
        now: Timestamp,
    ) -> Result<Option<OldVersion>, Error> {
        on!(self, next_old_version(after, now))
    }

    /// Live instances after a number that may need the bytes of an old version.
    pub(in crate::store) async fn possible_users(
        &self,
        version: &OldVersion,
        after: Option<InstanceNumber>,
    ) -> Result<PossibleUsers, Error> {
        on!(self, possible_users(version, after))
    }

    /// An instance of a tenant as a list shows it.
    pub(in crate::store) async fn summary(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<InstanceSummary>, Error> {
        on!(self, summary(tenant, id))
    }

    /// For what an idempotency key that has not expired was used before.
    pub(in crate::store) async fn use_of_key(
        &self,
        tenant: TenantId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<UsedKey>, Error> {
        on!(self, use_of_key(tenant, key, now))
    }

    /// The answer that is stored with an idempotency key.
    pub(in crate::store) async fn answer(
        &self,
        tenant: TenantId,
        key: &IdempotencyKey,
    ) -> Result<Option<Outcome>, Error> {
        on!(self, answer(tenant, key))
    }

    /// The instance that has the id now.
    pub(in crate::store) async fn addressee(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<Addressee>, Error> {
        on!(self, addressee(tenant, id))
    }

    /// The number of the instance that has the id now.
    pub(in crate::store) async fn number(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<InstanceNumber>, Error> {
        on!(self, number(tenant, id))
    }

    /// A broadcast of a tenant.
    pub(in crate::store) async fn broadcast(&self, tenant: TenantId, id: &str) -> Result<Option<Broadcast>, Error> {
        on!(self, broadcast(tenant, id))
    }

    /// The oldest unfinished broadcast of the next tenant that has any.
    pub(in crate::store) async fn next_broadcast(
        &self,
        after: Option<TenantId>,
    ) -> Result<Option<NextBroadcast>, Error> {
        on!(self, next_broadcast(after))
    }

    /// The current versions of a tenant's modules, by name.
    pub(in crate::store) async fn current_modules(&self, tenant: TenantId) -> Result<Vec<ModuleVersion>, Error> {
        on!(self, current_modules(tenant))
    }

    /// Whether any version of a tenant's modules, current or not, declares events.
    pub(in crate::store) async fn declares_events(&self, tenant: TenantId) -> Result<bool, Error> {
        on!(self, declares_events(tenant))
    }

    /// All tenants, by number.
    pub(in crate::store) async fn tenants(&self) -> Result<Vec<TenantRow>, Error> {
        on!(self, tenants())
    }

    /// All API keys, by id.
    pub(in crate::store) async fn api_keys(&self) -> Result<Vec<KeyRow>, Error> {
        on!(self, api_keys())
    }

    /// The settings of one tenant, or of all, by tenant, kind and name.
    pub(in crate::store) async fn settings(&self, tenant: Option<TenantId>) -> Result<Vec<SettingRow>, Error> {
        on!(self, settings(tenant))
    }

    /// Tenants with schedules, and when the first of each is due.
    pub(in crate::store) async fn first_due_schedules(&self) -> Result<Vec<(TenantId, Timestamp)>, Error> {
        on!(self, first_due_schedules())
    }

    /// When the first schedule of a tenant is due.
    pub(in crate::store) async fn first_due_schedule_of(&self, tenant: TenantId) -> Result<Option<Timestamp>, Error> {
        on!(self, first_due_schedule_of(tenant))
    }

    /// Schedules of a tenant that are due, the earliest first.
    pub(in crate::store) async fn due_schedules(
        &self,
        tenant: TenantId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduleName>, Error> {
        on!(self, due_schedules(tenant, now, limit))
    }

    /// A schedule.
    pub(in crate::store) async fn schedule(
        &self,
        tenant: TenantId,
        name: &ScheduleName,
    ) -> Result<Option<ScheduleRow>, Error> {
        on!(self, schedule(tenant, name))
    }

    /// The next tenant with retention rules.
    pub(in crate::store) async fn next_tenant_with_retention(
        &self,
        after: Option<TenantId>,
    ) -> Result<Option<TenantId>, Error> {
        on!(self, next_tenant_with_retention(after))
    }

    /// The retention rules of a tenant.
    pub(in crate::store) async fn retention_rules(&self, tenant: TenantId) -> Result<Vec<RetentionRow>, Error> {
        on!(self, retention_rules(tenant))
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

    /// Sub-orchestrations of an instance, by number.
    pub(in crate::store) async fn descendants(
        &self,
        parent: InstanceNumber,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<Descendant>, Error> {
        on!(self, descendants(parent, after, limit))
    }

    /// Everything that is wrong with what is stored; nothing if all is well.
    pub(in crate::store) async fn check(&self) -> Result<Vec<String>, Error> {
        on!(self, check())
    }
}
