//! Tests of keys, task hubs and roles.

use serde_json::{Value, json};

use super::{BASE, error_object, no_body};
use crate::http::tests::harness::{Answer, TestHost};

/// Creates a key of a tenant with a role, with the key of an administrator if there is one.
async fn key(host: &TestHost, admin: Option<&str>, tenant: &str, role: &str) -> String {
    let body = json!({ "tenant": tenant, "role": role }).to_string();
    let send = |client: &reqwest::Client, base: &str| {
        let post = client.post(format!("{base}/v1/keys")).body(body);
        admin.into_iter().fold(post, |post, key| post.bearer_auth(key))
    };
    host.send(send).await.json()["key"].as_str().unwrap().to_owned()
}

async fn tenant(host: &TestHost, admin: &str, name: &str) {
    let body = json!({ "name": name }).to_string();
    let send =
        |client: &reqwest::Client, base: &str| client.post(format!("{base}/v1/tenants")).bearer_auth(admin).body(body);
    assert_eq!(host.send(send).await.status, 201);
}

async fn get_with(host: &TestHost, target: &str, headers: &[(&'static str, String)]) -> Answer {
    let send = |client: &reqwest::Client, base: &str| {
        let get = client.get(format!("{base}{target}"));
        headers.iter().fold(get, |get, (name, value)| get.header(*name, value))
    };
    host.send(send).await
}

#[tokio::test]
async fn a_key_is_given_as_code_or_header_and_anything_else_is_401_without_a_body() {
    let host = TestHost::start().await;
    host.running("order").await;
    let status = format!("{BASE}/instances/order");
    let other = format!("{status}?code=of-another-host");
    assert_eq!(
        host.get(&other).await.status,
        202,
        "a host without keys does not look at one"
    );
    let admin = key(&host, None, "default", "admin").await;
    let client = key(&host, Some(&admin), "default", "client").await;
    for path in [
        "/instances/order",
        "/instances",
        "/nothing",
        "/entities/a/b",
        "/instances/a%2Fb",
        "/durableClient",
    ] {
        for code in ["", "?code=", "?code=wrong", "?code=wl_0000000000000000_x"] {
            let answer = host.get(&format!("{BASE}{path}{code}")).await;
            assert_eq!(no_body(&answer), 401, "{path}{code}");
        }
    }
    assert_eq!(no_body(&host.post("/api/orchestrators/Order", "1").await), 401);
    let given = host.get(&format!("{status}?CODE={client}&taskHub=")).await;
    assert_eq!(given.status, 202);
    assert_eq!(
        given.header("location"),
        format!("http://{}{status}?CODE={client}&taskHub=", host.address)
    );
    let header = |name, value: &str| [(name, value.to_owned())];
    assert_eq!(
        get_with(&host, &status, &header("x-functions-key", &client))
            .await
            .status,
        202
    );
    let bearer = header("authorization", &format!("Bearer {client}"));
    assert_eq!(get_with(&host, &status, &bearer).await.status, 202);
    let same = format!("{status}?code={client}");
    assert_eq!(get_with(&host, &same, &bearer).await.status, 202);
    let different = get_with(&host, &same, &header("x-functions-key", &admin)).await;
    assert_eq!(no_body(&different), 401, "two keys");
}

#[tokio::test]
async fn links_contain_the_key_only_if_it_was_given_as_code_or_header() {
    let host = TestHost::start().await;
    let client = {
        let admin = key(&host, None, "default", "admin").await;
        key(&host, Some(&admin), "default", "client").await
    };
    let start = async |query: &str, headers: &[(&'static str, String)]| {
        let target = format!("{BASE}/orchestrators/Order?{query}");
        let send = |client: &reqwest::Client, base: &str| {
            let post = client.post(format!("{base}{target}")).body("1");
            headers
                .iter()
                .fold(post, |post, (name, value)| post.header(*name, value))
        };
        host.send(send).await.json()["statusQueryGetUri"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let query = "?taskHub=default&connection=AzureWebJobsStorage";
    let with_key = format!("{query}&code={client}");
    assert!(start(&format!("code={client}"), &[]).await.ends_with(&with_key));
    assert!(
        start("", &[("x-functions-key", client.clone())])
            .await
            .ends_with(&with_key)
    );
    let bearer = [("authorization", format!("Bearer {client}"))];
    assert!(start("", &bearer).await.ends_with(query));
    let binding = host.get(&format!("{BASE}/durableClient?code={client}")).await.json();
    assert_eq!(binding["requiredQueryStringParameters"], format!("code={client}"));
    assert_eq!(binding["rpcBaseUrl"], Value::Null, "it would not work without a key");
    let create = binding["creationUrls"]["createNewInstancePostUri"].as_str().unwrap();
    assert!(
        create.ends_with(&format!("[/{{instanceId}}]?code={client}")),
        "{create}"
    );
}

#[tokio::test]
async fn the_key_selects_the_task_hub_and_only_an_administrator_may_name_another() {
    let host = TestHost::start().await;
    host.running("order").await;
    let admin = key(&host, None, "default", "admin").await;
    tenant(&host, &admin, "acme").await;
    let of_acme = key(&host, Some(&admin), "acme", "operator").await;
    let get = async |hub: &str, key: &str| {
        host.get(&format!("{BASE}/instances/order?taskHub={hub}&code={key}"))
            .await
    };
    for hub in ["", "%20", "default", "DEFAULT"] {
        assert_eq!(get(hub, &admin).await.status, 202, "{hub}");
    }
    assert_eq!(no_body(&get("acme", &admin).await), 404);
    assert_eq!(no_body(&get("Acme", &of_acme).await), 404);
    for (hub, key) in [
        ("default", &of_acme),
        ("nobody", &of_acme),
        ("nobody", &admin),
        ("acme/..", &admin),
    ] {
        let refused = get(hub, key).await;
        assert_eq!(error_object(&refused), 403, "{hub}");
        assert_eq!(refused.json()["ExceptionType"], "other-task-hub");
    }
    let contradiction = [("windlass-tenant", "default".to_owned())];
    let target = format!("{BASE}/instances/order?taskHub=acme&code={admin}");
    assert_eq!(error_object(&get_with(&host, &target, &contradiction).await), 403);
    let binding = host
        .get(&format!("{BASE}/durableClient?taskHub=acme&code={admin}"))
        .await
        .json();
    assert_eq!(binding["taskHubName"], "acme");
}

#[tokio::test]
async fn the_role_of_a_key_decides_as_under_v1() {
    let host = TestHost::start().await;
    host.running("order").await;
    let admin = key(&host, None, "default", "admin").await;
    let client = key(&host, Some(&admin), "default", "client").await;
    let deployer = key(&host, Some(&admin), "default", "deployer").await;
    let refused = async |method: reqwest::Method, path: &str, key: &str| {
        let target = format!("{BASE}{path}?code={key}");
        let send = |client: &reqwest::Client, base: &str| client.request(method, format!("{base}{target}"));
        let answer = host.send(send).await;
        assert_eq!(
            (error_object(&answer), &answer.json()["ExceptionType"]),
            (403, &"role-forbids".into()),
            "{path}"
        );
    };
    use reqwest::Method as M;
    for (method, path) in [
        (M::GET, "/instances"),
        (M::DELETE, "/instances"),
        (M::DELETE, "/instances/order"),
        (M::POST, "/instances/order/terminate"),
        (M::POST, "/instances/order/suspend"),
        (M::POST, "/instances/order/resume"),
        (M::POST, "/instances/order/rewind"),
        (M::POST, "/instances/order/restart"),
        (M::GET, "/entities"),
    ] {
        refused(method, path, &client).await;
    }
    for (method, path) in [
        (M::POST, "/orchestrators/Order"),
        (M::GET, "/instances/order"),
        (M::POST, "/instances/order/raiseEvent/a"),
        (M::GET, "/entities/a/b"),
        (M::POST, "/entities/a/b"),
        (M::DELETE, "/entities/a/b"),
        (M::GET, "/durableClient"),
    ] {
        refused(method, path, &deployer).await;
    }
    assert_eq!(
        host.get(&format!("{BASE}/instances/order?code={client}")).await.status,
        202
    );
}
