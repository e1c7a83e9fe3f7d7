//! Tests of settings, secrets and limits of a tenant, and of who can see them.

use std::fs;
use std::path::Path;

use harness::{Answer, World, module};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

const SECRET: &str = "correct-horse-battery";

struct Keys {
    world: World,
    folder: TempDir,
}

impl Keys {
    /// Starts a host with a key for secrets in a file, and the modules of the default tenant.
    async fn start(modules: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let file = folder.path().join("key");
        fs::write(&file, format!("{}\n", "4f".repeat(32))).expect("the test's own folder");
        let file = file.display().to_string();
        let world = World::start_with(modules, &["--secrets-key-file", &file]).await;
        Self { world, folder }
    }

    async fn set(&self, kind: &str, name: &str, value: &str, modules: &[&str]) -> Answer {
        let request = self.world.request(Method::PUT, &format!("/v1/{kind}/{name}"));
        let body = json!({ "value": value, "modules": modules });
        self.world.send(request.json(&body)).await
    }

    async fn show(&self) -> Value {
        self.world.run("ShowSettings", &wanted()).await
    }

    /// Runs the activity without its setting; returns the type of the failure.
    async fn miss(&self) -> Value {
        let failure = self.world.run_failing("ShowSettings", &wanted()).await;
        failure["type"].clone()
    }
}

fn wanted() -> Value {
    json!({ "config": "region", "secret": "token" })
}

/// Whether any file of a folder contains the text.
fn is_anywhere(folder: &Path, text: &str) -> bool {
    let files = fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path());
    files.into_iter().any(|path| {
        if path.is_dir() {
            return is_anywhere(&path, text);
        }
        let bytes = fs::read(&path).unwrap_or_default();
        bytes.windows(text.len()).any(|part| part == text.as_bytes())
    })
}

#[tokio::test]
async fn an_activity_gets_the_secrets_of_its_module_and_nobody_sees_them() {
    let mut keys = Keys::start(&["patterns", "patterns_activities"]).await;
    assert_eq!(keys.miss().await, "MissingConfig");
    keys.set("config", "region", "eu-west", &["patterns_activities"])
        .await
        .expect(204);
    keys.set("secrets", "token", SECRET, &["somebody-else"])
        .await
        .expect(204);
    assert_eq!(
        keys.miss().await,
        "MissingSecret",
        "the secret belongs to another module"
    );
    keys.set("secrets", "token", SECRET, &["patterns_activities"])
        .await
        .expect(204);
    assert_eq!(
        keys.show().await,
        json!({ "config": "eu-west", "secretBytes": SECRET.len() })
    );

    // Not in lists, histories and logs, not on disk, and not in the output of the host.
    let world = &mut keys.world;
    let secrets = world.get("/v1/secrets").await.expect(200);
    assert_eq!(secrets["settings"][0]["name"], "token", "{secrets:#}");
    assert_eq!(secrets["settings"][0]["modules"], json!(["patterns_activities"]));
    assert_eq!(secrets["settings"][0].get("value"), None);
    let config = world.get("/v1/config").await.expect(200);
    assert_eq!(config["settings"][0]["value"], "eu-west");
    let instances = world.get("/v1/instances").await.expect(200);
    let id = instances["instances"][0]["instanceId"].as_str().expect("an id");
    let logs = world.get(&format!("/v1/instances/{id}/logs")).await.expect(200);
    assert!(logs.to_string().contains("the secret is ***"), "{logs:#}");
    world.kill().await;
    assert!(!is_anywhere(&world.data(), SECRET));
    assert!(!world.log().contains(SECRET));
    assert!(is_anywhere(&world.data(), "eu-west"), "the search finds what is there");

    // With another key it cannot be decrypted; with the right one it can again.
    let (right, wrong) = (keys.folder.path().join("key"), keys.folder.path().join("wrong"));
    fs::write(&wrong, "0".repeat(64)).expect("the test's own folder");
    let flag = |path: &Path| path.display().to_string();
    keys.world.restart_with(&["--secrets-key-file", &flag(&wrong)]).await;
    assert_eq!(keys.miss().await, "MissingSecret");
    keys.world.kill().await;
    keys.world.restart_with(&["--secrets-key-file", &flag(&right)]).await;
    assert_eq!(keys.show().await["secretBytes"], SECRET.len());
    keys.world.delete("/v1/secrets/token").await.expect(204);
    keys.world
        .delete("/v1/secrets/token")
        .await
        .refused(404, "unknown-setting");
    assert_eq!(keys.miss().await, "MissingSecret");
    keys.world.stop().await;
}

