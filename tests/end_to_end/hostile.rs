//! Tests of modules that misbehave while they run: they fail without affecting the host or other instances.

use futures::future::join_all;
use harness::{World, module, until};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MODULES: &[&str] = &[
    "hostile_orchestrations",
    "hostile_activities",
    "bench",
    "bench_activities",
];

/// Arguments with low limits.
const LIMITS: &[&str] = &[
    "--turn-timeout",
    "5s",
    "--turn-fuel",
    "200000000",
    "--activity-fuel",
    "100000000",
    "--activity-memory",
    "32MiB",
    "--orchestrator-memory",
    "32MiB",
];

/// How much more resident memory the host may have after a test than before, in bytes: started threads, pages that the
/// allocator keeps, loaded modules, and 30 KiB in each of up to 3,900 slots of orchestrations.
const MARGIN_BYTES: u64 = 160 << 20;

/// The state of a host before a module misbehaves on it.
struct Before {
    resident_bytes: u64,
}

impl Before {
    /// Starts a bystander, an instance that must not be affected, and measures the memory of the host.
    async fn of(world: &World) -> Self {
        // Warms the host up: modules and threads stay in memory after the first run.
        assert_eq!(world.run("BenchChain", &json!("first")).await, "first");
        world.begin("BenchParked", "bystander", &Value::Null).await;
        world.once_status("bystander", "Running").await;
        Self {
            resident_bytes: world.resident_bytes(),
        }
    }

    /// Asserts that the host serves requests, the bystander completes, and memory has been released.
    async fn holds_again(self, world: World) {
        world.is_healthy().await;
        assert_eq!(world.run("BenchChain", &json!("alive")).await, "alive");
        world.raise("bystander", "go", json!("on")).await;
        assert_eq!(world.output_of("bystander").await, "on");
        let most = self.resident_bytes + MARGIN_BYTES;
        until(&format!("less than {most} bytes resident"), async || {
            (world.resident_bytes() < most).then_some(())
        })
        .await;
        world.stop().await;
    }
}

/// Runs an activity, and asserts that it fails with one of the error types.
async fn activity_fails_with(world: &World, call: Value, error_types: &[&str]) {
    let outcome = world.run("CallHostileActivity", &call).await;
    let error_type = outcome["errorType"].as_str().unwrap_or("none");
    assert!(error_types.contains(&error_type), "{call}: {outcome:#}");
}

#[tokio::test]
async fn endless_activities_run_out_of_fuel_or_time_out() {
    let world = World::start_with(MODULES, LIMITS).await;
    let before = Before::of(&world).await;
    activity_fails_with(
        &world,
        json!({ "activity": "HostileLoop" }),
        &["windlass.fuel-exhausted"],
    )
    .await;
    let sleep = json!({ "activity": "HostileSleep", "attemptTimeoutMs": 500 });
    activity_fails_with(&world, sleep, &["windlass.timeout"]).await;
    before.holds_again(world).await;
}

#[tokio::test]
async fn a_loop_with_plenty_of_fuel_times_out() {
    let world = World::start(MODULES).await;
    let before = Before::of(&world).await;
    let call = json!({ "activity": "HostileLoop", "attemptTimeoutMs": 500 });
    activity_fails_with(&world, call, &["windlass.timeout"]).await;
    before.holds_again(world).await;
}

