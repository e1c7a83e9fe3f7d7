//! Version 3: no instance of version 1 is left, so the old branches are gone and the patches deprecated.
//!
//! Instances of version 2 can be moved to this version. A later version needs no trace of the patches once no instance is
//! left that began on version 2.

use windlass_sdk::prelude::*;

#[orchestrator(name = "PriceOrder")]
async fn price_order(ctx: Orchestration, cents: u64) -> Result<Vec<String>> {
    ctx.deprecate_patch("reserve-first");
    ctx.sleep(millis(10)).await;
    ctx.set_custom_status("waiting for the confirmation");
    ctx.event::<()>("confirmed").await?;
    ctx.deprecate_patch("new-tax");
    let price = cents + cents / 5;
    ctx.set_custom_status("waiting for the payment");
    ctx.event::<()>("paid").await?;
    Ok(vec!["version 3".into(), "reserved".into(), format!("price {price}")])
}

windlass_sdk::export!(orchestrators: [price_order]);
