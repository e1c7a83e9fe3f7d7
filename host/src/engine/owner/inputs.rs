//! What the loop passes to an owner, and asks it, besides what all kinds of instances have in common.
//!
//! A kind of instance implements the part of [`Inputs`] that it has; the rest does nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{Event, EventPage, InboxSeq, ModuleDigest, StuckReason, TaskId, Timestamp, Turn};
use crate::replay::HostUnavailable;
use crate::store::{AttemptsSoFar, InstanceDetails};

use super::behaviour::Behaviour;
use super::inbox::Inbox;
use super::instance::Instance;
use super::{ActivityResult, Owner, UNREADABLE};

/// The inputs and accessors that not every kind of instance has.
pub trait Inputs {
    /// Limits the bytes of events in memory.
    fn know_events_of(&mut self, bytes: usize) {
        let _ = bytes;
    }

    /// Whether a guest is in memory.
    fn is_hot(&self) -> bool;

    /// Whether the next step probably runs the guest.
    fn is_about_to_run(&self, instance: &Instance, inbox: &Inbox) -> bool;

    /// What a query would return now; `None` unless the guest has completed or failed.
    fn ended(&self, instance: &Instance, module_digest: ModuleDigest) -> Option<InstanceDetails> {
        let _ = (instance, module_digest);
        None
    }

    /// The approximate size of what it keeps in memory besides its guest, in bytes.
    fn task_bytes(&self) -> u64;

    /// Receives the outcome of an activity call.
    fn receive_result(&mut self, result: ActivityResult) {
        drop(result);
    }

    /// Resumes activity calls that were left out.
    fn resume_calls(&mut self) {}

    /// Notes that there is no memory for further activity calls now.
    fn calls_left_out(&mut self) {}

    /// Whether there may be activity calls to resume.
    fn has_calls_to_resume(&self) -> bool {
        false
    }

    /// The tasks of the current execution whose outcomes have arrived.
    fn tasks_that_have_ended(&self, instance: &Instance, inbox: &Inbox) -> BTreeSet<TaskId> {
        let _ = (instance, inbox);
        BTreeSet::new()
    }

    /// The size of the results and messages that it has not taken, in bytes; the maximum if the store has more messages.
    /// `None` if it takes none now.
    fn untaken_bytes(&self, instance: &Instance, inbox: &Inbox) -> Option<u64> {
        let _ = (instance, inbox);
        Some(0)
    }

    /// Returns the results that are not durable yet.
    fn into_results(self) -> Vec<ActivityResult>
    where
        Self: Sized,
    {
        Vec::new()
    }

    /// Whether it accepts an event directly.
    fn takes_event(&self, event: &Event, max_bytes: u64, now: Timestamp, instance: &Instance, inbox: &Inbox) -> bool {
        let _ = (event, max_bytes, now, instance, inbox);
        false
    }

    /// Receives an event that is not durable yet.
    fn receive_event(&mut self, event: Event) {
        drop(event);
    }

    /// Receives stored events.
    fn read_events(&mut self, newest: InboxSeq, pages: Vec<EventPage>, instance: &Instance) {
        let _ = (newest, pages, instance);
    }

    /// Receives the next rows of the history.
    ///
    /// # Errors
    /// Why the rows cannot be applied.
    fn feed(&mut self, rows: &[Turn]) -> Result<(), FeedError> {
        let _ = rows;
        Ok(())
    }

    /// Receives recorded attempts.
    fn take_attempts(&mut self, noted: BTreeMap<TaskId, AttemptsSoFar>) {
        drop(noted);
    }
}

/// Why rows of a history cannot be applied.
#[derive(Debug)]
pub enum FeedError {
    /// The rows are no history.
    Unreadable(String),
    /// The guest deviates from the history.
    Stuck(StuckReason),
    /// The host cannot run the guest now.
    Host(HostUnavailable),
}

impl<B: Behaviour> Owner<B> {
    /// Limits the bytes of events in memory.
    pub fn know_events_of(&mut self, bytes: usize) {
        self.behaviour.know_events_of(bytes);
    }

    // ---- accessors ----

    /// Whether a guest is in memory.
    pub fn is_hot(&self) -> bool {
        self.behaviour.is_hot()
    }

