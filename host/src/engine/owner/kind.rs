//! An instance of any kind: delegates to the behaviour of its kind.

use std::collections::{BTreeMap, BTreeSet};

use crate::entity::EntityGuest;
use crate::model::{
    EntityId, Event, EventPage, InboxItem, InboxRow, InboxSeq, ModuleDigest, ModuleNumber, TaskId, Timestamp, Turn,
};
use crate::replay::{Guest, HostUnavailable, Player};
use crate::store::{AttemptsSoFar, InstanceDetails, InstanceRecord, TurnCommit, TurnReceipt, Used};

use super::behaviour::{Behaviour, RunOutcome, StepChanges};
use super::entity::Entity;
use super::inbox::Inbox;
use super::inputs::{FeedError, Inputs};
use super::instance::Instance;
use super::{ActivityResult, Answer, Next, Orchestration, Owner, OwnerContext, Step};

/// The behaviour of an instance of any kind.
pub enum Kind<G, E> {
    /// An orchestration.
    Orchestration(Box<Orchestration<G>>),
    /// An entity.
    Entity(Box<Entity<E>>),
}

/// Calls a method of the behaviour.
macro_rules! on {
    ($kind:expr, $method:ident($($argument:expr),*)) => {
        match $kind {
            Kind::Orchestration(behaviour) => behaviour.$method($($argument),*),
            Kind::Entity(behaviour) => behaviour.$method($($argument),*),
        }
    };
}

impl<G: Guest, E: EntityGuest> Behaviour for Kind<G, E> {
    fn new(record: &mut InstanceRecord, inbox_from: InboxSeq) -> Self {
        match EntityId::of(&record.id) {
            Some(_) => Self::Entity(Box::new(Entity::new(record, inbox_from))),
            None => Self::Orchestration(Box::new(Orchestration::new(record, inbox_from))),
        }
    }

    fn receive(&mut self, row: InboxRow, instance: &Instance) -> Option<InboxRow> {
        on!(self, receive(row, instance))
    }

    fn missed_messages(&mut self) {
        on!(self, missed_messages());
    }

    fn read_again(&mut self) {
        on!(self, read_again());
    }

    fn cool(&mut self) {
        on!(self, cool());
    }

    fn unread_before(&self, step: &Step, instance: &Instance, inbox: &Inbox) -> Option<Next> {
        on!(self, unread_before(step, instance, inbox))
    }

    fn unjudged(&self, module: ModuleNumber, instance: &Instance) -> Option<Next> {
        on!(self, unjudged(module, instance))
    }

    fn run(
        &mut self,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> Result<RunOutcome, HostUnavailable> {
        on!(self, run(instance, inbox, context))
    }

    fn terminate(
        &mut self,
        reason: &str,
        instance: &Instance,
        inbox: &Inbox,
        context: &dyn OwnerContext,
    ) -> StepChanges {
        on!(self, terminate(reason, instance, inbox, context))
    }

    fn rewind(
        &mut self,
        reason: &str,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> RunOutcome {
        on!(self, rewind(reason, instance, inbox, context))
    }

    fn set_state(&mut self, instance: &Instance, inbox: &mut Inbox, context: &dyn OwnerContext) -> (StepChanges, bool) {
        on!(self, set_state(instance, inbox, context))
    }

    fn take_undurable(&mut self, instance: &Instance) -> Vec<(InboxItem, Option<Used>)> {
        on!(self, take_undurable(instance))
    }

    fn is_pending(&self, instance: &Instance) -> bool {
        on!(self, is_pending(instance))
    }

    fn wake_at(&self, instance: &Instance, inbox: &Inbox) -> Option<Timestamp> {
        on!(self, wake_at(instance, inbox))
    }

    fn activities_outstanding(&self) -> usize {
        on!(self, activities_outstanding())
    }

    fn complete(&mut self, commit: &mut TurnCommit) {
        on!(self, complete(commit));
    }

    fn committed(&mut self, receipt: &TurnReceipt) -> Vec<bool> {
        on!(self, committed(receipt))
    }
}

impl<G: Guest, E: EntityGuest> Inputs for Kind<G, E> {
    fn know_events_of(&mut self, bytes: usize) {
        on!(self, know_events_of(bytes));
    }

    fn is_hot(&self) -> bool {
        on!(self, is_hot())
    }

    fn is_about_to_run(&self, instance: &Instance, inbox: &Inbox) -> bool {
        on!(self, is_about_to_run(instance, inbox))
    }

    fn ended(&self, instance: &Instance, module_digest: ModuleDigest) -> Option<InstanceDetails> {
        on!(self, ended(instance, module_digest))
    }

    fn task_bytes(&self) -> u64 {
        on!(self, task_bytes())
    }

    fn receive_result(&mut self, result: ActivityResult) {
        on!(self, receive_result(result));
    }

    fn resume_calls(&mut self) {
        on!(self, resume_calls());
    }

    fn calls_left_out(&mut self) {
        on!(self, calls_left_out());
    }

    fn has_calls_to_resume(&self) -> bool {
        on!(self, has_calls_to_resume())
    }

    fn tasks_that_have_ended(&self, instance: &Instance, inbox: &Inbox) -> BTreeSet<TaskId> {
        on!(self, tasks_that_have_ended(instance, inbox))
    }

    fn untaken_bytes(&self, instance: &Instance, inbox: &Inbox) -> Option<u64> {
        on!(self, untaken_bytes(instance, inbox))
    }

    fn into_results(self) -> Vec<ActivityResult> {
        match self {
            Self::Orchestration(behaviour) => behaviour.into_results(),
            Self::Entity(behaviour) => behaviour.into_results(),
        }
    }

    fn takes_event(&self, event: &Event, max_bytes: u64, now: Timestamp, instance: &Instance, inbox: &Inbox) -> bool {
        on!(self, takes_event(event, max_bytes, now, instance, inbox))
    }

    fn receive_event(&mut self, event: Event) {
        on!(self, receive_event(event));
    }

    fn read_events(&mut self, newest: InboxSeq, pages: Vec<EventPage>, instance: &Instance) {
        on!(self, read_events(newest, pages, instance));
    }

    fn feed(&mut self, rows: &[Turn]) -> Result<(), FeedError> {
        on!(self, feed(rows))
    }

    fn take_attempts(&mut self, noted: BTreeMap<TaskId, AttemptsSoFar>) {
        on!(self, take_attempts(noted));
    }
}

impl<G: Guest, E: EntityGuest> Owner<Kind<G, E>> {
    /// Receives the guest that [`Next::Guest`] asked for.
    pub fn install(&mut self, player: Player<G>) {
        match &mut self.behaviour {
            Kind::Orchestration(behaviour) => behaviour.install(player),
            Kind::Entity(_) => unreachable!("an entity asks for no player"),
        }
    }

    /// Receives the guest that [`Next::Entity`] asked for.
    pub fn install_entity(&mut self, guest: E) {
        match &mut self.behaviour {
            Kind::Entity(behaviour) => behaviour.install(guest),
            Kind::Orchestration(_) => unreachable!("an orchestration asks for no entity"),
        }
    }

    /// Takes the answers for clients that became durable with the last commit.
    pub fn take_answers(&mut self) -> Vec<Answer> {
        match &mut self.behaviour {
            Kind::Entity(behaviour) => behaviour.take_answers(),
            Kind::Orchestration(_) => Vec::new(),
        }
    }
}
