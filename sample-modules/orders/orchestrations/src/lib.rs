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
