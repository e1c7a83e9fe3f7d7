//! A host with the modules of a test, the backend that they call, and operations on both.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::future::join_all;
use serde_json::{Value, json};

use crate::backend::Backend;
use crate::command::Command;
use crate::host::{Host, HostOptions};
use crate::programs;
use crate::waiting::until;

/// A host with its modules, and a backend. Must be stopped with [`World::stop`].
#[derive(Debug)]
pub struct World {
    host: Host,
    /// The backend that the modules call.
    pub backend: Backend,
    stopped: bool,
    ids: AtomicU32,
}

impl Deref for World {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl DerefMut for World {
    fn deref_mut(&mut self) -> &mut Host {
        &mut self.host
    }
}

impl World {
    /// Starts a host with these modules, which may reach the backend.
    pub async fn start(modules: &[&str]) -> Self {
        Self::start_with(modules, &[]).await
    }

    /// Like [`start`](Self::start), with additional arguments of `windlass serve`.
    pub async fn start_with(modules: &[&str], args: &[&str]) -> Self {
        let args = args.iter().map(ToString::to_string).collect();
        let options = HostOptions {
            args,
            ..HostOptions::default()
        };
        let world = Self::with(options).await;
        world.deploy(modules).await;
        world
    }

    /// Starts a host that may open only that many files.
    pub async fn start_with_files(max_files: u32) -> Self {
        let options = HostOptions {
            max_files: Some(max_files),
            ..HostOptions::default()
        };
        Self::with(options).await
    }

    /// Starts another host with a copy of this host's data. This host must not be running.
    pub async fn copy(&self) -> Self {
        let copy_of = Some(self.data());
        Self::with(HostOptions {
            copy_of,
            ..HostOptions::default()
        })
        .await
    }

    /// Starts a host with a copy of a data folder.
    pub async fn start_from(data: &Path) -> Self {
        let copy_of = Some(data.to_owned());
        Self::with(HostOptions {
            copy_of,
            ..HostOptions::default()
        })
        .await
    }

    async fn with(mut options: HostOptions) -> Self {
        let backend = Backend::start().await;
        options.args.extend(["--allow".into(), backend.url().into()]);
        Self {
            host: Host::start(options).await,
            backend,
            stopped: false,
            ids: AtomicU32::new(1),
        }
    }

    /// Uploads sample modules under their own names.
    pub async fn deploy(&self, modules: &[&str]) {
        join_all(modules.iter().map(async |name| {
            let answer = self.upload(name, programs::module(name)).await;
            assert!(answer.status < 300, "{name}: {:#}", answer.body);
        }))
        .await;
    }

    /// Adds the address of the backend to an input.
    pub fn input(&self, mut input: Value) -> Value {
        input["backend"] = self.backend.url().into();
        input
    }

    /// Like [`input`](Self::input), for inputs that contain the call of the backend in a member.
    pub fn nested(&self, member: &str, input: Value) -> Value {
        json!({ member: self.input(input) })
    }

    /// Starts an instance with this id.
    pub async fn begin(&self, function: &str, id: &str, input: &Value) {
        let path = format!("/v1/orchestrations/{function}?instanceId={id}");
        let links = self.post(&path, input).await.expect(202);
        assert_eq!(links["id"], id);
    }

    /// Starts an instance with a generated id, and returns the id.
    pub async fn begin_any(&self, function: &str, input: &Value) -> String {
        let id = format!("{function}-{}", self.ids.fetch_add(1, Ordering::Relaxed));
        self.begin(function, &id, input).await;
        id
    }

    /// The current document of an instance.
    pub async fn status(&self, id: &str) -> Value {
        let answer = self.get(&format!("/v1/instances/{id}")).await;
        assert!(matches!(answer.status, 200 | 202), "{id}: {:#}", answer.body);
        answer.body
    }

    /// Waits until a condition on an instance is true, and returns its document. `what` describes the condition.
    pub async fn once(&self, id: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        until(&format!("{id}: {what}"), async || {
            last = self.status(id).await;
            is_so(&last).then(|| last.clone())
        })
        .await
    }

    /// Waits until an instance has this status, and returns its document.
    pub async fn once_status(&self, id: &str, status: &str) -> Value {
        self.once(id, status, |instance| instance["runtimeStatus"] == status)
            .await
    }

