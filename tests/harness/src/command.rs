//! The command line, as people and scripts run it.

use std::process::Stdio;

use serde_json::Value;

use crate::programs;

/// How a command of the command line ended.
#[derive(Debug)]
pub struct Command {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Command {
    /// Runs one against the host at that URL.
    pub async fn run(args: &[&str], url: &str, key: Option<&str>) -> Self {
        let output = tokio::process::Command::new(programs::windlass())
            .args(args)
            .env("WINDLASS_URL", url)
            .envs(key.map(|key| ("WINDLASS_KEY", key)))
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .await
            .expect("the program starts");
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What it printed, as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
