//! The filters of `list`, and of commands for many instances.

use std::time::SystemTime;

use clap::Args;

use super::{client::Call, error::CliError, tags};
use crate::{
    http::parse_duration,
    model::{Tag, date_time},
};

/// Arguments that select instances. An instance must match all of them.
#[derive(Debug, Args)]
pub(super) struct Filter {
    /// Only these states, separated by commas
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Only this orchestration
    #[arg(long)]
    name: Option<String>,
    /// Only ids that start with this text
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,
    /// Only instances with this tag; if given several times, with all of them
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tags::parse)]
    tags: Vec<Tag>,
    /// Created at or after this time, or at most this long ago, for example 7d
    #[arg(long, value_name = "TIME")]
    created_after: Option<String>,
    /// Created at or before this time, or at least this long ago
    #[arg(long, value_name = "TIME")]
    created_before: Option<String>,
    /// Changed at or after this time, or at most this long ago
    #[arg(long, value_name = "TIME")]
    updated_after: Option<String>,
    /// Last changed at or before this time, or at least this long ago
    #[arg(long, value_name = "TIME")]
    updated_before: Option<String>,
}

impl Filter {
    /// Whether no argument is given.
    pub(super) fn is_empty(&self) -> bool {
        let texts = [&self.status, &self.name, &self.prefix];
        let times = [
            &self.created_after,
            &self.created_before,
            &self.updated_after,
            &self.updated_before,
        ];
        self.tags.is_empty() && texts.into_iter().chain(times).all(Option::is_none)
    }

    /// Adds the arguments to a request.
    pub(super) fn add(&self, call: Call) -> Result<Call, CliError> {
        let time = |text: &Option<String>| text.as_deref().map(point_in_time).transpose();
        let call = call
            .query_if("runtimeStatus", self.status.as_deref())
            .query_if("name", self.name.as_deref())
            .query_if("instanceIdPrefix", self.prefix.as_deref())
            .query_if("createdTimeFrom", time(&self.created_after)?)
            .query_if("createdTimeTo", time(&self.created_before)?)
            .query_if("lastUpdatedTimeFrom", time(&self.updated_after)?)
            .query_if("lastUpdatedTimeTo", time(&self.updated_before)?);
        Ok(tags::add(&self.tags, call))
    }
}

/// Parses a date-time, or a duration before now.
pub(super) fn point_in_time(text: &str) -> Result<String, CliError> {
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

/// Checks that a command names one instance, or selects many.
pub(super) fn check_selection(id: Option<&str>, is_filtered: bool, all: bool) -> Result<(), CliError> {
    let problem = match (id, is_filtered || all) {
        (None, false) => "no instances selected: pass an id, a filter such as --tag, or --all",
        (Some(_), true) => "pass either an id or filters",
        _ => return Ok(()),
    };
    Err(CliError::Usage(problem.into()))
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

    #[test]
    fn a_command_names_one_instance_or_selects_many() {
        assert!(check_selection(Some("a"), false, false).is_ok());
        assert!(check_selection(None, true, false).is_ok());
        assert!(check_selection(None, false, true).is_ok());
        assert!(check_selection(None, false, false).is_err());
        assert!(check_selection(Some("a"), true, false).is_err());
        assert!(check_selection(Some("a"), false, true).is_err());
    }
}
