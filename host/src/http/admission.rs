//! Admission of requests: at most `--max-connections` run at the same time, and the others queue. Tenants share these
//! places by weight: one alone, of the default weight, may use four fifths of them.
//!
//! `/healthz`, `/readyz`, `/metrics` and the requests of administrators need no place, so that monitoring and
//! administrators get an answer while the host is full.

use std::{sync::Arc, time::Duration};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Uri};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::sleep,
};

use super::{
    access,
    connection::{Connection, Connections},
    durable_functions,
    error::Refusal,
    proxies::Network,
    state::App,
};
use crate::{
    memory::{Held, Pool},
    model::{Role, TenantId},
};

/// How long a request waits for a place. Longer than a burst of requests lasts, shorter than clients wait.
const QUEUE_TIME: Duration = Duration::from_secs(30);

/// The paths that monitoring requests.
const WATCHING: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// The account of requests without a valid key. All are refused soon, except completions of calls, which are short.
const STRANGERS: TenantId = TenantId(u32::MAX);

/// Limits on requests and connections.
#[derive(Debug, Clone)]
pub struct PlaceOptions {
    /// Maximum number of requests in progress.
    pub max_requests: usize,
    /// How many files the process may open; a connection is one of them.
    pub max_files: usize,
    /// The addresses from which proxies connect on behalf of many clients.
    pub trusted_proxies: Vec<Network>,
}

/// The places for requests, and the connections of a host.
#[derive(Debug, Clone)]
pub struct Places {
    seats: Arc<Semaphore>,
    /// The seats that each tenant uses.
    shares: Pool,
    pub(super) connections: Arc<Connections>,
    max_requests: usize,
}

impl Places {
    /// Creates the places: as many as the options say, but at least one, and so few that connections take at most half
    /// of the files.
    pub fn new(options: PlaceOptions) -> Self {
        let connections = Connections::new(&options);
        let max_requests = connections.max_requests();
        Self {
            seats: Arc::new(Semaphore::new(max_requests)),
            shares: Pool::of_places(max_requests as u64),
            connections: Arc::new(connections),
            max_requests,
        }
    }

    /// Sets the weight of a tenant's share.
    pub(super) fn set_weight(&self, tenant: TenantId, weight: u32) {
        self.shares.set_weight(tenant, weight);
    }

    /// Drops what is remembered about a tenant that was deleted, as soon as it has no requests.
    pub(super) fn forget(&self, tenant: TenantId) {
        self.shares.forget(tenant);
    }

    /// The number of places.
    pub fn max_requests(&self) -> usize {
        self.max_requests
    }

    /// A seat, if there is one, and if the tenant may have another one.
    fn try_seat(&self, tenant: Option<TenantId>) -> Result<Seat, NoSeat> {
        let share = match tenant {
            Some(tenant) => Some(self.shares.try_take(tenant, 1).ok_or(NoSeat::OfTenant)?),
            None => None,
        };
        let seat = self.seats.clone().try_acquire_owned().map_err(|_| NoSeat::OfHost)?;
        Ok(Seat {
            _seat: seat,
            _share: share,
        })
    }

    async fn seat(&self, tenant: Option<TenantId>) -> Result<Seat, Refusal> {
        // The tenant's own requests queue among themselves first.
        let share = match tenant {
            Some(tenant) => Some(self.shares.take(tenant, 1).await),
            None => None,
        };
        let seat = self.seats.clone().acquire_owned().await;
        Ok(Seat {
            _seat: seat.map_err(|_| Refusal::ShuttingDown)?,
            _share: share,
        })
    }
}

/// Why a request has to wait for its seat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum NoSeat {
    /// The tenant has used up its share.
    OfTenant,
    /// All seats are taken.
    OfHost,
}

/// The place of one request.
#[derive(Debug)]
struct Seat {
    _seat: OwnedSemaphorePermit,
    _share: Option<Held>,
}

