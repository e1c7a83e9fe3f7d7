//! Lists of a tenant's instances, page by page. The cost of a page is bounded, whether it finds something or not.

use super::{Cursor, InstanceSummary};
use crate::model::{FunctionName, InstanceId, InstanceNumber, InstanceStatus, Tag, Timestamp};

/// The maximum number of instances to examine for one page, which takes a few tens of milliseconds. When a page reaches
/// it, the page ends there and says where to continue.
pub(super) const MAX_EXAMINED: u32 = 10_000;

/// Selects the instances of a list; an instance must match all conditions that are set.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListFilter {
    /// The allowed states; empty means all.
    pub statuses: Vec<InstanceStatus>,
    /// The orchestration function.
    pub function: Option<FunctionName>,
    /// The beginning of the id.
    pub id_prefix: Option<String>,
    /// Created at this time or later.
    pub created_from: Option<Timestamp>,
    /// Created before this time.
    pub created_to: Option<Timestamp>,
    /// Changed for the last time at this time or later.
    pub updated_from: Option<Timestamp>,
    /// Changed for the last time before this time.
    pub updated_to: Option<Timestamp>,
    /// Has all these tags.
    pub tags: Vec<Tag>,
    /// Children of this instance.
    pub parent: Option<InstanceNumber>,
    /// Children of a deleted instance that had this id.
    pub orphans_of: Option<InstanceId>,
}

impl ListFilter {
    /// Narrows the filter to the children of the instance that has an id, or, without a `number`, of a deleted instance
    /// that had it.
    pub(super) fn of_children(self, parent: &InstanceId, number: Option<InstanceNumber>) -> Self {
        Self {
            parent: number,
            orphans_of: Some(parent.clone()).filter(|_| number.is_none()),
            ..self
        }
    }

    /// Whether it excludes rows of the index that the list walks through.
    pub(super) fn is_selective(&self) -> bool {
        let Self {
            statuses,
            function,
            id_prefix,
            created_from,
            created_to,
            updated_from,
            updated_to,
            tags,
            parent,
            orphans_of,
        } = self;
        // Entities are in the same index, and in no list of instances.
        parent.is_none()
            || !statuses.is_empty()
            || function.is_some()
            || id_prefix.is_some()
            || created_from.is_some()
            || created_to.is_some()
            || updated_from.is_some()
            || updated_to.is_some()
            || !tags.is_empty()
            || orphans_of.is_some()
    }
}

/// A page of a list, newest first. It ends early when it reaches a size of [`ANSWER_BYTES`](super::ANSWER_BYTES).
#[derive(Debug, Clone, PartialEq)]
pub struct InstancePage {
    /// The instances on this page.
    pub instances: Vec<InstanceSummary>,
    /// Where the next page begins; `None` on the last page. Other pages may be short, or empty.
    pub next: Option<Cursor>,
}

impl InstancePage {
    /// Whether the whole rest of the list is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.next.is_none()
    }
}
