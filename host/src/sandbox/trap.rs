//! Converts an error of the runtime into the failure of a guest.

use std::fmt;

use serde::Serialize;
use wasmtime::{Error, PoolConcurrencyLimitError, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::model::{Failure, Payload, failure::types};
use crate::replay::HostUnavailable;

use super::limits::NoMemory;

/// Maximum frames of a backtrace in a failure.
const MAX_FRAMES: usize = 12;
/// Maximum length of a panic message from the log, in bytes. Longer ones are truncated.
const MAX_LOGGED_PANIC_BYTES: usize = 2_000;
/// Maximum lines of a panic message on standard error.
const MAX_PANIC_LINES: usize = 4;

/// The guest called `wasi:cli/exit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exited(pub(super) u8);

impl fmt::Display for Exited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the guest called exit({})", self.0)
    }
}

impl std::error::Error for Exited {}

/// What the host knows about a guest that failed, in addition to the error.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// The memory limit in bytes, if the guest's last request for memory was refused.
    pub(super) memory_denied: Option<u64>,
    /// The guest's last panic message.
    pub(super) panic: Option<String>,
    /// The fuel that the guest was given.
    pub(super) fuel: u64,
    /// Whether it was not instantiated yet.
    pub(super) starting: bool,
    /// The maximum bytes that one call of the host may copy out of the guest.
    pub(super) hostcall_bytes: usize,
}

/// Whether the host had no room for the guest, which is not the guest's fault.
///
/// A full pool has its own error. If the kernel refuses memory or maps for a slot, instantiation fails with an I/O error.
/// The guest may cause later I/O errors itself; they must not count as trouble of the host, because the guest would be
/// retried forever.
pub(super) fn host_trouble(error: &Error, instantiated: bool) -> Option<HostUnavailable> {
    if let Some(NoMemory { needed }) = error.downcast_ref() {
        return Some(HostUnavailable::NoMemory { needed: *needed });
    }
    let no_room = error.is::<PoolConcurrencyLimitError>() || (!instantiated && error.is::<std::io::Error>());
    no_room.then(|| HostUnavailable::NoRoom(format!("{error:#}")))
}

/// The failure of a guest that was stopped by this error.
pub(super) fn failure(error: &Error, evidence: Evidence) -> Failure {
    let trap = error.downcast_ref::<Trap>();
    let frames = frames(error);
    let failure = match trap {
        Some(Trap::OutOfFuel) => Failure::new(
            types::FUEL,
            format!("the guest used up its {} units of fuel", evidence.fuel),
        ),
        Some(Trap::Interrupt) => Failure::new(
            types::FUEL,
            "the guest ran for longer than a turn or an operation may take",
        ),
        _ => match (&evidence.panic, evidence.memory_denied) {
            // A guest that panics reports a message; one that is refused memory aborts without one.
            (Some(panic), _) => Failure::new(types::TRAP, panic.clone()),
            (None, Some(limit))
                if trap == Some(&Trap::UnreachableCodeReached) || (trap.is_none() && evidence.starting) =>
            {
                Failure::new(
                    types::MEMORY,
                    format!("the guest exceeded its limit of {limit} bytes of memory"),
                )
            }
            _ if handed_over_too_much(error) => {
                let limit = evidence.hostcall_bytes;
                let message = format!("the guest passed more than {limit} bytes to the host in one call");
                Failure::new(types::PAYLOAD, message).permanent()
            }
            _ => Failure::new(types::TRAP, message(error, trap)),
        },
    };
    if frames.is_empty() {
        return failure;
    }
    Failure {
        details: Some(Payload::of(&Details { frames })),
        ..failure
    }
}

/// Whether a call of the host would have copied too much out of the guest. Wasmtime has no error type for this, only a
/// message.
fn handed_over_too_much(error: &Error) -> bool {
    let words = error.root_cause().to_string();
    words.starts_with("too much data is being copied between the host and the guest")
}

