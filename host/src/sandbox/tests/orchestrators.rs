//! Tests of orchestrators that the replay core drives, as in the engine.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use crate::model::{
    ActivityOptions, Arrival, Decision, EntityId, ExecutionNumber, Failure, FunctionName, LogLevel, ModuleNumber,
    ObservableLimits, Outcome, Payload, Started, TaskId, Timestamp, Turn, failure::types,
};
use crate::replay::{
    Directory, Execution, Guest as _, HostUnavailable, NewTurn, Pause, Player, ReplayError, ResolvedActivity,
    ResolvedEntity, ResolvedOrchestration, TurnLimits,
};
use crate::sandbox::{Module, OrchestratorGuest, Sandbox};

use super::{
    TestSandbox,
    guests::{Guest, imports_of_world},
    memory, sandbox, sandbox_with,
};

/// A directory with every function.
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

    fn entity_module(&self, _: &FunctionName) -> Result<ResolvedEntity, Failure> {
        Ok(ResolvedEntity {
            module: ModuleNumber(2),
        })
    }
}

pub(super) fn limits() -> ObservableLimits {
    ObservableLimits {
        memory_bytes: 4 << 20,
        payload_bytes: 1 << 20,
    }
}

fn started(function: &str, input: &str) -> Arc<Started> {
    Arc::new(Started {
        execution: ExecutionNumber::FIRST,
        function: function.parse().unwrap(),
        input: Payload::parse(input, 1 << 20).unwrap(),
        seed: [7; 32],
        limits: limits(),
        parent: None,
        not_before: None,
        events: Vec::new(),
    })
}

/// Runs a module's guest turn by turn.
pub(super) struct Run {
    pub(super) player: Player<OrchestratorGuest>,
    started: Arc<Started>,
    pub(super) now: Timestamp,
    pub(super) turns: Vec<NewTurn>,
}

impl Run {
    pub(super) fn new(sandbox: &Sandbox, module: &Module, function: &str, input: &str) -> Self {
        Self::with_pause(sandbox, module, function, input, None)
    }

    fn with_pause(sandbox: &Sandbox, module: &Module, function: &str, input: &str, pause: Option<Pause>) -> Self {
        let started = started(function, input);
        let execution = Execution::new(
            "test".parse().unwrap(),
            started.clone(),
            Arc::new(Everything),
            TurnLimits::default(),
        );
        let mut guest = sandbox.start_orchestrator(module, limits(), memory()).unwrap();
        if let Some(pause) = pause {
            guest.pause_with(pause);
        }
        Self {
            player: Player::new(guest, execution),
            started,
            now: Timestamp(1_000),
            turns: Vec::new(),
        }
    }

    pub(super) fn turn(&mut self, mut arrivals: Vec<Arrival>) -> Result<&NewTurn, HostUnavailable> {
        if self.turns.is_empty() {
            arrivals.insert(0, Arrival::Started(Box::new((*self.started).clone())));
        }
        self.turns.push(self.player.advance(self.now, arrivals)?);
        Ok(self.turns.last().unwrap())
    }

    pub(super) fn ended(&self) -> Option<Outcome> {
        match self.turns.last()?.turn.decisions.last()? {
            Decision::Complete { output } => Some(Ok(output.clone())),
            Decision::Fail { failure } => Some(Err(failure.clone())),
            _ => None,
        }
    }

    fn failure(&self) -> Failure {
        self.ended().expect("it has ended").expect_err("it has failed")
    }

    pub(super) fn logs(&self) -> Vec<(LogLevel, &str)> {
        self.turns
            .iter()
            .flat_map(|turn| &turn.logs)
            .map(|line| (line.level, line.message.as_str()))
            .collect()
    }
}

pub(super) async fn run(sandbox: &TestSandbox, guest: &Guest) -> Run {
    let module = sandbox.module(guest.build()).await;
    Run::new(&sandbox.sandbox, &module, "Echo", "\"hello\"")
}

/// A guest that sets a timer and waits for it.
fn sleeper() -> Guest {
    Guest::orchestrator()
        .durable("create-timer", "(param i64) (result i32)")
        .durable("wait", "(param i32)")
        .run_first("(drop (call $create-timer (i64.const 5000))) (call $wait (i32.const 1024))")
}

#[tokio::test]
async fn a_run_ends_with_its_output() {
    let sandbox = sandbox();
    let mut run = run(&sandbox, &Guest::orchestrator()).await;
    let turn = run.turn(vec![]).unwrap();
    assert!(turn.turn.fuel > 0 && turn.turn.fuel < 10_000, "{}", turn.turn.fuel);
    assert_eq!(run.ended().unwrap().unwrap().as_str(), "\"hello\"");
}

