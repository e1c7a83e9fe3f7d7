//! Tests of entities, whose operations a [`Step`] gives out and takes back, as in the engine.

mod module;
mod uploads;

use std::collections::VecDeque;
use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering},
};
use std::time::Duration;

use crate::entity::{Effect, EntityGuest as _, Interrupt, Ran, Step, StepEnd, StepLimits};
use crate::memory::Pool;
use crate::model::{
    ActivityOptions, EntityId, ExecutionNumber, Failure, FunctionName, InstanceNumber, LogLevel, ModuleNumber,
    Operation, Payload, ReplyTo, TaskId, TenantId, Timestamp, failure::types,
};
use crate::replay::{Directory, HostUnavailable, Pause, ResolvedActivity, ResolvedEntity, ResolvedOrchestration};
use crate::sandbox::{ComponentEntity, Module};

use super::{TestSandbox, guests::Guest, memory, orchestrators::Run, sandbox, sandbox_with};
use module::{EntityModule, KEEP, spin};

/// A directory with every function and every entity except `nobody`.
struct Everything;

impl Directory for Everything {
    fn activity(&self, _: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedActivity, Failure> {
        Ok(ResolvedActivity {
            module: ModuleNumber(1),
            defaults: ActivityOptions::default(),
        })
    }

    fn orchestration(&self, _: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedOrchestration, Failure> {
        Ok(ResolvedOrchestration {
            module: ModuleNumber(1),
        })
    }

    fn entity_module(&self, name: &FunctionName) -> Result<ResolvedEntity, Failure> {
        match name.as_str() {
            "nobody" => Err(Failure::new(types::UNKNOWN_FUNCTION, "no such entity")),
            _ => Ok(ResolvedEntity {
                module: ModuleNumber(2),
            }),
        }
    }
}

fn limits() -> StepLimits {
    StepLimits {
        payload_bytes: 1_000,
        state_bytes: 100,
        effects: 10,
        effect_bytes: 1_000,
        step_bytes: 1 << 20,
        log_bytes: 10_000,
        log_lines: 100,
    }
}

/// A step of the entity `Account`, whose state is `"old"`, with operations of these names and inputs.
fn step(operations: &[(&str, &str)]) -> Step {
    step_of(EntityId::new("Account", "Ada").unwrap(), operations, [7; 32])
}

fn step_of(entity: EntityId, operations: &[(&str, &str)], seed: [u8; 32]) -> Step {
    let operations = operations.iter().map(|(name, input)| Operation {
        name: (*name).into(),
        input: Payload::parse(input, 1_000).unwrap(),
        reply_to: Some(ReplyTo::Task {
            instance: InstanceNumber(1),
            execution: ExecutionNumber::FIRST,
            task: TaskId(1),
        }),
        section: None,
        due_at: None,
    });
    Step::new(
        entity,
        Some(Payload::of(&"old")),
        operations.collect::<VecDeque<_>>(),
        Timestamp(1_234),
        seed,
        Arc::new(Everything),
        limits(),
    )
}

fn guest(sandbox: &TestSandbox, module: &Module) -> ComponentEntity {
    sandbox.sandbox.start_entity(module, memory()).unwrap()
}

/// The outputs, and the types of the failures.
fn outcomes(end: &StepEnd) -> Vec<Result<&str, &str>> {
    let applied = end.applied.iter();
    applied
        .map(|applied| match &applied.outcome {
            Ok(output) => Ok(output.as_str()),
            Err(failure) => Err(failure.error_type.as_str()),
        })
        .collect()
}

fn logs(end: &StepEnd) -> Vec<(LogLevel, &str)> {
    end.logs
        .iter()
        .map(|line| (line.level, line.message.as_str()))
        .collect()
}

fn state(end: &StepEnd) -> Option<&str> {
    end.state.as_ref().map(Payload::as_str)
}

/// Applies operations like the engine, with a new run after each failure of the guest. Also returns how the runs ended.
fn apply(mut guest: ComponentEntity, mut step: Step) -> (StepEnd, Vec<Ran>) {
    let mut runs = Vec::new();
    loop {
        let ran = guest.run(&mut step).unwrap();
        runs.push(ran.clone());
        if !step.guest_ended(ran.broke) {
            return (step.end(), runs);
        }
    }
}

async fn applied(sandbox: &TestSandbox, module: &EntityModule, operations: &[(&str, &str)]) -> (StepEnd, Vec<Ran>) {
    let module = sandbox.module(module.build()).await;
    apply(guest(sandbox, &module), step(operations))
}

/// The message of the only failed operation.
fn message(end: &StepEnd) -> &str {
    let mut failures = end.applied.iter().filter_map(|applied| applied.outcome.as_ref().err());
    let failure = failures.next().expect("an operation has failed");
    assert_eq!(failures.next(), None);
    &failure.message
}

#[tokio::test]
async fn one_instance_applies_all_operations_of_a_step() {
    let sandbox = sandbox();
    let module = EntityModule::new();
    let operations = [
        ("count", "null"),
        ("read", "null"),
        ("set", "7"),
        ("read", "null"),
        ("count", "null"),
    ];
    let (end, runs) = applied(&sandbox, &module, &operations).await;
    assert_eq!(outcomes(&end), [Ok("1"), Ok("\"old\""), Ok("7"), Ok("7"), Ok("5")]);
    assert_eq!((state(&end), end.changes, end.left.len()), (Some("7"), 1, 0));
    assert_eq!((runs.len(), runs[0].broke.as_ref()), (1, None));
    assert!((1..20_000).contains(&runs[0].fuel), "{}", runs[0].fuel);
}

#[tokio::test]
async fn statics_do_not_outlive_a_step() {
    let sandbox = sandbox();
    let module = sandbox.module(EntityModule::new().build()).await;
    let mut guest = guest(&sandbox, &module);
    for _ in 0..2 {
        let mut step = step(&[("count", "null"), ("delete", "null")]);
        assert_eq!(guest.run(&mut step).unwrap().broke, None);
        assert!(!step.guest_ended(None));
        let end = step.end();
        assert_eq!(outcomes(&end), [Ok("1"), Ok("null")]);
        assert_eq!(end.state, None);
    }
}

#[tokio::test]
async fn a_guest_knows_its_entity_and_the_time() {
    let info = "(call $info (i32.const 2048))
        (call $quoted (i32.load (i32.const 2048)) (i32.load (i32.const 2052)))
        (if (i64.ne (i64.load (i32.const 2064)) (i64.const 1000)) (then unreachable))
        (if (i64.ne (i64.load (i32.const 2072)) (i64.const 100)) (then unreachable))
        (if (i64.ne (call $now-ms) (i64.const 1234)) (then unreachable))
        (if (i32.load8_u (i32.const 1044)) (then unreachable))";
    let module = EntityModule::new()
        .context("info", "(param i32)")
        .context("now-ms", "(result i64)")
        .on("info", info)
        .on("name", "(call $quoted (local.get $name) (local.get $name_len))")
        .on("key", "(call $quoted (local.get $key) (local.get $key_len))");
    let (end, _) = applied(&sandbox(), &module, &[("info", "1"), ("name", "1"), ("key", "1")]).await;
    assert_eq!(outcomes(&end), [Ok("\"Account\""), Ok("\"Account\""), Ok("\"Ada\"")]);
}

#[tokio::test]
async fn an_operation_that_traps_fails_alone() {
    let module = EntityModule::new()
        .signalling()
        .on("trap", "(call $signal) unreachable");
    let operations = [("signal", "1"), ("count", "1"), ("trap", "1"), ("count", "1")];
    let (end, runs) = applied(&sandbox(), &module, &operations).await;
    assert_eq!(
        outcomes(&end),
        [Ok("1"), Ok("2"), Err(types::TRAP), Ok("1")],
        "a new guest goes on"
    );
    assert!(message(&end).contains("unreachable"), "{}", message(&end));
    assert_eq!((runs.len(), end.effects.len(), state(&end)), (2, 1, Some("\"old\"")));
    let Effect::Signal { entity, operation, .. } = &end.effects[0] else {
        panic!("it is a signal");
    };
    assert_eq!(entity.to_string(), "@other@x");
    assert_eq!((operation.name.as_str(), operation.input.as_str()), ("poke", "1"));
    assert_eq!(operation.due_at, Some(Timestamp(5_000)));
    assert!(runs.iter().all(|run| run.fuel > 0));
}

#[tokio::test]
async fn a_failed_operation_and_a_refused_output_leave_the_state() {
    let module = EntityModule::new()
        .on(
            "fail",
            "(drop (call $complete-operation (i32.const 1) (local.get $operation) (i32.const 4) (local.get $input) (local.get $input_len)
                (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0) (i32.const 0)))",
        )
        .on(
            "bad",
            "(if (call $complete (local.get $operation) (i32.const 3) (i32.const 2) (i32.const 0) (i32.const 0)) (then unreachable))",
        );
    let operations = [("fail", "12"), ("bad", "1"), ("count", "1")];
    let (end, runs) = applied(&sandbox(), &module, &operations).await;
    assert_eq!(outcomes(&end), [Err("fail"), Err(types::PAYLOAD), Ok("3")]);
    let failure = end.applied[0].outcome.as_ref().unwrap_err();
    assert_eq!((failure.message.as_str(), failure.non_retryable), ("12", true));
    assert_eq!((runs.len(), state(&end)), (1, Some("\"old\"")));
}

