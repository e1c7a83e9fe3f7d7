//! `windlass bench`: loads a host over HTTP and says how fast it was.
//!
//! Client and host are two processes, so that the host's CPU time is its own: it is read from the operating system,
//! not estimated. All work is bounded in count.

mod host;
mod workloads;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::host::BenchHost;
use super::{client::Client, output::Output, trouble::Trouble};

/// Arguments of `bench`.
#[derive(Debug, Args)]
pub(super) struct Bench {
    /// What to measure, in that order
    #[arg(value_enum, required = true)]
    workloads: Vec<Workload>,
    /// Measure the host at --url instead of one started for the purpose; its CPU time is then not known
    #[arg(long)]
    running: bool,
    /// Folder with bench.wasm and bench_activities.wasm
    #[arg(
        long,
        default_value = "sample-modules/target/wasm32-wasip2/release",
        value_name = "DIR"
    )]
    modules: PathBuf,
    /// Instances of `chain`
    #[arg(long, default_value_t = 2_000)]
    instances: u32,
    /// Instances of `chain` in flight at once
    #[arg(long, default_value_t = 64)]
    in_flight: u32,
    /// Instances of `chain` that run alone, for the latency
    #[arg(long, default_value_t = 200)]
    alone: u32,
    /// Activities of the one instance of `fanout`
    #[arg(long, default_value_t = 1_000)]
    fanout: u32,
    /// Activities of the one instance of `long`
    #[arg(long, default_value_t = 2_000)]
    steps: u32,
    /// Arguments for the host that is started, after `--`: for example `-- --hot 0`
    #[arg(last = true)]
    serve: Vec<String>,
}

/// A shape of load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Workload {
    /// Five activities in sequence. Each instance is one request: POST …/orchestrations/BenchChain?wait=60s
    Chain,
    /// Many activities at once in one instance. One POST …/orchestrations/BenchFanout?wait=60s, then GETs that wait
    Fanout,
    /// Many activities in sequence in one instance. Like fanout, and the history is read afterwards
    Long,
}

/// What was measured; what does not apply is absent.
#[derive(Debug, Default, Serialize)]
struct Figures {
    workload: &'static str,
    /// Wall-clock time of the loaded part, in seconds.
    wall_s: f64,
    instances: u64,
    activities: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    instances_per_s: Option<f64>,
    activities_per_s: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99_ms: Option<f64>,
    /// Milliseconds a step over the first and the last thousand steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    ms_per_step_first: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ms_per_step_last: Option<f64>,
    /// CPU time of the host, in milliseconds an activity.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_cpu_ms_per_activity: Option<f64>,
    /// Resident memory of the host afterwards, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    host_rss_bytes: Option<u64>,
}

impl Bench {
    pub(super) async fn run(self, url: &str, output: &Output) -> Result<(), Trouble> {
        let host = if self.running {
            None
        } else {
            Some(BenchHost::start(&self.serve).await?)
        };
        let client = Client::new(host.as_ref().map_or(url, BenchHost::url))?;
        let measured = self.measure(&client, host.as_ref(), output).await;
        if let Some(host) = host {
            host.stop().await;
        }
        let measured = measured?;
        if output.json() {
            return Ok(());
        }
        let number = |value: Option<f64>, digits: usize| value.map_or("-".into(), |value| format!("{value:.digits$}"));
        let row = |figures: &Figures| {
            [
                figures.workload.to_owned(),
                number(figures.instances_per_s, 0),
                number(Some(figures.activities_per_s), 0),
                number(figures.p50_ms, 1),
                number(figures.p99_ms, 1),
                number(Some(figures.wall_s), 2),
                number(figures.ms_per_step_first, 2),
                number(figures.ms_per_step_last, 2),
                number(figures.host_cpu_ms_per_activity, 3),
                figures
                    .host_rss_bytes
                    .map_or("-".into(), |bytes| (bytes >> 20).to_string()),
            ]
        };
        let heads = [
            "workload",
            "instances/s",
            "activities/s",
            "p50 ms",
            "p99 ms",
            "wall s",
            "ms/step first",
            "ms/step last",
            "host CPU ms/activity",
            "host MiB",
        ];
        output.table(heads, measured.iter().map(row).collect())
    }

    async fn measure(
        &self,
        client: &Client,
        host: Option<&BenchHost>,
        output: &Output,
    ) -> Result<Vec<Figures>, Trouble> {
        for module in ["bench", "bench_activities"] {
            workloads::deploy(client, &self.modules, module).await?;
        }
        let mut measured = Vec::new();
        for workload in &self.workloads {
            let before = host.and_then(BenchHost::cpu_ms);
            let mut figures = match workload {
                Workload::Chain => workloads::chain(client, self.instances, self.in_flight).await?,
                Workload::Fanout => workloads::fanout(client, self.fanout).await?,
                Workload::Long => workloads::long(client, self.steps).await?,
            };
            let used = before
                .zip(host.and_then(BenchHost::cpu_ms))
                .map(|(before, after)| after - before);
            figures.host_cpu_ms_per_activity = used.map(|ms| ms / figures.activities.max(1) as f64);
            figures.host_rss_bytes = host.and_then(BenchHost::rss_bytes);
            if *workload == Workload::Chain {
                workloads::alone(client, self.alone, &mut figures).await?;
            }
            if output.json() {
                output.value(&serde_json::to_value(&figures).expect("figures are JSON"))?;
            }
            measured.push(figures);
        }
        Ok(measured)
    }
}
