//! `windlass bench`: measures the speed and resource usage of a host under load over HTTP.
//!
//! Client and host are two processes, so that the host's CPU time and memory are its own, as reported by the operating
//! system. Every row has its own host on an empty folder, so that rows do not depend on their order; what they wrote
//! comes from the host's metrics. Every output is checked, because a measurement of wrong results is worthless.

mod figures;
mod host;
mod load;
mod rows;
mod target;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde_json::json;

use self::{figures::Figures, rows as row, target::Target};
use super::{address::Address, error::CliError, output::Output};
use crate::{http::parse_duration, tls::ExtraRoots};

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// Rows to measure, in this order; all if none is given
    #[arg(value_enum)]
    workloads: Vec<Workload>,
    /// Measure the host at --url instead of hosts started for this purpose; the argument --url implies it.
    /// Rows that stop or kill their host are skipped
    #[arg(long)]
    running: bool,
    /// Smaller counts: all rows in less than three minutes
    #[arg(long)]
    short: bool,
    /// Folder with bench.wasm, bench_activities.wasm and bench_entities.wasm
    #[arg(
        long,
        default_value = "sample-modules/target/wasm32-wasip2/release",
        value_name = "DIR"
    )]
    modules: PathBuf,
    /// Requests in flight at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    in_flight: u32,
    /// Instances of `chain` and `disk` [default: 20000, short 3000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    instances: Option<u32>,
    /// Instances of `alone` [default: 1000, short 300]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    alone: Option<u32>,
    /// Chains of `noisy`, without a flood and with it [default: 500, short 100]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    noisy: Option<u32>,
    /// Activities that the flood of `noisy` keeps waiting
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    flood: u32,
    /// Activities of each instance of `fanout` [default: 1000,10000]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=100_000))]
    fanout: Vec<u32>,
    /// Activities of each instance of `long` [default: 2000,20000, short 2000,5000]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=900_000))]
    steps: Vec<u32>,
    /// Instances of `parked` [default: 100000, short 10000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    parked: Option<u32>,
    /// Timers of `sleepers` [default: 100000, short 10000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    sleepers: Option<u32>,
    /// The time within which they are due [default: 60s, short 6s]
    #[arg(long, value_parser = parse_duration, value_name = "TIME")]
    window: Option<Duration>,
    /// How often `recovery` kills the host [default: 10, short 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    kills: Option<u32>,
    /// Turns of the history of each instance of `cold` [default: 10000,100000, short 10000]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=900_000))]
    turns: Vec<u32>,
    /// Signals of `signals` [default: 200000, short 50000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    signals: Option<u32>,
    /// Calls of each row of `calls` [default: 50000, short 10000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    calls: Option<u32>,
    /// Orchestrations that make the calls of `calls`, each one at a time
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    callers: u32,
    /// Entities of `calls` [default: 1,1000]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    entities: Vec<u32>,
    /// Entities of `idle-entities` [default: 100000, short 10000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    idle: Option<u32>,
    /// Arguments for the hosts that are started, after `--`: for example `-- --hot 0`
    #[arg(last = true)]
    serve: Vec<String>,
}

