//! Many timers that are due within a short time: how late they fire, and whether the host is idle before.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::StatusCode;

use crate::cli::bench::figures::Figures;
use crate::cli::bench::target::Target;
use crate::cli::error::CliError;

/// How long the CPU time of the idle host is measured.
const QUIET: Duration = Duration::from_secs(2);

/// Time added to the expected duration of the starts, for the host to become idle and to be measured.
const MARGIN: Duration = Duration::from_secs(5);

/// Number of sleepers that measure how fast the others will be started. They are due at once.
const PROBES: u32 = 256;

/// Measures `instances` timers, spread over `window`.
pub(in crate::cli::bench) async fn sleepers(
    target: &Target,
    instances: u32,
    window: Duration,
    in_flight: u32,
) -> Result<Figures, CliError> {
    let prefix = format!("sleeper-{}", now_ms());
    let started_at = Instant::now();
    start(
        target,
        in_flight,
        PROBES,
        |number| format!("{prefix}-probe-{number}"),
        |_| 0,
    )
    .await?;
    let expected = started_at.elapsed() * (instances / PROBES + 1) * 3 / 2;
    let first_due_ms = now_ms() + u64::try_from((expected + MARGIN).as_millis()).unwrap_or(u64::MAX);
    let window_ms = u64::try_from(window.as_millis()).unwrap_or(u64::MAX);
    let due_ms = |number: u32| first_due_ms + window_ms * u64::from(number) / u64::from(instances);
    let before = target.once("the host to become idle", |now| now.active == 0).await?;

    let id = |number: u32| format!("{prefix}-{number}");
    let started_at = Instant::now();
    start(target, in_flight, instances, id, due_ms).await?;
    let started_s = started_at.elapsed().as_secs_f64();
    let turns = before.turns + u64::from(instances);
    let resting = target
        .once("all sleepers to sleep", |now| now.turns >= turns && now.active == 0)
        .await?;
    tokio::time::sleep(QUIET).await;
    let rested = target.read().await?;
    if now_ms() > first_due_ms {
        return Err(CliError::failed(
            "the host took so long to start all sleepers that the first ones were due",
        ));
    }

    tokio::time::sleep(Duration::from_millis(first_due_ms + window_ms - now_ms())).await;
    let all = before.completed + u64::from(instances);
    let after = target.once("all sleepers to fire", |now| now.completed >= all).await?;
    let wall_s = started_at.elapsed().as_secs_f64();
    let lateness = target
        .load()
        .spread(in_flight, instances, async |connection, number| {
            let answer = connection.get(&format!("/v1/instances/{}", id(number))).await?;
            let answer = answer.expect(StatusCode::OK)?;
            let woke: u64 = serde_json::from_str(answer.instance()?.output.get())
                .map_err(|error| CliError::failed(format!("a sleeper did not report when it woke: {error}")))?;
            let late = woke.checked_sub(due_ms(number));
            late.map(|ms| ms as f64)
                .ok_or_else(|| CliError::failed("a sleeper woke before its time"))
        })
        .await?;

    let figures = Figures::new("sleepers", started_s).instances(instances);
    let mut figures = figures.times_ms(lateness).used(&before, &after);
    figures.wall_s = wall_s;
    figures.idle_cpu_ms_per_s = Some((rested.cpu_s - resting.cpu_s) * 1_000.0 / QUIET.as_secs_f64());
    let growth = rested.rss_bytes.saturating_sub(before.rss_bytes);
    figures.rss_growth_bytes = Some(growth);
    figures.rss_bytes_per_instance = Some(growth as f64 / f64::from(instances));
    Ok(figures)
}

async fn start(
    target: &Target,
    in_flight: u32,
    count: u32,
    id: impl Fn(u32) -> String,
    due_ms: impl Fn(u32) -> u64,
) -> Result<(), CliError> {
    let work = async |connection: &mut super::super::load::Connection, number: u32| {
        let body = due_ms(number).to_string().into();
        connection.start("BenchSleeper", &id(number), body).await
    };
    target.load().spread(in_flight, count, work).await.map(|_| ())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
