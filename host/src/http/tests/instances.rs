//! Tests of the documents of instances, of lists and of purges.

use serde_json::{Value, json};

use super::harness::TestHost;
use crate::{
    http::positions::Positions,
    model::{ExecutionNumber, InstanceNumber, TenantId, TurnNumber},
    store::HistoryCursor,
};

#[tokio::test]
async fn a_running_instance_is_202_with_location_and_retry_after() {
    let host = TestHost::start().await;
    host.running("order 7+é").await;
    let target = "/v1/instances/order%207%2B%C3%A9";
    let answer = host.get(&format!("{target}?wait=1ms")).await;
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.header("location"),
        format!("http://{}{target}?wait=1ms", host.address)
    );
    assert_eq!(answer.header("retry-after"), "1");
    let document = answer.json();
    assert_eq!(document["instanceId"], "order 7+é");
    assert_eq!(document["name"], "Order");
    assert_eq!(document["runtimeStatus"], "Running");
    assert_eq!(document["output"], Value::Null);
    assert_eq!(document["createdTime"], "2023-11-14T22:13:20.000Z");
    assert_eq!(document["moduleDigest"], format!("sha256:{}", "ab".repeat(32)));
    assert!(
        document.get("history").is_none() && document.get("failure").is_none(),
        "{document}"
    );
}

#[tokio::test]
async fn what_an_instance_waits_for_is_shown_on_request() {
    let host = TestHost::start().await;
    host.running("a").await;
    host.completed("done", "1").await;
    let plain = host.get("/v1/instances/a").await;
    assert!(plain.json().get("waitingFor").is_none(), "{plain:?}");
    let answer = host.get("/v1/instances/a?waiting=true&history=true").await;
    assert_eq!(answer.status, 202);
    let document = answer.json();
    assert_eq!(document["history"].as_array().map(Vec::len), Some(1));
    let none = json!({ "total": 0, "first": [] });
    let wait = json!({ "task": 1, "name": "approval", "since": "2023-11-14T22:13:20.000Z" });
    assert_eq!(
        document["waitingFor"],
        json!({
            "turn": 1, "complete": true, "cancellation": none, "activities": none, "subOrchestrations": none, "timers": none,
            "events": { "total": 1, "first": [wait] }, "entityCalls": none,
        })
    );
    let ended = host.get("/v1/instances/done?waiting=true").await;
    assert_eq!(ended.status, 200);
    assert!(ended.json().get("waitingFor").is_none(), "{ended:?}");
    let refused = host.get("/v1/instances/missing?waiting=true").await.refusal();
    assert_eq!(refused, (404, "unknown-instance".into()));
    let refused = host.get("/v1/instances/a?waiting=yes").await.refusal();
    assert_eq!(refused, (400, "invalid-parameter".into()));
}

#[tokio::test]
async fn payloads_are_returned_as_they_are_stored() {
    let host = TestHost::start().await;
    host.completed("done", "{\"total\" : 1.0,\"big\":123456789012345678901234567890}")
        .await;
    let answer = host.get("/v1/instances/done?wait=20s").await;
    assert_eq!(answer.status, 200);
    for part in [
        "\"runtimeStatus\":\"Completed\"",
        "\"input\":{\"amount\" : 1.0}",
        "\"output\":{\"total\" : 1.0,\"big\":123456789012345678901234567890}",
        "\"customStatus\":[ 1.0 ]",
    ] {
        assert!(answer.text.contains(part), "{part} is not in {}", answer.text);
    }
    assert!(!answer.headers.contains_key("location"));
}

#[tokio::test]
async fn a_failure_shows_its_chain_of_causes_and_a_termination_its_reason() {
    let host = TestHost::start().await;
    host.failed("failed").await;
    host.terminated("ended", "not \"wanted\"").await;
    let failed = host.get("/v1/instances/failed").await;
    assert_eq!(failed.status, 200);
    assert_eq!(
        failed.json()["failure"],
        json!({
            "type": "OrderFailed", "message": "the payment failed", "nonRetryable": true,
            "causes": [{ "type": "Declined", "message": "no money", "details": { "code": 7.0 } }],
        })
    );
    let ended = host.get("/v1/instances/ended").await.json();
    assert_eq!(
        (&ended["runtimeStatus"], &ended["output"]),
        (&"Terminated".into(), &"not \"wanted\"".into())
    );
}