#[tokio::test]
async fn a_secret_of_another_tenant_does_not_exist() {
    let mut keys = Keys::start(&["patterns", "patterns_activities"]).await;
    keys.set("config", "region", "eu-west", &["patterns_activities"])
        .await
        .expect(204);
    keys.set("secrets", "token", SECRET, &["patterns_activities"])
        .await
        .expect(204);
    let key = async |world: &World, role: &str, tenant: &str| {
        let body = json!({ "role": role, "tenant": tenant });
        let created = world.post("/v1/keys", &body).await.expect(201);
        created["key"].as_str().expect("a key").to_owned()
    };
    let admin = key(&keys.world, "admin", "default").await;
    keys.world.set_key(&admin);
    keys.world
        .post("/v1/tenants", &json!({ "name": "thief" }))
        .await
        .expect(201);
    let (thief, starter) = (
        key(&keys.world, "deployer", "thief").await,
        key(&keys.world, "operator", "thief").await,
    );
    for name in ["patterns", "patterns_activities"] {
        let request = keys
            .world
            .request_as(Some(&thief), Method::PUT, &format!("/v1/modules/{name}"));
        keys.world.send(request.body(module(name))).await.expect(201);
    }
    for kind in ["config", "secrets"] {
        let request = keys.world.request_as(Some(&thief), Method::GET, &format!("/v1/{kind}"));
        assert_eq!(keys.world.send(request).await.expect(200)["settings"], json!([]));
    }
    let request = keys.world.request_as(Some(&thief), Method::DELETE, "/v1/secrets/token");
    keys.world.send(request).await.refused(404, "unknown-setting");
    let path = "/v1/orchestrations/ShowSettings?wait=30";
    let request = keys.world.request_as(Some(&starter), Method::POST, path);
    let answer = keys.world.send(request.json(&wanted())).await.expect(200);
    assert_eq!(answer["runtimeStatus"], "Failed", "{answer:#}");
    assert!(!answer.to_string().contains("eu-west"));
    assert_eq!(keys.show().await["secretBytes"], SECRET.len());
    keys.world.stop().await;
}

#[tokio::test]
async fn the_latest_name_of_a_module_determines_its_settings() {
    let keys = Keys::start(&["patterns", "patterns_activities"]).await;
    keys.set("config", "region", "eu-west", &["patterns_activities"])
        .await
        .expect(204);
    keys.set("secrets", "token", SECRET, &["patterns_activities"])
        .await
        .expect(204);
    assert_eq!(keys.show().await["config"], "eu-west");
    // The same bytes, already loaded: they no longer get the settings of the other name.
    let world = &keys.world;
    world.delete("/v1/modules/patterns_activities").await.expect(204);
    let bytes = module("patterns_activities");
    world.upload("renamed", bytes.clone()).await.expect(201);
    assert_eq!(keys.miss().await, "MissingConfig");
    keys.set("config", "region", "us-east", &["renamed"]).await.expect(204);
    keys.set("secrets", "token", SECRET, &["renamed"]).await.expect(204);
    assert_eq!(keys.show().await["config"], "us-east");
    world.delete("/v1/modules/renamed").await.expect(204);
    world.upload("patterns_activities", bytes).await.expect(201);
    assert_eq!(keys.miss().await, "MissingConfig");
    keys.world.stop().await;
}

#[tokio::test]
async fn invalid_settings_are_refused_and_secrets_need_a_key() {
    let keys = Keys::start(&[]).await;
    let long = "x".repeat(64 * 1024 + 1);
    keys.set("config", "region", &long, &["m"])
        .await
        .refused(400, "invalid-body");
    keys.set("config", "region", "x", &[])
        .await
        .refused(400, "invalid-body");
    keys.set("config", "a b", "x", &["m"])
        .await
        .refused(400, "invalid-path");
    keys.world.stop().await;

    let world = World::start(&[]).await;
    let keys = Keys {
        world,
        folder: tempfile::tempdir().expect("a folder for the test"),
    };
    keys.set("secrets", "token", SECRET, &["m"])
        .await
        .refused(409, "no-secrets-key");
    keys.set("config", "region", "x", &["m"]).await.expect(204);
    let listed = keys.world.cli(&["config", "list"]).await;
    assert!(listed.stdout.contains("region"), "{listed:?}");
    assert_eq!(keys.world.cli(&["config", "delete", "region"]).await.code, 0);
    keys.world.stop().await;
}

#[tokio::test]
async fn the_limits_of_a_tenant_apply_to_its_attempts() {
    let modules = [
        "hostile_orchestrations",
        "hostile_activities",
        "bench",
        "bench_activities",
    ];
    let world = World::start(&modules).await;
    let set = async |quotas: Value| {
        let request = world.request(Method::PATCH, "/v1/tenants/default");
        world.send(request.json(&json!({ "quotas": quotas }))).await.expect(200)
    };
    set(json!({ "activityFuel": 50_000_000, "activityTimeout": "500ms" })).await;
    for (activity, expected) in [
        ("HostileLoop", "windlass.fuel-exhausted"),
        ("HostileSleep", "windlass.timeout"),
    ] {
        let outcome = world.run("CallHostileActivity", &json!({ "activity": activity })).await;
        assert_eq!(outcome["errorType"], expected, "{activity}: {outcome:#}");
    }
    assert_eq!(world.run("BenchChain", &json!("alive")).await, "alive");
    world.stop().await;
}
