//! The filters of lists, and of operations on many instances.

use std::time::Duration;

use crate::{
    http::{error::Refusal, params::Given},
    model::Timestamp,
    store::ListFilter,
};

/// Reads the filters that lists and operations on many instances have in common.
pub(super) fn read(given: &mut Given) -> Result<ListFilter, Refusal> {
    // Ends are exclusive in the store, and inclusive for clients, as in Durable Functions.
    let inclusive = |to: Timestamp| to.after(Duration::from_millis(1));
    Ok(ListFilter {
        statuses: given.statuses("runtimeStatus")?,
        function: given.stored("name")?,
        id_prefix: given.text("instanceIdPrefix"),
        created_from: given.time("createdTimeFrom")?,
        created_to: given.time("createdTimeTo")?.map(inclusive),
        updated_from: given.time("lastUpdatedTimeFrom")?,
        updated_to: given.time("lastUpdatedTimeTo")?.map(inclusive),
        tags: given.filter_tags()?,
        parent: None,
        orphans_of: None,
    })
}

/// Reads the filters of an operation on many instances. Without any, `all=true` is required, so that a parameter that
/// was forgotten does not select everything.
pub(crate) fn selecting(given: &mut Given, ended_before: Option<Timestamp>) -> Result<ListFilter, Refusal> {
    let mut filter = read(given)?;
    filter.updated_to = filter.updated_to.into_iter().chain(ended_before).min();
    if !given.flag("all")? && selects_all(&filter) {
        return Err(Refusal::InvalidParameter {
            name: "all".into(),
            message: "must be true to select all instances: the request has no filter".into(),
        });
    }
    Ok(filter)
}

/// Whether no filter was given.
fn selects_all(filter: &ListFilter) -> bool {
    let ListFilter {
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
    } = filter;
    let times = [created_from, created_to, updated_from, updated_to];
    statuses.is_empty()
        && function.is_none()
        && id_prefix.is_none()
        && times.into_iter().all(Option::is_none)
        && tags.is_empty()
        && parent.is_none()
        && orphans_of.is_none()
}
