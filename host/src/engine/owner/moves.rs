//! Moves an instance to another version of its module.
//!
//! A guest of the new version replays the history. If it repeats all decisions, one commit pins the instance to that
//! version; otherwise the instance stays where it is. The owner does both, so that no turn comes in between. Nothing of
//! this is stored before: after a crash the instance is on one version or the other, and the request can be repeated.

use crate::model::{LogLevel, LogLine, ModuleNumber, StuckReason};

use super::behaviour::{Behaviour, StepChanges};
use super::{InstanceStatus, Next, Owner, OwnerContext};

/// A version to which an instance shall move.
#[derive(Debug, Clone)]
pub struct MoveTo {
    /// The version.
    pub module: ModuleNumber,
    /// Only find out whether the history fits.
    pub dry_run: bool,
    /// The line for the log of the instance, if it moves.
    pub note: String,
}

/// A move that has not ended.
#[derive(Debug)]
pub(super) struct Moving {
    to: MoveTo,
    /// Why the history does not fit, as soon as that is known.
    pub(super) misfit: Option<StuckReason>,
    /// The commit that moves the instance is in flight.
    in_commit: bool,
}

impl<B: Behaviour> Owner<B> {
    /// Begins to move the instance; [`Self::next`] asks for what that needs. It ends with [`Next::Judged`] or with a commit
    /// after which [`Self::take_moved`] returns true.
    ///
    /// # Panics
    /// If another move has not ended.
    pub fn begin_move(&mut self, to: MoveTo) {
        assert!(self.moving.is_none(), "one move at a time");
        // The guest in memory is of another version.
        self.cool();
        self.moving = Some(Moving {
            to,
            misfit: None,
            in_commit: false,
        });
    }

    /// Stops a move whose commit is not in flight. The instance stays on its version.
    pub fn end_move(&mut self) {
        if self.moving.take_if(|moving| !moving.in_commit).is_some() {
            self.cool();
        }
    }

    /// Whether a move is to go on.
    pub(super) fn is_moving(&self) -> bool {
        self.moving.as_ref().is_some_and(|moving| !moving.in_commit)
    }

    /// Whether the last commit has moved the instance; true once.
    pub fn take_moved(&mut self) -> bool {
        self.moving.take_if(|moving| moving.in_commit).is_some()
    }

    /// Continues with a move.
    pub(super) fn go_on_moving(&mut self, context: &dyn OwnerContext) -> Next {
        let moving = self.moving.as_mut().expect("the instance moves");
        if moving.misfit.is_none()
            && let Some(needed) = self.behaviour.unjudged(moving.to.module, &self.instance)
        {
            return needed;
        }
        if moving.misfit.is_some() || moving.to.dry_run {
            let misfit = moving.misfit.take();
            self.end_move();
            return Next::Judged(misfit);
        }
        moving.in_commit = true;
        let mut changes = StepChanges::none(context.now());
        changes.effects.logs.push(LogLine {
            at: changes.at,
            execution: self.instance.position.execution,
            task: None,
            attempt: None,
            level: LogLevel::Info,
            message: moving.to.note.clone(),
        });
        self.instance.module = moving.to.module;
        // It was about the version before.
        self.breakdown = None;
        if self.instance.status == InstanceStatus::Stuck {
            self.goes_on();
        }
        self.commit(changes, context)
    }

    /// Lets a stuck instance run again: its history fits the new version.
    fn goes_on(&mut self) {
        self.instance.status = match self.behaviour.is_pending(&self.instance) {
            true => InstanceStatus::Pending,
            false => InstanceStatus::Running,
        };
        self.instance.stuck = None;
        // Messages that arrived while the instance was stuck were not forwarded to this owner.
        self.inbox.has_missed_some();
        self.behaviour.missed_messages();
    }
}
