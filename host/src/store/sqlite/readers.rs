//! The engine's readers.

use std::collections::BTreeMap;

use sqlx::sqlite::SqlitePool;

use super::{
    administration, attempts, broadcasts, check, completions, events, heartbeats, history, idempotency, instances,
    modules, retention, schedules, settings, summaries, takeover,
};
use crate::{
    model::{
        EndPosition, EventPage, ExecutionNumber, InstanceId, InstanceNumber, ModuleDigest, ModuleNumber, Outcome,
        ScheduleName, TaskId, TenantId, Timestamp, Turn, TurnNumber,
    },
    store::{
        Addressee, AttemptsSoFar, Broadcast, Completion, Descendant, EndedFunction, EndedInstance, EndedInstances,
        Error, FoundCompletion, Heartbeat, IdempotencyKey, InstanceRecord, InstanceSummary, KeyRow, ModuleVersion,
        NextBroadcast, OldVersion, PossibleUsers, RetentionRow, ScheduleRow, SettingRow, TenantRow, TokenHash, UsedKey,
        WakeUp, page::Page,
    },
};

/// A pool of connections, for short queries. Cheap to clone.
#[derive(Debug, Clone)]
pub(in crate::store) struct Readers(pub(super) SqlitePool);

impl Readers {
    /// Closes the connections once their queries have ended.
    pub(super) async fn close(&self) {
        self.0.close().await;
    }
}

/// Each method is one query, defined in the file of its table.
impl Readers {
    pub(in crate::store) async fn takeover(&self, instance: InstanceNumber) -> Result<Option<InstanceRecord>, Error> {
        takeover::read(&self.0, instance).await
    }

    pub(in crate::store) async fn attempts_so_far(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        tasks: &[TaskId],
    ) -> Result<BTreeMap<TaskId, AttemptsSoFar>, Error> {
        let mut found = attempts::so_far(&self.0, instance, execution, tasks).await?;
        for task in heartbeats::tasks_with(&self.0, instance, execution, tasks).await? {
            found.entry(task).or_default().has_heartbeat = true;
        }
        for task in completions::waiting(&self.0, instance, execution, tasks).await? {
            found.entry(task).or_default().waits = true;
        }
        Ok(found)
    }

    pub(in crate::store) async fn heartbeat(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        task: TaskId,
    ) -> Result<Option<Heartbeat>, Error> {
        heartbeats::find(&self.0, instance, execution, task).await
    }

    pub(in crate::store) async fn completion(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        task: TaskId,
    ) -> Result<Option<Completion>, Error> {
        completions::of_task(&self.0, instance, execution, task).await
    }

    pub(in crate::store) async fn open_completions(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        after: Option<TaskId>,
        limit: u32,
    ) -> Result<Vec<Completion>, Error> {
        completions::open_of(&self.0, instance, execution, after, limit).await
    }

    pub(in crate::store) async fn completion_of_token(
        &self,
        token: TokenHash,
    ) -> Result<Option<FoundCompletion>, Error> {
        completions::by_token(&self.0, token).await
    }

