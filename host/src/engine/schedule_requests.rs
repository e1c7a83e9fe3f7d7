//! The requests of clients about schedules. A refused request changes nothing; an accepted one is durable when it is
//! answered.

use std::sync::Arc;

use super::Engine;
use super::api::{PutSchedule, ScheduleError, StartError};
use super::owners::Owners;
use super::schedules;
use super::shared::Shared;
use super::starts::{self, Wanted};
use crate::model::{InstanceId, Overlap, ScheduleName, ScheduleState, TenantId, schedule::Running};
use crate::store::{
    Error as StoreError, IdempotencyKey, ScheduleChange, ScheduleChanged, ScheduleRow, ScheduleWrite, StartOutcome,
    UsedKey,
};
use crate::tenancy::{Exceeded, Quota};

/// How often a request is tried again because the schedule changed at the same time.
const TRIES: u32 = 8;

impl Engine {
    /// Creates a schedule, or replaces the definition of one. Returns the schedule, and whether it is new. A definition
    /// that is the same changes nothing.
    ///
    /// # Errors
    /// If the request is refused, among others because the orchestration does not exist or does not accept the input.
    pub async fn put_schedule(&self, put: PutSchedule) -> Result<(ScheduleRow, bool), ScheduleError> {
        let shared = &self.0.shared;
        let PutSchedule { tenant, name, .. } = &put;
        let input = &put.schedule.input;
        starts::limits_of(shared, *tenant, input)?;
        shared.tenancy.check_tags(*tenant, &put.schedule.tags)?;
        shared.tenancy.check_stored_bytes(*tenant)?;
        shared.guests.to_start(*tenant, &put.schedule.function, input).await?;
        for _ in 0..TRIES {
            let found = shared.store.schedule(*tenant, name).await?;
            if put.must_be_new && found.is_some() {
                return Err(ScheduleError::Exists(name.clone()));
            }
            let Some(change) = self.change_to_put(&put, found.as_ref()) else {
                return found.map(|row| (row, false)).ok_or(ScheduleError::Busy);
            };
            let changed = shared.store.change_schedule(change).await?;
            if self.is_done(*tenant, changed)? {
                let row = shared.store.schedule(*tenant, name).await?;
                let row = row.ok_or_else(|| ScheduleError::Unknown(name.clone()))?;
                self.note_due(&row);
                return Ok((row, found.is_none()));
            }
        }
        Err(ScheduleError::Busy)
    }

    /// The change that a definition makes; `None` if it makes none.
    fn change_to_put(&self, put: &PutSchedule, found: Option<&ScheduleRow>) -> Option<ScheduleChange> {
        let shared = &self.0.shared;
        let now = shared.clock.now();
        let is_same = found.is_some_and(|row| row.schedule == put.schedule);
        let mut state = match found {
            None => ScheduleState::new(now),
            Some(row) if is_same => row.state.clone(),
            Some(row) => row.state.clone().replaced(now),
        };
        if let Some(pause) = &put.pause {
            state.paused.clone_from(pause);
        }
        if is_same && found.is_some_and(|row| row.state == state) {
            return None;
        }
        let tenant = shared.tenancy.tenant(put.tenant);
        let max = tenant
            .map_or_else(Default::default, |tenant| tenant.quotas.clone())
            .max_schedules();
        Some(ScheduleChange::put(
            (put.tenant, put.name.clone()),
            found.map(|row| row.revision),
            (&put.schedule, &state),
            now,
            max,
        ))
    }

    /// Whether a change was made; otherwise it must be tried again.
    fn is_done(&self, tenant: TenantId, changed: ScheduleChanged) -> Result<bool, ScheduleError> {
        match changed {
            ScheduleChanged::Done { .. } => Ok(true),
            ScheduleChanged::Conflict => Ok(false),
            ScheduleChanged::TooMany => {
                let quotas = self
                    .0
                    .shared
                    .tenancy
                    .tenant(tenant)
                    .map(|tenant| tenant.quotas.max_schedules());
                Err(Exceeded::of_size(Quota::MaxSchedules, quotas.unwrap_or_default()).into())
            }
            ScheduleChanged::TenantGone => Err(StartError::TenantGone.into()),
            ScheduleChanged::NotStarted(outcome) => Err(not_started(outcome)),
        }
    }

    /// Lets the reconciler learn when a schedule is due.
    fn note_due(&self, row: &ScheduleRow) {
        if let Some(at) = row.next_at {
            self.0.shared.due_schedules.note(row.tenant, at);
        }
    }

    /// Deletes a schedule. Instances that it has started go on.
    ///
    /// # Errors
    /// If there is no such schedule, or the store fails.
    pub async fn delete_schedule(&self, tenant: TenantId, name: &ScheduleName) -> Result<(), ScheduleError> {
        let change = ScheduleChange {
            tenant,
            name: name.clone(),
            expected: None,
            write: ScheduleWrite::Delete,
        };
        match self.0.shared.store.change_schedule(change).await? {
            ScheduleChanged::Done { .. } => Ok(()),
            _ => Err(ScheduleError::Unknown(name.clone())),
        }
    }

    /// Pauses a schedule. A schedule that is paused gets the new note.
    ///
    /// # Errors
    /// If there is no such schedule, or the store fails.
    pub async fn pause_schedule(
        &self,
        tenant: TenantId,
        name: &ScheduleName,
        note: &str,
    ) -> Result<ScheduleRow, ScheduleError> {
        self.set_state(tenant, name, |state| state.paused(note)).await
    }