    /// Whether the [next](Self::next) step probably runs the guest. It does not while activity calls are to be started and
    /// stopped first.
    pub fn is_about_to_run(&self) -> bool {
        let ended = self.instance.status.has_ended();
        self.activities.is_empty() && !ended && self.behaviour.is_about_to_run(&self.instance, &self.inbox)
    }

    /// What a query would return now; `None` unless the guest has completed or failed.
    pub fn ended(&self, module_digest: ModuleDigest) -> Option<InstanceDetails> {
        self.behaviour.ended(&self.instance, module_digest)
    }

    /// The approximate size of what it keeps in memory besides its guest, in bytes.
    pub fn task_bytes(&self) -> u64 {
        self.behaviour.task_bytes()
    }

    // ---- inputs ----

    /// Receives the outcome of an activity call.
    pub fn receive_result(&mut self, result: ActivityResult) {
        self.behaviour.receive_result(result);
    }

    /// Resumes activity calls that were left out because there was no memory for them.
    pub fn resume_calls(&mut self) {
        self.behaviour.resume_calls();
    }

    /// Notes that there is no memory for further activity calls now.
    pub fn calls_left_out(&mut self) {
        self.behaviour.calls_left_out();
    }

    /// Whether there may be activity calls to resume.
    pub fn has_calls_to_resume(&self) -> bool {
        self.behaviour.has_calls_to_resume()
    }

    /// The tasks of the current execution whose outcomes have arrived.
    pub fn tasks_that_ended(&self) -> BTreeSet<TaskId> {
        self.behaviour.tasks_that_have_ended(&self.instance, &self.inbox)
    }

    /// The size of the results and messages that an orchestration has not taken, in bytes; the maximum if the store has
    /// more messages. `None` if it takes none now, because it is suspended or stuck.
    pub fn untaken_bytes(&self) -> Option<u64> {
        self.behaviour.untaken_bytes(&self.instance, &self.inbox)
    }

    /// Returns the results that are not durable yet, for the next owner after a failed commit.
    pub fn into_results(self) -> Vec<ActivityResult> {
        self.behaviour.into_results()
    }

    /// Whether the owner accepts an event [directly](Self::receive_event); the commit of the turn that takes the event
    /// then stores it. Otherwise the sender stores the event, or is refused if it does not fit: `max_bytes` limits the
    /// sum of an execution's history and its waiting events.
    pub fn takes_event(&self, event: &Event, max_bytes: u64, now: Timestamp) -> bool {
        self.behaviour
            .takes_event(event, max_bytes, now, &self.instance, &self.inbox)
    }

    /// Receives an event that is not durable yet. It becomes durable when a commit [includes](Self::committed) it or
    /// when the loop stores it.
    pub fn receive_event(&mut self, event: Event) {
        self.behaviour.receive_event(event);
    }

    /// Receives the events that [`Next::Events`](super::Next::Events) asked for. `newest` is the newest message that was
    /// in the store before the read.
    pub fn read_events(&mut self, newest: InboxSeq, pages: Vec<EventPage>) {
        self.behaviour.read_events(newest, pages, &self.instance);
    }

    /// Receives the next rows that [`Next::History`](super::Next::History) asked for, in order.
    ///
    /// # Errors
    /// If the host cannot run the guest now. A guest that deviates from its history is not an error: the instance
    /// becomes stuck.
    pub fn feed(&mut self, rows: &[Turn]) -> Result<(), HostUnavailable> {
        match self.behaviour.feed(rows) {
            Ok(()) => {}
            Err(FeedError::Unreadable(message)) => self.break_down(UNREADABLE, message),
            Err(FeedError::Stuck(reason)) => match &mut self.moving {
                Some(moving) => moving.misfit = Some(reason),
                None => self.breakdown = Some(reason),
            },
            Err(FeedError::Host(trouble)) => return Err(trouble),
        }
        Ok(())
    }

    /// Receives the attempts that [`Next::Attempts`](super::Next::Attempts) asked for.
    pub fn take_attempts(&mut self, noted: BTreeMap<TaskId, AttemptsSoFar>) {
        self.behaviour.take_attempts(noted);
    }
}