#[tokio::test]
async fn broken_activities_fail_and_others_continue() {
    let world = World::start_with(MODULES, LIMITS).await;
    let before = Before::of(&world).await;
    for (activity, error_types) in [
        ("HostileMemory", &["windlass.memory-exhausted", "windlass.trap"][..]),
        ("HostilePanic", &["windlass.trap"]),
        ("HostileTrap", &["windlass.trap"]),
        ("HostileExit", &["windlass.trap"]),
        ("HostileStackOverflow", &["windlass.trap"]),
        ("HostileLogFlood", &["windlass.fuel-exhausted"]),
        ("HostilePrintFlood", &["windlass.fuel-exhausted"]),
    ] {
        let call = json!({ "activity": activity });
        activity_fails_with(&world, call, error_types).await;
    }
    let output = json!({ "activity": "HostileOutput", "input": 2 });
    activity_fails_with(&world, output, &["windlass.invalid-payload"]).await;
    let long_line = json!({ "activity": "HostileLongLine", "input": 10 });
    activity_fails_with(&world, long_line, &["windlass.invalid-payload"]).await;
    let unknown = json!({ "activity": "NobodyOffersThis" });
    activity_fails_with(&world, unknown, &["windlass.unknown-function"]).await;
    before.holds_again(world).await;
}

#[tokio::test]
async fn broken_orchestrations_fail_and_others_continue() {
    let world = World::start_with(MODULES, LIMITS).await;
    let before = Before::of(&world).await;
    for (function, input, error_types) in [
        ("HostileTurnLoop", json!(null), &["windlass.fuel-exhausted"][..]),
        ("HostileTurnLoopLater", json!(null), &["windlass.fuel-exhausted"]),
        (
            "HostileTurnMemory",
            json!(null),
            &["windlass.memory-exhausted", "windlass.trap"],
        ),
        ("HostileTurnPanic", json!(null), &["windlass.trap"]),
        ("HostileTurnTrap", json!(null), &["windlass.trap"]),
        ("HostileTurnExit", json!(null), &["windlass.trap"]),
        ("HostileTurnStackOverflow", json!(null), &["windlass.trap"]),
        ("HostileTurnLongLine", json!(10), &["windlass.invalid-payload"]),
        ("HostileTurnLogFlood", json!(null), &["windlass.fuel-exhausted"]),
        ("HostileWaitsForNothing", json!(null), &["windlass.waits-for-nothing"]),
        ("HostileUnknownActivity", json!(null), &["windlass.unknown-function"]),
        (
            "HostileStatus",
            json!(2),
            &["windlass.invalid-payload", "windlass.trap"],
        ),
        (
            "HostileTurnOutput",
            json!(2),
            &["windlass.invalid-payload", "windlass.trap"],
        ),
    ] {
        let failure = world.run_failing(function, &input).await;
        let error_type = failure["type"].as_str().unwrap_or("none");
        assert!(error_types.contains(&error_type), "{function}: {failure:#}");
    }
    before.holds_again(world).await;
}

#[tokio::test]
async fn orchestrations_fail_at_the_limits_of_the_host() {
    let world = World::start(MODULES).await;
    let before = Before::of(&world).await;
    let failure = world.run_failing("HostileTooManyTasks", &json!(null)).await;
    assert_eq!(failure["type"], "windlass.limit", "{failure:#}");
    let failure = world.run_failing("HostileStatus", &json!(48)).await;
    assert_eq!(failure["type"], "windlass.memory-exhausted", "{failure:#}");
    before.holds_again(world).await;
}

#[tokio::test]
async fn an_endless_orchestration_does_not_starve_others_and_can_be_terminated() {
    let world = World::start_with(MODULES, LIMITS).await;
    let before = Before::of(&world).await;
    world.begin("HostileRunaway", "runaway", &json!(null)).await;
    world
        .once("runaway", "more than a hundred executions", |instance| {
            instance["execution"].as_u64() > Some(100)
        })
        .await;
    assert_eq!(world.run("BenchChain", &json!("alive")).await, "alive");
    world.tell("/v1/instances/runaway/terminate").await.expect(202);
    world.once_status("runaway", "Terminated").await;
    world.purge("runaway").await;
    before.holds_again(world).await;
}

/// How many guests were created since the host started, to run the first turn of an execution.
async fn guests_without_history(world: &World) -> f64 {
    let metrics = world.metrics().await;
    metrics.number("windlass_guests_started_total{history=\"none\"}")
}

