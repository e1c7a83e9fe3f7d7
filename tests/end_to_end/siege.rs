//! All hostile guests at once, from three tenants with quotas, on a host that is killed again and again: it stays within
//! its memory, and a fourth tenant is served.
//!
//! `make siege` runs it for ten minutes with a kill each minute; `WINDLASS_SIEGE_SECONDS` sets the time. The first half
//! minute measures the neighbour on the quiet host.

mod attackers;
mod neighbour;
mod probe;

use std::sync::Arc;
use std::time::Duration;

use harness::World;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use attackers::Attacker;
use neighbour::Neighbour;
use probe::Probe;

/// How long the siege lasts unless `WINDLASS_SIEGE_SECONDS` is set.
const SHORT: Duration = Duration::from_secs(20);
/// The time between two kills in a long siege. A short one has one kill in its middle.
const KILL_EVERY: Duration = Duration::from_secs(60);
/// How long the neighbour is measured before the attack in a long siege; a short one takes a tenth of its time.
const QUIET: Duration = Duration::from_secs(30);
/// The memory budget of the host in a long siege, and in a short one, in bytes.
const BUDGETS: (u64, u64) = (1 << 30, 512 << 20);
/// What 99 of 100 chains of the neighbour take at most in a long siege: twice the goal, because machines differ.
const LONGEST_CHAIN: Duration = Duration::from_secs(2);
/// How much longer half of the chains take under attack at most: twice the goal. The four tenants share the processors.
const SLOWER: u32 = 10;
/// The time between two looks at the host's memory.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// What one attacker may use.
const QUOTAS: &[(&str, u64)] = &[
    ("startsPerSecond", 5),
    ("maxActivities", 4),
    ("fuelPerMinute", 1_000_000_000),
    ("maxStoredBytes", 1 << 30),
    ("maxHistory", 64 << 20),
    ("maxModules", 5),
    ("maxModuleBytes", 20 << 20),
    ("activityMemory", 64 << 20),
    ("maxInstanceLog", 1 << 20),
];

/// Where the host listens; `None` while it is down.
type Address = watch::Receiver<Option<Arc<str>>>;

/// How long the siege lasts, and what the host has.
struct Plan {
    seconds: Duration,
    is_long: bool,
    budget_bytes: u64,
}

impl Plan {
    fn read() -> Self {
        let seconds = std::env::var("WINDLASS_SIEGE_SECONDS").ok();
        let seconds = seconds.map_or(SHORT, |text| {
            Duration::from_secs(text.parse().expect("WINDLASS_SIEGE_SECONDS is a number"))
        });
        let is_long = seconds > KILL_EVERY;
        let (long, short) = BUDGETS;
        Self {
            seconds,
            is_long,
            budget_bytes: if is_long { long } else { short },
        }
    }

    fn quiet(&self) -> Duration {
        QUIET.min(self.seconds / 10)
    }

    fn kill_every(&self) -> Duration {
        KILL_EVERY.min(self.seconds / 2)
    }

    /// What the process may have in memory, in bytes.
    fn most_resident_bytes(&self) -> u64 {
        self.budget_bytes + self.budget_bytes / 2
    }
}

/// A host under attack.
struct Siege {
    world: World,
    plan: Plan,
    address: watch::Sender<Option<Arc<str>>>,
    most_resident_bytes: u64,
    kills: u32,
}

impl Siege {
    async fn begin(plan: Plan) -> Self {
        let memory = plan.budget_bytes.to_string();
        let mut world = World::start_with(&[], &["--memory", &memory]).await;
        world.guard().await;
        let (address, _) = watch::channel(Some(world.url().into()));
        Self {
            most_resident_bytes: 0,
            kills: 0,
            world,
            plan,
            address,
        }
    }

    /// Creates a tenant with these quotas and modules, and returns a key for each role.
    async fn tenant(&self, name: &str, quotas: &[(&str, u64)], modules: &[&str]) -> Keys {
        let mut tenant = json!({ "name": name });
        tenant["quotas"] = quotas
            .iter()
            .map(|(name, value)| ((*name).to_owned(), json!(value)))
            .collect();
        self.world.post("/v1/tenants", &tenant).await.expect(201);
        let keys = Keys {
            client: self.world.create_key(name, "client").await,
            operator: self.world.create_key(name, "operator").await,
            deployer: self.world.create_key(name, "deployer").await,
        };
        self.world.deploy_as(&keys.deployer, modules).await;
        keys
    }

