//! Tests of raised events, and of terminate, suspend and resume.

use super::{BASE, error_object, no_body, post_json};
use crate::{
    http::tests::harness::TestHost,
    model::{InboxItem, InstanceNumber},
};

/// The payloads of the events that wait for an instance.
async fn waiting(host: &TestHost, instance: InstanceNumber) -> Vec<(String, String)> {
    let record = host.store.load(instance).await.unwrap().unwrap();
    let events = record.inbox.iter().filter_map(|row| match &row.item {
        InboxItem::Event(event) => Some((event.name.to_string(), event.payload.to_string())),
        _ => None,
    });
    events.collect()
}

#[tokio::test]
async fn events_are_kept_for_live_instances() {
    let host = TestHost::start().await;
    let number = host.running("order").await;
    // Suspended, so that events stay in the inbox.
    assert_eq!(
        no_body(&host.post(&format!("{BASE}/instances/order/suspend"), "").await),
        202
    );
    for (name, body) in [("go%2Fon", "{\"a\" : 1.0}"), ("Approval", ""), ("approval", "\"{}\"")] {
        let target = format!("{BASE}/instances/order/raiseEvent/{name}?taskHub=default");
        assert_eq!(no_body(&post_json(&host, &target, body).await), 202, "{name}");
    }
    let expected = [("go/on", "{\"a\" : 1.0}"), ("Approval", "null"), ("approval", "\"{}\"")];
    let expected = expected.map(|(name, payload)| (name.to_owned(), payload.to_owned()));
    assert_eq!(waiting(&host, number).await, expected);
}

#[tokio::test]
async fn what_is_wrong_with_an_event_is_looked_for_in_order() {
    let host = TestHost::start().await;
    let number = host.running("live").await;
    host.completed("done", "1").await;
    let path = |id: &str, name: &str| format!("{BASE}/instances/{id}/raiseEvent/{name}");
    assert_eq!(no_body(&host.post(&path("nobody", "a"), "no json").await), 404);
    assert_eq!(no_body(&post_json(&host, &path("a%2Fb", "a"), "1").await), 404);
    assert_eq!(error_object(&host.post(&path("done", "a"), "no json").await), 410);
    let plain = host.post(&path("live", "a"), "1").await;
    assert_eq!(error_object(&plain), 400);
    assert!(plain.json()["Message"].as_str().unwrap().contains("application/json"));
    let no_json = post_json(&host, &path("live", "a"), "no json").await;
    assert_eq!(
        (error_object(&no_json), &no_json.json()["ExceptionType"]),
        (400, &"not-json".into())
    );
    let long_name = "x".repeat(201);
    assert_eq!(
        error_object(&post_json(&host, &path("live", &long_name), "1").await),
        400
    );
    assert_eq!(error_object(&post_json(&host, &path("live", ""), "1").await), 404);
    let target = path("live", "a");
    let large = host.post(&target, vec![b'1'; 8 * 1024]).await;
    assert_eq!(error_object(&large), 413);
    assert_eq!(waiting(&host, number).await, []);
}

#[tokio::test]
async fn control_messages_are_accepted_without_a_body() {
    let host = TestHost::start().await;
    host.running("live").await;
    host.pending("new", "1").await;
    host.completed("done", "1").await;
    for action in ["suspend", "suspend", "Resume", "resume", "TERMINATE"] {
        let path = format!("{BASE}/instances/live/{action}?reason={{text}}");
        // With a content type, as one SDK sends it.
        assert_eq!(no_body(&post_json(&host, &path, "").await), 202, "{action}");
    }
    for action in ["suspend", "resume", "terminate"] {
        let send = async |id: &str| host.post(&format!("{BASE}/instances/{id}/{action}"), "").await;
        assert_eq!(no_body(&send("nobody").await), 404, "{action}");
        assert_eq!(no_body(&send("a%5Cb").await), 404, "{action}");
        assert_eq!(error_object(&send("done").await), 410, "{action}");
        let long = format!("live/{action}?reason={}", "x".repeat(5_000));
        assert_eq!(
            error_object(&host.post(&format!("{BASE}/instances/{long}"), "").await),
            400
        );
    }
    let path = format!("{BASE}/instances/new/terminate?reason=two%20words&taskHub=default");
    assert_eq!(no_body(&host.post(&path, "").await), 202);
    let ended = host.get("/v1/instances/new?wait=30s").await;
    assert_eq!(ended.json()["output"], "two words");
    let status = host.get(&format!("{BASE}/instances/new")).await;
    assert_eq!(
        (status.status, status.json()["output"].clone()),
        (200, "two words".into())
    );
}
