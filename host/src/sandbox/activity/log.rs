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

use super::{Attempt, lock};

/// Bytes that a guest may write at once.
const PERMITTED_BYTES: usize = 64 << 10;

/// The log of one attempt, up to its limit; what comes after is counted.
#[derive(Debug, Default)]
pub(in crate::sandbox) struct ActivityLog {
    /// What every line says of itself; none while a module describes itself, when nothing is kept.
    origin: Option<Origin>,
    lines: Vec<LogLine>,
    room: usize,
    dropped: u64,
    stdout: LineBuffer,
    stderr: LineBuffer,
    panic: PanicWatch,
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
            room: limit,
            ..Self::default()
        }
    }

    /// Adds a line.
    pub(in crate::sandbox) fn line(&mut self, level: LogLevel, message: &str) {
        let Some(Origin {
            began_at,
            began,
            execution,
            task,
            attempt,
        }) = &self.origin
        else {
            return;
        };
        let message = &message[..message.floor_char_boundary(MAX_LINE_BYTES)];
        match self.room.checked_sub(message.len() + 1) {
            None => self.dropped += 1,
            Some(room) => {
                self.room = room;
                self.lines.push(LogLine {
                    at: began_at.after(began.elapsed()),
                    execution: *execution,
                    task: Some(*task),
                    attempt: Some(*attempt),
                    level,
                    message: message.to_owned(),
                });
            }
        }
    }

    /// Adds a line that the guest logged.
    pub(super) fn logged(&mut self, level: LogLevel, message: &str) {
        self.panic.logged(message);
        self.line(level, message);
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
                Output::Stdout => self.line(LogLevel::Info, line),
                Output::Stderr => {
                    self.panic.line(line);
                    self.line(LogLevel::Warn, line);
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
            self.room = usize::MAX;
            self.line(
                LogLevel::Warn,
                &format!("{dropped} log lines dropped: limit of an attempt reached"),
            );
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