    /// Lets a paused schedule go on.
    ///
    /// # Errors
    /// If there is no such schedule, or the store fails.
    pub async fn resume_schedule(&self, tenant: TenantId, name: &ScheduleName) -> Result<ScheduleRow, ScheduleError> {
        self.set_state(tenant, name, ScheduleState::resumed).await
    }

    async fn set_state(
        &self,
        tenant: TenantId,
        name: &ScheduleName,
        set: impl Fn(&ScheduleState) -> ScheduleState,
    ) -> Result<ScheduleRow, ScheduleError> {
        let shared = &self.0.shared;
        for _ in 0..TRIES {
            let mut row = self.schedule(tenant, name).await?;
            let (state, now) = (set(&row.state), shared.clock.now());
            if state == row.state {
                return Ok(row);
            }
            let change = ScheduleChange::advance(&row, &state, now);
            let changed = shared.store.change_schedule(change).await?;
            if let ScheduleChanged::Done { revision } = changed {
                row.next_at = state.next_look(&row.schedule, (tenant, name), now);
                (row.revision, row.state) = (revision, state);
                self.note_due(&row);
                return Ok(row);
            }
        }
        Err(ScheduleError::Busy)
    }

    /// Starts an instance of a schedule now, whether it is paused or not. Returns the instance's id.
    ///
    /// A repeated request with the same idempotency key starts nothing again, and returns the id of the first. `overlap`
    /// replaces the policy of the schedule. If the last instance has not ended, [`Overlap::Skip`] and
    /// [`Overlap::QueueOne`] refuse the request.
    ///
    /// # Errors
    /// If the start is refused.
    pub async fn trigger_schedule(
        &self,
        tenant: TenantId,
        name: &ScheduleName,
        overlap: Option<Overlap>,
        idempotency: Option<IdempotencyKey>,
    ) -> Result<InstanceId, ScheduleError> {
        for _ in 0..TRIES {
            if let Some(key) = &idempotency
                && let Some(used) = self.0.shared.store.tenant(tenant).use_of_key(key, self.now()).await?
            {
                // Before anything else: the instance of the first request may still run.
                return match used {
                    UsedKey::Repeated(id) => Ok(id),
                    UsedKey::Reused => Err(StartError::KeyReused.into()),
                };
            }
            let row = self.schedule(tenant, name).await?;
            // In a separate task: if the client disconnects in between, the stored instance must still be woken.
            let (shared, owners) = (self.0.shared.clone(), self.0.owners.clone());
            let triggered = self
                .0
                .shared
                .tracker
                .spawn(trigger(shared, owners, row, overlap, idempotency.clone()));
            let triggered = triggered.await.unwrap_or(Err(StoreError::Closed.into()));
            if let Some(id) = triggered? {
                return Ok(id);
            }
        }
        Err(ScheduleError::Busy)
    }

    async fn schedule(&self, tenant: TenantId, name: &ScheduleName) -> Result<ScheduleRow, ScheduleError> {
        let found = self.0.shared.store.schedule(tenant, name).await?;
        found.ok_or_else(|| ScheduleError::Unknown(name.clone()))
    }
}

fn not_started(outcome: StartOutcome) -> ScheduleError {
    match outcome {
        StartOutcome::AlreadyExists(status) => StartError::AlreadyExists(status).into(),
        StartOutcome::TenantGone => StartError::TenantGone.into(),
        StartOutcome::Created(_) | StartOutcome::Repeated(_) | StartOutcome::KeyReused => ScheduleError::Busy,
    }
}

/// Starts an instance by hand; `None` if the schedule or the time must be another one.
async fn trigger(
    shared: Arc<Shared>,
    owners: Owners,
    mut row: ScheduleRow,
    overlap: Option<Overlap>,
    key: Option<IdempotencyKey>,
) -> Result<Option<InstanceId>, ScheduleError> {
    let overlap = overlap.unwrap_or(row.schedule.overlap);
    if schedules::running(&shared, &row, overlap).await? == Running::Yes {
        let ended = overlap.ends_running() && schedules::end_running(&shared, &owners, &row, overlap).await?;
        if let Some(last) = row.state.last.as_ref().filter(|_| !ended) {
            let running = last.id.clone();
            return Err(ScheduleError::Overlaps { running });
        }
    }
    let now = shared.clock.now();
    let id = row.name.instance_by_hand(now);
    let wanted = Wanted {
        tenant: row.tenant,
        function: row.schedule.function.clone(),
        input: row.schedule.input.clone(),
        id: Some(id.clone()),
        not_before: None,
    };
    let instance = starts::admit(&shared, wanted).await?;
    let started = schedules::create(&shared, &owners, &mut row, instance, key, |state, last| {
        state.started_by_hand(last, now)
    });
    match started.await? {
        ScheduleChanged::Done { .. } => Ok(Some(id)),
        ScheduleChanged::TenantGone | ScheduleChanged::NotStarted(StartOutcome::TenantGone) => {
            Err(StartError::TenantGone.into())
        }
        ScheduleChanged::NotStarted(StartOutcome::Repeated(id)) => Ok(Some(id)),
        ScheduleChanged::NotStarted(StartOutcome::KeyReused) => Err(StartError::KeyReused.into()),
        // Two were triggered in the same millisecond, or the schedule was changed.
        ScheduleChanged::NotStarted(_) | ScheduleChanged::Conflict | ScheduleChanged::TooMany => Ok(None),
    }
}
