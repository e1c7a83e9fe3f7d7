//! Checks operations one after the other, and collects the rows that they write.
//!
//! No I/O and no async: the writer has collected everything that an operation may need, and the plan knows the changes
//! of earlier operations of the batch before they are on disk. So two starts of the same id in one batch see each
//! other.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use super::{
    instance_heads::InstanceHeads,
    operation::{EncodedCommit, EncodedCompletion, EncodedItem},
    pruning::OldAttempts,
    rows::Rows,
    sizing::{LinesToWrite, Sizing},
};
use crate::{
    model::{
        ExecutionNumber, Failure, FunctionName, InboxItem, InboxRow, InstanceId, InstanceNumber, InstanceStatus,
        ReplyTo, Rewinds, TaskId, TenantId, Timestamp, TurnNumber, codec, failure::types,
    },
    store::{
        AppendOutcome, AttemptRow, BroadcastPiece, Completion, CompletionChange, CompletionOutcome, Creation,
        EntityAddress, Error, Heartbeat, IdempotencyKey, InboxAppend, KeyedAnswer, NewInstance, PurgeOutcome,
        RaisedByBroadcast, Recipient, RewoundChild, StartOutcome, TurnCommit, TurnReceipt, Used,
        attempts::{AttemptKey, NewAttempt},
        completions::{COMPLETION_BYTES, CompletionKey, NewCompletion},
        counters::Counters,
        events::{NewEvent, OldEvent},
        garbage::Garbage,
        heartbeats::{HeartbeatKey, NewHeartbeat},
        history::NewTurn,
        idempotency::{NewAnswer, NewKey, StoredKey},
        inbox::{ConsumedMessage, NewMessage},
        instances::{ByNumber, ChangedInstance, CreatedInstance, InstanceHead},
        sizes::Sizes,
        tags::{self, NewTag},
    },
};

/// The numbers of interned function names, by tenant and name.
pub(super) type FunctionNumbers = HashMap<(TenantId, FunctionName), u64>;

/// Idempotency keys, by tenant and text.
pub(super) type Keys = HashMap<(TenantId, String), StoredKey>;

/// Calls that may be completed from outside.
pub(super) type Completions = HashMap<CompletionKey, Completion>;

/// The lengths of stored heartbeats, in bytes.
pub(super) type OldHeartbeats = HashMap<HeartbeatKey, u64>;

/// How many messages wait for the entities that the batch may delete, as counted by
/// [`count_messages`](crate::store::backend::Connection::count_messages).
pub(super) type Waiting = HashMap<InstanceNumber, u64>;

/// A batch that is being planned.
pub(super) struct Plan<'a> {
    pub(super) heads: InstanceHeads,
    pub(super) keys: Keys,
    pub(super) attempts: OldAttempts,
    /// The calls that the batch changes and that may be completed from outside.
    pub(super) completions: Completions,
    /// The lengths of the details of heartbeats that the batch replaces, in bytes.
    pub(super) heartbeats: OldHeartbeats,
    /// How many messages wait for the entities that the batch may delete, with the changes of the batch so far.
    pub(super) waiting: Waiting,
    pub(super) functions: &'a FunctionNumbers,
    pub(super) counters: &'a mut Counters,
    pub(super) rows: Rows<'a>,
    pub(super) sizing: Sizing,
    /// Tenants that were deleted since the host started. Creations for them are refused.
    pub(super) gone: HashSet<TenantId>,
}

impl<'a> Plan<'a> {
    /// Appends a client's message to the inbox of a live instance.
    pub(super) fn append(
        &mut self,
        append: &'a InboxAppend,
        bytes: &'a [u8],
        key: Option<&'a IdempotencyKey>,
    ) -> AppendOutcome {
        match self.use_of_key(append.tenant, key, append.at) {
            KeyUse::Repeated(_) => return AppendOutcome::Repeated,
            KeyUse::Reused => return AppendOutcome::KeyReused,
            KeyUse::First => {}
        }
        if let Some(address) = &append.entity {
            self.entity(append.tenant, address, append.at);
        }
        let Some(head) = self.heads.by_id(append.tenant, &append.id) else {
            return AppendOutcome::Unknown;
        };
        let (instance, status, is_at_rest) = (head.number, head.status, head.is_at_rest());
        let rewinds = matches!(append.item, InboxItem::Rewind { .. });
        if rewinds && status != InstanceStatus::Failed {
            return AppendOutcome::NotFailed(status);
        }
        if !rewinds && status.has_ended() {
            return AppendOutcome::Ended(status);
        }
        if head.sizes.stored() >= append.max_bytes && !append.item.is_control() {
            return AppendOutcome::Full;
        }
        if head.waiting >= append.max_waiting && !append.item.is_control() {
            return AppendOutcome::TooManyWaiting;
        }
        self.keep_key(append.tenant, key, &append.id);
        AppendOutcome::Appended {
            instance,
            row: self.write_message(instance, &append.item, Cow::Borrowed(bytes)),
            is_at_rest,
        }
    }

