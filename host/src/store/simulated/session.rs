//! The writer's connection to the simulated disk. Runs one transaction at a time, on a copy of the committed content.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use super::super::{
    Completion, Error,
    attempts::{AttemptKey, Prunable},
    completions::{COMPLETION_BYTES, CompletionKey},
    garbage::{EXECUTIONS_WITH_LOG, Garbage, Room, Swept},
    heartbeats::HeartbeatKey,
    idempotency::{StoredKey, WantedKey},
    inbox::MAX_COUNTED,
    instances::{ById, ByNumber, ChangedInstance, CreatedInstance, InstanceHead},
    ownership::{Epoch, Ownership},
    sizes::ROW_BYTES,
    writer::rows::Rows,
};
use super::content::Message;
use super::{Content, Disk, InstanceRow, InstanceRows, PlantedBug, Step};
use crate::model::{
    Arrival, ExecutionNumber, FunctionName, InboxItem, InboxSeq, InstanceNumber, InstanceStatus, StuckReason, TenantId,
    Timestamp, Turn, TurnNumber, codec,
};

/// A connection. Nobody else sees the changes of its transaction before the commit; dropping it rolls them back.
pub(in crate::store) struct Session {
    disk: Disk,
    epoch: Epoch,
    transaction: Option<Content>,
    /// The content after each write of the transaction, for checkers that observe commits: one batch may create an
    /// instance, end it, purge it and sweep its rows.
    stages: Vec<Content>,
}

fn constraint(what: &str) -> Error {
    Error::database(io::Error::other(format!("constraint failed: {what}")))
}

impl Session {
    pub(in crate::store) fn new(disk: Disk) -> Self {
        Self {
            disk,
            epoch: Epoch::ONLY,
            transaction: None,
            stages: Vec::new(),
        }
    }

    pub(in crate::store) async fn take_over(&mut self) -> Result<Ownership, Error> {
        self.epoch = self.disk.next_epoch();
        Ok(Ownership::of_all(self.epoch))
    }

    /// Fails if another connection has taken over.
    fn assert_owner(&self) -> Result<(), Error> {
        match self.disk.epoch() == self.epoch {
            true => Ok(()),
            false => Err(Error::NotOwner),
        }
    }

    pub(in crate::store) async fn reopen(&mut self) -> Result<(), Error> {
        self.transaction = None;
        Ok(())
    }

    pub(in crate::store) async fn close(self) -> Result<(), Error> {
        Ok(())
    }

    pub(in crate::store) async fn begin(&mut self) -> Result<(), Error> {
        if self.transaction.is_some() {
            return Err(constraint("a transaction within a transaction"));
        }
        let treatment = self.disk.begin_step(Step::Begin).await?;
        self.assert_owner()?;
        self.transaction = Some(self.disk.content());
        self.stages.clear();
        self.disk.end_step(treatment).await;
        Ok(())
    }

    pub(in crate::store) async fn roll_back(&mut self) -> Result<(), Error> {
        let rolled_back = self.transaction.take();
        rolled_back.map(drop).ok_or_else(|| constraint("no transaction"))
    }

    pub(in crate::store) async fn commit(&mut self, rows: &Rows<'_>, begun: bool) -> Result<u64, Error> {
        if !begun {
            self.begin().await?;
        }
        let written = self.write(rows).await?;
        let treatment = self.disk.begin_step(Step::Commit).await?;
        self.assert_owner()?;
        let content = self.transaction.take();
        let mut stages = std::mem::take(&mut self.stages);
        stages.push(content.ok_or_else(|| constraint("no transaction"))?);
        self.disk.commit(stages);
        self.disk.end_step(treatment).await;
        Ok(written)
    }

    /// Runs `work` as a step of the transaction.
    pub(super) async fn step<T>(&mut self, work: impl FnOnce(&mut Content) -> T) -> Result<T, Error> {
        let treatment = self.disk.begin_step(Step::Write).await?;
        let done = match &mut self.transaction {
            Some(content) => work(content),
            // Reads also run outside a transaction. The copy is dropped, so changes would be lost.
            None => work(&mut self.disk.content()),
        };
        self.disk.end_step(treatment).await;
        Ok(done)
    }

    /// No simulated client keeps a position, so any key will do.
    pub(in crate::store) async fn key(&mut self, _name: &'static str) -> Result<[u8; 32], Error> {
        Ok([7; 32])
    }

