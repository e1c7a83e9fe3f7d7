//! Tests of `POST /orchestrators/{functionName}[/{instanceId}]` and of the client binding.

use serde_json::json;

use super::{BASE, error_object, exists, no_body};
use crate::http::tests::harness::TestHost;

#[tokio::test]
async fn a_start_is_accepted_with_all_links() {
    let host = TestHost::start().await;
    let answer = host
        .post(
            &format!("{BASE}/orchestrators/Order/order%207+?connection=My%20Store"),
            "1.0",
        )
        .await;
    let instance = format!("http://{}{BASE}/instances/order%207%2B", host.address);
    let query = "taskHub=default&connection=My%20Store";
    assert_eq!(answer.status, 202);
    assert_eq!(
        answer.json(),
        json!({
            "id": "order 7+",
            "statusQueryGetUri": format!("{instance}?{query}"),
            "sendEventPostUri": format!("{instance}/raiseEvent/{{eventName}}?{query}"),
            "terminatePostUri": format!("{instance}/terminate?reason={{text}}&{query}"),
            "rewindPostUri": format!("{instance}/rewind?reason={{text}}&{query}"),
            "purgeHistoryDeleteUri": format!("{instance}?{query}"),
            "restartPostUri": format!("{instance}/restart?{query}"),
            "suspendPostUri": format!("{instance}/suspend?reason={{text}}&{query}"),
            "resumePostUri": format!("{instance}/resume?reason={{text}}&{query}"),
        })
    );
    assert_eq!(answer.header("location"), answer.json()["statusQueryGetUri"]);
    assert_eq!(answer.header("retry-after"), "10");
    // A status directly after the start is never 404.
    let status = host.get(&format!("{BASE}/instances/order%207%2B?{query}")).await;
    assert!(status.text.contains("\"input\":1.0"), "{status:?}");
    let strict = format!("{BASE}/orchestrators/Order/b?returnInternalServerErrorOnFailure=True");
    let links = host.post(&strict, "1").await.json();
    let status = links["statusQueryGetUri"].as_str().unwrap();
    assert!(status.ends_with("&returnInternalServerErrorOnFailure=true"), "{status}");
}

#[tokio::test]
async fn an_id_is_generated_and_any_input_is_kept_as_it_comes() {
    let host = TestHost::start().await;
    for (body, expected) in [
        ("", "\"input\":null"),
        ("\"\"", "\"input\":\"\""),
        ("\"{\\\"a\\\": 1}\"", "\"input\":\"{\\\"a\\\": 1}\""),
        (" 1.00", "\"input\":1.00,"),
    ] {
        let target = format!("{}/orchestrators/Order?version=1.0&connectionName=x", BASE);
        let send = |client: &reqwest::Client, base: &str| {
            let post = client.post(format!("{base}{target}")).body(body);
            post.header("content-type", "text/plain")
                .header("x-azure-functions-invocationid", "7")
        };
        let answer = host.send(send).await;
        assert_eq!(answer.status, 202, "{body}");
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        assert!(
            id.len() == 32 && id.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
            "{id}"
        );
        let status = host.get(&format!("{BASE}/instances/{id}")).await;
        assert!(status.text.contains(expected), "{body}: {}", status.text);
    }
}

#[tokio::test]
async fn what_cannot_be_started_is_400_with_an_exception_message() {
    let host = TestHost::start().await;
    let long = "x".repeat(257);
    for (path, body) in [
        ("Order", "{"),
        ("Order", "text"),
        ("Order", "2"),
        ("Ordr", "1"),
        ("%20", "1"),
        ("Order/@counter@a", "1"),
        ("Order/a%2Fb", "1"),
        ("Order/a%5Cb", "1"),
        ("Order/a%3Fb", "1"),
        ("Order/a%23b", "1"),
        ("Order/a%0Ab", "1"),
        (&format!("Order/{long}"), "1"),
        ("Order[/{instanceId}]", "1"),
        ("Order/a?timeout=1&pollingInterval=2", "1"),
    ] {
        let answer = host.post(&format!("{BASE}/orchestrators/{path}"), body).await;
        assert_eq!(error_object(&answer), 400, "{path} {body}");
    }
    let near = host.post(&format!("{BASE}/orchestrators/Ordr"), "1").await;
    assert!(
        near.json()["Message"].as_str().unwrap().contains("\"Order\""),
        "{near:?}"
    );
    assert_eq!(host.get(&format!("{BASE}/instances")).await.json(), json!([]));
}

