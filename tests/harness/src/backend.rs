//! The samples' backend: access to its state, and fault injection.

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::answer::Answer;
use crate::process::Server;
use crate::programs;

/// A running backend with its own data.
#[derive(Debug)]
pub struct Backend {
    server: Server,
    client: Client,
    _data: TempDir,
}

impl Backend {
    /// Starts a backend with the samples' data.
    pub async fn start() -> Self {
        let data = tempfile::tempdir().expect("a folder for the test");
        let folder = data.path().display().to_string();
        let args = ["--listen", "127.0.0.1:0", "--data", &folder].map(String::from);
        let log = data.path().join("stderr");
        Self {
            server: Server::start("sample-backend", &programs::sample_backend(), &args, log).await,
            client: Client::new(),
            _data: data,
        }
    }

    /// The base URL, which tests pass to orchestrations in their inputs.
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// Sends a GET and returns the body.
    pub async fn get(&self, path: &str) -> Value {
        Answer::of(self.client.get(format!("{}{path}", self.url())))
            .await
            .expect(200)
    }

    /// Sends a PUT of JSON.
    pub async fn put(&self, path: &str, body: Value) {
        let answer = Answer::of(self.client.put(format!("{}{path}", self.url())).json(&body)).await;
        assert!(answer.status < 300, "{path}: {:#}", answer.body);
    }

    /// Sends a POST of JSON and returns the body of the response.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let answer = Answer::of(self.client.post(format!("{}{path}", self.url())).json(&body)).await;
        assert!(answer.status < 300, "{path}: {:#}", answer.body);
        answer.body
    }

    /// Delays the responses of an area of the API, such as `payments`.
    pub async fn delay(&self, area: &str, milliseconds: u64) {
        self.put(&format!("/control/faults/{area}"), json!({ "delayMs": milliseconds }))
            .await;
    }

    /// Removes the fault of an area.
    pub async fn behave(&self, area: &str) {
        let answer = Answer::of(self.client.delete(format!("{}/control/faults/{area}", self.url()))).await;
        assert!(answer.status < 300, "{area}: {:#}", answer.body);
    }

    /// The number of calls of a kind, for example `POST payments`.
    pub async fn calls(&self, kind: &str) -> u64 {
        self.get("/control/calls").await[kind].as_u64().unwrap_or(0)
    }

    /// Asserts that no order was charged more than once.
    pub async fn charged_nobody_twice(&self) {
        let summary = self.get("/payments/summary").await;
        assert_eq!(summary["ordersChargedTwice"], json!([]), "{summary:#}");
    }
}
