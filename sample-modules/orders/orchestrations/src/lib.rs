//! Orchestrations around orders, one per file.

mod batch;
mod fulfilment;
mod processing;

windlass_sdk::export!(orchestrators: [
    processing::order_processing,
    batch::process_all_orders,
    fulfilment::fulfilment_workflow,
    fulfilment::parcel_fulfilment,
]);

#[cfg(test)]
mod samples {
    //! Values for the tests.

    use orders_api::*;

    pub fn request() -> OrderRequest {
        OrderRequest {
            order_id: "order-1".into(),
            backend: Backend::default(),
        }
    }

    pub fn order() -> Order {
        Order {
            id: "order-1".into(),
            customer_id: "cust-ada".into(),
            email: "ada@example.com".into(),
            status: "pending".into(),
            currency: "EUR".into(),
            items: vec![OrderItem {
                sku: "rope-12".into(),
                quantity: 2,
                unit_price_cents: 289,
            }],
            total_cents: 578,
            shipping_address: Some("Quay 4".into()),
            payment_method: "card-ok".into(),
        }
    }

    pub fn shipment() -> Shipment {
        Shipment {
            shipment_id: "shp-1".into(),
            tracking_number: "WL1".into(),
        }
    }
}
