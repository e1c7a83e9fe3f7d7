//! The owner of one instance: collects what arrived, runs the guest, and returns what must become durable.
//!
//! Synchronous and pure apart from its guest: the caller passes in time, randomness and functions, and the owner
//! returns its effects as a value. The async loop around it ([`super::owner_loop`]) reads history, writes commits and
//! passes messages; tests and the simulation call [`Owner::next`] themselves and choose what happens in between.
//!
//! Here is what all instances have in common: who they are, their inbox, which step comes next, and how it is
//! committed. What depends on the kind of an instance is behind [`Behaviour`]; the kinds are in folders of their own
//! ([`orchestration`], [`entity`]); an owner that may be of either has a [`Kind`].

mod interface;

mod inbox;
mod instance;
mod stage;

mod commit;
mod controls;
mod effects;
mod moves;

mod behaviour;
mod inputs;

mod entity;
mod kind;
mod orchestration;

use crate::model::{
    ExecutionNumber, InboxRow, InboxSeq, InstanceId, InstanceNumber, InstanceStatus, ModuleNumber, Rewinds,
    StuckReason, TenantId, TurnNumber,
};
use crate::replay::HostUnavailable;
use crate::store::{Creation, InstanceRecord};

pub use self::interface::{ActivityChanges, ActivityResult, Answer, Next, OwnerContext, StartActivity};
pub use self::kind::Kind;
pub use self::moves::MoveTo;
pub(super) use self::orchestration::KNOWN_EVENT_BYTES;
pub use self::orchestration::Orchestration;
use self::{
    behaviour::{Behaviour, RunOutcome, StepChanges},
    inbox::Inbox,
    instance::Instance,
    moves::Moving,
    stage::Stage,
};

/// The code of the stuck reason of an instance whose history is damaged or incomplete.
pub(super) const UNREADABLE: &str = "history-unreadable";

/// The state of an active instance in memory: what all instances have in common, and the behaviour of its kind.
pub struct Owner<B> {
    instance: Instance,
    stage: Stage,
    inbox: Inbox,
    behaviour: B,
    /// Why the instance becomes stuck with the next commit.
    breakdown: Option<StuckReason>,
    /// The move to another module version that has not ended.
    moving: Option<Moving>,
    /// Changes to activity calls that are due now that their cause is durable.
    activities: ActivityChanges,
    /// Those that are due once the commit in flight is durable.
    in_commit: Option<ActivityChanges>,
}

/// The kinds of steps, most urgent first.
pub enum Step {
    /// Terminate the instance for this reason.
    Terminate(String),
    /// Suspend or resume it.
    Control,
    /// Continue to move it to another module version.
    Move,
    /// Change the state of an entity, as operators ask.
    SetState,
    /// Mark it as stuck.
    BreakDown,
    /// Run no turn for now, but keep what arrives.
    Hold,
    /// Rewind the instance for this reason.
    Rewind(String),
    /// Run a turn if there is a reason to.
    Run,
}

impl<B: Behaviour> Owner<B> {
    /// Creates the owner of a stored instance. `inbox_from` is the newest inbox row in the store just before the record
    /// was read.
    pub fn new(mut record: InstanceRecord, inbox_from: InboxSeq) -> Self {
        let behaviour = B::new(&mut record, inbox_from);
        let messages = std::mem::take(&mut record.inbox);
        Self {
            stage: Stage::Stored,
            inbox: Inbox::new(inbox_from, messages, record.more_inbox),
            instance: Instance::new(record),
            behaviour,
            breakdown: None,
            moving: None,
            activities: ActivityChanges::default(),
            in_commit: None,
        }
    }

