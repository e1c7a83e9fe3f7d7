//! The payment gateway. Charges and declines are stored by key, so that a repeated call never charges twice.

use std::path::Path as Folder;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::{ApiError, Json, Query};
use crate::once::{IdempotencyKey, Once};
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    ("POST", "/payments", "charges an order; 402 when declined"),
    ("GET", "/payments", "all charges and declines, by ?orderId="),
    (
        "GET",
        "/payments/summary",
        "counts, and the orders that were charged more than once (there must be none)",
    ),
];

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct PaymentRequest {
    order_id: String,
    amount_cents: i64,
    currency: String,
    /// `card-ok`, `card-no-funds` or `card-expired`.
    method: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Payment {
    payment_id: String,
    order_id: String,
    amount_cents: i64,
    currency: String,
    status: PaymentStatus,
    /// Why it was declined.
    reason: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum PaymentStatus {
    Charged,
    Declined,
}

pub(crate) struct Payments(Once<PaymentRequest, Payment>);

impl Payments {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self(Once::open(folder, "payments")?))
    }

    pub(crate) fn clear(&self) -> std::io::Result<()> {
        self.0.clear()
    }
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/payments", post(charge).get(list))
        .route("/payments/summary", get(summary))
}

async fn charge(
    State(world): State<Arc<World>>,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<PaymentRequest>,
) -> Result<Response, ApiError> {
    if request.amount_cents < 1 {
        return Err(ApiError::bad_request("bad_amount", "the amount must be positive"));
    }
    let decline = match request.method.as_str() {
        "card-ok" => None,
        "card-no-funds" => Some("insufficient funds"),
        "card-expired" => Some("the card has expired"),
        other => {
            return Err(ApiError::bad_request(
                "unknown_method",
                format!("unknown payment method \"{other}\""),
            ));
        }
    };
    let answered = world.payments.0.answer(key, request, |request, before| {
        let reason = decline.or_else(|| {
            world
                .control
                .declines(&request.order_id)
                .then_some("declined by the bank")
        });
        Ok(Payment {
            payment_id: format!("pay-{:05}", before.len() + 1),
            order_id: request.order_id.clone(),
            amount_cents: request.amount_cents,
            currency: request.currency.clone(),
            status: if reason.is_some() {
                PaymentStatus::Declined
            } else {
                PaymentStatus::Charged
            },
            reason: reason.map(str::to_owned),
        })
    })?;
    match &answered.answer.reason {
        None => Ok(answered.into_response()),
        Some(reason) => Err(
            ApiError::new(StatusCode::PAYMENT_REQUIRED, "payment_declined", reason.as_str())
                .with_details(json!({ "paymentId": answered.answer.payment_id, "orderId": answered.answer.order_id })),
        ),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    order_id: Option<String>,
}

async fn list(State(world): State<Arc<World>>, Query(filter): Query<Filter>) -> Json<Vec<Value>> {
    let mut payments = world.payments.0.all();
    payments.retain(|done| filter.order_id.as_ref().is_none_or(|id| *id == done.answer.order_id));
    let describe = |done| {
        let crate::once::Done {
            key, answer, repeats, ..
        } = done;
        let mut payment = serde_json::to_value::<Payment>(answer).expect("a payment is JSON");
        payment["idempotencyKey"] = key.into();
        payment["repeats"] = repeats.into();
        payment
    };
    Json(payments.into_iter().map(describe).collect())
}

async fn summary(State(world): State<Arc<World>>) -> Json<Value> {
    let payments = world.payments.0.all();
    let mut charges = std::collections::BTreeMap::<String, u32>::new();
    let mut charged_cents = 0;
    for done in payments
        .iter()
        .filter(|done| done.answer.status == PaymentStatus::Charged)
    {
        *charges.entry(done.answer.order_id.clone()).or_default() += 1;
        charged_cents += done.answer.amount_cents;
    }
    let twice: Vec<_> = charges
        .iter()
        .filter(|(_, times)| **times > 1)
        .map(|(order, _)| order)
        .collect();
    Json(json!({
        "charges": charges.values().sum::<u32>(),
        "ordersCharged": charges.len(),
        "ordersChargedTwice": twice,
        "declines": payments.iter().filter(|done| done.answer.status == PaymentStatus::Declined).count(),
        "repeatedCalls": payments.iter().map(|done| done.repeats).sum::<u32>(),
        "chargedCents": charged_cents,
    }))
}
