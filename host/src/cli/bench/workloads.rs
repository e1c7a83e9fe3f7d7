//! The shapes of load.

use std::path::Path;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;

use super::Figures;
use crate::cli::{client::Client, trouble::Trouble};
use crate::http::InstanceLinks;

/// Longest wait of one request.
const WAIT: Duration = Duration::from_secs(60);

/// Activities of one chain, as the module has it.
const CHAIN_ACTIVITIES: u64 = 5;

/// Steps over which the speed at the beginning and at the end of a long instance is taken.
const WINDOW: usize = 1_000;

/// What a status document is read for.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    runtime_status: String,
    output: Option<Value>,
}

/// Uploads one of the bench modules.
pub(super) async fn deploy(client: &Client, folder: &Path, module: &str) -> Result<(), Trouble> {
    let path = folder.join(format!("{module}.wasm"));
    let bytes = tokio::fs::read(&path).await.map_err(|error| {
        Trouble::Usage(format!(
            "{}: {error}; `make modules` builds the modules, --modules names their folder",
            path.display()
        ))
    })?;
    client
        .call(Method::PUT, &["modules", module])
        .body(bytes.len() as u64, bytes.into())
        .send()
        .await?;
    Ok(())
}

/// Starts an orchestration, waits for its end, and checks its output. Returns its id.
async fn run(client: &Client, function: &str, input: &Value, expected: &Value) -> Result<String, Trouble> {
    let call = client
        .call(Method::POST, &["orchestrations", function])
        .json(Some(input.to_string()));
    let answer = call
        .query("wait", format!("{}s", WAIT.as_secs()))
        .patience(WAIT)
        .send()
        .await?;
    if let Ok(status) = answer.read::<Status>()
        && let Ok(named) = answer.read::<Named>()
    {
        return ended(status, expected).map(|()| named.instance_id);
    }
    let links: InstanceLinks = answer.read()?;
    loop {
        let call = client
            .get(&["instances", &links.id])
            .query("wait", format!("{}s", WAIT.as_secs()))
            .patience(WAIT);
        let status: Status = call.send().await?.read()?;
        if !["Pending", "Running"].contains(&status.runtime_status.as_str()) {
            return ended(status, expected).map(|()| links.id);
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Named {
    instance_id: String,
}

/// A measurement of wrong results is none.
fn ended(status: Status, expected: &Value) -> Result<(), Trouble> {
    if status.runtime_status == "Completed" && status.output.as_ref() == Some(expected) {
        return Ok(());
    }
    Err(Trouble::failed(format!(
        "an instance is {} with the output {:?}",
        status.runtime_status, status.output
    )))
}

/// Many short instances, `in_flight` at once.
pub(super) async fn chain(client: &Client, instances: u32, in_flight: u32) -> Result<Figures, Trouble> {
    let text = Value::from("bench");
    run(client, "BenchChain", &text, &text).await?;
    let begun = Instant::now();
    stream::iter(0..instances)
        .map(|_| run(client, "BenchChain", &text, &text))
        .buffer_unordered(in_flight.max(1) as usize)
        .try_for_each(async |_| Ok(()))
        .await?;
    let wall_s = begun.elapsed().as_secs_f64();
    let activities = u64::from(instances) * CHAIN_ACTIVITIES;
    Ok(Figures {
        workload: "chain",
        wall_s,
        instances: instances.into(),
        activities,
        instances_per_s: Some(f64::from(instances) / wall_s),
        activities_per_s: activities as f64 / wall_s,
        ..Figures::default()
    })
}

/// Short instances, one after the other: how long each takes.
pub(super) async fn alone(client: &Client, instances: u32, figures: &mut Figures) -> Result<(), Trouble> {
    let text = Value::from("bench");
    let mut times = Vec::new();
    for _ in 0..instances {
        let begun = Instant::now();
        run(client, "BenchChain", &text, &text).await?;
        times.push(begun.elapsed().as_secs_f64() * 1_000.0);
    }
    times.sort_by(f64::total_cmp);
    figures.p50_ms = percentile(&times, 50);
    figures.p99_ms = percentile(&times, 99);
    Ok(())
}

/// The smallest of the sorted values that at least that many percent do not exceed (nearest rank).
fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied()
}

/// Many activities at once in one instance.
pub(super) async fn fanout(client: &Client, activities: u32) -> Result<Figures, Trouble> {
    let load = |activities: u32| serde_json::json!({"activities": activities, "text": "bench"});
    run(client, "BenchFanout", &load(1), &Value::from(1)).await?;
    let begun = Instant::now();
    run(client, "BenchFanout", &load(activities), &Value::from(activities)).await?;
    Ok(one_instance("fanout", activities, begun))
}

/// Many activities in sequence in one instance.
pub(super) async fn long(client: &Client, activities: u32) -> Result<Figures, Trouble> {
    let load = |activities: u32| serde_json::json!({"activities": activities, "text": "bench"});
    run(client, "BenchLong", &load(1), &Value::from(1)).await?;
    let begun = Instant::now();
    let id = run(client, "BenchLong", &load(activities), &Value::from(activities)).await?;
    let mut figures = one_instance("long", activities, begun);
    let times = turn_times_ms(client, &id).await?;
    let window = WINDOW.min(times.len().saturating_sub(1));
    if window > 0 {
        let per_step = |part: &[f64]| (part[part.len() - 1] - part[0]) / window as f64;
        figures.ms_per_step_first = Some(per_step(&times[..=window]));
        figures.ms_per_step_last = Some(per_step(&times[times.len() - 1 - window..]));
    }
    Ok(figures)
}

fn one_instance(workload: &'static str, activities: u32, begun: Instant) -> Figures {
    let wall_s = begun.elapsed().as_secs_f64();
    Figures {
        workload,
        wall_s,
        instances: 1,
        activities: activities.into(),
        activities_per_s: f64::from(activities) / wall_s,
        ..Figures::default()
    }
}

/// The time of each turn of an instance, in milliseconds.
async fn turn_times_ms(client: &Client, id: &str) -> Result<Vec<f64>, Trouble> {
    let (mut times, mut after) = (Vec::new(), 0);
    loop {
        let call = client
            .get(&["instances", id])
            .query("history", true)
            .query("historyAfter", after);
        let page: Value = call.send().await?.read()?;
        let turns = page["history"].as_array().cloned().unwrap_or_default();
        for turn in &turns {
            let time = turn["time"]
                .as_str()
                .and_then(|time| humantime::parse_rfc3339(time).ok());
            let time = time.ok_or_else(|| Trouble::failed("a turn of the history has no time"))?;
            times.push(
                time.duration_since(std::time::UNIX_EPOCH)
                    .unwrap_or_default()
                    .as_secs_f64()
                    * 1_000.0,
            );
        }
        match page["historyNext"].as_u64() {
            Some(next) => after = next,
            None => return Ok(times),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<f64> = (1..=200).map(f64::from).collect();
        assert_eq!(
            (percentile(&values, 50), percentile(&values, 99)),
            (Some(100.0), Some(198.0))
        );
        assert_eq!((percentile(&[7.0], 99), percentile(&[], 50)), (Some(7.0), None));
    }
}
