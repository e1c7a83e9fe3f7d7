//! Schedules: rows of the tables `schedules` and `schedule_definitions`.
//!
//! Every change names the [revision](ScheduleRow::revision) that it continues, and is refused if there is another one.
//! The start of an instance and the progress of its schedule are one change, so a time is started once, whatever
//! happens between the decision and its commit.

use super::{Error, StartOutcome, page::Page, sizes::ROW_BYTES, tenant::TenantStore, writer::operation::EncodedCommit};
use crate::model::{Schedule, ScheduleName, ScheduleState, TenantId, Timestamp, codec, schedule::StoredSchedule};

/// A schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleRow {
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// Its name.
    pub name: ScheduleName,
    /// Identifies what the row contains: never used twice.
    pub revision: u64,
    /// When the host must look at it next; `None` while it is paused or over.
    pub next_at: Option<Timestamp>,
    /// Its definition.
    pub schedule: Schedule,
    /// What became of its times.
    pub state: ScheduleState,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its definition was last changed.
    pub updated_at: Timestamp,
}

/// Schedules, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulePage {
    /// The schedules on this page; at least one, if there are any.
    pub schedules: Vec<ScheduleRow>,
    /// If more follow: the name of the last one on this page.
    pub next: Option<ScheduleName>,
}

/// A change of a schedule.
#[derive(Debug, Clone)]
pub struct ScheduleChange {
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// Its name.
    pub name: ScheduleName,
    /// The revision that is changed; `None` if the schedule must not exist.
    pub expected: Option<u64>,
    /// What is written.
    pub write: ScheduleWrite,
}

/// What a [`ScheduleChange`] writes.
#[derive(Debug, Clone)]
pub enum ScheduleWrite {
    /// The definition and the state.
    Put {
        /// The encoded definition.
        definition: Vec<u8>,
        /// The encoded state.
        state: Vec<u8>,
        /// When the host must look at it next.
        next_at: Option<Timestamp>,
        /// The time of the change.
        at: Timestamp,
        /// How many schedules the tenant may have.
        max: u64,
    },
    /// The state only.
    Advance {
        /// The encoded state.
        state: Vec<u8>,
        /// When the host must look at it next.
        next_at: Option<Timestamp>,
    },
    /// Nothing: the schedule is deleted, whatever its revision is.
    Delete,
}

/// The outcome of a [`ScheduleChange`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScheduleChanged {
    /// It is on disk; the schedule has this revision.
    Done {
        /// The new revision.
        revision: u64,
    },
    /// The schedule has another revision, does not exist, or exists; nothing was changed.
    Conflict,
    /// The tenant has as many schedules as it may have; nothing was changed.
    TooMany,
    /// The tenant was deleted.
    TenantGone,
    /// The instance was not started, and the schedule not changed.
    NotStarted(StartOutcome),
}

/// A change, and the creation of an instance that is written with it.
pub(super) struct ScheduleWork {
    pub(super) change: ScheduleChange,
    pub(super) creation: Option<Box<EncodedCommit>>,
}

impl ScheduleChange {
    /// Creates a schedule, or replaces the definition of the row whose revision is `expected`.
    pub fn put(
        (tenant, name): (TenantId, ScheduleName),
        expected: Option<u64>,
        (schedule, state): (&Schedule, &ScheduleState),
        at: Timestamp,
        max: u64,
    ) -> Self {
        let write = ScheduleWrite::Put {
            definition: codec::encode(&schedule.stored()),
            state: codec::encode(state),
            next_at: state.next_look(schedule, (tenant, &name), at),
            at,
            max,
        };
        Self {
            tenant,
            name,
            expected,
            write,
        }
    }

    /// Replaces the state of a schedule.
    pub fn advance(row: &ScheduleRow, state: &ScheduleState, now: Timestamp) -> Self {
        let write = ScheduleWrite::Advance {
            state: codec::encode(state),
            next_at: state.next_look(&row.schedule, (row.tenant, &row.name), now),
        };
        Self {
            tenant: row.tenant,
            name: row.name.clone(),
            expected: Some(row.revision),
            write,
        }
    }

    /// Whether it may be made when the schedule has this revision.
    pub(super) fn fits(&self, found: Option<u64>) -> bool {
        match self.write {
            ScheduleWrite::Delete => found.is_some(),
            ScheduleWrite::Put { .. } | ScheduleWrite::Advance { .. } => found == self.expected,
        }
    }

    /// The bytes that it writes.
    pub(super) fn bytes(&self) -> usize {
        match &self.write {
            ScheduleWrite::Put { definition, state, .. } => definition.len() + state.len(),
            ScheduleWrite::Advance { state, .. } => state.len(),
            ScheduleWrite::Delete => 0,
        }
    }
}

impl ScheduleRow {
    /// The approximate size of its data, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let content = self.schedule.input.bytes() + self.schedule.tags.bytes();
        Page::ROW_BYTES + usize::try_from(content).unwrap_or(usize::MAX)
    }
}

/// What counts as stored of a schedule, in bytes.
pub(super) fn counted_bytes(name: &str, definition: u64, state: u64) -> u64 {
    definition + state + name.len() as u64 + 2 * ROW_BYTES
}

/// Decodes a definition.
pub(super) fn read_definition(bytes: &[u8], name: &str) -> Result<Schedule, Error> {
    let damaged = |problem: String| Error::Damaged(format!("the definition of the schedule {name}: {problem}"));
    let stored: StoredSchedule = codec::decode(bytes).map_err(|error| damaged(error.to_string()))?;
    Schedule::from_stored(stored).map_err(damaged)
}

/// Decodes the name in a row.
pub(super) fn read_name(text: &str) -> Result<ScheduleName, Error> {
    let damaged = |problem| Error::Damaged(format!("the name of the schedule {text:?} {problem}"));
    text.parse().map_err(damaged)
}

impl TenantStore {
    /// A schedule.
    ///
    /// # Errors
    /// When the query fails, or the row cannot be read.
    pub async fn schedule(&self, name: &ScheduleName) -> Result<Option<ScheduleRow>, Error> {
        self.people.schedule(self.tenant, name).await
    }

    /// The number of schedules of the tenant.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn count_schedules(&self) -> Result<u64, Error> {
        self.people.count_schedules(self.tenant).await
    }

    /// Schedules after a name, by name: at most `limit`, and fewer if their inputs are large.
    ///
    /// # Errors
    /// When the query fails, or a row cannot be read.
    pub async fn schedules(&self, after: Option<&ScheduleName>, limit: u32) -> Result<SchedulePage, Error> {
        self.people.schedules(self.tenant, after, limit).await
    }
}
