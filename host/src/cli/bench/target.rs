//! The host that is measured: one of our own, or one that runs already.

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

/// How long the host may take to come to rest.
const REST_TIME: Duration = Duration::from_secs(120);

/// How often it is asked meanwhile.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// The modules of the workloads.
const MODULES: [&str; 2] = ["bench", "bench_activities"];

/// A host with the modules of the workloads.
pub(super) struct Target {
    /// Where the modules are.
    modules: PathBuf,
    /// Ours, which can be ended and started again.
    own: Option<BenchHost>,
    /// Whom it may be vouched for by, if it speaks TLS.
    roots: ExtraRoots,
    load: Load,
}

/// What a host has used and counted since it started.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Reading {
    pub(super) cpu_s: f64,
    pub(super) rss_bytes: u64,
    pub(super) peak_rss_bytes: u64,
    pub(super) commits: u64,
    pub(super) rows: u64,
    pub(super) turns: u64,
    pub(super) completed: u64,
    /// Attempts that wait for a slot.
    pub(super) waiting: u64,
    /// Instances that somebody works on or that are hot.
    pub(super) active: u64,
}

impl Target {
    /// A host of our own.
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

    /// One that runs already.
    pub(super) async fn running(address: &Address, modules: &Path, roots: &ExtraRoots) -> Result<Self, CliError> {
        deploy(address, modules, None).await?;
        Ok(Self {
            modules: modules.to_owned(),
            own: None,
            roots: roots.clone(),
            load: Load::new(address.clone()),
        })
    }

    /// Makes a tenant, unless there is one of that name, with the modules of the workloads.
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

    /// The host of our own. Rows that need one are refused before they begin otherwise.
    pub(super) fn own(&mut self) -> &mut BenchHost {
        self.own.as_mut().expect("this row is skipped for a running host")
    }

    /// Ends it and starts it again. Returns how long the start took, in seconds, until it was ready.
    pub(super) async fn restart(&mut self) -> Result<f64, CliError> {
        self.own().end().await?;
        self.resume().await
    }

    /// Starts it again after its end.
    pub(super) async fn resume(&mut self) -> Result<f64, CliError> {
        let begun = Instant::now();
        self.own().resume().await?;
        let roots = self.roots.clone();
        self.load = Load::new(Address::parse(self.own().url(), &roots)?);
        let ready = self.load.connect().await?.get("/readyz").await?;
        ready.expect(StatusCode::OK)?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Ends it, if it is ours.
    pub(super) async fn end(mut self) -> Result<(), CliError> {
        match &mut self.own {
            Some(own) => own.end().await,
            None => Ok(()),
        }
    }

    /// What it has used and counted: of our own host the operating system says what it uses, of another one the host.
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

    /// Waits until something is true of what it has counted.
    pub(super) async fn once(&self, what: &str, is_so: impl Fn(&Reading) -> bool) -> Result<Reading, CliError> {
        let begun = Instant::now();
        loop {
            let reading = self.read().await?;
            if is_so(&reading) {
                return Ok(reading);
            }
            if begun.elapsed() > REST_TIME {
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
