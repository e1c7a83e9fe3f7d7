//! A tenant that does everything it can to stop the host.

use std::time::Duration;

use futures::future::join_all;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::{Address, Keys, parse, url};

/// The modules of an attacker.
pub(crate) const MODULES: &[&str] = &["hostile_orchestrations", "hostile_activities"];

/// The pause of an attacker after a request that was rejected.
const PAUSE: Duration = Duration::from_millis(100);
/// Silent connections that an attacker keeps open.
const SILENT: usize = 300;
/// Long polls that an attacker keeps open.
const WAITS: usize = 100;
/// Readers of large answers.
const READERS: usize = 10;

/// One tenant and its keys.
pub(crate) struct Attacker {
    address: Address,
    client: Client,
    keys: Keys,
}

/// The orchestrations that an attacker starts, with their inputs.
fn orchestrations() -> Vec<(&'static str, Value)> {
    let many = |count: u32, bytes: u32| json!({ "count": count, "bytes": bytes });
    let call = |activity: &str| json!({ "activity": activity, "attempts": 1_000_000 });
    let mut attacks = vec![
        ("HostileHoard", json!({ "mib": 60, "ms": 5_000 })),
        ("HostileUntakenResults", many(60_000, 1_000_000)),
        ("HostileForkBomb", Value::Null),
        ("HostileOutstandingCalls", many(99_000, 0)),
        ("HostileSendsEvents", many(15, 1_000_000)),
        ("HostileSpread", json!(20_000)),
        ("HostileCallsFailing", many(500, 900_000)),
        ("HostileLargeTurns", many(15, 1_000_000)),
        ("HostileDisturbsARest", many(15, 1_000_000)),
        ("HostileActivityBomb", Value::Null),
        ("HostileStatus", json!(0)),
    ];
    let turns = [
        "HostileTurnLoop",
        "HostileTurnLoopLater",
        "HostileTurnMemory",
        "HostileTurnPanic",
        "HostileTurnTrap",
        "HostileTurnStackOverflow",
        "HostileTurnLogFlood",
        "HostileTooManyTasks",
        "HostileRunaway",
    ];
    attacks.extend(turns.map(|name| (name, Value::Null)));
    let activities = [
        "HostileLoop",
        "HostileMemory",
        "HostileSleep",
        "HostileLogFlood",
        "HostilePrintFlood",
    ];
    attacks.extend(activities.map(|name| ("CallHostileActivity", call(name))));
    attacks
}

impl Attacker {
    pub(crate) fn new(address: Address, keys: Keys) -> Self {
        Self {
            address,
            client: Client::new(),
            keys,
        }
    }

    /// Attacks until it is aborted.
    pub(crate) async fn run(self) {
        let readers = join_all((0..READERS).map(|_| self.read()));
        let waits = join_all((0..WAITS).map(|_| self.wait()));
        let silent = join_all((0..SILENT).map(|_| self.say_nothing()));
        tokio::join!(
            self.start(),
            self.upload(),
            self.misspell(),
            self.make_room(),
            readers,
            waits,
            silent
        );
    }

    /// Sends a request, and returns status and body, or `None` if the host went down.
    async fn send(&self, request: RequestBuilder) -> Option<(u16, String)> {
        let response = request.send().await.ok()?;
        let status = response.status().as_u16();
        assert!(status < 500 || status == 503, "{status}");
        Some((status, response.text().await.ok()?))
    }

    async fn start(&self) {
        let mut address = self.address.clone();
        loop {
            for (name, input) in orchestrations() {
                let url = url(&mut address).await;
                let start = self.client.post(format!("{url}/v1/orchestrations/{name}"));
                let start = start.bearer_auth(&self.keys.client).json(&input);
                match self.send(start).await {
                    Some((202, _)) => {}
                    _ => sleep(PAUSE).await,
                }
            }
        }
    }

    /// Ends and purges its own instances when it has used up its storage, to begin again.
    async fn make_room(&self) {
        let mut address = self.address.clone();
        loop {
            sleep(10 * PAUSE).await;
            let url = url(&mut address).await;
            let usage = self
                .client
                .get(format!("{url}/v1/instances?runtimeStatus=Running&limit=50"));
            let Some((_, page)) = self.send(usage.bearer_auth(&self.keys.operator)).await else {
                continue;
            };
            for instance in parse(&page)["instances"].as_array().into_iter().flatten() {
                if instance["held"].is_null() {
                    continue;
                }
                let id = instance["instanceId"].as_str().unwrap_or_default();
                let terminate = self.client.post(format!("{url}/v1/instances/{id}/terminate"));
                self.send(terminate.bearer_auth(&self.keys.operator)).await;
            }
            let purge = self
                .client
                .delete(format!("{url}/v1/instances?endedBefore=2100-01-01T00:00:00Z"));
            self.send(purge.bearer_auth(&self.keys.operator)).await;
        }
    }

    /// Uploads modules that are rejected.
    async fn upload(&self) {
        let mut address = self.address.clone();
        loop {
            for module in ["hostile_endless_describe", "hostile_sockets", "hostile_no_export"] {
                let url = url(&mut address).await;
                let put = self.client.put(format!("{url}/v1/modules/rejected"));
                let put = put.bearer_auth(&self.keys.deployer).body(harness::module(module));
                self.send(put).await;
            }
        }
    }

    /// Starts orchestrations that do not exist, so that the host looks for similar names.
    async fn misspell(&self) {
        let mut address = self.address.clone();
        let name = "HostileTurnLop".repeat(14);
        loop {
            let url = url(&mut address).await;
            let start = self.client.post(format!("{url}/v1/orchestrations/{name}"));
            self.send(start.bearer_auth(&self.keys.client)).await;
            sleep(PAUSE).await;
        }
    }

    /// Reads lists, and histories of what it finds in them.
    async fn read(&self) {
        let mut address = self.address.clone();
        loop {
            let url = url(&mut address).await;
            let get = |path: &str| self.client.get(format!("{url}{path}")).bearer_auth(&self.keys.operator);
            let Some((_, page)) = self.send(get("/v1/instances?limit=1000")).await else {
                sleep(PAUSE).await;
                continue;
            };
            for instance in parse(&page)["instances"].as_array().into_iter().flatten().take(20) {
                let id = instance["instanceId"].as_str().unwrap_or_default();
                self.send(get(&format!("/v1/instances/{id}?history=true"))).await;
            }
            self.send(get("/v1/modules")).await;
            sleep(PAUSE).await;
        }
    }

    /// Waits for an instance that has not ended.
    async fn wait(&self) {
        let mut address = self.address.clone();
        loop {
            let url = url(&mut address).await;
            let get = |path: &str| self.client.get(format!("{url}{path}")).bearer_auth(&self.keys.operator);
            let running = self.send(get("/v1/instances?runtimeStatus=Running&limit=1")).await;
            let running = running.map(|(_, page)| parse(&page)["instances"][0]["instanceId"].clone());
            if let Some(id) = running.as_ref().and_then(Value::as_str) {
                self.send(get(&format!("/v1/instances/{id}?wait=60s"))).await;
            }
            sleep(PAUSE).await;
        }
    }

    /// Opens a connection and sends nothing, or only the beginning of a request.
    async fn say_nothing(&self) {
        let mut address = self.address.clone();
        loop {
            let url = url(&mut address).await;
            let peer = url.trim_start_matches("http://").to_owned();
            if let Ok(mut stream) = TcpStream::connect(peer).await {
                let begun = stream.write_all(b"GET /v1/ins").await;
                sleep(100 * PAUSE).await;
                drop((begun, stream));
            }
            sleep(PAUSE).await;
        }
    }
}
