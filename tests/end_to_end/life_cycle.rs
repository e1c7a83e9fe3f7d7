//! Tests of delayed starts, restarts, tags, and operations on many instances, each with a crash in its middle.

use harness::{World, until};
use reqwest::Method;
use serde_json::{Value, json};

const MODULES: &[&str] = &["bench", "bench_activities", "approval", "approval_activities"];

fn approval(world: &World) -> Value {
    world.input(json!({
        "title": "New winch",
        "requester": "ada@example.com",
        "approver": "grace@example.com",
        "manager": "barbara@example.com",
        "reminderEverySeconds": 3600,
    }))
}

#[tokio::test]
async fn a_delayed_instance_starts_at_its_time_even_after_a_crash() {
    let mut world = World::start(MODULES).await;
    let path = "/v1/orchestrations/ApprovalWorkflow?instanceId=soon&startAfter=4s";
    world.post(path, &approval(&world)).await.expect(202);
    let far = world
        .cli(&[
            "start",
            "BenchChain",
            "--id",
            "far",
            "--input",
            "\"x\"",
            "--at",
            "2100-01-01T00:00:00Z",
        ])
        .await;
    assert_eq!(far.code, 0, "{far:?}");
    // An event that comes before the start waits.
    world
        .raise("soon", "Approval", json!({ "approved": true, "by": "grace" }))
        .await;
    let before = world.status("soon").await;
    assert_eq!(
        (&before["runtimeStatus"], &before["turns"]),
        (&json!("Pending"), &json!(0))
    );
    world.crash().await;

    let after = world.status("soon").await;
    assert_eq!(
        after["startAt"].as_str().unwrap_or_default(),
        before["startAt"],
        "{after:#}"
    );
    assert_eq!(world.output_of("soon").await["outcome"], "approved");
    let history = world.get("/v1/instances/soon?history=true").await.expect(200);
    let first = history["history"][0]["time"].as_str().expect("a first turn");
    assert!(first >= before["startAt"].as_str().expect("a time"), "{history:#}");

    let shown = world.cli(&["status", "far"]).await;
    assert!(
        shown.stdout.contains("Starts at  2100-01-01T00:00:00.000Z"),
        "{shown:?}"
    );
    assert_eq!(world.cli(&["terminate", "far", "--reason", "no need"]).await.code, 0);
    let ended = world.end_of("far").await;
    assert_eq!(
        (&ended["runtimeStatus"], &ended["output"], &ended["input"]),
        (&json!("Terminated"), &json!("no need"), &json!("x"))
    );
    world.purge("far").await;
    world.stop().await;
}

#[tokio::test]
async fn an_ended_instance_is_restarted_once_even_if_the_host_crashes() {
    let mut world = World::start(MODULES).await;
    let input = approval(&world);
    world.begin("ApprovalWorkflow", "again", &input).await;
    world.once_custom("again", "Waiting for grace@example.com").await;
    world
        .tell("/v1/instances/again/restart")
        .await
        .refused(409, "instance-not-ended");
    world
        .tell("/v1/instances/none/restart")
        .await
        .refused(404, "unknown-instance");
    world.tell("/v1/instances/again/terminate").await.expect(202);
    let first = world.end_of("again").await;

    let restart = async |world: &World| {
        let request = world.request(Method::POST, "/v1/instances/again/restart");
        world.send(request.header("idempotency-key", "restart-1")).await
    };
    restart(&world).await.expect(202);
    world.crash().await;
    let repeated = restart(&world).await;
    assert_eq!(repeated.header("idempotent-replayed"), "true");
    assert_eq!(repeated.expect(202)["id"], "again");
    world
        .raise("again", "Approval", json!({ "approved": true, "by": "grace" }))
        .await;
    assert_eq!(world.output_of("again").await["outcome"], "approved");
    let second = world.status("again").await;
    assert_eq!(second["input"], input);
    assert_ne!(second["createdTime"], first["createdTime"]);
    // The first request is answered again; it does not replace what has ended.
    restart(&world).await.expect(202);
    assert_eq!(world.status("again").await["createdTime"], second["createdTime"]);

    let beside = world.cli(&["restart", "again", "--as", "beside"]).await;
    assert_eq!(beside.code, 0, "{beside:?}");
    world
        .tell("/v1/instances/again/restart?instanceId=beside")
        .await
        .refused(409, "already-exists");
    world
        .raise("beside", "Approval", json!({ "approved": false, "by": "grace" }))
        .await;
    assert_ne!(world.output_of("beside").await, second["output"]);
    assert_eq!(world.status("again").await, second);
    world.begin("BenchChain", "short", &json!("x")).await;
    world.output_of("short").await;
    let waited = world
        .cli(&["restart", "short", "--new-id", "--wait", "--json"])
        .await
        .json();
    assert_eq!((&waited["output"], &waited["input"]), (&json!("x"), &json!("x")));
    assert_ne!(waited["instanceId"], "short");
    world.stop().await;
}

