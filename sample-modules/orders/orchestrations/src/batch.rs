//! Fan-out and fan-in: processes all orders in parallel and collects the outcomes.

use std::collections::BTreeMap;

use orders_api::*;
use windlass_sdk::prelude::*;

#[payload]
#[serde(rename_all = "camelCase")]
pub struct BatchResult {
    pub orders: usize,
    pub processed: usize,
    pub failed: Vec<FailedOrder>,
    /// The total payments, in cents by currency.
    pub totals: BTreeMap<String, i64>,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct FailedOrder {
    pub order_id: String,
    pub error_type: String,
    pub reason: String,
}

/// Processes all pending orders of a batch in parallel. An order that fails does not block the others.
#[orchestrator(name = "ProcessAllOrdersBatch")]
pub async fn process_all_orders(ctx: Orchestration, request: BatchRequest) -> Result<BatchResult> {
    let retry = Retry::exponential(secs(1)).max_attempts(5);
    let orders = ctx.call(list_pending_orders, &request).retry(retry.clone()).await?;
    ctx.set_custom_status(format!("Processing {} orders", orders.len()));

    let outcomes = join_all(orders.iter().map(|order_id| {
        let order = OrderRequest {
            order_id: order_id.clone(),
            backend: request.backend.clone(),
        };
        ctx.call(process_single_order, &order).retry(retry.clone())
    }))
    .await;

    let mut result = BatchResult {
        orders: orders.len(),
        processed: 0,
        failed: Vec::new(),
        totals: BTreeMap::new(),
    };
    for (order_id, outcome) in orders.into_iter().zip(outcomes) {
        match outcome {
            Ok(receipt) => {
                result.processed += 1;
                *result.totals.entry(receipt.currency).or_default() += receipt.amount_cents;
            }
            Err(failure) => result.failed.push(FailedOrder {
                order_id,
                error_type: failure.error_type().to_owned(),
                reason: failure.message().to_owned(),
            }),
        }
    }
    ctx.set_custom_status(format!(
        "{} processed, {} failed",
        result.processed,
        result.failed.len()
    ));
    Ok(result)
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn failures_of_single_orders_are_collected() {
        let run = World::new()
            .activity(list_pending_orders, |_| Ok(vec!["a".into(), "b".into(), "c".into()]))
            .activity(process_single_order, |call| match call.input.order_id.as_str() {
                "b" => Err(Failure::new("InvalidOrder", "no items").non_retryable()),
                order_id => Ok(Receipt {
                    order_id: order_id.into(),
                    payment_id: "pay-1".into(),
                    currency: "EUR".into(),
                    amount_cents: 100,
                }),
            })
            .run(
                process_all_orders,
                &BatchRequest {
                    batch: "spring".into(),
                    backend: Backend::default(),
                },
            );
        let result = run.output();
        assert_eq!((result.orders, result.processed, result.totals["EUR"]), (3, 2, 200));
        assert_eq!((result.failed.len(), result.failed[0].order_id.as_str()), (1, "b"));
    }
}
