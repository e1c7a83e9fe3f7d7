//! The log of an attempt: lines from its standard streams, from the `log` import, and from the host about the attempt.

use std::{
    sync::{Arc, Mutex},
    time::Instant,
};

use bytes::Bytes;
use wasmtime_wasi::{
    async_trait,
    cli::{IsTerminal, StdoutStream},
    p2::{OutputStream, Pollable, StreamError, StreamResult},
};

use crate::model::{ExecutionNumber, LogLevel, LogLine, TaskId, Timestamp};
use crate::sandbox::{
    line_buffer::{LineBuffer, MAX_LINE_BYTES},
    trap::PanicWatch,
};

use super::{Attempt, lock, mask::Mask};

/// Maximum bytes of one write of a guest.
const PERMITTED_BYTES: usize = 64 << 10;

/// Maximum bytes of the host's lines about an attempt. They have their own limit, so that a guest that fills its log does
/// not hide later refusals.
const HOST_BYTES: usize = 16 << 10;

/// The log of one attempt. The lines of the guest and those of the host have separate limits; further lines are dropped
/// and counted. Secrets of the attempt are masked.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct ActivityLog {
    /// The fields of every line. `None` while a module describes itself; then all lines are dropped.
    origin: Option<Origin>,
    lines: Vec<LogLine>,
    guest: LineBudget,
    host: LineBudget,
    stdout: LineBuffer,
    stderr: LineBuffer,
    panic: PanicWatch,
    mask: Mask,
}

/// A limit on log lines, in bytes.
#[derive(Debug, Default)]
struct LineBudget {
    limit: usize,
    used: usize,
    dropped: u64,
}

impl LineBudget {
    fn of(limit: usize) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Whether a line was dropped. After that all lines are dropped without further work, so that a flood of lines costs
    /// the host almost nothing.
    fn is_full(&self) -> bool {
        self.dropped > 0
    }

    /// Counts a line. Returns whether there is room for it.
    fn takes(&mut self, line: &str) -> bool {
        let used = self.used.saturating_add(line.len() + 1);
        let fits = !self.is_full() && used <= self.limit;
        if fits {
            self.used = used;
        } else {
            self.dropped += 1;
        }
        fits
    }
}

#[derive(Debug)]
struct Origin {
    began_at: Timestamp,
    began: Instant,
    execution: ExecutionNumber,
    task: TaskId,
    attempt: u32,
}

impl ActivityLog {
    /// Creates the empty log of an attempt that begins now.
    pub(in crate::sandbox) fn new(attempt: &Attempt, began: Instant, limit: usize) -> Self {
        let origin = Origin {
            began_at: attempt.now,
            began,
            execution: attempt.execution,
            task: attempt.task,
            attempt: attempt.number,
        };
        Self {
            origin: Some(origin),
            guest: LineBudget::of(limit),
            host: LineBudget::of(HOST_BYTES),
            mask: Mask::new(attempt.grants.clone()),
            ..Self::default()
        }
    }

    /// Adds a line of the host about the attempt.
    pub(in crate::sandbox) fn line(&mut self, level: LogLevel, message: &str) {
        let message = self.covered(message);
        if self.host.takes(&message) {
            self.keep(level, message);
        }
    }

    /// Adds a line that the guest logged.
    pub(super) fn logged(&mut self, level: LogLevel, message: &str) {
        self.panic.logged(message);
        self.guest_line(level, message);
    }

    fn guest_line(&mut self, level: LogLevel, message: &str) {
        if self.guest.is_full() {
            self.guest.dropped += 1;
            return;
        }
        let message = self.covered(message);
        if self.guest.takes(&message) {
            self.keep(level, message);
        }
    }

    /// Masks secrets in the text, and truncates it to the maximum length of a line.
    fn covered(&self, text: &str) -> String {
        let mut text = self.mask.cover(text, MAX_LINE_BYTES).into_owned();
        text.truncate(text.floor_char_boundary(MAX_LINE_BYTES));
        text
    }