    /// Delivers a message of the host to an instance. Drops the message if the instance does not take it or does not
    /// exist.
    pub(super) fn deliver(
        &mut self,
        to: InstanceNumber,
        item: &'a EncodedItem,
        used: Option<&'a Used>,
    ) -> Option<InboxRow> {
        used.into_iter().for_each(|used| self.note_usage(used));
        if !self.takes(to, &item.item) {
            return None;
        }
        Some(self.write_message(to, &item.item, Cow::Borrowed(&item.bytes)))
    }

    /// Those instances of a piece of a broadcast that can get the event.
    pub(super) fn recipients(&self, piece: &BroadcastPiece) -> Vec<InstanceNumber> {
        let is_recipient = |number: &InstanceNumber| {
            let head = self.heads.by_number(*number).filter(|head| head.tenant == piece.tenant);
            head.is_some_and(|head| !head.status.has_ended() && head.sizes.stored() < piece.max_bytes)
        };
        piece.instances.iter().copied().filter(is_recipient).collect()
    }

    /// Raises an event for each of these live instances.
    pub(super) fn raise_for_all(
        &mut self,
        instances: &[InstanceNumber],
        item: &'a EncodedItem,
    ) -> Vec<RaisedByBroadcast> {
        let raise = |number: &InstanceNumber| RaisedByBroadcast {
            instance: *number,
            row: self.write_message(*number, &item.item, Cow::Borrowed(&item.bytes)),
            is_at_rest: self.heads.by_number(*number).is_some_and(InstanceHead::is_at_rest),
        };
        instances.iter().map(raise).collect()
    }

