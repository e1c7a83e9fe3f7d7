//! Writes what a session makes durable, and then answers and wakes those concerned.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{GuestOwner, Session, pause};
use crate::engine::completions::{drop_those_that_wait, void_tokens};
use crate::engine::events;
use crate::engine::flight_recorder::Flight;
use crate::engine::mail::{EventOutcome, Mail, MoveOutcome};
use crate::engine::mailbox::Mailbox;
use crate::engine::owner::{ActivityChanges, StartActivity};
use crate::engine::stats::Step;
use crate::model::{InboxItem, TenantId};
use crate::store::{self, StartOutcome, TurnCommit, TurnReceipt, Used};
use crate::tenancy::Work;

impl Session<'_> {
    /// Carries out the effects of a durable step: answers its senders and wakes other instances.
    pub(super) fn committed(&mut self, owner: &mut GuestOwner, receipt: &TurnReceipt) {
        self.creation.give(Ok(StartOutcome::Created(self.instance)));
        let raised = owner.committed(receipt);
        self.reader.first_turns.clear();
        self.has_taken_turn = true;
        self.failures = 0;
        for (reply, durable) in self.raised.drain(..raised.len()).zip(raised) {
            let _ = reply.send(if durable {
                EventOutcome::Durable
            } else {
                EventOutcome::NotTaken
            });
        }
        if owner.take_moved() {
            self.moved(MoveOutcome::Moved);
        }
        self.announce(owner.tenant(), receipt);
        let shared = self.shared;
        for answer in owner.take_answers() {
            shared.operations.answer(answer.request, &answer.outcome);
        }
        if owner.has_ended() {
            let digest = || shared.guests.digest(owner.module());
            let end = || digest().and_then(|digest| owner.ended(digest)).map(Arc::new);
            shared.waiters.ended(self.instance, end);
        }
        if shared.options.hot_guests == 0 {
            owner.cool();
        }
    }

    /// Answers those who wait for the commit with the error of the store.
    pub(super) fn refuse(&mut self, error: store::Error) {
        for reply in self.raised.drain(..) {
            let _ = reply.send(EventOutcome::Failed(error.clone()));
        }
        self.creation.give(Err(error));
    }

    /// Appends to the inbox what the instance cannot take now.
    pub(super) async fn keep(&mut self, items: Vec<(InboxItem, Option<Used>)>) {
        let results = items.len() - self.raised.len();
        for (position, (item, used)) in items.into_iter().enumerate() {
            let reply = (position >= results).then(|| self.raised.pop_front()).flatten();
            let kept = self.shared.store.deliver_used(self.instance, item, used).await;
            if let Err(error) = &kept {
                // If a result is not durable, its activity runs again after a restart.
                tracing::error!(instance = self.instance.0, %error, "a message could not be stored");
            }
            let Some(reply) = reply else { continue };
            let _ = reply.send(match kept {
                Ok(Some(_)) => EventOutcome::Durable,
                Ok(None) => EventOutcome::NotTaken,
                Err(error) => EventOutcome::Failed(error),
            });
        }
    }

    /// Writes a commit, and gives back the memory that its turn took.
    pub(super) async fn write(&mut self, commit: TurnCommit) -> Result<TurnReceipt, store::Error> {
        let committed = self.commit(commit).await;
        self.turn = None;
        committed
    }

    async fn commit(&self, mut commit: TurnCommit) -> Result<TurnReceipt, store::Error> {
        let checked = events::drop_unfit(&*self.shared.guests, &self.shared.store, &mut commit).await;
        let (wake_at, step) = (commit.summary.wake_at, Step::of(&commit));
        let (tenant, fuel) = (commit.tenant, commit.fuel_of_guest());
        let children = commit.children.len() as u64;
        let turn = commit.turn.is_some() || commit.entity.is_some();
        let turn = turn.then_some(Flight::turn(self.instance, commit.execution));
        let committed = match checked {
            Ok(()) => self.shared.store.commit(commit).await,
            Err(error) => Err(error),
        };
        match committed {
            Ok(receipt) => {
                turn.into_iter().for_each(|turn| self.shared.quiet_periods.ended(turn));
                let counted = self.shared.stats.count_step(&step, &receipt);
                let work = Work { fuel, ..counted };
                self.shared.tenancy.count_work(tenant, work);
                if children > 0 {
                    self.shared.tenancy.note_starts(tenant, children);
                }
                match wake_at {
                    Some(wake_at) => self.shared.timers.arm(tenant, self.instance, wake_at),
                    None => self.shared.timers.disarm(self.instance),
                }
                Ok(receipt)
            }
            Err(error) => {
                tracing::error!(instance = self.instance.0, %error, "a turn could not be written; it will run again");
                Err(error)
            }
        }
    }

    /// Wakes the instances that a commit created or sent messages to.
    fn announce(&self, tenant: TenantId, receipt: &TurnReceipt) {
        for created in &receipt.created {
            self.owners.deliver(tenant, *created, Mail::Wake);
        }
        for (instance, row) in &receipt.delivered {
            if *instance == self.instance {
                continue;
            }
            if receipt.at_rest.contains(instance) && !row.item.is_control() {
                self.owners.deliver_if_active(*instance, row.clone());
            } else {
                self.owners.deliver(tenant, *instance, Mail::Inbox(row.clone()));
            }
        }
    }

    /// Starts and stops activity calls.
    pub(super) async fn change_activities(
        &mut self,
        owner: &mut GuestOwner,
        changes: ActivityChanges,
        mailbox: &mut Mailbox,
    ) {
        let activities = &self.shared.activities;
        let cancelled = changes.cancel.into_iter();
        let not_in_progress: BTreeSet<_> = cancelled
            .filter(|(execution, task)| !activities.cancel(self.instance, *execution, *task))
            .collect();
        if !not_in_progress.is_empty() {
            void_tokens(&self.shared.environment, self.instance, &not_in_progress).await;
        }
        if changes.cancel_all {
            activities.cancel_all(self.instance);
        }
        let mut start = changes.start;
        if changes.resumes {
            self.drop_ended(owner, &mut start, mailbox);
            self.drop_waiting(&mut start).await;
            // One that waited until then may have been completed meanwhile.
            self.drop_ended(owner, &mut start, mailbox);
        }
        for start in start {
            let started = activities.start(self.owners, owner.tenant(), self.instance, owner.id(), start);
            if !started {
                // It and those that follow are resumed when there is memory.
                owner.calls_left_out();
                break;
            }
        }
        if !owner.has_calls_to_resume() {
            self.starting_calls = None;
        }
    }

    /// Drops calls that are in progress or have ended. A call delivers its result before it leaves the table, so the
    /// result of one that is not in the table is in the mailbox by now, or the owner has it.
    fn drop_ended(&mut self, owner: &mut GuestOwner, start: &mut Vec<StartActivity>, mailbox: &mut Mailbox) {
        self.shared.activities.drop_those_in_progress(self.instance, start);
        while let Some(mail) = mailbox.try_recv() {
            self.receive(owner, mail);
        }
        if mailbox.has_missed() {
            // A result may be among the rows that did not fit. The owner that reads them resumes the calls.
            start.clear();
            return;
        }
        let ended = owner.tasks_that_ended();
        start.retain(|start| !ended.contains(&start.task));
    }

    /// Drops calls that wait to be completed from outside. They may have begun to wait after their attempts were read.
    async fn drop_waiting(&self, start: &mut Vec<StartActivity>) {
        loop {
            match drop_those_that_wait(&self.shared.environment, self.instance, start).await {
                Ok(()) => return,
                Err(store::Error::Closed | store::Error::NotOwner) => return start.clear(),
                Err(error) => {
                    tracing::error!(instance = self.instance.0, %error, "waiting calls could not be read; trying again");
                    if !pause(self.shared).await {
                        return start.clear();
                    }
                }
            }
        }
    }
}