#[tokio::test]
async fn waiting_suspends_the_guest_until_a_turn_with_a_matching_arrival() {
    let sandbox = sandbox();
    let mut run = run(&sandbox, &sleeper()).await;
    let first = run.turn(vec![]).unwrap();
    assert_eq!(
        first.turn.decisions,
        [Decision::CreateTimer {
            task: TaskId(1),
            fire_at: Timestamp(5_000)
        }]
    );
    assert_eq!(
        run.turn(vec![]).unwrap().turn.decisions,
        [],
        "a turn without arrivals decides nothing"
    );
    run.turn(vec![Arrival::TimerFired { task: TaskId(1) }]).unwrap();
    assert_eq!(run.ended().unwrap().unwrap().as_str(), "\"hello\"");
}

#[tokio::test]
async fn a_history_is_replayed_by_another_guest() {
    let sandbox = sandbox();
    let module = sandbox.module(sleeper().build()).await;
    let mut first = Run::new(&sandbox.sandbox, &module, "Echo", "1");
    first.turn(vec![]).unwrap();
    let mut second = Run::new(&sandbox.sandbox, &module, "Echo", "1");
    second.player.replay(&first.turns[0].turn).unwrap();
    second.turns.clone_from(&first.turns);
    second.turn(vec![Arrival::TimerFired { task: TaskId(1) }]).unwrap();
    assert_eq!(second.ended().unwrap().unwrap().as_str(), "1");
}

#[tokio::test]
async fn the_time_is_constant_within_a_turn_and_sleeping_is_a_durable_timer() {
    let guest = Guest::orchestrator()
        .wit_import("wasi:clocks/monotonic-clock@0.2.12")
        .import("wasi:clocks/monotonic-clock@0.2.12", "now", "(result i64)")
        .import(
            "wasi:clocks/monotonic-clock@0.2.12",
            "subscribe-duration",
            "(param i64) (result i32)",
        )
        .import("wasi:io/poll@0.2.12", "[method]pollable.block", "(param i32)")
        .import("wasi:io/poll@0.2.12", "[resource-drop]pollable", "(param i32)")
        .run_first(
            "(local.set $k (call $now))
             (call $block (call $subscribe-duration (i64.const 0)))
             (call $pollable (call $subscribe-duration (i64.const 1)))
             (call $block (call $subscribe-duration (i64.const 2500000001)))
             (if (i64.ne (i64.sub (call $now) (local.get $k)) (i64.const 2501000000)) (then unreachable))",
        );
    let sandbox = sandbox();
    let mut run = run(&sandbox, &guest).await;
    let first = run.turn(vec![]).unwrap();
    let timer = |task, fire_at| Decision::CreateTimer {
        task: TaskId(task),
        fire_at: Timestamp(fire_at),
    };
    let cancelled = Decision::CancelTask { task: TaskId(1) };
    assert_eq!(first.turn.decisions, [timer(1, 1_001), cancelled, timer(2, 3_501)]);
    run.now = Timestamp(3_501);
    run.turn(vec![Arrival::TimerFired { task: TaskId(2) }]).unwrap();
    assert_eq!(run.ended().unwrap().unwrap().as_str(), "\"hello\"");
}

#[tokio::test]
async fn dropped_guests_return_their_memory_to_the_system() {
    const GUESTS: usize = 64;
    const TAKEN: usize = 3 << 20;
    /// What a slot keeps of one memory, one or two tables and a stack.
    const KEPT: usize = 56 << 10;
    let sandbox = sandbox_with(|options| options.hot_guests = 64);
    let guest = Guest::orchestrator()
        .durable("create-timer", "(param i64) (result i32)")
        .durable("wait", "(param i32)")
        .run_first(&format!(
            "(drop (memory.grow (i32.const 48)))
             (memory.fill (i32.const 131072) (i32.const 120) (i32.const {TAKEN}))
             (drop (call $create-timer (i64.const 5000))) (call $wait (i32.const 1024))"
        ));
    let module = sandbox.module(guest.build()).await;
    // Other tests of this process allocate and free memory at the same time, so a single measurement may be wrong.
    let given_back = (0..5).map(|_| {
        let mut guests: Vec<_> = (0..GUESTS)
            .map(|_| Run::new(&sandbox.sandbox, &module, "Echo", "1"))
            .collect();
        for guest in &mut guests {
            guest.turn(vec![]).unwrap();
            assert_eq!(guest.ended(), None);
        }
        let before = resident_bytes();
        drop(guests);
        before.saturating_sub(resident_bytes())
    });
    let given_back: Vec<usize> = given_back.collect();
    assert!(
        given_back.iter().any(|bytes| *bytes > GUESTS * TAKEN / 2),
        "{given_back:?}"
    );

    let pool = sandbox
        .sandbox
        .0
        .orchestrators
        .engine
        .pooling_allocator_metrics()
        .unwrap();
    assert_eq!(pool.memories(), 0);
    let kept = pool.unused_memory_bytes_resident()
        + pool.unused_table_bytes_resident()
        + pool.unused_stack_bytes_resident().unwrap();
    assert!(kept <= GUESTS * KEPT, "{kept}");
}