    /// Waits until an instance has this custom status, and returns its document.
    pub async fn once_custom(&self, id: &str, custom_status: impl Into<Value>) -> Value {
        let custom_status = custom_status.into();
        let what = format!("custom status {custom_status}");
        self.once(id, &what, |instance| instance["customStatus"] == custom_status)
            .await
    }

    /// Waits until an instance has ended in any way, and returns its document. Panics if it becomes stuck.
    pub async fn end_of(&self, id: &str) -> Value {
        until(&format!("{id}: its end"), async || {
            let answer = self.get(&format!("/v1/instances/{id}?wait=20s")).await;
            assert_ne!(answer.body["runtimeStatus"], "Stuck", "{:#}", answer.body);
            (answer.status == 200).then_some(answer.body)
        })
        .await
    }

    /// Waits for an instance that must complete, and returns its output.
    pub async fn output_of(&self, id: &str) -> Value {
        let mut instance = self.end_of(id).await;
        assert_eq!(instance["runtimeStatus"], "Completed", "{instance:#}");
        instance["output"].take()
    }

    /// Waits for an instance that must fail, and returns its failure.
    pub async fn failure_of(&self, id: &str) -> Value {
        let mut instance = self.end_of(id).await;
        assert_eq!(instance["runtimeStatus"], "Failed", "{instance:#}");
        instance["failure"].take()
    }

    /// Runs an orchestration that must complete, and returns its output.
    pub async fn run(&self, function: &str, input: &Value) -> Value {
        let id = self.begin_any(function, input).await;
        self.output_of(&id).await
    }

    /// Runs an orchestration that must fail, and returns its failure.
    pub async fn run_failing(&self, function: &str, input: &Value) -> Value {
        let id = self.begin_any(function, input).await;
        self.failure_of(&id).await
    }

    /// Raises an event that the host must accept.
    pub async fn raise(&self, id: &str, event: &str, payload: Value) {
        self.post(&format!("/v1/instances/{id}/events/{event}"), &payload)
            .await
            .expect(202);
    }

    /// Purges an ended instance.
    pub async fn purge(&self, id: &str) {
        let answer = self.delete(&format!("/v1/instances/{id}")).await;
        assert_eq!(answer.expect(200), json!({ "instancesDeleted": 1 }));
    }

    /// The document of an instance with its history so far.
    pub async fn history(&self, id: &str) -> Value {
        self.get(&format!("/v1/instances/{id}?history=true")).await.body
    }

    /// The messages in the log of an instance.
    pub async fn log_of(&self, id: &str) -> Vec<String> {
        let page = self.get(&format!("/v1/instances/{id}/logs")).await.expect(200);
        let lines = page["lines"].as_array().expect("lines").iter();
        lines
            .map(|line| line["message"].as_str().expect("a text").to_owned())
            .collect()
    }

    /// Asserts that the host is healthy and ready.
    pub async fn is_healthy(&self) {
        self.get("/healthz").await.expect(200);
        self.get("/readyz").await.expect(200);
    }

    /// Shuts the host down gracefully, and checks its data with `windlass check` without replaying it, for tests with
    /// more histories than can be replayed in a short time.
    pub async fn stop_without_replay(mut self) {
        self.end().await;
        self.check(&["check", "--json"]).await;
    }

    /// Shuts the host down gracefully, and replays every history of the test with `windlass check`.
    pub async fn stop(mut self) {
        let completed = self
            .get("/v1/instances?runtimeStatus=Completed&limit=1000")
            .await
            .expect(200);
        self.end().await;
        let check = self.check(&["check", "--replay", "--json"]).await;
        let replayed = check.json()["historiesReplayed"].as_u64();
        let completed = completed["instances"].as_array().map(|list| list.len() as u64);
        assert!(
            replayed >= completed,
            "{replayed:?} histories of {completed:?} were replayed"
        );
    }

    async fn end(&mut self) {
        self.host.ask_to_end();
        let status = self.host.ended().await;
        assert!(status.success(), "the host ended with {status}");
        self.stopped = true;
    }

    async fn check(&self, args: &[&str]) -> Command {
        let data = self.data().display().to_string();
        let check = Command::run(&[args, &["--data", &data]].concat(), "", None).await;
        assert_eq!(check.code, 0, "{}{}", check.stdout, check.stderr);
        check
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !self.stopped && !std::thread::panicking() {
            panic!("call World::stop at the end of the test: it checks the data of the host");
        }
    }
}
