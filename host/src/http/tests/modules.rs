//! Tests of the documents of modules, and of refused uploads.

use serde_json::json;

use super::harness::TestHost;

#[tokio::test]
async fn a_module_shows_its_functions_with_their_schemas_as_given() {
    let host = TestHost::start().await;
    let answer = host.get("/v1/modules/orders").await;
    assert!(
        answer.text.contains("\"inputSchema\":{\"maximum\":  1.0}"),
        "{}",
        answer.text
    );
    let module = answer.json();
    assert_eq!(module["kind"], "orchestration");
    assert_eq!(module["size"], 5);
    assert_eq!(module["uploadedTime"], "2023-11-14T22:13:20.000Z");
    assert_eq!(module["functions"][0]["doc"], "processes an order");
    assert_eq!(host.get("/v1/modules").await.json()["modules"], json!([module]));
}

#[tokio::test]
async fn a_refused_module_leaves_no_trace() {
    let host = TestHost::start().await;
    assert_eq!(
        host.put("/v1/modules/empty", "").await.refusal(),
        (422, "module-empty".into())
    );
    assert_eq!(host.get("/v1/modules/empty").await.status, 404);
    assert_eq!(
        host.delete("/v1/modules/empty").await.refusal(),
        (404, "unknown-module".into())
    );
}
