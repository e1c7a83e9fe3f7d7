//! Tests of attempts of activities.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Wake},
    time::Duration,
};

use crate::model::{ExecutionNumber, LogLevel, Payload, TaskId, Timestamp, failure::types};
use crate::replay::HostUnavailable;
use crate::sandbox::{ActivityRun, Attempt, Control, Meter};

use super::{TestSandbox, guests::Guest, memory, sandbox, sandbox_with};

pub(super) fn attempt() -> Attempt {
    Attempt {
        instance_id: "order-1".parse().unwrap(),
        execution: ExecutionNumber::FIRST,
        function: "Echo".parse().unwrap(),
        task: TaskId(3),
        number: 2,
        idempotency_key: "key".into(),
        input: Payload::parse("{\"n\": 1.0}", 100).unwrap(),
        now: Timestamp(1_000),
        timeout: None,
        grants: Arc::default(),
        meter: Meter::default(),
        control: Control::default(),
    }
}

pub(super) async fn run(sandbox: &TestSandbox, guest: &Guest) -> ActivityRun {
    let module = sandbox.module(guest.build()).await;
    sandbox
        .sandbox
        .run_activity(&module, attempt(), memory())
        .await
        .unwrap()
}

async fn check_failure(sandbox: &TestSandbox, guest: Guest, error_type: &str, message: &str) {
    let failure = run(sandbox, &guest).await.outcome.unwrap_err();
    assert_eq!(failure.error_type, error_type, "{failure:?}");
    assert!(failure.message.contains(message), "{failure:?}");
}

/// A guest that sleeps for an hour by the clock of the host.
pub(super) fn parked() -> Guest {
    Guest::activity()
        .wit_import("wasi:clocks/monotonic-clock@0.2.12")
        .import(
            "wasi:clocks/monotonic-clock@0.2.12",
            "subscribe-duration",
            "(param i64) (result i32)",
        )
        .import("wasi:io/poll@0.2.12", "[method]pollable.block", "(param i32)")
        .run_first("(call $block (call $subscribe-duration (i64.const 3600000000000)))")
}

#[tokio::test]
async fn an_attempt_returns_the_output_of_the_function() {
    let run = run(&sandbox(), &Guest::activity()).await;
    assert_eq!(run.outcome.unwrap().as_str(), "{\"n\": 1.0}");
    assert!(run.fuel > 0 && run.fuel < 10_000, "{}", run.fuel);
}

#[tokio::test]
async fn an_attempt_that_crashes_fails_with_the_reason() {
    let grow = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    let sandbox = sandbox_with(|options| options.activity.fuel = 1_000_000);
    check_failure(
        &sandbox,
        Guest::activity().run("unreachable"),
        types::TRAP,
        "unreachable",
    )
    .await;
    check_failure(
        &sandbox,
        Guest::activity().run("(loop $l (br $l)) unreachable"),
        types::FUEL,
        "1000000",
    )
    .await;
    check_failure(&sandbox, Guest::activity().run(grow), types::MEMORY, "4194304").await;
    let not_json = Guest::activity().run(
        "(i32.store (i32.const 512) (i32.const 0)) (i32.store (i32.const 516) (i32.const 4096))
         (i32.store (i32.const 520) (i32.const 4)) (i32.const 512)",
    );
    check_failure(&sandbox, not_json, types::PAYLOAD, "not JSON").await;
}

#[tokio::test]
async fn a_busy_guest_and_a_suspended_one_are_stopped_in_time() {
    let sandbox = sandbox_with(|options| {
        options.activity.timeout = Duration::from_millis(100);
        options.activity.fuel = u64::MAX / 4;
    });
    let busy = run(&sandbox, &Guest::activity().run("(loop $l (br $l)) unreachable")).await;
    assert_eq!(busy.outcome.unwrap_err().error_type, types::TIMEOUT);
    // It may be little on a busy machine.
    assert!(busy.fuel > 0, "its fuel is counted");
    check_failure(&sandbox, parked(), types::TIMEOUT, "100ms").await;
    // Their slots are free again.
    for _ in 0..8 {
        check_failure(&sandbox, parked(), types::TIMEOUT, "100ms").await;
    }
}

