//! `windlass purge`: removes one ended instance, or all that ended before a time, optionally with their
//! sub-orchestrations.

use std::time::SystemTime;

use clap::Args;
use http::Method;

use super::{client::Client, error::CliError, output::Output};
use crate::http::{Purged, parse_duration};
use crate::model::date_time;

/// Arguments of `purge`.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["id", "ended_before"]))]
pub(super) struct Purge {
    /// The instance's id
    id: Option<String>,
    /// All instances that ended before this time, or at least this long ago, for example 7d
    #[arg(long, value_name = "TIME")]
    ended_before: Option<String>,
    /// With --ended-before: only these states, separated by commas
    #[arg(long, value_name = "STATUS", requires = "ended_before")]
    status: Option<String>,
    /// Also purge sub-orchestrations, recursively. One that has not ended keeps its parents from being purged
    #[arg(long)]
    recursive: bool,
}

impl Purge {
    pub(super) async fn run(self, client: &Client, output: &Output) -> Result<(), CliError> {
        let call = match (&self.id, &self.ended_before) {
            (Some(id), _) => client.call(Method::DELETE, &["instances", id]),
            (None, Some(before)) => client
                .call(Method::DELETE, &["instances"])
                .query("endedBefore", point_in_time(before)?)
                .query_if("runtimeStatus", self.status.as_deref()),
            (None, None) => {
                return Err(CliError::Usage(
                    "no instances selected: pass an id or --ended-before".into(),
                ));
            }
        };
        let recursive = self.recursive.then_some("true");
        let answer = call.query_if("recursive", recursive).send().await?;
        if output.json() {
            return output.object(answer.raw()?);
        }
        let Purged {
            instances_deleted,
            instances_left,
        } = answer.read()?;
        match instances_left {
            Some(left) if left > 0 => output.line(&format!(
                "removed {instances_deleted}; {left} kept because sub-orchestrations have not ended"
            )),
            _ => output.line(&format!("removed {instances_deleted}")),
        }
    }
}

/// Parses a date-time, or a duration before now.
fn point_in_time(text: &str) -> Result<String, CliError> {
    if date_time::parse(text).is_some() {
        return Ok(text.to_owned());
    }
    let ago = parse_duration(text).map_err(|_| {
        CliError::Usage(format!(
            "{text:?} is neither a time such as 2026-01-31T12:00:00Z nor a duration such as 7d"
        ))
    })?;
    let time = SystemTime::now()
        .checked_sub(ago)
        .filter(|time| *time >= SystemTime::UNIX_EPOCH)
        .ok_or_else(|| CliError::Usage(format!("{text:?} is too long ago")))?;
    Ok(humantime::format_rfc3339_millis(time).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_a_date_time_or_a_duration() {
        for time in [
            "2026-01-31T12:00:00Z",
            "2026-01-31T12:00:00+02:00",
            "2026-01-31T12:00:00",
        ] {
            assert_eq!(point_in_time(time).unwrap(), time);
        }
        let week_ago = humantime::parse_rfc3339(&point_in_time("7d").unwrap()).unwrap();
        let days = SystemTime::now().duration_since(week_ago).unwrap().as_secs() / 86_400;
        assert_eq!(days, 7);
        for text in ["yesterday", "3000y"] {
            assert!(point_in_time(text).is_err(), "{text}");
        }
    }
}