#[tokio::test]
async fn the_id_of_a_live_instance_is_409_and_an_ended_instance_is_replaced() {
    let host = TestHost::start().await;
    host.running("order").await;
    host.completed("done", "1").await;
    let taken = host.post(&format!("{BASE}/orchestrators/Order/order"), "1").await;
    assert_eq!(error_object(&taken), 409);
    let suspended = host.post(&format!("{BASE}/instances/order/suspend"), "").await;
    assert_eq!(no_body(&suspended), 202);
    let taken = host.post(&format!("{BASE}/orchestrators/Order/order"), "1").await;
    assert_eq!(error_object(&taken), 409);
    assert_eq!(
        host.post(&format!("{BASE}/orchestrators/Order/done"), "0.5")
            .await
            .status,
        202
    );
    let new = host.get(&format!("{BASE}/instances/done")).await;
    assert_eq!((new.status, new.json()["input"].clone()), (202, json!(0.5)));
    assert_ne!(new.json()["createdTime"], "2023-11-14T22:13:20Z");
}

#[tokio::test]
async fn a_start_that_waits_gets_links_if_the_time_is_over_and_the_status_of_what_was_terminated() {
    let host = TestHost::start().await;
    for query in [
        "timeout=0.05&pollingInterval=0.01",
        "timeout=0",
        "timeout=soon&pollingInterval=3",
    ] {
        let answer = host.post(&format!("{BASE}/orchestrators/Order?{query}"), "1").await;
        assert_eq!(answer.status, 202, "{query}");
        assert_eq!(answer.header("location"), answer.json()["statusQueryGetUri"]);
    }
    let target = format!("{BASE}/orchestrators/Order/slow?timeout=30&pollingInterval=1");
    let (answer, ()) = tokio::join!(host.post(&target, "1"), async {
        while !exists(&host, "slow").await {
            tokio::task::yield_now().await;
        }
        let terminate = format!("{BASE}/instances/slow/terminate?reason=%7B%22why%22:1.5%7D");
        assert_eq!(no_body(&host.post(&terminate, "").await), 202);
    });
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["runtimeStatus"], "Terminated");
    assert_eq!(answer.json()["output"], json!({ "why": 1.5 }));
    assert!(!answer.headers.contains_key("location"));
}

#[tokio::test]
async fn a_repeated_start_with_an_idempotency_key_gets_the_answer_of_the_first_one() {
    let host = TestHost::start().await;
    let start = async |query: &str, body: &'static str| {
        let target = format!("{BASE}/orchestrators/Order?{query}");
        let send = |client: &reqwest::Client, base: &str| {
            let post = client.post(format!("{base}{target}"));
            post.header("idempotency-key", "key-1").body(body)
        };
        host.send(send).await
    };
    let first = start("taskHub=default&code=a", "1").await;
    let again = start("code=b&timeout=0.01&taskHub=default", "1").await;
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(first.json()["id"], again.json()["id"]);
    assert_eq!(again.header("idempotent-replayed"), "true");
    assert_eq!(error_object(&start("taskHub=default", "0.5").await), 422);
}

#[tokio::test]
async fn the_client_binding_has_the_links_that_sdks_complete() {
    let host = TestHost::start().await;
    let base = format!("http://{}{BASE}", host.address);
    let binding = host.get(&format!("{BASE}/durableClient")).await;
    assert_eq!(binding.status, 200);
    let binding = binding.json();
    let query = "taskHub=default&connection=AzureWebJobsStorage";
    let instance = format!("{base}/instances/INSTANCEID");
    assert_eq!(
        binding,
        json!({
            "taskHubName": "default",
            "connectionName": null,
            "creationUrls": {
                "createNewInstancePostUri": format!("{base}/orchestrators/{{functionName}}[/{{instanceId}}]?"),
                "createAndWaitOnNewInstancePostUri": format!(
                    "{base}/orchestrators/{{functionName}}[/{{instanceId}}]?timeout={{timeoutInSeconds}}&pollingInterval={{intervalInSeconds}}&"
                ),
            },
            "managementUrls": {
                "id": "INSTANCEID",
                "statusQueryGetUri": format!("{instance}?{query}"),
                "sendEventPostUri": format!("{instance}/raiseEvent/{{eventName}}?{query}"),
                "terminatePostUri": format!("{instance}/terminate?reason={{text}}&{query}"),
                "rewindPostUri": format!("{instance}/rewind?reason={{text}}&{query}"),
                "purgeHistoryDeleteUri": format!("{instance}?{query}"),
                "restartPostUri": format!("{instance}/restart?{query}"),
                "suspendPostUri": format!("{instance}/suspend?reason={{text}}&{query}"),
                "resumePostUri": format!("{instance}/resume?reason={{text}}&{query}"),
            },
            "baseUrl": base,
            "httpBaseUrl": base,
            "requiredQueryStringParameters": "taskHub=default",
            "rpcBaseUrl": format!("{base}/"),
        })
    );
}