#[tokio::test]
async fn each_operation_has_its_own_fuel() {
    let sandbox = sandbox();
    let module = EntityModule::new()
        .on("burn", &format!("{} {KEEP}", spin(1_000_000)))
        .on("loop", "(loop $for_ever (br $for_ever))");
    let (end, runs) = applied(&sandbox, &module, &[("burn", "1"), ("loop", "2"), ("count", "3")]).await;
    assert_eq!(outcomes(&end), [Ok("1"), Err(types::FUEL), Ok("1")]);
    assert_eq!(message(&end), "the guest used up its 10000000 units of fuel");
    // The fuel of the first run is that of both operations.
    assert!((14_000_000..20_000_000).contains(&runs[0].fuel), "{runs:?}");
    assert!(runs[1].fuel < 10_000, "{runs:?}");
}

#[tokio::test]
async fn a_step_that_has_used_the_fuel_of_an_operation_gives_out_no_more() {
    let sandbox = sandbox();
    let module = EntityModule::new().on("burn", &format!("{} {KEEP}", spin(1_000_000)));
    let operations = [("burn", "1"), ("burn", "2"), ("burn", "3"), ("burn", "4")];
    let (end, runs) = applied(&sandbox, &module, &operations).await;
    assert_eq!(outcomes(&end), [Ok("1"), Ok("2")]);
    let left: Vec<_> = end.left.iter().map(|operation| operation.input.as_str()).collect();
    assert_eq!((left, runs.len()), (vec!["3", "4"], 1));

    let slow = EntityModule::new().start(&spin(1_900_000));
    let (end, runs) = applied(&sandbox, &slow, &[("count", "1"), ("count", "2")]).await;
    assert!(runs[0].fuel > 9_000_000, "{runs:?}");
    assert_eq!(outcomes(&end), [Ok("1"), Ok("2")]);
}

