//! Fan-outs with a limit.

use std::cell::Cell;

use windlass_sdk::prelude::*;

use crate::transcript::Transcript;

const ITEMS: u64 = 10_000;
const LIMIT: usize = 50;

#[orchestrator(name = "ConformanceFanOut")]
pub async fn fan_out(ctx: Orchestration) -> Result<Vec<String>> {
    let mut seen = Transcript::new(&ctx);
    let (running, most, begun) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let work = |number: u64| {
        let sleep = ctx.sleep(millis(number % 7));
        begun.set(begun.get() + 1);
        running.set(running.get() + 1);
        most.set(running.get().max(most.get()));
        let running = &running;
        async move {
            sleep.await;
            running.set(running.get() - 1);
            number
        }
    };
    let outputs = for_each_concurrent(LIMIT, 0..ITEMS, work).await;
    seen.saw("all items have outputs, in order", outputs.into_iter().eq(0..ITEMS));
    seen.saw("the most items at a time", most.get());

    begun.set(0);
    let outcome = try_for_each_concurrent(2, 0..ITEMS, |number| {
        let work = work(number);
        async move {
            match work.await {
                5 => Err(Failure::new("Five", "as written")),
                number => Ok(number),
            }
        }
    });
    seen.ended("a fan-out with a failure", outcome.await);
    seen.saw("the others do not begin", begun.get() < 20);

    let none = for_each_concurrent(0, Vec::<u64>::new(), work).await;
    seen.saw("no items", none);
    let one_at_a_time = for_each_concurrent(0, 0..3, work).await;
    seen.saw("a limit of zero", one_at_a_time);
    Ok(seen.lines())
}
