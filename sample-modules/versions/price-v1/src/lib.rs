//! Version 1 of an orchestration that changes while instances of it run.

use windlass_sdk::prelude::*;

/// Waits until the order is confirmed, and returns the price in cents with a tax of 10 %.
#[orchestrator(name = "PriceOrder")]
async fn price_order(ctx: Orchestration, cents: u64) -> Result<Vec<String>> {
    ctx.set_custom_status("waiting for the confirmation");
    ctx.event::<()>("confirmed").await?;
    let price = cents + cents / 10;
    ctx.set_custom_status("waiting for the payment");
    ctx.event::<()>("paid").await?;
    Ok(vec!["version 1".into(), format!("price {price}")])
}

windlass_sdk::export!(orchestrators: [price_order]);
