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
            // Messages that arrived while the instance was suspended or stuck were not forwarded to this owner.
            self.inbox.has_missed_some();
            self.behaviour.missed_messages();
        }
        if self.instance.status == InstanceStatus::Stuck && status != InstanceStatus::Stuck {
            self.instance.stuck = None;
            self.breakdown = None;
            if self.stage.take_unreadable() {
                self.behaviour.read_again();
            }
            self.behaviour.cool();
        }
        self.instance.status = status;
        self.commit(changes, context)
    }
}