    fn keep(&mut self, level: LogLevel, message: String) {
        let Some(origin) = &self.origin else { return };
        self.lines.push(LogLine {
            at: origin.began_at.after(origin.began.elapsed()),
            execution: origin.execution,
            task: Some(origin.task),
            attempt: Some(origin.attempt),
            level,
            message,
        });
    }

    fn write(&mut self, output: Output, bytes: &[u8]) {
        let mut lines = Vec::new();
        match output {
            Output::Stdout => self.stdout.write(bytes, |line| lines.push(line.to_owned())),
            Output::Stderr => self.stderr.write(bytes, |line| lines.push(line.to_owned())),
        }
        self.written(output, &lines);
    }

    fn written(&mut self, output: Output, lines: &[String]) {
        for line in lines {
            match output {
                Output::Stdout => self.guest_line(LogLevel::Info, line),
                Output::Stderr => {
                    self.panic.line(line);
                    self.guest_line(LogLevel::Warn, line);
                }
            }
        }
    }

    /// Adds the rest of the output, which does not end with a line break.
    pub(super) fn finish(&mut self) {
        for output in [Output::Stdout, Output::Stderr] {
            let mut lines = Vec::new();
            match output {
                Output::Stdout => self.stdout.finish(|line| lines.push(line.to_owned())),
                Output::Stderr => self.stderr.finish(|line| lines.push(line.to_owned())),
            }
            self.written(output, &lines);
        }
    }

    /// Takes the lines. If lines were dropped, the last ones say how many.
    pub(in crate::sandbox) fn take(&mut self) -> Vec<LogLine> {
        let LineBudget { limit, dropped, .. } = std::mem::take(&mut self.guest);
        if dropped > 0 {
            let message = format!("{dropped} log lines dropped: an attempt may log {limit} bytes");
            self.keep(LogLevel::Warn, message);
        }
        let LineBudget { dropped, .. } = std::mem::take(&mut self.host);
        if dropped > 0 {
            let message = format!("{dropped} more requests were refused or failed");
            self.keep(LogLevel::Warn, message);
        }
        std::mem::take(&mut self.lines)
    }

    /// Takes the guest's last panic message.
    pub(super) fn take_panic(&mut self) -> Option<String> {
        self.panic.take()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Stdout,
    Stderr,
}

/// A standard stream that writes to the log. Always ready.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    log: Arc<Mutex<ActivityLog>>,
    output: Output,
}

impl Stream {
    /// Standard output: lines have the level "info".
    pub(super) fn stdout(log: &Arc<Mutex<ActivityLog>>) -> Self {
        Self {
            log: log.clone(),
            output: Output::Stdout,
        }
    }

    /// Standard error: lines have the level "warn".
    pub(super) fn stderr(log: &Arc<Mutex<ActivityLog>>) -> Self {
        Self {
            log: log.clone(),
            output: Output::Stderr,
        }
    }
}

impl IsTerminal for Stream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only other versions of WASI use this one.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for Stream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        if bytes.len() > PERMITTED_BYTES {
            return Err(StreamError::trap("more was written than permitted"));
        }
        lock(&self.log).write(self.output, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(PERMITTED_BYTES)
    }
}

#[async_trait]
impl Pollable for Stream {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_that_fills_its_log_does_not_hide_the_lines_of_the_host() {
        let origin = Origin {
            began_at: Timestamp(1_000),
            began: Instant::now(),
            execution: ExecutionNumber::FIRST,
            task: TaskId(1),
            attempt: 1,
        };
        let mut log = ActivityLog {
            origin: Some(origin),
            guest: LineBudget::of(10),
            host: LineBudget::of(20),
            ..ActivityLog::default()
        };
        for _ in 0..3 {
            log.logged(LogLevel::Info, "chatter");
            log.line(LogLevel::Warn, "a refusal");
        }
        let messages: Vec<String> = log.take().into_iter().map(|line| line.message).collect();
        assert_eq!(
            messages,
            [
                "chatter",
                "a refusal",
                "a refusal",
                "2 log lines dropped: an attempt may log 10 bytes",
                "1 more requests were refused or failed"
            ]
        );
    }
}
