//! The stock. The available quantity is the stock minus the reservations, so that reserving is one write.

use std::path::Path as Folder;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{ApiError, Json, Path, Query};
use crate::journal::Journal;
use crate::once::{Answered, IdempotencyKey, Once};
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    (
        "GET",
        "/inventory",
        "all articles with price, stock and what is available",
    ),
    ("GET", "/inventory/{sku}", "one article"),
    ("PUT", "/inventory/{sku}", "sets the stock of an article"),
    ("GET", "/inventory/reservations", "reservations, by ?orderId="),
    (
        "POST",
        "/inventory/reservations",
        "reserves articles for an order, all or none",
    ),
];

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Article {
    sku: String,
    name: String,
    price_cents: i64,
    on_hand: i64,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ReservationRequest {
    order_id: String,
    items: Vec<Item>,
}

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Item {
    sku: String,
    quantity: i64,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reservation {
    reservation_id: String,
    order_id: String,
    items: Vec<Item>,
}

pub(crate) struct Inventory {
    articles: Journal<Article>,
    reservations: Once<ReservationRequest, Reservation>,
}

impl Inventory {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self {
            articles: Journal::open(folder, "articles")?,
            reservations: Once::open(folder, "reservations")?,
        })
    }

    pub(crate) fn seed(&self) -> std::io::Result<()> {
        let articles: Vec<Article> =
            serde_json::from_str(include_str!("../seed/articles.json")).expect("the seed file fits its type");
        articles
            .into_iter()
            .try_for_each(|article| self.articles.put(&article.sku.clone(), article))
    }

    pub(crate) fn clear(&self) -> std::io::Result<()> {
        self.articles.clear()?;
        self.reservations.clear()
    }

    fn describe(&self, article: &Article, reservations: &[Reservation]) -> Value {
        let reserved = reserved(&article.sku, reservations.iter());
        json!({
            "sku": article.sku, "name": article.name, "priceCents": article.price_cents,
            "onHand": article.on_hand, "reserved": reserved, "available": article.on_hand - reserved,
        })
    }
}

fn reserved<'a>(sku: &str, reservations: impl Iterator<Item = &'a Reservation>) -> i64 {
    reservations
        .flat_map(|reservation| &reservation.items)
        .filter(|item| item.sku == sku)
        .map(|item| item.quantity)
        .sum()
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/inventory", get(list))
        .route("/inventory/{sku}", get(read).put(restock))
        .route("/inventory/reservations", post(reserve).get(list_reservations))
}

async fn list(State(world): State<Arc<World>>) -> Json<Vec<Value>> {
    let reservations = world.inventory.reservations.answers();
    let articles = world.inventory.articles.values();
    Json(
        articles
            .iter()
            .map(|article| world.inventory.describe(article, &reservations))
            .collect(),
    )
}

async fn read(State(world): State<Arc<World>>, Path(sku): Path<String>) -> Result<Json<Value>, ApiError> {
    let article = world.inventory.articles.get(&sku).ok_or_else(|| unknown(&sku))?;
    Ok(Json(
        world
            .inventory
            .describe(&article, &world.inventory.reservations.answers()),
    ))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Restock {
    on_hand: u32,
}

async fn restock(
    State(world): State<Arc<World>>,
    Path(sku): Path<String>,
    Json(restock): Json<Restock>,
) -> Result<Json<Value>, ApiError> {
    let article = world.inventory.articles.change(&sku, |articles| {
        let article = articles.get(&sku).map(|article| Article {
            on_hand: restock.on_hand.into(),
            ..article.clone()
        });
        (article.clone(), article)
    })?;
    let article = article.ok_or_else(|| unknown(&sku))?;
    Ok(Json(
        world
            .inventory
            .describe(&article, &world.inventory.reservations.answers()),
    ))
}

async fn reserve(
    State(world): State<Arc<World>>,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<ReservationRequest>,
) -> Result<Answered<Reservation>, ApiError> {
    if request.items.is_empty() || request.items.iter().any(|item| item.quantity < 1) {
        return Err(ApiError::bad_request(
            "bad_items",
            "name at least one article, each with a positive quantity",
        ));
    }
    world.inventory.reservations.answer(key, request, |request, before| {
        let mut missing = Vec::new();
        for item in &request.items {
            let article = world
                .inventory
                .articles
                .get(&item.sku)
                .ok_or_else(|| unknown(&item.sku))?;
            let wanted: i64 = request
                .items
                .iter()
                .filter(|other| other.sku == item.sku)
                .map(|other| other.quantity)
                .sum();
            let reserved = reserved(&item.sku, before.values().into_iter().map(|done| &done.answer));
            if article.on_hand - reserved < wanted {
                missing.push(json!({ "sku": item.sku, "wanted": wanted, "available": article.on_hand - reserved }));
            }
        }
        if !missing.is_empty() {
            return Err(
                ApiError::new(StatusCode::CONFLICT, "out_of_stock", "not everything is in stock")
                    .with_details(Value::from(missing)),
            );
        }
        Ok(Reservation {
            reservation_id: format!("rsv-{:05}", before.len() + 1),
            order_id: request.order_id.clone(),
            items: request.items.clone(),
        })
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    order_id: Option<String>,
}

async fn list_reservations(State(world): State<Arc<World>>, Query(filter): Query<Filter>) -> Json<Vec<Reservation>> {
    let mut reservations = world.inventory.reservations.answers();
    reservations.retain(|reservation| filter.order_id.as_ref().is_none_or(|id| *id == reservation.order_id));
    Json(reservations)
}

fn unknown(sku: &str) -> ApiError {
    ApiError::not_found(format!("there is no article \"{sku}\""))
}
