//! What a host does before it serves requests: records what its previous run was running, and wakes instances that have
//! work.

use super::environment::Environment;
use super::flight_recorder::Flight;
use super::mail::Mail;
use super::owners::Owners;
use crate::model::{Failure, InstanceNumber, StuckReason, TaskId, Timestamp, failure::types};
use crate::store::{ATTEMPTS_KEPT, AttemptRow, AttemptsSoFar, Error, Store};

/// Instances to wake per query.
const PAGE: u32 = 1_000;

/// How many attempts may be blamed for one unclean end. If more were running at too many ends in a row, most of them
/// are innocent, and the next start runs [fewer at a time](super::activities::Suspects).
const MAX_BLAMED: usize = 2;

/// An attempt that was running at this many unclean ends in a row is blamed even if many others were running too.
/// Otherwise a host with many attempts could crash again and again.
const BLAMED_AT_LAST: u32 = ATTEMPTS_KEPT;

/// What is known about the end of the previous run.
pub(super) struct UncleanEnds<'a> {
    /// What was running, if that run ended uncleanly.
    pub flights: &'a [Flight],
    /// An instance whose turn was running at this many unclean ends in a row becomes stuck.
    pub max_in_a_row: u32,
    /// An attempt that was running at this many unclean ends in a row may be blamed.
    pub max_cut_offs: u32,
}

/// Records what was running when the previous run ended uncleanly. An instance whose turn was running at too many
/// unclean ends in a row becomes stuck, so that it cannot crash the host again; an attempt is recorded as cut off or as
/// failed. Returns whether something was running that is not stored: the first turn of an instance that was about to be
/// created.
///
/// # Errors
/// If the store fails. The recorder is not cleared then, so the next start sees the same flights.
pub(super) async fn note_flights(environment: &Environment, unclean: UncleanEnds<'_>) -> Result<bool, Error> {
    let UncleanEnds {
        flights,
        max_in_a_row,
        max_cut_offs,
    } = unclean;
    let Environment { store, stats, .. } = environment;
    let now = environment.clock.now();
    let mut not_stored = false;
    let mut attempts = Vec::new();
    for flight in flights {
        match flight.task {
            None => {
                let ends = store.count_unclean_end(flight.instance).await?;
                not_stored |= ends.is_none() && store.load(flight.instance).await?.is_none();
                if let Some(ends) = ends.filter(|ends| *ends >= max_in_a_row) {
                    let message =
                        format!("the host ended uncleanly {ends} times in a row while one of its turns was running");
                    let reason = StuckReason {
                        code: "took-host-down".into(),
                        message,
                    };
                    store.mark_stuck(flight.instance, reason, now).await?;
                    stats.stuck.increment();
                }
            }
            Some(task) => attempts.extend(cut_off(store, *flight, task).await?),
        }
    }
    let ends: Vec<u32> = attempts.iter().map(CutOff::ends).collect();
    let blamed_from = blamed_from(&ends, max_cut_offs);
    for attempt in attempts {
        let row = attempt.row(blamed_from, now);
        store
            .note_attempt(attempt.flight.instance, row, Vec::new(), u64::MAX, None)
            .await?;
        stats.attempts.cut_off.increment();
    }
    environment.recorder.clear();
    Ok(not_stored)
}

/// An attempt that the end of the previous run cut off.
struct CutOff {
    flight: Flight,
    task: TaskId,
    so_far: AttemptsSoFar,
}

