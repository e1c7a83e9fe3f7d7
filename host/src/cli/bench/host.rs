//! A host that is started for a measurement, on a temporary folder that survives restarts.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::cli::error::CliError;
use crate::metrics::{ProcessUsage, process_usage};

/// How long the host may take until it prints its address.
const START_TIME: Duration = Duration::from_secs(60);

/// How long it may take to exit before it is killed.
const STOP_TIME: Duration = Duration::from_secs(30);

/// The host and its temporary folder, which is removed when dropped.
pub(super) struct BenchHost {
    arguments: Vec<String>,
    process: Option<Process>,
    folder: tempfile::TempDir,
}

struct Process {
    child: Child,
    id: u32,
    url: String,
}

impl BenchHost {
    /// Starts `windlass serve` on a free port and an empty folder, and waits until it listens.
    pub(super) async fn start(arguments: Vec<String>) -> Result<Self, CliError> {
        let folder = tempfile::tempdir().map_err(not_started)?;
        let mut host = Self {
            arguments,
            process: None,
            folder,
        };
        host.resume().await?;
        Ok(host)
    }

    /// Starts it again on the same folder; returns how long it took until it listened, which it does once it is ready.
    pub(super) async fn resume(&mut self) -> Result<Duration, CliError> {
        let started_at = Instant::now();
        let mut child = Command::new(std::env::current_exe().map_err(not_started)?)
            .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "warn", "--data"])
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(not_started)?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(START_TIME, lines.next_line()).await;
        let took = started_at.elapsed();
        let line = line
            .map_err(|_| CliError::failed("the host did not start in time"))?
            .map_err(not_started)?;
        let url = line
            .as_deref()
            .and_then(|line| line.split_whitespace().last())
            .map(str::to_owned);
        let url = url.ok_or_else(|| CliError::failed("the host exited before it was listening"))?;
        let id = child
            .id()
            .ok_or_else(|| CliError::failed("the host exited immediately"))?;
        self.process = Some(Process { child, id, url });
        Ok(took)
    }

    fn process(&self) -> &Process {
        self.process.as_ref().expect("the host is running")
    }

    /// The URL, which changes with each start.
    pub(super) fn url(&self) -> &str {
        &self.process().url
    }

    /// The resource usage of the process, as reported by the operating system.
    pub(super) fn usage(&self) -> Result<ProcessUsage, CliError> {
        process_usage(&self.process().id.to_string()).ok_or_else(|| CliError::failed("the host exited unexpectedly"))
    }

    /// Sends SIGTERM and waits for the exit. The database is then a single file.
    pub(super) async fn end(&mut self) -> Result<(), CliError> {
        let Some(mut process) = self.process.take() else {
            return Ok(());
        };
        if let Some(id) = i32::try_from(process.id).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        }
        match tokio::time::timeout(STOP_TIME, process.child.wait()).await {
            Ok(Ok(status)) if status.success() => Ok(()),
            Ok(Ok(status)) => Err(CliError::failed(format!("the host exited with {status}"))),
            Ok(Err(error)) => Err(CliError::failed(format!("cannot wait for the host: {error}"))),
            Err(_) => {
                let _ = process.child.kill().await;
                Err(CliError::failed("the host did not exit in time"))
            }
        }
    }

    /// Sends SIGKILL.
    pub(super) async fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.child.kill().await;
        }
    }

    /// Bytes of the database, while the host is not running.
    pub(super) fn database_bytes(&self) -> Result<u64, CliError> {
        let path: PathBuf = self.folder.path().join("windlass.db");
        let data = std::fs::metadata(&path);
        data.map(|data| data.len())
            .map_err(|error| CliError::failed(format!("{}: {error}", path.display())))
    }
}

fn not_started(error: std::io::Error) -> CliError {
    CliError::failed(format!("cannot start the host: {error}"))
}