    pub(in crate::store) async fn reserved(&mut self, counter: &'static str) -> Result<Option<u64>, Error> {
        self.step(|content| content.counters.get(counter).copied()).await
    }

    pub(in crate::store) async fn reserve(&mut self, counter: &'static str, reserved: u64) -> Result<(), Error> {
        self.step(|content| {
            content.counters.insert(counter, reserved);
        })
        .await
    }

    pub(in crate::store) async fn stored_bytes(&mut self) -> Result<HashMap<TenantId, u64>, Error> {
        let stored = self.step(|content| {
            let mut stored = content.catalogue.counted_by_tenant();
            for (_, row, _) in content.existing() {
                *stored.entry(row.tenant).or_default() += row.sizes.total();
            }
            for ((tenant, name), row) in content.schedules.iter() {
                *stored.entry(*tenant).or_default() += row.counted(name);
            }
            for row in content.broadcasts.iter() {
                *stored.entry(row.broadcast.tenant).or_default() += row.bytes;
            }
            for key in content.keys.values() {
                *stored.entry(key.tenant).or_default() += key.bytes();
            }
            stored
        });
        stored.await
    }

    pub(in crate::store) async fn intern(&mut self, tenant: TenantId, name: &FunctionName) -> Result<u64, Error> {
        let number = self.step(|content| {
            let next = content.functions.len() as u64 + 1;
            *Arc::make_mut(&mut content.functions)
                .entry((tenant, name.clone()))
                .or_insert(next)
        });
        number.await
    }

    pub(in crate::store) async fn heads_by_number(&mut self, wanted: &[ByNumber]) -> Result<Vec<InstanceHead>, Error> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let heads = self.step(|content| wanted.iter().filter_map(|by| content.head(by.0)).collect());
        heads.await
    }

    pub(in crate::store) async fn heads_by_id(&mut self, wanted: &[ById<'_>]) -> Result<Vec<InstanceHead>, Error> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let heads = self.step(|content| {
            let numbers = wanted.iter().filter_map(|by| content.ids.get(&(by.0, by.1.clone())));
            numbers.filter_map(|number| content.head(*number)).collect()
        });
        heads.await
    }

    pub(in crate::store) async fn find_keys(&mut self, wanted: &[WantedKey<'_>]) -> Result<Vec<StoredKey>, Error> {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let keys = self.step(|content| {
            let found = wanted
                .iter()
                .filter_map(|key| content.keys.get(&(key.tenant, key.key.to_owned())));
            found.cloned().collect()
        });
        keys.await
    }

    pub(in crate::store) async fn measure_attempts(
        &mut self,
        wanted: &[AttemptKey],
    ) -> Result<Vec<(AttemptKey, u64)>, Error> {
        let measured = self.step(|content| {
            let measure = |key: &AttemptKey| {
                let rows = content.instances.get(&key.instance)?;
                let row = rows.attempts.get(&(key.execution, key.task, key.ordinal))?;
                Some((*key, codec::encode(&row.failure).len() as u64))
            };
            wanted.iter().filter_map(measure).collect()
        });
        measured.await
    }

    pub(in crate::store) async fn measure_heartbeats(
        &mut self,
        wanted: &[HeartbeatKey],
    ) -> Result<Vec<(HeartbeatKey, u64)>, Error> {
        let measured = self.step(|content| {
            let measure = |key: &HeartbeatKey| {
                let rows = content.instances.get(&key.instance)?;
                let found = rows.heartbeats.get(&(key.execution, key.task))?;
                Some((*key, found.details.as_str().len() as u64))
            };
            wanted.iter().filter_map(measure).collect()
        });
        measured.await
    }

    pub(in crate::store) async fn count_messages(
        &mut self,
        instances: &[ByNumber],
    ) -> Result<Vec<(InstanceNumber, u64)>, Error> {
        self.step(|content| {
            let count = |by: &ByNumber| {
                let rows = content.instances.get(&by.0).filter(|rows| rows.row.is_some())?;
                Some((by.0, (rows.inbox.len() as u64).min(MAX_COUNTED)))
            };
            instances.iter().filter_map(count).collect()
        })
        .await
    }

    pub(in crate::store) async fn find_completions(
        &mut self,
        wanted: &[CompletionKey],
    ) -> Result<Vec<(CompletionKey, Completion)>, Error> {
        let found = self.step(|content| {
            let find = |key: &CompletionKey| {
                let rows = content.instances.get(&key.instance)?;
                let found = rows.completions.get(&(key.execution, key.task))?;
                Some((*key, found.clone()))
            };
            wanted.iter().filter_map(find).collect()
        });
        found.await
    }

    /// Always `None`: only databases of older hosts contain more attempts than are kept.
    pub(in crate::store) async fn prunable_attempts(&mut self, _limit: u64) -> Result<Option<Prunable>, Error> {
        Ok(None)
    }

    pub(in crate::store) async fn mark_stuck(
        &mut self,
        instance: InstanceNumber,
        reason: &StuckReason,
        at: Timestamp,
    ) -> Result<bool, Error> {
        self.step(|content| match content.row_mut(instance) {
            Some(row) if !row.status.has_ended() => {
                row.status = InstanceStatus::Stuck;
                row.stuck = Some(reason.clone());
                row.updated_at = at;
                row.wake_at = None;
                true
            }
            _ => false,
        })
        .await
    }

    pub(in crate::store) async fn write(&mut self, rows: &Rows<'_>) -> Result<u64, Error> {
        let disk = self.disk.clone();
        let (written, stage) = self
            .step(|content| (write(content, rows, &disk), content.clone()))
            .await?;
        self.stages.push(stage);
        written
    }

    pub(in crate::store) async fn with_old_logs(&mut self, limit: u64) -> Result<Vec<InstanceNumber>, Error> {
        self.step(|content| {
            let first = content
                .garbage
                .iter()
                .take(usize::try_from(limit).unwrap_or(usize::MAX));
            let executions = first.filter(|(_, what, _)| *what == 1);
            executions.map(|(instance, ..)| *instance).collect()
        })
        .await
    }

    pub(in crate::store) async fn sweep(&mut self, now: Timestamp, limit: u64) -> Result<Swept, Error> {
        self.step(|content| sweep(content, now, limit)).await
    }
}

