//! One instance with a long history that is loaded again after a restart.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::{TEXT, single};
use crate::cli::bench::figures::Figures;
use crate::cli::bench::target::Target;
use crate::cli::error::CliError;

/// How often the progress of the instance is queried while its history grows.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Measures an instance of `turns` activities, from the event that wakes it to its end.
pub(in crate::cli::bench) async fn cold(target: &mut Target, turns: u32) -> Result<Figures, CliError> {
    let mut connection = target.load().connect().await?;
    connection
        .start("BenchCold", "cold", single::load(turns).into())
        .await?;
    loop {
        let answer = connection.get("/v1/instances/cold").await?;
        let answer = answer.expect(StatusCode::ACCEPTED)?;
        let instance = answer.instance()?;
        if instance.runtime_status == "Stuck" {
            return Err(CliError::failed("the instance got stuck"));
        }
        if instance.turns > turns {
            break;
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
    drop(connection);

    let ready_s = target.restart().await?;
    let mut connection = target.load().connect().await?;
    let before = target.read().await?;
    let started_at = Instant::now();
    connection.raise("cold", "go", TEXT.into()).await?;
    connection.complete("cold", &turns.to_string()).await?;
    let mut figures = Figures::new("cold", started_at.elapsed().as_secs_f64());
    let after = target.read().await?;
    figures.activities = Some(turns.into());
    let mut figures = figures.used(&before, &after);
    figures.host_cpu_ms_per_activity = None;
    figures.ready_s = Some(ready_s);
    // From the peak: memory needed temporarily counts too.
    figures.rss_growth_bytes = Some(after.peak_rss_bytes.saturating_sub(before.rss_bytes));
    Ok(figures)
}