#[tokio::test]
async fn the_history_shows_arrivals_and_decisions() {
    let host = TestHost::start().await;
    host.running("order").await;
    let document = host.get("/v1/instances/order?history=true").await.json();
    assert_eq!(
        document["history"],
        json!([{
            "turn": 1, "time": "2023-11-14T22:13:20.000Z", "fuel": 1_234,
            "arrivals": [{ "type": "Started", "execution": 1, "name": "Order", "input": { "amount": 1.0 }, "carriedEvents": [] }],
            "decisions": [{ "type": "WaitForEvent", "task": 1, "name": "approval" }],
        }])
    );
    assert_eq!(
        (&document["attempts"], &document["attemptTotals"]),
        (&json!([]), &json!([]))
    );
    let after = host.get("/v1/instances/order?history=true&historyAfter=1").await.json();
    assert_eq!(after["history"], json!([]));
}

#[tokio::test]
async fn a_cursor_leads_through_one_history_only() {
    let host = TestHost::start().await;
    let number = host.running("order").await.0;
    let positions = Positions::new(host.store.position_key());
    let cursor = |number, execution| {
        let cursor = HistoryCursor {
            instance: InstanceNumber(number),
            execution: ExecutionNumber(execution),
            after: TurnNumber::NONE,
        };
        positions.seal(TenantId::DEFAULT, &cursor)
    };
    let read = async |cursor: &str| {
        let target = format!("/v1/instances/order?history=true&historyCursor={cursor}");
        host.get(&target).await
    };
    let page = read(&cursor(number, 1)).await.json();
    assert_eq!(page["history"].as_array().unwrap().len(), 1);
    for elsewhere in [cursor(number, 2), cursor(number + 1, 1)] {
        let over = read(&elsewhere).await;
        assert_eq!(over.refusal(), (410, "history-over".into()), "{elsewhere}");
        assert_eq!(over.json()["instanceId"], "order");
    }
    assert_eq!(read("nonsense").await.refusal(), (400, "invalid-parameter".into()));
    let both = format!("{}&historyAfter=1", cursor(number, 1));
    assert_eq!(read(&both).await.refusal(), (400, "invalid-parameter".into()));
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let host = TestHost::start().await;
    for number in 0..5 {
        host.completed(&format!("done-{number}"), "1").await;
    }
    host.running("live").await;
    let ids = |page: &Value| -> Vec<String> {
        let instances = page["instances"].as_array().unwrap();
        instances
            .iter()
            .map(|one| one["instanceId"].as_str().unwrap().to_owned())
            .collect()
    };
    let list = async |query: String| host.get(&format!("/v1/instances?{query}")).await.json();
    assert_eq!(ids(&list("runtimeStatus=Running,Pending".into()).await), ["live"]);
    assert_eq!(ids(&list("name=Other".into()).await), [""; 0]);
    assert_eq!(ids(&list("createdTimeFrom=2023-11-14T22:13:21Z".into()).await), [""; 0]);
    assert_eq!(
        ids(&list("createdTimeTo=2023-11-14T22:13:20Z".into()).await).len(),
        6,
        "the end of the range is inclusive"
    );
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = list(format!("instanceIdPrefix=done&limit=2{cursor}")).await;
        seen.extend(ids(&page));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, ["done-4", "done-3", "done-2", "done-1", "done-0"]);
    let position = cursor.strip_prefix("&cursor=").unwrap();
    for target in [
        "instances/live/logs?after=",
        "instances/live?history=true&historyCursor=",
        "retention/preview?cursor=",
    ] {
        let elsewhere = host.get(&format!("/v1/{target}{position}")).await;
        assert_eq!(elsewhere.refusal(), (400, "invalid-parameter".into()), "{target}");
    }
    let orphan = host.get("/v1/instances?parentInstanceId=nobody").await;
    assert_eq!(orphan.refusal(), (404, "unknown-instance".into()));
}

#[tokio::test]
async fn logs_are_filtered_and_followed() {
    let host = TestHost::start().await;
    host.running("order").await;
    let all = host.get("/v1/instances/order/logs").await.json();
    let messages: Vec<_> = all["lines"]
        .as_array()
        .unwrap()
        .iter()
        .map(|line| line["message"].clone())
        .collect();
    assert_eq!(messages, ["begun", "slow"]);
    assert_eq!(all["lines"][0]["level"], "info");
    let warnings = host.get("/v1/instances/order/logs?level=warn").await.json();
    assert_eq!(warnings["lines"].as_array().unwrap().len(), 1);
    let next = all["next"].as_str().unwrap();
    let rest = host.get(&format!("/v1/instances/order/logs?after={next}")).await.json();
    assert_eq!(rest, json!({ "lines": [] }));
    assert_eq!(
        host.get("/v1/instances/none/logs").await.refusal(),
        (404, "unknown-instance".into())
    );
}

