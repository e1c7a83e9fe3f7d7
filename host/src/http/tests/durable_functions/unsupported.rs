//! Tests of rewind, of restart, and of entities that do not exist.

use super::{BASE, error_object, error_text, no_body, post_json};
use crate::http::tests::harness::TestHost;

#[tokio::test]
async fn only_a_failed_instance_is_rewound() {
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
    assert_eq!(no_body(&rewind("failed").await), 202);
    assert_eq!(error_text(&rewind("failed").await), 412, "it is running");
}

#[tokio::test]
async fn an_instance_is_restarted_under_a_new_id_or_the_same_one() {
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
    let same = restart("done/restart?restartWithNewInstanceId=false").await;
    assert_eq!((same.status, &same.json()["id"]), (202, &serde_json::json!("done")));
    for id in ["live", "done"] {
        let new = restart(&format!("{id}/restart")).await;
        assert_eq!(new.status, 202, "{id}: {:#}", new.text);
        assert!(
            new.json()["id"] != id && new.json()["statusQueryGetUri"].is_string(),
            "{:#}",
            new.text
        );
    }
}

#[tokio::test]
async fn an_entity_that_no_module_offers_does_not_exist_and_cannot_be_signalled() {
    let host = TestHost::start().await;
    assert_eq!(no_body(&host.get(&format!("{BASE}/entities/Counter/a%20B")).await), 404);
    assert_eq!(no_body(&host.get(&format!("{BASE}/entities/counter/$")).await), 404);
    for path in ["/entities", "/entities/", "/entities/counter", "/entities/counter/"] {
        let list = host.get(&format!("{BASE}{path}")).await;
        assert_eq!((list.status, &list.json()), (200, &serde_json::json!([])), "{path}");
    }
    assert_eq!(error_object(&host.get(&format!("{BASE}/entities/a@b")).await), 400);
    let path = format!("{BASE}/entities/counter/a");
    assert_eq!(
        error_object(&post_json(&host, &format!("{path}?op=add"), "1").await),
        400
    );
    assert_eq!(
        error_object(&post_json(&host, &format!("{path}?op=add"), "{").await),
        400
    );
    assert_eq!(error_object(&host.delete(&path).await), 400);
}
