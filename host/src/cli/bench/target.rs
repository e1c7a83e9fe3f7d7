//! The measured host: one that bench started, or one that was already running.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use http::{Method, StatusCode};

use super::host::BenchHost;
use super::load::Load;
use crate::cli::{
    address::Address,
    client::{self, Client},
    error::CliError,
};
use crate::tls::ExtraRoots;

/// How long a condition may take to become true.
const REST_TIME: Duration = Duration::from_secs(120);

/// How often the metrics are polled meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// The modules of the workloads.
const MODULES: [&str; 3] = ["bench", "bench_activities", "bench_entities"];

/// A host with the modules of the workloads.
pub(super) struct Target {
    /// The folder of the modules.
    modules: PathBuf,
    /// The host that bench started, which can be stopped and restarted.
    own: Option<BenchHost>,
    /// Additional certificate authorities, if it uses TLS.
    roots: ExtraRoots,
    load: Load,
}

/// The usage and counters of a host since it started.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    pub(super) cpu_s: f64,
    pub(super) rss_bytes: u64,
    pub(super) peak_rss_bytes: u64,
    pub(super) commits: u64,
    pub(super) rows: u64,
    pub(super) turns: u64,
    pub(super) completed: u64,
    /// Operations that entities applied.
    pub(super) operations: u64,
    /// Attempts that wait for a slot.
    pub(super) waiting: u64,
    /// Instances that are being worked on or are hot.
    pub(super) active: u64,
}

impl Target {
    /// Starts a host.
    pub(super) async fn start(arguments: Vec<String>, modules: &Path, roots: &ExtraRoots) -> Result<Self, CliError> {
        let own = BenchHost::start(arguments).await?;
        let address = Address::parse(own.url(), roots)?;
        deploy(&address, modules, None).await?;
        Ok(Self {
            modules: modules.to_owned(),
            own: Some(own),
            roots: roots.clone(),
            load: Load::new(address),
        })
    }

    /// Uses a running host.
    pub(super) async fn running(address: &Address, modules: &Path, roots: &ExtraRoots) -> Result<Self, CliError> {
        deploy(address, modules, None).await?;
        Ok(Self {
            modules: modules.to_owned(),
            own: None,
            roots: roots.clone(),
            load: Load::new(address.clone()),
        })
    }

    /// Creates the tenant unless it exists, and uploads the modules of the workloads.
    pub(super) async fn tenant(&self, name: &'static str) -> Result<Load, CliError> {
        let body = format!("{{\"name\":\"{name}\"}}");
        let mut connection = self.load.connect().await?;
        let answer = connection.send(Method::POST, "/v1/tenants", body.into()).await?;
        if answer.status != StatusCode::CONFLICT {
            answer.expect(StatusCode::CREATED)?;
        }
        deploy(self.load.address(), &self.modules, Some(name)).await?;
        Ok(self.load.of_tenant(name))
    }

    pub(super) fn load(&self) -> &Load {
        &self.load
    }

    /// The host that bench started. Rows that need it are skipped for a running host.
    pub(super) fn own(&mut self) -> &mut BenchHost {
        self.own.as_mut().expect("this row is skipped for a running host")
    }

    /// Stops and restarts the host. Returns how long the start took until it was ready, in seconds.
    pub(super) async fn restart(&mut self) -> Result<f64, CliError> {
        self.own().end().await?;
        self.resume().await
    }

    /// Starts the host again after it was stopped or killed.
    pub(super) async fn resume(&mut self) -> Result<f64, CliError> {
        let started_at = Instant::now();
        self.own().resume().await?;
        let roots = self.roots.clone();
        self.load = Load::new(Address::parse(self.own().url(), &roots)?);
        let ready = self.load.connect().await?.get("/readyz").await?;
        ready.expect(StatusCode::OK)?;
        Ok(started_at.elapsed().as_secs_f64())
    }

    /// Stops the host, if bench started it.
    pub(super) async fn end(mut self) -> Result<(), CliError> {
        match &mut self.own {
            Some(own) => own.end().await,
            None => Ok(()),
        }
    }

    /// Reads usage and counters. The usage comes from the operating system for a host that bench started, otherwise
    /// from its metrics.
    pub(super) async fn read(&self) -> Result<Reading, CliError> {
        let answer = self.load.connect().await?.get("/metrics").await?;
        let answer = answer.expect(StatusCode::OK)?;
        let mut reading = Reading::of(&String::from_utf8_lossy(&answer.body))
            .ok_or_else(|| CliError::failed("metrics are missing on the host; is it a different version?"))?;
        if let Some(own) = &self.own {
            let usage = own.usage()?;
            reading.cpu_s = usage.cpu.as_secs_f64();
            reading.rss_bytes = usage.resident_bytes;
            reading.peak_rss_bytes = usage.peak_resident_bytes;
        }
        Ok(reading)
    }

    /// Waits until the counters satisfy a condition.
    pub(super) async fn once(&self, what: &str, is_so: impl Fn(&Reading) -> bool) -> Result<Reading, CliError> {
        let started_at = Instant::now();
        loop {
            let reading = self.read().await?;
            if is_so(&reading) {
                return Ok(reading);
            }
            if started_at.elapsed() > REST_TIME {
                return Err(CliError::TimedOut(format!(
                    "timed out waiting for {what}; the host reports {reading:?}"
                )));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

impl Reading {
    fn of(text: &str) -> Option<Self> {
        let number = |sample: &str| -> Option<f64> {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '))?;
            value.parse().ok()
        };
        let count = |sample: &str| number(sample).map(|value| value as u64);
        let rss_bytes = count("process_resident_memory_bytes")?;
        Some(Self {
            cpu_s: number("process_cpu_seconds_total")?,
            rss_bytes,
            peak_rss_bytes: rss_bytes,
            commits: count("windlass_store_commits_total")?,
            rows: count("windlass_store_rows_total")?,
            turns: count("windlass_turns_total")?,
            completed: count("windlass_instances_ended_total{status=\"completed\"}")?,
            operations: count("windlass_entity_operations_total{outcome=\"succeeded\"}")?,
            waiting: count("windlass_activity_attempts_waiting")?,
            active: count("windlass_active_instances")?,
        })
    }
}

async fn deploy(address: &Address, folder: &Path, tenant: Option<&str>) -> Result<(), CliError> {
    let client = Client::new(address.clone(), None, tenant)?;
    for module in MODULES {
        let path = folder.join(format!("{module}.wasm"));
        let bytes = tokio::fs::read(&path).await.map_err(|error| {
            CliError::Usage(format!(
                "{}: {error}; build the modules with `make modules`, or pass their folder with --modules",
                path.display()
            ))
        })?;
        let call = client.call(Method::PUT, &["modules", module]);
        call.body(bytes.len() as u64, client::full(bytes.into())).send().await?;
    }
    Ok(())
}
