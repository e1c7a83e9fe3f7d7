//! Checks broadcasts: each instance gets the event of each at most once, and none after its end; each instance that existed
//! when it was accepted and lives at its end has got it, unless it was cancelled.

use std::collections::{BTreeMap, BTreeSet};

use super::super::broadcasts::MARK;
use super::Records;
use crate::model::{EntityId, Event, InstanceNumber};
use crate::store::simulated::Content;
use crate::store::{Broadcast, BroadcastEnd};

/// What is known of one broadcast.
#[derive(Default)]
pub(super) struct Observed {
    /// The instances that existed when it was accepted.
    expected: BTreeSet<InstanceNumber>,
    /// How often each instance got the event.
    raised: BTreeMap<InstanceNumber, u32>,
}

impl Records {
    /// Checks what a commit did to broadcasts. Call it after all new messages were [noted](Self::broadcast_raised).
    pub(super) fn broadcasts_changed(&mut self, before: &Content, after: &Content) {
        for row in after.broadcasts() {
            let broadcast = row.broadcast();
            let key = broadcast.event.payload.to_string();
            let earlier = before.broadcasts().find(|other| is_same(other.broadcast(), broadcast));
            if earlier.is_none() {
                let live = after.existing().filter(|(number, row, _)| {
                    row.tenant == broadcast.tenant
                        && !row.status.has_ended()
                        && EntityId::of(&row.id).is_none()
                        && *number < broadcast.from.number()
                });
                let live = live.map(|(number, ..)| number).collect();
                self.broadcasts.entry(key.clone()).or_default().expected = live;
            }
            let had_ended = earlier.is_some_and(|earlier| earlier.broadcast().finished_at.is_some());
            if broadcast.finished_at.is_none() || had_ended {
                continue;
            }
            let observed = self.broadcasts.entry(key).or_default();
            if observed.raised.len() as u64 != broadcast.raised {
                let raised = &observed.raised;
                self.violations
                    .push(format!("{broadcast:?} has raised its event for {raised:?}"));
                continue;
            }
            let is_live = |number: &InstanceNumber| {
                let rows = after.instances.get(number);
                let row = rows.and_then(|rows| rows.row.as_ref());
                row.is_some_and(|row| !row.status.has_ended())
            };
            let left_out = observed.expected.iter().copied();
            let left_out: Vec<_> = left_out
                .filter(|number| is_live(number) && !observed.raised.contains_key(number))
                .collect();
            if row.end == BroadcastEnd::Finished && !left_out.is_empty() {
                self.violations.push(format!("{broadcast:?} has left out {left_out:?}"));
            }
        }
    }

    /// Notes a new event in the inbox of an instance.
    pub(super) fn broadcast_raised(&mut self, number: InstanceNumber, event: &Event, before: &Content) {
        let key = event.payload.to_string();
        if !key.starts_with(MARK) {
            return;
        }
        let of = before
            .broadcasts()
            .find(|row| row.broadcast().event.payload == event.payload);
        if of.is_none_or(|row| row.broadcast().finished_at.is_some()) {
            self.report(number, format!("{key} was raised before or after its broadcast"));
        }
        let times = self
            .broadcasts
            .entry(key.clone())
            .or_default()
            .raised
            .entry(number)
            .or_default();
        *times += 1;
        if *times > 1 {
            let times = *times;
            self.report(number, format!("{key} was raised {times} times"));
        }
    }
}

fn is_same(one: &Broadcast, other: &Broadcast) -> bool {
    (one.tenant, &one.id) == (other.tenant, &other.id)
}
