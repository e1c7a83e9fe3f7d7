//! What retention looks up: rules, functions with ended instances, and the ended instances to delete.

use crate::model::{
    EndPosition, FunctionName, InstanceId, InstanceNumber, InstanceStatus, RetentionRule, TenantId, Timestamp,
};

use super::{Error, MAX_PURGED_INSTANCES, Store, TenantStore, wrong_answer};
use crate::store::writer::operation::{Operation, Outcome};

/// A rule as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct RetentionRow {
    /// The tenant that the rule belongs to.
    pub tenant: TenantId,
    /// The rule.
    pub rule: RetentionRule,
    /// When it was last set.
    pub updated_at: Timestamp,
}

/// An orchestration function with ended instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedFunction {
    /// The number of its name, which orders the functions of a tenant.
    pub number: u64,
    /// Its name.
    pub name: FunctionName,
}

/// Ended instances of one function, without a parent that exists.
#[derive(Debug, Clone, Copy)]
pub struct EndedInstances<'a> {
    /// The tenant that owns them.
    pub tenant: TenantId,
    /// The [number](EndedFunction::number) of the function.
    pub function: u64,
    /// Their final statuses.
    pub statuses: &'a [InstanceStatus],
}

/// An ended instance without a parent that exists.
#[derive(Debug, Clone, PartialEq)]
pub struct EndedInstance {
    /// Its place in the order of ends.
    pub position: EndPosition,
    /// Its id.
    pub id: InstanceId,
    /// Its final status.
    pub status: InstanceStatus,
    /// Whether sub-orchestrations of it exist.
    pub has_children: bool,
    /// The approximate size of its row, in bytes.
    pub bytes: u64,
}

/// A sub-orchestration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descendant {
    /// Its number.
    pub instance: InstanceNumber,
    /// Its status.
    pub status: InstanceStatus,
    /// Whether sub-orchestrations of it exist.
    pub has_children: bool,
    /// The approximate size of its row, in bytes.
    pub bytes: u64,
}

/// The size of a row of an instance beside its custom status, in bytes.
pub(super) const INSTANCE_BYTES: u64 = 256;

/// Queries of the engine's retention.
impl Store {
    /// The next tenant after this one that has rules.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_tenant_with_retention(&self, after: Option<TenantId>) -> Result<Option<TenantId>, Error> {
        self.readers.next_tenant_with_retention(after).await
    }

    /// The rules of a tenant, by function and status.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a rule cannot be read.
    pub async fn retention_rules(&self, tenant: TenantId) -> Result<Vec<RetentionRow>, Error> {
        self.readers.retention_rules(tenant).await
    }

    /// The function with the next number that has [ended instances](EndedInstances).
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_ended_function(
        &self,
        tenant: TenantId,
        after: Option<u64>,
    ) -> Result<Option<EndedFunction>, Error> {
        self.readers.next_ended_function(tenant, after).await
    }

    /// The instance that follows this many that ended later; `None` if there are no more. The cost is proportional to
    /// `count`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn first_surplus(&self, of: EndedInstances<'_>, count: u32) -> Result<Option<EndPosition>, Error> {
        self.readers.first_surplus(of, count).await
    }

    /// Instances between two places, without these, those first that ended first.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a row cannot be read.
    pub async fn ended_between(
        &self,
        of: EndedInstances<'_>,
        after: Option<EndPosition>,
        before: EndPosition,
        limit: u32,
    ) -> Result<Vec<EndedInstance>, Error> {
        self.readers.ended_between(of, after, before, limit).await
    }

    /// The sub-orchestrations of an instance with larger numbers than `after`, by number.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn descendants(
        &self,
        parent: InstanceNumber,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<Descendant>, Error> {
        self.readers.descendants(parent, after, limit).await
    }

    /// Deletes those of at most [`MAX_PURGED_INSTANCES`] instances that have ended, in one transaction. For the writer, it
    /// is upkeep, which takes turns with the operations of the tenants. Returns how many were deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expire(&self, tenant: TenantId, instances: Vec<InstanceNumber>) -> Result<u64, Error> {
        assert!(
            instances.len() <= MAX_PURGED_INSTANCES as usize,
            "a piece of retention is small"
        );
        let purge = Operation::PurgeMany {
            tenant,
            instances,
            is_upkeep: true,
        };
        match self.ask(purge).await? {
            Outcome::PurgeMany(gone) => Ok(gone),
            other => wrong_answer(&other),
        }
    }
}

/// Queries of clients about what retention would delete.
impl TenantStore {
    /// Like [`Store::next_ended_function`].
    ///
    /// # Errors
    /// When the query fails.
    pub async fn next_ended_function(&self, after: Option<u64>) -> Result<Option<EndedFunction>, Error> {
        self.people.next_ended_function(self.tenant, after).await
    }

    /// Like [`Store::first_surplus`]. The tenant is the one of this handle.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn first_surplus(&self, of: EndedInstances<'_>, count: u32) -> Result<Option<EndPosition>, Error> {
        self.people.first_surplus(self.own(of), count).await
    }

    /// Like [`Store::ended_between`]. The tenant is the one of this handle.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn ended_between(
        &self,
        of: EndedInstances<'_>,
        after: Option<EndPosition>,
        before: EndPosition,
        limit: u32,
    ) -> Result<Vec<EndedInstance>, Error> {
        self.people.ended_between(self.own(of), after, before, limit).await
    }

    /// How many instances are before a place, at most `limit`. The tenant is the one of this handle.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn count_ended(&self, of: EndedInstances<'_>, before: EndPosition, limit: u32) -> Result<u64, Error> {
        self.people.count_ended(self.own(of), before, limit).await
    }

    fn own<'a>(&self, of: EndedInstances<'a>) -> EndedInstances<'a> {
        EndedInstances {
            tenant: self.tenant,
            ..of
        }
    }
}