/// A row of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Five activities in sequence, many instances in flight.
    /// Each instance is one request: POST /v1/orchestrations/BenchChain?wait=60s, answered 200 with the output
    Chain,
    /// The same, one instance at a time: how long each takes. The requests are the same
    Alone,
    /// The same in its own tenant, without and with a flood of activities of another tenant.
    /// POST /v1/tenants (201, or 409 if it exists), PUT /v1/modules/NAME and the requests of alone, with the header
    /// windlass-tenant; meanwhile those of fanout, in four connections, repeatedly. ratio compares the medians
    Noisy,
    /// Many activities at once in one instance.
    /// POST /v1/orchestrations/BenchFanout?wait=60s; if that answers 202, GET /v1/instances/ID?wait=60s until it ended
    Fanout,
    /// Many activities in sequence in one instance. The same requests for BenchLong; afterwards its history is read
    Long,
    /// Many instances that wait for an event.
    /// POST /v1/orchestrations/BenchParked?instanceId=ID for each (202); GET /metrics until all wait and none is hot,
    /// when the memory is read; SIGTERM and a new start, then GET /readyz; POST /v1/instances/ID/events/go for each
    /// (202); GET /metrics until all have completed; then GET /v1/instances/ID?wait=60s for each, to check its output.
    /// instances_per_s counts accepted starts, completions_per_s completions from the first event to the last one
    Parked,
    /// Many timers that are due within a short time.
    /// POST /v1/orchestrations/BenchSleeper?instanceId=ID for each, with the time as input (202); GET /metrics until
    /// all sleep, and two seconds later for the CPU time of an idle host; GET /metrics until all have completed; then
    /// GET /v1/instances/ID for each, whose output is when it woke. p50_ms and p99_ms measure how late it was
    Sleepers,
    /// Bytes in the database for each completed chain. The requests of chain; SIGTERM before and after
    Disk,
    /// SIGKILL with chains in flight, and a new start.
    /// POST /v1/orchestrations/BenchChain?instanceId=ID (202), then GET /v1/instances/ID?wait=60s, in each connection;
    /// after the start the same GET for every instance that was accepted. wall_s is the time from the start of the
    /// process to the last completion, of the slowest recovery
    Recovery,
    /// A long history loaded after a restart.
    /// POST /v1/orchestrations/BenchCold?instanceId=cold (202), GET /v1/instances/cold until the history is complete;
    /// SIGTERM and a new start; then what is measured: POST /v1/instances/cold/events/go (202) and GET
    /// /v1/instances/cold?wait=60s until it has ended
    Cold,
    /// Signals to one entity, from the first one until all are applied.
    /// POST /v1/orchestrations/BenchSignals?wait=60s, each of which sends 1,000; GET /metrics until the entity has
    /// applied all; GET /v1/entities/BenchCounter/0 to check its state
    Signals,
    /// Calls to one entity and to many, from 64 orchestrations that make one call at a time.
    /// POST /v1/orchestrations/BenchCalls?wait=60s; then GET /v1/entities/BenchCounter/0. The percentiles are of the
    /// mean time of a call in each orchestration
    Calls,
    /// Entities that nobody uses any more: their size on disk and in memory.
    /// POST /v1/entities/BenchCounter/KEY/signals/add for each (202); GET /metrics until all are applied and none is in
    /// memory; SIGTERM before and after
    IdleEntities,
    /// All rows about entities: signals, calls, idle-entities
    Entities,
}

impl Workload {
    /// The rows about entities.
    const OF_ENTITIES: &[Self] = &[Self::Signals, Self::Calls, Self::IdleEntities];

    /// The rows that this name stands for.
    fn rows(&self) -> &[Self] {
        match self {
            Self::Entities => Self::OF_ENTITIES,
            _ => std::slice::from_ref(self),
        }
    }

    /// Whether the row stops or kills its host.
    fn ends_its_host(self) -> bool {
        match self {
            Self::Chain
            | Self::Alone
            | Self::Noisy
            | Self::Fanout
            | Self::Long
            | Self::Sleepers
            | Self::Signals
            | Self::Calls => false,
            Self::Parked | Self::Disk | Self::Recovery | Self::Cold | Self::IdleEntities => true,
            Self::Entities => self.rows().iter().any(|row| row.ends_its_host()),
        }
    }

    /// Arguments for its host, before those of the command line. Rows that measure the memory of cold instances, or of
    /// the rest of the host, evict idle guests early.
    fn host_arguments(self) -> &'static [&'static str] {
        match self {
            Self::Parked | Self::Sleepers | Self::IdleEntities => &["--hot-idle", "500ms"],
            _ => &[],
        }
    }

    fn name(self) -> String {
        let value = self.to_possible_value().expect("no row is hidden");
        value.get_name().to_owned()
    }
}

/// The size of a row, if it has one.
type Size = Option<u32>;

impl Bench {
    /// Measures hosts that it starts, or the one at `url` if `named`. If it uses TLS, its certificate may also be
    /// issued by one of `roots`.
    pub(super) async fn run(self, url: &str, named: bool, roots: &ExtraRoots, output: &Output) -> Result<(), CliError> {
        let running = (self.running || named).then(|| Address::parse(url, roots));
        let running = running.transpose()?;
        let all = || Workload::value_variants().iter().filter(|row| row.rows() == [**row]);
        let wanted: Vec<&Workload> = match self.workloads.is_empty() {
            true => all().collect(),
            false => self.workloads.iter().flat_map(Workload::rows).collect(),
        };
        for workload in wanted {
            if running.is_some() && workload.ends_its_host() {
                skip(*workload, output)?;
                continue;
            }
            for size in self.sizes(*workload) {
                let figures = self.measure(*workload, size, running.as_ref(), roots).await?;
                if output.json() {
                    output.value(&figures.to_json())?;
                } else {
                    output.line(&figures.line())?;
                }
            }
        }
        Ok(())
    }