#[tokio::test]
async fn instances_are_found_by_their_tags_after_a_crash() {
    let mut world = World::start(MODULES).await;
    let start = ["start", "BenchChain", "--input", "\"x\"", "--tag", "customer=ada"];
    let one = world
        .cli(&[&start[..], &["--id", "one", "--tag", "region=eu", "--wait", "--json"]].concat())
        .await;
    let tags = json!({ "customer": "ada", "region": "eu" });
    assert_eq!(one.json()["tags"], tags);
    world.cli(&[&start[..], &["--id", "two"]].concat()).await;
    world.begin("BenchChain", "three", &json!("x")).await;
    let ended = world
        .post(
            "/v1/orchestrations/BenchChain?instanceId=four&tag=customer:bob&wait=60s",
            &json!("x"),
        )
        .await
        .expect(200);
    assert_eq!(ended["tags"], json!({ "customer": "bob" }));
    world.crash().await;

    let found = async |args: &[&str]| {
        let list = world.cli(&[&["list", "--json"][..], args].concat()).await;
        assert_eq!(list.code, 0, "{list:?}");
        let ids = list.stdout.lines().map(|line| {
            let instance: Value = serde_json::from_str(line).expect("JSON");
            instance["instanceId"].as_str().expect("an id").to_owned()
        });
        ids.collect::<Vec<_>>()
    };
    assert_eq!(found(&["--tag", "customer=ada"]).await, ["two", "one"]);
    assert_eq!(found(&["--tag", "customer=ada", "--tag", "region=eu"]).await, ["one"]);
    assert_eq!(found(&["--tag", "region=us"]).await, Vec::<String>::new());
    let status = world.cli(&["status", "one"]).await;
    assert!(
        status.stdout.contains("Tags       customer=ada, region=eu"),
        "{status:?}"
    );
    world.output_of("two").await;
    for id in ["one", "two", "three", "four"] {
        world.purge(id).await;
    }
    assert_eq!(found(&["--tag", "customer=ada"]).await, Vec::<String>::new());
    world.stop().await;
}

#[tokio::test]
async fn many_instances_are_suspended_terminated_and_purged_across_a_crash() {
    let mut world = World::start(MODULES).await;
    let input = approval(&world);
    for number in 0..20 {
        let group = if number < 12 { "red" } else { "blue" };
        let path = format!("/v1/orchestrations/ApprovalWorkflow?instanceId={group}-{number}&tag=group:{group}");
        world.post(&path, &input).await.expect(202);
    }
    let number_of = async |world: &World, filter: &str| {
        let list = world.get(&format!("/v1/instances?{filter}")).await.expect(200);
        list["instances"].as_array().expect("a list").len()
    };
    let once = async |world: &World, filter: &str, expected: usize| {
        until(&format!("{expected} instances are {filter}"), async || {
            (number_of(world, filter).await == expected).then_some(())
        })
        .await;
    };
    let say = async |world: &World, args: &[&str]| {
        let said = world.cli(args).await;
        assert_eq!(said.code, 0, "{said:?}");
        said.stdout.trim().to_owned()
    };
    let red = ["--tag", "group=red"];
    let suspend = |more: &[&'static str]| [&["suspend"][..], &red, more].concat();
    assert_eq!(
        say(&world, &suspend(&["--dry-run"])).await,
        "would ask 12 instances to suspend"
    );
    assert_eq!(number_of(&world, "runtimeStatus=Suspended").await, 0);
    assert_eq!(say(&world, &suspend(&[])).await, "asked 12 instances to suspend");
    // What was answered takes effect in spite of the crash.
    world.crash().await;
    once(&world, "runtimeStatus=Suspended", 12).await;
    assert_eq!(say(&world, &suspend(&[])).await, "asked 0 instances to suspend");
    say(&world, &["resume", "--prefix", "red-1"]).await;
    once(&world, "runtimeStatus=Suspended", 9).await;

    say(&world, &["terminate", "--status", "Suspended", "--reason", "no need"]).await;
    world.crash().await;
    once(&world, "runtimeStatus=Terminated", 9).await;
    let none = world.cli(&["terminate"]).await;
    assert_eq!(none.code, 2, "{none:?}");
    assert_eq!(world.cli(&["terminate", "red-1", "--all"]).await.code, 2);
    say(&world, &["terminate", "--all"]).await;
    once(&world, "runtimeStatus=Terminated", 20).await;

    let purge = |more: &[&'static str]| [&["purge"][..], &red, more].concat();
    assert_eq!(say(&world, &purge(&["--dry-run"])).await, "would remove 12");
    assert_eq!(say(&world, &purge(&["--updated-before", "1h"])).await, "removed 0");
    assert_eq!(say(&world, &purge(&[])).await, "removed 12");
    world.crash().await;
    assert_eq!(number_of(&world, "tag=group:red").await, 0);
    assert_eq!(number_of(&world, "tag=group:blue").await, 8);
    assert_eq!(
        say(&world, &["purge", "--all", "--json"]).await,
        r#"{"instancesDeleted":8}"#
    );
    world.stop().await;
}
