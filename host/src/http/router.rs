//! The table of routes. A new resource is a new file and a line here.

use axum::{
    Router,
    extract::{Request, State},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
};
use futures::FutureExt;
use http::Method;
use std::panic::AssertUnwindSafe;
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    HttpOptions,
    admission::{self, Places},
    broadcasts, completions, durable_functions, entities,
    error::Refusal,
    error_pages, guard, health,
    instances::{self, bulk, cancel, control, events, list, logs, moves, restart, rewind},
    keys, metrics, modules, openapi as document, orchestrations, retention, schedules, settings,
    state::App,
    tenants, usage,
};
use crate::engine::Engine;

fn routes() -> OpenApiRouter<App> {
    OpenApiRouter::with_openapi(document::Document::openapi())
        .routes(routes!(tenants::create, tenants::list))
        .routes(routes!(tenants::get, tenants::set, tenants::delete))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::revoke))
        .routes(routes!(usage::get))
        .routes(routes!(settings::list_config))
        .routes(routes!(settings::put_config, settings::delete_config))
        .routes(routes!(settings::list_secrets))
        .routes(routes!(settings::put_secret, settings::delete_secret))
        .routes(routes!(modules::list))
        .routes(routes!(modules::put, modules::get, modules::delete))
        .routes(routes!(orchestrations::start))
        .routes(routes!(schedules::list))
        .routes(routes!(schedules::put, schedules::get, schedules::delete))
        .routes(routes!(schedules::pause))
        .routes(routes!(schedules::resume))
        .routes(routes!(schedules::trigger))
        .routes(routes!(list::list, list::purge_many))
        .routes(routes!(instances::get, instances::purge))
        .routes(routes!(events::raise))
        .routes(routes!(control::terminate))
        .routes(routes!(cancel::cancel))
        .routes(routes!(control::suspend))
        .routes(routes!(control::resume))
        .routes(routes!(restart::restart))
        .routes(routes!(rewind::rewind))
        .routes(routes!(moves::move_to_current))
        .routes(routes!(bulk::control))
        .routes(routes!(broadcasts::list, broadcasts::create))
        .routes(routes!(broadcasts::get))
        .routes(routes!(retention::get))
        .routes(routes!(retention::put, retention::delete))
        .routes(routes!(retention::preview))
        .routes(routes!(broadcasts::cancel))
        .routes(routes!(logs::get))
        .routes(routes!(completions::complete))
        .routes(routes!(entities::list))
        .routes(routes!(entities::get, entities::delete))
        .routes(routes!(entities::signal))
        .routes(routes!(entities::call))
        .routes(routes!(entities::unlock))
        .routes(routes!(entities::state::put, entities::state::delete))
        .routes(routes!(document::get))
        .routes(routes!(error_pages::get))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::get))
}

/// The description of all routes, as served at `/v1/openapi.json`.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// Builds the service: all routes over the engine. When `stopping` is cancelled, waiting requests are answered at once.
pub fn router(engine: Engine, options: HttpOptions, places: Places, stopping: CancellationToken) -> Router {
    let (router, _) = routes().split_for_parts();
    let app = App::new(engine, options, places, stopping);
    router
        .fallback(other_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(app.clone(), guard::own_machine_only))
        .layer(from_fn_with_state(app.clone(), admission::take_a_place))
        .layer(from_fn(answer_panics))
        .layer(from_fn_with_state(app.clone(), durable_functions::adapt))
        .layer(from_fn(trace))
        .with_state(app)
}

/// Serves the API of Durable Functions, whose paths ignore case and trailing slashes, and refuses all other paths.
async fn other_route(State(app): State<App>, request: Request) -> Response {
    if durable_functions::owns(request.uri().path()) {
        return durable_functions::serve(app, request).await;
    }
    Refusal::UnknownRoute {
        path: request.uri().path().to_owned(),
    }
    .into_response()
}

async fn method_not_allowed(State(_): State<App>, method: Method) -> Refusal {
    Refusal::MethodNotAllowed {
        method: method.to_string(),
    }
}

/// Answers with an internal error when a handler panics.
async fn answer_panics(request: Request, next: Next) -> Response {
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let message = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("a panic without a message");
            Refusal::Internal(message.to_owned()).into_response()
        }
    }
}

/// A path without the token of a completion, which is a permission.
fn without_token(path: &str) -> &str {
    const COMPLETIONS: &str = "/v1/completions/";
    match path.starts_with(COMPLETIONS) {
        true => COMPLETIONS,
        false => path,
    }
}

/// Logs one line per request at level DEBUG. The path may name an instance, but never holds a payload or a token.
async fn trace(request: Request, next: Next) -> Response {
    if !tracing::enabled!(tracing::Level::DEBUG) {
        return next.run(request).await;
    }
    let started = tokio::time::Instant::now();
    let (method, path) = (request.method().clone(), without_token(request.uri().path()).to_owned());
    let response = next.run(request).await;
    let elapsed_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::debug!(%method, path, status = response.status().as_u16(), elapsed_us, "answered a request");
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_of_requests_has_no_tokens() {
        assert_eq!(without_token("/v1/completions/wc_00"), "/v1/completions/");
        assert_eq!(without_token("/v1/instances/a"), "/v1/instances/a");
    }
}
