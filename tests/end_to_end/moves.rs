//! Tests of moves: instances go on with code that was changed under them, if their histories fit.

use harness::{World, module, until};
use reqwest::Method;
use serde_json::{Value, json};

/// Uploads a version of the orchestration `PriceOrder`, and returns its digest.
async fn deploy(world: &World, version: u32) -> Value {
    let stored = world.upload("price", module(&format!("price_v{version}"))).await;
    let status = stored.status;
    stored.expect(status)["digest"].clone()
}

async fn begin(world: &World, id: &str) {
    world.begin("PriceOrder", id, &json!(1_000)).await;
    world.once_custom(id, "waiting for the confirmation").await;
}

async fn confirm(world: &World, id: &str) {
    world.raise(id, "confirmed", json!(null)).await;
    world.once_custom(id, "waiting for the payment").await;
}

/// Lets an instance end, and returns its output.
async fn finish(world: &World, id: &str) -> Value {
    world.raise(id, "paid", json!(null)).await;
    world.output_of(id).await
}

async fn moved(world: &World, id: &str) -> Value {
    world.tell(&format!("/v1/instances/{id}/move")).await.expect(200)
}

/// The patches in the history of an instance.
async fn patches(world: &World, id: &str) -> Vec<Value> {
    let history = world.history(id).await;
    let turns = history["history"].as_array().expect("turns").iter();
    let decisions = turns.flat_map(|turn| turn["decisions"].as_array().expect("decisions"));
    let patches = decisions.filter(|decision| decision["type"] == "Patched");
    patches.cloned().collect()
}

#[tokio::test]
async fn instances_move_from_version_to_version_and_patches_say_which_code_applies() {
    let mut world = World::start(&[]).await;
    let first = deploy(&world, 1).await;
    for id in ["early", "late"] {
        begin(&world, id).await;
    }
    confirm(&world, "late").await;
    world.kill().await;
    world.restart().await;

    let second = deploy(&world, 2).await;
    begin(&world, "new").await;
    // Old instances stay on their version until they are moved.
    assert_eq!(world.status("early").await["moduleDigest"], first);
    for id in ["early", "late"] {
        let answer = moved(&world, id).await;
        let expected = json!({ "instanceId": id, "fromDigest": first, "toDigest": second, "moved": true });
        assert_eq!(answer, expected);
        assert_eq!(world.status(id).await["moduleDigest"], second);
    }
    // A second move changes nothing, and the new version replays what the old one did, also after a crash.
    let again = json!({ "instanceId": "late", "fromDigest": second, "toDigest": second, "moved": false });
    assert_eq!(moved(&world, "late").await, again);
    world.crash().await;
    // It passed both points with the old code, only the first one, or none.
    assert_eq!(finish(&world, "late").await, json!(["version 2", "price 1100"]));
    confirm(&world, "early").await;
    world.crash().await;
    assert_eq!(finish(&world, "early").await, json!(["version 2", "price 1200"]));
    assert_eq!(patches(&world, "late").await, [] as [Value; 0]);
    let tax = json!({ "type": "Patched", "name": "new-tax" });
    assert_eq!(patches(&world, "early").await, [tax]);
    let log = world.log_of("early").await.join("\n");
    assert!(
        log.contains(&format!("moved to version {}", second.as_str().unwrap())),
        "{log}"
    );

    // Version 3 has only the new branches, and the patches deprecated.
    let third = deploy(&world, 3).await;
    begin(&world, "newest").await;
    confirm(&world, "new").await;
    assert_eq!(moved(&world, "new").await["moved"], true);
    world.crash().await;
    assert_eq!(world.status("new").await["moduleDigest"], third);
    let output = json!(["version 3", "reserved", "price 1200"]);
    assert_eq!(finish(&world, "new").await, output);
    assert_eq!(patches(&world, "new").await.len(), 2);
    confirm(&world, "newest").await;
    assert_eq!(finish(&world, "newest").await, output);
    let deprecated = patches(&world, "newest").await;
    assert!(
        deprecated.len() == 2 && deprecated.iter().all(|patch| patch["deprecated"] == true),
        "{deprecated:?}"
    );
    world.stop().await;
}

