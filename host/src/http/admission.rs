//! Admission of requests: at most `--max-connections` run at the same time, and the others queue.
//!
//! `/healthz`, `/readyz`, `/metrics` and the requests of administrators need no place, so that monitoring and
//! administrators get an answer while the host is full.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::HeaderMap;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use super::{
    access,
    connection::{Connection, Connections},
    error::Refusal,
    state::App,
};
use crate::model::Role;

/// How long a request waits for a place. Longer than a burst of requests lasts, shorter than clients wait.
const QUEUE_TIME: Duration = Duration::from_secs(30);

/// The paths that monitoring requests.
const WATCHING: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The places for requests, and the connections of a host.
#[derive(Debug, Clone)]
pub struct Places {
    seats: Arc<Semaphore>,
    pub(super) connections: Arc<Connections>,
    max_requests: usize,
}

impl Places {
    /// Creates that many places, at least one.
    pub fn new(max_requests: usize) -> Self {
        let max_requests = max_requests.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            seats: Arc::new(Semaphore::new(max_requests)),
            connections: Arc::new(Connections::new(max_requests)),
            max_requests,
        }
    }

    /// The number of places.
    pub(super) fn max_requests(&self) -> usize {
        self.max_requests
    }
}

/// A request in progress on a connection.
struct UnderWay<'a> {
    connection: &'a Connection,
    _seat: Option<OwnedSemaphorePermit>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.connection.finish();
    }
}

/// Lets a request through when there is a place for it.
pub(crate) async fn take_a_place(State(app): State<App>, request: Request, next: Next) -> Response {
    let Some(connection) = request.extensions().get::<Arc<Connection>>().cloned() else {
        return next.run(request).await;
    };
    match place(&app, &connection, request.uri().path(), request.headers()).await {
        Ok(_under_way) => next.run(request).await,
        Err(refusal) => {
            connection.finish();
            refusal.into_response()
        }
    }
}

async fn place<'a>(
    app: &App,
    connection: &'a Connection,
    path: &str,
    headers: &HeaderMap,
) -> Result<UnderWay<'a>, Refusal> {
    let seat = match app.places.seats.clone().try_acquire_owned() {
        Ok(seat) => Some(seat),
        Err(_) if is_privileged(app, path, headers) => None,
        Err(_) => Some(wait_for_seat(app, connection).await?),
    };
    if !connection.begin(seat.is_some()) {
        return Err(Refusal::TooManyConnections);
    }
    Ok(UnderWay {
        connection,
        _seat: seat,
    })
}

async fn wait_for_seat(app: &App, connection: &Connection) -> Result<OwnedSemaphorePermit, Refusal> {
    if !connection.queue() {
        return Err(Refusal::TooManyConnections);
    }
    tokio::select! {
        biased;
        seat = app.places.seats.clone().acquire_owned() => seat.map_err(|_| Refusal::ShuttingDown),
        () = connection.refused() => Err(Refusal::TooManyConnections),
        () = sleep(QUEUE_TIME) => Err(Refusal::TooManyConnections),
    }
}

/// Whether the request is answered without a place. Requests of administrators are, but not on a host without keys,
/// where everybody is an administrator.
fn is_privileged(app: &App, path: &str, headers: &HeaderMap) -> bool {
    if WATCHING.contains(&path) {
        return true;
    }
    let tenancy = app.engine.tenancy();
    !tenancy.is_open() && access::identity(tenancy, headers).is_ok_and(|who| who.role == Role::Admin)
}