#[tokio::test]
async fn only_ended_instances_are_removed() {
    let host = TestHost::start().await;
    host.running("live").await;
    host.completed("done", "1").await;
    let live = host.delete("/v1/instances/live").await;
    assert_eq!(live.refusal(), (409, "instance-not-ended".into()));
    assert_eq!(live.json()["instanceStatus"], "Running");
    assert_eq!(
        host.delete("/v1/instances/done").await.json(),
        json!({ "instancesDeleted": 1 })
    );
    assert_eq!(
        host.delete("/v1/instances/done").await.refusal(),
        (404, "unknown-instance".into())
    );
}

#[tokio::test]
async fn a_recursive_purge_removes_sub_orchestrations() {
    let host = TestHost::start().await;
    host.completed("parent", "1").await;
    let child = host.running_child_of("parent", "child").await;
    let delete = async || host.delete("/v1/instances/parent?recursive=true").await;
    let refused = delete().await;
    assert_eq!(refused.refusal(), (409, "children-not-ended".into()));
    assert_eq!(refused.json()["instanceIds"], json!(["child"]));
    let many = "/v1/instances?endedBefore=2030-01-01T00:00:00Z&recursive=true";
    let left = host.delete(many).await.json();
    assert_eq!(left, json!({ "instancesDeleted": 0, "instancesLeft": 1 }));

    host.complete(child).await;
    assert_eq!(delete().await.json(), json!({ "instancesDeleted": 2 }));
    assert_eq!(delete().await.refusal(), (404, "unknown-instance".into()));
    assert_eq!(host.get("/v1/instances/child").await.status, 404);
}

#[tokio::test]
async fn instances_that_ended_before_a_time_are_removed_together() {
    let host = TestHost::start().await;
    host.running("live").await;
    host.completed("done", "1").await;
    host.failed("failed").await;
    let purge = async |query: &str| host.delete(&format!("/v1/instances{query}")).await;
    assert_eq!(purge("").await.refusal(), (400, "invalid-parameter".into()));
    let live = purge("?endedBefore=2030-01-01T00:00:00Z&runtimeStatus=Running").await;
    assert_eq!(live.refusal(), (400, "invalid-parameter".into()));
    let none = purge("?endedBefore=2023-11-14T00:00:00Z").await;
    assert_eq!(none.json(), json!({ "instancesDeleted": 0 }));
    let failed = purge("?endedBefore=2030-01-01T00:00:00Z&runtimeStatus=Failed").await;
    assert_eq!(failed.json(), json!({ "instancesDeleted": 1 }));
    let rest = purge("?endedBefore=2030-01-01T00:00:00Z").await;
    assert_eq!(rest.json(), json!({ "instancesDeleted": 1 }));
    assert_eq!(host.get("/v1/instances/live").await.status, 202);
}

#[tokio::test]
async fn messages_for_unknown_and_ended_instances_are_refused() {
    let host = TestHost::start().await;
    host.completed("done", "1").await;
    for target in [
        "events/approval",
        "terminate?reason=none",
        "cancel",
        "suspend",
        "resume",
    ] {
        let unknown = host.post(&format!("/v1/instances/none/{target}"), "").await;
        assert_eq!(unknown.refusal(), (404, "unknown-instance".into()), "{target}");
        let ended = host.post(&format!("/v1/instances/done/{target}"), "").await;
        assert_eq!(ended.refusal(), (410, "instance-ended".into()), "{target}");
        assert_eq!(ended.json()["instanceStatus"], "Completed");
    }
}

#[tokio::test]
async fn an_instance_whose_module_is_broken_can_be_terminated_and_removed() {
    let host = TestHost::start().await;
    host.running("broken").await;
    assert_eq!(host.post("/v1/instances/broken/events/approval", "1").await.status, 202);
    assert_eq!(
        host.post("/v1/instances/broken/terminate?reason=no+use", "")
            .await
            .status,
        202
    );
    let ended = host.get("/v1/instances/broken?wait=30s").await;
    assert_eq!(ended.status, 200, "{ended:?}");
    assert_eq!(
        (&ended.json()["runtimeStatus"], &ended.json()["output"]),
        (&"Terminated".into(), &"no use".into())
    );
    assert_eq!(host.delete("/v1/instances/broken").await.status, 200);
}