#[tokio::test]
async fn an_instance_whose_history_does_not_fit_stays_and_the_difference_is_shown() {
    let world = World::start(&[]).await;
    let first = deploy(&world, 1).await;
    begin(&world, "old").await;
    confirm(&world, "old").await;
    // Version 3 has no old branch.
    let third = deploy(&world, 3).await;
    begin(&world, "new").await;
    let refused = world
        .tell("/v1/instances/old/move")
        .await
        .refused(409, "history-misfit");
    assert_eq!(refused["reason"]["code"], "nondeterminism", "{refused:#}");
    let difference = r#"turn 1: history waits for event "confirmed" as task 1, the code now sets a timer as task 1"#;
    assert_eq!(refused["reason"]["message"], difference);
    let asked = world.cli(&["move", "old"]).await;
    assert_eq!(asked.code, 4, "{asked:?}");
    assert!(asked.stderr.contains(difference), "{asked:?}");

    // Back to version 1: its code does not know the decisions of version 3.
    deploy(&world, 1).await;
    world
        .tell("/v1/instances/new/move")
        .await
        .refused(409, "history-misfit");
    for (id, digest) in [("old", &first), ("new", &third)] {
        let status = world.status(id).await;
        assert_eq!(
            (&status["moduleDigest"], &status["runtimeStatus"]),
            (digest, &json!("Running")),
            "{status:#}"
        );
    }
    assert_eq!(finish(&world, "old").await, json!(["version 1", "price 1100"]));
    confirm(&world, "new").await;
    assert_eq!(
        finish(&world, "new").await,
        json!(["version 3", "reserved", "price 1200"])
    );
    world.stop().await;
}

#[tokio::test]
async fn many_instances_are_judged_before_any_of_them_moves() {
    let world = World::start(&[]).await;
    deploy(&world, 1).await;
    for id in ["a", "b", "c"] {
        begin(&world, id).await;
    }
    let second = deploy(&world, 2).await;
    begin(&world, "d").await;
    let judged = world
        .cli(&["--json", "move", "--name", "PriceOrder", "--dry-run"])
        .await;
    assert_eq!(judged.code, 0, "{judged:?}");
    assert_eq!(
        judged.json(),
        json!({ "fit": 3, "current": 1, "notJudged": 0, "misfits": [] })
    );
    assert_ne!(world.status("a").await["moduleDigest"], second);
    let all = world.cli(&["move", "--name", "PriceOrder"]).await;
    assert_eq!(
        (all.code, all.stdout.trim()),
        (0, "3 moved, 1 on the current version"),
        "{all:?}"
    );
    assert_eq!(world.status("a").await["moduleDigest"], second);

    // The instances of version 1 cannot go on with version 3, that of version 2 can.
    deploy(&world, 3).await;
    let judged = world.cli(&["--json", "move", "--all"]).await;
    assert_eq!(judged.code, 1, "{judged:?}");
    let judged = judged.json();
    assert_eq!(
        (&judged["moved"], &judged["current"]),
        (&json!(1), &json!(0)),
        "{judged:#}"
    );
    let misfits = judged["misfits"].as_array().expect("misfits");
    assert_eq!(misfits.len(), 1, "{judged:#}");
    assert_eq!(misfits[0]["instances"], 3, "{judged:#}");
    assert_eq!(world.cli(&["move"]).await.code, 2);
    world.stop().await;
}

#[tokio::test]
async fn instances_in_every_state_move_or_say_why_not() {
    let mut world = World::start(&["entities"]).await;
    deploy(&world, 1).await;
    for id in ["suspended", "ended"] {
        begin(&world, id).await;
    }
    let later = "/v1/orchestrations/PriceOrder?instanceId=later&startAfter=1h";
    world.post(later, &json!(1_000)).await.expect(202);
    world.tell("/v1/instances/suspended/suspend").await.expect(202);
    world.once_status("suspended", "Suspended").await;
    world.tell("/v1/instances/ended/terminate").await.expect(202);
    world.once_status("ended", "Terminated").await;
    let second = deploy(&world, 2).await;
    for id in ["suspended", "later"] {
        assert_eq!(moved(&world, id).await["moved"], true);
    }
    world.crash().await;
    for (id, status) in [("suspended", "Suspended"), ("later", "Pending")] {
        let shown = world.status(id).await;
        assert_eq!(
            (&shown["moduleDigest"], &shown["runtimeStatus"]),
            (&second, &json!(status)),
            "{shown:#}"
        );
    }
    world.tell("/v1/instances/suspended/resume").await.expect(202);
    confirm(&world, "suspended").await;
    assert_eq!(finish(&world, "suspended").await, json!(["version 2", "price 1200"]));

    let refused = async |what: &str, status: u16, code: &str| {
        let answer = world.tell(&format!("/v1/instances/{what}")).await;
        answer.refused(status, code);
    };
    refused("ended/move", 410, "instance-ended").await;
    refused("nobody/move", 404, "unknown-instance").await;
    refused("@counter@a/move", 409, "is-entity").await;
    refused("later/move?dryRun=perhaps", 400, "invalid-parameter").await;
    let body = world.request(Method::POST, "/v1/instances/later/move").json(&json!({}));
    world.send(body).await.refused(400, "unexpected-body");
    world.delete("/v1/modules/price").await.expect(204);
    refused("later/move", 404, "unknown-function").await;
    world.tell("/v1/instances/later/terminate").await.expect(202);
    until("the end", async || {
        (world.status("later").await["runtimeStatus"] == "Terminated").then_some(())
    })
    .await;
    world.stop().await;
}
