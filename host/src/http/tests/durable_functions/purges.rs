//! Tests of `DELETE /instances/{instanceId}` and `DELETE /instances`.

use serde_json::json;

use super::{BASE, error_text, ids, no_body};
use crate::http::tests::harness::{Answer, TestHost};

#[tokio::test]
async fn one_ended_instance_is_purged() {
    let host = TestHost::start().await;
    host.completed("done 1", "1").await;
    host.running("live").await;
    let one = async |id: &str| host.delete(&format!("{BASE}/instances/{id}?taskHub=default")).await;
    let purged = one("done%201").await;
    assert_eq!((purged.status, purged.json()), (200, json!({ "instancesDeleted": 1 })));
    assert_eq!(no_body(&one("done%201").await), 404);
    assert_eq!(no_body(&one("a%2Fb").await), 404);
    assert_eq!(error_text(&one("live").await), 412);
    assert_eq!(host.get(&format!("{BASE}/instances/live")).await.status, 202);
}

#[tokio::test]
async fn many_are_purged_by_time_of_creation_and_status() {
    let host = TestHost::start().await;
    for id in ["a", "b", "c"] {
        host.completed(id, "1").await;
    }
    host.failed("failed").await;
    host.terminated("ended", "now").await;
    host.running("live").await;
    let purge = async |query: &str| -> Answer { host.delete(&format!("{BASE}/instances/?{query}")).await };
    for query in [
        "",
        "createdTimeFrom=",
        "createdTimeFrom=yesterday",
        "createdTimeTo=2030-01-01T00:00:00Z",
    ] {
        assert_eq!(error_text(&purge(query).await), 400, "{query}");
    }
    let from = "createdTimeFrom=2023-11-14T22:13:20.000Z";
    assert_eq!(error_text(&purge(&format!("{from}&runtimeStatus=Complete")).await), 400);
    for query in [
        format!("{from}&runtimeStatus=Running,Pending"),
        format!("{from}&runtimeStatus=Canceled"),
        format!("{from}&createdTimeTo=2023-11-14T22:13:19Z"),
        "createdTimeFrom=2023-11-14T22:13:20.001Z".into(),
        "createdTimeFrom=0001-01-01T00:00:00Z&createdTimeTo=2023-11-14T22:13:19.999Z".into(),
    ] {
        assert_eq!(no_body(&purge(&query).await), 404, "{query}");
    }
    let failed = purge(&format!(
        "{from}&createdTimeTo=2023-11-14T22:13:20Z&runtimeStatus=Failed,Running"
    ))
    .await;
    assert_eq!((failed.status, failed.json()), (200, json!({ "instancesDeleted": 1 })));
    let rest = purge("createdTimeFrom=1-01-01T00:00:00Z").await;
    assert_eq!((rest.status, rest.json()), (200, json!({ "instancesDeleted": 4 })));
    assert_eq!(ids(&host.get(&format!("{BASE}/instances")).await.json()), ["live"]);
}
