//! Tests of tenants that make the host work for them: with inputs that are slow to check, with calls of the host that are
//! cheap for the guest, and with long replays. The work costs them fuel, and a neighbour is served meanwhile.

use std::time::{Duration, Instant};

use futures::future::join_all;
use harness::World;
use reqwest::Method;
use serde_json::{Value, json};

/// How many times to measure.
const SAMPLES: usize = 15;

/// The longest time that a neighbour may wait for others: several of their turns, which may use up all their fuel.
const OTHERS: Duration = Duration::from_secs(8);

/// A host whose default tenant attacks, and a neighbour.
struct Attack {
    world: World,
    /// A client's key of the neighbour.
    neighbour: String,
    /// What the neighbour waits for without an attack.
    quiet: Latency,
}

/// What the neighbour waits for.
#[derive(Debug)]
struct Latency {
    /// Its chain of activities, in half of the cases and at most.
    chain: Duration,
    longest_chain: Duration,
    /// The health of the host, in half of the cases.
    health: Duration,
}

impl Attack {
    async fn begin(modules: &[&str]) -> Self {
        Self::begin_with(modules, &[]).await
    }

    async fn begin_with(modules: &[&str], args: &[&str]) -> Self {
        let mut world = World::start_with(modules, args).await;
        world.guard().await;
        world.create_tenant("neighbour").await;
        let deployer = world.create_key("neighbour", "deployer").await;
        world.deploy_as(&deployer, &["bench", "bench_activities"]).await;
        let neighbour = world.create_key("neighbour", "client").await;
        // Warms the host up.
        latency(&world, &neighbour).await;
        Self {
            quiet: latency(&world, &neighbour).await,
            neighbour,
            world,
        }
    }

    async fn latency(&self) -> Latency {
        latency(&self.world, &self.neighbour).await
    }

    /// Asserts that no chain of the neighbour took much longer than without an attack.
    fn neighbour_was_served(&self, latency: &Latency) {
        let allowed = OTHERS + 50 * self.quiet.chain;
        assert!(latency.longest_chain < allowed, "{latency:?}, {:?}", self.quiet);
    }
}

async fn latency(world: &World, neighbour: &str) -> Latency {
    let (mut chains, mut healths) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let begun = Instant::now();
        world.is_healthy().await;
        healths.push(begun.elapsed());
        let path = "/v1/orchestrations/BenchChain?wait=30";
        let begun = Instant::now();
        let start = world.request_as(Some(neighbour), Method::POST, path);
        let ended = world.send(start.json("n")).await.expect(200);
        assert_eq!(ended["output"], "n", "{ended:#}");
        chains.push(begun.elapsed());
    }
    chains.sort_unstable();
    healths.sort_unstable();
    Latency {
        chain: chains[SAMPLES / 2],
        longest_chain: chains[SAMPLES - 1],
        health: healths[SAMPLES / 2],
    }
}

/// An object with one name that takes long to check: a tenth of a second.
fn slow_input() -> Value {
    json!({ (slow_name()): 1 })
}

fn slow_name() -> String {
    "ab".repeat(400)
}

#[tokio::test]
async fn clients_whose_inputs_are_slow_to_check_do_not_delay_others() {
    const CLIENTS: usize = 40;
    let attack = Attack::begin(&["hostile_slow_schema"]).await;
    let world = &attack.world;
    let start = |input: Value| {
        let request = world.request_as(world.key(), Method::POST, "/v1/orchestrations/HostileSlowInput");
        world.send(request.json(&input))
    };
    // A much longer name is refused without a check.
    start(json!({ "ab".repeat(400_000): 1 }))
        .await
        .refused(400, "invalid-input");
    let ends_at = Instant::now() + Duration::from_secs(8);
    let clients = join_all((0..CLIENTS).map(async |_| {
        let mut codes = Vec::new();
        while Instant::now() < ends_at {
            codes.push(start(slow_input()).await.status);
        }
        codes
    }));
    let (codes, latency) = tokio::join!(clients, attack.latency());
    let codes = codes.concat();
    assert!(codes.iter().all(|code| [202, 429].contains(code)), "{codes:?}");
    assert!(codes.contains(&202), "{codes:?}");
    assert!(
        latency.chain < 5 * attack.quiet.chain + Duration::from_millis(200),
        "{latency:?}, {:?}",
        attack.quiet
    );
    assert!(
        latency.health < 5 * attack.quiet.health + Duration::from_millis(100),
        "{latency:?}, {:?}",
        attack.quiet
    );
    attack.world.stop().await;
}

