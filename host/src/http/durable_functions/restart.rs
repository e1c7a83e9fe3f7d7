//! Runs an orchestration again with the same input: `POST /instances/{instanceId}/restart`.

use axum::{
    extract::{FromRequest, Request},
    response::Response,
};

use super::{Call, error::Refused};
use crate::{
    http::{body::EmptyBody, error::Refusal},
    model::{Action, FromStored as _, InstanceId},
};

/// Refuses what cannot be restarted. The engine has no restart; the answer for an instance that could be restarted says
/// so.
pub(super) async fn restart(call: &Call, id: &str, request: Request) -> Result<Response, Refused> {
    let caller = call.allow(Action::Control)?;
    EmptyBody::from_request(request, &call.app).await?;
    // Unlike everywhere else, the original answers 400 and not 404.
    let unknown = || Refused::argument(format!("there is no instance {id:?}"));
    let id = InstanceId::from_stored(id).map_err(|_| unknown())?;
    let instance = call.app.store(caller).summary(&id).await?.ok_or_else(unknown)?;
    let under_same_id = call.query.flag("restartWithNewInstanceId") == Some(false);
    if under_same_id && !instance.status.has_ended() {
        let (id, status) = (id.to_string(), instance.status);
        return Err(Refusal::AlreadyExists { id, status }.into());
    }
    Err(Refused::not_implemented("this host does not support restart"))
}