#[tokio::test]
async fn the_work_of_the_host_uses_the_fuel_of_the_operation() {
    let sandbox = sandbox();
    let module = EntityModule::new().context("new-uuid", "(param i32)").on(
        "uuids",
        "(loop $for_ever (global.set $heap (i32.const 65536)) (call $new-uuid (i32.const 2048)) (br $for_ever))",
    );
    let (end, runs) = applied(&sandbox, &module, &[("uuids", "1"), ("count", "1")]).await;
    assert_eq!(outcomes(&end), [Err(types::FUEL), Ok("1")]);
    assert!((10_000_000..20_000_000).contains(&runs[0].fuel), "{runs:?}");

    // The outcome is refused if the guest and the host together have used more than the fuel.
    let both = EntityModule::new().context("new-uuid", "(param i32)").on(
        "both",
        &format!(
            "(local.set $i (i32.const 60000))
                 (loop $again
                     (global.set $heap (i32.const 65536))
                     (call $new-uuid (i32.const 2048))
                     (br_if $again (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))
                 {} {KEEP}",
            spin(900_000)
        ),
    );
    let (end, _) = applied(&sandbox, &both, &[("both", "1"), ("count", "1")]).await;
    assert_eq!(outcomes(&end), [Err(types::FUEL), Ok("1")]);
}

#[tokio::test]
async fn a_guest_that_asks_for_operations_for_ever_is_stopped() {
    let module = EntityModule::new().end("(br $next)");
    let (end, runs) = applied(&sandbox(), &module, &[("count", "1")]).await;
    assert_eq!(outcomes(&end), [Ok("1")]);
    assert_eq!(runs.len(), 1);
    let (level, line) = logs(&end)[0];
    assert_eq!(level, LogLevel::Warn);
    assert!(line.ends_with("used up its 10000000 units of fuel"), "{line}");
}

#[tokio::test]
async fn an_operation_that_takes_too_long_is_stopped_even_with_fuel_left() {
    let sandbox = sandbox_with(|options| {
        options.turn_fuel = u64::MAX / 4;
        options.turn_timeout = Duration::from_millis(100);
    });
    let module = EntityModule::new().on("loop", "(loop $for_ever (br $for_ever))");
    let module = sandbox.module(module.build()).await;
    let mut guest = guest(&sandbox, &module);
    let pauses = Arc::new(AtomicU32::new(0));
    let counted = pauses.clone();
    let pause: Pause = Arc::new(move || {
        // A pause alone is longer than the operation may take, but does not count.
        if counted.fetch_add(1, Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(110));
        }
    });
    guest.pause_with(pause);
    let (end, _) = apply(guest, step(&[("count", "1"), ("loop", "2"), ("count", "3")]));
    assert_eq!(outcomes(&end), [Ok("1"), Err(types::FUEL), Ok("1")]);
    assert_eq!(
        message(&end),
        "the guest ran for longer than a turn or an operation may take"
    );
    assert!(pauses.load(Ordering::Relaxed) > 2, "{pauses:?}");
}

