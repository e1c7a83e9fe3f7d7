//! A schedule as JSON: what clients send, and what they get.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::{
    http::{
        document::{Verbatim, tags, time},
        error::Refusal,
        params::{parse_duration, parse_time},
    },
    model::{
        FunctionName, Overlap, Payload, Schedule, Tag, Tags, Timestamp,
        schedule::{
            CATCH_UP_LIMITS, Counts, DEFAULT_CATCH_UP, MAX_JITTER, MAX_NOTE_BYTES, Occasion, OccasionOutcome, Refused,
            Spec,
        },
    },
    store::ScheduleRow,
};

/// How many of the next times are shown.
const SHOWN_TIMES: usize = 5;

/// The definition of a schedule. It has either `cron` or `interval`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = ScheduleRequest)]
pub(crate) struct ScheduleRequest {
    /// The orchestration to start.
    orchestration: String,
    /// Its input; `null` if absent.
    #[schema(value_type = Verbatim, required = false)]
    input: Option<Box<RawValue>>,
    /// The tags of the instances.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// A cron expression of five fields: minute, hour, day of the month, month, day of the week.
    #[schema(example = "0 9 * * MON-FRI")]
    cron: Option<String>,
    /// The IANA time zone of the cron expression; `UTC` if absent.
    #[schema(example = "Europe/Berlin")]
    time_zone: Option<String>,
    /// The time between two starts, instead of `cron`: whole seconds. The times are multiples of it since 1970.
    #[schema(example = "90m")]
    interval: Option<String>,
    /// By how much the times of an interval are later than the multiples.
    offset: Option<String>,
    /// No time before this is selected (RFC 3339).
    start_time: Option<String>,
    /// No time after this is selected (RFC 3339).
    end_time: Option<String>,
    /// What to do if the last instance has not ended: `skip` (if absent), `queueOne`, `allow` or `terminate`.
    #[schema(example = "skip")]
    overlap: Option<String>,
    /// How late a time may be started, for example after the host was down; `24h` if absent.
    catch_up_window: Option<String>,
    /// By how much a start may be delayed, at most; each time has its own delay.
    jitter: Option<String>,
    /// Whether it is paused. If absent, a new schedule is not, and an existing one stays as it is.
    paused: Option<bool>,
    /// The note of the pause.
    note: Option<String>,
}

fn invalid(parameter: &'static str, message: impl Into<String>) -> Refusal {
    Refusal::InvalidSchedule {
        parameter,
        message: message.into(),
    }
}

