//! What an attempt writes: lines of its standard streams, of the `log` import, and of the host about it.

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
    lines::{LineBuffer, MAX_LINE_BYTES},
    trap::PanicWatch,
};

use super::{Attempt, lock, mask::Mask};

/// Bytes that a guest may write at once.
const PERMITTED_BYTES: usize = 64 << 10;

/// Bytes of lines that the host writes about an attempt, beside those of the guest: a guest that fills its log does not
/// hide what it was refused afterwards.
const HOST_BYTES: usize = 16 << 10;

/// The log of one attempt, up to its limit; what comes after is counted. Secrets of the attempt are covered.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct ActivityLog {
    /// What every line says of itself; none while a module describes itself, when nothing is kept.
    origin: Option<Origin>,
    lines: Vec<LogLine>,
    limit: usize,
    /// Bytes that are left for the guest.
    room: usize,
    /// Bytes that are left for the host.
    host_room: usize,
    dropped: u64,
    stdout: LineBuffer,
    stderr: LineBuffer,
    panic: PanicWatch,
    mask: Mask,
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
    /// The empty log of an attempt that begins now.
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
            limit,
            room: limit,
            host_room: HOST_BYTES,
            mask: Mask::new(attempt.grants.clone()),
            ..Self::default()
        }
    }

    /// Adds a line of the host's about the attempt.
    pub(in crate::sandbox) fn line(&mut self, level: LogLevel, message: &str) {
        let message = self.covered(message);
        match self.host_room.checked_sub(message.len() + 1) {
            None => self.dropped += 1,
            Some(room) => {
                self.host_room = room;
                self.keep(level, message);
            }
        }
    }

    /// Adds a line that the guest logged.
    pub(super) fn logged(&mut self, level: LogLevel, message: &str) {
        let message = self.covered(message);
        self.panic.logged(&message);
        self.guest_line(level, message);
    }

    fn guest_line(&mut self, level: LogLevel, message: String) {
        match self.room.checked_sub(message.len() + 1) {
            None => self.dropped += 1,
            Some(room) => {
                self.room = room;
                self.keep(level, message);
            }
        }
    }

    /// The text as it may be kept: without secrets, and no longer than a line.
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
            let line = self.covered(line);
            match output {
                Output::Stdout => self.guest_line(LogLevel::Info, line),
                Output::Stderr => {
                    self.panic.line(&line);
                    self.guest_line(LogLevel::Warn, line);
                }
            }
        }
    }

    /// Adds what was written without a line break at the end.
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

    /// The lines, with one that says how many are missing.
    pub(in crate::sandbox) fn take(&mut self) -> Vec<LogLine> {
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            let limit = self.limit;
            let message = format!("{dropped} log lines dropped: an attempt may log {limit} bytes");
            self.keep(LogLevel::Warn, message);
        }
        std::mem::take(&mut self.lines)
    }

    /// The guest's last panic message.
    pub(super) fn take_panic(&mut self) -> Option<String> {
        self.panic.take()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Output {
    Stdout,
    Stderr,
}

/// A standard stream whose lines go to the log. Always ready.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    log: Arc<Mutex<ActivityLog>>,
    output: Output,
}

impl Stream {
    /// Lines of the level "info".
    pub(super) fn stdout(log: &Arc<Mutex<ActivityLog>>) -> Self {
        Self {
            log: log.clone(),
            output: Output::Stdout,
        }
    }

    /// Lines of the level "warn".
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
        // Only other versions of WASI ask for this one.
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
