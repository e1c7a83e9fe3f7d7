//! [`Transcript`]: the record of what an orchestration observes.

use std::fmt::Debug;
use std::time::Duration;

use conformance_api::*;
use windlass_sdk::prelude::*;

/// The lines of one case.
pub struct Transcript<'c> {
    ctx: &'c Orchestration,
    lines: Vec<String>,
    lap_began: Timestamp,
}

impl<'c> Transcript<'c> {
    pub fn new(ctx: &'c Orchestration) -> Self {
        Self {
            ctx,
            lines: Vec::new(),
            lap_began: ctx.now(),
        }
    }

    /// Records an observation.
    pub fn saw(&mut self, what: &str, seen: impl Debug) {
        self.lines.push(format!("{what}: {seen:?}"));
        self.lap_began = self.ctx.now();
    }

    /// Records an outcome.
    pub fn ended<T: Debug>(&mut self, what: &str, outcome: Result<T>) {
        self.lines.push(format!("{what}: {}", describe(&outcome)));
        self.lap_began = self.ctx.now();
    }

    /// Records an outcome, and whether it took less than `least` or more than `most`.
    pub fn ended_within<T: Debug>(&mut self, what: &str, least: Duration, most: Duration, outcome: Result<T>) {
        let took = self.ctx.now() - self.lap_began;
        let early = if took < least { ", too early" } else { "" };
        let late = if took > most { ", too late" } else { "" };
        self.lines.push(format!("{what}: {}{early}{late}", describe(&outcome)));
        self.lap_began = self.ctx.now();
    }

    pub fn lines(self) -> Vec<String> {
        self.lines
    }
}

/// Describes an outcome. Omits the messages of the host's own failures, because the two hosts may word them differently.
fn describe<T: Debug>(outcome: &Result<T>) -> String {
    let failure = match outcome {
        Ok(output) => return format!("ok {output:?}"),
        Err(failure) => failure,
    };
    let error_type = failure.error_type();
    let mut text = match error_type.starts_with("windlass.") {
        true => error_type.to_owned(),
        false => failure.to_string(),
    };
    if failure.is_non_retryable() {
        text += ", non-retryable";
    }
    if let Some(details) = failure.details_json() {
        text += &format!(", details {details}");
    }
    for cause in failure.causes() {
        text += &format!(", caused by {cause:?}");
    }
    text
}

/// A plan with these acts.
pub fn plan(acts: impl Into<Vec<Act>>) -> Plan {
    Plan { acts: acts.into() }
}

/// An act that fails with this type.
pub fn fail(error_type: &str) -> Act {
    Act::Fail(error_type.into())
}
