//! The owner of an orchestration as the loop sees it besides what all owners have: it is passed results, events,
//! history, attempts and the guest.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::owner::instance::Identity;
use crate::engine::owner::{ActivityResult, Owner, UNREADABLE};
use crate::model::{Event, EventPage, InboxSeq, ModuleDigest, Tags, TaskId, Timestamp, Turn};
use crate::replay::{Guest, HostUnavailable, Player};
use crate::store::{AttemptsSoFar, InstanceDetails, InstanceSummary};

use super::execution::FeedError;
use super::take_over::TakeOver;
use super::{Orchestration, not_before};

impl<G: Guest> Owner<Orchestration<G>> {
    /// Limits the bytes of events in memory.
    pub fn know_events_of(&mut self, bytes: usize) {
        self.behaviour.events.keep_at_most(bytes);
    }

    // ---- accessors ----

    /// Whether a guest is in memory.
    pub fn is_hot(&self) -> bool {
        self.behaviour.execution.player.is_some()
    }

    /// Whether the [next](Self::next) step probably runs the guest: the guest is in memory, and something has arrived
    /// or a timer is set.
    pub fn is_about_to_run(&self) -> bool {
        let Orchestration { execution, events, .. } = &self.behaviour;
        let has_arrivals = self.behaviour.has_messages(&self.inbox) || events.may_be_wanted();
        execution.has_guest_at(self.instance.position.last_turn)
            && (has_arrivals || execution.ledger.next_due().is_some())
    }

    /// What a query would return now; `None` unless the guest has completed or failed.
    pub fn ended(&self, module_digest: ModuleDigest) -> Option<InstanceDetails> {
        let Identity {
            number,
            id,
            function,
            parent,
            created_at,
            ..
        } = &self.instance.identity;
        let shown = &self.instance.shown;
        Some(InstanceDetails {
            summary: InstanceSummary {
                number: *number,
                id: id.clone(),
                function: function.clone(),
                module_digest,
                status: self.instance.status,
                execution: self.instance.position.execution,
                last_turn: self.instance.position.last_turn,
                created_at: *created_at,
                updated_at: shown.updated_at,
                start_at: None,
                custom_status: shown.custom_status.clone(),
                stuck: None,
                parent_id: parent.as_ref().map(|parent| parent.instance_id.clone()),
                fuel: shown.fuel,
                // The request that waits for the end of a new instance knows them.
                tags: Tags::default(),
            },
            input: Some(self.behaviour.execution.started()?.input.clone()),
            outcome: Some(shown.outcome.clone()?),
            terminated: None,
        })
    }

    /// The approximate size of its outstanding tasks in memory, in bytes.
    pub fn task_bytes(&self) -> u64 {
        self.behaviour.execution.ledger.task_bytes()
    }

    // ---- inputs ----

    /// Receives the outcome of an activity call.
    pub fn receive_result(&mut self, result: ActivityResult) {
        self.behaviour.results.push_back(result);
    }

    /// Resumes activity calls that were left out because there was no memory for them.
    pub fn resume_calls(&mut self) {
        self.behaviour.take_over = TakeOver::begin(true);
    }

    /// Notes that there is no memory for further activity calls now.
    pub fn calls_left_out(&mut self) {
        self.behaviour.calls_resumed();
    }

    /// Whether there may be activity calls to resume.
    pub fn has_calls_to_resume(&self) -> bool {
        matches!(self.behaviour.take_over, TakeOver::Begun { .. })
    }

    /// The tasks of the current execution whose outcomes have arrived.
    pub fn tasks_that_ended(&self) -> BTreeSet<TaskId> {
        self.behaviour.tasks_that_ended(&self.instance, &self.inbox)
    }

    /// Returns the results that are not durable yet, for the next owner after a failed commit.
    pub fn into_results(self) -> Vec<ActivityResult> {
        let Orchestration { in_commit, results, .. } = self.behaviour;
        in_commit.results.into_iter().chain(results).collect()
    }

    /// Whether the owner accepts an event [directly](Self::receive_event); the commit of the turn that takes the event
    /// then stores it. Otherwise the sender stores the event, or is refused if it does not fit: `max_bytes` limits the
    /// sum of an execution's history and its waiting events.
    pub fn takes_event(&self, event: &Event, max_bytes: u64, now: Timestamp) -> bool {
        let Orchestration {
            execution,
            events,
            sizes,
            ..
        } = &self.behaviour;
        let (name, position) = (event.name.folded(), self.instance.position);
        let may_be_wanted = match execution.waits(position.last_turn) {
            // Before the first turn, nobody knows which events the guest waits for.
            _ if position.is_first_turn() => not_before(&self.instance, &self.inbox).is_none_or(|time| time <= now),
            Some(waits) => waits.contains_key(&name),
            None => true,
        };
        may_be_wanted
            && !self.instance.is_suspended_or_stuck()
            && !self.inbox.has_more()
            && events.takes_directly(&name)
            && sizes.all() < max_bytes
    }

    /// Receives an event that is not durable yet. It becomes durable when a commit [includes](Self::committed) it or
    /// when the loop stores it.
    pub fn receive_event(&mut self, event: Event) {
        self.behaviour.events.receive_directly(event);
    }

    /// Receives the events that [`Next::Events`](crate::engine::owner::Next::Events) asked for. `newest` is the newest
    /// message that was in the store before the read.
    pub fn read_events(&mut self, newest: InboxSeq, pages: Vec<EventPage>) {
        let Orchestration { execution, events, .. } = &mut self.behaviour;
        let waits = execution.waits(self.instance.position.last_turn);
        events.read(newest, pages, waits);
    }

    /// Receives the guest that [`Next::Guest`](crate::engine::owner::Next::Guest) asked for.
    pub fn install(&mut self, player: Player<G>) {
        self.behaviour.execution.player = Some(player);
    }

    /// Receives the next rows that [`Next::History`](crate::engine::owner::Next::History) asked for, in order.
    ///
    /// # Errors
    /// If the host cannot run the guest now. A guest that deviates from its history is not an error: the instance
    /// becomes stuck.
    pub fn feed(&mut self, rows: &[Turn]) -> Result<(), HostUnavailable> {
        match self.behaviour.execution.feed(rows) {
            Ok(()) => {}
            Err(FeedError::Unreadable(error)) => self.break_down(UNREADABLE, error.to_string()),
            Err(FeedError::Stuck(reason)) => self.breakdown = Some(reason),
            Err(FeedError::Host(trouble)) => return Err(trouble),
        }
        Ok(())
    }

    /// Receives the attempts that [`Next::Attempts`](crate::engine::owner::Next::Attempts) asked for.
    pub fn take_attempts(&mut self, noted: BTreeMap<TaskId, AttemptsSoFar>) {
        let Orchestration {
            execution, take_over, ..
        } = &mut self.behaviour;
        take_over.attempts_read();
        execution.attempts.take_in(noted, &execution.ledger);
    }
}