#[tokio::test]
async fn imports_out_of_order_fail_the_operation() {
    let next = "(call $next-operation (i32.const 2048))";
    let module = EntityModule::new()
        .on("next", next)
        .on("twice", &format!("{KEEP} {KEEP}"));
    let (end, _) = applied(&sandbox(), &module, &[("next", "1"), ("count", "1")]).await;
    assert_eq!(outcomes(&end), [Err(types::TRAP), Ok("1")]);
    assert_eq!(
        message(&end),
        "the entity asked for an operation before it gave the outcome of the last one"
    );
    let (end, _) = applied(&sandbox(), &module, &[("twice", "1"), ("count", "1")]).await;
    assert_eq!(outcomes(&end), [Ok("1"), Ok("1")]);
    assert!(
        logs(&end)[0].1.ends_with("gave an outcome although no operation runs"),
        "{:?}",
        end.logs
    );

    let module = EntityModule::new().on("return", "return");
    let (end, runs) = applied(&sandbox(), &module, &[("return", "1"), ("count", "1")]).await;
    assert_eq!(outcomes(&end), [Err(types::TRAP), Ok("1")]);
    assert_eq!(
        message(&end),
        "the entity returned before it gave the outcome of the operation"
    );
    assert_eq!(runs[0].broke, None);
}

#[tokio::test]
async fn start_up_code_has_no_step() {
    let sandbox = sandbox();
    let module = EntityModule::new()
        .context("now-ms", "(result i64)")
        .item("(func $s (drop (call $now-ms))) (start $s)");
    let refused = sandbox.sandbox.inspect(module.build().into()).await.unwrap_err();
    assert_eq!(refused.code(), "module-describe-failed");
    let reason = "not allowed in start-up code or in `describe`";
    assert!(refused.to_string().ends_with(reason), "{refused}");
}

