//! Entities: `/entities[/{entityName}[/{entityKey}]]`. The engine has none, so none exists, and nothing can be signalled.

use axum::response::Response;
use http::StatusCode;

use super::{Call, error::Refused};
use crate::model::Action;

const NO_ENTITIES: &str = "this host does not support entities";

pub(super) fn list(call: &Call) -> Result<Response, Refused> {
    call.allow(Action::Browse)?;
    Err(Refused::not_implemented(NO_ENTITIES))
}

/// No entity exists: 404, as for every entity without state.
pub(super) fn get(call: &Call) -> Result<Response, Refused> {
    call.allow(Action::Read)?;
    Err(Refused::Status(StatusCode::NOT_FOUND))
}

pub(super) fn signal(call: &Call) -> Result<Response, Refused> {
    call.allow(Action::Signal)?;
    Err(Refused::not_implemented(NO_ENTITIES))
}

pub(super) fn delete(call: &Call) -> Result<Response, Refused> {
    call.allow(Action::Signal)?;
    Err(Refused::not_implemented(NO_ENTITIES))
}
