//! Rewinds an instance that failed: `POST /instances/{instanceId}/rewind`.

use axum::{
    extract::{FromRequest, Request},
    response::Response,
};
use http::StatusCode;

use super::{Call, control, error::Refused};
use crate::{
    http::body::EmptyBody,
    model::{Action, FromStored as _, InstanceId, InstanceStatus},
};

/// Refuses what cannot be rewound. The engine has no rewind; the answer for an instance that could be rewound says so.
pub(super) async fn rewind(call: &Call, id: &str, request: Request) -> Result<Response, Refused> {
    let caller = call.allow(Action::Control)?;
    control::reason(call)?;
    EmptyBody::from_request(request, &call.app).await?;
    let unknown = || Refused::Text(StatusCode::NOT_FOUND, format!("there is no instance {id:?}"));
    let id = InstanceId::from_stored(id).map_err(|_| unknown())?;
    let instance = call.app.store(caller).summary(&id).await?.ok_or_else(unknown)?;
    if instance.status != InstanceStatus::Failed {
        let message = format!("only a failed instance can be rewound; this one is {}", instance.status);
        return Err(Refused::Text(StatusCode::PRECONDITION_FAILED, message));
    }
    Err(Refused::not_implemented("this host does not support rewind"))
}
