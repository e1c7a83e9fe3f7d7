//! Schedules on the simulated disk.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::{
    Error, ScheduleChange, ScheduleChanged, SchedulePage, ScheduleRow, ScheduleWrite,
    decode::decode,
    modules::Counted,
    page::Page,
    schedules::{counted_bytes, read_definition},
};
use super::{Content, Disk, Session};
use crate::model::{ScheduleName, TenantId, Timestamp};

/// The rows of both tables.
pub(in crate::store) type Schedules = BTreeMap<(TenantId, ScheduleName), StoredRow>;

/// A schedule.
#[derive(Debug, Clone)]
pub(crate) struct StoredRow {
    revision: u64,
    next_at: Option<Timestamp>,
    definition: Arc<[u8]>,
    pub(crate) state: Arc<[u8]>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl StoredRow {
    /// What counts as stored, in bytes.
    pub(super) fn counted(&self, name: &ScheduleName) -> u64 {
        counted_bytes(name.as_str(), self.definition.len() as u64, self.state.len() as u64)
    }

    fn decoded(&self, tenant: TenantId, name: &ScheduleName) -> Result<ScheduleRow, Error> {
        Ok(ScheduleRow {
            tenant,
            name: name.clone(),
            revision: self.revision,
            next_at: self.next_at,
            schedule: read_definition(&self.definition, name.as_str())?,
            state: decode(&self.state, || format!("the state of the schedule {name}"))?,
            created_at: self.created_at,
            updated_at: self.updated_at,
        })
    }
}

impl Session {
    pub(in crate::store) async fn schedule_refusal(
        &mut self,
        change: &ScheduleChange,
    ) -> Result<Option<ScheduleChanged>, Error> {
        self.step(|content| refusal(content, change)).await
    }

    pub(in crate::store) async fn write_schedule(
        &mut self,
        change: &ScheduleChange,
        revision: u64,
    ) -> Result<Counted<()>, Error> {
        self.step(|content| {
            let before = counted(content, change);
            write(content, change, revision);
            Counted {
                outcome: (),
                before,
                after: counted(content, change),
            }
        })
        .await
    }
}

fn key(change: &ScheduleChange) -> (TenantId, ScheduleName) {
    (change.tenant, change.name.clone())
}

fn refusal(content: &Content, change: &ScheduleChange) -> Option<ScheduleChanged> {
    if !content.catalogue.has_tenant(change.tenant) {
        return Some(ScheduleChanged::TenantGone);
    }
    let found = content.schedules.get(&key(change)).map(|row| row.revision);
    if !change.fits(found) {
        return Some(ScheduleChanged::Conflict);
    }
    let own = || content.schedules.keys().filter(|(owner, _)| *owner == change.tenant);
    match &change.write {
        ScheduleWrite::Put { max, .. } if found.is_none() && own().count() as u64 >= *max => {
            Some(ScheduleChanged::TooMany)
        }
        _ => None,
    }
}

fn counted(content: &Content, change: &ScheduleChange) -> u64 {
    let row = content.schedules.get(&key(change));
    row.map_or(0, |row| row.counted(&change.name))
}

fn write(content: &mut Content, change: &ScheduleChange, revision: u64) {
    let schedules = Arc::make_mut(&mut content.schedules);
    match &change.write {
        ScheduleWrite::Put {
            definition,
            state,
            next_at,
            at,
            ..
        } => {
            let created_at = schedules.get(&key(change)).map_or(*at, |row| row.created_at);
            let row = StoredRow {
                revision,
                next_at: *next_at,
                definition: definition.as_slice().into(),
                state: state.as_slice().into(),
                created_at,
                updated_at: *at,
            };
            schedules.insert(key(change), row);
        }
        ScheduleWrite::Advance { state, next_at } => {
            if let Some(row) = schedules.get_mut(&key(change)) {
                (row.revision, row.next_at) = (revision, *next_at);
                row.state = state.as_slice().into();
            }
        }
        ScheduleWrite::Delete => {
            schedules.remove(&key(change));
        }
    }
}

impl Content {
    /// A schedule.
    pub(crate) fn schedule(&self, tenant: TenantId, name: &ScheduleName) -> Option<ScheduleRow> {
        let row = self.schedules.get(&(tenant, name.clone()))?;
        row.decoded(tenant, name).ok()
    }
}

impl Disk {
    pub(in crate::store) async fn first_due_schedules(&self) -> Result<Vec<(TenantId, Timestamp)>, Error> {
        self.read(|content| {
            let mut first = BTreeMap::<TenantId, Timestamp>::new();
            for ((tenant, _), row) in content.schedules.iter() {
                let Some(at) = row.next_at else { continue };
                let earliest = first.entry(*tenant).or_insert(at);
                *earliest = at.min(*earliest);
            }
            Ok(first.into_iter().collect())
        })
        .await
    }

    pub(in crate::store) async fn first_due_schedule_of(&self, tenant: TenantId) -> Result<Option<Timestamp>, Error> {
        self.read(|content| {
            let own = content.schedules.iter().filter(|((owner, _), _)| *owner == tenant);
            Ok(own.filter_map(|(_, row)| row.next_at).min())
        })
        .await
    }

    pub(in crate::store) async fn due_schedules(
        &self,
        tenant: TenantId,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<ScheduleName>, Error> {
        self.read(|content| {
            let own = content.schedules.iter().filter(|((owner, _), _)| *owner == tenant);
            let mut due: Vec<_> = own
                .filter_map(|((_, name), row)| Some((row.next_at.filter(|at| *at <= now)?, name.clone())))
                .collect();
            due.sort();
            due.truncate(limit as usize);
            Ok(due.into_iter().map(|(_, name)| name).collect())
        })
        .await
    }

    pub(in crate::store) async fn schedule(
        &self,
        tenant: TenantId,
        name: &ScheduleName,
    ) -> Result<Option<ScheduleRow>, Error> {
        self.read(|content| {
            let row = content.schedules.get(&(tenant, name.clone()));
            row.map(|row| row.decoded(tenant, name)).transpose()
        })
        .await
    }

    pub(in crate::store) async fn count_schedules(&self, tenant: TenantId) -> Result<u64, Error> {
        self.read(|content| Ok(content.schedules.keys().filter(|(owner, _)| *owner == tenant).count() as u64))
            .await
    }

    pub(in crate::store) async fn schedules(
        &self,
        tenant: TenantId,
        after: Option<&ScheduleName>,
        limit: u32,
    ) -> Result<SchedulePage, Error> {
        self.read(|content| {
            let (mut schedules, mut size) = (Vec::<ScheduleRow>::new(), Page::for_answer());
            let own = content.schedules.iter().filter(|((owner, _), _)| *owner == tenant);
            for ((_, name), row) in own.filter(|((_, name), _)| after.is_none_or(|after| name > after)) {
                if schedules.len() == limit as usize || size.is_full() {
                    let next = schedules.last().map(|last| last.name.clone());
                    return Ok(SchedulePage { schedules, next });
                }
                let schedule = row.decoded(tenant, name)?;
                size.read(schedule.bytes());
                schedules.push(schedule);
            }
            Ok(SchedulePage { schedules, next: None })
        })
        .await
    }
}