/// Writes the rows of a batch in the same order as the SQLite backend, and enforces the constraints of the schema.
fn write(content: &mut Content, rows: &Rows<'_>, disk: &Disk) -> Result<u64, Error> {
    for change in &rows.changed {
        let wakes = disk.planted_bug() != Some(PlantedBug::ForgetsWakeUps);
        let Some(row) = content.row_mut(change.number) else {
            return Err(Error::Contradiction("a changed instance does not exist".into()));
        };
        apply(row, change);
        row.wake_at = row.wake_at.filter(|_| wakes);
        if !row.is_sound() {
            return Err(constraint("a row of instances"));
        }
    }
    let mut written = rows.changed.len() as u64;
    for deleted in &rows.deleted {
        let row = content
            .row(deleted.0)
            .map(|row| (row.status, (row.tenant, row.id.clone())));
        if let Some((status, key)) = row {
            assert!(
                status.has_ended(),
                "instance {} is deleted while it is {status}",
                deleted.0
            );
            content.ids.remove(&key);
            content.rows_mut(deleted.0).row = None;
            written += 1;
        }
    }
    for created in &rows.created {
        create(content, created)?;
    }
    for revived in &rows.revived {
        let row = content.row_mut(revived.0);
        let row = row.filter(|row| row.status == InstanceStatus::Failed);
        row.ok_or_else(|| constraint("a revived instance that has not failed"))?
            .status = InstanceStatus::Running;
    }
    for sized in &rows.sized {
        let row = content.row_mut(sized.number);
        row.ok_or_else(|| constraint("the size of an instance that does not exist"))?
            .sizes = sized.sizes;
    }
    if disk.planted_bug() == Some(PlantedBug::LosesEvents) {
        for garbage in &rows.garbage {
            if let Garbage::Execution(instance, _) = garbage {
                let inbox = &mut content.rows_mut(*instance).inbox;
                let waiting = inbox.iter().find(|(_, message)| message.event.is_some());
                if let Some(seq) = waiting.map(|(seq, _)| *seq) {
                    inbox.remove(&seq);
                }
            }
        }
    }
    for turn in &rows.turns {
        if turn.body.len() > disk.max_turn_bytes() {
            return Err(Error::TooLarge);
        }
        if disk.sabotages(PlantedBug::LosesTurns) {
            continue;
        }
        let body: Arc<[u8]> = match disk.sabotages(PlantedBug::RepeatsOutcomes) {
            true => repeat_outcome(turn.body).into(),
            false => turn.body.into(),
        };
        let history = &mut content.rows_mut(turn.instance).history;
        if disk.sabotages(PlantedBug::RewritesTurns) && turn.turn.0 > 1 {
            let earlier = (turn.execution, TurnNumber(turn.turn.0 - 1));
            history.insert(earlier, body.clone());
        }
        if history.insert((turn.execution, turn.turn), body).is_some() {
            return Err(constraint("a turn that exists"));
        }
    }
    for message in &rows.messages {
        let row = Message {
            control: message.control,
            due_at: message.due_at,
            event: None,
            item: message.item.as_ref().into(),
        };
        let inbox = &mut content.rows_mut(message.instance).inbox;
        if disk.sabotages(PlantedBug::RepeatsOperations) && is_operation(&row.item) {
            // No other message has a number like this.
            inbox.insert(InboxSeq(message.seq.0 + (1 << 40)), row.clone());
        }
        if inbox.insert(message.seq, row).is_some() {
            return Err(constraint("a message that exists"));
        }
    }
    for event in &rows.events {
        let row = Message {
            control: false,
            due_at: None,
            event: Some(event.name.clone()),
            item: event.item.as_ref().into(),
        };
        let inbox = &mut content.rows_mut(event.instance).inbox;
        if inbox.insert(event.seq, row).is_some() {
            return Err(constraint("an event that exists"));
        }
    }
    let keeps_messages = disk.planted_bug() == Some(PlantedBug::KeepsMessages);
    if !keeps_messages {
        for taken in &rows.taken_events {
            let inbox = &mut content.rows_mut(taken.instance).inbox;
            let is_this_event = inbox
                .get(&taken.seq)
                .is_some_and(|found| found.event.as_deref() == Some(taken.name));
            if is_this_event {
                inbox.remove(&taken.seq);
            }
            written += u64::from(is_this_event);
        }
    }
    for consumed in &rows.consumed {
        let is_entity = content.row(consumed.instance).is_some_and(|row| row.entity.is_some());
        if keeps_messages && !is_entity {
            continue;
        }
        let taken = content.rows_mut(consumed.instance).inbox.remove(&consumed.seq);
        written += u64::from(taken.is_some());
    }
    for new in &rows.attempts {
        let key = (new.attempt.execution, new.attempt.task, new.attempt.ordinal);
        let attempts = &mut content.rows_mut(new.instance).attempts;
        if attempts.insert(key, new.attempt.clone()).is_some() {
            return Err(constraint("an attempt that exists"));
        }
    }
    for key in &rows.pruned {
        let attempts = &mut content.rows_mut(key.instance).attempts;
        let pruned = attempts.remove(&(key.execution, key.task, key.ordinal));
        written += u64::from(pruned.is_some());
    }
    for new in &rows.completions {
        let key = (new.completion.execution, new.completion.task);
        let completions = &mut content.rows_mut(new.instance).completions;
        completions.insert(key, new.completion.clone());
    }
    for new in &rows.heartbeats {
        let key = (new.heartbeat.execution, new.heartbeat.task);
        let heartbeats = &mut content.rows_mut(new.instance).heartbeats;
        heartbeats.insert(key, new.heartbeat.clone());
    }
    for line in &rows.lines {
        content
            .rows_mut(line.instance)
            .lines
            .insert(line.seq, line.line.clone().into_owned());
    }
    for tag in &rows.tags {
        let tags = &mut content.rows_mut(tag.instance).tags;
        if tags.insert(tag.key.to_owned(), tag.value.to_owned()).is_some() {
            return Err(constraint("a tag that exists"));
        }
    }
    for garbage in &rows.garbage {
        written += u64::from(note(content, *garbage));
    }
    for used in rows.usage.rows() {
        let key = (used.tenant, used.day, used.kind, used.function.clone());
        Arc::make_mut(&mut content.usage)
            .entry(key)
            .or_default()
            .add(used.amount);
    }
    for new in &rows.keys {
        let key = StoredKey {
            tenant: new.tenant,
            key: new.key.key.clone(),
            fingerprint: new.key.fingerprint.to_vec(),
            instance_id: new.instance_id.clone(),
            expires_at: new.key.expires_at,
            answer_bytes: 0,
        };
        let id = (new.tenant, new.key.key.clone());
        Arc::make_mut(&mut content.answers).remove(&id);
        Arc::make_mut(&mut content.keys).insert(id, key);
    }
    for new in &rows.answers {
        let id = (new.tenant, new.key.to_owned());
        let keys = Arc::make_mut(&mut content.keys);
        let key = keys
            .get_mut(&id)
            .ok_or_else(|| constraint("a key that does not exist"))?;
        key.answer_bytes = new.answer.len() as u64;
        Arc::make_mut(&mut content.answers).insert(id, new.answer.to_owned());
    }
    let plain = [
        rows.created.len(),
        rows.revived.len(),
        rows.turns.len(),
        rows.messages.len(),
        rows.events.len(),
        rows.attempts.len(),
        rows.heartbeats.len(),
        rows.completions.len(),
        rows.lines.len(),
        rows.tags.len(),
        rows.keys.len(),
        rows.answers.len(),
        rows.usage.len(),
        rows.sized.len(),
        // Without `growth`: this disk computes the stored bytes of a tenant from its instances.
    ];
    Ok(written + plain.iter().sum::<usize>() as u64)
}