#[tokio::test]
async fn the_meter_shows_the_fuel_of_a_running_attempt() {
    let sandbox = sandbox();
    let endless = Guest::activity().run("(loop $l (br $l)) unreachable").build();
    let module = sandbox.module(endless).await;
    let attempt = attempt();
    let meter = attempt.meter.clone();
    let mut run = Box::pin(sandbox.sandbox.run_activity(&module, attempt, memory()));
    while meter.fuel() == 0 {
        tokio::select! {
            biased;
            _ = &mut run => panic!("the meter shows nothing while it runs"),
            () = tokio::task::yield_now() => {}
        }
    }
}

/// Notes that a task was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Polls an attempt until its guest waits for something. A guest that yields at the end of an epoch wakes its task at
/// once and is polled again.
fn poll_until_it_waits(mut run: Pin<&mut impl Future>) {
    let woken = Arc::new(Woken::default());
    let waker = woken.clone().into();
    loop {
        woken.0.store(false, Ordering::Relaxed);
        assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        if !woken.0.load(Ordering::Relaxed) {
            return;
        }
    }
}

#[tokio::test]
async fn the_fuel_of_a_dropped_attempt_is_counted() {
    let sandbox = sandbox();
    let module = sandbox.module(parked().build()).await;
    let attempt = attempt();
    let meter = attempt.meter.clone();
    let mut run = Box::pin(sandbox.sandbox.run_activity(&module, attempt, memory()));
    poll_until_it_waits(run.as_mut());
    drop(run);
    assert!(meter.fuel() > 0);
}

#[tokio::test]
async fn each_slot_has_room_for_the_maximum_of_a_component() {
    let sandbox = sandbox_with(|options| options.activity.timeout = Duration::from_secs(1));
    // The guest has one memory already.
    let demanding = parked()
        .item(&"(memory 1)".repeat(3))
        .item(&"(table 1 funcref)".repeat(16));
    let module = sandbox.module(demanding.build()).await;
    let attempts = (0..4).map(|_| sandbox.sandbox.run_activity(&module, attempt(), memory()));
    for run in futures::future::join_all(attempts).await {
        assert_eq!(run.unwrap().outcome.unwrap_err().error_type, types::TIMEOUT);
    }
}

#[tokio::test]
async fn one_attempt_too_many_finds_no_room() {
    let sandbox = sandbox();
    let module = sandbox.module(parked().build()).await;
    let attempts = (0..5).map(|_| {
        let (sandbox, module) = (sandbox.sandbox.clone(), module.clone());
        Box::pin(async move { sandbox.run_activity(&module, attempt(), memory()).await })
    });
    let (first, _, others) = futures::future::select_all(attempts).await;
    assert!(matches!(first, Err(HostUnavailable::NoRoom(_))));
    drop(others);
    let echo = sandbox.module(Guest::activity().build()).await;
    sandbox.sandbox.run_activity(&echo, attempt(), memory()).await.unwrap();
}

#[tokio::test]
async fn the_log_of_an_attempt_is_limited() {
    let guest = Guest::activity()
        .import("windlass:durable/activity-context@0.1.0", "log", "(param i32 i32 i32)")
        .run_first(
            "(local.set $i (i32.const 100))
             (loop $l
                (call $log (i32.const 3) (local.get $input) (local.get $input_len))
                (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))",
        );
    let sandbox = sandbox_with(|options| options.activity.log_bytes = 50);
    let logs = run(&sandbox, &guest).await.logs;
    assert_eq!(logs.len(), 5);
    assert_eq!(
        (logs[0].level, logs[0].message.as_str()),
        (LogLevel::Warn, "{\"n\": 1.0}")
    );
    assert_eq!((logs[0].task, logs[0].attempt), (Some(TaskId(3)), Some(2)));
    assert_eq!(logs[4].message, "96 log lines dropped: an attempt may log 50 bytes");
}

#[tokio::test]
async fn an_attempt_that_calls_exit_fails_with_its_code() {
    let exit = Guest::activity()
        .wit_import("wasi:cli/exit@0.2.12")
        .import("wasi:cli/exit@0.2.12", "exit", "(param i32)")
        .run_first("(call $exit (i32.const 1))");
    check_failure(&sandbox(), exit, types::TRAP, "exit(1)").await;
}
