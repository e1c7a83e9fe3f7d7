//! The order repository. Orders are only read and marked here; workflows validate and fulfil them.

use std::path::Path as Folder;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, Json, Path, Query};
use crate::journal::Journal;
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    ("GET", "/orders", "orders, by ?status=, ?batch= and ?limit="),
    ("GET", "/orders/{id}", "one order"),
    ("PUT", "/orders/{id}", "creates or replaces an order"),
    ("PUT", "/orders/{id}/status", "marks an order"),
];

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Order {
    #[serde(default)]
    pub(crate) id: String,
    pub(crate) customer_id: String,
    pub(crate) email: String,
    /// Groups the orders that are processed together.
    #[serde(default)]
    pub(crate) batch: Option<String>,
    #[serde(default)]
    pub(crate) status: OrderStatus,
    pub(crate) currency: String,
    pub(crate) items: Vec<OrderItem>,
    pub(crate) total_cents: i64,
    pub(crate) shipping_address: Option<String>,
    pub(crate) payment_method: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct OrderItem {
    pub(crate) sku: String,
    pub(crate) quantity: i64,
    pub(crate) unit_price_cents: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum OrderStatus {
    #[default]
    Pending,
    Processed,
    Rejected,
    PaymentFailed,
    Cancelled,
}

pub(crate) struct Orders(Journal<Order>);

impl Orders {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self(Journal::open(folder, "orders")?))
    }

    pub(crate) fn seed(&self) -> std::io::Result<()> {
        let orders: Vec<Order> =
            serde_json::from_str(include_str!("../seed/orders.json")).expect("the seed file fits its type");
        orders.into_iter().try_for_each(|order| self.put(order))
    }

    pub(crate) fn put(&self, order: Order) -> std::io::Result<()> {
        self.0.put(&order.id.clone(), order)
    }

    pub(crate) fn clear(&self) -> std::io::Result<()> {
        self.0.clear()
    }
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/orders", get(list))
        .route("/orders/{id}", get(read).put(write))
        .route("/orders/{id}/status", axum::routing::put(mark))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    status: Option<OrderStatus>,
    batch: Option<String>,
    limit: Option<usize>,
}

async fn list(State(world): State<Arc<World>>, Query(filter): Query<Filter>) -> Json<Vec<Order>> {
    let mut orders = world.orders.0.values();
    orders.retain(|order| {
        filter.status.is_none_or(|status| order.status == status)
            && (filter.batch.is_none() || order.batch == filter.batch)
    });
    orders.truncate(filter.limit.unwrap_or(usize::MAX));
    Json(orders)
}

async fn read(State(world): State<Arc<World>>, Path(id): Path<String>) -> Result<Json<Order>, ApiError> {
    world.orders.0.get(&id).map(Json).ok_or_else(|| unknown(&id))
}

async fn write(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Json(order): Json<Order>,
) -> Result<(StatusCode, Json<Order>), ApiError> {
    let order = Order {
        id: id.clone(),
        ..order
    };
    let existed = world
        .orders
        .0
        .change(&id, |orders| (Some(order.clone()), orders.get(&id).is_some()))?;
    Ok((if existed { StatusCode::OK } else { StatusCode::CREATED }, Json(order)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    status: OrderStatus,
}

async fn mark(
    State(world): State<Arc<World>>,
    Path(id): Path<String>,
    Json(mark): Json<Mark>,
) -> Result<Json<Order>, ApiError> {
    let marked = world.orders.0.change(&id, |orders| {
        let marked = orders.get(&id).map(|order| Order {
            status: mark.status,
            ..order.clone()
        });
        (marked.clone(), marked)
    })?;
    marked.map(Json).ok_or_else(|| unknown(&id))
}

fn unknown(id: &str) -> ApiError {
    ApiError::not_found(format!("there is no order \"{id}\""))
}
