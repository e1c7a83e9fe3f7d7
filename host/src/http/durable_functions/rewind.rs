//! Rewinds an instance that failed: `POST /instances/{instanceId}/rewind`.

use axum::{
    extract::{FromRequest, Request},
    response::Response,
};
use http::StatusCode;

use super::{
    Call, control,
    error::{Refused, empty},
};
use crate::{
    engine::{RewindError, RewindRequest},
    http::{body::EmptyBody, error::Refusal},
    model::{Action, FromStored as _, InstanceId},
};

pub(super) async fn rewind(call: &Call, id: &str, request: Request) -> Result<Response, Refused> {
    let caller = call.allow(Action::Control)?;
    let reason = control::reason(call)?;
    let body = EmptyBody::from_request(request, &call.app).await?;
    let unknown = || Refused::Text(StatusCode::NOT_FOUND, format!("there is no instance {id:?}"));
    let id = InstanceId::from_stored(id).map_err(|_| unknown())?;
    let rewind = call.app.engine.rewind(RewindRequest {
        tenant: caller.tenant,
        id: id.clone(),
        reason,
        idempotency: body.idempotency,
    });
    match rewind.await {
        Ok(()) => Ok(empty(StatusCode::ACCEPTED)),
        Err(RewindError::Unknown) => Err(unknown()),
        Err(RewindError::NotFailed(status)) => {
            let message = format!("only a failed instance can be rewound; this one is {status}");
            Err(Refused::Text(StatusCode::PRECONDITION_FAILED, message))
        }
        Err(error) => Err(Refusal::of_rewind(error, id).into()),
    }
}
