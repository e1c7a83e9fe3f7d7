//! What happens to sub-orchestrations that have not ended when their parent ends.
//!
//! An execution that continues as new ends for its children, too: the next one does not know their tasks, and would not
//! take their outcomes. The messages to the children are part of the commit with the last turn. There are at most as
//! many as an execution may have outstanding tasks.

use std::collections::BTreeSet;

use crate::engine::owner::effects::Effects;
use crate::engine::owner::inbox::Inbox;
use crate::engine::owner::instance::Instance;
use crate::model::{Decision, ParentClose, TaskId, Turn};
use crate::replay::{Guest, Outstanding};

use super::Orchestration;

/// How an execution ends that can be rewound.
pub(super) const HAS_FAILED: &str = "has failed";

/// Why the children of an instance are closed that ends in this way. After a rewind, a failure with this message is void.
pub(super) fn reason_to_close(instance: &Instance, end: &str) -> String {
    format!("its parent {} {end}", instance.identity.id)
}

impl<G: Guest> Orchestration<G> {
    /// Closes the children of an execution whose last turn the ledger has applied. Those for which the code chose nothing
    /// go on.
    pub(super) fn close_children(&self, turn: &Turn, effects: &mut Effects, instance: &Instance, inbox: &Inbox) {
        let end = match turn.decisions.last() {
            Some(Decision::Complete { .. }) => "has completed",
            Some(Decision::ContinueAsNew { .. }) => "has continued as new",
            _ if effects.is_cancelled => "was cancelled",
            _ => HAS_FAILED,
        };
        let reason = reason_to_close(instance, end);
        self.close_each_child(ParentClose::Abandon, &reason, effects, instance, inbox);
    }

    /// Closes each child that has not ended as the code chose, or else in this way.
    pub(super) fn close_each_child(
        &self,
        unless_chosen: ParentClose,
        reason: &str,
        effects: &mut Effects,
        instance: &Instance,
        inbox: &Inbox,
    ) {
        let ended: BTreeSet<TaskId> = inbox.tasks_that_ended(instance.position.execution).collect();
        for (task, outstanding) in self.execution.ledger.tasks() {
            let Outstanding::SubOrchestration(call) = outstanding else {
                continue;
            };
            if ended.contains(&task) {
                continue;
            }
            let child = || call.child_id(self.execution.attempts.of_child(task));
            match call.on_parent_close.unwrap_or(unless_chosen) {
                ParentClose::Abandon => {}
                ParentClose::Terminate => effects.terminate_child(child(), reason.to_owned()),
                ParentClose::Cancel => effects.cancel_child(child(), reason.to_owned()),
            }
        }
    }
}
