//! Tests of `GET /instances`.

use serde_json::{Value, json};

use super::{BASE, error_object, ids};
use crate::http::tests::harness::{Answer, TestHost};

const TOKEN: &str = "x-ms-continuation-token";

async fn list(host: &TestHost, query: &str, token: Option<&str>) -> Answer {
    let target = format!("{BASE}/instances/?{query}");
    let send = |client: &reqwest::Client, base: &str| {
        let get = client.get(format!("{base}{target}"));
        token.into_iter().fold(get, |get, token| get.header(TOKEN, token))
    };
    host.send(send).await
}

/// The ids on all pages.
async fn all(host: &TestHost, query: &str) -> Vec<String> {
    let (mut found, mut token) = (Vec::new(), None::<String>);
    loop {
        let page = list(host, query, token.as_deref()).await;
        assert_eq!(page.status, 200, "{page:?}");
        found.extend(ids(&page.json()).into_iter().map(str::to_owned));
        match page.headers.get(TOKEN) {
            Some(next) => token = Some(next.to_str().unwrap().to_owned()),
            None => return found,
        }
    }
}

#[tokio::test]
async fn pages_follow_each_other_until_there_is_no_token() {
    let host = TestHost::start().await;
    assert_eq!(list(&host, "", None).await.json(), json!([]));
    for number in 0..5 {
        host.completed(&format!("done-{number}"), "1").await;
    }
    host.running("live").await;
    let expected = ["live", "done-4", "done-3", "done-2", "done-1", "done-0"];
    for top in ["1", "2", "5", "6", "100", "0", "-1", "many", "99999999999"] {
        assert_eq!(all(&host, &format!("top={top}")).await, expected, "{top}");
    }
    let first = list(&host, "TOP=2", None).await;
    assert_eq!(ids(&first.json()).len(), 2);
    let last = list(&host, "", None).await;
    assert!(!last.headers.contains_key(TOKEN), "{last:?}");
    let after_last = list(&host, "", Some("")).await;
    assert_eq!(
        (after_last.json(), after_last.headers.get(TOKEN)),
        (json!([]), None),
        "an empty token ends the list"
    );
    assert_eq!(error_object(&list(&host, "", Some("nonsense")).await), 400);
}

#[tokio::test]
async fn filters_are_combined() {
    let host = TestHost::start().await;
    host.running("live").await;
    host.completed("done", "1").await;
    host.failed("failed").await;
    host.terminated("ended", "now").await;
    host.pending("pending", "1").await;
    host.pending("@counter@a", "1").await;
    for (query, expected) in [
        ("", &["pending", "ended", "failed", "done", "live"][..]),
        ("runtimeStatus=Running", &["live"]),
        (
            "runtimeStatus=Running,Failed&runtimeStatus=Terminated",
            &["ended", "failed", "live"],
        ),
        ("runtimeStatus=Completed,Nonsense", &["done"]),
        (
            "runtimeStatus=Nonsense",
            &["pending", "ended", "failed", "done", "live"],
        ),
        ("runtimeStatus=Canceled", &[]),
        ("runtimeStatus=ContinuedAsNew,Pending", &["pending"]),
        ("instanceIdPrefix=pe", &["pending"]),
        (
            "INSTANCEIDPREFIX=&taskHub=default",
            &["pending", "ended", "failed", "done", "live"],
        ),
        (
            "createdTimeFrom=2023-11-14T22:13:20.000Z&createdTimeTo=2023-11-14T22:13:20.000000Z&runtimeStatus=Running",
            &["live"],
        ),
        ("createdTimeFrom=2023-11-14T22:13:20.001Z", &[]),
        ("createdTimeTo=2023-11-14T22:13:19.999Z", &[]),
        (
            "createdTimeFrom=never&createdTimeTo=0001-01-01",
            &["pending", "ended", "failed", "done", "live"],
        ),
        (
            "createdTimeFrom=2023-11-14T22:13:20&instanceIdPrefix=d&runtimeStatus=Failed",
            &[],
        ),
    ] {
        assert_eq!(all(&host, query).await, expected, "{query}");
    }
}

#[tokio::test]
async fn a_list_has_whole_status_objects_without_history() {
    let host = TestHost::start().await;
    host.running("live").await;
    host.completed("done", "{\"total\" : 1.0}").await;
    let shown = list(&host, "showHistory=true", None).await;
    assert!(shown.text.contains("\"output\":{\"total\" : 1.0}"), "{shown:?}");
    let one = host.get(&format!("{BASE}/instances/done")).await.json();
    assert_eq!(shown.json()[0], one);
    assert_eq!(shown.json()[1]["input"], json!({ "amount": 1.0 }));
    let hidden = list(&host, "showInput=false", None).await.json();
    for instance in hidden.as_array().unwrap() {
        assert_eq!(instance["input"], Value::Null);
        assert_eq!(instance["customStatus"], json!([1.0]));
        assert_eq!(instance.as_object().unwrap().len(), 8, "{instance}");
    }
    assert_eq!(hidden[0]["output"], json!({ "total": 1.0 }));
}

#[tokio::test]
async fn a_page_of_large_instances_is_short() {
    let host = TestHost::start().await;
    let output = format!("\"{}\"", "x".repeat(1 << 20));
    for number in 0..5 {
        host.completed(&format!("done-{number}"), &output).await;
    }
    let first = list(&host, "", None).await;
    assert_eq!(ids(&first.json()), ["done-4", "done-3"]);
    assert_eq!(all(&host, "").await, ["done-4", "done-3", "done-2", "done-1", "done-0"]);
}
