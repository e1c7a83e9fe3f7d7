//! Schedules in a simulated world: whatever ends the host and wherever the clock jumps, each of their times is decided
//! once, and starts one instance or none.

use std::collections::BTreeSet;
use std::time::Duration;

use super::checkers::Watch;
use super::programs::Program;
use super::rng::Rng;
use crate::engine::{Engine, PutSchedule, ScheduleError, StartError};
use crate::model::{
    InstanceId, Overlap, Payload, Schedule, ScheduleName, Tags, TenantId,
    schedule::{Counts, Spec},
};
use crate::store::Error as StoreError;
use crate::store::simulated::Content;

/// The number in the input of the instances of the first schedule. Those of other orders are smaller.
const FIRST_ORDER: u64 = 100;

/// How long a client waits before it retries.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// The schedules of a world.
pub(super) struct Schedules(Vec<(ScheduleName, Schedule)>);

impl Schedules {
    /// The schedules of a seed; the instances of each start a few times within this time.
    pub(super) fn of(seed: u64, programs: &[Program], within_ms: u64) -> Self {
        let mut rng = Rng::new(seed, "schedules");
        let count = rng.below(3);
        let schedules = (0..count).map(|number| {
            let seconds = (within_ms / 1_000 / rng.between(2, 6)).max(1);
            let offset = rng.below(seconds);
            let spec = Spec::interval(Duration::from_secs(seconds), Duration::from_secs(offset));
            let schedule = Schedule {
                function: rng.pick(programs).name.clone(),
                input: Payload::of(&[FIRST_ORDER + number]),
                tags: Tags::default(),
                spec: spec.expect("the offset is shorter"),
                overlap: *rng.pick(&Overlap::ALL),
                catch_up: Duration::from_secs(rng.between(10, 60)),
                jitter: Duration::from_millis(*rng.pick(&[0, 0, 700, 60_000])),
            };
            (format!("schedule-{number}").parse().expect("a name"), schedule)
        });
        Self(schedules.collect())
    }

    /// None.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Creates the schedules, as often as it takes. The same definition changes nothing.
    pub(super) async fn create(&self, engine: &Engine, watch: &Watch) {
        for (name, schedule) in &self.0 {
            let put = PutSchedule {
                tenant: TenantId::DEFAULT,
                name: name.clone(),
                schedule: schedule.clone(),
                pause: None,
                must_be_new: false,
            };
            while !is_settled(engine.put_schedule(put.clone()).await.map(drop), watch) {
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }

    /// Pauses the schedules, so that nothing starts any more.
    pub(super) async fn pause(&self, engine: &Engine, watch: &Watch) {
        for (name, _) in &self.0 {
            let pause = || engine.pause_schedule(TenantId::DEFAULT, name, "the world ends");
            while !is_settled(pause().await.map(drop), watch) {
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
    }

    /// Checks that all times were decided once, and what was counted is what has happened.
    pub(super) fn check(&self, content: &Content, watch: &Watch) {
        for (name, schedule) in &self.0 {
            // Sub-orchestrations have ids that begin with that of their parent.
            let ids = watch.ids_beginning_with(&format!("{name}-"));
            let ids: Vec<_> = ids.into_iter().filter(|id| id.as_str().ends_with('Z')).collect();
            let unique: BTreeSet<&InstanceId> = ids.iter().collect();
            if unique.len() < ids.len() {
                watch.violation(format!("{name} started a time twice: {ids:?}"));
            }
            let Some(row) = content.schedule(TenantId::DEFAULT, name) else {
                if !ids.is_empty() {
                    watch.violation(format!("{name} does not exist and has started {ids:?}"));
                }
                continue;
            };
            let Counts {
                started,
                skipped,
                missed,
                failed,
            } = row.state.counts;
            if started != ids.len() as u64 {
                watch.violation(format!("{name} has counted {started} starts of {ids:?}"));
            }
            let mut selected = 0;
            let mut time = row.created_at;
            while let Some(next) = schedule.spec.next(time).filter(|next| *next <= row.state.decided) {
                (selected, time) = (selected + 1, next);
            }
            let waiting = u64::from(row.state.buffered.is_some());
            if selected != started + skipped + missed + failed + waiting {
                watch.violation(format!(
                    "of {selected} times of {name}, not all were decided once: {row:?}"
                ));
            }
        }
    }
}

/// Whether a request need not be sent again.
fn is_settled(answer: Result<(), ScheduleError>, watch: &Watch) -> bool {
    match answer {
        // The host shuts down, or never lived long enough to create the schedule.
        Ok(()) | Err(ScheduleError::Start(StartError::Store(StoreError::Closed)) | ScheduleError::Unknown(_)) => true,
        Err(ScheduleError::Busy | ScheduleError::Start(StartError::Store(StoreError::Database(_)))) => false,
        Err(other) => {
            watch.violation(format!("a request about a schedule was answered with {other:?}"));
            true
        }
    }
}
