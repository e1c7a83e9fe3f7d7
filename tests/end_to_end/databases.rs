//! Opens, checks, replays and continues databases of older hosts.
//!
//! `tests/end_to_end/databases/` has a compressed database for each released schema. `WINDLASS_NEW_DATABASE=1` adds the
//! one of the current schema if it is missing.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};
use harness::{World, until};
use reqwest::Method;
use serde_json::json;

/// Set to 1 to write the database of the current schema.
const NEW: &str = "WINDLASS_NEW_DATABASE";

const MODULES: &[&str] = &[
    "bench",
    "bench_activities",
    "bench_entities",
    "patterns",
    "hostile_orchestrations",
    "hostile_activities",
];

fn databases() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("end_to_end/databases")
}

/// The schema version of a database: the user version in SQLite's header
/// (<https://www.sqlite.org/fileformat2.html>, section 1.3).
fn schema(database: &[u8]) -> u32 {
    u32::from_be_bytes(database[60..64].try_into().expect("four bytes"))
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    u64::try_from(since.as_millis()).expect("the time fits into 64 bits")
}

/// Starts a host that has instances in every state, and every other kind of stored data.
async fn populate() -> World {
    // These limits allow a turn to run for so long that the host can be killed during it.
    let mut world = World::start_with(MODULES, &["--turn-timeout", "10m", "--turn-fuel", "1000000000000000"]).await;
    world.post("/v1/tenants", &json!({ "name": "acme" })).await.expect(201);

    let text = "a text that is not short. ".repeat(40);
    world
        .run("BenchFanout", &json!({ "activities": 200, "text": text }))
        .await;
    world.begin("BenchChain", "completed", &json!(text)).await;
    world.output_of("completed").await;
    world.begin("BenchCollect", "failed", &json!(null)).await;
    world.raise("failed", "item", json!("no number")).await;
    world.failure_of("failed").await;
    world.begin("BenchParked", "terminated", &json!(null)).await;
    world
        .tell("/v1/instances/terminated/terminate?reason=enough")
        .await
        .expect(202);
    world.once_status("terminated", "Terminated").await;

    world
        .begin("BenchCold", "long", &json!({ "activities": 500, "text": text }))
        .await;
    world.begin("BenchCollect", "running", &json!(null)).await;
    for item in 1..=20 {
        world.raise("running", "item", json!(item)).await;
        world.raise("running", "Unheard", json!(text.repeat(20))).await;
    }
    world
        .begin("RunningTotal", "continued", &json!({ "turnsPerExecution": 5 }))
        .await;
    world
        .begin("RunningTotal", "suspended", &json!({ "turnsPerExecution": 5 }))
        .await;
    world.tell("/v1/instances/suspended/suspend").await.expect(202);
    world.once_status("suspended", "Suspended").await;
    for payment in 1..=17 {
        world.raise("continued", "payment", json!(payment)).await;
        world.raise("suspended", "payment", json!(payment)).await;
    }
    world.once_custom("continued", 153).await;

    store_what_is_new_since_11(&world).await;
    let mut guests = guests_without_history(&world).await;
    world.begin("HostileTurnLoop", "stuck", &json!(null)).await;
    // The first end does not count: it is not in a quiet period. Afterwards the turn runs by itself.
    for _ in 0..4 {
        until("the endless turn", async || {
            (guests_without_history(&world).await > guests).then_some(())
        })
        .await;
        world.crash().await;
        guests = 0.0;
    }
    world.once_status("stuck", "Stuck").await;
    world
}

/// How many guests were created since the host started, to run the first turn of an execution.
async fn guests_without_history(world: &World) -> f64 {
    let metrics = world.metrics().await;
    metrics.number("windlass_guests_started_total{history=\"none\"}")
}

/// Stores what databases with the schema 11 do not have: entities, schedules, a rewind, a cancelled instance, tags.
async fn store_what_is_new_since_11(world: &World) {
    for sum in 1..=3 {
        let path = "/v1/entities/BenchCounter/a/calls/add";
        let answer = world.post(path, &json!(null)).await.expect(200);
        assert_eq!(answer["output"], sum);
    }
    let signal = "/v1/entities/BenchCounter/late/signals/add?at=2100-01-01T00:00:00Z";
    world.post(signal, &json!(null)).await.expect(202);
    let nightly = json!({
        "orchestration": "BenchChain",
        "input": "night",
        "cron": "0 3 * * *",
        "timeZone": "Europe/Berlin",
    });
    let put = world.request(Method::PUT, "/v1/schedules/nightly").json(&nightly);
    world.send(put).await.expect(201);
    world.tell("/v1/schedules/nightly/pause").await.expect(200);
    world.tell("/v1/instances/failed/rewind").await.expect(202);
    world.failure_of("failed").await;
    let start = "/v1/orchestrations/BenchParked?instanceId=cancelled&startAfter=30d&tag=customer:ada";
    world.post(start, &json!(null)).await.expect(202);
    world.tell("/v1/instances/cancelled/cancel").await.expect(202);
    world.once_status("cancelled", "Canceled").await;
}

