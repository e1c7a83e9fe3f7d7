//! Tests of the settings, secrets and limits of a tenant: which attempts they apply to, and where they are shown.

use std::fs;
use std::path::Path;

use harness::{Answer, World, module};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

const SECRET: &str = "correct-horse-battery";

/// A host that can store secrets.
struct Settings {
    world: World,
    folder: TempDir,
}

impl Settings {
    /// Starts a host with a file that contains the key for secrets; the modules belong to the default tenant.
    async fn start(modules: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the test");
        let file = folder.path().join("key");
        fs::write(&file, format!("{}\n", "4f".repeat(32))).expect("the folder is writable");
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
        self.world.run("ShowSettings", &names()).await
    }

    /// Runs the activity, which must fail because a setting is missing; returns the type of the failure.
    async fn missing(&self) -> Value {
        let failure = self.world.run_failing("ShowSettings", &names()).await;
        failure["type"].clone()
    }
}

/// The input of `ShowSettings`: the names of the config value and the secret that it reads.
fn names() -> Value {
    json!({ "config": "region", "secret": "token" })
}

/// Whether any file in a folder, at any depth, contains the text.
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
async fn an_activity_gets_the_secrets_of_its_module_and_they_are_shown_nowhere() {
    let mut settings = Settings::start(&["patterns", "patterns_activities"]).await;
    assert_eq!(settings.missing().await, "MissingConfig");
    settings
        .set("config", "region", "eu-west", &["patterns_activities"])
        .await
        .expect(204);
    settings
        .set("secrets", "token", SECRET, &["somebody-else"])
        .await
        .expect(204);
    assert_eq!(
        settings.missing().await,
        "MissingSecret",
        "the secret belongs to another module"
    );
    settings
        .set("secrets", "token", SECRET, &["patterns_activities"])
        .await
        .expect(204);
    assert_eq!(
        settings.show().await,
        json!({ "config": "eu-west", "secretBytes": SECRET.len() })
    );

    // The value is not in lists, not in the log of the instance, not on disk, and not in the log of the host.
    let world = &mut settings.world;
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
    assert!(
        is_anywhere(&world.data(), "eu-west"),
        "the search finds no stored value"
    );

    // With another key, the host cannot decrypt the secret; with the right one, it can.
    let (right, wrong) = (settings.folder.path().join("key"), settings.folder.path().join("wrong"));
    fs::write(&wrong, "0".repeat(64)).expect("the folder is writable");
    let flag = |path: &Path| path.display().to_string();
    settings
        .world
        .restart_with(&["--secrets-key-file", &flag(&wrong)])
        .await;
    assert_eq!(settings.missing().await, "MissingSecret");
    settings.world.kill().await;
    settings
        .world
        .restart_with(&["--secrets-key-file", &flag(&right)])
        .await;
    assert_eq!(settings.show().await["secretBytes"], SECRET.len());
    settings.world.delete("/v1/secrets/token").await.expect(204);
    settings
        .world
        .delete("/v1/secrets/token")
        .await
        .refused(404, "unknown-setting");
    assert_eq!(settings.missing().await, "MissingSecret");
    settings.world.stop().await;
}

#[tokio::test]
async fn settings_of_another_tenant_are_invisible() {
    let mut settings = Settings::start(&["patterns", "patterns_activities"]).await;
    settings
        .set("config", "region", "eu-west", &["patterns_activities"])
        .await
        .expect(204);
    settings
        .set("secrets", "token", SECRET, &["patterns_activities"])
        .await
        .expect(204);
    let key = async |world: &World, role: &str, tenant: &str| {
        let body = json!({ "role": role, "tenant": tenant });
        let created = world.post("/v1/keys", &body).await.expect(201);
        created["key"].as_str().expect("a key").to_owned()
    };
    let admin = key(&settings.world, "admin", "default").await;
    settings.world.set_key(&admin);
    settings
        .world
        .post("/v1/tenants", &json!({ "name": "thief" }))
        .await
        .expect(201);
    let (thief, starter) = (
        key(&settings.world, "deployer", "thief").await,
        key(&settings.world, "operator", "thief").await,
    );
    for name in ["patterns", "patterns_activities"] {
        let request = settings
            .world
            .request_as(Some(&thief), Method::PUT, &format!("/v1/modules/{name}"));
        settings.world.send(request.body(module(name))).await.expect(201);
    }
    for kind in ["config", "secrets"] {
        let request = settings
            .world
            .request_as(Some(&thief), Method::GET, &format!("/v1/{kind}"));
        assert_eq!(settings.world.send(request).await.expect(200)["settings"], json!([]));
    }
    let request = settings
        .world
        .request_as(Some(&thief), Method::DELETE, "/v1/secrets/token");
    settings.world.send(request).await.refused(404, "unknown-setting");
    let path = "/v1/orchestrations/ShowSettings?wait=30";
    let request = settings.world.request_as(Some(&starter), Method::POST, path);
    let answer = settings.world.send(request.json(&names())).await.expect(200);
    assert_eq!(answer["runtimeStatus"], "Failed", "{answer:#}");
    assert!(!answer.to_string().contains("eu-west"));
    assert_eq!(settings.show().await["secretBytes"], SECRET.len());
    settings.world.stop().await;
}

#[tokio::test]
async fn the_latest_name_of_a_module_determines_its_settings() {
    let settings = Settings::start(&["patterns", "patterns_activities"]).await;
    settings
        .set("config", "region", "eu-west", &["patterns_activities"])
        .await
        .expect(204);
    settings
        .set("secrets", "token", SECRET, &["patterns_activities"])
        .await
        .expect(204);
    assert_eq!(settings.show().await["config"], "eu-west");
    // The same bytes under a new name do not get the settings of the old name, although they are already loaded.
    let world = &settings.world;
    world.delete("/v1/modules/patterns_activities").await.expect(204);
    let bytes = module("patterns_activities");
    world.upload("renamed", bytes.clone()).await.expect(201);
    assert_eq!(settings.missing().await, "MissingConfig");
    settings
        .set("config", "region", "us-east", &["renamed"])
        .await
        .expect(204);
    settings.set("secrets", "token", SECRET, &["renamed"]).await.expect(204);
    assert_eq!(settings.show().await["config"], "us-east");
    world.delete("/v1/modules/renamed").await.expect(204);
    world.upload("patterns_activities", bytes).await.expect(201);
    assert_eq!(settings.missing().await, "MissingConfig");
    settings.world.stop().await;
}

#[tokio::test]
async fn invalid_settings_are_refused_and_secrets_need_a_key() {
    let settings = Settings::start(&[]).await;
    let long = "x".repeat(64 * 1024 + 1);
    settings
        .set("config", "region", &long, &["m"])
        .await
        .refused(400, "invalid-body");
    settings
        .set("config", "region", "x", &[])
        .await
        .refused(400, "invalid-body");
    settings
        .set("config", "a b", "x", &["m"])
        .await
        .refused(400, "invalid-path");
    settings.world.stop().await;

    let world = World::start(&[]).await;
    let settings = Settings {
        world,
        folder: tempfile::tempdir().expect("a folder for the test"),
    };
    settings
        .set("secrets", "token", SECRET, &["m"])
        .await
        .refused(409, "no-secrets-key");
    settings.set("config", "region", "x", &["m"]).await.expect(204);
    let listed = settings.world.cli(&["config", "list"]).await;
    assert!(listed.stdout.contains("region"), "{listed:?}");
    assert_eq!(settings.world.cli(&["config", "delete", "region"]).await.code, 0);
    settings.world.stop().await;
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
