//! Tests of the OpenAPI document with external tools: a validator and a client generator.

use std::path::{Path, PathBuf};

use harness::{World, modules};
use serde_json::Value;
use tokio::process::Command;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Runs a program and returns its output.
async fn output(command: &mut Command) -> String {
    let output = command.output().await.expect("the program starts");
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("the program prints UTF-8")
}

#[tokio::test]
async fn the_document_is_valid_and_a_generated_client_works() {
    let tools = output(&mut Command::new(workspace().join("scripts/openapi-tools"))).await;
    let python = tools.trim();
    let mut world = World::start(&[]).await;
    let folder = tempfile::tempdir().expect("a folder for the test");
    let document = folder.path().join("openapi.json");
    let served: Value = world.get("/v1/openapi.json").await.expect(200);
    std::fs::write(&document, served.to_string()).expect("the folder is writable");

    output(
        Command::new(python)
            .args(["-m", "openapi_spec_validator"])
            .arg(&document),
    )
    .await;

    let sources = workspace().join("tests/openapi");
    output(
        Command::new(python)
            .args([
                "-m",
                "openapi_python_client",
                "generate",
                "--fail-on-warning",
                "--meta",
                "none",
            ])
            .arg("--path")
            .arg(&document)
            .arg("--config")
            .arg(sources.join("generator.yml"))
            .arg("--output-path")
            .arg(folder.path().join("windlass_client")),
    )
    .await;
    let printed = output(
        Command::new(python)
            .env("PYTHONPATH", folder.path())
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(sources.join("talk.py"))
            .arg(world.url())
            .arg(modules().join("patterns.wasm")),
    )
    .await;
    let printed: Value = serde_json::from_str(&printed).expect("JSON with the created key");
    world.set_key(printed["key"].as_str().expect("a key"));
    world.stop().await;
}