#[tokio::test]
async fn a_purge_is_narrowed_by_every_filter_and_can_be_tried_before() {
    let host = TestHost::start().await;
    host.running("live").await;
    host.completed("done", "1").await;
    host.failed("failed").await;
    host.terminated("old", "enough").await;
    let purge = async |query: &str| host.delete(&format!("/v1/instances?{query}")).await;
    for (query, parameter) in [
        ("all=false", "all"),
        ("recursive=true", "all"),
        ("dryRun=true", "all"),
        ("all=true&runtimeStatus=Running", "runtimeStatus"),
        ("name=Order&lastUpdatedTimeTo=soon", "lastUpdatedTimeTo"),
        ("all=true&cursor=x", "cursor"),
    ] {
        let refused = purge(query).await;
        assert_eq!(refused.refusal(), (400, "invalid-parameter".into()), "{query}");
        assert_eq!(refused.json()["parameter"], parameter, "{query}");
    }
    for query in [
        "name=Nothing",
        "instanceIdPrefix=x",
        "createdTimeFrom=2030-01-01T00:00:00Z",
        "createdTimeTo=2000-01-01T00:00:00Z",
        "lastUpdatedTimeFrom=2030-01-01T00:00:00Z",
        "lastUpdatedTimeTo=2000-01-01T00:00:00Z",
        "tag=customer:ada",
        "name=Order&endedBefore=2000-01-01T00:00:00Z",
    ] {
        let counted = purge(&format!("{query}&dryRun=true")).await.json();
        assert_eq!(
            counted,
            json!({ "instancesDeleted": 0, "instancesMatched": 0 }),
            "{query}"
        );
        assert_eq!(purge(query).await.json(), json!({ "instancesDeleted": 0 }), "{query}");
    }
    let counted = async |query: &str| purge(&format!("{query}&dryRun=true")).await.json()["instancesMatched"].clone();
    assert_eq!(counted("all=true").await, 3);
    assert_eq!(counted("instanceIdPrefix=d").await, 1);
    assert_eq!(
        purge("instanceIdPrefix=d").await.json(),
        json!({ "instancesDeleted": 1 })
    );
    assert_eq!(
        purge("runtimeStatus=Failed").await.json(),
        json!({ "instancesDeleted": 1 })
    );
    assert_eq!(purge("all=true").await.json(), json!({ "instancesDeleted": 1 }));
    assert_eq!(host.get("/v1/instances/live").await.status, 202);
}

