//! The document that SDKs get as the value of their `durableClient` binding: `GET /durableClient`.
//!
//! In Azure, the Functions host passes it to a function. Here, a program reads it from this address, and gives it to the
//! SDK. It contains nothing that the client does not know: its own key, and addresses.

use axum::response::Response;
use http::StatusCode;
use serde_json::json;

use super::{Call, error, error::Refused, links::Links};
use crate::model::{Action, TenantId};

/// The id that SDKs replace in the management links.
const PLACEHOLDER: &str = "INSTANCEID";

pub(super) fn get(call: &Call) -> Result<Response, Refused> {
    let caller = call.allow(Action::Read)?;
    let links = Links::new(call, caller);
    let Links { base, code, hub, .. } = &links;
    let create = format!("{base}/orchestrators/{{functionName}}[/{{instanceId}}]");
    let wait = "timeout={timeoutInSeconds}&pollingInterval={intervalInSeconds}";
    // With this address, SDKs send neither a key nor a task hub.
    let without_key = call.app.engine.tenancy().is_open() && caller.tenant == TenantId::DEFAULT;
    let required = if code.is_empty() {
        format!("taskHub={hub}")
    } else {
        code.clone()
    };
    let document = json!({
        "taskHubName": hub,
        "connectionName": call.query.text("connection"),
        "creationUrls": {
            "createNewInstancePostUri": format!("{create}?{code}"),
            "createAndWaitOnNewInstancePostUri": format!("{create}?{wait}&{code}"),
        },
        "managementUrls": links.of(PLACEHOLDER),
        "baseUrl": base,
        "httpBaseUrl": base,
        "requiredQueryStringParameters": required,
        "rpcBaseUrl": without_key.then(|| format!("{base}/")),
    });
    Ok(error::json(StatusCode::OK, &document))
}
