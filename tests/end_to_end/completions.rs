//! Tests of activity calls that are completed from outside.

use harness::{World, until};
use serde_json::{Value, json};

const MODULES: &[&str] = &["long_calls", "long_calls_activities"];

fn question(world: &World, answer_seconds: u64) -> Value {
    let question = world.input(json!({ "to": "ada@example.com", "text": "Ship it?" }));
    json!({ "question": question, "answerSeconds": answer_seconds })
}

/// The tokens that an instance has passed on, once it waits with the last of at least `number`.
async fn tokens(world: &World, id: &str, number: usize) -> Vec<String> {
    until(&format!("{id} waits with {number} tokens"), async || {
        let messages = world.backend.get(&format!("/notifications?about={id}")).await;
        let messages = messages.as_array().expect("a list").iter();
        let tokens: Vec<_> = messages
            .map(|message| message["text"].as_str().expect("a token").to_owned())
            .collect();
        let history = world.history(id).await;
        let waits = history["completions"][0]["state"] == "waiting";
        (waits && tokens.len() >= number).then_some(tokens)
    })
    .await
}

fn path(token: &str) -> String {
    format!("/v1/completions/{token}")
}

#[tokio::test]
async fn somebody_outside_completes_a_call_once_even_after_a_crash() {
    let mut world = World::start(MODULES).await;
    world.begin("AskSomebody", "ask", &question(&world, 3_600)).await;
    let token = tokens(&world, "ask", 1).await.remove(0);
    world.crash().await;
    // The attempt has ended: it does not run again.
    assert_eq!(tokens(&world, "ask", 1).await, std::slice::from_ref(&token));
    let history = world.history("ask").await;
    assert_eq!(history["attempts"], json!([]), "{history:#}");

    for (body, code) in [
        (json!({}), "invalid-body"),
        (json!({ "output": 1, "failure": { "message": "m" } }), "invalid-body"),
        (json!({ "failure": {} }), "invalid-body"),
        (json!({ "other": 1 }), "invalid-body"),
    ] {
        world.post(&path(&token), &body).await.refused(400, code);
    }
    let output = json!({ "output": "yes" });
    world.post(&path("none"), &output).await.refused(400, "invalid-path");
    let unknown = format!("wc_{}", "0".repeat(64));
    world
        .post(&path(&unknown), &output)
        .await
        .refused(404, "unknown-completion");

    world.post(&path(&token), &output).await.expect(202);
    world.crash().await;
    assert_eq!(world.output_of("ask").await, json!("yes"));
    world.post(&path(&token), &output).await.refused(409, "completion-used");
    assert_eq!(world.history("ask").await["completions"][0]["state"], "used");
    world.purge("ask").await;
    world
        .post(&path(&token), &output)
        .await
        .refused(404, "unknown-completion");
    world.stop().await;
}

#[tokio::test]
async fn a_failure_from_outside_and_the_end_of_the_time_are_retried() {
    let mut world = World::start(MODULES).await;
    world.begin("AskSomebody", "fail", &question(&world, 3_600)).await;
    let first = tokens(&world, "fail", 1).await.remove(0);
    let failed = world
        .cli(&[
            "complete",
            &first,
            "--failure",
            "on holiday",
            "--type",
            "Away",
            "--details",
            "1.0",
        ])
        .await;
    assert_eq!(failed.code, 0, "{failed:?}");
    world.crash().await;
    let both = tokens(&world, "fail", 2).await;
    let second = both.iter().find(|token| **token != first).expect("a second token");
    let history = world.history("fail").await;
    assert_eq!(history["attempts"][0]["failure"]["type"], "Away", "{history:#}");
    world
        .post(&path(&first), &json!({ "output": 1 }))
        .await
        .refused(404, "unknown-completion");
    let completed = world.cli(&["complete", second, "--output", "\"later\""]).await;
    assert_eq!(completed.code, 0, "{completed:?}");
    assert_eq!(world.output_of("fail").await, json!("later"));

    // Nobody answers either question in time.
    world.begin("AskSomebody", "slow", &question(&world, 1)).await;
    let failure = world.failure_of("slow").await;
    assert_eq!(failure["type"], "windlass.timeout");
    assert_eq!(world.history("slow").await["completions"][0]["attempt"], 2);

    // A failure that is not retried.
    world.begin("AskSomebody", "refused", &question(&world, 3_600)).await;
    let token = tokens(&world, "refused", 1).await.remove(0);
    let body = json!({ "failure": { "type": "No", "message": "never", "details": [1], "nonRetryable": true } });
    world.post(&path(&token), &body).await.expect(202);
    let failure = world.failure_of("refused").await;
    assert_eq!((&failure["type"], &failure["details"]), (&json!("No"), &json!([1])));

    // The rewound call asks again, with another token.
    world.tell("/v1/instances/refused/rewind").await.expect(202);
    let both = tokens(&world, "refused", 2).await;
    let next = both.iter().find(|other| **other != token).expect("a second token");
    let waiting = world.get("/v1/instances/refused?waiting=true").await.expect(202)["waitingFor"].clone();
    assert_eq!(
        waiting["activities"]["first"][0]["state"], "waitingForCompletion",
        "{waiting:#}"
    );
    let output = json!({ "output": "after all" });
    world
        .post(&path(&token), &output)
        .await
        .refused(404, "unknown-completion");
    world.post(&path(next), &output).await.expect(202);
    assert_eq!(world.output_of("refused").await, json!("after all"));
    world.stop().await;
}

#[tokio::test]
async fn a_token_is_void_when_its_attempt_or_its_instance_has_ended() {
    let world = World::start(MODULES).await;
    let output = json!({ "output": "yes" });
    let mut impatient = question(&world, 3_600);
    impatient["question"]["impatient"] = json!(true);
    world.begin("AskSomebody", "impatient", &impatient).await;
    assert_eq!(world.output_of("impatient").await, json!("no time"));
    let messages = world.backend.get("/notifications?about=impatient").await;
    let token = messages[0]["text"].as_str().expect("a token");
    world.post(&path(token), &output).await.refused(410, "completion-over");

    // The question is withdrawn while its instance goes on.
    world.begin("AskSomebody", "withdrawn", &question(&world, 3_600)).await;
    let token = tokens(&world, "withdrawn", 1).await.remove(0);
    world.raise("withdrawn", "Stop", json!("withdraw")).await;
    until("the token is void", async || {
        let history = world.history("withdrawn").await;
        (history["completions"][0]["state"] == "over").then_some(())
    })
    .await;
    world.post(&path(&token), &output).await.refused(410, "completion-over");
    world.raise("withdrawn", "Stop", json!("decided")).await;
    assert_eq!(world.output_of("withdrawn").await, json!("decided"));

    world.begin("AskSomebody", "ended", &question(&world, 3_600)).await;
    let token = tokens(&world, "ended", 1).await.remove(0);
    world.tell("/v1/instances/ended/terminate").await.expect(202);
    world.end_of("ended").await;
    world.post(&path(&token), &output).await.refused(410, "completion-over");
    world.stop().await;
}
