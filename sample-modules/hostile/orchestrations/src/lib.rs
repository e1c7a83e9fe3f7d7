//! Orchestrations that misbehave, each in its own way.

mod sums;

use std::hint::black_box;

use windlass_sdk::prelude::*;

windlass_sdk::export!(orchestrators: [
    endless_loop,
    loop_after_timer,
    memory_hog,
    panics,
    traps,
    exits,
    stack_overflow,
    log_flood,
    long_line,
    looks_around,
    waits_for_nothing,
    unknown_activity,
    too_many_tasks,
    large_status,
    large_output,
    call_hostile,
    runaway,
    fork_bomb,
    activity_bomb,
    sums::keeps_memory,
    sums::spread,
    sums::untaken_results,
    sums::outstanding_calls,
    sums::sends_events,
    sums::calls_failing,
    sums::large_turns,
    sums::disturbs_a_rest,
    withdraws,
    asks_for_the_time,
]);

/// Computes forever in its first turn.
#[orchestrator(name = "HostileTurnLoop")]
async fn endless_loop() -> Result<()> {
    spin()
}

/// Computes forever in its second turn.
#[orchestrator(name = "HostileTurnLoopLater")]
async fn loop_after_timer(ctx: Orchestration) -> Result<()> {
    ctx.sleep(millis(50)).await;
    spin()
}

fn spin() -> Result<()> {
    let mut rounds = 0_u64;
    loop {
        rounds = black_box(rounds.wrapping_add(1));
    }
}

/// Allocates all memory it can get.
#[orchestrator(name = "HostileTurnMemory")]
async fn memory_hog() -> Result<usize> {
    let mut hoard = Vec::new();
    while hoard.len() < 65_536 {
        hoard.push(black_box(vec![1_u8; 1 << 20]));
    }
    Ok(hoard.len())
}

/// Panics.
#[orchestrator(name = "HostileTurnPanic")]
async fn panics() -> Result<()> {
    panic!("this orchestration panics on purpose")
}

/// Executes an instruction that traps.
#[orchestrator(name = "HostileTurnTrap")]
async fn traps() -> Result<()> {
    std::process::abort()
}

/// Exits with the code for success, instead of returning.
#[orchestrator(name = "HostileTurnExit")]
async fn exits() -> Result<()> {
    std::process::exit(0)
}

/// Writes log lines as fast as it can.
#[orchestrator(name = "HostileTurnLogFlood")]
async fn log_flood(ctx: Orchestration) -> Result<()> {
    let line = "flood ".repeat(1000);
    loop {
        ctx.log(Level::Info, &line);
    }
}

/// Recurses until the stack overflows.
#[orchestrator(name = "HostileTurnStackOverflow")]
async fn stack_overflow() -> Result<u64> {
    #[expect(unconditional_recursion, reason = "that is the point")]
    fn deeper(depth: u64) -> u64 {
        let frame = black_box([depth; 64]);
        deeper(depth + 1) + frame[7]
    }
    Ok(deeper(0))
}

/// Logs a line with that many MiB.
#[orchestrator(name = "HostileTurnLongLine")]
async fn long_line(ctx: Orchestration, mib: usize) -> Result<()> {
    ctx.log(Level::Info, &"x".repeat(mib.min(4096) << 20));
    Ok(())
}

/// Tries to access files, folders, variables and arguments. Returns what it found, which should be nothing.
#[orchestrator(name = "HostileTurnLooksAround")]
async fn looks_around() -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in ["/", ".", "/etc/passwd", "../windlass.db"] {
        found.extend(std::fs::read(path).map(|_| format!("read {path}")).ok());
        found.extend(std::fs::read_dir(path).map(|_| format!("listed {path}")).ok());
        found.extend(std::fs::write(path, "x").map(|()| format!("wrote {path}")).ok());
    }
    found.extend(std::env::vars().map(|(name, _)| format!("variable {name}")));
    found.extend(std::env::args().map(|argument| format!("argument {argument}")));
    Ok(found)
}

/// Waits without an outstanding task.
#[orchestrator(name = "HostileWaitsForNothing")]
async fn waits_for_nothing() -> Result<()> {
    std::future::pending().await
}

/// Calls an activity that does not exist.
#[orchestrator(name = "HostileUnknownActivity")]
async fn unknown_activity(ctx: Orchestration) -> Result<()> {
    ctx.call_named("NobodyOffersThis", &()).await
}

