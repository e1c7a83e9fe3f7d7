//! One instance with many activities: all at once, or one after the other.

use std::time::Instant;

use http::StatusCode;
use serde_json::Value;

use crate::cli::bench::figures::Figures;
use crate::cli::bench::load::Connection;
use crate::cli::bench::target::Target;
use crate::cli::error::CliError;

/// Steps over which the speed at the beginning and at the end of a long instance is measured.
const WINDOW: u32 = 1_000;

/// The input for that many activities.
pub(super) fn load(activities: u32) -> String {
    format!("{{\"activities\":{activities},\"text\":\"bench\"}}")
}

/// Measures many activities at once in one instance.
pub(in crate::cli::bench) async fn fanout(target: &Target, activities: u32) -> Result<Figures, CliError> {
    let (_, figures) = run("fanout", "BenchFanout", target, activities).await?;
    Ok(figures)
}

/// Measures many activities in sequence in one instance.
pub(in crate::cli::bench) async fn long(target: &Target, activities: u32) -> Result<Figures, CliError> {
    let (id, mut figures) = run("long", "BenchLong", target, activities).await?;
    // The first turn is the start; each further one takes the result of a step.
    let window = WINDOW.min(activities);
    let mut connection = target.load().connect().await?;
    let first = span_ms(&mut connection, &id, 1, 1 + window).await?;
    let last = span_ms(&mut connection, &id, 1 + activities - window, 1 + activities).await?;
    figures.ms_per_step_first = Some(first / f64::from(window));
    figures.ms_per_step_last = Some(last / f64::from(window));
    Ok(figures)
}

async fn run(
    workload: &'static str,
    function: &str,
    target: &Target,
    activities: u32,
) -> Result<(String, Figures), CliError> {
    let mut connection = target.load().connect().await?;
    connection.run(function, load(1).into(), "1").await?;
    let before = target.read().await?;
    let started_at = Instant::now();
    let output = activities.to_string();
    let id = connection.run(function, load(activities).into(), &output).await?;
    let figures = Figures::new(workload, started_at.elapsed().as_secs_f64()).activities(activities);
    let after = target.read().await?;
    Ok((id, figures.used(&before, &after)))
}

/// The time from one turn of an instance to another, in milliseconds.
async fn span_ms(connection: &mut Connection, id: &str, from: u32, to: u32) -> Result<f64, CliError> {
    Ok(turn_ms(connection, id, to).await? - turn_ms(connection, id, from).await?)
}

/// The time of a turn of an instance, in milliseconds.
async fn turn_ms(connection: &mut Connection, id: &str, turn: u32) -> Result<f64, CliError> {
    let path = format!(
        "/v1/instances/{id}?history=true&historyAfter={}&historyLimit=1",
        turn - 1
    );
    let answer = connection.get(&path).await?.expect(StatusCode::OK)?;
    let page: Value = answer.read()?;
    let time = page["history"][0]["time"].as_str();
    let time = time.and_then(|time| humantime::parse_rfc3339(time).ok());
    let time = time.ok_or_else(|| CliError::failed(format!("the history has no turn {turn} with a time")))?;
    let since = time.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(since.as_secs_f64() * 1_000.0)
}
