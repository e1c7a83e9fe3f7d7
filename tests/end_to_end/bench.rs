//! Tests of `windlass bench`: every workload runs, verifies its outputs and reports its figures. The measured times
//! are not checked.

use harness::{World, modules};
use serde_json::Value;

/// Arguments for a short run.
const SMALL: &[&str] = &[
    "--in-flight=4",
    "--instances=20",
    "--alone=5",
    "--noisy=10",
    "--flood=2000",
    "--fanout=10,20",
    "--steps=10",
    "--parked=20",
    "--sleepers=20",
    "--window=500ms",
    "--kills=1",
    "--turns=20",
    "--signals=20",
    "--calls=128",
    "--entities=1,5",
    "--idle=20",
];

/// Figures of every workload that runs on its own host, besides its name and time.
const USED: &[&str] = &["commits", "rows_per_commit", "host_cpu_s", "host_rss_bytes"];

const THROUGHPUT: &[&str] = &[
    "instances_per_s",
    "activities_per_s",
    "host_cpu_ms_per_activity",
    "p50_ms",
    "p99_ms",
];
const ONE_INSTANCE: &[&str] = &["activities_per_s", "host_cpu_ms_per_activity"];
const NOISY: &[&str] = &["quiet_p50_ms", "quiet_p99_ms", "noisy_p50_ms", "noisy_p99_ms", "ratio"];
const STEPS: &[&str] = &["activities_per_s", "ms_per_step_first", "ms_per_step_last"];
const PARKED: &[&str] = &[
    "instances_per_s",
    "completions_per_s",
    "ready_s",
    "rss_bytes_per_instance",
];
const SLEEPERS: &[&str] = &["instances_per_s", "p50_ms", "p99_ms", "idle_cpu_ms_per_s"];
const OPERATIONS: &[&str] = &["operations", "operations_per_s", "host_cpu_ms_per_operation"];
const CALLS: &[&str] = &["entities", "p50_ms", "p99_ms"];
const IDLE_ENTITIES: &[&str] = &["entities", "bytes_per_entity", "rss_growth_bytes"];

/// The workloads in order, with their figures.
const ROWS: &[(&str, &[&[&str]])] = &[
    ("chain", &[USED, THROUGHPUT]),
    ("alone", &[USED, THROUGHPUT]),
    ("noisy", &[USED, NOISY]),
    ("fanout", &[USED, ONE_INSTANCE]),
    ("fanout", &[USED, ONE_INSTANCE]),
    ("long", &[USED, STEPS]),
    ("parked", &[USED, PARKED]),
    ("sleepers", &[USED, SLEEPERS]),
    ("disk", &[&["bytes_per_instance"]]),
    ("recovery", &[&["ready_s", "instances"]]),
    ("cold", &[USED, &["ready_s", "rss_growth_bytes"]]),
    ("signals", &[USED, OPERATIONS]),
    ("calls", &[USED, OPERATIONS, CALLS]),
    ("calls", &[USED, OPERATIONS, CALLS]),
    ("idle-entities", &[USED, OPERATIONS, IDLE_ENTITIES]),
];

/// Runs the benchmark and returns its rows.
async fn bench(world: &World, args: &[&str]) -> Vec<Value> {
    let folder = modules().display().to_string();
    let command = [&["bench", "--json", "--modules", &folder], args, SMALL].concat();
    let ended = world.cli(&command).await;
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines = ended.stdout.lines();
    lines.map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test]
async fn every_workload_reports_its_figures() {
    let world = World::start(&[]).await;
    let rows = bench(&world, &[]).await;
    let names: Vec<&str> = rows.iter().filter_map(|row| row["workload"].as_str()).collect();
    let expected: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, expected);
    for (row, (name, fields)) in rows.iter().zip(ROWS) {
        for field in fields.concat() {
            let value = row[field].as_f64();
            assert!(value.is_some_and(|value| value >= 0.0), "{name} has no {field}: {row}");
        }
        assert!(row["wall_s"].as_f64() > Some(0.0), "{row}");
    }
    assert_eq!(
        (&rows[0]["instances"], &rows[0]["activities"]),
        (&20.into(), &100.into())
    );
    world.stop().await;
}

#[tokio::test]
async fn bench_measures_a_running_host_without_stopping_or_killing_it() {
    let world = World::start(&[]).await;
    let url = world.url().to_owned();
    let rows = bench(&world, &["chain", "parked", "disk", "recovery", "cold", "--url", &url]).await;
    assert_eq!(rows[0]["instances"], 20, "{rows:?}");
    for field in ["instances_per_s", "host_rss_bytes", "commits"] {
        assert!(rows[0][field].as_f64() > Some(0.0), "{rows:?}");
    }
    assert_eq!(rows.len(), 5);
    for skipped in &rows[1..] {
        assert!(skipped["skipped"].is_string(), "{skipped}");
    }
    world.is_healthy().await;
    world.stop().await;
}
