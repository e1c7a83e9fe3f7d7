//! Tests of grants: limits within those of the host, settings and secrets.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use crate::grants::{ActivityLimits, Grants, MAX_SETTING_BYTES, MAX_SETTINGS, Secrets};
use crate::model::{Failure, LogLevel, Secret, failure::types};
use crate::sandbox::{ActivityRun, Attempt, UploadError};

use super::{
    TestSandbox,
    activities::{attempt, parked},
    guests::Guest,
    memory, sandbox, sandbox_with,
};

const CONTEXT: &str = "windlass:durable/activity-context@0.1.0";

async fn run(sandbox: &TestSandbox, guest: &Guest, grants: Grants) -> ActivityRun {
    let module = sandbox.module(guest.build()).await;
    let attempt = Attempt {
        grants: Arc::new(grants),
        ..attempt()
    };
    sandbox.sandbox.run_activity(&module, attempt, memory()).await.unwrap()
}

/// The failure of a guest with these limits.
async fn failure(guest: Guest, limits: ActivityLimits) -> Failure {
    let grants = Grants {
        limits,
        ..Grants::default()
    };
    run(&sandbox(), &guest, grants).await.outcome.unwrap_err()
}

#[track_caller]
fn check(failure: &Failure, error_type: &str, message: &str) {
    assert_eq!(
        (failure.error_type.as_str(), failure.message.as_str()),
        (error_type, message)
    );
}

fn endless() -> Guest {
    Guest::activity().run("(loop $l (br $l)) unreachable")
}

#[tokio::test]
async fn a_limit_of_a_grant_ends_an_attempt_with_a_message() {
    let none = ActivityLimits::UNLIMITED;
    let fuel = ActivityLimits {
        fuel: 1_000_000,
        ..none
    };
    check(
        &failure(endless(), fuel).await,
        types::FUEL,
        "the guest used up its 1000000 units of fuel",
    );
    let timeout = ActivityLimits {
        timeout: Duration::from_millis(50),
        ..none
    };
    check(
        &failure(parked(), timeout).await,
        types::TIMEOUT,
        "the attempt took longer than 50ms",
    );
    let payload_bytes = ActivityLimits {
        payload_bytes: 5,
        ..none
    };
    check(
        &failure(Guest::activity(), payload_bytes).await,
        types::PAYLOAD,
        "the result is 10 bytes long, at most 5 are allowed",
    );
}

#[tokio::test]
async fn a_memory_limit_of_a_grant_applies_at_the_start_and_to_growth() {
    let limit = |memory_bytes| ActivityLimits {
        memory_bytes,
        ..ActivityLimits::UNLIMITED
    };
    let grow = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    check(
        &failure(Guest::activity().run(grow), limit(1 << 20)).await,
        types::MEMORY,
        "the guest exceeded its limit of 1048576 bytes of memory",
    );
    // The guest starts with two pages.
    check(
        &failure(Guest::activity(), limit(100_000)).await,
        types::MEMORY,
        "the guest exceeded its limit of 100000 bytes of memory",
    );
}

#[tokio::test]
async fn the_bytes_passed_to_the_host_in_one_call_are_limited() {
    let sandbox = sandbox_with(|options| options.activity.memory_bytes = 16 << 20);
    let guest = Guest::activity().run(
        "(drop (memory.grow (i32.const 100)))
         (i32.store8 (i32.const 512) (i32.const 0)) (i32.store (i32.const 516) (i32.const 4096))
         (i32.store (i32.const 520) (i32.const 4000000)) (i32.const 512)",
    );
    let grants = Grants {
        limits: ActivityLimits {
            payload_bytes: 1_000,
            ..ActivityLimits::UNLIMITED
        },
        ..Grants::default()
    };
    let failure = run(&sandbox, &guest, grants).await.outcome.unwrap_err();
    check(
        &failure,
        types::PAYLOAD,
        "the guest passed more than 2098152 bytes to the host in one call",
    );
    assert!(failure.non_retryable);
}

#[tokio::test]
async fn a_grant_does_not_widen_the_limits_of_the_host() {
    let sandbox = sandbox_with(|options| options.activity.fuel = 1_000_000);
    let run = run(&sandbox, &endless(), Grants::default()).await;
    check(
        &run.outcome.unwrap_err(),
        types::FUEL,
        "the guest used up its 1000000 units of fuel",
    );
}

/// Settings and secrets of the tests. The values are JSON, because guests return them.
fn given() -> Grants {
    Grants {
        config: BTreeMap::from([("region".into(), "\"eu-west\"".into())]),
        secrets: Secrets::from_iter([("region".into(), Secret::new("\"correct horse\""))]),
        ..Grants::default()
    }
}

/// A guest that calls the import with `region`, and returns the result, or `null`.
fn calls_import(import: &str) -> Guest {
    Guest::activity()
        .import(CONTEXT, import, "(param i32 i32 i32)")
        .item("(data (i32.const 1024) \"region\") (data (i32.const 1040) \"null\")")
        .run(&format!(
            "(call ${import} (i32.const 1024) (i32.const 6) (i32.const 600))
             (i32.store8 (i32.const 512) (i32.const 0))
             (i32.store (i32.const 516) (i32.const 1040))
             (i32.store (i32.const 520) (i32.const 4))
             (if (i32.load8_u (i32.const 600)) (then
                (i32.store (i32.const 516) (i32.load (i32.const 604)))
                (i32.store (i32.const 520) (i32.load (i32.const 608)))))
             (i32.const 512)"
        ))
}