#[tokio::test]
async fn a_guest_that_exceeds_its_memory_fails() {
    let module = EntityModule::new().on(
        "grow",
        "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
    );
    let (end, _) = applied(&sandbox(), &module, &[("grow", "1"), ("count", "1")]).await;
    assert_eq!(outcomes(&end), [Err(types::MEMORY), Ok("1")]);
    assert_eq!(message(&end), "the guest exceeded its limit of 4194304 bytes of memory");
}

#[tokio::test]
async fn a_host_without_memory_is_not_a_failure_of_the_guest() {
    let sandbox = sandbox();
    let module = EntityModule::new().on("grow", &format!("(drop (memory.grow (i32.const 32))) {KEEP}"));
    let module = sandbox.module(module.build()).await;
    let pool = Pool::new(1 << 20);
    let held = pool.try_take(TenantId::DEFAULT, 512 << 10).unwrap();
    let mut poor = sandbox.sandbox.start_entity(&module, held).unwrap();
    let unavailable = poor.run(&mut step(&[("grow", "1")])).unwrap_err();
    assert!(matches!(unavailable, HostUnavailable::NoMemory { needed } if needed > 2 << 20));
    drop(poor);
    assert_eq!(pool.usage_of(TenantId::DEFAULT).used, 0);
}

#[tokio::test]
async fn an_entity_runs_while_orchestrations_occupy_all_their_slots() {
    let sandbox = sandbox();
    let sleeper = Guest::orchestrator()
        .durable("create-timer", "(param i64) (result i32)")
        .durable("wait", "(param i32)")
        .run_first("(drop (call $create-timer (i64.const 5000))) (call $wait (i32.const 1024))");
    let orchestrator = sandbox.module(sleeper.build()).await;
    let run = || Run::new(&sandbox.sandbox, &orchestrator, "Echo", "1");
    let mut orchestrations: Vec<_> = (0..4).map(|_| run()).collect();
    for orchestration in &mut orchestrations {
        orchestration.turn(vec![]).unwrap();
    }
    assert!(run().turn(vec![]).is_err());
    let module = EntityModule::new().on("grow", &format!("(drop (memory.grow (i32.const 32))) {KEEP}"));
    let module = sandbox.module(module.build()).await;
    let (end, _) = apply(guest(&sandbox, &module), step(&[("grow", "1")]));
    assert_eq!(outcomes(&end), [Ok("1")]);
}

/// An entity that uses clocks and `poll`.
fn sleeper() -> EntityModule {
    const CLOCK: &str = "wasi:clocks/monotonic-clock@0.2.12";
    const POLL: &str = "wasi:io/poll@0.2.12";
    EntityModule::new()
        .wit_import(CLOCK)
        .import(CLOCK, "subscribe-duration", "(param i64) (result i32)")
        .import(CLOCK, "now", "(result i64)")
        .import(POLL, "[method]pollable.block", "(param i32)")
        .import(POLL, "[method]pollable.ready", "(param i32) (result i32)")
        .import(POLL, "poll", "(param i32 i32 i32)")
        .import(POLL, "[resource-drop]pollable", "(param i32)")
}

#[tokio::test]
async fn an_entity_cannot_sleep() {
    let module = sleeper()
        .on("sleep", "(call $block (call $subscribe-duration (i64.const 1)))")
        .on(
            "poll",
            "(i32.store (i32.const 2048) (call $subscribe-duration (i64.const 1)))
             (call $poll (i32.const 2048) (i32.const 1) (i32.const 2060))",
        );
    for operation in ["sleep", "poll"] {
        let (end, _) = applied(&sandbox(), &module, &[(operation, "1"), ("count", "1")]).await;
        assert_eq!(outcomes(&end), [Err(types::TRAP), Ok("1")]);
        assert!(message(&end).starts_with("an entity cannot wait"), "{}", message(&end));
    }
}