    /// Writes a step of an instance together with all its effects.
    pub(super) fn commit(&mut self, work: &'a EncodedCommit) -> Result<TurnReceipt, Error> {
        let commit = &work.commit;
        let instance = commit.instance;
        let mut receipt = TurnReceipt::default();
        if let Some(creation) = &commit.creation {
            if self.heads.was_created(instance) {
                receipt.refused = Some(StartOutcome::Created(instance));
                return Ok(receipt);
            }
            // Checked before any change: a contradiction must not affect the instance that is stored under the id.
            check_fits(&before_creation(instance, &creation.instance), work)?;
            receipt.refused = self.take_creation(instance, creation);
            if receipt.refused.is_some() {
                return Ok(receipt);
            }
            self.heads.note_created(instance);
            self.write_tags(instance, creation);
        }
        let Some(head) = self
            .heads
            .by_number_mut(instance)
            .filter(|head| !head.status.has_ended())
        else {
            receipt.instance_gone = true;
            return Ok(receipt);
        };
        check_fits(head, work)?;
        head.status = commit.summary.status;
        head.execution = commit.summary.execution;
        head.last_turn = commit.summary.last_turn;
        head.has_wake_up = commit.summary.wake_at.is_some();
        receipt.rewound_until = commit.rewinds.as_ref().map(|_| self.counters.newest_seq());

        commit.usage.iter().for_each(|used| self.rows.usage.add(used));
        self.write_own_rows(work);
        if let Some(start) = &work.start {
            let row = self.write_message(instance, &start.item, Cow::Borrowed(&start.bytes));
            receipt.delivered.push((instance, row));
        }
        for event in &work.kept {
            let row = self.write_message(instance, &event.item, Cow::Borrowed(&event.bytes));
            receipt.kept.push(row.seq);
        }
        if let Some(start) = &work.next_execution {
            self.rows.garbage.push(Garbage::Execution(instance, commit.execution));
            if let Some(head) = self.heads.by_number(instance) {
                self.sizing.continued(head);
            }
            self.resize(instance, |sizes| *sizes = sizes.continued());
            let row = self.write_message(instance, &start.item, Cow::Borrowed(&start.bytes));
            receipt.delivered.push((instance, row));
        }
        for (child, start) in commit.children.iter().zip(&work.children) {
            match self.create(child, start) {
                Ok(number) => receipt.created.push(number),
                Err(_) => receipt.delivered.extend(self.report_that_child_exists(instance, child)),
            }
        }
        for (child, start) in commit.rewound.iter().zip(&work.rewound) {
            self.rewind_child(instance, child, start, &mut receipt);
        }
        for (message, bytes) in commit.messages.iter().zip(&work.messages) {
            let recipient = match &message.to {
                Recipient::Number(number) => Some(*number),
                Recipient::Id(id) => self.heads.by_id(commit.tenant, id).map(|head| head.number),
                Recipient::Child(id) => {
                    let found = self.heads.by_id(commit.tenant, id);
                    found
                        .filter(|head| head.parent == Some(instance))
                        .map(|head| head.number)
                }
                // Also for an unlock: it may arrive before the request to lock, which must find that the section is over.
                Recipient::Entity(address) => Some(self.entity(commit.tenant, address, commit.summary.updated_at)),
            };
            if let Some(number) = recipient.filter(|number| self.takes(*number, &message.item)) {
                if let Some(call) = self.call_without_room(number, &message.item, commit) {
                    receipt.delivered.extend(self.refuse_call(instance, &call));
                    continue;
                }
                let row = self.write_message(number, &message.item, Cow::Borrowed(bytes));
                let rests = |head: &InstanceHead| head.is_at_rest() || head.status.has_ended();
                if self.heads.by_number(number).is_some_and(rests) {
                    receipt.at_rest.insert(number);
                }
                receipt.delivered.push((number, row));
            }
        }
        // A failed instance may be rewound. Then it needs the events and outcomes that it has not taken.
        if commit.summary.status.has_ended() && commit.summary.status != InstanceStatus::Failed {
            self.rows.garbage.push(Garbage::Inbox(instance));
            self.resize(instance, |sizes| sizes.events = 0);
        }
        receipt.deleted = commit.ends() && self.end_entity(instance);
        Ok(receipt)
    }

    /// Deletes an entity if no message waits for it. Returns whether it was deleted. The writer alone adds messages, so none
    /// can arrive for it afterwards: the next one creates another instance.
    fn end_entity(&mut self, instance: InstanceNumber) -> bool {
        let is_idle = self.waiting.get(&instance) == Some(&0);
        if is_idle {
            self.rows.end(instance);
            self.delete(instance);
        }
        is_idle
    }

    /// Records an attempt of the current execution of a live instance. Its log lines are kept even if the instance has
    /// ended since, because people read them.
    pub(super) fn note_attempt(
        &mut self,
        instance: InstanceNumber,
        attempt: &'a AttemptRow,
        lines: LinesToWrite<'a>,
        used: Option<&'a Used>,
    ) -> bool {
        used.into_iter().for_each(|used| self.note_usage(used));
        let Some(head) = self.heads.by_number(instance) else {
            return false;
        };
        let noted = !head.status.has_ended() && head.execution == attempt.execution;
        if noted {
            self.write_attempt(instance, attempt);
        }
        self.write_lines(instance, lines);
        noted
    }

    /// Stores the heartbeat of a call of the current execution of a live instance.
    pub(super) fn note_heartbeat(&mut self, instance: InstanceNumber, heartbeat: &'a Heartbeat) -> bool {
        let head = self.heads.by_number(instance);
        if head.is_none_or(|head| head.status.has_ended() || head.execution != heartbeat.execution) {
            return false;
        }
        let bytes = heartbeat.details.as_str().len();
        let key = HeartbeatKey::of(instance, heartbeat);
        let replaced = self.heartbeats.insert(key, bytes as u64);
        self.resize(instance, |sizes| {
            if let Some(replaced) = replaced {
                sizes.remove(replaced);
            }
            sizes.add(bytes);
        });
        self.rows.heartbeats.push(NewHeartbeat { instance, heartbeat });
        true
    }

