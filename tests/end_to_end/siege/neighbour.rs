//! The tenant that must not notice the attack.

use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::future::join_all;
use harness::World;
use reqwest::{Client, Method};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{Address, parse, url};

/// Chains that run at the same time.
const CLIENTS: usize = 2;
/// Chains that take longer are shown.
const SLOW: Duration = Duration::from_secs(1);
/// The pause of a client between two chains.
const PAUSE: Duration = Duration::from_millis(10);

/// Runs chains, one after another, and measures each.
pub(crate) struct Neighbour {
    address: Address,
    key: String,
    client: Client,
    since: Instant,
    begun: AtomicU64,
    latencies: Mutex<Latencies>,
    stopped: AtomicBool,
}

impl Neighbour {
    pub(crate) fn new(address: Address, key: String) -> Self {
        Self {
            address,
            key,
            client: Client::new(),
            since: Instant::now(),
            begun: AtomicU64::new(0),
            latencies: Mutex::default(),
            stopped: AtomicBool::new(false),
        }
    }

    /// Runs chains until [`stop`](Self::stop).
    pub(crate) async fn run(self: Arc<Self>) {
        join_all((0..CLIENTS).map(|_| self.run_client())).await;
    }

    async fn run_client(&self) {
        let mut address = self.address.clone();
        while !self.stopped.load(Ordering::Relaxed) {
            let number = self.begun.fetch_add(1, Ordering::Relaxed);
            self.run_chain(&mut address, number).await;
            sleep(PAUSE).await;
        }
    }

    /// Runs a chain to its end, across restarts of the host. Its time counts if the host was up all the time.
    async fn run_chain(&self, address: &mut Address, number: u64) {
        let mut is_first = true;
        loop {
            let url = url(address).await;
            let id = chain_id(number);
            let begun = Instant::now();
            let start = self
                .client
                .post(format!("{url}/v1/orchestrations/BenchChain?instanceId={id}&wait=60s"))
                .header("idempotency-key", &id)
                .bearer_auth(&self.key)
                .json(&json!(id));
            let Ok(response) = start.send().await else {
                is_first = false;
                sleep(PAUSE).await;
                continue;
            };
            let status = response.status().as_u16();
            let Ok(body) = response.text().await else {
                is_first = false;
                continue;
            };
            assert!(matches!(status, 200 | 202), "{id}: {status} {body}");
            if status == 200 {
                assert_eq!(parse(&body)["output"], id, "{body}");
                if is_first {
                    self.note(&id, begun);
                }
                return;
            }
            // It has not ended within a minute.
            is_first = false;
            self.note(&id, begun);
        }
    }

    fn note(&self, id: &str, begun: Instant) {
        let (took, at) = (begun.elapsed(), begun.duration_since(self.since));
        if took > SLOW {
            eprintln!("{id}, begun after {at:.1?}, took {took:.1?}");
        }
        self.latencies.lock().expect("no panic").0.push(took);
    }

    /// Begins no further chains.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// The latencies since the last call.
    pub(crate) fn take_latencies(&self) -> Latencies {
        std::mem::take(&mut *self.latencies.lock().expect("no panic"))
    }

    /// Asserts that every chain has completed with its own output.
    pub(crate) async fn all_ended_right(&self, world: &World) {
        for number in 0..self.begun.load(Ordering::Relaxed) {
            let id = chain_id(number);
            let get = world.request_as(Some(&self.key), Method::GET, &format!("/v1/instances/{id}"));
            let instance = world.send(get).await.expect(200);
            assert_eq!(instance["runtimeStatus"], "Completed", "{instance:#}");
            assert_eq!(instance["output"], id, "{instance:#}");
        }
    }
}

fn chain_id(number: u64) -> String {
    format!("chain-{number}")
}

/// How long requests took.
#[derive(Debug, Clone, Default)]
pub(crate) struct Latencies(pub(crate) Vec<Duration>);

impl Latencies {
    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The time that this share of all requests took at most.
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let index = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
        sorted.get(index).copied().unwrap_or_default()
    }
}

impl fmt::Display for Latencies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (p50, p99, most) = (self.percentile(50), self.percentile(99), self.percentile(100));
        write!(
            f,
            "{} requests, p50 {p50:.1?}, p99 {p99:.1?}, at most {most:.1?}",
            self.count()
        )
    }
}
