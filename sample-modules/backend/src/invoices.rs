//! The invoice database. An invoice is identified by its seller and number: saving it again changes nothing, and
//! another invoice with the same number is refused.

use std::path::Path as Folder;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, Json, Query};
use crate::journal::Journal;
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    (
        "POST",
        "/invoices",
        "saves an invoice; 409 if its number is taken by a different one",
    ),
    ("GET", "/invoices", "all saved invoices, by ?seller="),
];

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Invoice {
    /// The blob it was read from.
    file: String,
    number: String,
    seller: String,
    issued: String,
    due: String,
    currency: String,
    lines: u32,
    subtotal_cents: i64,
    tax_cents: i64,
    total_cents: i64,
}

pub(crate) struct Invoices(Journal<Invoice>);

impl Invoices {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self(Journal::open(folder, "invoices")?))
    }

    pub(crate) fn clear(&self) -> std::io::Result<()> {
        self.0.clear()
    }
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new().route("/invoices", post(save).get(list))
}

async fn save(
    State(world): State<Arc<World>>,
    Json(invoice): Json<Invoice>,
) -> Result<(StatusCode, Json<Invoice>), ApiError> {
    if invoice.number.is_empty() || invoice.seller.is_empty() {
        return Err(ApiError::bad_request(
            "bad_invoice",
            "an invoice needs a seller and a number",
        ));
    }
    let key = format!("{} {}", invoice.seller, invoice.number);
    let status = world.invoices.0.change(&key, |invoices| match invoices.get(&key) {
        None => (Some(invoice.clone()), Ok(StatusCode::CREATED)),
        Some(known) if *known == invoice => (None, Ok(StatusCode::OK)),
        Some(known) => {
            let message = format!(
                "{} has sent another invoice {} ({})",
                known.seller, known.number, known.file
            );
            (
                None,
                Err(ApiError::new(StatusCode::CONFLICT, "invoice_exists", message)),
            )
        }
    })??;
    Ok((status, Json(invoice)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    seller: Option<String>,
}

async fn list(State(world): State<Arc<World>>, Query(filter): Query<Filter>) -> Json<Vec<Invoice>> {
    let mut invoices = world.invoices.0.values();
    invoices.retain(|invoice| filter.seller.as_ref().is_none_or(|seller| *seller == invoice.seller));
    Json(invoices)
}