    pub(in crate::store) async fn expired_completions(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<FoundCompletion>, Error> {
        completions::expired(&self.0, now, limit).await
    }

    pub(in crate::store) async fn next_expiry(&self) -> Result<Option<Timestamp>, Error> {
        completions::next_expiry(&self.0).await
    }

    pub(in crate::store) async fn events(
        &self,
        instance: InstanceNumber,
        names: &[String],
    ) -> Result<Vec<EventPage>, Error> {
        events::of_names(&self.0, instance, names).await
    }

    pub(in crate::store) async fn history(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        after: TurnNumber,
        limit: u32,
    ) -> Result<Vec<Turn>, Error> {
        history::after(&self.0, instance, execution, after, limit, Page::new()).await
    }

    pub(in crate::store) async fn to_wake_at_start(
        &self,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<(TenantId, InstanceNumber)>, Error> {
        instances::to_wake_at_start(&self.0, after, limit).await
    }

    pub(in crate::store) async fn to_wake_of(
        &self,
        tenant: TenantId,
        now: Timestamp,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<InstanceNumber>, Error> {
        instances::to_wake_of(&self.0, tenant, now, after, limit).await
    }

    pub(in crate::store) async fn wake_ups(
        &self,
        after: Option<(Timestamp, InstanceNumber)>,
        except: &[TenantId],
        limit: u32,
    ) -> Result<Vec<WakeUp>, Error> {
        instances::wake_ups(&self.0, after, except, limit).await
    }

    pub(in crate::store) async fn module(&self, number: ModuleNumber) -> Result<Option<ModuleVersion>, Error> {
        modules::by_number(&self.0, number).await
    }

    pub(in crate::store) async fn module_bytes(&self, number: ModuleNumber) -> Result<Option<Vec<u8>>, Error> {
        modules::bytes(&self.0, number).await
    }

    pub(in crate::store) async fn kept_digests(
        &self,
        after: Option<ModuleNumber>,
        limit: u32,
    ) -> Result<Vec<(ModuleNumber, ModuleDigest)>, Error> {
        modules::kept_digests(&self.0, after, limit).await
    }

    pub(in crate::store) async fn next_old_version(
        &self,
        after: Option<ModuleNumber>,
        now: Timestamp,
    ) -> Result<Option<OldVersion>, Error> {
        modules::next_old_version(&self.0, after, now).await
    }

    pub(in crate::store) async fn possible_users(
        &self,
        version: &OldVersion,
        after: Option<InstanceNumber>,
    ) -> Result<PossibleUsers, Error> {
        modules::possible_users(&self.0, version, after).await
    }

    pub(in crate::store) async fn summary(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<InstanceSummary>, Error> {
        summaries::summary_of(&self.0, tenant, id).await
    }

    pub(in crate::store) async fn use_of_key(
        &self,
        tenant: TenantId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<UsedKey>, Error> {
        idempotency::use_of(&self.0, tenant, key, now).await
    }

    pub(in crate::store) async fn answer(
        &self,
        tenant: TenantId,
        key: &IdempotencyKey,
    ) -> Result<Option<Outcome>, Error> {
        idempotency::answer(&self.0, tenant, key).await
    }

    pub(in crate::store) async fn addressee(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<Addressee>, Error> {
        summaries::addressee(&self.0, tenant, id).await
    }

    pub(in crate::store) async fn number(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<InstanceNumber>, Error> {
        summaries::number_of(&self.0, tenant, id).await
    }

    pub(in crate::store) async fn broadcast(&self, tenant: TenantId, id: &str) -> Result<Option<Broadcast>, Error> {
        broadcasts::find(&self.0, tenant, id).await
    }

    pub(in crate::store) async fn next_broadcast(
        &self,
        after: Option<TenantId>,
    ) -> Result<Option<NextBroadcast>, Error> {
        broadcasts::next_unfinished(&self.0, after).await
    }

    pub(in crate::store) async fn current_modules(&self, tenant: TenantId) -> Result<Vec<ModuleVersion>, Error> {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let page = modules::current(&self.0, tenant, after.as_deref(), u32::MAX).await?;
            all.extend(page.modules);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    pub(in crate::store) async fn declares_events(&self, tenant: TenantId) -> Result<bool, Error> {
        modules::declare_events(&self.0, tenant).await
    }

    pub(in crate::store) async fn tenants(&self) -> Result<Vec<TenantRow>, Error> {
        administration::tenants(&self.0).await
    }

    pub(in crate::store) async fn api_keys(&self) -> Result<Vec<KeyRow>, Error> {
        administration::keys(&self.0).await
    }

    pub(in crate::store) async fn settings(&self, tenant: Option<TenantId>) -> Result<Vec<SettingRow>, Error> {
        settings::of(&self.0, tenant).await
    }

    pub(in crate::store) async fn first_due_schedules(&self) -> Result<Vec<(TenantId, Timestamp)>, Error> {
        schedules::first_due(&self.0).await
    }

    pub(in crate::store) async fn first_due_schedule_of(&self, tenant: TenantId) -> Result<Option<Timestamp>, Error> {
        schedules::first_due_of(&self.0, tenant).await
    }

    pub(in crate::store) async fn due_schedules(
        &self,
        tenant: TenantId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduleName>, Error> {
        schedules::due(&self.0, tenant, now, limit).await
    }

    pub(in crate::store) async fn schedule(
        &self,
        tenant: TenantId,
        name: &ScheduleName,
    ) -> Result<Option<ScheduleRow>, Error> {
        schedules::find(&self.0, tenant, name).await
    }

    pub(in crate::store) async fn next_tenant_with_retention(
        &self,
        after: Option<TenantId>,
    ) -> Result<Option<TenantId>, Error> {
        retention::next_tenant(&self.0, after).await
    }

    pub(in crate::store) async fn retention_rules(&self, tenant: TenantId) -> Result<Vec<RetentionRow>, Error> {
        retention::rules(&self.0, tenant).await
    }

    pub(in crate::store) async fn next_ended_function(
        &self,
        tenant: TenantId,
        after: Option<u64>,
    ) -> Result<Option<EndedFunction>, Error> {
        retention::next_function(&self.0, tenant, after).await
    }

    pub(in crate::store) async fn first_surplus(
        &self,
        of: EndedInstances<'_>,
        count: u32,
    ) -> Result<Option<EndPosition>, Error> {
        retention::first_surplus(&self.0, of, count).await
    }

    pub(in crate::store) async fn ended_between(
        &self,
        of: EndedInstances<'_>,
        after: Option<EndPosition>,
        before: EndPosition,
        limit: u32,
    ) -> Result<Vec<EndedInstance>, Error> {
        retention::between(&self.0, of, after, before, limit).await
    }

    pub(in crate::store) async fn descendants(
        &self,
        parent: InstanceNumber,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<Descendant>, Error> {
        retention::descendants(&self.0, parent, after, limit).await
    }

    pub(in crate::store) async fn check(&self) -> Result<Vec<String>, Error> {
        check::problems(&self.0).await
    }
}