async fn cut_off(store: &Store, flight: Flight, task: TaskId) -> Result<Option<CutOff>, Error> {
    let found = store.attempts_so_far(flight.instance, flight.execution, &[task]).await;
    match found {
        Ok(mut found) => Ok(Some(CutOff {
            flight,
            task,
            so_far: found.remove(&task).unwrap_or_default(),
        })),
        Err(Error::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl CutOff {
    /// The number of unclean ends in a row at which it was running, including this one.
    fn ends(&self) -> u32 {
        self.so_far.cut_offs + 1
    }

    /// The row of this attempt. It counts as a failure if the attempt was running at `blamed_from` or more ends in a
    /// row.
    fn row(&self, blamed_from: u32, now: Timestamp) -> AttemptRow {
        let is_blamed = self.ends() >= blamed_from;
        let failure = if is_blamed {
            let message = format!(
                "the host ended {} times in a row while this attempt was running",
                self.ends()
            );
            Failure::new(types::POISONOUS, message)
        } else {
            Failure::new(types::CUT_OFF, "the host ended while the attempt was running")
        };
        AttemptRow {
            execution: self.flight.execution,
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

/// At how many ends in a row an attempt must have been running to be blamed for the last one. `ends` contains this
/// number for each attempt that was running.
fn blamed_from(ends: &[u32], max_cut_offs: u32) -> u32 {
    let limit = max_cut_offs.min(BLAMED_AT_LAST);
    let suspects = ends.iter().filter(|ends| **ends >= limit).count();
    if suspects <= MAX_BLAMED { limit } else { BLAMED_AT_LAST }
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
            return Ok(woken);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ExecutionNumber;

    fn check(ends: &[u32], max_cut_offs: u32, blamed: &[u32]) {
        let from = blamed_from(ends, max_cut_offs);
        let found: Vec<u32> = ends.iter().copied().filter(|ends| *ends >= from).collect();
        assert_eq!(found, blamed, "{ends:?}");
    }

    #[test]
    fn at_most_two_attempts_are_blamed() {
        check(&[1, 2, 2], 3, &[]);
        check(&[1, 3, 2], 3, &[3]);
        check(&[3, 3], 3, &[3, 3]);
        // Any of them may have caused it, but most did not.
        check(&[3; 10], 3, &[]);
        check(&[3, 4, 5, 1], 3, &[]);
    }

    #[test]
    fn an_attempt_that_runs_at_every_end_is_blamed_eventually() {
        check(&[10; 10], 3, &[10; 10]);
        check(&[10, 9, 9, 9], 3, &[10]);
        check(&[10, 9], u32::MAX, &[10]);
    }

    fn note(so_far: &mut AttemptsSoFar, blamed_from: u32) -> AttemptRow {
        let cut_off = CutOff {
            flight: Flight {
                instance: InstanceNumber(1),
                execution: ExecutionNumber::FIRST,
                task: Some(TaskId(1)),
            },
            task: TaskId(1),
            so_far: so_far.clone(),
        };
        let row = cut_off.row(blamed_from, Timestamp(7));
        so_far.add(&row);
        row
    }

    #[test]
    fn a_blamed_attempt_counts_as_failed_and_resets_the_ends_in_a_row() {
        let mut so_far = AttemptsSoFar::default();
        let noted: Vec<_> = (0..4).map(|_| note(&mut so_far, 3)).collect();
        let seen: Vec<_> = noted.iter().map(|row| (row.ordinal, row.number, row.cut_off)).collect();
        assert_eq!(seen, [(1, 1, true), (2, 1, true), (3, 1, false), (4, 2, true)]);
        assert!(noted[2].failure.error_type == types::POISONOUS && noted[2].next_at.is_none());
        assert_eq!((so_far.failed, so_far.cut_offs), (1, 1));
        assert_eq!(
            so_far.undecided,
            Some(Box::new((noted[2].failure.clone(), Timestamp(7))))
        );
    }

    #[test]
    fn the_retry_policy_decides_on_the_failure_of_a_blamed_attempt() {
        let mut so_far = AttemptsSoFar::default();
        let row = note(&mut so_far, 1);
        assert_eq!(so_far.undecided, Some(Box::new((row.failure, Timestamp(7)))));
        assert_eq!((so_far.noted, so_far.failed, so_far.next_at), (1, 1, None));
    }
    #[test]
    fn an_end_recorded_twice_keeps_the_earlier_failure_for_the_retry_policy() {
        let mut so_far = AttemptsSoFar::default();
        let failure = note(&mut so_far, 1).failure;
        // The host ended before it cleared the recorder.
        let again = note(&mut so_far, 3);
        assert!(again.cut_off);
        assert_eq!(so_far.undecided, Some(Box::new((failure, Timestamp(7)))));
        assert_eq!((so_far.noted, so_far.failed), (2, 1));
    }
}