/// The resident memory of this process in bytes.
fn resident_bytes() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let resident: usize = pages.split(' ').nth(1).unwrap().parse().unwrap();
    resident * 4096
}

#[tokio::test]
async fn an_event_loop_can_poll_a_task() {
    const POLL: &str = "windlass:durable/orchestration-poll@0.1.0";
    const SUBSCRIBE: (&str, &str) = ("subscribe", "(param i32) (result i32)");
    let current = Guest::orchestrator()
        .wit_import(POLL)
        .import(POLL, SUBSCRIBE.0, SUBSCRIBE.1);
    // Components from before the first release, which may still be stored.
    let draft = Guest::orchestrator().of_draft().durable(SUBSCRIBE.0, SUBSCRIBE.1);
    for guest in [current, draft] {
        let guest = guest
            .durable("create-timer", "(param i64) (result i32)")
            .import("wasi:io/poll@0.2.12", "[method]pollable.block", "(param i32)")
            .run_first("(call $block (call $subscribe (call $create-timer (i64.const 5000))))");
        let sandbox = sandbox();
        let mut run = run(&sandbox, &guest).await;
        run.turn(vec![]).unwrap();
        assert_eq!(run.ended(), None);
        run.turn(vec![Arrival::TimerFired { task: TaskId(1) }]).unwrap();
        assert_eq!(run.ended().unwrap().unwrap().as_str(), "\"hello\"");
    }
}

#[test]
fn only_the_world_with_polling_imports_wasi() {
    let plain = ["windlass:durable/types@0.1.0", "windlass:durable/orchestration@0.1.0"];
    for world in ["orchestrator-module", "orchestrator-module-with-events"] {
        assert_eq!(imports_of_world(world), plain, "{world}");
    }
    let polling = imports_of_world("orchestrator-module-with-poll");
    assert!(polling.contains(&"windlass:durable/orchestration-poll@0.1.0".to_owned()));
    assert!(polling.contains(&"wasi:io/poll@0.2.12".to_owned()));
}

