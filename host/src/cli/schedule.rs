//! `windlass schedule`: manages schedules, which start orchestrations at regular times.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, value::RawValue};

use super::{
    client::{Client, all_items},
    error::CliError,
    input,
    output::{Output, clean},
    tags,
};
use crate::{
    clock::{Clock, SystemClock},
    http::{InstanceLinks, parse_duration},
    model::{Tag, date_time, schedule::Spec},
};

/// How many times `next` shows.
const SHOWN_TIMES: usize = 5;

/// Arguments of `schedule`.
#[derive(Debug, Args)]
pub(super) struct Schedule {
    #[command(subcommand)]
    command: ScheduleCommand,
}

#[derive(Debug, Subcommand)]
enum ScheduleCommand {
    /// Create a schedule
    Create(Box<Create>),
    /// List schedules, by name
    List,
    /// Show a schedule: its next times, and what became of the last ones
    Show(Name),
    /// Pause a schedule
    Pause(Pause),
    /// Resume a paused schedule
    Resume(Name),
    /// Start an instance of a schedule now, even if it is paused
    Trigger(Trigger),
    /// Delete a schedule; instances that it has started go on
    Delete(Name),
    /// Show the next five times of an expression or an interval, without a host
    Next(Times),
}

#[derive(Debug, Args)]
struct Name {
    /// The schedule's name
    name: String,
}

/// When a schedule starts something.
#[derive(Debug, Args)]
struct Times {
    /// Cron expression: minute, hour, day of the month, month, day of the week; for example '0 9 * * MON-FRI'
    #[arg(
        long,
        value_name = "CRON",
        required_unless_present = "every",
        conflicts_with = "every"
    )]
    cron: Option<String>,
    /// IANA time zone of the cron expression, for example Europe/Berlin [default: UTC]
    #[arg(long, value_name = "ZONE", requires = "cron")]
    time_zone: Option<String>,
    /// Time between two starts, for example 90m
    #[arg(long, value_name = "DURATION")]
    every: Option<String>,
    /// By how much the times are later than the multiples of --every since 1970
    #[arg(long, value_name = "DURATION", requires = "every")]
    offset: Option<String>,
    /// No time before this, for example 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// No time after this
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

#[derive(Debug, Args)]
struct Create {
    /// The schedule's name; instances are called NAME-TIME
    name: String,
    /// The orchestration to start
    orchestration: String,
    #[command(flatten)]
    times: Times,
    /// Input: JSON, @FILE, or @- for standard input [default: null]
    #[arg(long, value_name = "JSON|@FILE")]
    input: Option<String>,
    /// Tag of the instances; may be given up to 16 times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tags::parse)]
    tags: Vec<Tag>,
    /// What to do if the last instance has not ended: skip, queueOne, allow, terminate or cancel [default: skip]
    #[arg(long, value_name = "POLICY")]
    overlap: Option<String>,
    /// How late a time may be started, for example after the host was down [default: 24h]
    #[arg(long, value_name = "DURATION")]
    catch_up: Option<String>,
    /// By how much a start may be delayed, at most
    #[arg(long, value_name = "DURATION")]
    jitter: Option<String>,
    /// Create it paused
    #[arg(long)]
    paused: bool,
    /// Replace the definition of a schedule of this name
    #[arg(long)]
    replace: bool,
}

#[derive(Debug, Args)]
struct Pause {
    #[command(flatten)]
    name: Name,
    /// A note for people
    #[arg(long)]
    note: Option<String>,
}

