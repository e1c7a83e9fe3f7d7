//! Hostile guests that no compiler would produce. Those that a compiler can produce are in `sample-modules/hostile`.

use std::time::Duration;

use bytes::Bytes;

use crate::fuzz::most_taken;
use crate::model::{Failure, failure::types};
use crate::replay::tests::script::raised;
use crate::sandbox::UploadError;

use super::{
    TestSandbox,
    activities::{attempt, run},
    guests::{Guest, RETURN_INPUT},
    memory,
    orchestrators::Run,
    sandbox, sandbox_with,
};

/// The failures of an activity and of an orchestration with the same change.
async fn failures(sandbox: &TestSandbox, change: impl Fn(Guest) -> Guest) -> [Failure; 2] {
    let activity = run(sandbox, &change(Guest::activity())).await.outcome.unwrap_err();
    let module = sandbox.module(change(Guest::orchestrator()).build()).await;
    let mut orchestration = Run::new(&sandbox.sandbox, &module, "Echo", "\"hello\"");
    orchestration.turn(vec![]).unwrap();
    [activity, orchestration.ended().unwrap().unwrap_err()]
}

async fn check(sandbox: &TestSandbox, error_type: &str, message: &str, change: impl Fn(Guest) -> Guest) {
    for failure in failures(sandbox, change).await {
        assert_eq!(failure.error_type, error_type, "{failure:?}");
        assert!(failure.message.contains(message), "{failure:?}");
    }
    still_runs(sandbox).await;
}

/// Checks that the next guest runs in a clean slot.
async fn still_runs(sandbox: &TestSandbox) {
    let echo = run(sandbox, &Guest::activity()).await;
    assert_eq!(echo.outcome.unwrap().as_str(), "{\"n\": 1.0}");
}

async fn refused(sandbox: &TestSandbox, component: Vec<u8>) -> UploadError {
    let refused = sandbox.sandbox.inspect(Bytes::from(component)).await.unwrap_err();
    still_runs(sandbox).await;
    refused
}

/// Grows a memory or table until the host refuses, and then aborts like a program without memory.
fn grow_all(grow: &str) -> String {
    format!("(loop $l (br_if $l (i32.ne ({grow}) (i32.const -1)))) unreachable")
}

#[tokio::test]
async fn a_guest_can_use_memory_up_to_the_limit() {
    // The guest starts with two pages.
    let all = "(drop (memory.grow (i32.const 62))) (i32.store (i32.const 4194300) (i32.const 1))";
    for _ in 0..10 {
        assert!(run(&sandbox(), &Guest::activity().run_first(all)).await.outcome.is_ok());
    }
}

#[tokio::test]
async fn the_memory_limit_applies_to_all_memories_together() {
    let sandbox = sandbox();
    let spread = ["$b", "$c", "$d"].map(|memory| format!("(drop (memory.grow {memory} (i32.const 20)))"));
    let body = spread.concat() + &grow_all("memory.grow $b (i32.const 1)");
    check(&sandbox, types::MEMORY, "4194304", |guest| {
        guest.item("(memory $b 0) (memory $c 0) (memory $d 0)").run(&body)
    })
    .await;
}

#[tokio::test]
async fn tables_have_their_own_limit_and_count_as_memory() {
    let sandbox = sandbox();
    let grow = |table: &str| grow_all(&format!("table.grow {table} (ref.null func) (i32.const 1000)"));
    check(&sandbox, types::MEMORY, "", |guest| {
        guest.item("(table $t 0 funcref)").run(&grow("$t"))
    })
    .await;
    // Eight tables at their limit exceed the memory limit.
    let tables: String = (0..8).map(|n| format!("(table $t{n} 0 funcref)")).collect();
    let full: String = (0..7)
        .map(|n| format!("(drop (table.grow $t{n} (ref.null func) (i32.const 70000)))"))
        .collect();
    let body = full + &grow("$t7");
    check(&sandbox, types::MEMORY, "4194304", |guest| {
        guest.item(&tables).run(&body)
    })
    .await;
}

