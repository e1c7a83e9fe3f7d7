//! Tests of schedules. The started instances never run: their module is broken.

use serde_json::{Value, json};

use super::harness::{Answer, PAYLOAD_BYTES, TestHost};

/// A definition that selects no time during a test.
fn yearly() -> Value {
    json!({ "orchestration": "Order", "input": 1, "cron": "0 0 1 1 *" })
}

fn with(member: &str, value: impl Into<Value>) -> Value {
    let mut definition = yearly();
    definition[member] = value.into();
    definition
}

async fn put(host: &TestHost, name: &str, definition: &Value) -> Answer {
    host.put(&format!("/v1/schedules/{name}"), definition.to_string()).await
}

#[tokio::test]
async fn a_schedule_is_shown_as_it_was_given_with_its_next_times() {
    let host = TestHost::start().await;
    let text = r#"{"orchestration": "Order", "input": 1.0, "tags": {"customer": "ada"}, "cron": "30 9 * * MON-FRI",
        "timeZone": "Europe/Berlin", "startTime": "2030-01-01T00:00:00Z", "endTime": "2030-01-09T08:30:00Z",
        "overlap": "queueOne", "catchUpWindow": "1h", "jitter": "90s", "paused": false}"#;
    let created = host.put("/v1/schedules/report", text).await;
    assert_eq!(created.status, 201, "{created:?}");
    assert!(created.text.contains("\"input\":1.0"), "{created:?}");
    let shown = host.get("/v1/schedules/report").await;
    assert_eq!(shown.json(), created.json());
    let mut document = shown.json();
    for volatile in ["createdTime", "lastUpdatedTime"] {
        assert!(document[volatile].take().is_string(), "{shown:?}");
    }
    let day = |day: u32| format!("2030-01-0{day}T08:30:00.000Z");
    let expected = json!({
        "name": "report", "orchestration": "Order", "input": 1.0, "tags": { "customer": "ada" },
        "cron": "30 9 * * MON-FRI", "timeZone": "Europe/Berlin",
        "startTime": "2030-01-01T00:00:00.000Z", "endTime": "2030-01-09T08:30:00.000Z",
        "overlap": "queueOne", "catchUpWindow": "1h", "jitter": "1m 30s", "paused": false,
        "createdTime": null, "lastUpdatedTime": null,
        "nextTimes": [day(1), day(2), day(3), day(4), day(7)],
        "counts": { "started": 0, "skipped": 0, "missed": 0, "failed": 0 }, "recent": [],
    });
    assert_eq!(document, expected);
    let interval = json!({ "orchestration": "Order", "interval": "1d", "offset": "90m" });
    let interval = put(&host, "interval", &interval).await;
    let document = interval.json();
    assert_eq!(
        (
            &document["interval"],
            &document["offset"],
            &document["input"],
            &document["overlap"]
        ),
        (&json!("1day"), &json!("1h 30m"), &Value::Null, &json!("skip"))
    );
    let list = host.get("/v1/schedules?limit=1").await.json();
    assert_eq!(list["schedules"][0]["name"], "interval");
    assert!(list["schedules"][0].get("input").is_none(), "{list}");
    let cursor = list["nextCursor"].as_str().unwrap();
    let rest = host.get(&format!("/v1/schedules?cursor={cursor}")).await.json();
    assert_eq!(
        (&rest["schedules"][0]["name"], rest.get("nextCursor")),
        (&json!("report"), None)
    );
}

