//! Tests of lists in pages, with a cursor from one page to the next.

use serde_json::json;

use super::harness::TestHost;

/// Reads a list page by page, with that many items each, and returns the named member of each item.
async fn read(host: &TestHost, key: &str, target: &str, list: &str, member: &str, limit: usize) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let target = format!("{target}?limit={limit}{cursor}");
        let answer = host
            .send(|client, base| client.get(format!("{base}{target}")).bearer_auth(key))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let page = answer.json();
        let items = page[list].as_array().unwrap();
        assert!(items.len() <= limit, "{page}");
        found.extend(items.iter().map(|item| item[member].as_str().unwrap().to_owned()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

#[tokio::test]
async fn pages_of_every_list_are_complete_and_in_order() {
    let host = TestHost::start().await;
    let first = host
        .post("/v1/keys", json!({ "role": "admin" }).to_string())
        .await
        .json();
    let key = first["key"].as_str().unwrap();
    let post = async |target: &str, body: serde_json::Value| {
        let post = |client: &reqwest::Client, base: &str| {
            client
                .post(format!("{base}{target}"))
                .bearer_auth(key)
                .body(body.to_string())
        };
        assert_eq!(host.send(post).await.status, 201);
    };
    for name in ["zebra", "aardvark"] {
        post("/v1/tenants", json!({ "name": name })).await;
        post("/v1/keys", json!({ "role": "client", "tenant": name })).await;
    }
    for name in ["b", "a", "c.1"] {
        let target = format!("/v1/config/{name}");
        let body = json!({ "value": "v", "modules": ["orders"] }).to_string();
        let put =
            |client: &reqwest::Client, base: &str| client.put(format!("{base}{target}")).bearer_auth(key).body(body);
        assert_eq!(host.send(put).await.status, 204);
    }
    for limit in [1, 2, 3, 1_000] {
        let read = async |target, list, member| read(&host, key, target, list, member, limit).await;
        let tenants = read("/v1/tenants", "tenants", "name").await;
        assert_eq!(
            tenants,
            ["default", "zebra", "aardvark"],
            "in the order of their creation"
        );
        assert_eq!(read("/v1/config", "settings", "name").await, ["a", "b", "c.1"]);
        assert_eq!(read("/v1/secrets", "settings", "name").await, [""; 0]);
        assert_eq!(read("/v1/modules", "modules", "name").await, ["orders"]);
        let keys = read("/v1/keys", "keys", "id").await;
        assert!(keys.len() == 3 && keys.is_sorted(), "{keys:?}");
    }
}

#[tokio::test]
async fn what_is_no_cursor_is_refused() {
    let host = TestHost::start().await;
    for list in ["modules", "keys", "tenants", "config", "secrets"] {
        for cursor in ["", "1", "2orders"] {
            let answer = host.get(&format!("/v1/{list}?cursor={cursor}")).await;
            assert_eq!(answer.refusal(), (400, "invalid-parameter".into()), "{list} {cursor:?}");
        }
    }
    let answer = host.get("/v1/tenants?cursor=1x").await;
    assert_eq!(answer.refusal(), (400, "invalid-parameter".into()));
}
