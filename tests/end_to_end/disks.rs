//! Tests of full disks, unusable folders, and backups.

use std::fs;
use std::path::Path;
use std::process::Output;

use harness::{World, until};
use serde_json::{Value, json};

const MODULES: &[&str] = &["bench", "bench_activities", "patterns", "patterns_activities"];

/// Runs a command that does not connect to a host.
fn windlass(args: &[&str]) -> Output {
    let mut command = std::process::Command::new(harness::windlass());
    command.args(args).output().expect("the binary runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn starts_are_refused_while_the_disk_is_full_and_nothing_is_lost() {
    let mut world = World::start_with(MODULES, &["--max-database", "6MiB"]).await;
    let text = "x".repeat(50_000);
    let mut accepted = Vec::new();
    let refused = loop {
        let id = format!("full-{}", accepted.len());
        let path = format!("/v1/orchestrations/BenchChain?instanceId={id}");
        let answer = world.post(&path, &json!(text)).await;
        if answer.status != 202 {
            break answer;
        }
        accepted.push(id);
        assert!(accepted.len() < 5_000, "the disk never fills up");
    };
    assert_eq!(refused.header("retry-after"), "1");
    refused.refused(503, "store-unavailable");
    assert!(accepted.len() > 3, "{}", accepted.len());
    // The host keeps running and logs the problem.
    world.get("/healthz").await.expect(200);
    assert!(world.log().contains("full"), "{}", world.log());

    world.kill().await;
    world.restart_with(&["--max-database", "1GiB"]).await;
    for id in &accepted {
        assert_eq!(world.output_of(id).await, json!(text), "{id}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_backup_of_a_running_host_continues_on_another_host() {
    let world = World::start(MODULES).await;
    assert_eq!(world.run("BenchChain", &json!("before")).await, "before");
    world.begin("BenchParked", "waits", &Value::Null).await;
    world.once_status("waits", "Running").await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("windlass.db");
    let data = world.data();
    let args = [
        "backup",
        "--json",
        "--data",
        data.to_str().unwrap(),
        file.to_str().unwrap(),
    ];
    let output = windlass(&args);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["instances"], 2, "{report:#}");
    assert_eq!(report["bytes"], fs::metadata(&file).unwrap().len());
    let again = windlass(&args);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("already exists"), "{again:?}");
    // The original host continues.
    world.raise("waits", "go", json!("here")).await;
    let here = world.output_of("waits").await;
    world.stop().await;

    let restored = World::start_from(folder.path()).await;
    restored.raise("waits", "go", json!("here")).await;
    assert_eq!(restored.output_of("waits").await, here);
    restored.stop().await;
}

/// Runs a command whose files cannot grow beyond `kib` KiB: larger writes fail, as on a full disk.
fn windlass_with_little_disk(kib: u32, args: &[&str]) -> Output {
    // Without the trap, the kernel would end the process instead of failing the write.
    let script = format!("trap '' XFSZ; ulimit -f {kib}; exec \"$0\" \"$@\"");
    let mut command = std::process::Command::new("bash");
    command.arg("-c").arg(script).arg(harness::windlass()).args(args);
    command.output().expect("bash runs")
}

#[tokio::test]
async fn a_backup_to_a_full_disk_fails_and_leaves_no_file_behind() {
    let world = World::start(MODULES).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("windlass.db");
    let data = world.data();
    let args = ["backup", "--data", data.to_str().unwrap(), file.to_str().unwrap()];
    let output = windlass_with_little_disk(100, &args);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = stderr(&output);
    assert!(error.contains("windlass.db") && error.contains("failed"), "{error}");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        0,
        "the incomplete backup was left behind"
    );
    // The host is unaffected, and the next backup succeeds.
    assert_eq!(world.run("BenchChain", &json!("beside")).await, "beside");
    assert!(windlass(&args).status.success());
    world.stop().await;
}

/// Runs `serve` with a data folder that it must refuse; returns the error output.
fn refused(data: &Path) -> String {
    let data = data.to_str().expect("a path");
    let output = windlass(&["serve", "--listen", "127.0.0.1:0", "--data", data]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stdout.is_empty(), "the host listened: {output:?}");
    stderr(&output)
}

#[tokio::test]
async fn unusable_data_folders_are_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("windlass.db");
    fs::write(&database, "somebody's shopping list ".repeat(100)).unwrap();
    let error = refused(folder.path());
    assert!(error.contains("not a database"), "{error}");
    assert!(
        fs::read(&database).unwrap().starts_with(b"somebody's"),
        "the file is unchanged"
    );
    // A folder that not even root can create.
    let error = refused(Path::new("/proc/windlass"));
    assert!(error.contains("/proc/windlass"), "{error}");
    // A file instead of a folder.
    let error = refused(&database);
    assert!(error.contains("windlass.db"), "{error}");
}

#[tokio::test]
async fn a_truncated_wal_is_reported_and_the_rest_is_recovered() {
    let mut world = World::start(MODULES).await;
    assert_eq!(world.run("BenchChain", &json!("first")).await, "first");
    let id = world.begin_any("BenchChain", &json!("second")).await;
    world.output_of(&id).await;
    world.kill().await;
    let log = world.data().join("windlass.db-wal");
    let length = fs::metadata(&log).unwrap().len();
    assert!(length > 20_000, "{length}");
    fs::OpenOptions::new()
        .write(true)
        .open(&log)
        .unwrap()
        .set_len(length - 9_000)
        .unwrap();
    world.restart().await;
    until("the report of the truncated log", async || {
        let log = world.log();
        (log.contains("the end of the database's log is missing") && log.contains("recovered the log")).then_some(())
    })
    .await;
    assert_eq!(world.run("BenchChain", &json!("third")).await, "third");
    world.stop().await;
}
