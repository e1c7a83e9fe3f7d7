//! Tests of what the host cannot do: its answers are those that clients understand.

use super::{BASE, error_object, error_text, no_body, post_json};
use crate::http::tests::harness::TestHost;

#[tokio::test]
async fn only_a_failed_instance_could_be_rewound() {
    let host = TestHost::start().await;
    host.failed("failed").await;
    host.completed("done", "1").await;
    host.running("live").await;
    let rewind = async |id: &str| post_json(&host, &format!("{BASE}/instances/{id}/rewind?reason=again"), "").await;
    for id in ["nobody", "a%2Fb"] {
        assert_eq!(error_text(&rewind(id).await), 404, "{id}");
    }
    for id in ["done", "live"] {
        assert_eq!(error_text(&rewind(id).await), 412, "{id}");
    }
    assert_eq!(error_object(&rewind("failed").await), 501);
}

#[tokio::test]
async fn an_unknown_or_live_instance_could_not_be_restarted() {
    let host = TestHost::start().await;
    host.completed("done", "1").await;
    host.running("live").await;
    let restart = async |id: &str| host.post(&format!("{BASE}/instances/{id}"), "").await;
    assert_eq!(error_object(&restart("nobody/restart").await), 400);
    assert_eq!(error_object(&restart("a%2Fb/restart").await), 400);
    assert_eq!(
        error_object(&restart("live/restart?restartWithNewInstanceId=False").await),
        409
    );
    for path in [
        "live/restart",
        "done/restart",
        "done/restart?restartWithNewInstanceId=false",
    ] {
        assert_eq!(error_object(&restart(path).await), 501, "{path}");
    }
}

#[tokio::test]
async fn no_entity_exists_and_none_can_be_signalled() {
    let host = TestHost::start().await;
    assert_eq!(no_body(&host.get(&format!("{BASE}/entities/Counter/a%20B")).await), 404);
    assert_eq!(no_body(&host.get(&format!("{BASE}/entities/counter/$")).await), 404);
    for path in ["/entities", "/entities/", "/entities/counter", "/entities/counter/"] {
        assert_eq!(error_object(&host.get(&format!("{BASE}{path}")).await), 501, "{path}");
    }
    let path = format!("{BASE}/entities/counter/a");
    assert_eq!(
        error_object(&post_json(&host, &format!("{path}?op=add"), "1").await),
        501
    );
    assert_eq!(error_object(&host.delete(&path).await), 501);
}