    /// Creates the owner of an instance that is not stored yet. Its first commit creates the instance together with its
    /// first turn, or without that turn if `turn_later` is set.
    pub fn not_stored(number: InstanceNumber, creation: Creation, turn_later: bool) -> Self {
        let new = &creation.instance;
        let started = new.started.clone();
        let record = InstanceRecord {
            number,
            tenant: new.tenant,
            id: new.id.clone(),
            function: started.function.clone(),
            module: new.module,
            parent: started.parent.clone(),
            status: InstanceStatus::Pending,
            stuck: None,
            execution: started.execution,
            last_turn: TurnNumber::NONE,
            created_at: new.created_at,
            custom_status: None,
            entity: None,
            more_delayed: false,
            fuel: 0,
            history_bytes: 0,
            event_bytes: 0,
            inbox: Vec::new(),
            more_inbox: false,
            more_events: false,
            rewinds: Rewinds::none(started.execution),
            has_attempts: false,
            first_turns: Vec::new(),
        };
        Self {
            stage: Stage::NotStored {
                creation: Box::new(creation),
                turn_later,
            },
            inbox: Inbox::of_new(started),
            ..Self::new(record, InboxSeq(0))
        }
    }

    // ---- accessors ----

    /// The instance's number.
    pub fn number(&self) -> InstanceNumber {
        self.instance.identity.number
    }

    /// The instance's id.
    pub fn id(&self) -> &InstanceId {
        &self.instance.identity.id
    }

    /// The instance's tenant.
    pub fn tenant(&self) -> TenantId {
        self.instance.identity.tenant
    }

    /// The module version it runs on.
    pub fn module(&self) -> ModuleNumber {
        self.instance.module
    }

    /// The current execution and its last durable turn.
    pub fn position(&self) -> (ExecutionNumber, TurnNumber) {
        (self.instance.position.execution, self.instance.position.last_turn)
    }

    /// Whether the instance is not stored yet.
    pub fn is_not_stored(&self) -> bool {
        matches!(self.stage, Stage::NotStored { .. })
    }

    /// Whether the last turn of the instance is durable.
    pub fn has_ended(&self) -> bool {
        self.in_commit.is_none() && self.instance.status.has_ended()
    }

    // ---- inputs ----

    /// Receives a durable message.
    pub fn receive(&mut self, row: InboxRow) {
        if let Some(row) = self.behaviour.receive(row, &self.instance) {
            self.inbox.receive(row);
        }
    }

    /// Drops the guest; the next turn replays the history.
    pub fn cool(&mut self) {
        self.behaviour.cool();
    }

    /// Makes the instance stuck with the next commit, for a reason outside its guest.
    pub fn break_down(&mut self, code: &str, message: String) {
        self.cool();
        let reason = StuckReason {
            code: code.to_owned(),
            message,
        };
        if let Some(moving) = &mut self.moving {
            moving.misfit = Some(reason.clone());
            // Its own version may be well, and a stuck instance keeps its reason.
            if code != UNREADABLE || self.instance.status == InstanceStatus::Stuck {
                return;
            }
        }
        if code == UNREADABLE {
            self.stage.cannot_be_read();
        }
        self.breakdown = Some(reason);
    }

    /// Postpones the first turn of an instance that is not stored yet: the next commit creates the instance without it.
    pub fn turn_later(&mut self) {
        if let Stage::NotStored { turn_later, .. } = &mut self.stage {
            *turn_later = true;
        }
    }

    /// Takes the activity calls to start and to stop now that their cause is durable; [`Next::Activities`] will not
    /// return them again.
    pub fn take_activity_changes(&mut self) -> ActivityChanges {
        std::mem::take(&mut self.activities)
    }

    /// Whether the instance has ended here, but a request to rewind it arrived since: what is stored runs again.
    pub fn is_rewound(&self) -> bool {
        self.instance.status.has_ended() && self.inbox.rewind_reason().is_some()
    }

    // ---- steps ----