    /// Changes a call that may be completed from outside.
    pub(super) fn change_completion(&mut self, work: &'a EncodedCompletion) -> CompletionOutcome {
        let lines = LinesToWrite {
            lines: &work.lines,
            max_bytes: work.max_log_bytes,
        };
        self.write_lines(work.instance, lines);
        let (instance, wanted) = (work.instance, &work.completion);
        let key = CompletionKey::of(instance, wanted);
        let Some(head) = self.heads.by_number(instance) else {
            return CompletionOutcome::Gone;
        };
        let is_live = !head.status.has_ended() && head.execution == wanted.execution;
        let found = self.completions.get(&key).cloned();
        let is_new = found.is_none();
        let stored = match (&work.change, found) {
            (CompletionChange::Open, _) => wanted.clone(),
            (_, Some(stored)) if stored.token == wanted.token => stored,
            _ => return CompletionOutcome::Gone,
        };
        let Some(changed) = work.change.apply(&stored) else {
            return CompletionOutcome::Refused(stored.state);
        };
        // The time of a call whose instance has ended is not looked at again.
        if !is_live && (is_new || !matches!(work.change, CompletionChange::Fail(..))) {
            return CompletionOutcome::Gone;
        }
        if is_new {
            self.resize(instance, |sizes| sizes.add(COMPLETION_BYTES));
        }
        self.completions.insert(key, changed.clone());
        self.rows.completions.push(NewCompletion {
            instance,
            completion: changed,
        });
        if !is_live {
            return CompletionOutcome::Gone;
        }
        if let Some(attempt) = work.attempt() {
            self.write_attempt(instance, attempt);
        }
        let item = work.item.as_ref();
        let row = item.map(|item| self.write_message(instance, &item.item, Cow::Borrowed(&item.bytes)));
        CompletionOutcome::Changed(row)
    }

    /// Records the usage of something that has no other row.
    pub(super) fn note_usage(&mut self, used: &'a Used) {
        self.rows.usage.add(used);
    }

    /// Deletes an instance that has ended.
    pub(super) fn purge(&mut self, tenant: TenantId, id: &InstanceId) -> PurgeOutcome {
        match self.heads.by_id(tenant, id) {
            None => PurgeOutcome::Unknown,
            Some(head) if !head.status.has_ended() => PurgeOutcome::NotEnded(head.status),
            Some(head) => {
                self.delete(head.number);
                PurgeOutcome::Purged
            }
        }
    }

    /// Deletes those of the instances that have ended. Returns how many were deleted.
    pub(super) fn purge_many(&mut self, tenant: TenantId, instances: &[InstanceNumber]) -> u64 {
        let mut purged = 0;
        for number in instances {
            let head = self.heads.by_number(*number);
            if head.is_some_and(|head| head.tenant == tenant && head.status.has_ended()) {
                self.delete(*number);
                purged += 1;
            }
        }
        purged
    }

    /// The number of an entity, which is created if it does not exist.
    fn entity(&mut self, tenant: TenantId, address: &'a EntityAddress, at: Timestamp) -> InstanceNumber {
        if let Some(head) = self.heads.by_id(tenant, &address.id) {
            if !head.status.has_ended() {
                return head.number;
            }
            self.delete(head.number);
        }
        let number = self.counters.instances().take(tenant, &address.id);
        self.heads.learn(InstanceHead {
            number,
            tenant,
            id: address.id.clone(),
            status: InstanceStatus::Running,
            execution: ExecutionNumber::FIRST,
            last_turn: TurnNumber::NONE,
            parent: None,
            has_wake_up: false,
            waiting: 0,
            sizes: Sizes::EMPTY,
        });
        self.sizing.created(tenant, number);
        let function = (tenant, address.name.clone());
        self.rows.create(CreatedInstance {
            tenant,
            id: &address.id,
            function: *self
                .functions
                .get(&function)
                .expect("the batch interned the functions it names"),
            created_at: at,
            parent: None,
            state: ChangedInstance {
                number,
                status: InstanceStatus::Running,
                execution: ExecutionNumber::FIRST,
                last_turn: TurnNumber::NONE,
                wake_at: None,
                in_flight: 0,
                module: address.module,
                updated_at: at,
                fuel: 0,
                stuck: None,
                custom_status: None,
                entity: None,
                rewinds: None,
                sizes: Sizes::EMPTY,
            },
        });
        number
    }