fn apply(row: &mut InstanceRow, change: &ChangedInstance<'_>) {
    row.status = change.status;
    row.execution = change.execution;
    row.last_turn = change.last_turn;
    // Databases cannot store later times.
    row.wake_at = change.wake_at.map(|at| at.min(Timestamp::MAX));
    row.in_flight = change.in_flight;
    row.module = change.module;
    row.updated_at = change.updated_at;
    row.fuel += change.fuel;
    row.stuck = change.stuck.cloned();
    row.sizes = change.sizes;
    if let Some(status) = change.custom_status {
        row.custom_status = status.map(str::to_owned);
    }
    if let Some(entity) = change.entity {
        row.entity = Some(entity.into());
    }
    if let Some(rewinds) = &change.rewinds {
        row.rewinds = Some(rewinds.as_slice().into());
    }
}

fn create(content: &mut Content, created: &CreatedInstance<'_>) -> Result<(), Error> {
    let names = content.functions.iter();
    let function = names
        .filter(|(_, number)| **number == created.function)
        .map(|((_, name), _)| name.clone())
        .next()
        .expect("the function was interned");
    let key = (created.tenant, created.id.clone());
    if content.ids.insert(key, created.state.number).is_some() {
        return Err(constraint("the id of an instance that exists"));
    }
    let state = &created.state;
    let rows = content.rows_mut(state.number);
    if rows.row.is_some() {
        return Err(constraint("an instance that exists"));
    }
    let mut row = InstanceRow {
        tenant: created.tenant,
        id: created.id.clone(),
        function,
        module: state.module,
        status: state.status,
        execution: state.execution,
        last_turn: state.last_turn,
        wake_at: state.wake_at,
        in_flight: state.in_flight,
        created_at: created.created_at,
        updated_at: state.updated_at,
        fuel: 0,
        custom_status: None,
        entity: None,
        rewinds: None,
        stuck: None,
        parent: created.parent.cloned(),
        parent_is_gone: false,
        sizes: state.sizes,
    };
    apply(&mut row, state);
    if !row.is_sound() {
        return Err(constraint("a row of instances"));
    }
    rows.row = Some(row);
    Ok(())
}

