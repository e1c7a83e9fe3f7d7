//! What the loop passes to an orchestration, and asks it.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::owner::ActivityResult;
use crate::engine::owner::inbox::Inbox;
use crate::engine::owner::inputs::{FeedError, Inputs};
use crate::engine::owner::instance::{Identity, Instance};
use crate::model::{Event, EventPage, InboxSeq, ModuleDigest, Tags, TaskId, Timestamp, Turn};
use crate::replay::{Guest, Player};
use crate::store::{AttemptsSoFar, InstanceDetails, InstanceSummary};

use super::take_over::TakeOver;
use super::{Orchestration, not_before};

impl<G: Guest> Inputs for Orchestration<G> {
    fn know_events_of(&mut self, bytes: usize) {
        self.events.keep_at_most(bytes);
    }

    fn is_hot(&self) -> bool {
        self.execution.player.is_some()
    }

    /// The guest is in memory, and something has arrived or a timer is set.
    fn is_about_to_run(&self, instance: &Instance, inbox: &Inbox) -> bool {
        let has_arrivals = self.has_messages(inbox) || self.events.may_be_wanted();
        self.execution.has_guest_at(instance.position.last_turn)
            && (has_arrivals || self.execution.ledger.next_due().is_some())
    }

    fn ended(&self, instance: &Instance, module_digest: ModuleDigest) -> Option<InstanceDetails> {
        let Identity {
            number,
            id,
            function,
            parent,
            created_at,
            ..
        } = &instance.identity;
        let shown = &instance.shown;
        Some(InstanceDetails {
            summary: InstanceSummary {
                number: *number,
                id: id.clone(),
                function: function.clone(),
                module_digest,
                status: instance.status,
                execution: instance.position.execution,
                last_turn: instance.position.last_turn,
                created_at: *created_at,
                updated_at: shown.updated_at,
                start_at: None,
                custom_status: shown.custom_status.clone(),
                stuck: None,
                parent_id: parent.as_ref().map(|parent| parent.instance_id.clone()),
                fuel: shown.fuel,
                rewinds: self.execution.ledger.rewinds().clone(),
                // The request that waits for the end of a new instance knows them.
                tags: Tags::default(),
            },
            input: Some(self.execution.started()?.input.clone()),
            outcome: Some(shown.outcome.clone()?),
            terminated: None,
        })
    }

    fn task_bytes(&self) -> u64 {
        self.execution.ledger.task_bytes()
    }

    fn receive_result(&mut self, result: ActivityResult) {
        self.results.push(result);
    }

    fn resume_calls(&mut self) {
        self.take_over = TakeOver::begin(true);
    }

    fn calls_left_out(&mut self) {
        self.calls_resumed();
    }

    fn has_calls_to_resume(&self) -> bool {
        matches!(self.take_over, TakeOver::Begun { .. })
    }

    fn tasks_that_have_ended(&self, instance: &Instance, inbox: &Inbox) -> BTreeSet<TaskId> {
        self.tasks_that_ended(instance, inbox)
    }

    fn untaken_bytes(&self, instance: &Instance, inbox: &Inbox) -> Option<u64> {
        if instance.is_suspended_or_stuck() {
            return None;
        }
        let in_memory = inbox.bytes() + self.results.bytes();
        Some(if inbox.has_more() { u64::MAX } else { in_memory })
    }

    fn into_results(self) -> Vec<ActivityResult> {
        let Self {
            in_commit, mut results, ..
        } = self;
        in_commit.results.into_iter().chain(results.take_all()).collect()
    }

    fn takes_event(&self, event: &Event, max_bytes: u64, now: Timestamp, instance: &Instance, inbox: &Inbox) -> bool {
        let Self {
            execution,
            events,
            sizes,
            ..
        } = self;
        let (name, position) = (event.name.folded(), instance.position);
        let may_be_wanted = match execution.waits(position.last_turn) {
            // Before the first turn, nobody knows which events the guest waits for.
            _ if position.is_first_turn() => not_before(instance, inbox).is_none_or(|time| time <= now),
            Some(waits) => waits.contains_key(&name),
            None => true,
        };
        may_be_wanted
            && !instance.is_suspended_or_stuck()
            && !inbox.has_more()
            && events.takes_directly(&name)
            && sizes.all() < max_bytes
    }

    fn receive_event(&mut self, event: Event) {
        self.events.receive_directly(event);
    }

    fn read_events(&mut self, newest: InboxSeq, pages: Vec<EventPage>, instance: &Instance) {
        let Self { execution, events, .. } = self;
        let waits = execution.waits(instance.position.last_turn);
        events.read(newest, pages, waits);
    }

    fn feed(&mut self, rows: &[Turn]) -> Result<(), FeedError> {
        self.execution.feed(rows)
    }

    fn take_attempts(&mut self, noted: BTreeMap<TaskId, AttemptsSoFar>) {
        let Self {
            execution, take_over, ..
        } = self;
        take_over.attempts_read();
        execution.attempts.take_in(noted, &execution.ledger);
    }
}

impl<G: Guest> Orchestration<G> {
    /// Receives the guest that [`Next::Guest`](crate::engine::owner::Next::Guest) asked for.
    pub(in crate::engine::owner) fn install(&mut self, player: Player<G>) {
        let rewinds = self.execution.ledger.rewinds().clone();
        self.execution.player = Some(player.with_rewinds(rewinds));
    }
}

#[cfg(test)]
impl<G: Guest> crate::engine::owner::Owner<Orchestration<G>> {
    /// Receives the guest that [`Next::Guest`](crate::engine::owner::Next::Guest) asked for.
    pub(in crate::engine) fn install_player(&mut self, player: Player<G>) {
        self.behaviour.install(player);
    }
}
