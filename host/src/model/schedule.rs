//! Schedules: orchestrations that the host starts at regular times.
//!
//! Here is all that is computed: the [times](Spec) that a schedule selects, and a state machine ([`ScheduleState`])
//! that decides what becomes of each. Both are pure. `engine/schedules` reads and writes the rows and starts instances.

mod cron;
mod spec;
mod state;
mod zone;

use std::{collections::BTreeMap, fmt, str::FromStr, sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

pub use self::{
    cron::{Cron, MAX_CRON_BYTES},
    spec::{Spec, StoredSpec, Timing},
    state::{
        Counts, Due, LastStart, MAX_NOTE_BYTES, MAX_REASON_BYTES, Occasion, OccasionOutcome, RECENT_KEPT, Refused,
        Running, ScheduleState, Step,
    },
    zone::Zone,
};
use super::{FunctionName, InstanceId, Payload, Tags, TenantId, Timestamp};

/// Maximum length of the name of a schedule, in bytes. With a time behind it, it is an instance id.
pub const MAX_SCHEDULE_NAME_BYTES: usize = 100;

/// How late a time may be started, unless the schedule says otherwise.
pub const DEFAULT_CATCH_UP: Duration = Duration::from_secs(24 * 60 * 60);

/// The limits of the catch-up window. Less than ten seconds would lose times to a short pause of the host.
pub const CATCH_UP_LIMITS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(366 * 24 * 60 * 60));

/// The largest jitter.
pub const MAX_JITTER: Duration = Duration::from_secs(24 * 60 * 60);

/// The name of a schedule: letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ScheduleName(Arc<str>);

impl ScheduleName {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The id of the instance for a time that the schedule selected, such as `report-2026-11-29T10:00:00Z`.
    pub fn instance_at(&self, nominal: Timestamp) -> InstanceId {
        let text = Timestamp(nominal.0 / 1_000 * 1_000).to_string();
        self.instance(&text.replace(".000Z", "Z"))
    }

    /// The id of an instance that is started by hand, such as `report-2026-11-29T10:00:00.123Z`. It always has
    /// milliseconds, so that it is never that of a selected time.
    pub fn instance_by_hand(&self, at: Timestamp) -> InstanceId {
        self.instance(&at.to_string())
    }

    fn instance(&self, time: &str) -> InstanceId {
        format!("{self}-{time}")
            .parse()
            .expect("the name and a time are a valid id")
    }
}

impl fmt::Display for ScheduleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for ScheduleName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = text.len() <= MAX_SCHEDULE_NAME_BYTES
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "must be 1 to {MAX_SCHEDULE_NAME_BYTES} letters, digits, dots, underscores and hyphens, beginning with \
                 a letter or digit"
            ))
        }
    }
}

/// What to do when a time comes and the instance that the schedule started last has not ended.
///
/// Stored by position: new policies only at the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Overlap {
    /// Start nothing.
    #[default]
    Skip,
    /// Start one more when the running one has ended; further times are skipped meanwhile.
    QueueOne,
    /// Start another one.
    Allow,
    /// Terminate the running one, then start.
    Terminate,
    /// Ask the running one to cancel itself, and start when it has ended.
    Cancel,
}

impl Overlap {
    /// All policies.
    pub const ALL: [Self; 5] = [Self::Skip, Self::QueueOne, Self::Allow, Self::Terminate, Self::Cancel];

    /// The name over HTTP and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Skip => "skip",
            Self::QueueOne => "queueOne",
            Self::Allow => "allow",
            Self::Terminate => "terminate",
            Self::Cancel => "cancel",
        }
    }

    /// Whether it ends the running instance.
    pub fn ends_running(self) -> bool {
        match self {
            Self::Skip | Self::QueueOne | Self::Allow => false,
            Self::Terminate | Self::Cancel => true,
        }
    }
}

impl FromStr for Overlap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|policy| policy.name() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("must be one of {names}, not {text:?}")
        })
    }
}

/// What a client defined.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// The orchestration to start.
    pub function: FunctionName,
    /// Its input.
    pub input: Payload,
    /// The tags of the instances.
    pub tags: Tags,
    /// The times.
    pub spec: Spec,
    /// What to do when the last instance has not ended.
    pub overlap: Overlap,
    /// How late a time may be started.
    pub catch_up: Duration,
    /// By how much a start may be delayed, at most.
    pub jitter: Duration,
}

/// A schedule as it is stored: what was given, in types whose format is fixed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredSchedule {
    function: FunctionName,
    input: Payload,
    tags: BTreeMap<String, String>,
    spec: StoredSpec,
    overlap: Overlap,
    catch_up_ms: u64,
    jitter_ms: u64,
}

impl Schedule {
    /// What is stored of it.
    pub fn stored(&self) -> StoredSchedule {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let tags = self.tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
        StoredSchedule {
            function: self.function.clone(),
            input: self.input.clone(),
            tags: tags.collect(),
            spec: self.spec.stored(),
            overlap: self.overlap,
            catch_up_ms: millis(self.catch_up),
            jitter_ms: millis(self.jitter),
        }
    }

    /// The schedule that was stored.
    ///
    /// # Errors
    /// If its times cannot be read, because the rows are damaged or the time zone is not known any more.
    pub fn from_stored(stored: StoredSchedule) -> Result<Self, String> {
        Ok(Self {
            spec: Spec::from_stored(stored.spec)?,
            function: stored.function,
            input: stored.input,
            tags: Tags::from_stored(stored.tags),
            overlap: stored.overlap,
            catch_up: Duration::from_millis(stored.catch_up_ms),
            jitter: Duration::from_millis(stored.jitter_ms),
        })
    }

    /// The first selected time after `after`, and when it is due: later by the jitter, but before the next one.
    ///
    /// The jitter follows from the tenant, the name and the time, so it is the same after a restart.
    pub fn next_due(&self, tenant: TenantId, name: &ScheduleName, after: Timestamp) -> Option<Due> {
        let nominal = self.spec.next(after)?;
        let mut jitter = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        if jitter > 0
            && let Some(following) = self.spec.next(nominal)
        {
            jitter = jitter.min(following.0 - nominal.0);
        }
        let delay = match jitter {
            0 => 0,
            jitter => spread(tenant, name, nominal) % jitter,
        };
        Some(Due {
            nominal,
            at: nominal.after(Duration::from_millis(delay)),
        })
    }
}

/// A number that looks random: FNV-1a over the tenant, the name and the time, mixed by the last steps of SplitMix64.
fn spread(tenant: TenantId, name: &ScheduleName, at: Timestamp) -> u64 {
    let (tenant, at) = (tenant.0.to_be_bytes(), at.0.to_be_bytes());
    let bytes = tenant.iter().chain(name.as_str().as_bytes()).chain(&at);
    super::partition::mix(super::partition::fnv_1a(bytes))
}

#[cfg(test)]
mod tests;
