//! Tests of many objects that are within their limits one by one: together they stay within the memory budget of the
//! host, others are served meanwhile, and all of them complete.

use futures::future::join_all;
use harness::{World, until};
use reqwest::Method;
use serde_json::{Value, json};

const MODULES: &[&str] = &[
    "hostile_orchestrations",
    "hostile_activities",
    "bench",
    "bench_activities",
];

/// A host with the smallest budget.
const BUDGET: &[&str] = &["--memory", "128MiB"];

/// The size of the budget, in bytes.
const BUDGET_BYTES: u64 = 128 << 20;

/// How much more resident memory the host may take beside the budget: what it had before is not included.
const MARGIN_BYTES: u64 = BUDGET_BYTES / 2;

/// A host whose default tenant attacks, and a neighbour.
struct Attack {
    world: World,
    /// A client's key of the neighbour.
    neighbour: String,
    /// Resident memory before the attack, in bytes.
    resident_bytes: u64,
    /// What one turn takes that is larger than the budget has for all turns, in bytes.
    turn_bytes: u64,
}

impl Attack {
    async fn begin() -> Self {
        let mut world = World::start_with(MODULES, BUDGET).await;
        world.guard().await;
        world.create_tenant("neighbour").await;
        let deployer = world.create_key("neighbour", "deployer").await;
        world.deploy_as(&deployer, &["bench", "bench_activities"]).await;
        let attack = Self {
            neighbour: world.create_key("neighbour", "client").await,
            resident_bytes: 0,
            turn_bytes: 0,
            world,
        };
        attack.neighbour_is_served().await;
        Self {
            resident_bytes: attack.world.resident_bytes(),
            ..attack
        }
    }

    /// Asserts that a chain of the neighbour completes.
    async fn neighbour_is_served(&self) {
        let path = "/v1/orchestrations/BenchChain?wait=30";
        let start = self.world.request_as(Some(&self.neighbour), Method::POST, path);
        let ended = self.world.send(start.json("n")).await.expect(200);
        assert_eq!(ended["output"], "n", "{ended:#}");
    }

    /// Starts instances of an orchestration that never ends, waits until `is_felt`, kills the host, and waits again: the
    /// neighbour is served before and after. Then terminates them.
    async fn withstands(
        mut self,
        orchestration: &str,
        input: Value,
        instances: usize,
        is_felt: impl AsyncFn(&Self) -> bool,
    ) {
        let ids: Vec<String> = (0..instances).map(|n| format!("attack-{n}")).collect();
        join_all(ids.iter().map(|id| self.world.begin(orchestration, id, &input))).await;
        self.once(&is_felt).await;
        self.neighbour_is_served().await;
        self.world.crash().await;
        self.neighbour_is_served().await;
        self.once(&is_felt).await;
        self.neighbour_is_served().await;
        for id in &ids {
            self.world
                .tell(&format!("/v1/instances/{id}/terminate"))
                .await
                .expect(202);
        }
        for id in &ids {
            let ended = self.world.end_of(id).await;
            assert_ne!(ended["runtimeStatus"], "Completed", "{ended:#}");
        }
        self.end().await;
    }

    /// Waits until a condition on the host is true.
    async fn once(&self, is_so: impl AsyncFn(&Self) -> bool) {
        until("the attack is felt", async || is_so(self).await.then_some(())).await;
    }

    /// Waits until the part of the budget has refused memory, or let somebody wait for it.
    async fn is_scarce(&self, part: &str) -> bool {
        self.memory("refused_total", part).await > 0.0
    }

    /// A number of the memory budget.
    async fn memory(&self, metric: &str, part: &str) -> f64 {
        let metrics = self.world.metrics().await;
        metrics.number(&format!("windlass_memory_{metric}{{part=\"{part}\"}}"))
    }

    /// Asserts that the host stayed within its budget, and stops it.
    async fn end(self) {
        let peak = self.world.peak_resident_bytes();
        let allowed = self.resident_bytes + BUDGET_BYTES + MARGIN_BYTES + self.turn_bytes;
        assert!(peak < allowed, "{} MiB of {} MiB", peak >> 20, allowed >> 20);
        self.world.is_healthy().await;
        self.world.stop().await;
    }
}

