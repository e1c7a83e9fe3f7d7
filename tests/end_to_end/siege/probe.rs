//! Health checks and requests of an administrator during the attack.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::Client;
use tokio::time::{Instant, sleep};

use super::neighbour::Latencies;
use super::{Address, url};

/// The pause between two probes.
const PAUSE: Duration = Duration::from_millis(100);

/// Measures how long the host takes for a health check, and for a request of its administrator.
pub(crate) struct Probe {
    address: Address,
    admin: String,
    client: Client,
    health: Mutex<Latencies>,
    administrator: Mutex<Latencies>,
}

impl Probe {
    pub(crate) fn new(address: Address, admin: String) -> Self {
        Self {
            address,
            admin,
            client: Client::new(),
            health: Mutex::default(),
            administrator: Mutex::default(),
        }
    }

    /// Probes until it is aborted. Probes that a kill interrupts do not count.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut address = self.address.clone();
        loop {
            let url = url(&mut address).await;
            self.probe(&format!("{url}/healthz"), &self.health).await;
            self.probe(&format!("{url}/v1/tenants"), &self.administrator).await;
            sleep(PAUSE).await;
        }
    }

    async fn probe(&self, url: &str, latencies: &Mutex<Latencies>) {
        let begun = Instant::now();
        let Ok(response) = self.client.get(url).bearer_auth(&self.admin).send().await else {
            return;
        };
        let status = response.status();
        if response.bytes().await.is_ok() {
            assert_eq!(status, 200, "{url}");
            latencies.lock().expect("no panic").0.push(begun.elapsed());
        }
    }

    pub(crate) fn health(&self) -> Latencies {
        self.health.lock().expect("no panic").clone()
    }

    pub(crate) fn administrator(&self) -> Latencies {
        self.administrator.lock().expect("no panic").clone()
    }
}
