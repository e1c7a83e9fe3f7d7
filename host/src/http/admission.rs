//! Places for requests: as many as `--max-connections` says, and how the host answers when they are used up.
//!
//! A request without a place waits for one. Not so `/healthz`, `/readyz` and `/metrics`, and the requests of
//! administrators: those who watch the host and those who can help it are answered while it is full.

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

/// How long a request waits for its place. Longer than a burst of requests takes, shorter than clients wait.
const QUEUE_TIME: Duration = Duration::from_secs(30);

/// What programs ask that watch a host.
const WATCHING: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The places of a host, and its connections.
#[derive(Debug, Clone)]
pub struct Places {
    seats: Arc<Semaphore>,
    pub(super) connections: Arc<Connections>,
    max_requests: usize,
}

impl Places {
    /// That many, at least one.
    pub fn new(max_requests: usize) -> Self {
        let max_requests = max_requests.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            seats: Arc::new(Semaphore::new(max_requests)),
            connections: Arc::new(Connections::new(max_requests)),
            max_requests,
        }
    }

    /// How many there are.
    pub(super) fn max_requests(&self) -> usize {
        self.max_requests
    }
}

/// A request under way on a connection.
struct UnderWay<'a> {
    connection: &'a Connection,
    _seat: Option<OwnedSemaphorePermit>,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.connection.finish();
    }
}

/// Lets requests through as there are places.
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

/// Whether the request is answered without a place. On a host without keys everybody is an administrator, and nobody has
/// this right for it.
fn is_privileged(app: &App, path: &str, headers: &HeaderMap) -> bool {
    if WATCHING.contains(&path) {
        return true;
    }
    let tenancy = app.engine.tenancy();
    !tenancy.is_open() && access::identity(tenancy, headers).is_ok_and(|who| who.role == Role::Admin)
}
