//! Tests of schedules: they start each of their times once, through crashes of the host and pauses.

use std::time::{Duration, SystemTime};

use harness::{World, until};
use reqwest::Method;
use serde_json::{Value, json};

use crate::tenants::{Tenant, with_keys};

const MODULES: &[&str] = &["bench", "bench_activities", "approval", "approval_activities"];

async fn put(world: &World, name: &str, definition: Value) -> Value {
    let request = world.request(Method::PUT, &format!("/v1/schedules/{name}"));
    world.send(request.json(&definition)).await.expect(201)
}

async fn schedule(world: &World, name: &str) -> Value {
    world.get(&format!("/v1/schedules/{name}")).await.expect(200)
}

fn started(schedule: &Value) -> u64 {
    schedule["counts"]["started"].as_u64().expect("a count")
}

/// Waits until the schedule has started this many instances.
async fn once_started(world: &World, name: &str, count: u64) -> Value {
    until(&format!("{count} starts of {name}"), async || {
        Some(schedule(world, name).await).filter(|shown| started(shown) >= count)
    })
    .await
}

/// The ids of all instances whose ids begin with a prefix, sorted.
async fn ids(world: &World, prefix: &str) -> Vec<String> {
    let list = world
        .get(&format!("/v1/instances?instanceIdPrefix={prefix}&limit=1000"))
        .await
        .expect(200);
    let instances = list["instances"].as_array().expect("a list").iter();
    let mut ids: Vec<_> = instances
        .map(|instance| instance["instanceId"].as_str().expect("an id").to_owned())
        .collect();
    ids.sort();
    ids
}

