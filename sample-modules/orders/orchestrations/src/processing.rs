//! A chain of activities: each step needs the result of the one before.

use orders_api::*;
use windlass_sdk::prelude::*;

/// The outcome of an order.
#[payload]
#[serde(tag = "status", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum OrderResult {
    Completed {
        order_id: String,
        payment_id: String,
        tracking_number: String,
    },
    Rejected {
        order_id: String,
        reason: String,
    },
    PaymentDeclined {
        order_id: String,
        reason: String,
    },
}

/// Validates an order, charges it, reserves its articles, ships them and confirms.
#[orchestrator(name = "OrderProcessingOrchestration")]
pub async fn order_processing(ctx: Orchestration, request: OrderRequest) -> Result<OrderResult> {
    let OrderRequest { order_id, backend } = request.clone();
    let retry = Retry::exponential(secs(1)).max_attempts(5);

    ctx.set_custom_status("Validating order");
    let order = match ctx.call(validate_order, &request).retry(retry.clone()).await? {
        Validation::Valid { order } => order,
        Validation::Invalid { reason } => return Ok(OrderResult::Rejected { order_id, reason }),
    };
    let notice = |text: String| Notice {
        order_id: order.id.clone(),
        email: order.email.clone(),
        text,
        backend: backend.clone(),
    };

    ctx.set_custom_status("Processing payment");
    let payment = PaymentRequest {
        order_id: order.id.clone(),
        amount_cents: order.total_cents,
        currency: order.currency.clone(),
        method: order.payment_method.clone(),
        backend: backend.clone(),
    };
    let payment = match ctx.call(process_payment, &payment).retry(retry.clone()).await {
        Ok(payment) => payment,
        Err(declined) if declined.is("PaymentDeclined") => {
            let reason = declined.message().to_owned();
            ctx.set_custom_status("Notifying about the declined payment");
            ctx.call(notify_payment_failure, &notice(reason.clone()))
                .retry(retry)
                .await?;
            return Ok(OrderResult::PaymentDeclined { order_id, reason });
        }
        Err(other) => return Err(other),
    };

    ctx.set_custom_status("Updating inventory");
    let reservation = ReservationRequest {
        order_id: order.id.clone(),
        items: order.items.clone(),
        backend: backend.clone(),
    };
    ctx.call(update_inventory, &reservation).retry(retry.clone()).await?;

    ctx.set_custom_status("Initiating shipment");
    let shipment = ShipmentRequest {
        order_id: order.id.clone(),
        address: order.shipping_address.clone().unwrap_or_default(),
        skus: order.items.iter().map(|item| item.sku.clone()).collect(),
        backend: backend.clone(),
    };
    let shipment = ctx.call(initiate_shipment, &shipment).retry(retry.clone()).await?;

    ctx.set_custom_status("Sending confirmation");
    let text = format!("Your order is on its way as {}.", shipment.tracking_number);
    ctx.call(send_order_confirmation, &notice(text)).retry(retry).await?;

    ctx.set_custom_status("Completed");
    Ok(OrderResult::Completed {
        order_id,
        payment_id: payment.payment_id,
        tracking_number: shipment.tracking_number,
    })
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;
    use crate::samples;

    fn world(order: Order) -> World {
        World::new()
            .activity(validate_order, move |_| Ok(Validation::Valid { order: order.clone() }))
            .activity(process_payment, |call| match call.input.method.as_str() {
                "card-ok" => Ok(Payment {
                    payment_id: "pay-1".into(),
                }),
                _ => Err(Failure::new("PaymentDeclined", "no funds").non_retryable()),
            })
            .activity(notify_payment_failure, |_| Ok(()))
            .activity(update_inventory, |_| {
                Ok(Reservation {
                    reservation_id: "rsv-1".into(),
                })
            })
            .activity(initiate_shipment, |_| Ok(samples::shipment()))
            .activity(send_order_confirmation, |_| Ok(()))
    }

    #[test]
    fn a_valid_order_takes_five_steps_in_order() {
        let run = world(samples::order()).run(order_processing, &samples::request());
        assert!(matches!(run.output(), OrderResult::Completed { tracking_number, .. } if tracking_number == "WL1"));
        assert_eq!(
            run.called_names(),
            [
                "ValidateOrderActivity",
                "ProcessPaymentActivity",
                "UpdateInventoryActivity",
                "InitiateShipmentActivity",
                "SendOrderConfirmationActivity"
            ]
        );
        assert_eq!(run.custom_statuses().len(), 6);
        assert_eq!(run.inputs_of(process_payment)[0].amount_cents, 578);
    }

    #[test]
    fn an_invalid_order_is_rejected_with_the_reason_and_not_charged() {
        let run = World::new()
            .activity(validate_order, |_| {
                Ok(Validation::Invalid {
                    reason: "no items".into(),
                })
            })
            .run(order_processing, &samples::request());
        assert!(matches!(run.output(), OrderResult::Rejected { reason, .. } if reason == "no items"));
    }

    #[test]
    fn after_a_declined_payment_the_customer_is_notified_and_nothing_is_shipped() {
        let order = Order {
            payment_method: "card-no-funds".into(),
            ..samples::order()
        };
        let run = world(order).run(order_processing, &samples::request());
        assert!(matches!(run.output(), OrderResult::PaymentDeclined { reason, .. } if reason == "no funds"));
        assert_eq!(run.called_names().last(), Some(&"NotifyPaymentFailure"));
        assert_eq!(run.attempts_of(process_payment), 1);
    }

    #[test]
    fn a_payment_is_retried_while_the_gateway_is_down() {
        let run = world(samples::order())
            .activity(process_payment, |call| match call.attempt {
                1..=3 => Err(Failure::new("OutOfOrder", "try again")),
                _ => Ok(Payment {
                    payment_id: "pay-1".into(),
                }),
            })
            .run(order_processing, &samples::request());
        assert!(matches!(run.output(), OrderResult::Completed { .. }));
        assert_eq!(run.elapsed(), secs(1 + 2 + 4));
    }
}
