//! Five activities in sequence: many instances at once, one at a time, and their size on disk.

use std::time::Instant;

use bytes::Bytes;

use super::{TEXT, ms_since};
use crate::cli::bench::figures::Figures;
use crate::cli::bench::target::Target;
use crate::cli::error::CliError;

/// Activities of one chain, as in the module.
const ACTIVITIES: u32 = 5;

/// Runs chains and returns how long each took.
async fn run(target: &Target, instances: u32, in_flight: u32) -> Result<Vec<f64>, CliError> {
    target
        .load()
        .spread(in_flight, instances, async |connection, _| {
            let started_at = Instant::now();
            connection
                .run("BenchChain", Bytes::from_static(TEXT.as_bytes()), TEXT)
                .await?;
            Ok(ms_since(started_at))
        })
        .await
}

/// Measures `instances` chains, `in_flight` at a time.
pub(in crate::cli::bench) async fn chain(
    workload: &'static str,
    target: &Target,
    instances: u32,
    in_flight: u32,
) -> Result<Figures, CliError> {
    run(target, in_flight, in_flight).await?;
    let before = target.read().await?;
    let started_at = Instant::now();
    let times = run(target, instances, in_flight).await?;
    let wall_s = started_at.elapsed().as_secs_f64();
    let after = target.read().await?;
    let figures = Figures::new(workload, wall_s).instances(instances);
    let figures = figures.activities(instances.saturating_mul(ACTIVITIES));
    Ok(figures.times_ms(times).used(&before, &after))
}

/// Measures by how much the database grows with each completed chain.
pub(in crate::cli::bench) async fn disk(
    target: &mut Target,
    instances: u32,
    in_flight: u32,
) -> Result<Figures, CliError> {
    run(target, in_flight, in_flight).await?;
    target.own().end().await?;
    let bytes = target.own().database_bytes()?;
    target.resume().await?;
    let started_at = Instant::now();
    run(target, instances, in_flight).await?;
    let wall_s = started_at.elapsed().as_secs_f64();
    target.own().end().await?;
    let grown = target.own().database_bytes()?.saturating_sub(bytes);
    let mut figures = Figures::new("disk", wall_s).instances(instances);
    figures.bytes_per_instance = Some(grown as f64 / f64::from(instances));
    Ok(figures)
}