    /// Whether an instance takes a message: one that has not ended takes all, except that only a failed one can be rewound.
    /// A failed one also takes outcomes of its tasks, because it may be rewound.
    fn takes(&self, instance: InstanceNumber, item: &InboxItem) -> bool {
        let Some(head) = self.heads.by_number(instance) else {
            return false;
        };
        let has_failed = head.status == InstanceStatus::Failed;
        match item {
            InboxItem::Rewind { .. } => has_failed,
            InboxItem::TaskEnded { execution, .. } if has_failed => *execution == head.execution,
            _ => !head.status.has_ended(),
        }
    }

    /// Lets a sub-orchestration of an instance that is rewound run again.
    fn rewind_child(
        &mut self,
        parent: InstanceNumber,
        child: &'a RewoundChild,
        start: &'a [u8],
        receipt: &mut TurnReceipt,
    ) {
        let RewoundChild { instance: new, reason } = child;
        let own = self.heads.by_id(new.tenant, &new.id);
        let own = own.filter(|head| head.parent == Some(parent));
        match own.map(|head| (head.number, head.status)) {
            Some((number, InstanceStatus::Failed)) => {
                let item = InboxItem::Rewind { reason: reason.clone() };
                let bytes = codec::encode(&item);
                receipt
                    .delivered
                    .push((number, self.write_message(number, &item, Cow::Owned(bytes))));
            }
            Some((_, status)) if status == InstanceStatus::Completed || !status.has_ended() => {}
            _ => match self.create(new, start) {
                Ok(number) => receipt.created.push(number),
                Err(_) => receipt.delivered.extend(self.report_that_child_exists(parent, new)),
            },
        }
    }

    fn is_live(&self, instance: InstanceNumber) -> bool {
        self.heads
            .by_number(instance)
            .is_some_and(|head| !head.status.has_ended())
    }

    /// Prepares the creation of an instance, or returns why it is refused.
    fn take_creation(&mut self, number: InstanceNumber, creation: &'a Creation) -> Option<StartOutcome> {
        let Creation { instance: new, key, .. } = creation;
        if self.gone.contains(&new.tenant) {
            return Some(StartOutcome::TenantGone);
        }
        match self.use_of_key(new.tenant, key.as_ref(), new.created_at) {
            KeyUse::Repeated(id) => return Some(StartOutcome::Repeated(id)),
            KeyUse::Reused => return Some(StartOutcome::KeyReused),
            KeyUse::First => {}
        }
        if let Err(status) = self.take_id(number, new) {
            return Some(StartOutcome::AlreadyExists(status));
        }
        self.keep_key(new.tenant, key.as_ref(), &new.id);
        None
    }

    /// Gives the id to a new instance, and deletes an ended instance that had it. Fails with the status of a live
    /// instance that has it.
    fn take_id(&mut self, number: InstanceNumber, new: &'a NewInstance) -> Result<(), InstanceStatus> {
        match self.heads.by_id(new.tenant, &new.id) {
            Some(head) if !head.status.has_ended() => return Err(head.status),
            Some(head) => self.delete(head.number),
            None => {}
        }
        self.heads.learn(before_creation(number, new));
        self.sizing.created(new.tenant, number);
        Ok(())
    }

    /// Deletes an instance that has ended, and all its rows.
    fn delete(&mut self, instance: InstanceNumber) {
        if let Some(head) = self.heads.by_number(instance) {
            self.sizing.deleted(head);
        }
        self.heads.forget(instance);
        self.rows.delete(instance);
    }