/// Inserts a row into `garbage`. Returns whether it is new; an empty inbox needs no row.
fn note(content: &mut Content, garbage: Garbage) -> bool {
    let (instance, what, execution) = match garbage {
        Garbage::Instance(instance) => (instance, 0, ExecutionNumber(0)),
        Garbage::Execution(instance, execution) => (instance, 1, execution),
        Garbage::Inbox(instance) => (instance, 2, ExecutionNumber(0)),
    };
    let rows = content.instances.get(&instance);
    let nothing_left = rows.is_none_or(|rows| rows.inbox.is_empty());
    !(what == 2 && nothing_left) && content.garbage.insert((instance, what, execution))
}

/// Deletes garbage and expired idempotency keys like the SQLite backend: at most `limit` rows, including the rows of
/// `garbage` itself, and fewer if they are large.
fn sweep(content: &mut Content, now: Timestamp, limit: u64) -> Swept {
    let (mut room, mut swept) = (Room::new(limit), Swept::default());
    while !room.is_used_up() {
        let Some(garbage) = content.garbage.first().copied() else {
            break;
        };
        let is_live = content.row(garbage.0).is_some_and(|row| !row.status.has_ended());
        let bytes = match garbage.1 == 2 && is_live {
            true => 0,
            false => sweep_one(content, garbage, &mut room),
        };
        if bytes > 0 {
            swept.old_logs.push((garbage.0, bytes));
        }
        if !room.is_used_up() {
            content.garbage.remove(&garbage);
            room.take(0);
        }
    }
    let expired = content.keys.iter().filter(|(_, key)| key.expires_at < now);
    let mut expired: Vec<_> = expired.map(|(id, key)| (key.expires_at, id.clone())).collect();
    expired.sort();
    let keys = Arc::make_mut(&mut content.keys);
    for (_, id) in expired {
        if room.is_used_up() {
            break;
        }
        let key = keys.remove(&id).expect("it was found");
        Arc::make_mut(&mut content.answers).remove(&id);
        room.take(key.bytes());
        swept.keys.push((key.tenant, key.bytes()));
    }
    swept.more = room.is_used_up();
    swept
}