#[tokio::test]
async fn a_hundred_orchestrations_that_keep_much_memory_take_turns() {
    const INSTANCES: usize = 100;
    let mut attack = Attack::begin().await;
    let ids: Vec<String> = (0..INSTANCES).map(|n| format!("hoard-{n}")).collect();
    for id in &ids {
        attack
            .world
            .begin("HostileHoard", id, &json!({ "mib": 30, "ms": 300 }))
            .await;
    }
    attack.neighbour_is_served().await;
    assert_ne!(
        attack.world.status(&ids[INSTANCES - 1]).await["runtimeStatus"],
        "Completed"
    );
    // All of them are due at once at the next start.
    attack.world.crash().await;
    attack.neighbour_is_served().await;
    for id in &ids {
        assert_eq!(attack.world.output_of(id).await, 30);
    }
    assert!(attack.memory("refused_total", "guests").await > 0.0);
    attack.end().await;
}

#[tokio::test]
async fn calls_without_memory_wait_in_the_history_of_their_instance() {
    let attack = Attack::begin().await;
    let load = json!({ "activities": 8_000, "text": "x" });
    attack.world.begin("BenchFanout", "wide", &load).await;
    attack.neighbour_is_served().await;
    assert_eq!(attack.world.output_of("wide").await, 8_000);
    assert!(attack.memory("refused_total", "calls").await > 0.0);
    assert!(attack.memory("most_bytes", "calls").await <= attack.memory("limit_bytes", "calls").await);
    attack.end().await;
}

#[tokio::test]
async fn thousands_of_children_wait_in_the_store_for_their_memory() {
    const CHILDREN: u64 = 2_000;
    let mut attack = Attack::begin().await;
    attack.world.begin("HostileSpread", "parent", &json!(CHILDREN)).await;
    attack.neighbour_is_served().await;
    attack.world.crash().await;
    attack.neighbour_is_served().await;
    assert_eq!(attack.world.output_of("parent").await, CHILDREN);
    // The outstanding tasks of the parent may exceed what is left.
    let allowed = attack.memory("limit_bytes", "instances").await + 2_000.0 * CHILDREN as f64;
    assert!(attack.memory("most_bytes", "instances").await <= allowed);
    attack.end().await;
}

#[tokio::test]
async fn large_results_that_nobody_takes_wait_in_the_store() {
    let load = json!({ "count": 5_000, "bytes": 900_000 });
    let attack = Attack::begin().await;
    attack
        .withstands("HostileUntakenResults", load, 4, async |attack| {
            attack.is_scarce("calls").await
        })
        .await;
}

