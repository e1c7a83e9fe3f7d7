//! Sub-orchestrations: one parcel per article, each with its own workflow.

use orders_api::*;
use windlass_sdk::prelude::*;

#[payload]
#[serde(rename_all = "camelCase")]
pub struct Fulfilment {
    pub order_id: String,
    pub shipped: Vec<ShippedParcel>,
    /// Articles that could not be shipped.
    pub missing: Vec<MissingParcel>,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct ShippedParcel {
    pub sku: String,
    pub tracking_number: String,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct MissingParcel {
    pub sku: String,
    pub reason: String,
}

/// Ships each article of an order that is in stock in its own parcel.
#[orchestrator(name = "FulfilmentWorkflow")]
pub async fn fulfilment_workflow(ctx: Orchestration, request: OrderRequest) -> Result<Fulfilment> {
    let order = match ctx.call(validate_order, &request).await? {
        Validation::Valid { order } => order,
        Validation::Invalid { reason } => return Err(Failure::new("InvalidOrder", reason).non_retryable()),
    };

    let parcels = join_all(order.items.iter().map(|item| {
        let parcel = Parcel {
            order_id: order.id.clone(),
            address: order.shipping_address.clone().unwrap_or_default(),
            item: item.clone(),
            backend: request.backend.clone(),
        };
        ctx.sub_orchestration(orders_api::parcel_fulfilment, &parcel)
    }))
    .await;

    let mut fulfilment = Fulfilment {
        order_id: order.id,
        shipped: Vec::new(),
        missing: Vec::new(),
    };
    for (item, parcel) in order.items.into_iter().zip(parcels) {
        match parcel {
            Ok(shipment) => {
                fulfilment.shipped.push(ShippedParcel {
                    sku: item.sku,
                    tracking_number: shipment.tracking_number,
                });
            }
            Err(failure) => {
                fulfilment.missing.push(MissingParcel {
                    sku: item.sku,
                    reason: failure.message().to_owned(),
                });
            }
        }
    }
    Ok(fulfilment)
}

/// Reserves one article of an order and ships it.
#[orchestrator(signature = orders_api::parcel_fulfilment)]
pub async fn parcel_fulfilment(ctx: Orchestration, parcel: Parcel) -> Result<Shipment> {
    let retry = Retry::exponential(secs(1)).max_attempts(5);

    ctx.set_custom_status("Reserving");
    let reservation = ReservationRequest {
        order_id: parcel.order_id.clone(),
        items: vec![parcel.item.clone()],
        backend: parcel.backend.clone(),
    };
    ctx.call(update_inventory, &reservation).retry(retry.clone()).await?;

    ctx.set_custom_status("Shipping");
    let shipment = ShipmentRequest {
        order_id: parcel.order_id,
        address: parcel.address,
        skus: vec![parcel.item.sku],
        backend: parcel.backend,
    };
    ctx.call(initiate_shipment, &shipment).retry(retry).await
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;
    use crate::samples;

    #[test]
    fn an_article_out_of_stock_does_not_block_the_other_parcels() {
        let mut order = samples::order();
        order.items.push(OrderItem {
            sku: "bell-1".into(),
            quantity: 1,
            unit_price_cents: 100,
        });
        let run = World::new()
            .orchestration(parcel_fulfilment)
            .activity(validate_order, move |_| Ok(Validation::Valid { order: order.clone() }))
            .activity(update_inventory, |call| match call.input.items[0].sku.as_str() {
                "bell-1" => Err(Failure::new("OutOfStock", "no bells").non_retryable()),
                _ => Ok(Reservation {
                    reservation_id: "rsv-1".into(),
                }),
            })
            .activity(initiate_shipment, |_| Ok(samples::shipment()))
            .run(fulfilment_workflow, &samples::request());
        let fulfilment = run.output();
        assert_eq!((fulfilment.shipped.len(), fulfilment.missing.len()), (1, 1));
        assert_eq!(fulfilment.missing[0].reason, "no bells");
    }
}
