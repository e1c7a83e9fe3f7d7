//! Entities, as clients see them.

use super::page::Page;
use super::{Error, TenantStore};
use crate::model::{
    EntityId, EntityState, FunctionName, InstanceId, InstanceNumber, InstanceStatus, StuckReason, Timestamp,
};

/// The maximum number of messages of an entity that the writer counts when it reads the entity, so that this takes
/// milliseconds. The SQL has it, too.
pub const MAX_WAITING: u64 = 10_000;

/// The maximum number of waiting operations that are counted for a query.
pub(super) const MAX_COUNTED: u64 = 1_000;

/// An entity.
#[derive(Debug, Clone, PartialEq)]
pub struct EntityDetails {
    /// Its number among the instances.
    pub number: InstanceNumber,
    /// Its id.
    pub id: InstanceId,
    /// `Running`, or `Stuck`.
    pub status: InstanceStatus,
    /// Why it is stuck.
    pub stuck: Option<StuckReason>,
    /// When its first operation was sent.
    pub created_at: Timestamp,
    /// When it last took a step.
    pub updated_at: Timestamp,
    /// What is stored of it.
    pub entity: EntityState,
    /// The number of messages that wait for it, up to 1,000.
    pub waiting: u64,
}

impl EntityDetails {
    /// Whether it exists for clients: it has a state, a lock, or something waits for it.
    pub fn exists(&self) -> bool {
        !self.entity.is_empty() || self.waiting > 0 || self.status == InstanceStatus::Stuck
    }

    /// The approximate size in an answer, in bytes.
    pub(super) fn bytes(&self) -> usize {
        Page::ROW_BYTES + usize::try_from(self.entity.bytes()).unwrap_or(usize::MAX)
    }
}

/// Selects entities.
#[derive(Debug, Clone, Default)]
pub struct EntityFilter {
    /// The name, in lower case.
    pub name: Option<FunctionName>,
    /// Took a step at this time or later.
    pub updated_from: Option<Timestamp>,
    /// Took a step before this time.
    pub updated_to: Option<Timestamp>,
}

/// A page of entities, by id.
#[derive(Debug, Clone, PartialEq)]
pub struct EntityPage {
    /// The entities.
    pub entities: Vec<EntityDetails>,
    /// The last id that was examined; `None` on the last page.
    pub next: Option<InstanceId>,
}

impl EntityFilter {
    /// Whether an entity matches.
    pub(super) fn matches(&self, entity: &EntityDetails) -> bool {
        let name = || EntityId::of(&entity.id).map(|id| id.name().clone());
        entity.exists()
            && (self.name.is_none() || self.name == name())
            && self.updated_from.is_none_or(|from| entity.updated_at >= from)
            && self.updated_to.is_none_or(|to| entity.updated_at < to)
    }

    /// The ids of the entities begin with this.
    pub(super) fn prefix(&self) -> String {
        match &self.name {
            Some(name) => format!("@{name}@"),
            None => "@".to_owned(),
        }
    }
}

impl TenantStore {
    /// An entity; `None` if nothing is stored of it.
    ///
    /// # Errors
    /// When the query fails, or the row cannot be read.
    pub async fn entity(&self, id: &InstanceId) -> Result<Option<EntityDetails>, Error> {
        self.people.entity(self.tenant, id).await
    }

    /// Entities after an id, in the order of their ids, at most `limit`. Examines a bounded number of them.
    ///
    /// # Errors
    /// When the query fails, or a row cannot be read.
    pub async fn entities(
        &self,
        filter: &EntityFilter,
        after: Option<&InstanceId>,
        limit: u32,
    ) -> Result<EntityPage, Error> {
        self.people.entities(self.tenant, filter, after, limit).await
    }
}