#[tokio::test]
async fn endless_recursion_exhausts_the_stack() {
    let deeper = "(func $deeper (param i64) (result i64)
        (i64.add (call $deeper (i64.add (local.get 0) (i64.const 1))) (local.get 0)))";
    let body = format!("(drop (call $deeper (i64.const 0))) {RETURN_INPUT}");
    let sandbox = sandbox_with(|options| options.turn_fuel = 1_000_000_000);
    check(&sandbox, types::TRAP, "call stack exhausted", |guest| {
        guest.item(deeper).run(&body)
    })
    .await;
}

/// Code that ends `run` with a text of the guest's memory as its result.
fn result(address: u32, length: u32) -> String {
    format!(
        "(i32.store (i32.const 512) (i32.const 0)) (i32.store (i32.const 516) (i32.const {address}))
         (i32.store (i32.const 520) (i32.const {length})) (i32.const 512)"
    )
}

#[tokio::test]
async fn a_result_that_is_not_valid_text_is_reported() {
    let sandbox = sandbox();
    let not_utf8 = format!(
        "(i32.store (i32.const 1024) (i32.const 0xfffefdfc)) {}",
        result(1024, 4)
    );
    check(&sandbox, types::TRAP, "utf-8", |guest| guest.run(&not_utf8)).await;
    let not_json = format!(
        "(i32.store (i32.const 1024) (i32.const 0x7b7b7b7b)) {}",
        result(1024, 4)
    );
    check(&sandbox, types::PAYLOAD, "not JSON", |guest| guest.run(&not_json)).await;
    check(&sandbox, types::TRAP, "out of bounds", |guest| {
        guest.run(&result(1024, 1 << 30))
    })
    .await;
    check(&sandbox, types::TRAP, "", |guest| guest.run("(i32.const 0x7ffffff0)")).await;
}

#[tokio::test]
async fn a_failure_with_more_causes_than_fit_is_not_copied() {
    // `err`, with an error type, a message, no details, and two billion causes.
    let causes = "(i32.store (i32.const 512) (i32.const 1))
        (i32.store (i32.const 548) (i32.const 1024)) (i32.store (i32.const 552) (i32.const 0x7fffffff))
        (i32.const 512)";
    check(&sandbox(), types::TRAP, "", |guest| guest.run(causes)).await;
}

#[tokio::test]
async fn a_log_line_of_ten_megabytes_is_not_copied() {
    let sandbox = sandbox_with(|options| options.activity.memory_bytes = 16 << 20);
    let guest = Guest::activity()
        .import("windlass:durable/activity-context@0.1.0", "log", "(param i32 i32 i32)")
        .run_first(
            "(drop (memory.grow (i32.const 160)))
             (memory.fill (i32.const 65536) (i32.const 120) (i32.const 10000000))
             (call $log (i32.const 2) (i32.const 65536) (i32.const 10000000))",
        );
    let attempt = run(&sandbox, &guest).await;
    let failure = attempt.outcome.unwrap_err();
    assert_eq!(failure.error_type, types::PAYLOAD, "{failure:?}");
    assert!(failure.message.starts_with("the guest passed more than"), "{failure:?}");
    assert_eq!(attempt.logs, []);
    still_runs(&sandbox).await;
}

#[tokio::test]
async fn a_component_with_thousands_of_functions_is_accepted() {
    let functions: String = (0..5_000)
        .map(|n| format!("(func (export \"f{n}\") (param i32) (result i32) (i32.add (local.get 0) (i32.const {n})))"))
        .collect();
    let sandbox = sandbox();
    let many = run(&sandbox, &Guest::activity().item(&functions)).await;
    assert!(many.outcome.is_ok());
    let described = (0..1_001).fold(Guest::activity(), |guest, n| guest.function(&format!("F{n}"), None));
    let refused = refused(&sandbox, described.build()).await;
    assert_eq!(refused.code(), "module-too-many-functions", "{refused}");
}

