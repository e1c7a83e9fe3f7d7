//! Tests of the API of Durable Functions, row by row of its contract. How orchestrations run is tested from end to end.

mod events;
mod instances;
mod keys;
mod lists;
mod purges;
mod starts;
mod unsupported;

use serde_json::Value;

use super::harness::{Answer, TestHost};
use crate::model::TenantId;

/// The prefix of all paths.
const BASE: &str = "/runtime/webhooks/durabletask";

/// The status of an error whose body is an error object with a text.
fn error_object(answer: &Answer) -> u16 {
    let error = answer.json();
    for field in ["Message", "ExceptionMessage", "ExceptionType"] {
        assert!(
            error[field].as_str().is_some_and(|text| !text.is_empty()),
            "{field}: {answer:?}"
        );
    }
    assert!(error["StackTrace"].is_string(), "{answer:?}");
    answer.status
}

/// The status of an error whose body is a bare JSON string.
fn error_text(answer: &Answer) -> u16 {
    assert!(
        answer.json().as_str().is_some_and(|text| !text.is_empty()),
        "{answer:?}"
    );
    answer.status
}

/// The status of a response without a body.
fn no_body(answer: &Answer) -> u16 {
    assert_eq!(answer.text, "", "{answer:?}");
    answer.status
}

/// The ids of a list.
fn ids(list: &Value) -> Vec<&str> {
    let instances = list.as_array().unwrap().iter();
    instances
        .map(|instance| instance["instanceId"].as_str().unwrap())
        .collect()
}

async fn post_json(host: &TestHost, target: &str, body: &'static str) -> Answer {
    let send = |client: &reqwest::Client, base: &str| {
        client
            .post(format!("{base}{target}"))
            .header("content-type", "application/json; charset=utf-8")
            .body(body)
    };
    host.send(send).await
}

#[tokio::test]
async fn paths_ignore_case_and_trailing_slashes() {
    let host = TestHost::start().await;
    host.running("Order 7").await;
    for path in [
        "/runtime/webhooks/durabletask/instances/Order%207",
        "/Runtime/WebHooks/DurableTask/Instances/Order%207/",
    ] {
        assert_eq!(host.get(path).await.json()["instanceId"], "Order 7", "{path}");
    }
    for path in ["/instances", "/instances/", "/INSTANCES/?"] {
        assert_eq!(
            ids(&host.get(&format!("{BASE}{path}")).await.json()),
            ["Order 7"],
            "{path}"
        );
    }
    assert_eq!(
        no_body(&host.get(&format!("{BASE}/instances/order%207")).await),
        404,
        "ids differ by case"
    );
    let other = host.post("/API/orchestrators/Order/b", "1").await;
    assert_eq!((other.status, other.json()["id"].clone()), (202, "b".into()));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_404_with_an_error_object() {
    let host = TestHost::start().await;
    host.running("order").await;
    for path in [
        "",
        "/nothing",
        "/instances/order/nothing",
        "/makeprimary",
        "/orchestrators/Order",
        "/instances/order/terminate",
    ] {
        assert_eq!(error_object(&host.get(&format!("{BASE}{path}")).await), 404, "{path}");
    }
    for path in ["/instances", "/instances/order", "/entities"] {
        assert_eq!(
            error_object(&host.put(&format!("{BASE}{path}"), "").await),
            404,
            "{path}"
        );
    }
    assert_eq!(
        error_object(&host.get("/api/orchestrators/Order").await),
        404,
        "a start is a POST"
    );
}

#[tokio::test]
async fn what_refuses_requests_before_they_are_read_answers_in_the_same_form() {
    let host = TestHost::start().await;
    let target = format!("{BASE}/instances");
    let with = async |name: &'static str, value: &'static str| {
        let send = |client: &reqwest::Client, base: &str| client.get(format!("{base}{target}")).header(name, value);
        error_object(&host.send(send).await)
    };
    assert_eq!(with("host", "rebound.example").await, 403);
    assert_eq!(with("origin", "http://evil.example").await, 403);
    let long = format!("{target}?instanceIdPrefix={}", "x".repeat(9_000));
    assert_eq!(error_object(&host.get(&long).await), 414);
    let large = host
        .post(&format!("{BASE}/orchestrators/Order"), vec![b' '; 8 * 1024])
        .await;
    assert_eq!(error_object(&large), 413);
    let unread = host.post(&format!("{BASE}/instances/a/terminate"), "{}").await;
    assert_eq!(error_object(&unread), 400);
}

#[tokio::test]
async fn waiting_starts_are_answered_when_the_host_shuts_down() {
    let mut host = TestHost::start().await;
    let server = host.server.take().unwrap();
    let target = format!("{BASE}/orchestrators/Order/slow?timeout=60");
    let (answer, ()) = tokio::join!(host.post(&target, "1"), async {
        while !exists(&host, "slow").await {
            tokio::task::yield_now().await;
        }
        host.stop.cancel();
    });
    assert_eq!((answer.status, answer.json()["id"].clone()), (202, "slow".into()));
    server.await.unwrap();
    host.engine.stop().await;
}

/// Whether there is an instance with this id.
async fn exists(host: &TestHost, id: &str) -> bool {
    let id = id.parse().unwrap();
    host.store
        .tenant(TenantId::DEFAULT)
        .number(&id)
        .await
        .unwrap()
        .is_some()
}