#[tokio::test]
async fn calls_whose_inputs_are_slow_to_check_use_up_the_fuel_of_their_turn() {
    const INSTANCES: usize = 4;
    let attack = Attack::begin(&["hostile_slow_schema"]).await;
    let input = json!({ "calls": 1_000, "name": slow_name() });
    let ids: Vec<String> = (0..INSTANCES).map(|n| format!("slow-{n}")).collect();
    for id in &ids {
        attack.world.begin("HostileCallsSlowInputs", id, &input).await;
    }
    let latency = attack.latency().await;
    for id in &ids {
        assert_eq!(attack.world.failure_of(id).await["type"], "windlass.fuel-exhausted");
    }
    attack.neighbour_was_served(&latency);
    let few = json!({ "calls": 1, "name": slow_name() });
    assert_eq!(attack.world.run("HostileCallsSlowInputs", &few).await, 1);
    attack.world.stop().await;
}

#[tokio::test]
async fn replays_of_turns_with_many_host_calls_leave_room_for_others() {
    const INSTANCES: usize = 6;
    let mut attack = Attack::begin(&["hostile_orchestrations"]).await;
    let too_many = json!({ "turns": 1, "calls": 1_000_000_000_u64 });
    let failure = attack.world.run_failing("HostileAsksForTheTime", &too_many).await;
    assert_eq!(failure["type"], "windlass.fuel-exhausted", "{failure:#}");
    let ids: Vec<String> = (0..INSTANCES).map(|n| format!("asks-{n}")).collect();
    let input = json!({ "turns": 5, "calls": 1_000_000 });
    for id in &ids {
        attack.world.begin("HostileAsksForTheTime", id, &input).await;
    }
    for id in &ids {
        attack
            .world
            .once(id, "five turns", |instance| instance["turns"].as_u64() >= Some(5))
            .await;
    }
    attack.world.crash().await;
    for id in &ids {
        attack.world.raise(id, "go", Value::Null).await;
    }
    let latency = attack.latency().await;
    for id in &ids {
        assert_eq!(attack.world.output_of(id).await, Value::Null);
    }
    attack.neighbour_was_served(&latency);
    attack.world.stop().await;
}

#[tokio::test]
async fn a_turn_that_withdraws_tens_of_thousands_of_waits_ends_soon() {
    const INSTANCES: usize = 2;
    let attack = Attack::begin(&["hostile_orchestrations"]).await;
    let ids: Vec<String> = (0..INSTANCES).map(|n| format!("withdraws-{n}")).collect();
    for id in &ids {
        attack.world.begin("HostileWithdraw", id, &json!(40_000)).await;
    }
    let latency = attack.latency().await;
    for id in &ids {
        assert_eq!(attack.world.output_of(id).await, 40_000);
    }
    attack.neighbour_was_served(&latency);
    attack.world.stop().await;
}

#[tokio::test]
async fn turns_that_never_end_let_others_run() {
    // Each computes until its time is up; together they have many times the threads of a small machine.
    const TURNS: usize = 8;
    let limits = ["--turn-fuel", "100000000000", "--turn-timeout", "3s"];
    let attack = Attack::begin_with(&["hostile_orchestrations"], &limits).await;
    let ids: Vec<String> = (0..TURNS).map(|n| format!("endless-{n}")).collect();
    for id in &ids {
        attack.world.begin("HostileTurnLoopLater", id, &Value::Null).await;
    }
    attack.latency().await;
    for id in &ids {
        let status = attack.world.status(id).await["runtimeStatus"].clone();
        assert!(
            status == "Running" || status == "Pending",
            "{id} has ended before the neighbour: {status}"
        );
    }
    for id in &ids {
        let failure = attack.world.failure_of(id).await;
        assert_eq!(failure["type"], "windlass.fuel-exhausted", "{failure:#}");
    }
    attack.world.stop().await;
}
