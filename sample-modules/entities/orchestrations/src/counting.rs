//! Many signals to one counter, and a call that sees them all.

use entities_model::Counter;
use windlass_sdk::prelude::*;

/// The input.
#[payload]
pub struct Counting {
    /// The key of the counter.
    pub counter: String,
    /// How many signals to send.
    #[schemars(range(max = 10_000))]
    pub signals: u32,
    /// How many calls to make, all at the same time.
    #[serde(default)]
    #[schemars(range(max = 1_000))]
    pub calls: u32,
}

/// Adds one to a counter with each signal and each call, and returns what it then is.
#[orchestrator(name = "CountTogether")]
pub async fn count_together(ctx: Orchestration, counting: Counting) -> Result<i64> {
    let counter = ctx.entity(Counter::at(&counting.counter));
    for _ in 0..counting.signals {
        counter.signal().add(&1);
    }
    try_join_all((0..counting.calls).map(|_| counter.add(&1))).await?;
    // It is applied after everything above, because all of it has the same sender.
    counter.get().await
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn a_call_sees_the_signals_before_it() {
        let input = Counting {
            counter: "visits".into(),
            signals: 1_000,
            calls: 10,
        };
        let run = World::new().entity::<Counter>().run(count_together, &input);
        assert_eq!(run.output(), &1_010);
        assert_eq!(run.state_of(Counter::at("visits")), Some(Counter { count: 1_010 }));
    }

    #[test]
    fn a_counter_that_overflows_fails_the_caller_and_keeps_its_count() {
        let full = Counter { count: i64::MAX - 1 };
        let input = Counting {
            counter: "visits".into(),
            signals: 1,
            calls: 1,
        };
        let world = World::new()
            .entity::<Counter>()
            .entity_state(Counter::at("visits"), &full);
        let run = world.run(count_together, &input);
        assert!(run.failure().is("CounterOverflow"));
        assert_eq!(run.state_of(Counter::at("visits")), Some(Counter { count: i64::MAX }));
    }
}