    /// Returns what the loop has to do next. Call it again afterwards.
    ///
    /// # Errors
    /// If the host cannot run the guest now. The guest is dropped; everything that arrived is kept.
    pub fn next(&mut self, context: &dyn OwnerContext) -> Result<Next, HostUnavailable> {
        assert!(self.in_commit.is_none(), "one commit at a time");
        if !self.activities.is_empty() {
            return Ok(Next::Activities(self.take_activity_changes()));
        }
        if self.instance.status.has_ended() {
            return Ok(Next::Ended);
        }
        if self.is_created_without_turn(context) {
            // The stored start comes back with the receipt.
            self.inbox.take_start();
            return Ok(self.commit(StepChanges::none(context.now()), context));
        }
        let step = self.step(context);
        if let Some(next) = self.unread_before(&step) {
            return Ok(next);
        }
        match step {
            Step::Terminate(reason) => Ok(self.terminate(&reason, context)),
            Step::Control => Ok(self.control(context)),
            Step::Move => Ok(self.go_on_moving(context)),
            Step::SetState => Ok(self.set_state(context)),
            Step::BreakDown => Ok(self.become_stuck(context)),
            Step::Hold => Ok(self.hold()),
            Step::Rewind(reason) => {
                let outcome = self.behaviour.rewind(&reason, &self.instance, &mut self.inbox, context);
                Ok(self.came_out(outcome, context))
            }
            Step::Run => self.run(context),
        }
    }

    fn step(&self, context: &dyn OwnerContext) -> Step {
        if let Some(reason) = self.inbox.terminate_reason() {
            Step::Terminate(reason.to_owned())
        } else if self.inbox.has_control() {
            Step::Control
        } else if self.is_moving() && !context.is_held() && !self.rewinds_next() {
            Step::Move
        } else if self.inbox.has_state_change() {
            Step::SetState
        } else if self.breakdown.is_some() {
            Step::BreakDown
        } else if self.instance.is_suspended_or_stuck() || context.is_held() {
            Step::Hold
        } else if let Some(reason) = self.inbox.rewind_reason() {
            Step::Rewind(reason.to_owned())
        } else {
            Step::Run
        }
    }

    /// Whether a rewind comes before everything that depends on the history, which it changes.
    fn rewinds_next(&self) -> bool {
        self.inbox.rewind_reason().is_some() && !self.instance.is_suspended_or_stuck() && self.breakdown.is_none()
    }

    /// What the loop has to read before a step on a stored instance, if anything. What cannot be read blocks no step.
    fn unread_before(&self, step: &Step) -> Option<Next> {
        // A move has its own questions.
        if matches!(step, Step::Hold | Step::Move) || matches!(self.stage, Stage::Unreadable) {
            return None;
        }
        self.behaviour.unread_before(step, &self.instance, &self.inbox)
    }

    /// Whether the instance is not stored and its first turn cannot run now.
    fn is_created_without_turn(&self, context: &dyn OwnerContext) -> bool {
        match self.stage {
            Stage::NotStored { turn_later, .. } => turn_later || self.breakdown.is_some() || context.is_held(),
            Stage::Stored | Stage::Unreadable => false,
        }
    }

    fn become_stuck(&mut self, context: &dyn OwnerContext) -> Next {
        self.instance.status = InstanceStatus::Stuck;
        self.instance.stuck = self.breakdown.take();
        self.commit(StepChanges::none(context.now()), context)
    }

    /// Runs no turn. Stores what is not durable yet, because it may wait for long.
    fn hold(&mut self) -> Next {
        let undurable = self.behaviour.take_undurable(&self.instance);
        match undurable.is_empty() {
            true => Next::Idle(None),
            false => Next::Store(undurable),
        }
    }

    /// Runs a turn, or asks for what the turn needs.
    fn run(&mut self, context: &dyn OwnerContext) -> Result<Next, HostUnavailable> {
        if self.inbox.is_to_be_read() {
            return Ok(Next::Store(self.behaviour.take_undurable(&self.instance)));
        }
        let outcome = self.behaviour.run(&self.instance, &mut self.inbox, context)?;
        Ok(self.came_out(outcome, context))
    }

    /// What follows from a step of the behaviour.
    fn came_out(&mut self, outcome: RunOutcome, context: &dyn OwnerContext) -> Next {
        match outcome {
            RunOutcome::Next(next) => next,
            RunOutcome::Changed(changes) => {
                if changes.turn.is_some() {
                    self.instance.status = InstanceStatus::Running;
                }
                self.commit(*changes, context)
            }
            RunOutcome::Stuck(StuckReason { code, message }) => {
                self.break_down(&code, message);
                self.become_stuck(context)
            }
        }
    }
}