    /// The row of a new instance, in the state after its first step.
    fn created(&self, new: &'a NewInstance, state: ChangedInstance<'a>) -> CreatedInstance<'a> {
        let function = (new.tenant, new.started.function.clone());
        CreatedInstance {
            tenant: new.tenant,
            id: &new.id,
            function: *self
                .functions
                .get(&function)
                .expect("the batch interned the functions it names"),
            created_at: new.created_at,
            parent: new.started.parent.as_ref(),
            state,
        }
    }

    /// Creates an instance that has not run its first turn. Fails with the status of a live instance that has the id.
    fn create(&mut self, new: &'a NewInstance, start: &'a [u8]) -> Result<InstanceNumber, InstanceStatus> {
        let number = self.counters.instances().take(new.tenant, &new.id);
        self.take_id(number, new)?;
        let pending = ChangedInstance {
            number,
            status: InstanceStatus::Pending,
            execution: new.started.execution,
            last_turn: TurnNumber::NONE,
            wake_at: new.started.not_before,
            in_flight: 0,
            module: new.module,
            updated_at: new.created_at,
            fuel: 0,
            stuck: None,
            custom_status: None,
            entity: None,
            rewinds: None,
            sizes: Sizes::EMPTY,
        };
        let created = self.created(new, pending);
        self.rows.create(created);
        let seq = self.counters.next_seq();
        self.resize(number, |sizes| sizes.add(start.len()));
        self.rows.messages.push(NewMessage {
            instance: number,
            seq,
            control: true,
            due_at: None,
            item: Cow::Borrowed(start),
        });
        Ok(number)
    }

    /// Writes the turn, the messages it consumed, its attempts and log lines, and the instance row.
    fn write_own_rows(&mut self, work: &'a EncodedCommit) {
        let commit = &work.commit;
        let instance = commit.instance;
        let until = self.counters.newest_seq();
        let rewinds = commit.rewinds.clone().map(|rewinds| Rewinds { until, ..rewinds });
        let rewinds = rewinds.map(|rewinds| codec::encode(&rewinds));
        if let (Some(turn), Some(body)) = (&commit.turn, &work.turn) {
            self.resize(instance, |sizes| sizes.add(body.len()));
            self.rows.turns.push(NewTurn {
                instance,
                execution: commit.execution,
                turn: turn.number,
                body,
            });
        }
        self.rows.consumed.extend(
            commit
                .consumed
                .iter()
                .map(|seq| ConsumedMessage { instance, seq: *seq }),
        );
        if let Some(waiting) = self.waiting.remove(&instance)
            && let Some(left) = waiting.checked_sub(commit.consumed.len() as u64)
        {
            self.waiting.insert(instance, left);
        }
        for taken in &commit.taken_events {
            self.resize(instance, |sizes| sizes.take_event(taken.bytes));
            self.rows.taken_events.push(OldEvent {
                instance,
                name: &taken.name,
                seq: taken.seq,
            });
        }
        if let Some(head) = self.heads.by_number_mut(instance) {
            head.waiting = head.waiting.saturating_sub(commit.consumed.len() as u64);
        }
        for attempt in &commit.attempts {
            self.write_attempt(instance, attempt);
        }
        let lines = LinesToWrite {
            lines: &commit.logs,
            max_bytes: commit.max_log_bytes,
        };
        self.write_lines(instance, lines);
        let summary = &commit.summary;
        if let Some(Some(status)) = &summary.custom_status {
            self.resize(instance, |sizes| sizes.add(status.as_str().len()));
        }
        if let (Some(change), Some(encoded)) = (&commit.entity, &work.entity) {
            self.resize(instance, |sizes| {
                if change.replaced > 0 {
                    sizes.remove(change.replaced);
                }
                sizes.add(encoded.len());
                change.consumed.iter().for_each(|bytes| sizes.remove(*bytes));
            });
        }
        for (answer, encoded) in commit.answers().iter().zip(&work.answers) {
            self.keep_answer(commit.tenant, answer, encoded);
        }
        let ended = summary.status.has_ended();
        let state = ChangedInstance {
            number: instance,
            status: summary.status,
            execution: summary.execution,
            last_turn: summary.last_turn,
            wake_at: summary.wake_at.filter(|_| !ended),
            in_flight: if ended { 0 } else { summary.in_flight },
            module: summary.module,
            updated_at: summary.updated_at,
            fuel: summary.fuel,
            stuck: summary.stuck.as_ref(),
            custom_status: summary
                .custom_status
                .as_ref()
                .map(|status| status.as_ref().map(|payload| payload.as_str())),
            entity: work.entity.as_deref(),
            rewinds,
            sizes: Sizes::EMPTY,
        };
        match &commit.creation {
            Some(creation) => {
                let created = self.created(&creation.instance, state);
                self.rows.create(created);
            }
            None => self.rows.change(state),
        }
    }

    /// Writes the tags of a new instance.
    fn write_tags(&mut self, instance: InstanceNumber, creation: &'a Creation) {
        let tenant = creation.instance.tenant;
        self.resize(instance, |sizes| sizes.tags = tags::stored_bytes(&creation.tags));
        self.rows.tags.extend(creation.tags.iter().map(|(key, value)| NewTag {
            tenant,
            instance,
            key,
            value,
        }));
    }

    fn write_attempt(&mut self, instance: InstanceNumber, attempt: &'a AttemptRow) {
        let attempt = NewAttempt::new(instance, attempt);
        self.resize(instance, |sizes| sizes.add(attempt.failure.len()));
        if let Some(replaced) = AttemptKey::replaced_by(instance, attempt.attempt) {
            self.prune(replaced);
        }
        self.rows.attempts.push(attempt);
    }

    fn write_message(&mut self, to: InstanceNumber, item: &InboxItem, bytes: Cow<'a, [u8]>) -> InboxRow {
        let seq = self.counters.next_seq();
        if matches!(item, InboxItem::Rewind { .. }) {
            self.revive(to);
        }
        if let InboxItem::Event(event) = item {
            self.resize(to, |sizes| sizes.add_event(bytes.len()));
            self.rows.events.push(NewEvent {
                instance: to,
                name: event.name.folded(),
                seq,
                item: bytes,
            });
        } else {
            self.resize(to, |sizes| sizes.add(bytes.len()));
            if let Some(head) = self.heads.by_number_mut(to) {
                head.waiting += u64::from(head.is_entity());
            }
            if let Some(waiting) = self.waiting.get_mut(&to) {
                *waiting += 1;
            }
            self.rows.messages.push(NewMessage {
                instance: to,
                seq,
                control: item.is_control(),
                due_at: item.due_at(),
                item: bytes,
            });
        }
        InboxRow {
            seq,
            item: item.clone(),
        }
    }

    /// The call of an orchestration, if the entity has too many waiting messages for it. Calls of the holder of its lock
    /// are never too many.
    fn call_without_room(&self, entity: InstanceNumber, item: &InboxItem, commit: &TurnCommit) -> Option<RefusedCall> {
        let most = commit.max_waiting_operations;
        let InboxItem::Operation(operation) = item else {
            return None;
        };
        let Some(ReplyTo::Task {
            instance,
            execution,
            task,
        }) = operation.reply_to
        else {
            return None;
        };
        let head = self.heads.by_number(entity)?;
        let is_full = head.waiting >= most && operation.section.is_none() && instance == commit.instance;
        is_full.then(|| RefusedCall {
            execution,
            task,
            entity: head.id.clone(),
            most,
        })
    }

    /// Fails the task of a call that an entity has no room for.
    fn refuse_call(&mut self, caller: InstanceNumber, call: &RefusedCall) -> Option<(InstanceNumber, InboxRow)> {
        let RefusedCall {
            execution,
            task,
            entity,
            most,
        } = call;
        let message = format!(
            "{} has {most} waiting operations (maxWaitingOperations)",
            entity.as_str()
        );
        let item = InboxItem::TaskEnded {
            execution: *execution,
            task: *task,
            attempt: 0,
            outcome: Err(Failure::new(types::TOO_MANY_OPERATIONS, message)),
        };
        let bytes = codec::encode(&item);
        self.takes(caller, &item)
            .then(|| (caller, self.write_message(caller, &item, Cow::Owned(bytes))))
    }

    /// Lets a failed instance run again. Its owner rewinds it with its next commit.
    fn revive(&mut self, instance: InstanceNumber) {
        if let Some(head) = self.heads.by_number_mut(instance) {
            head.status = InstanceStatus::Running;
            self.rows.revived.push(ByNumber(instance));
        }
    }

    /// Fails the parent's task, because a live instance has the child's id. A detached start has no task to fail.
    fn report_that_child_exists(
        &mut self,
        parent: InstanceNumber,
        child: &NewInstance,
    ) -> Option<(InstanceNumber, InboxRow)> {
        let waiting = child.started.parent.as_ref()?;
        let message = format!("an instance with the id {:?} has not ended", child.id.as_str());
        let item = InboxItem::TaskEnded {
            execution: waiting.execution,
            task: waiting.task,
            attempt: waiting.attempt,
            outcome: Err(Failure::new(types::ALREADY_EXISTS, message)),
        };
        let bytes = codec::encode(&item);
        self.is_live(parent)
            .then(|| (parent, self.write_message(parent, &item, Cow::Owned(bytes))))
    }

    fn use_of_key(&self, tenant: TenantId, key: Option<&IdempotencyKey>, now: Timestamp) -> KeyUse {
        let Some(key) = key else { return KeyUse::First };
        match self.keys.get(&(tenant, key.key.clone())) {
            None => KeyUse::First,
            Some(stored) if stored.expires_at < now => KeyUse::First,
            Some(stored) if key.is_of(&stored.fingerprint) => KeyUse::Repeated(stored.instance_id.clone()),
            Some(_) => KeyUse::Reused,
        }
    }

    fn keep_key(&mut self, tenant: TenantId, key: Option<&'a IdempotencyKey>, instance_id: &'a InstanceId) {
        let Some(key) = key else { return };
        // An answer for the request that had the key until it expired.
        let is_of_another = |answer: &NewAnswer<'_>| answer.tenant != tenant || answer.key != key.key;
        self.rows.answers.retain(is_of_another);
        self.rows.keys.push(NewKey {
            tenant,
            key,
            instance_id,
        });
        let stored = StoredKey {
            tenant,
            key: key.key.clone(),
            fingerprint: key.fingerprint.to_vec(),
            instance_id: instance_id.clone(),
            expires_at: key.expires_at,
            answer_bytes: 0,
        };
        let after = stored.bytes();
        let expired = self.keys.insert((tenant, key.key.clone()), stored);
        let before = expired.map_or(0, |expired| expired.bytes());
        self.sizing.count(tenant, before, after);
    }

    /// Stores an answer with its key, unless the key was deleted or belongs to another request now.
    fn keep_answer(&mut self, tenant: TenantId, answer: &'a KeyedAnswer, encoded: &'a [u8]) {
        let Some(stored) = self.keys.get_mut(&(tenant, answer.key.clone())) else {
            return;
        };
        if stored.fingerprint != answer.fingerprint {
            return;
        }
        let before = stored.bytes();
        stored.answer_bytes = encoded.len() as u64;
        self.sizing.count(tenant, before, stored.bytes());
        self.rows.answers.push(NewAnswer {
            tenant,
            key: &answer.key,
            answer: encoded,
        });
    }
}

