//! Chains of one tenant: alone, and beside the flood of another tenant.

use std::convert::Infallible;
use std::time::Instant;

use bytes::Bytes;
use futures::future::try_join_all;

use super::{TEXT, ms_since, single};
use crate::cli::bench::figures::Figures;
use crate::cli::bench::load::Load;
use crate::cli::bench::target::Target;
use crate::cli::error::CliError;

/// Chains that run before the measured ones.
const WARM_UP: u32 = 20;

/// Instances over which the flood is spread. Each is started again when it has ended, so there is always one whose
/// activities wait.
const FLOODING: u32 = 4;

/// Measures each chain alone, then each beside a flood that keeps about `activities` activities waiting.
pub(in crate::cli::bench) async fn noisy(
    target: &Target,
    instances: u32,
    activities: u32,
) -> Result<Figures, CliError> {
    let quiet = target.tenant("bench-quiet").await?;
    let noisy = target.tenant("bench-noisy").await?;
    chains(&quiet, WARM_UP).await?;
    let alone = chains(&quiet, instances).await?;
    let before = target.read().await?;
    let started_at = Instant::now();
    let beside = async {
        let enough = u64::from(activities / 2);
        target
            .once("the flood to rise", |reading| reading.waiting >= enough)
            .await?;
        chains(&quiet, instances).await
    };
    let beside = tokio::select! {
        ended = flood(&noisy, activities) => match ended? {},
        times = beside => times?,
    };
    let wall_s = started_at.elapsed().as_secs_f64();
    let after = target.read().await?;
    let figures = Figures::new("noisy", wall_s).instances(instances);
    Ok(figures.beside(alone, beside).used(&before, &after))
}

/// Runs chains one after the other, and returns how long each took.
async fn chains(load: &Load, instances: u32) -> Result<Vec<f64>, CliError> {
    load.spread(1, instances, async |connection, _| {
        let started_at = Instant::now();
        let input = Bytes::from_static(TEXT.as_bytes());
        connection.run("BenchChain", input, TEXT).await?;
        Ok(ms_since(started_at))
    })
    .await
}

/// Calls that many activities at a time, without end.
async fn flood(load: &Load, activities: u32) -> Result<Infallible, CliError> {
    let each = activities.div_ceil(FLOODING);
    let (input, output) = (Bytes::from(single::load(each)), each.to_string());
    let flooding = (0..FLOODING).map(async |_| {
        let mut connection = load.connect().await?;
        loop {
            connection.run("BenchFanout", input.clone(), &output).await?;
        }
    });
    let mut never = try_join_all(flooding).await?;
    Ok(never.swap_remove(0))
}