    /// The sizes in which a row is measured; `None` once for a row with only one size.
    fn sizes(&self, workload: Workload) -> Vec<Size> {
        let several = |given: &[u32], long: &[u32], short: &[u32]| -> Vec<Size> {
            let default = if self.short { short } else { long };
            let sizes = if given.is_empty() { default } else { given };
            sizes.iter().copied().map(Some).collect()
        };
        match workload {
            Workload::Fanout => several(&self.fanout, &[1_000, 10_000], &[1_000, 10_000]),
            Workload::Long => several(&self.steps, &[2_000, 20_000], &[2_000, 5_000]),
            Workload::Cold => several(&self.turns, &[10_000, 100_000], &[10_000]),
            Workload::Calls => several(&self.entities, &[1, 1_000], &[1, 1_000]),
            _ => vec![None],
        }
    }

    async fn measure(
        &self,
        workload: Workload,
        size: Size,
        running: Option<&Address>,
        roots: &ExtraRoots,
    ) -> Result<Figures, CliError> {
        let mut target = match running {
            Some(address) => Target::running(address, &self.modules, roots).await?,
            None => {
                let ours = workload.host_arguments().iter().map(ToString::to_string);
                Target::start(ours.chain(self.serve.iter().cloned()).collect(), &self.modules, roots).await?
            }
        };
        let count = |given: Option<u32>, long, short| given.unwrap_or(if self.short { short } else { long });
        let chains = count(self.instances, 20_000, 3_000);
        let size = size.unwrap_or_default();
        let figures = match workload {
            Workload::Chain => row::chain::chain("chain", &target, chains, self.in_flight).await?,
            Workload::Alone => row::chain::chain("alone", &target, count(self.alone, 1_000, 300), 1).await?,
            Workload::Noisy => row::noisy::noisy(&target, count(self.noisy, 500, 100), self.flood).await?,
            Workload::Fanout => row::single::fanout(&target, size).await?,
            Workload::Long => row::single::long(&target, size).await?,
            Workload::Parked => {
                let instances = count(self.parked, 100_000, 10_000);
                row::parked::parked(&mut target, instances, self.in_flight).await?
            }
            Workload::Sleepers => {
                let instances = count(self.sleepers, 100_000, 10_000);
                let window = self
                    .window
                    .unwrap_or(Duration::from_secs(if self.short { 6 } else { 60 }));
                row::sleepers::sleepers(&target, instances, window, self.in_flight).await?
            }
            Workload::Disk => row::chain::disk(&mut target, chains, self.in_flight).await?,
            Workload::Recovery => {
                row::recovery::recovery(&mut target, count(self.kills, 10, 3), self.in_flight).await?
            }
            Workload::Cold => row::cold::cold(&mut target, size).await?,
            Workload::Signals => {
                let signals = count(self.signals, 200_000, 50_000);
                row::entities::signals(&target, signals, self.in_flight).await?
            }
            Workload::Calls => {
                let calls = count(self.calls, 50_000, 10_000);
                row::entities::calls(&target, calls, self.callers, size).await?
            }
            Workload::IdleEntities => {
                let entities = count(self.idle, 100_000, 10_000);
                row::entities::idle(&mut target, entities, self.in_flight).await?
            }
            Workload::Entities => unreachable!("it stands for other rows"),
        };
        target.end().await?;
        Ok(figures)
    }
}

/// Reports that a row cannot be measured on a host that bench did not start.
fn skip(workload: Workload, output: &Output) -> Result<(), CliError> {
    let (name, reason) = (
        workload.name(),
        "it stops its host, and this host was not started by bench; run it without --url",
    );
    if output.json() {
        output.value(&json!({ "workload": name, "skipped": reason }))
    } else {
        output.line(&format!("{name:<9} skipped: {reason}"))
    }
}