#[tokio::test]
async fn a_definition_is_replaced_unless_it_must_be_new_and_keeps_its_pause() {
    let host = TestHost::start().await;
    assert_eq!(put(&host, "report", &yearly()).await.status, 201);
    let again = put(&host, "report", &yearly()).await;
    assert_eq!(again.status, 200);
    let refused = put(&host, "report?ifAbsent=true", &yearly()).await;
    assert_eq!(refused.refusal(), (409, "schedule-exists".into()));
    assert_eq!(refused.json()["schedule"], "report");

    let paused = host.post("/v1/schedules/report/pause?note=holidays", "").await;
    let document = paused.json();
    assert_eq!(
        (
            paused.status,
            &document["paused"],
            &document["note"],
            &document["nextTimes"]
        ),
        (200, &json!(true), &json!("holidays"), &json!([]))
    );
    let replaced = put(&host, "report", &with("overlap", "allow")).await;
    assert_eq!((replaced.status, &replaced.json()["note"]), (200, &json!("holidays")));
    let resumed = put(&host, "report", &with("paused", false)).await.json();
    assert_eq!(
        (&resumed["paused"], resumed["nextTimes"].as_array().unwrap().len()),
        (&json!(false), 5)
    );
    host.post("/v1/schedules/report/pause", "").await;
    let resumed = host.post("/v1/schedules/report/resume", "").await;
    assert_eq!((resumed.status, &resumed.json()["paused"]), (200, &json!(false)));

    assert_eq!(host.delete("/v1/schedules/report").await.status, 204);
    for answer in [
        host.get("/v1/schedules/report").await,
        host.delete("/v1/schedules/report").await,
        host.post("/v1/schedules/report/pause", "").await,
        host.post("/v1/schedules/report/resume", "").await,
        host.post("/v1/schedules/report/trigger", "").await,
    ] {
        assert_eq!(answer.refusal(), (404, "unknown-schedule".into()));
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_definition_is_named_and_nothing_is_stored() {
    let host = TestHost::start().await;
    let mut without_times = yearly();
    without_times.as_object_mut().unwrap().remove("cron");
    let mut interval = without_times.clone();
    interval["interval"] = json!("10s");
    let and = |member: &str, value: &str| {
        let mut definition = interval.clone();
        definition[member] = json!(value);
        definition
    };
    for (definition, parameter) in [
        (without_times.clone(), "cron"),
        (with("cron", "0 0 30 2 *"), "cron"),
        (with("cron", "* * *"), "cron"),
        (with("timeZone", "Europe/Atlantis"), "timeZone"),
        (with("interval", "10s"), "interval"),
        (with("offset", "10s"), "offset"),
        (and("timeZone", "UTC"), "timeZone"),
        (and("offset", "10s"), "offset"),
        (and("interval", "500ms"), "interval"),
        (and("interval", "0"), "interval"),
        (and("interval", "soon"), "interval"),
        (with("startTime", "tomorrow"), "startTime"),
        (with("endTime", "12000-01-01T00:00:00Z"), "endTime"),
        (with("overlap", "maybe"), "overlap"),
        (with("catchUpWindow", "1s"), "catchUpWindow"),
        (with("catchUpWindow", "400d"), "catchUpWindow"),
        (with("jitter", "25h"), "jitter"),
        (with("note", "no pause"), "note"),
        (with("orchestration", ""), "orchestration"),
        (with("input", "x".repeat(PAYLOAD_BYTES)), "input"),
        (with("tags", json!({ "a:b": "c" })), "tags"),
    ] {
        let refused = put(&host, "report", &definition).await;
        assert_eq!(refused.refusal(), (400, "invalid-schedule".into()), "{definition}");
        assert_eq!(refused.json()["parameter"], parameter, "{definition}");
    }
    let mut reversed = with("startTime", "2030-01-02T00:00:00Z");
    reversed["endTime"] = json!("2030-01-01T00:00:00Z");
    let refused = put(&host, "report", &reversed).await;
    assert_eq!(refused.json()["parameter"], "endTime");

    let unknown = put(&host, "report", &with("orchestration", "Ordr")).await;
    assert_eq!(unknown.refusal(), (404, "unknown-function".into()));
    assert_eq!(unknown.json()["near"], json!(["Order"]));
    for (body, code) in [
        ("{", "not-json"),
        ("[]", "invalid-body"),
        (r#"{"cron": 1}"#, "invalid-body"),
    ] {
        assert_eq!(
            host.put("/v1/schedules/report", body).await.refusal(),
            (400, code.into())
        );
    }
    let misspelt = put(&host, "report", &with("timezone", "UTC")).await;
    assert_eq!(misspelt.refusal(), (400, "invalid-body".into()));
    assert_eq!(
        put(&host, "-report", &yearly()).await.refusal(),
        (400, "invalid-path".into())
    );
    assert_eq!(host.get("/v1/schedules").await.json()["schedules"], json!([]));
    for target in ["/v1/schedules/report/trigger?overlap=maybe", "/v1/schedules?cursor=9"] {
        let refused = match target.contains("trigger") {
            true => host.post(target, "").await,
            false => host.get(target).await,
        };
        assert_eq!(refused.refusal(), (400, "invalid-parameter".into()), "{target}");
    }
}

#[tokio::test]
async fn a_start_by_hand_obeys_the_policy_unless_the_request_names_another() {
    let host = TestHost::start().await;
    assert_eq!(put(&host, "report", &with("paused", true)).await.status, 201);
    let first = host.post("/v1/schedules/report/trigger", "").await;
    assert_eq!(first.status, 202, "{first:?}");
    let first = first.json()["id"].as_str().unwrap().to_owned();
    assert!(first.starts_with("report-20") && first.ends_with('Z'), "{first}");
    // The module cannot run, so the instance does not end.
    let refused = host.post("/v1/schedules/report/trigger", "").await;
    assert_eq!(refused.refusal(), (409, "schedule-overlaps".into()));
    assert_eq!(refused.json()["instanceId"], first.as_str());
    let second = host.post("/v1/schedules/report/trigger?overlap=allow", "").await;
    assert_eq!(second.status, 202, "{second:?}");
    let third = host.post("/v1/schedules/report/trigger?overlap=terminate", "").await;
    assert_eq!(third.status, 202, "{third:?}");
    let ended = second.json()["id"].as_str().unwrap().to_owned();
    let ended = host.get(&format!("/v1/instances/{ended}")).await.json();
    assert_eq!(ended["runtimeStatus"], "Terminated");
    assert_eq!(ended["output"], "the schedule report starts its next instance");
    let document = host.get("/v1/schedules/report").await.json();
    assert_eq!(document["counts"]["started"], 3);
    assert_eq!(document["lastInstanceId"], third.json()["id"]);
    let recent = document["recent"].as_array().unwrap();
    assert_eq!(recent.len(), 3);
    assert!(
        recent
            .iter()
            .all(|occasion| occasion["triggered"] == true && occasion["outcome"] == "started")
    );
    assert_eq!(recent[2]["instanceId"], first.as_str());
}

#[tokio::test]
async fn a_repeated_trigger_starts_nothing_again_and_schedules_are_counted() {
    let host = TestHost::start().await;
    assert_eq!(put(&host, "report", &yearly()).await.status, 201);
    let trigger = async |key: &'static str, query: &str| {
        let target = format!("/v1/schedules/report/trigger{query}");
        let send = |client: &reqwest::Client, url: &str| {
            let request = client.post(format!("{url}{target}"));
            request.header("idempotency-key", key)
        };
        host.send(send).await
    };
    let first = trigger("once", "").await;
    assert_eq!(first.status, 202, "{first:?}");
    // Although the first one still runs.
    let again = trigger("once", "").await;
    assert_eq!((again.status, &again.json()["id"]), (202, &first.json()["id"]));
    let reused = trigger("once", "?overlap=allow").await;
    assert_eq!(reused.refusal(), (422, "idempotency-key-reused".into()));
    let overlaps = trigger("twice", "").await;
    assert_eq!(overlaps.refusal(), (409, "schedule-overlaps".into()));
    let second = trigger("another", "?overlap=allow").await;
    assert_ne!(second.json()["id"], first.json()["id"]);
    let started = host.get("/v1/instances").await.json();
    assert_eq!(started["instances"].as_array().map(Vec::len), Some(2), "{started:#}");
    let usage = host.get("/v1/usage").await.json();
    assert_eq!(usage["schedules"], json!({ "count": 1, "maxSchedules": 100 }));
}
