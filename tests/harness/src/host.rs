//! The host as a child process, and the HTTP calls that tests make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;
use tempfile::TempDir;

use crate::answer::Answer;
use crate::command::Command;
use crate::metrics::Metrics;
use crate::process::Server;
use crate::{compiled, programs};

/// Options of a host.
#[derive(Debug, Clone, Default)]
pub struct HostOptions {
    /// Additional arguments of `windlass serve`.
    pub args: Vec<String>,
    /// Starts with a copy of this data folder. No host may be using the original.
    pub copy_of: Option<PathBuf>,
    /// How many files its process may open, instead of the usual limit.
    pub max_files: Option<u32>,
}

/// A host with a data folder that survives restarts.
#[derive(Debug)]
pub struct Host {
    server: Server,
    args: Vec<String>,
    max_files: Option<u32>,
    client: Client,
    /// The API key of requests.
    key: Option<String>,
    data: TempDir,
}

impl Host {
    /// Starts a host with a new data folder.
    pub async fn start(options: HostOptions) -> Self {
        let data = tempfile::tempdir().expect("a folder for the test");
        if let Some(original) = &options.copy_of {
            copy(original, &folder(&data));
        }
        compiled::lend(&folder(&data));
        let mut args = vec!["serve".into(), "--listen".into(), "127.0.0.1:0".into()];
        args.extend(["--data".into(), folder(&data).display().to_string()]);
        // With 0, every turn is replayed from the history. `make test` runs the tests both ways.
        let is_set = options.args.iter().any(|arg| arg == "--hot");
        if let (Ok(hot), false) = (std::env::var("WINDLASS_TEST_HOT"), is_set) {
            args.extend(["--hot".into(), hot]);
        }
        args.extend(options.args);
        Self {
            server: serve(&args, options.max_files, data.path()).await,
            args,
            max_files: options.max_files,
            client: Client::new(),
            key: None,
            data,
        }
    }

    /// The base URL. Changes with each restart.
    pub fn url(&self) -> &str {
        &self.server.url
    }

    /// The data folder.
    pub fn data(&self) -> PathBuf {
        folder(&self.data)
    }

    /// The standard error of this start and all earlier ones.
    pub fn log(&self) -> String {
        self.server.log()
    }

    /// Current resident memory of the process, in bytes.
    pub fn resident_bytes(&self) -> u64 {
        self.server.memory("VmRSS")
    }

    /// Peak resident memory of the process, in bytes.
    pub fn peak_resident_bytes(&self) -> u64 {
        self.server.memory("VmHWM")
    }

    /// Bytes that the process has written to files and sockets since it started.
    pub fn written_bytes(&self) -> u64 {
        self.server.written_bytes()
    }

    /// Sends SIGKILL. Restart the host before sending requests.
    pub async fn kill(&mut self) {
        self.server.kill().await;
    }

    /// Starts the host again on the same data.
    pub async fn restart(&mut self) {
        self.server = serve(&self.args, self.max_files, self.data.path()).await;
    }

    /// Starts the host again on the same data, with other values of some flags. Names and values alternate in `flags`.
    pub async fn restart_with(&mut self, flags: &[&str]) {
        for flag in flags.iter().step_by(2) {
            if let Some(at) = self.args.iter().position(|arg| arg == flag) {
                self.args.drain(at..at + 2);
            }
        }
        self.args.extend(flags.iter().map(ToString::to_string));
        self.restart().await;
    }

    /// Kills the host with SIGKILL and starts it again on the same data.
    pub async fn crash(&mut self) {
        self.kill().await;
        self.restart().await;
    }

    /// Sends SIGTERM, which begins a graceful shutdown.
    pub fn ask_to_end(&self) {
        self.server.ask_to_end();
    }

    /// Waits until the process has exited.
    pub async fn ended(&mut self) -> ExitStatus {
        let status = self.server.ended().await;
        compiled::keep(&self.data());
        status
    }

    /// Sets the API key of subsequent requests.
    pub fn set_key(&mut self, key: &str) {
        self.key = Some(key.to_owned());
    }

    /// The API key of requests.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Runs a command against this host.
    pub async fn cli(&self, args: &[&str]) -> Command {
        Command::run(args, self.url(), self.key()).await
    }

    /// A request to a path such as `/v1/modules`, for tests that need to set headers.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_as(self.key(), method, path)
    }

    /// A request with this API key, or without one.
    pub fn request_as(&self, key: Option<&str>, method: Method, path: &str) -> RequestBuilder {
        let request = self.client.request(method, format!("{}{path}", self.url()));
        match key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }

    /// Sends a GET.
    pub async fn get(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::GET, path)).await
    }

    /// Sends a GET to a host that may be shutting down; `None` if it does not respond.
    pub async fn try_get(&self, path: &str) -> Option<Answer> {
        Answer::try_of(self.request(Method::GET, path)).await.ok()
    }

    /// Sends a DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::DELETE, path)).await
    }

    /// Sends a POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        Answer::of(self.request(Method::POST, path).json(body)).await
    }

    /// Sends a POST without a body.
    pub async fn tell(&self, path: &str) -> Answer {
        Answer::of(self.request(Method::POST, path)).await
    }

    /// Sends a request created by [`request`](Self::request).
    pub async fn send(&self, request: RequestBuilder) -> Answer {
        Answer::of(request).await
    }

    /// Reads the metrics, which count from the last start.
    pub async fn metrics(&self) -> Metrics {
        Metrics::of(self.get("/metrics").await)
    }

    /// Uploads bytes as a module with this name.
    pub async fn upload(&self, name: &str, bytes: Vec<u8>) -> Answer {
        let request = self.request(Method::PUT, &format!("/v1/modules/{name}"));
        Answer::of(request.header("content-type", "application/wasm").body(bytes)).await
    }
}

async fn serve(args: &[String], max_files: Option<u32>, scratch: &Path) -> Server {
    let (windlass, log) = (programs::windlass(), scratch.join("stderr"));
    let Some(max_files) = max_files else {
        return Server::start("windlass", &windlass, args, log).await;
    };
    let script = format!("ulimit -n {max_files}; exec \"$0\" \"$@\"");
    let mut limited = vec!["-c".into(), script, windlass.display().to_string()];
    limited.extend_from_slice(args);
    Server::start("windlass", Path::new("bash"), &limited, log).await
}

/// The data folder. The log lies beside it, because it must not be in the data folder.
fn folder(scratch: &TempDir) -> PathBuf {
    scratch.path().join("data")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("the test's own folder");
    for entry in fs::read_dir(from).expect("the data of a host") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("a file of the host can be copied")),
        }
    }
}