#[tokio::test]
async fn what_is_ready_can_be_polled_and_the_clock_stands_still() {
    let module = sleeper().on(
        "poll",
        &format!(
            "(if (i64.ne (call $now) (i64.const 1234000000)) (then unreachable))
             (call $block (call $subscribe-duration (i64.const 0)))
             (i32.store (i32.const 2048) (call $subscribe-duration (i64.const 1000000000)))
             (i32.store (i32.const 2052) (call $subscribe-duration (i64.const 0)))
             (if (call $ready (i32.load (i32.const 2048))) (then unreachable))
             (if (i32.eqz (call $ready (i32.load (i32.const 2052)))) (then unreachable))
             (call $poll (i32.const 2048) (i32.const 2) (i32.const 2060))
             (if (i32.ne (i32.load (i32.const 2064)) (i32.const 1)) (then unreachable))
             (if (i32.ne (i32.load (i32.load (i32.const 2060))) (i32.const 1)) (then unreachable))
             (call $pollable (i32.load (i32.const 2048)))
             (if (i64.ne (call $now) (i64.const 1234000000)) (then unreachable))
             {KEEP}"
        ),
    );
    let (end, _) = applied(&sandbox(), &module, &[("poll", "1")]).await;
    assert_eq!(outcomes(&end), [Ok("1")], "{:?}", end.logs);
}

#[tokio::test]
async fn randomness_comes_from_the_seed_of_the_step() {
    const RANDOM: &str = "wasi:random/random@0.2.12";
    let module = EntityModule::new()
        .context("new-uuid", "(param i32)")
        .wit_import(RANDOM)
        .import(RANDOM, "get-random-u64", "(result i64)")
        .on(
            "uuid",
            "(call $new-uuid (i32.const 2048))
             (call $quoted (i32.load (i32.const 2048)) (i32.load (i32.const 2052)))",
        )
        .on(
            "random",
            // A digit for each of three draws, so that the output is JSON.
            "(i64.store (i32.const 2048) (i64.or (i64.const 0x313131) (i64.and (i64.const 0x070707) (call $get-random-u64))))
             (drop (call $complete (i32.const 2048) (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 0)))",
        );
    let sandbox = sandbox();
    let module = sandbox.module(module.build()).await;
    let draw = |seed: u8| {
        let operations = [
            ("uuid", "1"),
            ("uuid", "1"),
            ("random", "1"),
            ("random", "1"),
            ("random", "1"),
        ];
        let account = EntityId::new("Account", "Ada").unwrap();
        let (end, _) = apply(guest(&sandbox, &module), step_of(account, &operations, [seed; 32]));
        let outputs = end.applied.into_iter().map(|applied| applied.outcome.unwrap());
        outputs.map(|output| output.as_str().to_owned()).collect::<Vec<_>>()
    };
    let first = draw(1);
    assert_eq!(first[0].len(), 38);
    assert_ne!(first[0], first[1]);
    assert_eq!(draw(1), first);
    assert_ne!(draw(2), first);
}

#[tokio::test]
async fn output_and_log_lines_go_to_the_log_of_the_step() {
    const STREAMS: &str = "wasi:io/streams@0.2.12";
    let module = EntityModule::new()
        .context("log", "(param i32 i32 i32)")
        .wit_import("wasi:cli/stdout@0.2.12")
        .import("wasi:cli/stdout@0.2.12", "get-stdout", "(result i32)")
        .import(
            STREAMS,
            "[method]output-stream.blocking-write-and-flush",
            "(param i32 i32 i32 i32)",
        )
        .item(r#"(data (i32.const 3000) "one\ntwo")"#)
        .on(
            "print",
            &format!(
                "(call $blocking-write-and-flush (call $get-stdout) (i32.const 3000) (i32.const 7) (i32.const 2048))
                 (call $log (i32.const 4) (local.get $input) (local.get $input_len))
                 {KEEP}"
            ),
        );
    let (end, _) = applied(&sandbox(), &module, &[("print", "1")]).await;
    assert_eq!(
        logs(&end),
        [(LogLevel::Info, "one"), (LogLevel::Error, "1"), (LogLevel::Info, "two")]
    );
}

#[tokio::test]
async fn an_operation_can_start_orchestrations_and_signal_within_limits() {
    let start =
        "(call $start-orchestration (local.get $operation) (i32.const 5) (local.get $input) (local.get $input_len)
             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 2048))
         (call $quoted (i32.load (i32.const 2048)) (i32.load (i32.const 2052)))";
    let module = EntityModule::new()
        .signalling()
        .context("start-orchestration", "(param i32 i32 i32 i32 i32 i32 i32 i32)")
        .on("start", start)
        .on("many", "(loop $for_ever (call $signal) (br $for_ever))");
    let (end, _) = applied(&sandbox(), &module, &[("start", "1"), ("many", "1"), ("count", "1")]).await;
    assert_eq!(outcomes(&end)[1..], [Err(types::LIMIT), Ok("1")]);
    assert_eq!(message(&end), "an operation may signal and start 10 times");
    let [
        Effect::Start {
            function, instance_id, ..
        },
    ] = end.effects.as_slice()
    else {
        panic!("one orchestration was started: {:?}", end.effects);
    };
    assert_eq!(function.as_str(), "start");
    assert_eq!(outcomes(&end)[0], Ok(format!("\"{}\"", instance_id.as_str()).as_str()));
}

