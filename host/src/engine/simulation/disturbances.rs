//! Disturbs a running host without ending it: evictions, repeated outcomes, jumps of the clock.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::faults::Plan;
use super::guests::ScriptedGuests;
use super::rng::Rng;
use super::time::SimulatedClock;
use super::world::World;
use crate::engine::Engine;
use crate::engine::mail::Mail;
use crate::engine::owner::ActivityResult;
use crate::model::InboxItem;
use crate::store::simulated::Disk;

struct Disturbances {
    rng: Rng,
    plan: Plan,
    engine: Engine,
    disk: Disk,
    guests: Arc<ScriptedGuests>,
    clock: Arc<SimulatedClock>,
}

/// Starts the disturbances of a plan, which continue until they are aborted.
pub(super) fn begin(rng: Rng, plan: Plan, world: &World, engine: &Engine) -> JoinHandle<()> {
    let mut disturbances = Disturbances {
        rng,
        plan,
        engine: engine.clone(),
        disk: world.disk.clone(),
        guests: world.guests.clone(),
        clock: world.clock.clone(),
    };
    tokio::spawn(async move {
        while disturbances.plan.disturbance_ms > 0 {
            let pause = disturbances.rng.between(1, disturbances.plan.disturbance_ms);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            disturbances.disturb();
        }
    })
}

impl Disturbances {
    fn disturb(&mut self) {
        match self.rng.below(10) {
            0..=3 => self.evict(),
            4 => self.repeat_result(),
            5 => self.repeat_message(),
            6..=8 => self.wake(),
            _ => self.jump(),
        }
    }

    /// Evicts some guest.
    fn evict(&mut self) {
        let content = self.disk.content();
        let numbers: Vec<_> = content.instances.keys().copied().collect();
        if !numbers.is_empty() {
            self.engine.0.owners.deliver(*self.rng.pick(&numbers), Mail::Cool);
        }
    }

    /// Wakes some instances without a reason; they take over from what is stored.
    fn wake(&mut self) {
        for number in self.disk.content().instances.keys() {
            if self.rng.per_mille(700) {
                self.engine.0.owners.deliver(*number, Mail::Wake);
            }
        }
    }

    /// Delivers an outcome again, early or late.
    fn repeat_result(&self) {
        if let Some((call, output)) = self.guests.produced() {
            let result = ActivityResult {
                execution: call.run.1,
                task: call.task,
                outcome: Ok(output),
                logs: Vec::new(),
                fuel: 0,
                used: None,
                memory: None,
            };
            self.engine.0.owners.deliver(call.run.0, Mail::Result(result));
        }
    }

    /// Delivers an outcome again through the inbox.
    fn repeat_message(&self) {
        if let Some((call, output)) = self.guests.produced() {
            let item = InboxItem::TaskEnded {
                execution: call.run.1,
                task: call.task,
                attempt: 0,
                outcome: Ok(output),
            };
            let engine = self.engine.clone();
            // In a separate task, so that it completes even if the disturbances are aborted: a stored message is always
            // delivered.
            tokio::spawn(async move {
                if let Ok(Some(row)) = engine.0.shared.store.deliver(call.run.0, item).await {
                    engine.0.owners.deliver(call.run.0, Mail::Inbox(row));
                }
            });
        }
    }

    fn jump(&mut self) {
        if self.plan.jump_ms > 0 {
            let by = i64::try_from(self.rng.below(2 * self.plan.jump_ms + 1)).expect("small");
            self.clock
                .put_wrong(by - i64::try_from(self.plan.jump_ms).expect("small"));
        }
    }
}
