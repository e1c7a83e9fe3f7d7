//! Orchestrations whose single steps are within their limits, and that take too many of them.

use std::hint::black_box;

use windlass_sdk::prelude::*;
use windlass_sdk::serde_json::Value;

/// What `HostileHoard` keeps.
#[payload]
pub struct Hoard {
    /// Memory, in MiB.
    pub mib: usize,
    /// For how long, in milliseconds.
    pub ms: u64,
}

/// Keeps much memory while it sleeps. Returns how much.
#[orchestrator(name = "HostileHoard")]
pub(crate) async fn keeps_memory(ctx: Orchestration, load: Hoard) -> Result<usize> {
    let kept = black_box(vec![1_u8; load.mib << 20]);
    ctx.sleep(millis(load.ms)).await;
    Ok(kept.len() >> 20)
}

/// Starts that many sub-orchestrations at once and waits for all of them. Returns how many have completed.
#[orchestrator(name = "HostileSpread")]
pub(crate) async fn spread(ctx: Orchestration, children: usize) -> Result<usize> {
    let child = Hoard { mib: 0, ms: 100 };
    let calls = (0..children).map(|_| ctx.sub_orchestration_named::<usize>("HostileHoard", &child));
    Ok(try_join_all(calls).await?.len())
}

/// Many objects of the same size.
#[payload]
pub struct Many {
    pub count: u32,
    /// The size of each, in bytes.
    pub bytes: usize,
}

impl Many {
    fn text(&self) -> String {
        "x".repeat(self.bytes)
    }
}

/// Computes for that many rounds.
fn compute(rounds: u64) {
    for round in 0..rounds {
        black_box(round);
    }
}

/// Calls activities with large results and takes none of the results: it computes, sleeps, and computes again, forever.
#[orchestrator(name = "HostileUntakenResults")]
pub(crate) async fn untaken_results(ctx: Orchestration, load: Many) -> Result<()> {
    let calls: Vec<_> = (0..load.count)
        .map(|_| ctx.call_named::<String>("HostileResult", &load.bytes).start())
        .collect();
    loop {
        compute(black_box(20_000_000));
        ctx.sleep(millis(1)).await;
        black_box(&calls);
    }
}

/// Calls activities that never end, and continues as new while they are outstanding, forever.
#[orchestrator(name = "HostileOutstandingCalls")]
pub(crate) async fn outstanding_calls(ctx: Orchestration, load: Many) -> Result<()> {
    for _ in 0..load.count {
        drop(ctx.call_named::<()>("HostileSleep", &()).start());
    }
    ctx.sleep(millis(1)).await;
    ctx.continue_as_new(&load)
}

/// Sends large events to itself in every turn, and takes none of them.
#[orchestrator(name = "HostileSendsEvents")]
pub(crate) async fn sends_events(ctx: Orchestration, load: Many) -> Result<()> {
    let text = load.text();
    loop {
        for _ in 0..load.count {
            ctx.send_event(ctx.instance_id(), "unwanted", &text);
        }
        ctx.sleep(millis(1)).await;
    }
}

/// Calls activities that fail with large failures, takes all failures, and calls them again, forever.
#[orchestrator(name = "HostileCallsFailing")]
pub(crate) async fn calls_failing(ctx: Orchestration, load: Many) -> Result<()> {
    loop {
        let calls = (0..load.count).map(|_| {
            let retry = Retry::fixed(millis(10)).max_attempts(20);
            ctx.call_named::<()>("HostileFailure", &load.bytes)
                .retry(retry)
                .into_future()
        });
        black_box(join_all(calls).await);
    }
}

/// Calls activities with large inputs, and continues as new in the same turn, forever.
#[orchestrator(name = "HostileLargeTurns")]
pub(crate) async fn large_turns(ctx: Orchestration, load: Many) -> Result<()> {
    let text = load.text();
    for _ in 0..load.count {
        drop(ctx.call_named::<Value>("HostileIgnores", &text).start());
    }
    ctx.continue_as_new(&load)
}

/// Starts a sub-orchestration that fails at once and is tried again in an hour, and sends it large events in every turn.
#[orchestrator(name = "HostileDisturbsARest")]
pub(crate) async fn disturbs_a_rest(ctx: Orchestration, load: Many) -> Result<()> {
    let id = format!("{}-rests", ctx.instance_id().as_str());
    let retry = Retry::fixed(hours(1)).max_attempts(1_000);
    let rests = ctx
        .sub_orchestration_named::<()>("HostileTurnPanic", &())
        .id(id.as_str())
        .retry(retry)
        .start();
    let text = load.text();
    loop {
        for _ in 0..load.count {
            ctx.send_event(&id, "unwanted", &text);
        }
        ctx.sleep(millis(1)).await;
        black_box(&rests);
    }
}
