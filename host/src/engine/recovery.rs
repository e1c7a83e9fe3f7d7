//! What a host does before it serves requests: records what its previous run was running, lets the suspects of an unclean
//! end run by themselves, and wakes instances that have work.

use std::time::Duration;

use super::blame::{self, Verdict};
use super::environment::Environment;
use super::flight_recorder::{Flight, LeftFlight};
use super::mail::Mail;
use super::owners::Owners;
use crate::model::{Failure, InstanceNumber, StuckReason, TaskId, TenantId, Timestamp, failure::types};
use crate::store::{ATTEMPTS_KEPT, AttemptRow, AttemptsSoFar, Error, Store};

/// Instances to wake per query.
const PAGE: u32 = 1_000;

/// The delay before the next try if the store fails.
const TROUBLE_PAUSE: Duration = Duration::from_secs(1);

/// What is known about the end of the previous run.
pub(super) struct UncleanEnds<'a> {
    /// What was running, if that run ended uncleanly.
    pub left: &'a [LeftFlight],
    /// An instance whose turn ran by itself at this many unclean ends in a row becomes stuck.
    pub max_in_a_row: u32,
    /// An attempt that ran by itself at this many unclean ends in a row counts as failed.
    pub max_cut_offs: u32,
}

/// What [`note_flights`] found.
#[derive(Default)]
pub(super) struct Noted {
    /// Whether something was running that is not stored: the first turn of an instance that was about to be created.
    pub not_stored: bool,
    /// The suspects, in groups that run one after the other.
    pub groups: Vec<Vec<Suspect>>,
}

/// Something that may have ended the previous run, and runs by itself first.
pub(super) struct Suspect {
    tenant: TenantId,
    left: LeftFlight,
}

/// Records what was running when the previous run ended uncleanly. An attempt is recorded as cut off. What ended the host
/// too often while it ran by itself is to blame: an instance becomes stuck, and an attempt counts as failed. The other
/// suspects run first, so prepares their quiet periods.
///
/// # Errors
/// If the store fails. The recorder is not cleared then, so the next start sees the same flights.
pub(super) async fn note_flights(environment: &Environment, unclean: UncleanEnds<'_>) -> Result<Noted, Error> {
    let Verdict { groups, innocent } = blame::judge(unclean.left);
    let mut noted = Noted::default();
    for left in innocent {
        note(environment, &unclean, left, &mut noted).await?;
    }
    for group in groups {
        let mut suspects = Vec::new();
        for left in group {
            suspects.extend(note(environment, &unclean, left, &mut noted).await?);
        }
        if !suspects.is_empty() {
            noted.groups.push(suspects);
        }
    }
    environment.recorder.clear();
    if !noted.groups.is_empty() {
        let suspects = noted.groups.iter().flatten().map(|suspect| &suspect.left);
        environment.quiet_periods.prepare(suspects);
    }
    Ok(noted)
}

/// Records one flight. Returns it unless it cannot run again.
async fn note(
    environment: &Environment,
    unclean: &UncleanEnds<'_>,
    left: LeftFlight,
    noted: &mut Noted,
) -> Result<Option<Suspect>, Error> {
    let Environment { store, stats, .. } = environment;
    let (flight, now) = (left.flight, environment.clock.now());
    let record = match store.load(flight.instance).await {
        Err(Error::Damaged(_)) => return Ok(None),
        loaded => loaded?,
    };
    let Some(record) = record else {
        noted.not_stored |= flight.task.is_none();
        return Ok(None);
    };
    if record.status.has_ended() {
        return Ok(None);
    }
    let may_run = match flight.task {
        None if u32::from(left.ends.alone) >= unclean.max_in_a_row => {
            store
                .mark_stuck(flight.instance, took_host_down(left.ends.alone), now)
                .await?;
            stats.stuck.increment();
            false
        }
        None => true,
        Some(task) => {
            let Some(cut_off) = cut_off(store, left, task).await? else {
                return Ok(None);
            };
            let is_blamed = cut_off.is_blamed(unclean.max_cut_offs);
            let row = cut_off.row(is_blamed, now);
            store
                .note_attempt(flight.instance, row, Vec::new(), u64::MAX, None)
                .await?;
            stats.attempts.cut_off.increment();
            !is_blamed && flight.execution == record.execution
        }
    };
    let tenant = record.tenant;
    Ok(may_run.then_some(Suspect { tenant, left }))
}

