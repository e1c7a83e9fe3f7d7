//! A program under test as a child process. The program prints its URL; tests stop or kill it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::waiting::PATIENCE;

/// A running server. Dropping it kills the process, and prints its standard error if the test is failing.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    name: &'static str,
    /// `http://127.0.0.1:PORT`
    pub(crate) url: String,
    log: PathBuf,
}

impl Server {
    /// Starts a program, and waits until it prints `… listening on URL`. Appends its standard error to `log`.
    pub(crate) async fn start(name: &'static str, program: &Path, args: &[String], log: PathBuf) -> Self {
        let stderr = File::options().create(true).append(true).open(&log);
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr.expect("the log is in a folder of the test"))
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let stdout = child.stdout.take().expect("stdout is piped");
        let mut lines = BufReader::new(stdout).lines();
        let mut server = Self {
            child,
            name,
            url: String::new(),
            log,
        };
        server.url = loop {
            match timeout(PATIENCE, lines.next_line()).await {
                Ok(Ok(Some(line))) => {
                    if let Some((_, url)) = line.split_once("listening on ") {
                        break url.trim().to_owned();
                    }
                }
                ended => panic!("{name} did not print its URL: {ended:?}"),
            }
        };
        // A full pipe would block the program.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        server
    }

    /// Sends SIGKILL, and waits until the process is gone.
    pub(crate) async fn kill(&mut self) {
        self.child.kill().await.expect("our own child can be killed");
    }

    /// Sends SIGTERM.
    pub(crate) fn ask_to_end(&self) {
        let id = self.child.id().expect("it has not been waited for");
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, Signal::TERM).expect("our own child can be asked to end");
    }

    /// Waits until the process has exited.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        timeout(PATIENCE, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("{} has not ended", self.name))
            .expect("our own child can be waited for")
    }

    /// A field of `/proc/PID/status`, in bytes.
    pub(crate) fn memory(&self, field: &str) -> u64 {
        let id = self.child.id().expect("it has not been waited for");
        let status = fs::read_to_string(format!("/proc/{id}/status")).expect("it runs");
        let value = status
            .lines()
            .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let kibibytes = value.and_then(|value| value.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
        kibibytes.unwrap_or_else(|| panic!("no {field} in\n{status}")) << 10
    }

    /// Bytes that the process has written to files and sockets.
    pub(crate) fn written_bytes(&self) -> u64 {
        let id = self.child.id().expect("it has not been waited for");
        let io = fs::read_to_string(format!("/proc/{id}/io")).expect("it runs");
        let written = io.lines().find_map(|line| line.strip_prefix("wchar: ")?.parse().ok());
        written.unwrap_or_else(|| panic!("no wchar in\n{io}"))
    }

    /// The content of the log: the standard error of this start and earlier ones.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- stderr of {} ---\n{}---", self.name, self.log());
        }
    }
}