/// The head of an instance before its first step.
fn before_creation(number: InstanceNumber, new: &NewInstance) -> InstanceHead {
    InstanceHead {
        number,
        tenant: new.tenant,
        id: new.id.clone(),
        status: InstanceStatus::Pending,
        execution: new.started.execution,
        last_turn: TurnNumber::NONE,
        parent: new.started.parent.as_ref().map(|parent| parent.instance),
        has_wake_up: new.started.not_before.is_some(),
        waiting: 0,
        sizes: Sizes::EMPTY,
    }
}

/// A call of an orchestration to an entity that has too many waiting messages.
struct RefusedCall {
    execution: ExecutionNumber,
    task: TaskId,
    entity: InstanceId,
    /// How many messages may wait.
    most: u64,
}

/// The meaning of a request's idempotency key.
enum KeyUse {
    /// The request has no key, or a new one.
    First,
    /// The same request was already made. Contains the id of its instance.
    Repeated(InstanceId),
    /// A different request was made with the key.
    Reused,
}

/// Checks that the commit continues the stored state.
fn check_fits(head: &InstanceHead, work: &EncodedCommit) -> Result<(), Error> {
    let commit: &TurnCommit = &work.commit;
    let instance = commit.instance;
    let wrong = |what: String| Err(Error::Contradiction(format!("instance {instance}: {what}")));
    if commit.tenant != head.tenant {
        return wrong(format!("it belongs to tenant {}, not {}", head.tenant, commit.tenant));
    }
    if commit.execution != head.execution {
        return wrong(format!(
            "it is in execution {}, the commit in {}",
            head.execution, commit.execution
        ));
    }
    let mut last_turn = head.last_turn;
    if let Some(turn) = &commit.turn {
        last_turn = last_turn.next();
        if turn.number != last_turn {
            return wrong(format!(
                "its next turn is {last_turn}, the commit has turn {}",
                turn.number
            ));
        }
    }
    let (mut execution, summary) = (head.execution, &commit.summary);
    if work.next_execution.is_some() {
        (execution, last_turn) = (execution.next(), TurnNumber::NONE);
    }
    if (summary.execution, summary.last_turn) != (execution, last_turn) {
        return wrong(format!(
            "after the commit it is in execution {execution} with turn {last_turn}, the summary says {} and {}",
            summary.execution, summary.last_turn
        ));
    }
    if (summary.status == InstanceStatus::Stuck) != summary.stuck.is_some() {
        return wrong("a reason for being stuck goes with the status Stuck, and only with it".into());
    }
    Ok(())
}