/// A request in progress on a connection.
struct UnderWay<'a> {
    connection: &'a Connection,
    _seat: Option<Seat>,
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
    match place(&app, &connection, request.uri(), request.headers()).await {
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
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<UnderWay<'a>, Refusal> {
    let asker = Asker::of(app, uri.path(), headers);
    let seat = match app.places.try_seat(asker.tenant()) {
        Ok(seat) => Some(seat),
        Err(_) if asker == Asker::Privileged => None,
        Err(missing) => {
            let is_wait = uri.query().is_some_and(|query| {
                query.contains("wait=") || (durable_functions::owns(uri.path()) && query.contains("timeout="))
            });
            if let Some(tenant) = asker.tenant()
                && (missing == NoSeat::OfTenant || !is_wait)
            {
                // Its waits may fill its share: a share that is small, or has shrunk since they began.
                app.waits.end_one_of(tenant);
            }
            Some(wait_for_seat(app, connection, asker.tenant()).await?)
        }
    };
    if !connection.begin(seat.is_some()) {
        return Err(Refusal::TooManyConnections);
    }
    Ok(UnderWay {
        connection,
        _seat: seat,
    })
}

async fn wait_for_seat(app: &App, connection: &Connection, tenant: Option<TenantId>) -> Result<Seat, Refusal> {
    if !connection.queue() {
        return Err(Refusal::TooManyConnections);
    }
    tokio::select! {
        biased;
        seat = app.places.seat(tenant) => seat,
        () = connection.refused() => Err(Refusal::TooManyConnections),
        () = sleep(QUEUE_TIME) => Err(Refusal::TooManyConnections),
    }
}

/// Who asks for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asker {
    /// Monitoring, or an administrator: is answered without a place if there is none.
    Privileged,
    /// Anybody on a host without keys, where everybody is an administrator.
    Anybody,
    /// A client of a tenant.
    Tenant(TenantId),
}

impl Asker {
    fn of(app: &App, path: &str, headers: &HeaderMap) -> Self {
        if WATCHING.contains(&path) {
            return Self::Privileged;
        }
        let tenancy = app.engine.tenancy();
        if tenancy.is_open() {
            return Self::Anybody;
        }
        match access::identity(tenancy, headers) {
            Ok(who) if who.role == Role::Admin => Self::Privileged,
            Ok(who) => Self::Tenant(who.tenant),
            Err(_) => Self::Tenant(STRANGERS),
        }
    }

    /// The tenant in whose share the request needs a place.
    const fn tenant(self) -> Option<TenantId> {
        match self {
            Self::Tenant(tenant) => Some(tenant),
            Self::Privileged | Self::Anybody => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures::FutureExt as _;

    use super::*;

    fn places(max_requests: usize, max_files: usize) -> Places {
        Places::new(PlaceOptions {
            max_requests,
            max_files,
            trusted_proxies: Vec::new(),
        })
    }

    #[tokio::test]
    async fn a_tenant_leaves_places_for_others_and_its_further_requests_wait() {
        let places = places(10, 1_000);
        let mut one: Vec<_> = std::iter::from_fn(|| places.try_seat(Some(TenantId(1))).ok()).collect();
        assert_eq!(one.len(), 8);
        let next = places.seat(Some(TenantId(1)));
        tokio::pin!(next);
        assert!(next.as_mut().now_or_never().is_none());
        assert!(
            places.try_seat(Some(TenantId(2))).is_ok(),
            "another tenant does not wait"
        );
        one.pop();
        assert!(next.now_or_never().is_some());
    }

    #[test]
    fn places_are_shared_by_weight() {
        let (heavy, light) = (TenantId(1), TenantId(2));
        let places = places(1_000, 10_000);
        places.set_weight(heavy, 300);
        let mut seats = VecDeque::new();
        for _ in 0..10_000 {
            // Both always want more, and the oldest request ends.
            for tenant in [light, heavy] {
                seats.extend(places.try_seat(Some(tenant)).ok().map(|seat| (tenant, seat)));
            }
            if seats.len() > 900 {
                seats.pop_front();
            }
        }
        let of_heavy = seats.iter().filter(|(tenant, _)| *tenant == heavy).count();
        assert!((650..=750).contains(&of_heavy), "three quarters, not {of_heavy}");
    }

    #[test]
    fn without_keys_one_client_may_use_all_places() {
        let places = places(10, 1_000);
        let all: Vec<_> = std::iter::from_fn(|| places.try_seat(None).ok()).collect();
        assert_eq!(all.len(), 10);
    }

    #[test]
    fn connections_take_at_most_half_of_the_files() {
        for (max_requests, max_files, expected) in [
            (1_024, 1_000_000, 1_024),
            (1_024, 2_560, 1_024),
            (1_024, 1_024, 409),
            (8, 1_024, 8),
            (8, 4, 1),
        ] {
            assert_eq!(
                places(max_requests, max_files).max_requests(),
                expected,
                "{max_files} files"
            );
        }
    }
}