/// Reads an optional text with a function whose error message follows the name.
fn read<T>(
    parameter: &'static str,
    text: Option<&str>,
    read: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, Refusal> {
    text.map(read)
        .transpose()
        .map_err(|message| invalid(parameter, message))
}

impl ScheduleRequest {
    /// The definition, and the pause that it asks for.
    pub(super) fn read(self, max_payload: usize) -> Result<(Schedule, Option<Option<String>>), Refusal> {
        let spec = self.spec()?;
        let pause = self.pause()?;
        let function: FunctionName = self
            .orchestration
            .parse()
            .map_err(|error: crate::model::IdError| invalid("orchestration", error.to_string()))?;
        let input = self.input.as_ref().map_or("null", |input| input.get());
        let input = Payload::parse(input, max_payload).map_err(|error| invalid("input", error.to_string()))?;
        let tags = self.tags.iter().map(|(key, value)| Tag::new(key, value));
        let tags = tags.collect::<Result<Vec<_>, _>>().and_then(Tags::new);
        let overlap = read("overlap", self.overlap.as_deref(), str::parse::<Overlap>)?;
        let catch_up = read("catchUpWindow", self.catch_up_window.as_deref(), parse_duration)?;
        let jitter = read("jitter", self.jitter.as_deref(), parse_duration)?;
        let schedule = Schedule {
            function,
            input,
            tags: tags.map_err(|error| invalid("tags", error.to_string()))?,
            spec,
            overlap: overlap.unwrap_or_default(),
            catch_up: catch_up.unwrap_or(DEFAULT_CATCH_UP),
            jitter: jitter.unwrap_or_default(),
        };
        if !(CATCH_UP_LIMITS.0..=CATCH_UP_LIMITS.1).contains(&schedule.catch_up) {
            return Err(invalid("catchUpWindow", "must be from 10s to 366d"));
        }
        if schedule.jitter > MAX_JITTER {
            return Err(invalid("jitter", "is at most 24h"));
        }
        Ok((schedule, pause))
    }

    fn spec(&self) -> Result<Spec, Refusal> {
        let spec = match (&self.cron, &self.interval) {
            (Some(_), Some(_)) => return Err(invalid("interval", "cannot be combined with cron")),
            (None, None) => return Err(invalid("cron", "or interval must be given")),
            (Some(_), None) if self.offset.is_some() => {
                return Err(invalid("offset", "cannot be combined with cron"));
            }
            (None, Some(_)) if self.time_zone.is_some() => {
                return Err(invalid("timeZone", "cannot be combined with interval"));
            }
            (Some(cron), None) => Spec::cron(cron, self.time_zone.as_deref().unwrap_or("UTC")),
            (None, Some(every)) => {
                let every = read("interval", Some(every), parse_duration)?.unwrap_or_default();
                let offset = read("offset", self.offset.as_deref(), parse_duration)?;
                Spec::interval(every, offset.unwrap_or_default())
            }
        };
        let spec = spec.map_err(|(parameter, message)| invalid(parameter, message))?;
        let from = read("startTime", self.start_time.as_deref(), parse_time)?;
        let until = read("endTime", self.end_time.as_deref(), parse_time)?;
        for (parameter, at) in [("startTime", from), ("endTime", until)] {
            if at.is_some_and(|at| at > Timestamp::LAST_WRITABLE) {
                return Err(invalid(parameter, "must not be after the year 9999"));
            }
        }
        match (from, until) {
            (Some(from), Some(until)) if until < from => Err(invalid("endTime", "is before startTime")),
            _ => Ok(spec.between(from, until)),
        }
    }

    fn pause(&self) -> Result<Option<Option<String>>, Refusal> {
        let note = read("note", self.note.as_deref(), note)?;
        match (self.paused, note) {
            (Some(true), note) => Ok(Some(Some(note.unwrap_or_default()))),
            (_, Some(_)) => Err(invalid("note", "is only for a paused schedule")),
            (Some(false), None) => Ok(Some(None)),
            (None, None) => Ok(None),
        }
    }
}

/// Reads the note of a pause.
pub(super) fn note(text: &str) -> Result<String, String> {
    match text.len() {
        0..=MAX_NOTE_BYTES => Ok(text.to_owned()),
        _ => Err(format!("is at most {MAX_NOTE_BYTES} bytes long")),
    }
}

/// A schedule.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Schedule)]
pub(crate) struct ScheduleDocument {
    /// Its name.
    name: String,
    /// The orchestration that it starts.
    orchestration: String,
    /// Its input; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Verbatim, required = false)]
    input: Option<Verbatim>,
    /// The tags of the instances.
    tags: BTreeMap<String, String>,
    /// The cron expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    cron: Option<String>,
    /// The time zone of the cron expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    time_zone: Option<String>,
    /// The time between two starts.
    #[serde(skip_serializing_if = "Option::is_none")]
    interval: Option<String>,
    /// By how much the times of the interval are later.
    #[serde(skip_serializing_if = "Option::is_none")]
    offset: Option<String>,
    /// No time before this is selected.
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    /// No time after this is selected.
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<String>,
    /// `skip`, `queueOne`, `allow` or `terminate`.
    overlap: &'static str,
    /// How late a time may be started.
    catch_up_window: String,
    /// By how much a start may be delayed, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    jitter: Option<String>,
    /// Whether it is paused.
    paused: bool,
    /// The note of the pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// When it was created.
    created_time: String,
    /// When its definition was last changed.
    last_updated_time: String,
    /// The next times, without jitter: five of them, and one in lists. None while it is paused or over.
    next_times: Vec<String>,
    /// The time whose start waits for the end of the last instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    queued_time: Option<String>,
    /// A start that was refused and will be tried again.
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<RefusedDocument>,
    /// The instance that was started last.
    #[serde(skip_serializing_if = "Option::is_none")]
    last_instance_id: Option<String>,
    /// What became of all times.
    counts: CountsDocument,
    /// What became of the last times, the newest first; not in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    recent: Option<Vec<OccasionDocument>>,
}

/// A start that was refused.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = RefusedStart)]
struct RefusedDocument {
    /// The time of the start.
    time: String,
    /// When it was first refused.
    since: String,
    /// How often it was refused.
    attempts: u32,
    /// When it is tried again.
    retry_time: String,
    /// Why.
    reason: String,
}

/// How many times had which outcome.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ScheduleCounts)]
struct CountsDocument {
    /// An instance was started, also by hand.
    started: u64,
    /// The last instance had not ended.
    skipped: u64,
    /// The catch-up window had passed.
    missed: u64,
    /// The start was refused until the catch-up window had passed, or could not succeed.
    failed: u64,
}

/// What became of a time, or of consecutive times.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = ScheduledTime)]
struct OccasionDocument {
    /// The time, or the last of several.
    time: String,
    /// When it was decided.
    decided_time: String,
    /// How many times it stands for.
    times: u64,
    /// `started`, `skipped`, `missed` or `failed`.
    outcome: &'static str,
    /// The instance that was started.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_id: Option<String>,
    /// Whether it was started by hand.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    triggered: bool,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl ScheduleDocument {
    /// Everything about a schedule.
    pub(super) fn full(row: &ScheduleRow, now: Timestamp) -> Self {
        Self {
            input: Some(Verbatim(row.schedule.input.clone())),
            recent: Some(row.state.recent.iter().rev().map(OccasionDocument::of).collect()),
            ..Self::short(row, now, SHOWN_TIMES)
        }
    }

    /// The parts that a list shows.
    pub(super) fn in_list(row: &ScheduleRow, now: Timestamp) -> Self {
        Self::short(row, now, 1)
    }

    fn short(row: &ScheduleRow, now: Timestamp, times: usize) -> Self {
        let (schedule, state) = (&row.schedule, &row.state);
        let (cron, interval) = (schedule.spec.as_cron(), schedule.spec.as_interval());
        let (from, until) = schedule.spec.bounds();
        Self {
            name: row.name.to_string(),
            orchestration: schedule.function.to_string(),
            input: None,
            tags: tags(&schedule.tags),
            cron: cron.map(|(cron, _)| cron.to_owned()),
            time_zone: cron.map(|(_, zone)| zone.to_owned()),
            interval: interval.map(|(every, _)| duration(every)),
            offset: interval
                .map(|(_, offset)| offset)
                .filter(|offset| !offset.is_zero())
                .map(duration),
            start_time: from.map(time),
            end_time: until.map(time),
            overlap: schedule.overlap.name(),
            catch_up_window: duration(schedule.catch_up),
            jitter: Some(schedule.jitter).filter(|jitter| !jitter.is_zero()).map(duration),
            paused: state.paused.is_some(),
            note: state.paused.clone().filter(|note| !note.is_empty()),
            created_time: time(row.created_at),
            last_updated_time: time(row.updated_at),
            next_times: next_times(row, now, times),
            queued_time: state.buffered.map(|(nominal, _)| time(nominal)),
            refused: state.refused.as_ref().map(RefusedDocument::of),
            last_instance_id: state.last.as_ref().map(|last| last.id.to_string()),
            counts: CountsDocument::of(state.counts),
            recent: None,
        }
    }
}

/// The next times after now.
fn next_times(row: &ScheduleRow, now: Timestamp, count: usize) -> Vec<String> {
    if row.state.paused.is_some() {
        return Vec::new();
    }
    let after = row.state.decided.max(now);
    let following = |at: &Timestamp| row.schedule.spec.next(*at);
    std::iter::successors(following(&after), following)
        .take(count)
        .map(time)
        .collect()
}

/// A duration as people write it.
fn duration(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

impl RefusedDocument {
    fn of(refused: &Refused) -> Self {
        Self {
            time: time(refused.nominal),
            since: time(refused.since),
            attempts: refused.attempts,
            retry_time: time(refused.retry_at),
            reason: refused.reason.clone(),
        }
    }
}

impl CountsDocument {
    fn of(counts: Counts) -> Self {
        let Counts {
            started,
            skipped,
            missed,
            failed,
        } = counts;
        Self {
            started,
            skipped,
            missed,
            failed,
        }
    }
}

impl OccasionDocument {
    fn of(occasion: &Occasion) -> Self {
        let document = Self {
            time: time(occasion.nominal),
            decided_time: time(occasion.at),
            times: occasion.times,
            outcome: "",
            instance_id: None,
            triggered: false,
            reason: None,
        };
        match &occasion.outcome {
            OccasionOutcome::Started { instance, by_hand } => Self {
                outcome: "started",
                instance_id: Some(instance.to_string()),
                triggered: *by_hand,
                ..document
            },
            OccasionOutcome::Skipped => Self {
                outcome: "skipped",
                ..document
            },
            OccasionOutcome::Missed => Self {
                outcome: "missed",
                ..document
            },
            OccasionOutcome::Failed { reason } => Self {
                outcome: "failed",
                reason: Some(reason.clone()),
                ..document
            },
        }
    }
}