fn took_host_down(ends: u8) -> StuckReason {
    StuckReason {
        code: "took-host-down".into(),
        message: format!("the host ended uncleanly {ends} times in a row while only one of its turns was running"),
    }
}

/// An attempt that the end of the previous run cut off.
struct CutOff {
    left: LeftFlight,
    task: TaskId,
    so_far: AttemptsSoFar,
}

async fn cut_off(store: &Store, left: LeftFlight, task: TaskId) -> Result<Option<CutOff>, Error> {
    let Flight {
        instance, execution, ..
    } = left.flight;
    let found = store.attempts_so_far(instance, execution, &[task]).await;
    match found {
        Ok(mut found) => Ok(Some(CutOff {
            left,
            task,
            so_far: found.remove(&task).unwrap_or_default(),
        })),
        Err(Error::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl CutOff {
    /// Whether it ended the host too often while it ran by itself.
    fn is_blamed(&self, max_cut_offs: u32) -> bool {
        let limit = max_cut_offs.min(ATTEMPTS_KEPT);
        // A host that ends before it clears the recorder leaves the same flights to the next one. The attempt is blamed
        // only once: afterwards no attempt that was cut off is recorded for it.
        u32::from(self.left.ends.alone) >= limit && self.so_far.cut_offs + 1 >= limit
    }

    /// The row of this attempt. It counts as a failure if the attempt is to blame.
    fn row(&self, is_blamed: bool, now: Timestamp) -> AttemptRow {
        let failure = if is_blamed {
            let ends = self.left.ends.alone;
            let message = format!("the host ended {ends} times in a row while only this attempt was running");
            Failure::new(types::POISONOUS, message)
        } else {
            Failure::new(types::CUT_OFF, "the host ended while the attempt was running")
        };
        AttemptRow {
            execution: self.left.flight.execution,
            task: self.task,
            ordinal: self.so_far.noted + 1,
            number: self.so_far.failed + 1,
            cut_off: !is_blamed,
            failure,
            fuel: 0,
            started_at: now,
            ended_at: now,
            // The retry policy is in the history; it is applied when the call is resumed.
            next_at: (!is_blamed).then_some(now),
        }
    }
}

/// Lets each group of suspects run by itself for a while, and then everything else.
pub(super) async fn run_suspects(environment: &Environment, owners: &Owners, groups: Vec<Vec<Suspect>>) {
    let periods = &environment.quiet_periods;
    for group in groups {
        let left: Vec<_> = group.iter().map(|suspect| suspect.left).collect();
        let length = blame::quiet_for(&left);
        tracing::warn!(
            suspects = group.len(),
            seconds = length.as_secs(),
            "the previous run ended uncleanly; what was running runs by itself first"
        );
        periods.begin(left.iter().map(|left| left.flight));
        for suspect in &group {
            owners.deliver(suspect.tenant, suspect.left.flight.instance, Mail::Wake);
        }
        let _ = tokio::time::timeout(length, periods.all_ended()).await;
    }
    periods.end();
}

/// Wakes all instances that have work, and tries again if the store fails. Returns false if the host shuts down.
pub(super) async fn wake_after_quiet_periods(store: &Store, owners: &Owners) -> bool {
    loop {
        match wake(store, owners).await {
            Ok(_) => return true,
            Err(Error::Closed | Error::NotOwner) => return false,
            Err(error) => {
                tracing::error!(%error, "the instances of the previous run could not be resumed; trying again");
                tokio::time::sleep(TROUBLE_PAUSE).await;
            }
        }
    }
}

/// Wakes all instances with messages or activities in flight. Timers wake the rest when they are due.
///
/// # Errors
/// If the store fails.
pub(super) async fn wake(store: &Store, owners: &Owners) -> Result<u64, Error> {
    let mut woken = 0;
    let mut after: Option<InstanceNumber> = None;
    loop {
        let page = store.to_wake_at_start(after, PAGE).await?;
        for (tenant, instance) in &page {
            owners.deliver(*tenant, *instance, Mail::Wake);
        }
        woken += page.len() as u64;
        after = page.last().map(|(_, instance)| *instance);
        if page.len() < PAGE as usize {
            if woken > 0 {
                tracing::info!(instances = woken, "resumed instances of the previous run");
            }
            return Ok(woken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::flight_recorder::{EndsInARow, Phase};
    use crate::model::ExecutionNumber;

    /// Records the end of a host at which an attempt was running that was alone at this many ends.
    fn note(so_far: &mut AttemptsSoFar, alone: u8, max_cut_offs: u32) -> AttemptRow {
        let left = LeftFlight {
            flight: Flight {
                instance: InstanceNumber(1),
                execution: ExecutionNumber::FIRST,
                task: Some(TaskId(1)),
            },
            phase: Phase::QuietPeriod,
            ends: EndsInARow { all: 9, alone },
        };
        let cut_off = CutOff {
            left,
            task: TaskId(1),
            so_far: so_far.clone(),
        };
        let row = cut_off.row(cut_off.is_blamed(max_cut_offs), Timestamp(7));
        so_far.add(&row);
        row
    }

    #[test]
    fn a_blamed_attempt_counts_as_failed() {
        let mut so_far = AttemptsSoFar::default();
        let alone = [0, 0, 1, 2, 3, 0];
        let noted: Vec<_> = alone.map(|alone| note(&mut so_far, alone, 3)).into();
        let seen: Vec<_> = noted.iter().map(|row| (row.ordinal, row.number, row.cut_off)).collect();
        let blamed = (5, 1, false);
        assert_eq!(
            seen,
            [
                (1, 1, true),
                (2, 1, true),
                (3, 1, true),
                (4, 1, true),
                blamed,
                (6, 2, true)
            ]
        );
        assert!(noted[4].failure.error_type == types::POISONOUS && noted[4].next_at.is_none());
        assert_eq!((so_far.failed, so_far.cut_offs), (1, 1));
        // The retry policy decides on the failure.
        assert_eq!(
            so_far.undecided,
            Some(Box::new((noted[4].failure.clone(), Timestamp(7))))
        );
    }

    #[test]
    fn an_attempt_that_was_not_alone_is_never_blamed() {
        let mut so_far = AttemptsSoFar::default();
        assert!((0..30).all(|_| note(&mut so_far, 0, 1).cut_off));
    }

    #[test]
    fn the_limit_is_at_most_the_number_of_attempts_kept() {
        let mut so_far = AttemptsSoFar::default();
        let kept = u8::try_from(ATTEMPTS_KEPT).unwrap();
        let noted = (1..=kept).map(|alone| note(&mut so_far, alone, u32::MAX).cut_off);
        assert_eq!(noted.filter(|cut_off| !cut_off).count(), 1);
    }

    #[test]
    fn an_end_recorded_twice_is_blamed_once() {
        let mut so_far = AttemptsSoFar::default();
        (1..=2).for_each(|alone| drop(note(&mut so_far, alone, 3)));
        let failure = note(&mut so_far, 3, 3).failure;
        // The host ended before it cleared the recorder.
        let again = note(&mut so_far, 3, 3);
        assert!(again.cut_off);
        assert_eq!(so_far.undecided, Some(Box::new((failure, Timestamp(7)))));
        assert_eq!((so_far.noted, so_far.failed), (4, 1));
    }
}
