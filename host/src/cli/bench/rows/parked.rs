//! Many instances that wait for an event: starting them, keeping them, restarting the host with them, waking them all.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::cli::bench::figures::Figures;
use crate::cli::bench::target::Target;
use crate::cli::error::CliError;

/// How long the host is idle before its memory is read: pages return to the system a moment after the guests are
/// dropped.
const SETTLE: Duration = Duration::from_secs(2);

/// The input of an instance, its number, which is also its output.
fn payload(number: u32) -> String {
    format!("\"{number}\"")
}

/// Measures `instances` of them, with `in_flight` requests at a time. The host is restarted while they wait.
pub(in crate::cli::bench) async fn parked(
    target: &mut Target,
    instances: u32,
    in_flight: u32,
) -> Result<Figures, CliError> {
    let mut connection = target.load().connect().await?;
    connection.start("BenchParked", "warm-up", Bytes::new()).await?;
    connection.raise("warm-up", "go", payload(0).into()).await?;
    connection.complete("warm-up", &payload(0)).await?;
    drop(connection);
    let before = target
        .once("the host to become idle", |reading| reading.active == 0)
        .await?;

    let started_at = Instant::now();
    let load = target.load();
    load.spread(in_flight, instances, async |connection, number| {
        connection
            .start("BenchParked", &format!("parked-{number}"), Bytes::new())
            .await
    })
    .await?;
    let started_s = started_at.elapsed().as_secs_f64();
    let turns = before.turns + u64::from(instances);
    let cold = |now: &super::super::target::Reading| now.turns >= turns && now.active == 0;
    target.once("all instances to wait and be cold", cold).await?;
    tokio::time::sleep(SETTLE).await;
    let after = target.read().await?;
    let growth = after.rss_bytes.saturating_sub(before.rss_bytes);

    let ready_s = target.restart().await?;
    let woken = target.read().await?.completed;
    let started_at = Instant::now();
    target
        .load()
        .spread(in_flight, instances, async |connection, number| {
            let body = payload(number).into();
            connection.raise(&format!("parked-{number}"), "go", body).await
        })
        .await?;
    let all = woken + u64::from(instances);
    target.once("all instances to end", |now| now.completed >= all).await?;
    let completed_s = started_at.elapsed().as_secs_f64();
    target
        .load()
        .spread(in_flight, instances, async |connection, number| {
            connection.complete(&format!("parked-{number}"), &payload(number)).await
        })
        .await?;

    let mut figures = Figures::new("parked", started_s)
        .instances(instances)
        .used(&before, &after);
    figures.wall_s = started_s + completed_s;
    figures.rss_growth_bytes = Some(growth);
    figures.rss_bytes_per_instance = Some(growth as f64 / f64::from(instances));
    figures.ready_s = Some(ready_s);
    figures.completions_per_s = Some(f64::from(instances) / completed_s);
    Ok(figures)
}