/// Deletes rows of one piece of garbage. Returns the size of lines of earlier executions of an instance that exists.
fn sweep_one(content: &mut Content, garbage: (InstanceNumber, u32, ExecutionNumber), room: &mut Room) -> u64 {
    let (instance, what, execution) = garbage;
    let all = ExecutionNumber(0)..=ExecutionNumber(u32::MAX);
    let (histories, logs) = match what {
        0 => (Some(all.clone()), Some(all)),
        1 => {
            let last = (execution.0 + 1).saturating_sub(EXECUTIONS_WITH_LOG);
            (
                Some(execution..=execution),
                Some(ExecutionNumber(0)..=ExecutionNumber(last)),
            )
        }
        _ => (None, None),
    };
    let rows: &mut InstanceRows = content.rows_mut(instance);
    let mut take = |wanted: bool, bytes: usize| {
        let taken = wanted && !room.is_used_up();
        if taken {
            room.take(bytes as u64 + ROW_BYTES);
        }
        taken
    };
    let of = |range: &Option<std::ops::RangeInclusive<ExecutionNumber>>, execution: &ExecutionNumber| {
        range.as_ref().is_some_and(|range| range.contains(execution))
    };
    rows.history
        .retain(|(execution, _), body| !take(of(&histories, execution), body.len()));
    rows.attempts
        .retain(|(execution, ..), row| !take(of(&histories, execution), codec::encode(&row.failure).len()));
    rows.heartbeats
        .retain(|(execution, _), row| !take(of(&histories, execution), row.details.as_str().len()));
    rows.completions
        .retain(|(execution, _), _| !take(of(&histories, execution), COMPLETION_BYTES));
    let (mut is_first, mut old_logs) = (true, 0);
    rows.lines.retain(|_, line| {
        is_first &= of(&logs, &line.execution);
        let taken = take(is_first, line.message.len());
        if taken && what == 1 {
            old_logs += line.message.len() as u64 + ROW_BYTES;
        }
        !taken
    });
    rows.inbox
        .retain(|_: &InboxSeq, message| !take(what != 1, message.item.len()));
    rows.tags.retain(|key, value| !take(what == 0, key.len() + value.len()));
    if rows.is_empty() {
        content.instances.remove(&instance);
    }
    if what == 0 {
        release_children(content, instance, room);
    }
    old_logs
}

/// Notes in children of a deleted instance that their parent is gone.
fn release_children(content: &mut Content, parent: InstanceNumber, room: &mut Room) {
    let is_child = |row: &InstanceRow| {
        let link = row.parent.as_ref().filter(|_| !row.parent_is_gone);
        link.is_some_and(|link| link.instance == parent)
    };
    let children = content.existing().filter(|(_, row, _)| is_child(row));
    let children: Vec<_> = children.map(|(number, ..)| number).collect();
    for child in children {
        if room.is_used_up() {
            break;
        }
        if let Some(row) = content.row_mut(child) {
            row.parent_is_gone = true;
            room.take(ROW_BYTES);
        }
    }
}

fn is_operation(item: &[u8]) -> bool {
    let item = codec::decode::<InboxItem>(item);
    matches!(item, Ok(InboxItem::Operation(operation)) if operation.due_at.is_none())
}

/// The bug of [`PlantedBug::RepeatsOutcomes`]: repeats the first outcome of a turn.
fn repeat_outcome(body: &[u8]) -> Vec<u8> {
    let mut turn: Turn = codec::decode(body).expect("a turn was encoded");
    let outcome = turn
        .arrivals
        .iter()
        .find(|arrival| matches!(arrival, Arrival::TaskEnded { .. }));
    turn.arrivals.extend(outcome.cloned());
    codec::encode(&turn)
}
