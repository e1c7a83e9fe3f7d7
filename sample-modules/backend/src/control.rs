//! Makes the other areas misbehave, counts the calls they get, and resets everything.
//!
//! Faults and counts are in memory, so a restart clears them. They apply in a layer around the areas, so that no
//! handler needs to know about them, except that the payment gateway asks which orders to decline.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{ApiError, Json, Path};
use crate::orders::{Order, OrderItem, OrderStatus};
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    ("GET", "/control/faults", "the faults in force"),
    (
        "PUT",
        "/control/faults/{area}",
        "makes an area fail, lose its answers or respond slowly",
    ),
    ("DELETE", "/control/faults/{area}", "ends the fault of an area"),
    (
        "PUT",
        "/control/declines",
        "declines payments: of some orders, or the next few",
    ),
    (
        "GET",
        "/control/calls",
        "calls per method and area since start or reset",
    ),
    ("POST", "/control/orders", "adds a batch of valid orders"),
    ("POST", "/control/reset", "puts everything back to the first start"),
];

/// Maximum delay of one call, in milliseconds.
const MAX_DELAY_MS: u64 = 60_000;

/// Maximum number of orders added by one call.
const MAX_NEW_ORDERS: u32 = 10_000;

#[derive(Default)]
pub(crate) struct Control(Mutex<Mischief>);

#[derive(Default)]
struct Mischief {
    /// By area, the first segment of a path.
    faults: BTreeMap<String, Fault>,
    decline_orders: Vec<String>,
    decline_next: u32,
    /// By `METHOD area`.
    calls: BTreeMap<String, u64>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fault {
    /// The status to respond with; if absent, the call is only delayed.
    status: Option<u16>,
    /// Carry out the call before responding with `status`, as if its response had been lost.
    #[serde(default)]
    after: bool,
    /// Delay before the call, in milliseconds.
    #[serde(default)]
    delay_ms: u64,
    /// Number of calls that are affected; if absent, no limit.
    times: Option<u32>,
    /// Duration of the fault, in seconds; if absent, no limit.
    seconds: Option<f64>,
    /// Affect only calls with this method.
    method: Option<String>,
    #[serde(skip)]
    since: Option<Instant>,
}

impl Fault {
    fn is_over(&self) -> bool {
        let expired = |seconds| self.since.is_some_and(|since| since.elapsed().as_secs_f64() >= seconds);
        self.times == Some(0) || self.seconds.is_some_and(expired)
    }
}

impl Control {
    pub(crate) fn clear(&self) {
        *self.lock() = Mischief::default();
    }

    /// Whether to decline a payment: the order is listed, or it is one of the "next few", which this counts down.
    pub(crate) fn declines(&self, order_id: &str) -> bool {
        let mut mischief = self.lock();
        if mischief.decline_orders.iter().any(|order| order == order_id) {
            return true;
        }
        let decline = mischief.decline_next > 0;
        mischief.decline_next = mischief.decline_next.saturating_sub(1);
        decline
    }

