//! Three read-only services about customers (profile, credit, recommendations), to be called concurrently.

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{ApiError, Json, Path};
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    (
        "GET",
        "/customers/{id}/profile",
        "name, city and standing of a customer",
    ),
    ("GET", "/customers/{id}/credit", "credit limit and score of a customer"),
    (
        "GET",
        "/customers/{id}/recommendations",
        "what a customer might buy next",
    ),
];

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Customer {
    id: String,
    name: String,
    city: String,
    blocked: bool,
    credit_limit_cents: i64,
    credit_score: u32,
    recommendations: Vec<String>,
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/customers/{id}/profile", get(profile))
        .route("/customers/{id}/credit", get(credit))
        .route("/customers/{id}/recommendations", get(recommendations))
}

async fn profile(Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let customer = find(&id)?;
    Ok(Json(
        json!({ "id": id, "name": customer.name, "city": customer.city, "blocked": customer.blocked }),
    ))
}

async fn credit(Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let customer = find(&id)?;
    Ok(Json(
        json!({ "id": id, "limitCents": customer.credit_limit_cents, "score": customer.credit_score }),
    ))
}

async fn recommendations(Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    let customer = find(&id)?;
    Ok(Json(json!({ "id": id, "skus": customer.recommendations })))
}

fn find(id: &str) -> Result<Customer, ApiError> {
    let customers: Vec<Customer> =
        serde_json::from_str(include_str!("../seed/customers.json")).expect("the seed file fits its type");
    customers
        .into_iter()
        .find(|customer| customer.id == id)
        .ok_or_else(|| ApiError::not_found(format!("there is no customer \"{id}\"")))
}
