//! Suspends, resumes and terminates an instance without its guest.

use crate::model::{Failure, InboxItem, InstanceStatus, failure::types};

use super::behaviour::{Behaviour, StepChanges};
use super::{Next, Owner, OwnerContext};

impl<B: Behaviour> Owner<B> {
    /// Terminates the instance without its guest, so that it works even if the module is gone or the history does not
    /// replay.
    pub(super) fn terminate(&mut self, reason: &str, context: &dyn OwnerContext) -> Next {
        let mut changes = self.behaviour.terminate(reason, &self.instance, &self.inbox, context);
        changes.messages = self.inbox.take_all();
        let message = if reason.is_empty() { "terminated" } else { reason };
        let failure = Failure::new(types::TERMINATED, message).permanent();
        let parent = self.instance.identity.parent.as_ref();
        changes.effects.notify_parent(parent, Err(failure));
        changes.effects.activities.cancel_all = true;
        self.instance.status = InstanceStatus::Terminated;
        self.instance.stuck = None;
        self.commit(changes, context)
    }

    /// Applies the suspensions and resumptions in the inbox.
    pub(super) fn control(&mut self, context: &dyn OwnerContext) -> Next {
        let mut changes = StepChanges::none(context.now());
        changes.messages = self.inbox.take_controls();
        let mut status = self.instance.status;
        for message in &changes.messages {
            match message.item {
                InboxItem::Suspend { .. } if status != InstanceStatus::Stuck => status = InstanceStatus::Suspended,
                InboxItem::Resume { .. } if self.behaviour.is_pending(&self.instance) => {
                    status = InstanceStatus::Pending;
                }
                InboxItem::Resume { .. } => status = InstanceStatus::Running,
                _ => {}
            }
        }
        if self.instance.is_suspended_or_stuck() && matches!(status, InstanceStatus::Pending | InstanceStatus::Running)
        {
            self.missed_messages();
        }
        if self.instance.status == InstanceStatus::Stuck && status != InstanceStatus::Stuck {
            self.is_not_stuck();
        }
        self.instance.status = status;
        self.commit(changes, context)
    }

    /// Changes the state of an entity as operators ask, without its guest. An entity that was stuck goes on with its new
    /// state.
    pub(super) fn set_state(&mut self, context: &dyn OwnerContext) -> Next {
        let (changes, is_changed) = self.behaviour.set_state(&self.instance, &mut self.inbox, context);
        let is_stuck = self.instance.status == InstanceStatus::Stuck || self.breakdown.is_some();
        if is_changed && is_stuck {
            self.missed_messages();
            self.is_not_stuck();
            self.instance.status = InstanceStatus::Running;
        }
        self.commit(changes, context)
    }

    /// Messages that arrived while the instance was suspended or stuck were not forwarded to this owner.
    fn missed_messages(&mut self) {
        self.inbox.has_missed_some();
        self.behaviour.missed_messages();
    }

    /// Lets a stuck instance try again.
    fn is_not_stuck(&mut self) {
        self.instance.stuck = None;
        self.breakdown = None;
        if self.stage.take_unreadable() {
            self.behaviour.read_again();
        }
        self.behaviour.cool();
    }
}