#[tokio::test]
async fn a_guest_reads_settings_and_secrets_by_name() {
    let sandbox = sandbox();
    for (import, value) in [("config", "\"eu-west\""), ("secret", "\"correct horse\"")] {
        let granted = run(&sandbox, &calls_import(import), given()).await;
        assert_eq!(granted.outcome.unwrap().as_str(), value, "{import}");
        let denied = run(&sandbox, &calls_import(import), Grants::default()).await;
        assert_eq!(denied.outcome.unwrap().as_str(), "null", "{import}");
    }
}

#[tokio::test]
async fn a_module_that_describes_itself_has_no_secrets() {
    let guest = Guest::activity()
        .import(CONTEXT, "secret", "(param i32 i32 i32)")
        .describe("(call $secret (i32.const 1024) (i32.const 6) (i32.const 600))");
    let refused = sandbox().sandbox.inspect(guest.build().into()).await.unwrap_err();
    assert!(matches!(refused, UploadError::DescribeFailed { .. }), "{refused}");
}

#[tokio::test]
async fn an_orchestration_cannot_read_secrets() {
    let guest = Guest::orchestrator()
        .wit_import(CONTEXT)
        .import(CONTEXT, "secret", "(param i32 i32 i32)")
        .run_first("(call $secret (i32.const 1024) (i32.const 6) (i32.const 600))");
    let refused = sandbox().sandbox.inspect(guest.build().into()).await.unwrap_err();
    assert!(refused.to_string().contains("activity-context"), "{refused}");
}

#[tokio::test]
async fn a_secret_that_a_guest_logs_is_masked() {
    let guest = Guest::activity()
        .import(CONTEXT, "secret", "(param i32 i32 i32)")
        .import(CONTEXT, "log", "(param i32 i32 i32)")
        .item("(data (i32.const 1024) \"region\")")
        .run_first(
            "(call $secret (i32.const 1024) (i32.const 6) (i32.const 600))
             (call $log (i32.const 2) (i32.load (i32.const 604)) (i32.load (i32.const 608)))",
        );
    let logs = run(&sandbox(), &guest, given()).await.logs;
    assert_eq!((logs[0].level, logs[0].message.as_str()), (LogLevel::Info, "***"));
}

#[tokio::test]
async fn a_secret_in_the_message_of_a_panic_is_masked() {
    // The SDK reports a panic in this way: a line in the log, then a trap.
    let guest = Guest::activity()
        .import(CONTEXT, "log", "(param i32 i32 i32)")
        .item("(data (i32.const 1024) \"panicked at a.rs:1:1: no user correct horse\")")
        .run("(call $log (i32.const 4) (i32.const 1024) (i32.const 43)) unreachable");
    let grants = Grants {
        secrets: Secrets::from_iter([("password".into(), Secret::new("correct horse"))]),
        ..Grants::default()
    };
    let run = run(&sandbox(), &guest, grants).await;
    check(
        &run.outcome.unwrap_err(),
        types::TRAP,
        "panicked at a.rs:1:1: no user ***",
    );
    assert_eq!(run.logs[0].message, "panicked at a.rs:1:1: no user ***");
}

#[tokio::test]
async fn endless_lines_and_the_maximum_of_secrets_do_not_keep_the_host_busy() {
    let guest = Guest::activity()
        .wit_import("wasi:cli/stdout@0.2.12")
        .import("wasi:cli/stdout@0.2.12", "get-stdout", "(result i32)")
        .import(
            "wasi:io/streams@0.2.12",
            "[method]output-stream.write",
            "(param i32 i32 i32 i32)",
        )
        .run_first(
            "(drop (memory.grow (i32.const 1)))
             (memory.fill (i32.const 131072) (i32.const 10) (i32.const 65536))
             (local.set $i (call $get-stdout))
             (call $write (local.get $i) (i32.const 131072) (i32.const 32768) (i32.const 1032))
             (memory.fill (i32.const 131072) (i32.const 49) (i32.const 65536))
             (call $write (local.get $i) (i32.const 131072) (i32.const 65536) (i32.const 1032))
             (call $write (local.get $i) (i32.const 131072) (i32.const 65536) (i32.const 1032))",
        );
    let value = |number: usize| {
        let lines = (0..MAX_SETTING_BYTES / 10).map(|line| format!("{number:02}-{line:06}\n"));
        Secret::new(lines.collect::<String>())
    };
    let grants = Grants {
        secrets: (0..MAX_SETTINGS)
            .map(|number| (format!("s{number}"), value(number)))
            .collect(),
        ..Grants::default()
    };
    let run = run(&sandbox(), &guest, grants).await;
    assert!(run.outcome.is_ok(), "{:?}", run.outcome);
    let last = run.logs.last().unwrap();
    assert!(last.message.contains("log lines dropped"), "{last:?}");
}
