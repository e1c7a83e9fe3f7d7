//! Lists of a tenant's instances, page by page. Each page costs a bounded amount of work, whether it finds something or
//! not.

use super::{Cursor, InstanceSummary};
use crate::model::{FunctionName, InstanceId, InstanceNumber, InstanceStatus, Timestamp};

/// Most instances that are looked at for one page: some tens of milliseconds. A page that found less than it may have
/// by then says where to go on.
pub(super) const MAX_EXAMINED: u32 = 10_000;

/// Which instances a list shows; everything that is set must fit.
#[derive(Debug, Clone, Default)]
pub struct ListFilter {
    /// In one of these states; any if empty.
    pub statuses: Vec<InstanceStatus>,
    /// Of that orchestration function.
    pub function: Option<FunctionName>,
    /// Whose id begins with that.
    pub id_prefix: Option<String>,
    /// Created at that time or later.
    pub created_from: Option<Timestamp>,
    /// Created before that time.
    pub created_to: Option<Timestamp>,
    /// Children of that instance.
    pub parent: Option<InstanceNumber>,
    /// Children of an instance that had that id and is gone.
    pub orphans_of: Option<InstanceId>,
}

impl ListFilter {
    /// The same for the children of an instance that has an id now, or had it and is gone.
    pub(super) fn of_children(self, parent: &InstanceId, number: Option<InstanceNumber>) -> Self {
        Self {
            parent: number,
            orphans_of: Some(parent.clone()).filter(|_| number.is_none()),
            ..self
        }
    }

    /// Whether it leaves something out of the index that the list walks through.
    pub(super) fn is_selective(&self) -> bool {
        let Self {
            statuses,
            function,
            id_prefix,
            created_from,
            created_to,
            parent: _,
            orphans_of,
        } = self;
        !statuses.is_empty()
            || function.is_some()
            || id_prefix.is_some()
            || created_from.is_some()
            || created_to.is_some()
            || orphans_of.is_some()
    }
}

/// A page of a list, newest first.
#[derive(Debug, Clone, PartialEq)]
pub struct InstancePage {
    /// The instances.
    pub instances: Vec<InstanceSummary>,
    /// Where the next page begins; none if this is the last one. A page that has a next one may be short, or empty.
    pub next: Option<Cursor>,
}

impl InstancePage {
    /// Whether there is nothing on it, and nothing after it.
    pub(super) fn is_empty(&self) -> bool {
        self.instances.is_empty() && self.next.is_none()
    }
}