/// Creates timers endlessly.
#[orchestrator(name = "HostileTooManyTasks")]
async fn too_many_tasks(ctx: Orchestration) -> Result<usize> {
    let mut timers = Vec::new();
    loop {
        timers.push(ctx.sleep(days(1)));
        black_box(&timers);
    }
}

/// Sets a custom status of that many MiB.
#[orchestrator(name = "HostileStatus")]
async fn large_status(ctx: Orchestration, mib: usize) -> Result<()> {
    ctx.set_custom_status("x".repeat(mib.min(4096) << 20));
    Ok(())
}

/// Returns that many MiB of text.
#[orchestrator(name = "HostileTurnOutput")]
async fn large_output(mib: usize) -> Result<String> {
    Ok("x".repeat(mib.min(4096) << 20))
}

/// A call of a hostile activity.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct HostileCall {
    /// For example `HostileLoop`.
    pub activity: String,
    #[serde(default)]
    pub input: windlass_sdk::serde_json::Value,
    #[serde(default = "one")]
    pub attempts: u32,
    /// The timeout of one attempt; ten minutes unless set.
    #[serde(default)]
    pub attempt_timeout_ms: Option<u64>,
}

fn one() -> u32 {
    1
}

/// The outcome of a hostile activity.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct CallOutcome {
    /// The type of its failure; `null` if it succeeded.
    pub error_type: Option<String>,
    pub message: Option<String>,
    /// Its output; `null` if it failed.
    pub output: Option<windlass_sdk::serde_json::Value>,
}

/// Calls a hostile activity and returns its outcome.
#[orchestrator(name = "CallHostileActivity")]
async fn call_hostile(ctx: Orchestration, call: HostileCall) -> Result<CallOutcome> {
    let retry = Retry::fixed(millis(100)).max_attempts(call.attempts);
    let timeout = call.attempt_timeout_ms.map_or(mins(10), millis);
    let outcome = ctx
        .call_named::<windlass_sdk::serde_json::Value>(&call.activity, &call.input)
        .retry(retry)
        .attempt_timeout(timeout)
        .await;
    let failure = outcome.as_ref().err();
    Ok(CallOutcome {
        error_type: failure.map(|failure| failure.error_type().to_owned()),
        message: failure.map(|failure| failure.message().to_owned()),
        output: outcome.ok(),
    })
}

/// Continues as new immediately, forever.
#[orchestrator(name = "HostileRunaway")]
async fn runaway(ctx: Orchestration) -> Result<()> {
    ctx.continue_as_new(&())
}

/// Calls itself twice, recursively, and waits for both.
#[orchestrator(name = "HostileForkBomb")]
async fn fork_bomb(ctx: Orchestration) -> Result<()> {
    let children = [0, 1].map(|_| ctx.sub_orchestration_named::<()>("HostileForkBomb", &()));
    try_join_all(children).await?;
    Ok(())
}

/// Calls thousands of activities that never end, waits for none of them, and repeats this forever.
#[orchestrator(name = "HostileActivityBomb")]
async fn activity_bomb(ctx: Orchestration) -> Result<()> {
    loop {
        let calls: Vec<_> = (0..5_000)
            .map(|_| ctx.call_named::<()>("HostileSleep", &()).start())
            .collect();
        ctx.sleep(millis(1)).await;
        drop(calls);
    }
}

/// Waits for one event that often, and withdraws all waits in the same turn, the newest first. Returns how many.
#[orchestrator(name = "HostileWithdraw")]
async fn withdraws(ctx: Orchestration, waits: usize) -> Result<usize> {
    let mut waiting: Vec<_> = (0..waits).map(|_| ctx.event::<()>("never")).collect();
    while waiting.pop().is_some() {}
    Ok(waits)
}

/// How often `HostileAsksForTheTime` asks.
#[payload]
pub struct Questions {
    /// Turns before it waits for the event `go`.
    pub turns: u32,
    /// Calls of the host in each turn.
    pub calls: u64,
}

/// Asks the host for the time very often in each turn, and then waits for the event `go`.
#[orchestrator(name = "HostileAsksForTheTime")]
async fn asks_for_the_time(ctx: Orchestration, questions: Questions) -> Result<()> {
    for turn in 0..questions.turns {
        if turn > 0 {
            ctx.sleep(millis(1)).await;
        }
        for _ in 0..questions.calls {
            black_box(std::time::Instant::now());
        }
    }
    ctx.event::<()>("go").await
}
