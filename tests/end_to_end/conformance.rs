//! Runs the conformance suite on the host and in `windlass_sdk::testing`: an orchestration must observe the same in
//! both.

use harness::World;
use serde_json::json;

const MODULES: &[&str] = &["conformance", "conformance_activities"];

#[tokio::test]
async fn orchestrations_observe_the_same_on_the_host_and_in_windlass_sdk_testing() {
    let world = World::start(MODULES).await;
    let cases = conformance::in_test_world();
    for (name, _) in &cases {
        world.begin(name, name, &json!({})).await;
    }
    let mut differences = Vec::new();
    for (name, expected) in cases {
        let output = world.output_of(name).await;
        let seen: Vec<_> = output.as_array().expect("a transcript").iter().map(text).collect();
        for at in 0..seen.len().max(expected.len()) {
            let (host, test) = (seen.get(at).copied(), expected.get(at).map(String::as_str));
            if host != test {
                differences.push(format!("{name}\n  host: {host:?}\n  test: {test:?}"));
            }
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    world.stop().await;
}

#[tokio::test]
async fn an_invalid_name_of_a_patch_fails_the_orchestration() {
    let world = World::start(&["conformance"]).await;
    let failure = world.run_failing("ConformanceInvalidPatch", &json!(null)).await;
    assert_eq!(failure["type"], "windlass.limit", "{failure:#}");
    world.stop().await;
}

fn text(line: &serde_json::Value) -> &str {
    line.as_str().expect("a line")
}
