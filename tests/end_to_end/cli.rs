//! Tests of the command line: tables for people, JSON for programs, exit codes.

use std::fs;

use harness::{World, module};
use serde_json::{Value, json};

const MODULES: &[&str] = &["bench", "bench_activities"];

#[tokio::test]
async fn deploy_uploads_files_under_their_names() {
    let world = World::start(&[]).await;
    let folder = world.data();
    let files: Vec<_> = MODULES
        .iter()
        .map(|name| {
            let path = folder.with_file_name(format!("{name}.wasm"));
            fs::write(&path, module(name)).expect("the folder is writable");
            path.display().to_string()
        })
        .collect();
    let deploy = world.cli(&["deploy", &files[0], &files[1]]).await;
    assert_eq!(deploy.code, 0, "{deploy:?}");
    assert!(
        deploy.stdout.contains("BenchFanout") && deploy.stdout.contains("BenchEcho"),
        "{deploy:?}"
    );
    let modules = world.cli(&["modules"]).await;
    assert_eq!(modules.code, 0);
    for word in ["bench", "bench_activities", "orchestration", "activity", "sha256:"] {
        assert!(modules.stdout.contains(word), "{modules:?}");
    }
    // Escape sequences are not written to a pipe.
    assert!(!modules.stdout.contains('\u{1b}'));

    let broken = folder.with_file_name("broken.wasm");
    fs::write(&broken, b"no module").expect("the folder is writable");
    let refused = world.cli(&["deploy", &broken.display().to_string()]).await;
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(refused.stderr.contains("not WebAssembly"), "{refused:?}");
    let missing = world.cli(&["deploy", "no-such-file.wasm"]).await;
    assert_ne!(missing.code, 0, "{missing:?}");
    world.stop().await;
}

#[tokio::test]
async fn commands_start_show_list_and_purge_an_instance() {
    let world = World::start(MODULES).await;
    let started = world
        .cli(&["start", "BenchChain", "--id", "one", "--input", "\"hello\"", "--wait"])
        .await;
    assert_eq!(started.code, 0, "{started:?}");
    assert!(
        started.stdout.contains("hello") && started.stdout.contains("Completed"),
        "{started:?}"
    );

    let status = world.cli(&["status", "one"]).await;
    assert_eq!(status.code, 0);
    assert!(
        status.stdout.contains("one") && status.stdout.contains("Completed"),
        "{status:?}"
    );
    let status = world.cli(&["status", "one", "--json"]).await.json();
    assert_eq!(
        (&status["instanceId"], &status["output"]),
        (&json!("one"), &json!("hello"))
    );

    let history = world.cli(&["status", "one", "--history"]).await;
    assert_eq!(history.code, 0);
    assert!(history.stdout.matches("BenchEcho").count() >= 5, "{history:?}");
    let history = world.cli(&["status", "one", "--history", "--json"]).await.json();
    assert_eq!(history["history"].as_array().map(Vec::len), Some(6));

    let list = world.cli(&["list", "--name", "BenchChain"]).await;
    assert!(list.code == 0 && list.stdout.contains("one"), "{list:?}");
    let list = world.cli(&["list", "--json"]).await;
    let lines: Vec<Value> = list
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON on each line"))
        .collect();
    assert_eq!((lines.len(), &lines[0]["instanceId"]), (1, &json!("one")));

    assert_eq!(world.cli(&["logs", "one"]).await.code, 0);
    assert_eq!(world.cli(&["purge", "one"]).await.code, 0);
    assert_eq!(world.cli(&["status", "one"]).await.code, 3);
    world.stop().await;
}

#[tokio::test]
async fn logs_show_what_the_guest_printed() {
    let world = World::start(&["std_everywhere"]).await;
    world
        .begin("StdEverywhere", "chatty", &json!({ "sleepSeconds": 0 }))
        .await;
    world.output_of("chatty").await;
    let logs = world.cli(&["logs", "chatty"]).await;
    assert_eq!(logs.code, 0);
    assert!(
        logs.stdout.contains("nap 1: a durable timer") && logs.stdout.contains("nap 2"),
        "{logs:?}"
    );
    let errors = world.cli(&["logs", "chatty", "--level", "error", "--json"]).await;
    assert_eq!((errors.code, errors.stdout.trim()), (0, ""));
    world.stop().await;
}

#[tokio::test]
async fn commands_raise_events_and_control_instances() {
    let world = World::start(&["approval", "approval_activities"]).await;
    let input = world.input(json!({
        "title": "New winch",
        "requester": "ada@example.com",
        "approver": "grace@example.com",
        "manager": "barbara@example.com",
    }));
    let file = world.data().with_file_name("input.json");
    fs::write(&file, input.to_string()).expect("the folder is writable");
    let from_file = format!("@{}", file.display());
    let started = world
        .cli(&[
            "start",
            "ApprovalWorkflow",
            "--id",
            "cli",
            "--input",
            &from_file,
            "--json",
        ])
        .await;
    assert_eq!((started.code, &started.json()["id"]), (0, &json!("cli")));
    assert_eq!(
        world
            .cli(&["start", "ApprovalWorkflow", "--id", "cli", "--input", &from_file])
            .await
            .code,
        4
    );
    assert_eq!(world.cli(&["purge", "cli"]).await.code, 4);
    assert_eq!(world.cli(&["suspend", "cli"]).await.code, 0);
    world.once_status("cli", "Suspended").await;
    let event = [
        "event",
        "cli",
        "approval",
        "--payload",
        r#"{"approved":true,"by":"grace"}"#,
    ];
    assert_eq!(world.cli(&event).await.code, 0);
    assert_eq!(world.cli(&["resume", "cli"]).await.code, 0);
    let watched = world.cli(&["status", "cli", "--watch"]).await;
    assert_eq!(watched.code, 0, "{watched:?}");
    assert!(watched.stdout.contains("Completed"), "{watched:?}");
    assert_eq!(world.cli(&event).await.code, 4);
    assert_eq!(world.cli(&["terminate", "cli"]).await.code, 4);
    assert_eq!(world.cli(&["terminate", "nobody"]).await.code, 3);
    world.stop().await;
}

#[tokio::test]
async fn exit_codes_distinguish_errors() {
    let world = World::start(&["hostile_orchestrations", "bench"]).await;
    let failed = world.cli(&["start", "HostileTurnPanic", "--wait"]).await;
    assert_eq!(failed.code, 1, "{failed:?}");
    let wrong = world.cli(&["start", "BenchFanout", "--input", "{}"]).await;
    assert_eq!(wrong.code, 1, "{wrong:?}");
    assert!(wrong.stderr.contains("schema"), "{wrong:?}");
    let near = world.cli(&["start", "BenchFanuot"]).await;
    assert_eq!(near.code, 3, "{near:?}");
    assert!(near.stderr.contains("BenchFanout"), "{near:?}");
    assert_eq!(world.cli(&["start"]).await.code, 2);
    assert_eq!(world.cli(&["start", "BenchChain", "--input", "no json"]).await.code, 2);
    assert_eq!(world.cli(&["status", "nobody"]).await.code, 3);
    assert_eq!(world.cli(&["logs", "nobody"]).await.code, 3);
    // Nothing listens on port 1: it is reserved, and binding it needs privileges that tests do not have.
    assert_eq!(world.cli(&["list", "--url", "http://127.0.0.1:1"]).await.code, 5);
    world.stop().await;
}
