//! The faults of a run: a plan drawn from the seed, gentle for some seeds and brutal for others.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::checkers::Watch;
use super::rng::Rng;
use crate::store::simulated::{Content, Ending, FaultPlan, Step, Treatment};

/// The maximum number of steps of the disk. A world that takes more makes no progress.
const MAX_STEPS: u64 = 1_000_000;

/// How often faults occur, and how severe they are. Chances are in thousandths.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    /// Runs of the host before the last one, which has no faults.
    pub rounds: u64,
    /// The maximum duration of such a run, in milliseconds.
    pub round_ms: u64,
    /// The chance that a run ends with a graceful stop instead of a crash.
    pub stops: u64,
    /// The maximum delay of a step of the disk, in milliseconds; most steps have none.
    pub slow_disk_ms: u64,
    /// The chance that a step of the disk fails.
    pub disk_fails: u64,
    /// The chance that the disk becomes full for a while.
    pub disk_full: u64,
    /// The chance that the host crashes right before a commit.
    pub ends_before_commit: u64,
    /// The chance that the host crashes right after a commit, before it learns of the commit.
    pub ends_after_commit: u64,
    /// The last of these runs does not end. Its faults stop instead, and the same host must complete all instances.
    pub recovers: bool,
    /// The chance that a guest finds no room.
    pub no_room: u64,
    /// The chance that a module cannot be loaded.
    pub no_module: u64,
    /// The chance that a turn of some instance seems to have been running when the host ended.
    pub turn_at_end: u64,
    /// The chance that an attempt of the deadly activity ends the host.
    pub deadly: u64,
    /// The maximum size of a turn on disk, in bytes; 0 for no limit.
    pub max_turn_bytes: usize,
    /// The maximum pause between two disturbances, in milliseconds; 0 for no disturbances.
    pub disturbance_ms: u64,
    /// The maximum jump of the clock, in milliseconds.
    pub jump_ms: u64,
    /// The factor by which activities are slower.
    pub slowness: u64,
}

impl Plan {
    /// The plan of a seed.
    pub(super) fn of(seed: u64) -> Self {
        let mut rng = Rng::new(seed, "plan");
        let level = *rng.pick(&[1, 1, 2, 2, 3]);
        let disturbance_ms = *rng.pick(&[0, 5, 50, 400]);
        let slow_disk_ms = *rng.pick(&[0, 0, 4, 40, 300]);
        // Not all faults in every run: one fault may hide the effect of another.
        let mut up_to = |most: u64| {
            if rng.per_mille(600) {
                rng.below(most * level + 1)
            } else {
                0
            }
        };
        Self {
            rounds: 1 + up_to(4),
            round_ms: 200 + up_to(8_000),
            stops: up_to(200),
            slow_disk_ms,
            disk_fails: up_to(20),
            disk_full: up_to(3),
            ends_before_commit: up_to(8),
            ends_after_commit: up_to(8),
            recovers: up_to(1) > 0,
            no_room: up_to(30),
            no_module: up_to(10),
            turn_at_end: up_to(200),
            disturbance_ms,
            jump_ms: up_to(400_000),
            slowness: 1 + up_to(8),
            deadly: up_to(300),
            max_turn_bytes: match rng.per_mille(100) {
                true => usize::try_from(rng.between(100, 500)).expect("few"),
                false => 0,
            },
        }
    }

    /// A plan without faults.
    pub(super) fn calm() -> Self {
        Self {
            round_ms: 1,
            slowness: 1,
            ..Self::default()
        }
    }
}

/// Decides how each step of the disk ends.
pub(super) struct Faults {
    state: Mutex<State>,
    watch: Arc<Watch>,
}

struct State {
    rng: Rng,
    plan: Plan,
    /// Number of steps for which the disk is still full.
    full_for: u64,
    steps: u64,
    /// Notified when the host must end.
    ends: Arc<Notify>,
}

impl Faults {
    pub(super) fn new(seed: u64, watch: Arc<Watch>) -> Self {
        let state = State {
            rng: Rng::new(seed, "faults"),
            plan: Plan::calm(),
            full_for: 0,
            steps: 0,
            ends: Arc::default(),
        };
        Self {
            state: Mutex::new(state),
            watch,
        }
    }

    /// Begins a run of the host under this plan. Returns a handle that is notified when the host must end.
    pub(super) fn begin(&self, plan: &Plan) -> Arc<Notify> {
        let mut state = self.lock();
        state.plan = plan.clone();
        state.full_for = 0;
        state.ends = Arc::default();
        state.ends.clone()
    }

    /// Stops all faults.
    pub(super) fn cease(&self) {
        let mut state = self.lock();
        state.plan = Plan::calm();
        state.full_for = 0;
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn ending(&mut self, step: Step) -> Ending {
        if step == Step::Begin && self.rng.per_mille(self.plan.disk_full) {
            self.full_for = self.rng.between(1, 30);
        }
        if step != Step::Read && self.full_for > 0 {
            self.full_for -= 1;
            return Ending::Fails;
        }
        if step == Step::Commit && self.rng.per_mille(self.plan.ends_before_commit) {
            return Ending::HostEndsBefore;
        }
        if step == Step::Commit && self.rng.per_mille(self.plan.ends_after_commit) {
            return Ending::HostEndsAfter;
        }
        if self.rng.per_mille(self.plan.disk_fails) {
            return Ending::Fails;
        }
        Ending::Done
    }

    fn delay(&mut self) -> Duration {
        let slow = self.plan.slow_disk_ms > 0 && self.rng.per_mille(200);
        if slow {
            Duration::from_millis(self.rng.below(self.plan.slow_disk_ms + 1))
        } else {
            Duration::ZERO
        }
    }
}

impl FaultPlan for Faults {
    fn of(&self, step: Step) -> Treatment {
        let mut state = self.lock();
        state.steps += 1;
        if state.steps > MAX_STEPS {
            self.watch.violation("the host makes no progress");
        }
        if !self.watch.is_content() {
            // A violation was found, so end the run.
            state.ends.notify_one();
        }
        let ending = state.ending(step);
        if matches!(ending, Ending::HostEndsBefore | Ending::HostEndsAfter) {
            state.ends.notify_one();
        }
        let (before, after) = (state.delay(), state.delay());
        // A longer window in which a change is visible on disk but was not reported yet.
        let after = if step == Step::Commit { after * 5 } else { after };
        Treatment { before, after, ending }
    }

    fn max_turn_bytes(&self) -> usize {
        match self.lock().plan.max_turn_bytes {
            0 => usize::MAX,
            limit => limit,
        }
    }

    fn committed(&self, before: &Content, after: &Content) {
        self.watch.committed(before, after);
    }
}
