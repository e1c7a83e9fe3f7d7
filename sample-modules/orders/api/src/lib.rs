//! The types and signatures that the order workflows and their activities share, so that the compiler checks both sides of
//! a call.

pub use backend_client::Backend;
use windlass_sdk::prelude::*;
use windlass_sdk::signatures;

signatures! {
    #[activity(name = "ValidateOrderActivity")]
    pub fn validate_order(request: OrderRequest) -> Result<Validation>;
    #[activity(name = "ProcessPaymentActivity")]
    pub fn process_payment(request: PaymentRequest) -> Result<Payment>;
    #[activity(name = "NotifyPaymentFailure")]
    pub fn notify_payment_failure(notice: Notice) -> Result<()>;
    #[activity(name = "UpdateInventoryActivity")]
    pub fn update_inventory(request: ReservationRequest) -> Result<Reservation>;
    #[activity(name = "InitiateShipmentActivity")]
    pub fn initiate_shipment(request: ShipmentRequest) -> Result<Shipment>;
    #[activity(name = "SendOrderConfirmationActivity")]
    pub fn send_order_confirmation(notice: Notice) -> Result<()>;

    #[activity(name = "ListPendingOrdersActivity")]
    pub fn list_pending_orders(request: BatchRequest) -> Result<Vec<String>>;
    #[activity(name = "ProcessSingleOrderActivity")]
    pub fn process_single_order(request: OrderRequest) -> Result<Receipt>;

    #[orchestrator(name = "ParcelFulfilment")]
    pub fn parcel_fulfilment(parcel: Parcel) -> Result<Shipment>;
}

/// One order to process.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct OrderRequest {
    pub order_id: String,
    #[serde(default)]
    pub backend: Backend,
}

/// All pending orders of a batch.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct BatchRequest {
    pub batch: String,
    #[serde(default)]
    pub backend: Backend,
}

/// An order, as the backend stores it.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct Order {
    pub id: String,
    pub customer_id: String,
    pub email: String,
    pub status: String,
    pub currency: String,
    pub items: Vec<OrderItem>,
    pub total_cents: i64,
    pub shipping_address: Option<String>,
    pub payment_method: String,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct OrderItem {
    pub sku: String,
    pub quantity: i64,
    pub unit_price_cents: i64,
}

#[payload]
#[serde(tag = "verdict", rename_all = "camelCase")]
pub enum Validation {
    Valid { order: Order },
    Invalid { reason: String },
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct PaymentRequest {
    pub order_id: String,
    pub amount_cents: i64,
    pub currency: String,
    pub method: String,
    pub backend: Backend,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct Payment {
    pub payment_id: String,
}

/// Articles to reserve, all or none.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct ReservationRequest {
    pub order_id: String,
    pub items: Vec<OrderItem>,
    pub backend: Backend,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    pub reservation_id: String,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct ShipmentRequest {
    pub order_id: String,
    pub address: String,
    pub skus: Vec<String>,
    pub backend: Backend,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct Shipment {
    pub shipment_id: String,
    pub tracking_number: String,
}

/// A message to a customer about an order.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    pub order_id: String,
    pub email: String,
    pub text: String,
    pub backend: Backend,
}

/// The payment of a single order of a batch.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct Receipt {
    pub order_id: String,
    pub payment_id: String,
    pub currency: String,
    pub amount_cents: i64,
}

/// A part of an order that is shipped separately.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct Parcel {
    pub order_id: String,
    pub address: String,
    pub item: OrderItem,
    pub backend: Backend,
}