#[tokio::test]
async fn many_instances_are_controlled_by_a_filter() {
    let host = TestHost::start().await;
    for id in ["a1", "a2", "b1"] {
        host.running(id).await;
    }
    host.completed("a-done", "1").await;
    let bulk = async |target: &str| host.post(&format!("/v1/bulk/{target}"), "").await;
    let statuses = async || {
        let list = host.get("/v1/instances").await.json();
        let all = list["instances"].as_array().unwrap().clone();
        let mut all: Vec<_> = all
            .iter()
            .map(|one| {
                format!(
                    "{} {}",
                    one["instanceId"].as_str().unwrap(),
                    one["runtimeStatus"].as_str().unwrap()
                )
            })
            .collect();
        all.sort();
        all.join(", ")
    };
    let is = async |expected: &str| {
        for _ in 0..200 {
            if statuses().await == expected {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        assert_eq!(statuses().await, expected);
    };
    for (target, code) in [
        ("suspend", "invalid-parameter"),
        ("suspend?all=no", "invalid-parameter"),
        ("suspend?all=true&runtimeStatus=Suspended", "invalid-parameter"),
        ("resume?runtimeStatus=Running", "invalid-parameter"),
        ("terminate?runtimeStatus=Completed", "invalid-parameter"),
        ("terminate?all=true&recursive=true", "unknown-parameter"),
        ("purge?all=true", "invalid-path"),
    ] {
        assert_eq!(bulk(target).await.refusal(), (400, code.into()), "{target}");
    }
    let done = async |target: &str| bulk(target).await.json();
    assert_eq!(
        done("suspend?instanceIdPrefix=a&dryRun=true").await,
        json!({ "instances": 2 })
    );
    assert_eq!(done("resume?all=true&dryRun=true").await, json!({ "instances": 0 }));
    is("a-done Completed, a1 Running, a2 Running, b1 Running").await;

    assert_eq!(
        done("suspend?instanceIdPrefix=a&reason=pause").await,
        json!({ "instances": 2 })
    );
    is("a-done Completed, a1 Suspended, a2 Suspended, b1 Running").await;
    assert_eq!(done("suspend?instanceIdPrefix=a").await, json!({ "instances": 0 }));
    assert_eq!(
        done("terminate?runtimeStatus=Suspended&instanceIdPrefix=a2").await,
        json!({ "instances": 1 })
    );
    is("a-done Completed, a1 Suspended, a2 Terminated, b1 Running").await;
    assert_eq!(done("terminate?all=true&reason=over").await, json!({ "instances": 2 }));
    is("a-done Completed, a1 Terminated, a2 Terminated, b1 Terminated").await;
    assert_eq!(host.get("/v1/instances/b1").await.json()["output"], "over");
    assert_eq!(done("terminate?all=true").await, json!({ "instances": 0 }));
}

#[tokio::test]
async fn a_bulk_operation_is_continued_by_its_cursor_and_spares_newer_instances() {
    let host = TestHost::start().await;
    for number in 0..1_005 {
        host.pending(&format!("old-{number}"), "1").await;
    }
    let first = host.post("/v1/bulk/terminate?name=Order", "").await.json();
    assert_eq!(first["instances"], 1_000);
    let cursor = first["nextCursor"].as_str().unwrap().to_owned();
    host.running("new").await;
    let second = host
        .post(&format!("/v1/bulk/terminate?name=Order&cursor={cursor}"), "")
        .await;
    assert_eq!(second.json(), json!({ "instances": 5 }));
    for id in ["old-0", "old-4", "old-5", "old-1004"] {
        assert_eq!(
            host.get(&format!("/v1/instances/{id}?wait=30s")).await.status,
            200,
            "{id}"
        );
    }
    assert_eq!(host.get("/v1/instances/new").await.json()["runtimeStatus"], "Running");
}

#[tokio::test]
async fn a_broadcast_is_accepted_and_can_be_asked_for() {
    let host = TestHost::start().await;
    host.suspended("a").await;
    host.completed("done", "1").await;
    let counted = host
        .post("/v1/broadcasts?event=approval&all=true&dryRun=true", "")
        .await;
    assert_eq!((counted.status, counted.json()), (200, json!({ "instances": 1 })));
    let answer = host
        .post("/v1/broadcasts?event=approval&name=Order", "{\"by\": 1.0}")
        .await;
    assert_eq!(answer.status, 202);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(
        answer.header("location"),
        format!("http://{}/v1/broadcasts/{id}", host.address)
    );
    let progress = loop {
        let progress = host.get(&format!("/v1/broadcasts/{id}")).await.json();
        if progress["status"] == "Finished" {
            break progress;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((&progress["matched"], &progress["raised"]), (&json!(1), &json!(1)));
    assert_eq!(progress["event"], "approval");
}

#[tokio::test]
async fn a_broadcast_that_is_refused_names_the_reason() {
    let host = TestHost::start().await;
    for (query, parameter) in [
        ("all=true", "event"),
        ("event=a", "all"),
        ("event=a&all=true&cursor=11", "cursor"),
        ("event=a&runtimeStatus=Running,Failed", "runtimeStatus"),
        ("event=&all=true", "event"),
    ] {
        let answer = host.post(&format!("/v1/broadcasts?{query}"), "1").await;
        assert_eq!(answer.refusal(), (400, "invalid-parameter".into()), "{query}");
        assert_eq!(answer.json()["parameter"], parameter, "{query}");
    }
    let refused = host.get("/v1/broadcasts/none").await.refusal();
    assert_eq!(refused, (404, "unknown-broadcast".into()));
    let keyed = |key: &'static str, body: &'static str| {
        host.send(move |client, base| {
            let request = client.post(format!("{base}/v1/broadcasts?event=a&all=true"));
            request.header("idempotency-key", key).body(body)
        })
    };
    assert_eq!(keyed("k", "1").await.json()["id"], "k");
    assert_eq!(keyed("k", "1").await.json()["id"], "k");
    assert_eq!(keyed("k", "2").await.refusal(), (422, "idempotency-key-reused".into()));
    assert_eq!(
        keyed("..", "1").await.refusal(),
        (400, "invalid-idempotency-key".into())
    );
}
