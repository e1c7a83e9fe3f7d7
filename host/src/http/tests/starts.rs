//! Tests of starts. The started instances never run: their module is broken.

use std::time::Duration;

use super::harness::{Answer, TestHost};

async fn start_with_key(host: &TestHost, target: &str, key: &str, body: &'static str) -> Answer {
    host.send(|client, base| {
        client
            .post(format!("{base}{target}"))
            .header("idempotency-key", key)
            .body(body)
    })
    .await
}

#[tokio::test]
async fn a_start_is_accepted_with_links_that_work() {
    let host = TestHost::start().await;
    let answer = host.post("/v1/orchestrations/Order?instanceId=order%207", "1.0").await;
    assert_eq!((answer.status, answer.header("retry-after")), (202, "1"));
    let links = answer.json();
    assert_eq!(links["id"], "order 7");
    assert_eq!(answer.header("location"), links["statusQueryGetUri"]);
    let base = format!("http://{}", host.address);
    let path = |name: &str| links[name].as_str().unwrap().strip_prefix(&base).unwrap().to_owned();
    let status = host.get(&path("statusQueryGetUri")).await;
    assert!(status.text.contains("\"input\":1.0"), "{status:?}");
    assert_eq!(
        host.post(&path("sendEventPostUri").replace("{eventName}", "approval"), "")
            .await
            .status,
        202
    );
    assert_eq!(
        host.post(&path("suspendPostUri").replace("{text}", "wait"), "")
            .await
            .status,
        202
    );
    assert_eq!(
        host.post(&path("resumePostUri").replace("{text}", "on"), "")
            .await
            .status,
        202
    );
    let cancel = path("cancelPostUri").replace("{text}", "please");
    assert_eq!(host.post(&cancel, "").await.status, 202);
    assert_eq!(
        host.post(&path("terminatePostUri").replace("{text}", "enough"), "")
            .await
            .status,
        202
    );
    assert_eq!(
        host.get(&format!("{}?wait=30s", path("statusQueryGetUri")))
            .await
            .json()["output"],
        "enough"
    );
    let rewind = host.post(&path("rewindPostUri").replace("{text}", "again"), "").await;
    assert_eq!(rewind.json()["code"], "instance-not-failed", "{rewind:?}");
    let restart = host.post(&format!("{}?newId=true", path("restartPostUri")), "").await;
    assert_eq!(restart.status, 202);
    assert_eq!(host.delete(&path("purgeHistoryDeleteUri")).await.status, 200);
}

#[tokio::test]
async fn a_start_without_an_id_generates_one_and_without_a_body_passes_null() {
    let host = TestHost::start().await;
    let answer = host.post("/v1/orchestrations/Order?wait=1ms", "").await;
    assert_eq!(answer.status, 202);
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert!(
        host.get(&format!("/v1/instances/{id}"))
            .await
            .text
            .contains("\"input\":null")
    );
}

#[tokio::test]
async fn an_unknown_function_names_those_that_are_near() {
    let host = TestHost::start().await;
    let answer = host.post("/v1/orchestrations/Ordr", "1").await;
    assert_eq!(answer.refusal(), (404, "unknown-function".into()));
    assert_eq!(answer.json()["near"], serde_json::json!(["Order"]));
}

#[tokio::test]
async fn an_input_that_does_not_fit_the_schema_is_refused() {
    let host = TestHost::start().await;
    let answer = host.post("/v1/orchestrations/Order?instanceId=never", "2").await;
    assert_eq!(answer.refusal(), (400, "invalid-input".into()));
    assert_eq!(
        (&answer.json()["path"], &answer.json()["function"]),
        (&"".into(), &"Order".into())
    );
    assert_eq!(host.get("/v1/instances/never").await.status, 404);
}

#[tokio::test]
async fn the_id_of_a_live_instance_is_refused_and_an_ended_instance_is_replaced() {
    let host = TestHost::start().await;
    host.running("order").await;
    let taken = host.post("/v1/orchestrations/Order?instanceId=order", "1").await;
    assert_eq!(taken.refusal(), (409, "already-exists".into()));
    assert_eq!(
        (&taken.json()["instanceId"], &taken.json()["instanceStatus"]),
        (&"order".into(), &"Running".into())
    );
    host.completed("done", "1").await;
    assert_eq!(
        host.post("/v1/orchestrations/Order?instanceId=done", "1").await.status,
        202
    );
    assert_eq!(host.get("/v1/instances/done").await.status, 202);
}