#[derive(Debug, Args)]
struct Trigger {
    #[command(flatten)]
    name: Name,
    /// Instead of the schedule's policy: allow, terminate, cancel or skip
    #[arg(long, value_name = "POLICY")]
    overlap: Option<String>,
    /// Idempotency key: a repeated request with the same key starts nothing again
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    name: String,
    orchestration: String,
    input: Option<Box<RawValue>>,
    #[serde(default)]
    tags: BTreeMap<String, String>,
    cron: Option<String>,
    time_zone: Option<String>,
    interval: Option<String>,
    offset: Option<String>,
    overlap: String,
    catch_up_window: String,
    jitter: Option<String>,
    paused: bool,
    note: Option<String>,
    next_times: Vec<String>,
    queued_time: Option<String>,
    refused: Option<Refused>,
    counts: Counts,
    #[serde(default)]
    recent: Vec<Occasion>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Refused {
    time: String,
    attempts: u32,
    retry_time: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Counts {
    started: u64,
    skipped: u64,
    missed: u64,
    failed: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Occasion {
    time: String,
    times: u64,
    outcome: String,
    instance_id: Option<String>,
    reason: Option<String>,
}

impl Schedule {
    pub(super) async fn run(
        self,
        client: impl FnOnce() -> Result<Client, CliError>,
        output: &Output,
    ) -> Result<(), CliError> {
        match self.command {
            ScheduleCommand::Next(times) => times.show_next(output),
            ScheduleCommand::Create(create) => create.run(&client()?, output).await,
            ScheduleCommand::List => list(&client()?, output).await,
            ScheduleCommand::Show(name) => name.show(&client()?, output).await,
            ScheduleCommand::Pause(pause) => pause.run(&client()?, output).await,
            ScheduleCommand::Resume(name) => name.resume(&client()?, output).await,
            ScheduleCommand::Trigger(trigger) => trigger.run(&client()?, output).await,
            ScheduleCommand::Delete(name) => name.delete(&client()?, output).await,
        }
    }
}

impl Times {
    /// The members of the request.
    fn add_to(self, request: &mut Map<String, Value>) {
        let members = [
            ("cron", self.cron),
            ("timeZone", self.time_zone),
            ("interval", self.every),
            ("offset", self.offset),
            ("startTime", self.from),
            ("endTime", self.until),
        ];
        for (name, text) in members {
            if let Some(text) = text {
                request.insert(name.into(), text.into());
            }
        }
    }

    fn spec(&self) -> Result<Spec, CliError> {
        let duration = |text: Option<&str>| text.map_or(Ok(Default::default()), parse_duration);
        let spec = match (&self.cron, &self.every) {
            (Some(cron), _) => Spec::cron(cron, self.time_zone.as_deref().unwrap_or("UTC")),
            (None, every) => {
                let every =
                    duration(every.as_deref()).map_err(|problem| CliError::Usage(format!("--every {problem}")))?;
                let offset = duration(self.offset.as_deref());
                let offset = offset.map_err(|problem| CliError::Usage(format!("--offset {problem}")))?;
                Spec::interval(every, offset)
            }
        };
        let spec = spec.map_err(|(parameter, problem)| {
            let option = match parameter {
                "interval" => "every",
                "timeZone" => "time-zone",
                other => other,
            };
            CliError::Usage(format!("--{option} {problem}"))
        })?;
        let time = |option: &str, text: &Option<String>| {
            let read = |text: &String| {
                date_time::parse(text)
                    .ok_or_else(|| CliError::Usage(format!("--{option} must be a time such as 2026-01-31T12:00:00Z")))
            };
            text.as_ref().map(read).transpose()
        };
        Ok(spec.between(time("from", &self.from)?, time("until", &self.until)?))
    }

    fn show_next(&self, output: &Output) -> Result<(), CliError> {
        let spec = self.spec()?;
        let mut after = SystemClock.now();
        for _ in 0..SHOWN_TIMES {
            let Some(next) = spec.next(after) else { break };
            match output.json() {
                true => output.value(&Value::from(next.to_string()))?,
                false => output.line(&next.to_string())?,
            }
            after = next;
        }
        Ok(())
    }
}

impl Create {
    async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let name = self.name.clone();
        let call = client
            .call(Method::PUT, &["schedules", &name])
            .query_if("ifAbsent", (!self.replace).then_some("true"))
            .json(Some(self.request()?));
        let answer = call.send().await?;
        if output.json() {
            return output.object(answer.raw()?);
        }
        let row = read(answer.raw()?)?;
        match row.next_times.first() {
            Some(next) => output.line(&format!("schedule {} starts next at {next}", clean(&name))),
            None => output.line(&format!(
                "schedule {} is stored, and starts nothing for now",
                clean(&name)
            )),
        }
    }

    /// The body of the request. The input goes into it as it is.
    fn request(self) -> Result<String, CliError> {
        let mut request = Map::new();
        request.insert("orchestration".into(), self.orchestration.into());
        self.times.add_to(&mut request);
        let options = [
            ("overlap", self.overlap),
            ("catchUpWindow", self.catch_up),
            ("jitter", self.jitter),
        ];
        for (name, text) in options {
            if let Some(text) = text {
                request.insert(name.into(), text.into());
            }
        }
        if self.paused {
            request.insert("paused".into(), true.into());
        }
        let tags = self.tags.iter().map(|tag| (tag.key().to_owned(), tag.value().into()));
        request.insert("tags".into(), Value::Object(tags.collect()));
        let mut text = Value::Object(request).to_string();
        if let Some(input) = input::payload(self.input.as_deref())? {
            text.truncate(text.len() - 1);
            text.push_str(&format!(",\"input\":{input}}}"));
        }
        Ok(text)
    }
}

async fn list(client: &Client, output: &Output) -> Result<(), CliError> {
    let page = |cursor| client.get(&["schedules"]).query_if("cursor", cursor);
    let schedules = all_items("schedules", page).await?;
    if output.json() {
        return schedules.iter().try_for_each(|schedule| output.object(schedule));
    }
    if schedules.is_empty() {
        return output.line("no schedules");
    }
    let rows = schedules.iter().map(|schedule| {
        let row = read(schedule)?;
        let next = row.next_times.first().cloned();
        let times = row.times();
        Ok([
            row.name,
            row.orchestration,
            times,
            if row.paused {
                "paused".into()
            } else {
                next.unwrap_or_default()
            },
            row.counts.started.to_string(),
            row.counts.skipped.to_string(),
            (row.counts.missed + row.counts.failed).to_string(),
        ])
    });
    let rows = rows.collect::<Result<Vec<_>, CliError>>()?;
    let heads = [
        "Schedule",
        "Orchestration",
        "Times",
        "Next",
        "Started",
        "Skipped",
        "Missed or failed",
    ];
    output.table(heads, rows)
}

impl Name {
    async fn show(&self, client: &Client, output: &Output) -> Result<(), CliError> {
        let answer = client.get(&["schedules", &self.name]).send().await?;
        if output.json() {
            return output.object(answer.raw()?);
        }
        read(answer.raw()?)?.show(output)
    }

    async fn resume(&self, client: &Client, output: &Output) -> Result<(), CliError> {
        let answer = client
            .call(Method::POST, &["schedules", &self.name, "resume"])
            .send()
            .await?;
        match output.json() {
            true => output.object(answer.raw()?),
            false => output.line(&format!("resumed {}", clean(&self.name))),
        }
    }

    async fn delete(&self, client: &Client, output: &Output) -> Result<(), CliError> {
        client.call(Method::DELETE, &["schedules", &self.name]).send().await?;
        match output.json() {
            true => Ok(()),
            false => output.line(&format!("deleted {}", clean(&self.name))),
        }
    }
}

impl Pause {
    async fn run(&self, client: &Client, output: &Output) -> Result<(), CliError> {
        let call = client
            .call(Method::POST, &["schedules", &self.name.name, "pause"])
            .query_if("note", self.note.as_deref());
        let answer = call.send().await?;
        match output.json() {
            true => output.object(answer.raw()?),
            false => output.line(&format!("paused {}", clean(&self.name.name))),
        }
    }
}

impl Trigger {
    async fn run(&self, client: &Client, output: &Output) -> Result<(), CliError> {
        let call = client
            .call(Method::POST, &["schedules", &self.name.name, "trigger"])
            .query_if("overlap", self.overlap.as_deref())
            .header_if("idempotency-key", self.idempotency_key.as_deref());
        let answer = call.send().await?;
        if output.json() {
            return output.object(answer.raw()?);
        }
        let links: InstanceLinks = answer.read()?;
        output.line(&format!("started {}", clean(&links.id)))
    }
}

impl Row {
    /// Its times, as they were given.
    fn times(&self) -> String {
        let zone = self.time_zone.as_deref().filter(|zone| *zone != "UTC");
        let suffix = |word: &str, text: Option<&str>| text.map_or(String::new(), |text| format!(" {word}{text}"));
        match (&self.cron, &self.interval) {
            (Some(cron), _) => format!("{cron}{}", suffix("", zone)),
            (None, Some(every)) => format!("every {every}{}", suffix("+ ", self.offset.as_deref())),
            (None, None) => String::new(),
        }
    }

    fn show(&self, output: &Output) -> Result<(), CliError> {
        output.line(&format!("{} starts {}", clean(&self.name), clean(&self.orchestration)))?;
        output.line(&format!("times    {}", clean(&self.times())))?;
        if let Some(input) = &self.input {
            output.line(&format!("input    {}", clean(input.get())))?;
        }
        if !self.tags.is_empty() {
            output.line(&format!("tags     {}", tags::shown(&self.tags)))?;
        }
        output.line(&format!(
            "overlap  {}, catch-up window {}",
            self.overlap, self.catch_up_window
        ))?;
        if let Some(jitter) = &self.jitter {
            output.line(&format!("jitter   {jitter}"))?;
        }
        if self.paused {
            output.line(&format!("paused   {}", clean(self.note.as_deref().unwrap_or_default())))?;
        }
        for next in &self.next_times {
            output.line(&format!("next     {next}"))?;
        }
        if let Some(queued) = &self.queued_time {
            output.line(&format!("queued   {queued}, until the last instance has ended"))?;
        }
        if let Some(Refused {
            time,
            attempts,
            retry_time,
            reason,
        }) = &self.refused
        {
            let tries = format!("refused {attempts} times, tried again at {retry_time}");
            output.line(&format!("refused  {time}: {} ({tries})", clean(reason)))?;
        }
        let Counts {
            started,
            skipped,
            missed,
            failed,
        } = &self.counts;
        output.line(&format!(
            "counts   {started} started, {skipped} skipped, {missed} missed, {failed} failed"
        ))?;
        for occasion in &self.recent {
            let detail = occasion
                .instance_id
                .as_deref()
                .or(occasion.reason.as_deref())
                .unwrap_or_default();
            let times = match occasion.times {
                1 => String::new(),
                times => format!(" ({times} times)"),
            };
            output.line(&format!(
                "{}  {}{times} {}",
                occasion.time,
                occasion.outcome,
                clean(detail)
            ))?;
        }
        Ok(())
    }
}

fn read(schedule: &RawValue) -> Result<Row, CliError> {
    serde_json::from_str(schedule.get())
        .map_err(|error| CliError::failed(format!("the answer cannot be read: {error}")))
}