    /// Waits, and looks at the memory of the host meanwhile.
    ///
    /// # Panics
    /// If the host takes more memory than it may.
    async fn watch(&mut self, time: Duration) {
        let until = Instant::now() + time;
        let allowed = self.plan.most_resident_bytes();
        while Instant::now() < until {
            let resident = self.world.resident_bytes();
            self.most_resident_bytes = self.most_resident_bytes.max(resident);
            if resident >= allowed {
                let metrics = self.world.metrics().await;
                let parts = metrics.starting_with("windlass_memory_");
                panic!("{} MiB of {} MiB\n{parts}", resident >> 20, allowed >> 20);
            }
            sleep(LOOK_EVERY).await;
        }
    }

    /// Kills the host and starts it again.
    async fn kill(&mut self) {
        self.address.send_replace(None);
        self.world.crash().await;
        self.address.send_replace(Some(self.world.url().into()));
        self.kills += 1;
    }
}

/// The keys of a tenant.
struct Keys {
    client: String,
    operator: String,
    deployer: String,
}

#[tokio::test]
async fn all_attacks_at_once_leave_the_neighbour_served_and_the_host_within_its_memory() {
    let mut siege = Siege::begin(Plan::read()).await;
    let keys = siege.tenant("neighbour", &[], &["bench", "bench_activities"]).await;
    let neighbour = Arc::new(Neighbour::new(siege.address.subscribe(), keys.client));
    let served = tokio::spawn(Arc::clone(&neighbour).run());
    siege.watch(siege.plan.quiet()).await;
    let quiet = neighbour.take_latencies();

    let mut attacks = Vec::new();
    for name in ["red", "blue", "green"] {
        let keys = siege.tenant(name, QUOTAS, attackers::MODULES).await;
        let attacker = Attacker::new(siege.address.subscribe(), keys);
        attacks.push(tokio::spawn(attacker.run()));
    }
    let admin = siege.world.key().expect("an administrator").to_owned();
    let probe = Arc::new(Probe::new(siege.address.subscribe(), admin));
    let probing = tokio::spawn(Arc::clone(&probe).run());
    let end = Instant::now() + siege.plan.seconds;
    while Instant::now() < end {
        let rest = end.saturating_duration_since(Instant::now());
        siege.watch(siege.plan.kill_every().min(rest)).await;
        if Instant::now() < end {
            siege.kill().await;
        }
    }
    for attack in attacks.into_iter().chain([probing]) {
        attack.abort();
        if let Err(error) = attack.await {
            assert!(error.is_cancelled(), "{error}");
        }
    }
    neighbour.stop();
    served.await.expect("the neighbour does not panic");
    let under_attack = neighbour.take_latencies();
    let commits = siege
        .world
        .metrics()
        .await
        .starting_with("windlass_store_commit_seconds");
    neighbour.all_ended_right(&siege.world).await;

    let stored = disk_bytes(&siege.world);
    eprintln!("quiet chain: {quiet}");
    eprintln!("chain under attack: {under_attack}");
    eprintln!("commits since the last kill:\n{commits}");
    eprintln!("health checks: {}", probe.health());
    eprintln!("administrator: {}", probe.administrator());
    eprintln!(
        "{} kills, resident at most {} MiB of {} MiB, {} MiB on disk",
        siege.kills,
        siege.most_resident_bytes >> 20,
        siege.plan.most_resident_bytes() >> 20,
        stored >> 20
    );
    assert!(under_attack.count() > 0 && quiet.count() > 0);
    if siege.plan.is_long {
        assert!(under_attack.percentile(50) <= SLOWER * quiet.percentile(50));
        assert!(under_attack.percentile(99) <= LONGEST_CHAIN);
        assert!(probe.health().percentile(99) <= Duration::from_millis(100));
    }
    let quotas = 3 * ((1 << 30) + (20 << 20));
    assert!(stored < 2 * quotas, "{stored} bytes on disk");
    siege.world.stop_without_replay().await;
}

/// The bytes of all files in the data folder.
fn disk_bytes(world: &World) -> u64 {
    fn of(folder: &std::path::Path) -> u64 {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .map(|entry| match entry.metadata() {
                Ok(found) if found.is_dir() => of(&entry.path()),
                Ok(found) => found.len(),
                Err(_) => 0,
            })
            .sum()
    }
    of(&world.data())
}

/// Waits until the host is up, and returns its URL.
async fn url(address: &mut Address) -> Arc<str> {
    let up = address
        .wait_for(Option::is_some)
        .await
        .expect("the siege outlives its clients");
    up.clone().expect("it is up")
}

/// Parses a body that may not be JSON.
fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