#[tokio::test]
async fn the_output_of_a_guest_is_logged_line_by_line() {
    let stdout = "wasi:io/streams@0.2.12";
    let guest = Guest::orchestrator()
        .wit_import("wasi:cli/stdout@0.2.12")
        .import("wasi:cli/stdout@0.2.12", "get-stdout", "(result i32)")
        .import(
            stdout,
            "[method]output-stream.blocking-write-and-flush",
            "(param i32 i32 i32 i32)",
        )
        .item(r#"(data (i32.const 2048) "one\ntwo")"#)
        .run_first(
            "(call $blocking-write-and-flush (call $get-stdout) (i32.const 2048) (i32.const 7) (i32.const 1024))",
        );
    let sandbox = sandbox();
    let mut run = run(&sandbox, &guest).await;
    run.turn(vec![]).unwrap();
    assert_eq!(run.logs(), [(LogLevel::Info, "one"), (LogLevel::Info, "two")]);
}

#[tokio::test]
async fn entities_are_called_signalled_and_locked() {
    let entity = "(i32.const 3000) (i32.const 7) (i32.const 3007) (i32.const 3)
         (i32.const 3010) (i32.const 4) (local.get $input) (local.get $input_len)";
    let guest = Guest::orchestrator()
        .durable(
            "call-entity",
            "(param i32 i32 i32 i32 i32 i32 i32 i32) (result i32)",
        )
        .durable(
            "signal-entity",
            "(param i32 i32 i32 i32 i32 i32 i32 i32 i32 i64)",
        )
        .durable("lock-entities", "(param i32 i32) (result i32)")
        .durable("unlock-entities", "(param i32)")
        .item(
            r#"(data (i32.const 3000) "AccountAdapoke")
               (data (i32.const 3200) "\b8\0b\00\00\07\00\00\00\bf\0b\00\00\03\00\00\00\b8\0b\00\00\07\00\00\00\bf\0b\00\00\01\00\00\00")"#,
        )
        .run_first(&format!(
            "(drop (call $call-entity {entity}))
             (call $signal-entity {entity} (i32.const 0) (i64.const 0))
             (call $signal-entity {entity} (i32.const 1) (i64.const 5000))
             (call $unlock-entities (call $lock-entities (i32.const 3200) (i32.const 2)))"
        ));
    let sandbox = sandbox();
    let mut run = run(&sandbox, &guest).await;
    let turn = run.turn(vec![]).unwrap();
    let [ada, a] = ["Ada", "A"].map(|key| EntityId::new("account", key).unwrap());
    let input = Payload::of(&"hello");
    let signal = |due_at| Decision::SignalEntity {
        entity: ada.clone(),
        operation: "poke".into(),
        input: input.clone(),
        due_at,
        module: ModuleNumber(2),
    };
    assert_eq!(
        turn.turn.decisions[..5],
        [
            Decision::CallEntity {
                task: TaskId(1),
                entity: ada.clone(),
                operation: "poke".into(),
                input: input.clone(),
                section: None,
                module: ModuleNumber(2),
            },
            signal(None),
            signal(Some(Timestamp(5_000))),
            Decision::LockEntities {
                task: TaskId(2),
                entities: vec![(a, ModuleNumber(2)), (ada.clone(), ModuleNumber(2))],
            },
            Decision::UnlockEntities { task: TaskId(2) },
        ]
    );
}

#[tokio::test]
async fn each_entity_of_a_lock_costs_fuel() {
    let guest = Guest::orchestrator()
        .durable("lock-entities", "(param i32 i32) (result i32)")
        .run_first(
            "(drop (memory.grow (i32.const 10)))
             (drop (call $lock-entities (i32.const 131072) (i32.const 20000)))",
        );
    let sandbox = sandbox();
    let mut run = run(&sandbox, &guest).await;
    run.turn(vec![]).unwrap();
    assert_eq!(run.failure().error_type, types::FUEL);
}

#[tokio::test]
async fn waiting_for_nothing_is_a_failure() {
    let guest = Guest::orchestrator()
        .durable("wait", "(param i32)")
        .run_first("(call $wait (i32.const 1024))");
    let sandbox = sandbox();
    let mut run = run(&sandbox, &guest).await;
    run.turn(vec![]).unwrap();
    assert_eq!(run.failure().error_type, types::WAITS_FOR_NOTHING);
}

#[tokio::test]
async fn a_guest_that_crashes_fails_with_the_reason() {
    let exit = Guest::orchestrator()
        .wit_import("wasi:cli/exit@0.2.12")
        .import("wasi:cli/exit@0.2.12", "exit", "(param i32)")
        .run_first("(call $exit (i32.const 1))");
    let grow = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable";
    for (guest, error_type, message) in [
        (Guest::orchestrator().run("unreachable"), types::TRAP, "unreachable"),
        (
            Guest::orchestrator()
                .item("(func $f (call $f))")
                .run("(call $f) (i32.const 0)"),
            types::TRAP,
            "call stack",
        ),
        (
            Guest::orchestrator().run("(loop $l (br $l)) unreachable"),
            types::FUEL,
            "10000000 units of fuel",
        ),
        (Guest::orchestrator().run(grow), types::MEMORY, "4194304 bytes"),
        (exit, types::TRAP, "exit(1)"),
    ] {
        let sandbox = sandbox();
        let mut run = run(&sandbox, &guest).await;
        run.turn(vec![]).unwrap();
        let failure = run.failure();
        assert_eq!(failure.error_type, error_type);
        assert!(failure.message.contains(message), "{failure:?}");
    }
}

#[tokio::test]
async fn each_turn_has_its_own_fuel() {
    let spin = |count: u32| {
        format!(
            "(local.set $i (i32.const {count}))
             (loop $l (br_if $l (local.tee $i (i32.sub (local.get $i) (i32.const 1)))))"
        )
    };
    let turn = format!(
        "{} (drop (call $create-timer (i64.const 0))) (call $wait (i32.const 1024))",
        spin(1_000_000)
    );
    let guest = Guest::orchestrator()
        .durable("create-timer", "(param i64) (result i32)")
        .durable("wait", "(param i32)")
        .run_first(&turn.repeat(5));
    let sandbox = sandbox();
    let mut run = run(&sandbox, &guest).await;
    run.turn(vec![]).unwrap();
    for task in 1..=5 {
        run.turn(vec![Arrival::TimerFired { task: TaskId(task) }]).unwrap();
    }
    assert_eq!(run.ended().unwrap().unwrap().as_str(), "\"hello\"");
    let fuel: Vec<_> = run.turns.iter().map(|turn| turn.turn.fuel).collect();
    assert!(
        fuel[..5].iter().all(|fuel| (4_000_000..10_000_000).contains(fuel)),
        "{fuel:?}"
    );
    assert!(fuel[5] < 1_000, "{fuel:?}");
}

#[tokio::test]
async fn a_turn_that_takes_too_long_is_stopped_even_with_fuel_left() {
    let guest = Guest::orchestrator()
        .wit_import("wasi:random/random@0.2.12")
        .import("wasi:random/random@0.2.12", "get-random-bytes", "(param i64 i32)")
        .run("(loop $l (global.set $heap (i32.const 65536)) (call $get-random-bytes (i64.const 60000) (i32.const 1024)) (br $l)) unreachable");
    let sandbox = sandbox_with(|options| {
        options.turn_fuel = u64::MAX / 4;
        options.turn_timeout = Duration::from_millis(100);
    });
    let mut run = run(&sandbox, &guest).await;
    run.turn(vec![]).unwrap();
    assert_eq!(run.failure().error_type, types::FUEL);
}

#[tokio::test]
async fn the_pauses_of_a_turn_do_not_count_as_its_time() {
    let guest = Guest::orchestrator().run_first(
        "(local $n i32) (loop $l (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if $l (i32.ne (local.get $n) (i32.const 100000000))))",
    );
    let sandbox = sandbox_with(|options| {
        options.turn_fuel = u64::MAX / 4;
        options.turn_timeout = Duration::from_secs(3);
    });
    let module = sandbox.module(guest.build()).await;
    let pauses = Arc::new(AtomicU32::new(0));
    let counted = pauses.clone();
    let pause: Pause = Arc::new(move || {
        // The first pause alone is longer than a turn may take.
        if counted.fetch_add(1, Ordering::Relaxed) == 0 {
            std::thread::sleep(Duration::from_millis(3_100));
        }
    });
    let mut run = Run::with_pause(&sandbox.sandbox, &module, "Echo", "1", Some(pause));
    run.turn(vec![]).unwrap();
    assert!(pauses.load(Ordering::Relaxed) > 0, "it runs for longer than an epoch");
    assert_eq!(run.ended(), Some(Ok(Payload::parse("1", 10).unwrap())));
}

#[tokio::test]
async fn one_guest_too_many_is_not_a_failure_of_the_guest() {
    let sandbox = sandbox();
    let module = sandbox.module(sleeper().build()).await;
    let mut runs: Vec<_> = (0..5)
        .map(|_| Run::new(&sandbox.sandbox, &module, "Echo", "1"))
        .collect();
    for run in &mut runs[..4] {
        run.turn(vec![]).unwrap();
    }
    assert!(matches!(runs[4].turn(vec![]), Err(HostUnavailable::NoRoom(_))));
    runs.remove(0);
    let mut another = Run::new(&sandbox.sandbox, &module, "Echo", "1");
    another.turn(vec![]).unwrap();
}

#[tokio::test]
async fn a_replayed_turn_may_use_several_times_its_recorded_fuel() {
    let guest = Guest::orchestrator().run_first(
        "(local.set $i (i32.const 20000000))
         (loop $l (local.set $i (i32.sub (local.get $i) (i32.const 1))) (br_if $l (local.get $i)))",
    );
    let sandbox = sandbox_with(|options| options.turn_fuel = 1_000_000_000);
    let module = sandbox.module(guest.build()).await;
    let mut new = Run::new(&sandbox.sandbox, &module, "Echo", "\"hello\"");
    let row = new.turn(vec![]).unwrap().turn.clone();
    assert!(row.fuel > 20_000_000, "{}", row.fuel);
    let replay = |recorded: u64| {
        let row = Turn {
            fuel: recorded,
            ..row.clone()
        };
        Run::new(&sandbox.sandbox, &module, "Echo", "\"hello\"")
            .player
            .replay(&row)
    };
    assert_eq!(replay(row.fuel), Ok(()));
    assert_eq!(replay(row.fuel / 4), Ok(()));
    let ReplayError::Stuck(reason) = replay(1_000_000).unwrap_err() else {
        panic!("the host is available")
    };
    assert_eq!(reason.code, "fuel-on-replay");
    assert!(
        reason.message.ends_with("it used 1000000 at first"),
        "{}",
        reason.message
    );
}