    /// Counts the call and returns the fault that applies to it, if there is one.
    fn meet(&self, method: &str, area: &str) -> Option<Fault> {
        let mut mischief = self.lock();
        *mischief.calls.entry(format!("{method} {area}")).or_default() += 1;
        mischief.faults.retain(|_, fault| !fault.is_over());
        let fault = mischief.faults.get_mut(area)?;
        if fault.method.as_ref().is_some_and(|only| only != method) {
            return None;
        }
        fault.times = fault.times.map(|times| times - 1);
        Some(fault.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Mischief> {
        self.0.lock().expect("no thread panics while it holds the faults")
    }
}

/// The layer around every endpoint that applies the faults.
pub(crate) async fn interfere(State(world): State<Arc<World>>, request: Request, next: Next) -> Response {
    let area = request.uri().path().split('/').nth(1).unwrap_or_default();
    if area.is_empty() || area == "control" {
        return next.run(request).await;
    }
    let Some(fault) = world.control.meet(request.method().as_str(), area) else {
        return next.run(request).await;
    };
    tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    let Some(status) = fault.status.and_then(|status| StatusCode::from_u16(status).ok()) else {
        return next.run(request).await;
    };
    if fault.after {
        next.run(request).await;
        return ApiError::new(status, "answer_lost", "the call was carried out, its answer got lost").into_response();
    }
    ApiError::new(status, "out_of_order", "this service is out of order for now").into_response()
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/control/faults", get(faults))
        .route("/control/faults/{area}", put(set_fault).delete(end_fault))
        .route("/control/declines", put(set_declines))
        .route("/control/calls", get(calls))
        .route("/control/orders", post(add_orders))
        .route("/control/reset", post(reset))
}

async fn faults(State(world): State<Arc<World>>) -> Json<BTreeMap<String, Fault>> {
    let mut mischief = world.control.lock();
    mischief.faults.retain(|_, fault| !fault.is_over());
    Json(mischief.faults.clone())
}

async fn set_fault(
    State(world): State<Arc<World>>,
    Path(area): Path<String>,
    Json(fault): Json<Fault>,
) -> Result<Json<Fault>, ApiError> {
    if fault.status.is_some_and(|status| !(400..=599).contains(&status)) {
        return Err(ApiError::bad_request(
            "bad_status",
            "status must be between 400 and 599",
        ));
    }
    if fault.delay_ms > MAX_DELAY_MS || fault.seconds.is_some_and(|seconds| !seconds.is_finite()) {
        return Err(ApiError::bad_request(
            "bad_delay",
            format!("delayMs must not exceed {MAX_DELAY_MS}"),
        ));
    }
    let fault = Fault {
        since: Some(Instant::now()),
        ..fault
    };
    world.control.lock().faults.insert(area, fault.clone());
    Ok(Json(fault))
}

async fn end_fault(State(world): State<Arc<World>>, Path(area): Path<String>) -> StatusCode {
    world.control.lock().faults.remove(&area);
    StatusCode::NO_CONTENT
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Declines {
    #[serde(default)]
    orders: Vec<String>,
    #[serde(default)]
    next: u32,
}

async fn set_declines(State(world): State<Arc<World>>, Json(declines): Json<Declines>) -> Json<Declines> {
    let mut mischief = world.control.lock();
    mischief.decline_orders.clone_from(&declines.orders);
    mischief.decline_next = declines.next;
    Json(declines)
}

async fn calls(State(world): State<Arc<World>>) -> Json<BTreeMap<String, u64>> {
    Json(world.control.lock().calls.clone())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrders {
    /// The name of the batch; the orders are named `<batch>-0001` and so on.
    batch: String,
    count: u32,
}

async fn add_orders(State(world): State<Arc<World>>, Json(new): Json<NewOrders>) -> Result<Json<Value>, ApiError> {
    if new.count > MAX_NEW_ORDERS {
        return Err(ApiError::bad_request(
            "too_many",
            format!("at most {MAX_NEW_ORDERS} orders at once"),
        ));
    }
    for number in 1..=new.count {
        let quantity = i64::from(number % 3 + 1);
        world.orders.put(Order {
            id: format!("{}-{number:04}", new.batch),
            customer_id: "cust-ada".to_owned(),
            email: "ada@example.com".to_owned(),
            batch: Some(new.batch.clone()),
            status: OrderStatus::Pending,
            currency: "EUR".to_owned(),
            items: vec![OrderItem {
                sku: "rope-12".to_owned(),
                quantity,
                unit_price_cents: 289,
            }],
            total_cents: quantity * 289,
            shipping_address: Some("1 Analytical Row, London".to_owned()),
            payment_method: "card-ok".to_owned(),
        })?;
    }
    Ok(Json(json!({ "batch": new.batch, "count": new.count })))
}

async fn reset(State(world): State<Arc<World>>) -> Result<StatusCode, ApiError> {
    world.reset()?;
    Ok(StatusCode::NO_CONTENT)
}
