//! Suspending, resuming and ending an instance from outside. None of it needs the guest.

use crate::model::{Arrival, Failure, InboxItem, InstanceStatus, Turn, TurnNumber, failure::types};
use crate::replay::{Guest, Outstanding, Place};

use super::{Next, Owner, OwnerContext, arrivals::Gathered};

impl<G: Guest> Owner<G> {
    pub(super) fn terminate_reason(&self) -> Option<String> {
        self.inbox.values().find_map(|item| match item {
            InboxItem::Terminate { reason } => Some(reason.clone()),
            _ => None,
        })
    }

    /// Ends the instance without its guest: works when the module is gone and when the history does not replay.
    pub(super) fn terminate(&mut self, reason: String, context: &dyn OwnerContext) -> Next {
        let now = context.now().max(self.ledger.last_at());
        let mut gathered = Gathered::default();
        if self.last_turn == TurnNumber::NONE
            && let Some(InboxItem::Start(started)) =
                self.inbox.values().find(|item| matches!(item, InboxItem::Start(_)))
        {
            gathered.arrive(Place::Own, Arrival::Started(started.clone()));
        }
        for (task, outstanding) in self.ledger.tasks() {
            let answered = self.inbox.values().any(
                |item| matches!(item, InboxItem::TaskEnded { execution, task: t, .. } if *execution == self.execution && *t == task),
            );
            if let Outstanding::SubOrchestration(call) = outstanding
                && !answered
            {
                let child = call.child_id(self.child_attempt(task));
                gathered
                    .effects
                    .terminate(child, format!("its parent {} was terminated: {reason}", self.id));
            }
        }
        gathered.consumed = self.inbox.keys().copied().collect();
        self.inbox.clear();
        let message = if reason.is_empty() {
            "terminated".to_owned()
        } else {
            reason.clone()
        };
        let failure = Failure::new(types::TERMINATED, message).permanent();
        gathered.effects.tell_parent(self.parent.as_ref(), Err(failure));
        gathered.arrive(Place::Own, Arrival::Terminated { reason });
        self.status = InstanceStatus::Terminated;
        self.stuck = None;
        self.activities.cancel_all = true;
        let arrivals = std::mem::take(&mut gathered.arrivals);
        let turn = Turn {
            number: self.last_turn.next(),
            at: now,
            arrivals: arrivals.into_iter().map(|(_, arrival)| arrival).collect(),
            decisions: Vec::new(),
            fuel: 0,
        };
        self.last_turn = turn.number;
        self.commit(context, now, Some(turn), gathered)
    }

    pub(super) fn has_control(&self) -> bool {
        self.inbox
            .values()
            .any(|item| matches!(item, InboxItem::Suspend { .. } | InboxItem::Resume { .. }))
    }

    /// Takes suspensions and resumptions out of the inbox.
    pub(super) fn control(&mut self, context: &dyn OwnerContext) -> Next {
        let mut gathered = Gathered::default();
        let mut status = self.status;
        for (seq, item) in &self.inbox {
            match item {
                InboxItem::Suspend { .. } if status != InstanceStatus::Stuck => status = InstanceStatus::Suspended,
                InboxItem::Resume { .. } if self.last_turn == TurnNumber::NONE => status = InstanceStatus::Pending,
                InboxItem::Resume { .. } => status = InstanceStatus::Running,
                InboxItem::Suspend { .. } => {}
                _ => continue,
            }
            gathered.consumed.push(*seq);
        }
        for seq in &gathered.consumed {
            self.inbox.remove(seq);
        }
        if self.is_suspended_or_stuck() && matches!(status, InstanceStatus::Pending | InstanceStatus::Running) {
            // Nobody was told what came meanwhile.
            self.more_inbox = true;
            self.pending.forget();
            self.quiet = false;
        }
        if self.status == InstanceStatus::Stuck && status != InstanceStatus::Stuck {
            self.stuck = None;
            self.new_stuck = None;
            self.attempts_unread |= self.unreadable;
            self.unreadable = false;
            self.player = None;
        }
        self.status = status;
        self.commit(context, context.now(), None, gathered)
    }
}