/// The seconds since 1970 in the id of an instance.
fn second_of(id: &str, prefix: &str) -> u64 {
    let time = humantime::parse_rfc3339(id.strip_prefix(prefix).expect("the prefix")).expect("a time");
    time.duration_since(SystemTime::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

#[tokio::test]
async fn a_schedule_of_every_second_starts_each_of_them_once_through_crashes() {
    let mut world = World::start(MODULES).await;
    let every_second = json!({
        "orchestration": "BenchChain", "input": "x", "interval": "1s", "overlap": "allow", "tags": { "of": "every" },
    });
    put(&world, "every", every_second).await;
    for kills in 1..=3 {
        let before = once_started(&world, "every", 2 * kills).await;
        world.crash().await;
        let after = schedule(&world, "every").await;
        assert!(started(&after) >= started(&before), "{after:#}");
    }
    once_started(&world, "every", 8).await;
    let paused = world.tell("/v1/schedules/every/pause?note=enough").await.expect(200);
    let ids = ids(&world, "every-").await;
    assert_eq!(ids.len() as u64, started(&paused), "{ids:?}\n{paused:#}");
    let seconds: Vec<u64> = ids.iter().map(|id| second_of(id, "every-")).collect();
    let gapless: Vec<u64> = (seconds[0]..).take(seconds.len()).collect();
    assert_eq!(seconds, gapless, "a second is missing, or was started twice");
    assert_eq!(
        (
            &paused["counts"]["skipped"],
            &paused["counts"]["missed"],
            &paused["counts"]["failed"]
        ),
        (&json!(0), &json!(0), &json!(0))
    );
    for id in &ids {
        let ended = world.end_of(id).await;
        assert_eq!(
            (&ended["runtimeStatus"], &ended["tags"]["of"]),
            (&json!("Completed"), &json!("every"))
        );
    }
    // What comes due during a pause is started afterwards.
    world.tell("/v1/schedules/every/resume").await.expect(200);
    once_started(&world, "every", started(&paused) + 2).await;
    let metrics = world.metrics().await;
    assert!(metrics.number("windlass_schedule_times_total{outcome=\"started\"}") >= 2.0);
    let removed = world.delete("/v1/schedules/every").await;
    assert_eq!(removed.status, 204);
    world.stop().await;
}

#[tokio::test]
async fn overlapping_times_follow_the_policy() {
    let world = World::start(MODULES).await;
    let approval = world.input(json!({
        "title": "New winch",
        "requester": "ada@example.com",
        "approver": "grace@example.com",
        "manager": "barbara@example.com",
        "reminderEverySeconds": 3600,
    }));
    let of = |overlap: &str| json!({ "orchestration": "ApprovalWorkflow", "input": approval, "interval": "1s", "overlap": overlap });
    put(&world, "skip", of("skip")).await;
    put(&world, "queue", of("queueOne")).await;
    put(&world, "end", of("terminate")).await;
    let skipped = until("two skipped times", async || {
        Some(schedule(&world, "skip").await).filter(|shown| shown["counts"]["skipped"].as_u64() >= Some(2))
    })
    .await;
    assert_eq!(started(&skipped), 1, "{skipped:#}");

    let queued = until("a queued time", async || {
        Some(schedule(&world, "queue").await).filter(|shown| shown["queuedTime"].is_string())
    })
    .await;
    assert_eq!(started(&queued), 1, "{queued:#}");
    let first = queued["lastInstanceId"].as_str().expect("an instance").to_owned();
    world
        .raise(&first, "Approval", json!({ "approved": true, "by": "grace" }))
        .await;
    let second = once_started(&world, "queue", 2).await;
    let time = queued["queuedTime"].as_str().expect("a time").replace(".000Z", "Z");
    assert_eq!(second["lastInstanceId"], format!("queue-{time}"));

    let ended = once_started(&world, "end", 3).await;
    world.tell("/v1/schedules/end/pause").await.expect(200);
    let ids = ids(&world, "end-").await;
    assert!(ids.len() as u64 >= started(&ended));
    for id in &ids[..ids.len() - 1] {
        let status = world.end_of(id).await;
        assert_eq!(status["runtimeStatus"], "Terminated", "{status:#}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_refused_start_is_tried_again_and_shown() {
    let world = World::start(&["approval", "approval_activities", "bench", "bench_activities"]).await;
    let definition = json!({ "orchestration": "BenchChain", "input": "x", "interval": "1s", "overlap": "allow" });
    put(&world, "report", definition).await;
    once_started(&world, "report", 1).await;
    assert_eq!(world.delete("/v1/modules/bench").await.status, 204);
    let refused = until("a refused start", async || {
        Some(schedule(&world, "report").await).filter(|shown| shown["refused"].is_object())
    })
    .await;
    let reason = refused["refused"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("BenchChain"), "{refused:#}");
    world.deploy(&["bench"]).await;
    let before = started(&refused);
    let after = once_started(&world, "report", before + 2).await;
    assert_eq!(after["counts"]["failed"], 0, "{after:#}");
    assert!(after.get("refused").is_none(), "{after:#}");
    let nominal = refused["refused"]["time"]
        .as_str()
        .expect("a time")
        .replace(".000Z", "Z");
    assert_eq!(
        world.end_of(&format!("report-{nominal}")).await["runtimeStatus"],
        "Completed"
    );
    world.stop().await;
}

#[tokio::test]
async fn quotas_and_a_disabled_tenant_delay_starts_and_another_tenant_is_not_delayed() {
    let world = with_keys(&[]).await;
    let acme = Tenant::create(&world, "acme", json!({ "maxSchedules": 1, "startsPerSecond": 1 })).await;
    let other = Tenant::create(&world, "other", json!({})).await;
    let every_second = json!({ "orchestration": "BenchChain", "input": "x", "interval": "1s", "overlap": "allow" });
    let put = async |tenant: &Tenant, name: &str| {
        let path = format!("/v1/schedules/{name}");
        let request = world.request_as(Some(&tenant.operator), Method::PUT, &path);
        world.send(request.json(&every_second)).await
    };
    put(&acme, "a").await.expect(201);
    let refused = put(&acme, "b").await.refused(403, "quota-exceeded");
    assert_eq!(
        (&refused["quota"], &refused["limit"]),
        (&json!("maxSchedules"), &json!(1))
    );
    put(&other, "a").await.expect(201);
    let shown = async |tenant: &Tenant| {
        let request = world.request_as(Some(&tenant.operator), Method::GET, "/v1/schedules/a");
        world.send(request).await.expect(200)
    };
    until("a start of both", async || {
        let both = [shown(&acme).await, shown(&other).await];
        both.iter().all(|shown| started(shown) > 0).then_some(())
    })
    .await;
    let set = async |disabled: bool| {
        let request = world.request(Method::PATCH, "/v1/tenants/acme");
        world
            .send(request.json(&json!({ "disabled": disabled })))
            .await
            .expect(200)
    };
    set(true).await;
    let before = started(&shown(&other).await);
    until("further starts of the other tenant", async || {
        (started(&shown(&other).await) >= before + 3).then_some(())
    })
    .await;
    set(false).await;
    let enabled = shown(&acme).await;
    until("the starts that came due meanwhile", async || {
        (started(&shown(&acme).await) > started(&enabled)).then_some(())
    })
    .await;
    world.stop().await;
}

#[tokio::test]
async fn the_commands_manage_schedules() {
    let world = World::start(MODULES).await;
    let run = async |args: &[&str]| {
        let done = world.cli(args).await;
        assert_eq!(done.code, 0, "{args:?}: {done:?}");
        done.stdout
    };
    let created = run(&[
        "schedule",
        "create",
        "nightly",
        "BenchChain",
        "--cron",
        "30 2 * * *",
        "--time-zone",
        "Europe/Berlin",
        "--input",
        "\"x\"",
        "--tag",
        "of=night",
        "--overlap",
        "queueOne",
        "--catch-up",
        "1h",
        "--jitter",
        "1m",
    ])
    .await;
    assert!(created.contains("schedule nightly starts next at "), "{created}");
    let again = world
        .cli(&[
            "schedule",
            "create",
            "nightly",
            "BenchChain",
            "--every",
            "1d",
            "--input",
            "\"x\"",
        ])
        .await;
    assert_eq!(again.code, 4, "{again:?}");
    run(&["schedule", "pause", "nightly", "--note", "holidays"]).await;
    let list = run(&["schedule", "list"]).await;
    assert!(list.contains("nightly") && list.contains("paused"), "{list}");
    let triggered = run(&["schedule", "trigger", "nightly"]).await;
    let id = triggered.trim().strip_prefix("started ").expect("an id").to_owned();
    assert_eq!(world.end_of(&id).await["tags"]["of"], "night");
    let shown = run(&["schedule", "show", "nightly"]).await;
    for expected in ["30 2 * * * Europe/Berlin", "holidays", "queueOne", "1 started", &id] {
        assert!(shown.contains(expected), "{expected}: {shown}");
    }
    run(&["schedule", "resume", "nightly"]).await;
    run(&["schedule", "delete", "nightly"]).await;
    let gone = world.cli(&["schedule", "show", "nightly"]).await;
    assert_eq!(gone.code, 3, "{gone:?}");
    let next = run(&["schedule", "next", "--cron", "0 9 29 2 *", "--time-zone", "Asia/Tokyo"]).await;
    assert_eq!(
        next.lines()
            .filter(|line| line.ends_with("-02-29T00:00:00.000Z"))
            .count(),
        5,
        "{next}"
    );
    let wrong = world.cli(&["schedule", "next", "--cron", "61 * * * *"]).await;
    assert_eq!((wrong.code, wrong.stderr.contains("--cron")), (2, true), "{wrong:?}");
    world.stop().await;
}

#[tokio::test]
async fn what_came_due_while_the_host_was_down_follows_the_catch_up_window() {
    let mut world = World::start(MODULES).await;
    let of = |window: &str| {
        json!({
            "orchestration": "BenchChain", "input": "x", "interval": "1s", "overlap": "allow", "catchUpWindow": window,
        })
    };
    put(&world, "short", of("10s")).await;
    put(&world, "long", of("1h")).await;
    once_started(&world, "short", 1).await;
    world.kill().await;
    // Longer than the short window: time itself is what this test is about.
    tokio::time::sleep(Duration::from_secs(13)).await;
    world.restart().await;
    let missed = until("missed times", async || {
        Some(schedule(&world, "short").await).filter(|shown| shown["counts"]["missed"].as_u64() > Some(0))
    })
    .await;
    assert!(missed["counts"]["missed"].as_u64() >= Some(2), "{missed:#}");
    let long = once_started(&world, "long", 12).await;
    assert_eq!(long["counts"]["missed"], 0, "{long:#}");
    for name in ["short", "long"] {
        world.tell(&format!("/v1/schedules/{name}/pause")).await.expect(200);
    }
    world.stop().await;
}