#[tokio::test]
async fn a_repeated_start_gets_the_answer_of_the_first_one() {
    let host = TestHost::start().await;
    let target = "/v1/orchestrations/Order";
    let first = start_with_key(&host, target, "key-1", "1").await;
    let again = start_with_key(&host, target, "key-1", "1").await;
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(first.text, again.text);
    assert_eq!(first.header("location"), again.header("location"));
    assert_eq!(again.header("idempotent-replayed"), "true");
    for answer_parameters in ["?wait=1ms", "?wait=0", "?&wait=1ms"] {
        let waits = start_with_key(&host, &format!("{target}{answer_parameters}"), "key-1", "1").await;
        assert_eq!(
            (waits.status, waits.json()["id"].clone()),
            (202, first.json()["id"].clone())
        );
        assert_eq!(waits.header("idempotent-replayed"), "true", "{answer_parameters}");
    }
    let other = start_with_key(&host, target, "key-1", "0.5").await;
    assert_eq!(other.refusal(), (422, "idempotency-key-reused".into()));
    let elsewhere = start_with_key(&host, "/v1/orchestrations/Order?instanceId=x", "key-1", "1").await;
    assert_eq!(elsewhere.refusal(), (422, "idempotency-key-reused".into()));
    assert_eq!(
        host.get("/v1/instances").await.json()["instances"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_repeated_event_is_raised_once() {
    let host = TestHost::start().await;
    let number = host.running("order").await;
    let target = "/v1/instances/order/events/other";
    // Suspended, so that events stay in the inbox, where the test counts them.
    assert_eq!(host.post("/v1/instances/order/suspend", "").await.status, 202);
    for _ in 0..2 {
        assert_eq!(start_with_key(&host, target, "key-1", "1").await.status, 202);
    }
    assert_eq!(
        start_with_key(&host, target, "key-1", "2").await.refusal(),
        (422, "idempotency-key-reused".into())
    );
    let record = host.store.load(number).await.unwrap().unwrap();
    let events = record
        .inbox
        .iter()
        .filter(|row| matches!(row.item, crate::model::InboxItem::Event(_)))
        .count();
    assert_eq!(events, 1);
}

#[tokio::test]
async fn a_delayed_instance_is_pending_until_its_time_and_can_be_terminated_before() {
    let host = TestHost::start().await;
    let at = "2100-01-01T02:00:00%2B02:00";
    let accepted = host
        .post(&format!("/v1/orchestrations/Order?instanceId=later&startAt={at}"), "1")
        .await;
    assert_eq!(accepted.status, 202);
    let ask = async || host.get("/v1/instances/later").await;
    let (status, listed) = (ask().await.json(), host.get("/v1/instances").await.json());
    for shown in [&status, &listed["instances"][0]] {
        assert_eq!(
            (&shown["runtimeStatus"], &shown["startAt"]),
            (&"Pending".into(), &"2100-01-01T00:00:00.000Z".into())
        );
    }
    assert_eq!((&status["turns"], &status["input"]), (&0.into(), &1.into()));
    let taken = host.post("/v1/orchestrations/Order?instanceId=later", "1").await;
    assert_eq!(taken.refusal(), (409, "already-exists".into()));
    assert_eq!(host.delete("/v1/instances/later").await.refusal().0, 409);
    for message in ["events/approval", "suspend", "resume", "terminate?reason=no+need"] {
        let told = host.post(&format!("/v1/instances/later/{message}"), "").await;
        assert_eq!(told.status, 202, "{message}");
    }
    let ended = host.get("/v1/instances/later?wait=30s").await;
    assert_eq!((ended.status, ended.json()["output"].clone()), (200, "no need".into()));
    assert_eq!(ended.json()["startAt"], serde_json::Value::Null);
    assert_eq!(host.delete("/v1/instances/later").await.status, 200);
}

#[tokio::test]
async fn a_delay_is_counted_by_the_host_so_that_a_repeated_start_is_the_same_request() {
    let host = TestHost::start().await;
    let target = "/v1/orchestrations/Order?startAfter=7d";
    let first = start_with_key(&host, target, "key-1", "1").await;
    let again = start_with_key(&host, target, "key-1", "1").await;
    assert_eq!((again.status, again.header("idempotent-replayed")), (202, "true"));
    assert_eq!(first.text, again.text);
    let id = first.json()["id"].as_str().unwrap().to_owned();
    let status = host.get(&format!("/v1/instances/{id}")).await.json();
    let time = |name: &str| crate::model::date_time::parse(status[name].as_str().unwrap()).unwrap();
    let delay = time("startAt").since(time("createdTime"));
    // The instance was created a moment after the host had accepted the request.
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    assert!(delay <= week && week - delay < Duration::from_secs(60), "{delay:?}");
}

#[tokio::test]
async fn a_start_time_must_be_one_time_and_a_time_in_the_past_means_now() {
    let host = TestHost::start().await;
    for query in [
        "startAt=tomorrow",
        "startAt=10000-01-01T00:00:00Z",
        "startAfter=-1",
        "startAfter=soon",
        "startAfter=36526d",
        "startAfter=1m&startAt=2100-01-01T00:00:00Z",
    ] {
        let refused = host.post(&format!("/v1/orchestrations/Order?{query}"), "1").await;
        assert_eq!(refused.refusal(), (400, "invalid-parameter".into()), "{query}");
    }
    assert_eq!(
        host.get("/v1/instances").await.json()["instances"],
        serde_json::json!([])
    );
    for (id, query) in [("past", "startAt=2000-01-01T00:00:00Z"), ("zero", "startAfter=0")] {
        let target = format!("/v1/orchestrations/Order?instanceId={id}&{query}");
        assert_eq!(host.post(&target, "1").await.status, 202);
        let status = host.get(&format!("/v1/instances/{id}")).await.json();
        assert_eq!(status["startAt"], serde_json::Value::Null, "{query}");
    }
}

#[tokio::test]
async fn an_instance_is_restarted_with_its_input_under_the_same_or_another_id() {
    let host = TestHost::start().await;
    host.completed("done", "1").await;
    host.running("live").await;
    let restart = async |target: &str| host.post(&format!("/v1/instances/{target}"), "").await;
    assert_eq!(
        restart("none/restart").await.refusal(),
        (404, "unknown-instance".into())
    );
    for same in ["live/restart", "live/restart?instanceId=live"] {
        let refused = restart(same).await;
        assert_eq!(refused.refusal(), (409, "instance-not-ended".into()), "{same}");
        assert_eq!(refused.json()["instanceStatus"], "Running");
    }
    let taken = restart("done/restart?instanceId=live").await;
    assert_eq!(
        (taken.refusal(), taken.json()["instanceId"].clone()),
        ((409, "already-exists".into()), "live".into())
    );
    for query in ["newId=true&instanceId=x", "newId=maybe", "instanceId=a/b"] {
        let refused = restart(&format!("done/restart?{query}")).await;
        assert_eq!(refused.refusal(), (400, "invalid-parameter".into()), "{query}");
    }
    let with_body = host.post("/v1/instances/done/restart", "1").await;
    assert_eq!(with_body.refusal(), (400, "unexpected-body".into()));

    // An input that only an older version accepted.
    host.pending("unfit", "2").await;
    assert_eq!(host.post("/v1/instances/unfit/terminate", "").await.status, 202);
    assert_eq!(host.get("/v1/instances/unfit?wait=30s").await.status, 200);
    let unfit = restart("unfit/restart").await;
    assert_eq!(unfit.refusal(), (400, "invalid-input".into()));
    assert_eq!(
        host.get("/v1/instances/unfit").await.json()["runtimeStatus"],
        "Terminated"
    );
    assert_eq!(
        host.get("/v1/instances/done").await.json()["runtimeStatus"],
        "Completed"
    );

    assert_eq!(
        host.post("/v1/orchestrations/Order?instanceId=small", "0.50")
            .await
            .status,
        202
    );
    assert_eq!(host.post("/v1/instances/small/terminate", "").await.status, 202);
    assert_eq!(host.get("/v1/instances/small?wait=30s").await.status, 200);
    let beside = restart("small/restart?newId=true").await;
    assert_eq!(beside.status, 202);
    let id = beside.json()["id"].as_str().unwrap().to_owned();
    let same = restart("small/restart").await;
    assert_eq!((same.status, same.json()["id"].clone()), (202, "small".into()));
    for id in ["small", &id] {
        let status = host.get(&format!("/v1/instances/{id}")).await;
        assert!(
            status.status == 202 && status.text.contains("\"input\":0.50"),
            "{status:?}"
        );
    }
}

#[tokio::test]
async fn tags_are_shown_and_filter_the_list() {
    let host = TestHost::start().await;
    let start = async |query: &str| host.post(&format!("/v1/orchestrations/Order?{query}"), "1").await;
    for query in [
        "instanceId=a&tag=customer:ada&tag=note:a%20b:c",
        "instanceId=b&tag=customer:ada",
        "instanceId=c",
    ] {
        assert_eq!(start(query).await.status, 202, "{query}");
    }
    let tags = serde_json::json!({ "customer": "ada", "note": "a b:c" });
    assert_eq!(host.get("/v1/instances/a").await.json()["tags"], tags);
    assert_eq!(
        host.get("/v1/instances/c").await.json()["tags"],
        serde_json::Value::Null
    );
    for (query, expected) in [
        ("tag=customer:ada", &["b", "a"][..]),
        ("tag=customer:ada&tag=note:a+b:c", &["a"]),
        ("tag=customer:bob", &[]),
    ] {
        let list = host.get(&format!("/v1/instances?{query}")).await.json();
        let ids: Vec<_> = list["instances"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["instanceId"])
            .collect();
        assert_eq!(ids, expected, "{query}");
    }
    let listed = host.get("/v1/instances?instanceIdPrefix=a").await.json();
    assert_eq!(listed["instances"][0]["tags"], tags);

    // A restart keeps them.
    assert_eq!(host.post("/v1/instances/a/terminate", "").await.status, 202);
    assert_eq!(host.get("/v1/instances/a?wait=30s").await.json()["tags"], tags);
    assert_eq!(host.post("/v1/instances/a/restart", "").await.status, 202);
    assert_eq!(host.get("/v1/instances/a").await.json()["tags"], tags);
}

#[tokio::test]
async fn bad_tags_are_refused_and_nothing_starts() {
    let host = TestHost::start().await;
    let tags = |count: u32| -> String { (0..count).map(|number| format!("tag=k{number}:v&")).collect() };
    let many = tags(65);
    let long = format!("tag=k:{}", "x".repeat(257));
    for query in [
        "tag=alone",
        "tag=:v",
        "tag=",
        "tag=a%0Ab:v",
        "tag=a%3Db:v",
        &many,
        &long,
        "tag=k:1&tag=k:2",
    ] {
        let refused = host.post(&format!("/v1/orchestrations/Order?{query}"), "1").await;
        assert_eq!(refused.refusal(), (400, "invalid-parameter".into()), "{query}");
        assert_eq!(refused.json()["parameter"], "tag");
    }
    let refused = host.post(&format!("/v1/orchestrations/Order?{}", tags(17)), "1").await;
    assert_eq!(refused.refusal(), (403, "quota-exceeded".into()));
    assert_eq!(refused.json()["quota"], "maxTags");
    assert_eq!(
        host.get("/v1/instances").await.json()["instances"],
        serde_json::json!([])
    );
    let refused = host.get(&format!("/v1/instances?{many}")).await;
    assert_eq!(refused.refusal(), (400, "invalid-parameter".into()));
    // Elsewhere the parameter is unknown.
    let unknown = host.post("/v1/instances/a/suspend?tag=a:b&tag=c:d", "").await;
    assert_eq!(unknown.refusal(), (400, "unknown-parameter".into()));
}

#[tokio::test]
async fn ids_and_names_that_urls_cannot_hold_are_refused() {
    let host = TestHost::start().await;
    host.running("order").await;
    for id in ["..", ".", "%2E%2e", "%2e"] {
        let start = host
            .post(&format!("/v1/orchestrations/Order?instanceId={id}"), "1")
            .await;
        assert_eq!(start.refusal(), (400, "invalid-parameter".into()), "{id}");
        assert!(start.text.contains("URLs cannot hold it"), "{}", start.text);
    }
    // As raw bytes, because an HTTP client would resolve the segment.
    for (method, path) in [
        ("POST", "/v1/instances/order/events/.."),
        ("POST", "/v1/instances/order/events/%2e"),
        ("PUT", "/v1/config/%2E%2E"),
        ("PUT", "/v1/secrets/.."),
    ] {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
        let answer = host.raw(request.as_bytes(), true).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
        assert!(answer.contains("invalid-path"), "{path}: {answer}");
    }
    assert_eq!(
        host.get("/v1/instances").await.json()["instances"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn an_existing_instance_with_such_an_id_can_be_read_and_removed() {
    let host = TestHost::start().await;
    host.completed("..", "1").await;
    let listed = host.get("/v1/instances?instanceIdPrefix=.").await.json();
    assert_eq!(listed["instances"][0]["instanceId"], "..");
    let ask = async |method: &str, path: &str| {
        let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        host.raw(request.as_bytes(), true).await
    };
    let answer = ask("GET", "/v1/instances/..").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let answer = ask("DELETE", "/v1/instances/%2E%2E").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    host.completed(".", "1").await;
    let purged = host.delete("/v1/instances?endedBefore=2100-01-01T00:00:00Z").await;
    assert_eq!(purged.json()["instancesDeleted"], 1);
}