#[tokio::test]
async fn a_turn_that_takes_the_host_down_three_times_makes_the_instance_stuck() {
    let endless = &["--turn-timeout", "10m", "--turn-fuel", "1000000000000000"];
    let mut world = World::start_with(MODULES, endless).await;
    let before = Before::of(&world).await;
    let mut guests = guests_without_history(&world).await;
    world.begin("HostileTurnLoop", "deadly", &json!(null)).await;
    // The first end does not count: it is not in a quiet period. Afterwards the turn runs by itself.
    for _ in 0..4 {
        until("the endless turn", async || {
            (guests_without_history(&world).await > guests).then_some(())
        })
        .await;
        assert_ne!(world.status("deadly").await["runtimeStatus"], "Stuck");
        world.crash().await;
        guests = 0.0;
    }
    let stuck = world.once_status("deadly", "Stuck").await;
    assert_eq!(stuck["stuck"]["code"], "took-host-down", "{stuck:#}");
    assert_eq!(world.run("BenchChain", &json!("alive")).await, "alive");
    // A stuck instance can be terminated and purged without running its guest.
    world.tell("/v1/instances/deadly/terminate").await.expect(202);
    world.once_status("deadly", "Terminated").await;
    world.purge("deadly").await;
    before.holds_again(world).await;
}

#[tokio::test]
async fn memory_used_by_many_guests_is_released() {
    let world = World::start_with(MODULES, LIMITS).await;
    let before = Before::of(&world).await;
    let guests = (0..12).map(async |_| {
        let activity = json!({ "activity": "HostileMemory" });
        activity_fails_with(&world, activity, &["windlass.memory-exhausted", "windlass.trap"]).await;
        world.run_failing("HostileTurnMemory", &json!(null)).await;
    });
    join_all(guests).await;
    assert!(
        world.peak_resident_bytes() > before.resident_bytes + (32 << 20),
        "the guests used no memory"
    );
    before.holds_again(world).await;
}

#[tokio::test]
async fn guests_have_no_files_no_environment_and_no_standard_input() {
    let world = World::start_with(MODULES, LIMITS).await;
    let before = Before::of(&world).await;
    let call = json!({ "activity": "HostileLooksAround" });
    assert_eq!(world.run("CallHostileActivity", &call).await["output"], json!([]));
    assert_eq!(world.run("HostileTurnLooksAround", &json!(null)).await, json!([]));
    before.holds_again(world).await;
}

/// Sends the beginning of a response that never ends, and returns when the client has closed the connection.
async fn never_ends(mut connection: TcpStream) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(connection.read_u8().await.expect("a request"));
    }
    let beginning = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\nx";
    connection.write_all(beginning).await.expect("the guest reads");
    // A reset also counts as closed.
    let _ = connection.read_u8().await;
}

#[tokio::test]
async fn open_connections_of_an_attempt_are_closed_when_it_ends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    let world = World::start_with(MODULES, &["--allow", &url]).await;
    let before = Before::of(&world).await;
    let call = json!({ "activity": "HostileKeepsResponses", "input": url, "attemptTimeoutMs": 3_000 });
    world.begin("CallHostileActivity", "keeper", &call).await;
    let (first, _) = listener.accept().await.expect("the guest connects");
    let mut kept = vec![tokio::spawn(never_ends(first))];
    let outcome = loop {
        tokio::select! {
            accepted = listener.accept() => kept.push(tokio::spawn(never_ends(accepted.expect("a connection").0))),
            outcome = world.output_of("keeper") => break outcome,
        }
    };
    assert_eq!(outcome["errorType"], "windlass.timeout", "{outcome:#}");
    assert!((2..=16).contains(&kept.len()), "{} connections", kept.len());
    for connection in kept {
        connection.await.expect("the host closes the connection");
    }
    before.holds_again(world).await;
}