#[tokio::test]
async fn an_orchestration_that_needs_more_memory_than_a_tenant_may_have_runs_by_itself() {
    let world = World::start_with(MODULES, BUDGET).await;
    let load = json!({ "count": 50, "bytes": 900_000 });
    world.begin("HostileUntakenResults", "large", &load).await;
    let needed = 50.0 * 900_000.0;
    until("it has all results, and goes on", async || {
        let metrics = world.metrics().await;
        let is_over = metrics.number("windlass_activity_calls") == 0.0;
        let is_large = metrics.number("windlass_memory_most_bytes{part=\"guests\"}") > needed;
        (is_over && is_large).then_some(())
    })
    .await;
    let turns = world.status("large").await["turns"].as_u64();
    until("it takes turns", async || {
        (world.status("large").await["turns"].as_u64() > turns).then_some(())
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn calls_of_an_instance_whose_results_pile_up_get_no_slots() {
    const CALLS: u32 = 200;
    const BYTES: u32 = 90_000;
    const SLOTS: u32 = 4;
    let slots = SLOTS.to_string();
    let world = World::start_with(MODULES, &[BUDGET, &["--activity-slots", &slots]].concat()).await;
    let metric = async |name: &str| world.metrics().await.number(&format!("windlass_{name}"));
    let all_ran = async || {
        until("all calls run", async || {
            (metric("activity_calls").await == 0.0).then_some(())
        })
        .await;
    };
    let load = json!({ "count": CALLS, "bytes": BYTES });

    world.begin("HostileUntakenResults", "long-turns", &load).await;
    all_ran().await;
    // The calls themselves, a result more than the limit, and what ran when the limit was reached. Each turn takes long
    // enough for many more.
    let limit = metric("memory_limit_bytes{part=\"calls\"}").await / 16.0;
    let allowed = f64::from(CALLS * (4 << 10)) + limit + f64::from((1 + SLOTS) * (BYTES + 1_000));
    let most = metric("memory_most_bytes{part=\"calls\"}").await;
    assert!(most <= allowed, "{most} of {allowed} bytes");
    world.tell("/v1/instances/long-turns/terminate").await.expect(202);

    // What is suspended may stay so for long, and takes its results later.
    world.begin("HostileUntakenResults", "suspended", &load).await;
    world.tell("/v1/instances/suspended/suspend").await.expect(202);
    all_ran().await;
    world.stop().await;
}

#[tokio::test]
async fn calls_of_ended_executions_take_no_memory() {
    let load = json!({ "count": 20_000, "bytes": 0 });
    let attack = Attack::begin().await;
    attack
        .withstands("HostileOutstandingCalls", load, 4, async |attack| {
            let execution = attack.world.status("attack-3").await["execution"].as_u64();
            execution >= Some(3) && attack.is_scarce("calls").await
        })
        .await;
}

#[tokio::test]
async fn large_turns_wait_for_those_that_are_being_written() {
    let attack = Attack::begin().await;
    let quota = json!({ "quotas": { "maxStoredBytes": "512MiB" } });
    let set = attack.world.request(Method::PATCH, "/v1/tenants/default").json(&quota);
    attack.world.send(set).await.expect(200);
    let load = json!({ "count": 2, "bytes": 900_000 });
    attack
        .withstands("HostileSendsEvents", load, 20, async |attack| {
            attack.is_scarce("turns").await
        })
        .await;
}

#[tokio::test]
async fn turns_larger_than_what_the_budget_has_for_all_turns_run_one_by_one() {
    const COPIES: u64 = 8;
    let load = json!({ "count": 15, "bytes": 900_000 });
    let mut attack = Attack::begin().await;
    attack.turn_bytes = COPIES * 15 * 900_000;
    attack
        .withstands("HostileLargeTurns", load, 4, async |attack| {
            let statuses = join_all(["attack-0", "attack-3"].map(|id| attack.world.status(id))).await;
            statuses.iter().all(|status| status["execution"].as_u64() >= Some(3))
        })
        .await;
}

#[tokio::test]
async fn instances_larger_than_what_the_budget_has_for_all_take_turns_even_if_their_tenants_hold_little() {
    const CALLS: u64 = 30_000;
    let attack = Attack::begin().await;
    let load = json!({ "count": CALLS, "bytes": 0 });
    let mut clients = Vec::new();
    for tenant in ["red", "green", "blue"] {
        attack.world.create_tenant(tenant).await;
        let deployer = attack.world.create_key(tenant, "deployer").await;
        attack.world.deploy_as(&deployer, &MODULES[..2]).await;
        clients.push(attack.world.create_key(tenant, "client").await);
    }
    let start = async |client: &String| {
        let path = "/v1/orchestrations/HostileOutstandingCalls?instanceId=many";
        let start = attack.world.request_as(Some(client), Method::POST, path);
        attack.world.send(start.json(&load)).await.expect(202);
    };
    join_all(clients.iter().map(start)).await;
    let execution = async |client: &String| {
        let status = attack.world.request_as(Some(client), Method::GET, "/v1/instances/many");
        attack.world.send(status).await.expect(202)["execution"].as_u64()
    };
    let all_continue = async || {
        let executions = join_all(clients.iter().map(execution)).await;
        executions.iter().all(|execution| *execution >= Some(3)).then_some(())
    };
    until("all instances have continued as new twice", all_continue).await;
    attack.neighbour_is_served().await;
    // One instance may exceed the limit, and take more in advance than it needs.
    let size = 1_000.0 * CALLS as f64;
    let allowed = attack.memory("limit_bytes", "instances").await + 2.2 * size;
    let most = attack.memory("most_bytes", "instances").await;
    assert!(most <= allowed, "{most} of {allowed} bytes");
    attack.end().await;
}

#[tokio::test]
async fn large_failures_that_are_retried_for_ever_take_little_memory() {
    let attack = Attack::begin().await;
    let load = json!({ "count": 100, "bytes": 400_000 });
    attack
        .withstands("HostileCallsFailing", load, 5, async |attack| {
            let history = attack.world.history("attack-0").await;
            let answer = history.to_string();
            assert!(answer.len() < 8 << 20, "{} bytes", answer.len());
            answer.contains("fails on purpose")
        })
        .await;
}
