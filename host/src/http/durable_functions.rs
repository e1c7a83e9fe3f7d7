//! The HTTP API of Azure Durable Functions, for clients that exist already.
//!
//! A thin translation: each resource calls what its counterpart under `/v1` calls, so limits, quotas, roles and shares
//! apply to both alike. What differs is the form: paths ignore case and trailing slashes, parameters are read
//! leniently, and every body is JSON or empty. A request begins in [`adapt`], outside of everything that could refuse
//! it: there the key becomes the one that the rest of `http` knows, and refusals get the form of this API. A task hub is
//! a tenant. `docs/durable-functions.md` says what is the same as in the original and what differs.

mod binding;
mod control;
mod credentials;
mod document;
mod entities;
mod error;
mod events;
mod history;
mod hub;
mod links;
mod list;
mod path;
mod purge;
mod query;
mod restart;
mod rewind;
mod start;
mod status;

use std::convert::Infallible;

use axum::{
    extract::{FromRequestParts, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method};

use self::{
    credentials::Original,
    error::Refused,
    path::{Part, Route},
    query::Query,
};
use super::{access, error::Refusal, links::Base, state::App, wait_limit::Client};

pub(super) use path::owns;

/// A request to this API, except its path and its body.
struct Call {
    app: App,
    query: Query,
    headers: HeaderMap,
    original: Original,
    /// The address under which the client knows the host.
    base: Base,
    client: Client,
}

/// Prepares requests to this API for the rest of `http`, and gives the answers the form of this API.
pub(super) async fn adapt(State(app): State<App>, mut request: Request, next: Next) -> Response {
    if !owns(request.uri().path()) {
        return next.run(request).await;
    }
    credentials::present(&mut request, app.engine.tenancy().is_open());
    error::adapt(next.run(request).await)
}

/// The refusal of a request in the form of the API that it is for.
pub(super) fn refuse(path: &str, refusal: Refusal) -> Response {
    let response = refusal.into_response();
    if owns(path) { error::adapt(response) } else { response }
}

/// Answers a request to this API.
pub(super) async fn serve(app: App, request: Request) -> Response {
    answer(app, request).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(app: App, request: Request) -> Result<Response, Refused> {
    let (mut parts, body) = request.into_parts();
    // As in the original, the key is checked before the path.
    access::identity(app.engine.tenancy(), &parts.headers)?;
    let unknown = Refusal::UnknownRoute {
        path: parts.uri.path().to_owned(),
    };
    let Some(route) = path::read(parts.uri.path()) else {
        return Err(unknown.into());
    };
    let client: Result<_, Infallible> = Client::from_request_parts(&mut parts, &app).await;
    let call = Call {
        query: Query::of(&parts.uri),
        headers: parts.headers.clone(),
        original: parts.extensions.get::<Original>().cloned().unwrap_or_default(),
        base: Base::from_request_parts(&mut parts, &app).await?,
        client: client.unwrap_or_default(),
        app,
    };
    let method = parts.method.clone();
    let request = Request::from_parts(parts, body);
    match (route, method) {
        (Route::Orchestrator { function, instance }, Method::POST) => {
            start::start(&call, &function, instance.as_deref(), request).await
        }
        (Route::Instances, Method::GET) => list::list(&call).await,
        (Route::Instances, Method::DELETE) => purge::many(&call, request).await,
        (Route::Instance { id, part }, method) => match (part, method) {
            (Part::Itself, Method::GET) => status::get(&call, path::existing(&id)?).await,
            (Part::Itself, Method::DELETE) => purge::one(&call, path::existing(&id)?, request).await,
            (Part::Event(name), Method::POST) => events::raise(&call, path::existing(&id)?, &name, request).await,
            (Part::Terminate, Method::POST) => control::terminate(&call, path::existing(&id)?, request).await,
            (Part::Suspend, Method::POST) => control::suspend(&call, path::existing(&id)?, request).await,
            (Part::Resume, Method::POST) => control::resume(&call, path::existing(&id)?, request).await,
            (Part::Rewind, Method::POST) => rewind::rewind(&call, &id, request).await,
            (Part::Restart, Method::POST) => restart::restart(&call, &id, request).await,
            _ => Err(unknown.into()),
        },
        (Route::Entities { name }, Method::GET) => entities::list(&call, name.as_deref()).await,
        (Route::Entity { name, key }, Method::GET) => entities::get(&call, &name, &key).await,
        (Route::Entity { name, key }, Method::POST) => entities::signal(&call, &name, &key, request).await,
        (Route::Entity { name, key }, Method::DELETE) => entities::delete(&call, &name, &key).await,
        (Route::DurableClient, Method::GET) => binding::get(&call),
        _ => Err(unknown.into()),
    }
}
