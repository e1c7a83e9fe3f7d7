//! What a host does before it takes requests: notes what its predecessor was running, and wakes what has work.

use super::flight_recorder::{Flight, FlightRecorder};
use super::hub::{Hub, Mail};
use super::stats::EngineStats;
use crate::model::{Failure, InstanceNumber, StuckReason, TaskId, Timestamp, failure::types};
use crate::store::{AttemptRow, Error, Store};

/// Instances woken per query.
const PAGE: u32 = 1_000;

/// What is known about the end of the last host.
pub(super) struct UncleanEnds<'a> {
    /// What it was running, if it ended uncleanly.
    pub flights: &'a [Flight],
    /// At how many of them in a row an instance is stuck.
    pub max_in_a_row: u32,
    /// When they are noted.
    pub now: Timestamp,
}

/// Notes what was running when the last host ended uncleanly. An instance whose turn ran at too many unclean ends in a
/// row is stuck, so that it cannot take the host down for ever; an attempt is noted as cut off. Says whether something ran
/// that is not stored: the first turn of an instance that was about to be.
///
/// # Errors
/// When the store fails. Nothing is forgotten: the next start sees the same flights.
pub(super) async fn note_flights(
    store: &Store,
    recorder: &FlightRecorder,
    stats: &EngineStats,
    unclean: UncleanEnds<'_>,
) -> Result<bool, Error> {
    let UncleanEnds {
        flights,
        max_in_a_row,
        now,
    } = unclean;
    let mut unborn = false;
    for flight in flights {
        match flight.task {
            None => {
                let ends = store.count_unclean_end(flight.instance).await?;
                unborn |= ends.is_none() && store.load(flight.instance).await?.is_none();
                if let Some(ends) = ends.filter(|ends| *ends >= max_in_a_row) {
                    let message = format!("the host ended uncleanly {ends} times in a row while a turn of it ran");
                    let reason = StuckReason {
                        code: "took-host-down".into(),
                        message,
                    };
                    store.mark_stuck(flight.instance, reason, now).await?;
                    stats.stuck.increment();
                }
            }
            Some(task) => {
                note_cut_off(store, *flight, task, now).await?;
                stats.attempts.cut_off.increment();
            }
        }
    }
    recorder.clear();
    Ok(unborn)
}

async fn note_cut_off(store: &Store, flight: Flight, task: TaskId, now: Timestamp) -> Result<(), Error> {
    let record = match store.load(flight.instance).await {
        Ok(Some(record)) if record.execution == flight.execution && !record.status.has_ended() => record,
        Ok(_) | Err(Error::Damaged(_)) => return Ok(()),
        Err(error) => return Err(error),
    };
    let rows: Vec<&AttemptRow> = record.attempts.iter().filter(|row| row.task == task).collect();
    let failed = rows.iter().filter(|row| !row.cut_off).count();
    let attempt = AttemptRow {
        execution: flight.execution,
        task,
        ordinal: rows.last().map_or(0, |row| row.ordinal) + 1,
        number: u32::try_from(failed).unwrap_or(u32::MAX - 1) + 1,
        cut_off: true,
        failure: Failure::new(types::CUT_OFF, "the host ended while the attempt ran"),
        fuel: 0,
        started_at: now,
        ended_at: now,
        next_at: Some(now),
    };
    store
        .note_attempt(flight.instance, attempt, Vec::new(), u64::MAX, None)
        .await?;
    Ok(())
}

/// Wakes all instances with messages or with work in flight. Timers wake the rest when they are due.
///
/// # Errors
/// When the store fails.
pub(super) async fn wake(store: &Store, hub: &Hub) -> Result<u64, Error> {
    let mut woken = 0;
    let mut after: Option<InstanceNumber> = None;
    loop {
        let page = store.to_wake_at_start(after, PAGE).await?;
        for instance in &page {
            hub.deliver(*instance, Mail::Wake);
        }
        woken += page.len() as u64;
        after = page.last().copied();
        if page.len() < PAGE as usize {
            return Ok(woken);
        }
    }
}
