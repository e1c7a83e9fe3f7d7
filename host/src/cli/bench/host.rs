//! A host for the length of a measurement, on a temporary folder.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::cli::trouble::Trouble;

/// How long the host may take to say where it listens.
const START_TIME: Duration = Duration::from_secs(30);

/// How long it may take to end before it is killed.
const STOP_TIME: Duration = Duration::from_secs(15);

/// Clock ticks a second in `/proc`; fixed at 100 for every Linux program (`USER_HZ`, proc(5)).
const TICKS_PER_S: f64 = 100.0;

/// Bytes of a page in `/proc/PID/statm` where this runs.
const PAGE_BYTES: u64 = 4_096;

/// The host and its folder, which goes with it.
pub(super) struct BenchHost {
    child: Child,
    pid: u32,
    url: String,
    _folder: tempfile::TempDir,
}

impl BenchHost {
    /// Starts `windlass serve` on a free port and an empty folder, and waits until it listens.
    pub(super) async fn start(arguments: &[String]) -> Result<Self, Trouble> {
        let failed = |error: std::io::Error| Trouble::failed(format!("the host could not be started: {error}"));
        let folder = tempfile::tempdir().map_err(failed)?;
        let mut child = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["serve", "--listen", "127.0.0.1:0", "--log-level", "warn", "--data"])
            .arg(folder.path())
            .args(arguments)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = tokio::time::timeout(START_TIME, lines.next_line()).await;
        let line = line
            .map_err(|_| Trouble::failed("the host did not start in time"))?
            .map_err(failed)?;
        let url = line
            .as_deref()
            .and_then(|line| line.split_whitespace().last())
            .map(str::to_owned);
        let url = url.ok_or_else(|| Trouble::failed("the host ended before it listened"))?;
        let pid = child.id().ok_or_else(|| Trouble::failed("the host ended at once"))?;
        Ok(Self {
            child,
            pid,
            url,
            _folder: folder,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// CPU time used so far, user and system, in milliseconds.
    pub(super) fn cpu_ms(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).ok()?;
        // The second field is the program's name in brackets; fields 14 and 15 are the times (proc(5)).
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks: f64 = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(ticks * 1_000.0 / TICKS_PER_S)
    }

    /// Resident memory, in bytes.
    pub(super) fn rss_bytes(&self) -> Option<u64> {
        let statm = std::fs::read_to_string(format!("/proc/{}/statm", self.pid)).ok()?;
        let pages: u64 = statm.split_whitespace().nth(1)?.parse().ok()?;
        Some(pages * PAGE_BYTES)
    }

    /// Ends the host and waits for it.
    pub(super) async fn stop(mut self) {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        if tokio::time::timeout(STOP_TIME, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}
