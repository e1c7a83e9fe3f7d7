//! The side effects of the order workflows. Every write has the idempotency key of its call, so that a repeat after a crash
//! does not charge or ship twice.

use backend_client::{Backend, escape, json};
use orders_api::*;
use windlass_sdk::prelude::*;

windlass_sdk::export!(activities: [
    validate_order,
    process_payment,
    notify_payment_failure,
    update_inventory,
    initiate_shipment,
    send_order_confirmation,
    list_pending_orders,
    process_single_order,
]);

/// Reads an order and validates it.
#[activity(signature = orders_api::validate_order)]
fn validate_order(request: OrderRequest) -> Result<Validation> {
    validate(&request)
}

/// Charges the customer. Fails with `PaymentDeclined`, which is not retried.
#[activity(signature = orders_api::process_payment)]
fn process_payment(ctx: Activity, request: PaymentRequest) -> Result<Payment> {
    charge(&ctx, &request)
}

/// Notifies the customer that the payment failed.
#[activity(signature = orders_api::notify_payment_failure)]
fn notify_payment_failure(ctx: Activity, notice: Notice) -> Result<()> {
    notify(&ctx, "payment-failure", &notice)
}

/// Reserves the articles. Fails with `OutOfStock` if any is missing.
#[activity(signature = orders_api::update_inventory)]
fn update_inventory(ctx: Activity, request: ReservationRequest) -> Result<Reservation> {
    reserve(&ctx, &request.backend, &request.order_id, &request.items)
}

/// Hands a parcel to the carrier.
#[activity(signature = orders_api::initiate_shipment)]
fn initiate_shipment(ctx: Activity, request: ShipmentRequest) -> Result<Shipment> {
    let body = json!({ "orderId": request.order_id, "address": request.address, "skus": request.skus });
    request.backend.post(&ctx, "/shipments", &body)
}

/// Notifies the customer that the order is on its way.
#[activity(signature = orders_api::send_order_confirmation)]
fn send_order_confirmation(ctx: Activity, notice: Notice) -> Result<()> {
    notify(&ctx, "order-confirmation", &notice)
}

/// Lists the ids of the pending orders of a batch.
#[activity(signature = orders_api::list_pending_orders)]
fn list_pending_orders(request: BatchRequest) -> Result<Vec<String>> {
    let orders: Vec<Order> = request
        .backend
        .get(&format!("/orders?status=pending&batch={}", escape(&request.batch)))?;
    Ok(orders.into_iter().map(|order| order.id).collect())
}

/// Validates, charges and reserves one order of a batch, and updates its status.
#[activity(signature = orders_api::process_single_order)]
fn process_single_order(ctx: Activity, request: OrderRequest) -> Result<Receipt> {
    let order = match validate(&request)? {
        Validation::Valid { order } => order,
        Validation::Invalid { reason } => {
            mark(&request, "rejected")?;
            return Err(Failure::new("InvalidOrder", reason).non_retryable());
        }
    };
    let payment = charge(
        &ctx,
        &PaymentRequest {
            order_id: order.id.clone(),
            amount_cents: order.total_cents,
            currency: order.currency.clone(),
            method: order.payment_method.clone(),
            backend: request.backend.clone(),
        },
    );
    if payment.as_ref().is_err_and(|failure| failure.is("PaymentDeclined")) {
        mark(&request, "payment_failed")?;
    }
    let payment = payment?;
    reserve(&ctx, &request.backend, &order.id, &order.items)?;
    mark(&request, "processed")?;
    Ok(Receipt {
        order_id: order.id,
        payment_id: payment.payment_id,
        currency: order.currency,
        amount_cents: order.total_cents,
    })
}

fn validate(request: &OrderRequest) -> Result<Validation> {
    let invalid = |reason: String| Ok(Validation::Invalid { reason });
    let order: Order = match request.backend.get(&format!("/orders/{}", escape(&request.order_id))) {
        Err(failure) if failure.is("NotFound") => return invalid(failure.message().to_owned()),
        order => order?,
    };
    // Other statuses are accepted: an attempt after a crash finds the status that the first one set.
    if order.status == "cancelled" {
        return invalid("the order was cancelled".into());
    }
    if order.items.is_empty() {
        return invalid("the order has no items".into());
    }
    for item in &order.items {
        if item.quantity < 1 {
            return invalid(format!("the quantity of {} is {}", item.sku, item.quantity));
        }
        let article: Article = match request.backend.get(&format!("/inventory/{}", escape(&item.sku))) {
            Err(failure) if failure.is("NotFound") => return invalid(failure.message().to_owned()),
            article => article?,
        };
        if article.on_hand < item.quantity {
            return invalid(format!("{} is out of stock", article.name));
        }
    }
    let sum: i64 = order
        .items
        .iter()
        .map(|item| item.quantity * item.unit_price_cents)
        .sum();
    if sum != order.total_cents {
        return invalid(format!(
            "the items cost {sum} cents, the order says {}",
            order.total_cents
        ));
    }
    if order.shipping_address.as_deref().unwrap_or_default().is_empty() {
        return invalid("the order has no shipping address".into());
    }
    let customer: Customer = request
        .backend
        .get(&format!("/customers/{}/profile", escape(&order.customer_id)))?;
    if customer.blocked {
        return invalid(format!("{} is blocked", customer.name));
    }
    Ok(Validation::Valid { order })
}

#[payload]
#[serde(rename_all = "camelCase")]
struct Article {
    name: String,
    on_hand: i64,
}

#[payload]
struct Customer {
    name: String,
    blocked: bool,
}

fn charge(ctx: &Activity, request: &PaymentRequest) -> Result<Payment> {
    let body = json!({
        "orderId": request.order_id,
        "amountCents": request.amount_cents,
        "currency": request.currency,
        "method": request.method,
    });
    request.backend.post(ctx, "/payments", &body)
}

fn reserve(ctx: &Activity, backend: &Backend, order_id: &str, items: &[OrderItem]) -> Result<Reservation> {
    let items: Vec<_> = items
        .iter()
        .map(|item| json!({ "sku": item.sku, "quantity": item.quantity }))
        .collect();
    backend.post(
        ctx,
        "/inventory/reservations",
        &json!({ "orderId": order_id, "items": items }),
    )
}

fn notify(ctx: &Activity, kind: &str, notice: &Notice) -> Result<()> {
    notice
        .backend
        .notify(ctx, kind, &notice.email, &notice.order_id, &notice.text)
}

fn mark(request: &OrderRequest, status: &str) -> Result<()> {
    request.backend.put(
        &format!("/orders/{}/status", escape(&request.order_id)),
        &json!({ "status": status }),
    )
}
