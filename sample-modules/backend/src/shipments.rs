//! Parcels handed to a carrier.

use std::path::Path as Folder;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, Json, Query};
use crate::once::{Answered, IdempotencyKey, Once};
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    ("POST", "/shipments", "hands a parcel to the carrier"),
    ("GET", "/shipments", "all shipments, by ?orderId="),
];

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ShipmentRequest {
    order_id: String,
    address: String,
    /// The articles in the parcel.
    skus: Vec<String>,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shipment {
    shipment_id: String,
    tracking_number: String,
    order_id: String,
    address: String,
    skus: Vec<String>,
}

pub(crate) struct Shipments(Once<ShipmentRequest, Shipment>);

impl Shipments {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self(Once::open(folder, "shipments")?))
    }

    pub(crate) fn clear(&self) -> std::io::Result<()> {
        self.0.clear()
    }
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new().route("/shipments", post(ship).get(list))
}

async fn ship(
    State(world): State<Arc<World>>,
    IdempotencyKey(key): IdempotencyKey,
    Json(request): Json<ShipmentRequest>,
) -> Result<Answered<Shipment>, ApiError> {
    if request.address.trim().is_empty() {
        return Err(ApiError::bad_request("bad_address", "a parcel needs an address"));
    }
    world.shipments.0.answer(key, request, |request, before| {
        let number = before.len() + 1;
        Ok(Shipment {
            shipment_id: format!("shp-{number:05}"),
            tracking_number: format!("WL{:09}XX", number * 7919 % 1_000_000_000),
            order_id: request.order_id.clone(),
            address: request.address.clone(),
            skus: request.skus.clone(),
        })
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    order_id: Option<String>,
}

async fn list(State(world): State<Arc<World>>, Query(filter): Query<Filter>) -> Json<Vec<Shipment>> {
    let mut shipments = world.shipments.0.answers();
    shipments.retain(|shipment| filter.order_id.as_ref().is_none_or(|id| *id == shipment.order_id));
    Json(shipments)
}
