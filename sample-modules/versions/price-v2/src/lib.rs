//! Version 2: it reserves the articles first, and the tax is 20 %.
//!
//! Both changes are behind patches, because instances of version 1 may be moved to this version. Such an instance keeps
//! to the old branch where it has passed the point already, and takes the new one where it comes later.

use windlass_sdk::prelude::*;

#[orchestrator(name = "PriceOrder")]
async fn price_order(ctx: Orchestration, cents: u64) -> Result<Vec<String>> {
    let mut done = vec!["version 2".to_owned()];
    if ctx.patched("reserve-first") {
        ctx.sleep(millis(10)).await;
        done.push("reserved".into());
    }
    ctx.set_custom_status("waiting for the confirmation");
    ctx.event::<()>("confirmed").await?;
    let price = match ctx.patched("new-tax") {
        true => cents + cents / 5,
        false => cents + cents / 10,
    };
    ctx.set_custom_status("waiting for the payment");
    ctx.event::<()>("paid").await?;
    done.push(format!("price {price}"));
    Ok(done)
}

windlass_sdk::export!(orchestrators: [price_order]);

#[cfg(test)]
mod tests {
    use super::*;
    use windlass_sdk::testing::World;

    fn run(world: World) -> Vec<String> {
        let world = world.event(secs(1), "confirmed", &()).event(secs(2), "paid", &());
        world.run(price_order, &1_000).output().clone()
    }

    #[test]
    fn new_instances_take_the_new_branches() {
        assert_eq!(run(World::new()), ["version 2", "reserved", "price 1200"]);
    }

    #[test]
    fn instances_of_version_1_keep_to_the_branches_that_they_passed() {
        let waits_for_confirmation = World::new().without_patch("reserve-first");
        assert_eq!(run(waits_for_confirmation), ["version 2", "price 1200"]);
        let waits_for_payment = World::new().without_patch("reserve-first").without_patch("new-tax");
        assert_eq!(run(waits_for_payment), ["version 2", "price 1100"]);
    }
}
