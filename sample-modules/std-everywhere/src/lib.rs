//! Ordinary `std` in an orchestration: the host makes it safe to replay.

use std::collections::HashMap;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rand::RngExt as _;
use windlass_sdk::prelude::*;

windlass_sdk::export!(orchestrators: [std_everywhere]);

#[payload]
#[serde(rename_all = "camelCase")]
pub struct StdRequest {
    /// How long to sleep, twice.
    #[serde(default = "two")]
    pub sleep_seconds: u64,
}

fn two() -> u64 {
    2
}

/// What `std` said at one point.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    pub now: Timestamp,
    /// Of a map with the keys `a` to `j`.
    pub hash_map_order: String,
    pub dice: Vec<u8>,
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct StdResult {
    pub observations: Vec<Observation>,
    /// As two clocks measured it.
    pub slept_ms: [u64; 2],
}

/// Looks at the clock, a hash map and random numbers, sleeps, and looks again. A restart in between changes nothing.
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
