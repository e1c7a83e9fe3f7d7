//! Tests of the links in responses of a host behind a proxy.

use harness::{Command, World};
use reqwest::Method;
use serde_json::json;

const MODULES: &[&str] = &["bench", "bench_activities"];

/// Headers that a proxy adds to a request.
const FORWARDED: &[(&str, &str)] = &[
    ("x-forwarded-proto", "https"),
    ("x-forwarded-host", "windlass.example.com"),
    ("x-forwarded-prefix", "/base"),
];

/// Starts an instance; returns the base URL of `Location`, which must equal that of the links.
async fn base(world: &World, id: &str, headers: &[(&str, &str)]) -> String {
    let path = format!("/v1/orchestrations/BenchParked?instanceId={id}");
    let mut request = world.request(Method::POST, &path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = world.send(request.json(&json!(null))).await;
    let location = answer.header("location").to_owned();
    assert_eq!(answer.expect(202)["statusQueryGetUri"], location);
    let path_of_instance = format!("/v1/instances/{id}");
    location
        .strip_suffix(&path_of_instance)
        .expect("an instance")
        .to_owned()
}

#[tokio::test]
async fn forwarding_headers_from_untrusted_addresses_are_ignored() {
    let world = World::start_with(MODULES, &["--trusted-proxy", "192.0.2.0/24"]).await;
    assert_eq!(base(&world, "plain", &[]).await, world.url());
    assert_eq!(base(&world, "forwarded", FORWARDED).await, world.url());
    let standard = [("forwarded", "proto=https;host=windlass.example.com")];
    assert_eq!(base(&world, "standard", &standard).await, world.url());
    world.stop().await;
}

#[tokio::test]
async fn links_follow_the_headers_of_a_trusted_proxy() {
    let world = World::start_with(MODULES, &["--trusted-proxy", "127.0.0.0/8"]).await;
    assert_eq!(base(&world, "plain", &[]).await, world.url());
    assert_eq!(
        base(&world, "forwarded", FORWARDED).await,
        "https://windlass.example.com/base"
    );
    let standard = [("forwarded", "for=192.0.2.7;proto=https;host=\"a.example:8443\"")];
    assert_eq!(base(&world, "standard", &standard).await, "https://a.example:8443");
    for (n, (name, value)) in [
        ("x-forwarded-proto", "javascript"),
        ("x-forwarded-host", "evil.example/@"),
        ("x-forwarded-host", "a\tb"),
        ("x-forwarded-prefix", "//evil.example"),
        ("forwarded", "host=\"a b\""),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("hostile-{n}");
        assert_eq!(
            base(&world, &id, &[(name, value)]).await,
            world.url(),
            "{name}: {value}"
        );
    }
    // The headers affect only links: the check of the host name ignores them.
    let request = world.request(Method::GET, "/v1/instances");
    let foreign = request
        .header("host", "windlass.example.com")
        .header("x-forwarded-host", "localhost");
    world.send(foreign).await.refused(403, "foreign-host");
    world.stop().await;
}

#[tokio::test]
async fn a_public_url_overrides_the_headers_of_requests() {
    let flags = [
        "--public-url",
        "https://windlass.example.com/base/",
        "--trusted-proxy",
        "127.0.0.1",
    ];
    let world = World::start_with(MODULES, &flags).await;
    let expected = "https://windlass.example.com/base";
    assert_eq!(base(&world, "plain", &[]).await, expected);
    assert_eq!(
        base(&world, "forwarded", &[("x-forwarded-host", "b.example")]).await,
        expected
    );
    let running = world.get("/v1/instances/plain").await;
    assert_eq!(running.header("location"), format!("{expected}/v1/instances/plain"));
    world.stop().await;
}

#[tokio::test]
async fn the_host_does_not_start_with_an_invalid_public_url_or_proxy() {
    let folder = tempfile::tempdir().expect("a folder for the test");
    let data = folder.path().join("data");
    let data_argument = data.display().to_string();
    for (flag, value) in [("--public-url", "javascript:alert(1)"), ("--trusted-proxy", "banana")] {
        let args = [
            "serve",
            "--data",
            &data_argument,
            "--listen",
            "127.0.0.1:0",
            flag,
            value,
        ];
        let refused = Command::run(&args, "", None).await;
        assert_eq!(refused.code, 1, "{}", refused.stderr);
        assert!(refused.stderr.contains(flag), "{}", refused.stderr);
        assert!(!data.exists());
    }
}