#[tokio::test]
async fn deeply_nested_and_exponentially_large_types_are_refused() {
    let sandbox = sandbox();
    let nested = |inner: &str, outer: &dyn Fn(usize) -> String, levels: usize| {
        let types: String = (1..levels).map(outer).collect();
        wat::parse_str(format!("(component (type $t0 {inner}) {types})")).unwrap()
    };
    let list = |n: usize| format!("(type $t{n} (list $t{}))", n - 1);
    let refusal = refused(&sandbox, nested("(list u8)", &list, 5_000)).await;
    assert_eq!(refusal.code(), "module-invalid", "{refusal}");
    let pair = |n: usize| format!("(type $t{n} (tuple $t{0} $t{0}))", n - 1);
    let refusal = refused(&sandbox, nested("(tuple u8 u8)", &pair, 60)).await;
    assert_eq!(refusal.code(), "module-invalid", "{refusal}");
}

/// A section of a component: kind, length and content.
fn section(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut section = vec![kind];
    let mut length = content.len();
    while length >= 0x80 {
        section.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    section.push(u8::try_from(length).unwrap());
    section.extend_from_slice(content);
    section
}

#[tokio::test]
async fn deeply_nested_components_are_handled() {
    const COMPONENT: u8 = 4;
    let head = wat::parse_str("(component)").unwrap();
    let nested = (0..10_000).fold(head.clone(), |inner, _| {
        [&head[..], &section(COMPONENT, &inner)].concat()
    });
    let sandbox = sandbox();
    let refusal = refused(&sandbox, nested.clone()).await;
    assert_eq!(refusal.code(), "module-no-known-export", "{refusal}");
    // As an unused part of a valid component.
    let beside = [Guest::activity().build(), section(COMPONENT, &nested)].concat();
    sandbox.sandbox.inspect(beside.into()).await.unwrap();
}

#[tokio::test]
async fn a_few_bytes_far_apart_do_not_become_a_large_image() {
    const MODULE: u8 = 1;
    let far_apart = wat::parse_str(r#"(module (memory 64) (data (i32.const 0) "a") (data (i32.const 4194303) "b"))"#);
    let module = section(MODULE, &far_apart.unwrap());
    let sandbox = sandbox();
    let component = [Guest::activity().build(), module.repeat(50)].concat();
    assert!(component.len() < 10_000, "{}", component.len());
    sandbox.sandbox.inspect(component.into()).await.unwrap();
    let bytes = sandbox.artefact_bytes();
    assert!(bytes < 4 << 20, "{bytes}");
}

/// The maximum host memory that an attempt uses. The guest creates a text of `length` bytes at 65536, and then repeats
/// `body` until it is stopped.
fn taken_by_repeating(length: u32, body: &str, imports: impl Fn(Guest) -> Guest) -> usize {
    let hoard = format!(
        "(drop (memory.grow (i32.const 60)))
        (memory.fill (i32.const 65536) (i32.const 120) (i32.const {length}))
        (loop $l {body} (br $l)) unreachable"
    );
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let sandbox = sandbox_with(|options| options.activity.fuel = 50_000_000);
    let module = runtime.block_on(sandbox.module(imports(Guest::activity()).run(&hoard).build()));
    most_taken(|| {
        let attempt = sandbox.sandbox.run_activity(&module, attempt(), memory());
        let failure = runtime.block_on(attempt).unwrap().outcome.unwrap_err();
        assert!(
            [types::TRAP, types::FUEL].contains(&&*failure.error_type),
            "{failure:?}"
        );
    })
}

#[test]
fn requests_that_are_never_sent_use_little_host_memory() {
    const TYPES: &str = "wasi:http/types@0.2.12";
    let http = |guest: Guest| {
        guest
            .wit_import(TYPES)
            .import(TYPES, "[constructor]fields", "(result i32)")
            .import(TYPES, "[method]fields.append", "(param i32 i32 i32 i32 i32 i32)")
            .import(TYPES, "[constructor]outgoing-request", "(param i32) (result i32)")
            .import(
                TYPES,
                "[method]outgoing-request.set-method",
                "(param i32 i32 i32 i32) (result i32)",
            )
            .import(
                TYPES,
                "[method]outgoing-request.set-authority",
                "(param i32 i32 i32 i32) (result i32)",
            )
    };
    let header = "(call $append (call $fields)
        (i32.const 65536) (i32.const 1) (i32.const 65536) (i32.const 30000) (i32.const 1032))";
    let request = "(call $outgoing-request (call $fields))";
    // The case 9 is `other`, a method given by its name.
    let method = format!("(drop (call $set-method {request} (i32.const 9) (i32.const 65536) (i32.const 1000000)))");
    let authority =
        format!("(drop (call $set-authority {request} (i32.const 1) (i32.const 65536) (i32.const 1000000)))");
    for body in [header, &method, &authority] {
        let taken = taken_by_repeating(1_000_000, body, http);
        assert!(taken < 100 << 20, "{taken} by {body}");
    }
}

#[test]
fn writing_terabytes_of_zeroes_uses_little_host_memory() {
    let stdout = |guest: Guest| {
        guest
            .wit_import("wasi:cli/stdout@0.2.12")
            .import("wasi:cli/stdout@0.2.12", "get-stdout", "(result i32)")
            .import(
                "wasi:io/streams@0.2.12",
                "[method]output-stream.write-zeroes",
                "(param i32 i64 i32)",
            )
    };
    let zeros = "(call $write-zeroes (call $get-stdout) (i64.const 0x10000000000) (i32.const 1032))";
    let taken = taken_by_repeating(0, zeros, stdout);
    assert!(taken < 10 << 20, "{taken}");
}

#[tokio::test]
async fn polling_many_tasks_with_many_arrivals_ends_soon() {
    // A guest has at most 100,000 handles, and borrowed ones count twice.
    const POLLABLES: u32 = 40_000;
    let guest = Guest::orchestrator()
        .wit_import("windlass:durable/orchestration-poll@0.1.0")
        .durable("create-timer", "(param i64) (result i32)")
        .import(
            "windlass:durable/orchestration-poll@0.1.0",
            "subscribe",
            "(param i32) (result i32)",
        )
        .import("wasi:io/poll@0.2.12", "poll", "(param i32 i32 i32)")
        .run_first(&format!(
            "(drop (memory.grow (i32.const 10)))
            (local.set $j (call $create-timer (i64.const 5000)))
            (loop $l
                (i32.store (i32.add (i32.const 131072) (i32.shl (local.get $i) (i32.const 2)))
                    (call $subscribe (local.get $j)))
                (local.set $i (i32.add (local.get $i) (i32.const 1)))
                (br_if $l (i32.lt_u (local.get $i) (i32.const {POLLABLES}))))
            (call $poll (i32.const 131072) (i32.const {POLLABLES}) (i32.const 1032))"
        ));
    let sandbox = sandbox_with(|options| options.turn_fuel = 100_000_000);
    let module = sandbox.module(guest.build()).await;
    let mut run = Run::new(&sandbox.sandbox, &module, "Echo", "\"hello\"");
    let arrivals = || (0..10_000).map(|event| raised("nobody-waits", event)).collect();
    let before = cpu_time_of_this_thread();
    for _ in 0..3 {
        run.turn(arrivals()).unwrap();
        assert_eq!(run.ended(), None);
    }
    let taken = cpu_time_of_this_thread() - before;
    assert!(taken < Duration::from_secs(10), "{taken:?}");
}

/// CPU time, which does not depend on other processes like wall-clock time.
fn cpu_time_of_this_thread() -> Duration {
    let times = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    let on_cpu = times.split(' ').next().unwrap();
    Duration::from_nanos(on_cpu.parse().unwrap())
}
