//! Ordinary `std` in an orchestration, which the host makes replay-safe.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rand::RngExt as _;
use windlass_sdk::prelude::*;

windlass_sdk::export!(orchestrators: [std_everywhere]);

#[payload]
#[serde(rename_all = "camelCase")]
pub struct StdRequest {
    /// The duration of each of two sleeps.
    #[serde(default = "two")]
    pub sleep_seconds: u64,
}

fn two() -> u64 {
    2
}

/// The results of `std` at one point.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    pub now: Timestamp,
    /// The order of a map with the keys `a` to `j`.
    pub hash_map_order: String,
    pub dice: Vec<u8>,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct StdResult {
    pub observations: Vec<Observation>,
    /// The duration of both sleeps together, by two clocks.
    pub slept_ms: [u64; 2],
}

/// Observes the clock, a hash map and random numbers, sleeps, and observes them again. A restart in between has no effect.
#[orchestrator(name = "StdEverywhere")]
async fn std_everywhere(ctx: Orchestration, request: StdRequest) -> Result<StdResult> {
    let (started, monotonic) = (SystemTime::now(), Instant::now());
    let mut observations = vec![observe()];
    for nap in 1..=2 {
        println!("nap {nap}: a durable timer, which a restart does not disturb");
        ctx.set_custom_status(format!("nap {nap}"));
        thread::sleep(Duration::from_secs(request.sleep_seconds));
        observations.push(observe());
    }
    let slept_ms = [started.elapsed()?, monotonic.elapsed()].map(|elapsed| elapsed.as_millis() as u64);
    Ok(StdResult { observations, slept_ms })
}

fn observe() -> Observation {
    let letters: HashMap<char, ()> = ('a'..='j').map(|letter| (letter, ())).collect();
    let mut rng = rand::rng();
    Observation {
        now: SystemTime::now().into(),
        hash_map_order: letters.keys().collect(),
        dice: (0..8).map(|_| rng.random_range(1..=6)).collect(),
    }
}