#[tokio::test]
async fn a_fork_bomb_ends_when_its_module_is_deleted() {
    let world = World::start_with(MODULES, LIMITS).await;
    let before = Before::of(&world).await;
    world.begin("HostileForkBomb", "bomb", &json!(null)).await;
    let exist = async |statuses: &str, at_least: usize| {
        let path = format!("/v1/instances?name=HostileForkBomb&runtimeStatus={statuses}&limit=1000");
        let found = world.get(&path).await.expect(200);
        found["instances"].as_array().expect("a list").len() >= at_least
    };
    until("hundreds of instances", async || {
        exist("Pending,Running", 300).await.then_some(())
    })
    .await;
    assert_eq!(world.run("BenchChain", &json!("meanwhile")).await, "meanwhile");
    world.delete("/v1/modules/hostile_orchestrations").await.expect(204);
    let failure = world.failure_of("bomb").await;
    let causes = failure["causes"].as_array().expect("causes");
    let is_unknown_function = |failure: &Value| failure["type"] == "windlass.unknown-function";
    assert!(
        is_unknown_function(&failure) || causes.iter().any(is_unknown_function),
        "{failure:#}"
    );
    until("the end of all instances", async || {
        (!exist("Pending,Running", 1).await).then_some(())
    })
    .await;
    before.holds_again(world).await;
}

#[tokio::test]
async fn an_activity_bomb_overloads_the_host_until_it_reaches_its_own_limit() {
    let world = World::start_with(MODULES, &["--max-queued", "2000"]).await;
    let before = Before::of(&world).await;
    world.begin("HostileActivityBomb", "bomb", &json!(null)).await;
    let start = async || world.post("/v1/orchestrations/BenchChain", &json!("x")).await;
    let refused = until("a start that is refused", async || {
        let answer = start().await;
        (answer.status != 202).then_some(answer)
    })
    .await;
    refused.refused(503, "overloaded");
    // Existing instances continue.
    world.raise("bystander", "go", json!("on")).await;
    assert_eq!(world.output_of("bystander").await, "on");
    world.purge("bystander").await;
    // The instance fails when it reaches the limit on its own waiting calls.
    let failure = world.failure_of("bomb").await;
    assert_eq!(failure["type"], "windlass.limit", "{failure:#}");
    until("a start that is accepted", async || {
        (start().await.status == 202).then_some(())
    })
    .await;
    world.begin("BenchParked", "bystander", &Value::Null).await;
    before.holds_again(world).await;
}

/// Adds `count` core modules of a few bytes to a component. The data segments of each are nearly 1 MiB apart, so that
/// its compiled code, which contains an image of the memory, is much larger.
fn with_sparse_modules(component: Vec<u8>, count: usize) -> Vec<u8> {
    let module = [
        b"\0asm\x01\0\0\0".as_slice(),
        // A memory of 16 pages (1 MiB).
        b"\x05\x03\x01\x00\x10",
        // A data segment of one byte at 0, and one at 983,039.
        b"\x0b\x0f\x02\x00\x41\x00\x0b\x01a\x00\x41\xff\xff\x3b\x0b\x01b",
    ]
    .concat();
    // Section 1 of a component contains a core module.
    let section = [&[1, u8::try_from(module.len()).expect("it is small")], &module[..]].concat();
    [component, section.repeat(count)].concat()
}

#[tokio::test]
async fn an_upload_that_compiles_to_too_much_code_is_refused() {
    let world = World::start_with(MODULES, LIMITS).await;
    let before = Before::of(&world).await;
    let bomb = with_sparse_modules(module("std_everywhere"), 300);
    assert!(bomb.len() < 300_000, "{}", bomb.len());
    let problem = world.upload("bomb", bomb).await.refused(422, "module-compile-failed");
    let detail = problem["detail"].as_str().expect("a text");
    assert!(detail.contains("268435456 are allowed"), "{detail}");
    before.holds_again(world).await;
}
