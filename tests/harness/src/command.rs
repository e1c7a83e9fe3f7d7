//! Runs the command line, as people and scripts do.

use std::process::Stdio;

use serde_json::Value;

use crate::programs;

/// The result of a command.
#[derive(Debug)]
pub struct Command {
    /// The exit code.
    pub code: i32,
    /// The standard output.
    pub stdout: String,
    /// The standard error.
    pub stderr: String,
}

impl Command {
    /// Runs a command against the host at `url`, with an API key if there is one.
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

    /// Parses the standard output as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}