#[tokio::test]
async fn only_modules_of_entities_are_entities() {
    let sandbox = sandbox();
    let module = sandbox.module(Guest::orchestrator().build()).await;
    let refused = sandbox.sandbox.start_entity(&module, memory());
    assert!(matches!(refused.map(drop), Err(HostUnavailable::Module(_))));
    let module = sandbox.module(EntityModule::new().build()).await;
    let refused = sandbox
        .sandbox
        .start_orchestrator(&module, super::orchestrators::limits(), memory());
    assert!(matches!(refused.map(drop), Err(HostUnavailable::Module(_))));
}

#[test]
fn an_interrupt_is_kept_by_the_step() {
    let mut step = step(&[]);
    assert!(matches!(
        step.complete(Err(Failure::new("x", "y"))),
        Err(Interrupt::OutOfOrder(_))
    ));
    assert!(!step.guest_ended(None));
}

#[tokio::test]
async fn a_panic_belongs_to_its_operation() {
    let module = EntityModule::new()
        .context("log", "(param i32 i32 i32)")
        .item(r#"(data (i32.const 3000) "panicked at a.rs:1:1: no")"#)
        .on(
            "caught",
            &format!("(call $log (i32.const 4) (i32.const 3000) (i32.const 24)) {KEEP}"),
        )
        .on(
            "panic",
            "(call $log (i32.const 4) (i32.const 3000) (i32.const 24)) unreachable",
        )
        .on("trap", "unreachable");
    let sandbox = sandbox();
    let (end, _) = applied(&sandbox, &module, &[("caught", "1"), ("trap", "1")]).await;
    assert!(message(&end).contains("unreachable"), "{}", message(&end));
    let (end, _) = applied(&sandbox, &module, &[("count", "1"), ("panic", "1")]).await;
    assert_eq!(message(&end), "panicked at a.rs:1:1: no");
}

#[tokio::test]
async fn a_guest_learns_the_name_of_its_entity_again_after_the_module_was_loaded() {
    let sandbox = sandbox();
    let module = EntityModule::new()
        .entity("Bank Vault", None, &[])
        .on("name", "(call $quoted (local.get $name) (local.get $name_len))");
    let module = sandbox.module(module.build()).await;
    assert!(module.entity_names().get().is_none());
    for (entity, expected) in [("BANK vault", "\"Bank Vault\""), ("account", "\"Account\"")] {
        let mut step = step_of(EntityId::new(entity, "x").unwrap(), &[("name", "1")], [7; 32]);
        guest(&sandbox, &module).run(&mut step).unwrap();
        assert_eq!(outcomes(&step.end()), [Ok(expected)]);
    }
    let mut missing = step_of(EntityId::new("other", "x").unwrap(), &[("name", "1")], [7; 32]);
    let unavailable = guest(&sandbox, &module).run(&mut missing).unwrap_err();
    assert_eq!(
        unavailable.to_string(),
        "the module cannot be loaded: it describes no entity \"other\""
    );
}
