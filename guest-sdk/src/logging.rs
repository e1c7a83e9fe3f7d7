//! Logging: the macros of `tracing` and `log`, and panics, write to the log of the instance.
//!
//! A line goes to the current [`Sink`] of this thread: the imports of the sandbox, or a simulated host in tests. Without
//! a sink, it is dropped.

use std::cell::RefCell;
use std::fmt::{self, Write as _};
use std::panic::{self, PanicHookInfo};
use std::rc::Rc;

use tracing::field::{Field, Visit};
use tracing::span;
use tracing::{Event, Metadata, Subscriber};

/// The severity of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// Details for debugging.
    Debug,
    /// Normal progress.
    Info,
    /// An unexpected condition that may need attention.
    Warn,
    /// A failure.
    Error,
}

/// A destination of log lines.
pub(crate) trait Sink {
    fn log(&self, level: Level, message: &str);
}

thread_local! {
    static CURRENT: RefCell<Vec<Rc<dyn Sink>>> = const { RefCell::new(Vec::new()) };
}

/// Directs the lines of this thread to a sink until the guard is dropped.
pub(crate) fn enter(sink: Rc<dyn Sink>) -> Entered {
    install();
    CURRENT.with_borrow_mut(|sinks| sinks.push(sink));
    Entered
}

pub(crate) struct Entered;

impl Drop for Entered {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(Vec::pop);
    }
}

fn current() -> Option<Rc<dyn Sink>> {
    CURRENT.with_borrow(|sinks| sinks.last().cloned())
}

fn emit(level: Level, message: &str) {
    if let Some(sink) = current() {
        sink.log(level, message);
    }
}

/// Installs both facades, once. A subscriber or logger that the author installed before stays in place.
fn install() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let _ = tracing::subscriber::set_global_default(Tracing);
        if log::set_logger(&Log).is_ok() {
            log::set_max_level(log::LevelFilter::Debug);
        }
    });
}

/// Logs the message of a panic before the instance traps; the host itself only sees the trap.
pub(crate) fn log_panics() {
    panic::set_hook(Box::new(|info: &PanicHookInfo<'_>| {
        let message = info.payload_as_str().unwrap_or("(no message)");
        let at = info
            .location()
            .map(|location| format!(" at {location}"))
            .unwrap_or_default();
        emit(Level::Error, &format!("panicked{at}: {message}"));
    }));
}

struct Log;

impl log::Log for Log {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.level() <= log::Level::Debug
    }

    fn log(&self, record: &log::Record<'_>) {
        let level = match record.level() {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        if self.enabled(record.metadata()) {
            emit(level, &record.args().to_string());
        }
    }

    fn flush(&self) {}
}

/// Writes events as lines, and ignores spans: the host's log already names the instance.
struct Tracing;

impl Subscriber for Tracing {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::DEBUG
    }

    fn event(&self, event: &Event<'_>) {
        let level = match *event.metadata().level() {
            tracing::Level::TRACE => Level::Trace,
            tracing::Level::DEBUG => Level::Debug,
            tracing::Level::INFO => Level::Info,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::ERROR => Level::Error,
        };
        let mut line = Line::default();
        event.record(&mut line);
        emit(level, &(line.message + &line.fields));
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

/// `message key=value key=value`
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a String cannot fail.
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
