//! Tests of many objects that are within their limits one by one: together they stay within the memory budget of the
//! host, others are served meanwhile, and all of them complete.

use harness::{World, module};
use reqwest::Method;
use serde_json::json;

const MODULES: &[&str] = &["hostile_orchestrations", "bench", "bench_activities"];

/// A host with the smallest budget.
const BUDGET: &[&str] = &["--memory", "128MiB"];

/// The size of the budget, in bytes.
const BUDGET_BYTES: u64 = 128 << 20;

/// How much more resident memory the host may take beside the budget: what it had before is not included.
const MARGIN_BYTES: u64 = BUDGET_BYTES / 2;

/// A host whose default tenant attacks, and a neighbour.
struct Siege {
    world: World,
    /// A client's key of the neighbour.
    neighbour: String,
    /// Resident memory before the attack, in bytes.
    resident_bytes: u64,
}

impl Siege {
    async fn begin() -> Self {
        let mut world = World::start_with(MODULES, BUDGET).await;
        let key = async |world: &World, tenant: &str, role: &str| {
            let created = world.post("/v1/keys", &json!({ "tenant": tenant, "role": role })).await;
            created.expect(201)["key"].as_str().expect("a key").to_owned()
        };
        let admin = key(&world, "default", "admin").await;
        world.set_key(&admin);
        world
            .post("/v1/tenants", &json!({ "name": "neighbour" }))
            .await
            .expect(201);
        let deployer = key(&world, "neighbour", "deployer").await;
        for name in ["bench", "bench_activities"] {
            let upload = world.request_as(Some(&deployer), Method::PUT, &format!("/v1/modules/{name}"));
            world.send(upload.body(module(name))).await.expect(201);
        }
        let siege = Self {
            neighbour: key(&world, "neighbour", "client").await,
            resident_bytes: 0,
            world,
        };
        siege.neighbour_is_served().await;
        Self {
            resident_bytes: siege.world.resident_bytes(),
            ..siege
        }
    }

    /// Asserts that a chain of the neighbour completes.
    async fn neighbour_is_served(&self) {
        let path = "/v1/orchestrations/BenchChain?wait=30";
        let start = self.world.request_as(Some(&self.neighbour), Method::POST, path);
        let ended = self.world.send(start.json("n")).await.expect(200);
        assert_eq!(ended["output"], "n", "{ended:#}");
    }

    /// A number of the memory budget.
    async fn memory(&self, metric: &str, part: &str) -> f64 {
        let metrics = self.world.metrics().await;
        metrics.number(&format!("windlass_memory_{metric}{{part=\"{part}\"}}"))
    }

    /// Asserts that the host stayed within its budget, and stops it.
    async fn end(self) {
        let peak = self.world.peak_resident_bytes();
        let allowed = self.resident_bytes + BUDGET_BYTES + MARGIN_BYTES;
        assert!(peak < allowed, "{} MiB of {} MiB", peak >> 20, allowed >> 20);
        self.world.is_healthy().await;
        self.world.stop().await;
    }
}

#[tokio::test]
async fn a_hundred_orchestrations_that_keep_much_memory_take_turns() {
    const INSTANCES: usize = 100;
    let mut siege = Siege::begin().await;
    let ids: Vec<String> = (0..INSTANCES).map(|n| format!("hoard-{n}")).collect();
    for id in &ids {
        siege
            .world
            .begin("HostileHoard", id, &json!({ "mib": 30, "ms": 300 }))
            .await;
    }
    siege.neighbour_is_served().await;
    assert_ne!(
        siege.world.status(&ids[INSTANCES - 1]).await["runtimeStatus"],
        "Completed"
    );
    // All of them are due at once at the next start.
    siege.world.crash().await;
    siege.neighbour_is_served().await;
    for id in &ids {
        assert_eq!(siege.world.output_of(id).await, 30);
    }
    assert!(siege.memory("refused_total", "guests").await > 0.0);
    siege.end().await;
}

#[tokio::test]
async fn calls_without_memory_wait_in_the_history_of_their_instance() {
    let siege = Siege::begin().await;
    let load = json!({ "activities": 8_000, "text": "x" });
    siege.world.begin("BenchFanout", "wide", &load).await;
    siege.neighbour_is_served().await;
    assert_eq!(siege.world.output_of("wide").await, 8_000);
    assert!(siege.memory("refused_total", "calls").await > 0.0);
    assert!(siege.memory("most_bytes", "calls").await <= siege.memory("limit_bytes", "calls").await);
    siege.end().await;
}

#[tokio::test]
async fn thousands_of_children_wait_in_the_store_for_their_memory() {
    const CHILDREN: u64 = 2_000;
    let mut siege = Siege::begin().await;
    siege.world.begin("HostileSpread", "parent", &json!(CHILDREN)).await;
    siege.neighbour_is_served().await;
    siege.world.crash().await;
    siege.neighbour_is_served().await;
    assert_eq!(siege.world.output_of("parent").await, CHILDREN);
    // The outstanding tasks of the parent may exceed what is left.
    let allowed = siege.memory("limit_bytes", "instances").await + 2_000.0 * CHILDREN as f64;
    assert!(siege.memory("most_bytes", "instances").await <= allowed);
    siege.end().await;
}