/// Uses what [`store_what_is_new_since_11`] has stored.
async fn continue_what_is_new_since_11(world: &World) {
    let path = "/v1/entities/BenchCounter/a/calls/add";
    let answer = world.post(path, &json!(null)).await.expect(200);
    assert_eq!(answer["output"], 4);
    let late = world.get("/v1/entities/BenchCounter/late").await.expect(200);
    assert_eq!(late["waiting"], 1, "{late:#}");
    let nightly = world.get("/v1/schedules/nightly").await.expect(200);
    assert_ne!(nightly["paused"], json!(false), "{nightly:#}");
    let started = world.tell("/v1/schedules/nightly/trigger").await.expect(202);
    let id = started["id"].as_str().expect("an id").to_owned();
    assert_eq!(world.output_of(&id).await, "night");
    let cancelled = world.status("cancelled").await;
    assert_eq!(
        (&cancelled["runtimeStatus"], &cancelled["tags"]["customer"]),
        (&json!("Canceled"), &json!("ada"))
    );
    world.tell("/v1/instances/failed/rewind").await.expect(202);
    world.failure_of("failed").await;
}

/// Writes the database of the current schema, if it is missing.
async fn write_newest(folder: &Path) {
    let mut world = populate().await;
    let call = json!({ "activity": "HostileSleep", "attempts": 2, "attemptTimeoutMs": 3_000 });
    world.begin("CallHostileActivity", "cut-off", &call).await;
    world.once_status("cut-off", "Running").await;
    world.crash().await;
    let due = milliseconds(SystemTime::now() + Duration::from_secs(30));
    world.begin("BenchSleeper", "asleep", &json!(due)).await;
    world.once_status("asleep", "Running").await;

    let backup = tempfile::tempdir().expect("a folder for the backup");
    let file = backup.path().join("windlass.db");
    let [data, to] = [&world.data(), &file].map(|path| path.display().to_string());
    let command = world.cli(&["backup", "--data", &data, &to]).await;
    assert_eq!(command.code, 0, "{}", command.stderr);
    world.stop().await;

    let database = fs::read(file).expect("the backup");
    let path = folder.join(format!("schema-{}.db.gz", schema(&database)));
    if !path.exists() {
        let file = fs::File::create(path).expect("the repository is writable");
        let mut file = GzEncoder::new(file, Compression::best());
        file.write_all(&database).expect("the repository is writable");
        file.finish().expect("the repository is writable");
    }
}

/// Continues every instance that [`populate`] and [`write_newest`] left behind, until it ends.
async fn continue_all(world: &World) {
    let text = world.output_of("completed").await;
    assert_eq!(
        world.run("BenchChain", &text).await,
        text,
        "the stored modules serve new instances"
    );
    world.failure_of("failed").await;
    assert_eq!(world.end_of("terminated").await["output"], "enough");

    world.raise("long", "go", json!("go")).await;
    assert_eq!(world.output_of("long").await, 500);
    world.raise("running", "item", json!(21)).await;
    world.raise("running", "item", json!(-1)).await;
    assert_eq!(world.output_of("running").await, json!((1..=21).collect::<Vec<_>>()));
    world.tell("/v1/instances/suspended/resume").await.expect(202);
    for id in ["continued", "suspended"] {
        world.raise(id, "payment", json!(18)).await;
        world.once_custom(id, 171).await;
        world.raise(id, "close", json!(null)).await;
        assert_eq!(world.output_of(id).await["payments"], 18);
    }
    world.output_of("asleep").await;
    assert_eq!(world.output_of("cut-off").await["errorType"], "windlass.timeout");
    assert_eq!(world.status("stuck").await["runtimeStatus"], "Stuck");
    world.tell("/v1/instances/stuck/terminate").await.expect(202);
    world.once_status("stuck", "Terminated").await;

    let tenants = world.get("/v1/tenants").await.expect(200);
    assert!(tenants.to_string().contains("acme"), "{tenants:#}");
}

#[tokio::test]
async fn databases_of_older_hosts_are_read_and_continued() {
    let folder = databases();
    if std::env::var_os(NEW).is_some_and(|value| value == "1") {
        write_newest(&folder).await;
    }
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .expect("a folder of the repository")
        .map(|entry| entry.expect("a file of the repository").path())
        .collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let mut database = Vec::new();
        let file = fs::File::open(&path).expect("a file of the repository");
        GzDecoder::new(file)
            .read_to_end(&mut database)
            .expect("the file is compressed with gzip");
        let version = schema(&database);
        assert!(path.ends_with(format!("schema-{version}.db.gz")), "{}", path.display());
        let data = tempfile::tempdir().expect("a folder for the test");
        fs::write(data.path().join("windlass.db"), database).expect("the folder is writable");
        let world = World::start_from(data.path()).await;
        continue_all(&world).await;
        if version > 11 {
            continue_what_is_new_since_11(&world).await;
        }
        // This also replays every history, including those of ended instances.
        world.stop().await;
    }
}
