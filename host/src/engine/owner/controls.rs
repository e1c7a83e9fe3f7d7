//! Suspends, resumes and terminates an instance without its guest.

use std::collections::BTreeSet;

use crate::model::{Arrival, Failure, InboxItem, InstanceStatus, TaskId, Turn, failure::types};
use crate::replay::{Guest, Outstanding, Place};

use super::arrivals::Gathered;
use super::{Next, Owner, OwnerContext};

impl<G: Guest> Owner<G> {
    /// Terminates the instance without its guest, so that it works even if the module is gone or the history does not
    /// replay.
    pub(super) fn terminate(&mut self, reason: String, context: &dyn OwnerContext) -> Next {
        let now = context.now().max(self.orchestration.ledger.last_at());
        let mut gathered = Gathered::default();
        if self.instance.position.is_first_turn()
            && let Some(started) = self.inbox.start()
        {
            gathered.arrive(Place::Own, Arrival::Started(Box::new(started.clone())));
        }
        let ended: BTreeSet<TaskId> = self.inbox.tasks_that_ended(self.instance.position.execution).collect();
        for (task, outstanding) in self.orchestration.ledger.tasks() {
            if let Outstanding::SubOrchestration(call) = outstanding
                && !ended.contains(&task)
            {
                let child = call.child_id(self.orchestration.attempts.of_child(task));
                let why = format!("its parent {} was terminated: {reason}", self.instance.identity.id);
                gathered.effects.terminate(child, why);
            }
        }
        gathered.messages = self.inbox.take_all();
        let message = if reason.is_empty() {
            "terminated".to_owned()
        } else {
            reason.clone()
        };
        let failure = Failure::new(types::TERMINATED, message).permanent();
        gathered
            .effects
            .notify_parent(self.instance.identity.parent.as_ref(), Err(failure));
        gathered.effects.activities.cancel_all = true;
        gathered.arrive(Place::Own, Arrival::Terminated { reason });
        self.instance.status = InstanceStatus::Terminated;
        self.instance.stuck = None;
        let arrivals = std::mem::take(&mut gathered.arrivals);
        let turn = Turn {
            number: self.instance.position.last_turn.next(),
            at: now,
            arrivals: arrivals.into_iter().map(|(_, arrival)| arrival).collect(),
            decisions: Vec::new(),
            fuel: 0,
        };
        self.instance.position.last_turn = turn.number;
        self.commit(context, now, Some(turn), gathered)
    }

    /// Applies the suspensions and resumptions in the inbox.
    pub(super) fn control(&mut self, context: &dyn OwnerContext) -> Next {
        let mut gathered = Gathered::default();
        gathered.messages = self.inbox.take_controls();
        let mut status = self.instance.status;
        for message in &gathered.messages {
            match message.item {
                InboxItem::Suspend { .. } if status != InstanceStatus::Stuck => status = InstanceStatus::Suspended,
                InboxItem::Resume { .. } if self.instance.position.is_first_turn() => status = InstanceStatus::Pending,
                InboxItem::Resume { .. } => status = InstanceStatus::Running,
                _ => {}
            }
        }
        if self.instance.is_suspended_or_stuck() && matches!(status, InstanceStatus::Pending | InstanceStatus::Running)
        {
            // Messages that arrived while the instance was suspended or stuck were not forwarded to this owner.
            self.inbox.has_missed_some();
            self.events.forget();
        }
        if self.instance.status == InstanceStatus::Stuck && status != InstanceStatus::Stuck {
            self.instance.stuck = None;
            self.breakdown = None;
            self.stage.read_again();
            self.cool();
        }
        self.instance.status = status;
        self.commit(context, context.now(), None, gathered)
    }
}
