//! The seam between what all instances have in common and what depends on their kind.
//!
//! The owner keeps the common part: who the instance is, its status and its inbox, and the order of steps and commits.
//! A [`Behaviour`] keeps the rest of the state in memory and decides with it. It does not commit and does not change
//! the status: it returns [`StepChanges`], which the owner turns into a commit.
//!
//! The owner asks [`unread_before`](Behaviour::unread_before) ahead of each step until nothing is left to read, and
//! then [runs](Behaviour::run) or [terminates](Behaviour::terminate) the instance. Each commit, whatever its step was,
//! goes through [`complete`](Behaviour::complete), and [`committed`](Behaviour::committed) follows once it is durable.
//! If it fails, the owner is dropped together with its behaviour.

use crate::model::{InboxItem, InboxRow, InboxSeq, ModuleNumber, StuckReason, Timestamp, Turn};
use crate::replay::HostUnavailable;
use crate::store::{InstanceRecord, TurnCommit, TurnReceipt, Used};

use super::effects::Effects;
use super::inbox::{Inbox, TakenMessage};
use super::inputs::Inputs;
use super::instance::Instance;
use super::{Next, OwnerContext, Step};

/// One kind of instance: its state in memory, and what its steps do.
pub trait Behaviour: Inputs + Sized {
    // ---- taking over and receiving ----

    /// The state of an instance that was read from the store. Takes those messages out of the record that it keeps
    /// itself; the others go to the [`Inbox`]. `inbox_from` is the newest inbox row in the store just before the record
    /// was read.
    fn new(record: &mut InstanceRecord, inbox_from: InboxSeq) -> Self;

    /// Receives a durable message. Returns it if it belongs in the inbox.
    fn receive(&mut self, row: InboxRow, instance: &Instance) -> Option<InboxRow>;

    /// Notes that the store may have messages that were not delivered to this owner, because the instance was suspended
    /// or stuck.
    fn missed_messages(&mut self);

    /// Reads the instance again from the next step on, because it could not be read to its end before.
    fn read_again(&mut self);

    /// Drops what the next step can compute again from what is stored, such as a guest.
    fn cool(&mut self);

    // ---- steps ----

    /// What the loop has to read before this step, if anything.
    fn unread_before(&self, step: &Step, instance: &Instance, inbox: &Inbox) -> Option<Next>;

    /// What the loop has to do before it is known whether the history fits this module version, if anything. Then the
    /// guest in memory, if there is one, is of that version and has replayed all of it.
    fn unjudged(&self, module: ModuleNumber, instance: &Instance) -> Option<Next> {
        let _ = (module, instance);
        None
    }

    /// Takes what has arrived and runs the guest with it, if there is a reason to.
    ///
    /// # Errors
    /// If the host cannot run the guest now. The guest is dropped; everything that arrived is kept.
    fn run(
        &mut self,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> Result<RunOutcome, HostUnavailable>;

    /// Ends the instance without its guest. The owner takes the inbox and tells the parent.
    fn terminate(
        &mut self,
        reason: &str,
        instance: &Instance,
        inbox: &Inbox,
        context: &dyn OwnerContext,
    ) -> StepChanges;

    /// Rewinds the instance, which has failed. Takes the requests to do so from the inbox.
    fn rewind(
        &mut self,
        reason: &str,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> RunOutcome;

    /// Changes the state as operators ask. Takes their requests from the inbox. Returns whether the state has changed.
    fn set_state(&mut self, instance: &Instance, inbox: &mut Inbox, context: &dyn OwnerContext) -> (StepChanges, bool);

    /// Takes what is not durable yet, because the instance does not run now. It is appended to the inbox.
    fn take_undurable(&mut self, instance: &Instance) -> Vec<(InboxItem, Option<Used>)>;

    /// Whether the instance has not begun, so that it is pending when it is resumed.
    fn is_pending(&self, instance: &Instance) -> bool;

    // ---- commits ----

    /// When the instance has to run again if nothing arrives before.
    fn wake_at(&self, instance: &Instance, inbox: &Inbox) -> Option<Timestamp>;

    /// How many activity calls are outstanding.
    fn activities_outstanding(&self) -> usize;

    /// Adds to a commit what becomes durable with any step, also with one that the owner takes without the behaviour,
    /// such as a suspension.
    fn complete(&mut self, commit: &mut TurnCommit);

    /// Notes that the commit is durable. Returns for each message that was received directly, in order, whether it is
    /// durable.
    fn committed(&mut self, receipt: &TurnReceipt) -> Vec<bool>;
}

/// What came of [`Behaviour::run`].
pub enum RunOutcome {
    /// There is nothing to commit. The loop has to do this next.
    Next(Next),
    /// The step has taken or caused something; the owner commits it.
    Changed(Box<StepChanges>),
    /// The instance cannot run; it becomes stuck.
    Stuck(StuckReason),
}

/// What a step takes, stores and causes.
pub struct StepChanges {
    /// The time of the step.
    pub(super) at: Timestamp,
    /// Messages that were taken, including those that the instance does not need any more.
    pub(super) messages: Vec<TakenMessage>,
    /// The turn that is added to the history.
    pub(super) turn: Option<Turn>,
    pub(super) effects: Effects,
}

impl StepChanges {
    /// No changes, for a commit that stores only the instance's row and what is not durable yet.
    pub(super) fn none(at: Timestamp) -> Self {
        Self {
            at,
            messages: Vec::new(),
            turn: None,
            effects: Effects::default(),
        }
    }
}