#[derive(Serialize)]
struct Details {
    /// The guest's functions, innermost first.
    frames: Vec<String>,
}

fn message(error: &Error, trap: Option<&Trap>) -> String {
    if let Some(I32Exit(code)) = error.downcast_ref() {
        return format!("the guest called exit({code})");
    }
    match trap {
        Some(trap) => trap.to_string(),
        // The outermost layers of the chain are the backtrace and the names of the imports on the way.
        None => error.root_cause().to_string(),
    }
}

fn frames(error: &Error) -> Vec<String> {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else {
        return Vec::new();
    };
    let names = backtrace.frames().iter().filter_map(|frame| frame.func_name());
    names.take(MAX_FRAMES).map(str::to_owned).collect()
}

/// Watches for panic messages: on standard error, where `std` writes them, and in the log, where the SDK writes them.
#[derive(Debug, Default)]
pub(super) struct PanicWatch {
    lines: Vec<String>,
}

impl PanicWatch {
    /// Processes a line of standard error.
    pub(super) fn line(&mut self, line: &str) {
        let begins = line.starts_with("thread '") && line.contains(" panicked at ");
        if begins {
            self.lines.clear();
            let at = line.split_once(" panicked at ").map_or(line, |(_, place)| place);
            self.lines.push(format!("panicked at {}", at.trim_end_matches(':')));
        } else if !self.lines.is_empty() && self.lines.len() <= MAX_PANIC_LINES && !line.starts_with("note: ") {
            self.lines.push(line.to_owned());
        }
    }

    /// Processes a message that the guest logged.
    pub(super) fn logged(&mut self, message: &str) {
        if message.starts_with("panicked at ") {
            self.lines = vec![message[..message.floor_char_boundary(MAX_LOGGED_PANIC_BYTES)].to_owned()];
        }
    }

    /// Takes the panic message, if there was one.
    pub(super) fn take(&mut self) -> Option<String> {
        let lines = std::mem::take(&mut self.lines);
        let (place, message) = lines.split_first()?;
        let message = message.join("\n");
        Some(if message.is_empty() {
            place.clone()
        } else {
            format!("{place}: {}", message.trim_end())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_of_a_panic_is_found_on_standard_error() {
        let mut watch = PanicWatch::default();
        for line in [
            "working",
            "",
            "thread 'main' (1) panicked at src/lib.rs:3:5:",
            "no such order",
            "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        ] {
            watch.line(line);
        }
        assert_eq!(watch.take().unwrap(), "panicked at src/lib.rs:3:5: no such order");
        assert_eq!(watch.take(), None);
        watch.logged("working");
        watch.logged("panicked at src/lib.rs:3:5: no such order");
        assert_eq!(watch.take().unwrap(), "panicked at src/lib.rs:3:5: no such order");
    }

    #[test]
    fn traps_are_distinguished_from_exhausted_fuel_or_memory() {
        let evidence = || Evidence {
            memory_denied: Some(7),
            fuel: 9,
            ..Evidence::default()
        };
        let of = |error: Error, evidence| failure(&error, evidence).error_type;
        assert_eq!(of(Trap::OutOfFuel.into(), evidence()), types::FUEL);
        assert_eq!(of(Trap::Interrupt.into(), evidence()), types::FUEL);
        assert_eq!(of(Trap::UnreachableCodeReached.into(), evidence()), types::MEMORY);
        assert_eq!(of(Trap::StackOverflow.into(), evidence()), types::TRAP);
        let panicked = Evidence {
            panic: Some("panicked at a.rs:1:1: no".into()),
            ..evidence()
        };
        assert_eq!(of(Trap::UnreachableCodeReached.into(), panicked), types::TRAP);
        let exit = failure(&Error::from(Exited(3)), Evidence::default());
        assert_eq!(
            (exit.error_type.as_str(), exit.message.as_str()),
            (types::TRAP, "the guest called exit(3)")
        );
    }
}
