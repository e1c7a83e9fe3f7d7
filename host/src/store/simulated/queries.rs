//! Queries of the engine. Each query sees one snapshot; two queries may see different ones.

use std::collections::BTreeMap;

use super::super::{
    Addressee, AttemptsSoFar, Completion, CompletionState, Error, FoundCompletion, Heartbeat, IdempotencyKey,
    InstanceRecord, InstanceSummary, TokenHash, UsedKey, WakeUp,
    decode::decode,
    events::{ALONG_BYTES, PAGE_BYTES},
    history::{self as turns, FIRST_TURNS},
    instances::{is_at_rest, start_at},
    page::Page,
};
use super::content::Message;
use super::{Content, Disk, InstanceRow, InstanceRows};
use crate::model::{
    EventPage, ExecutionNumber, InboxItem, InboxRow, InboxSeq, InstanceId, InstanceNumber, InstanceStatus, Outcome,
    Payload, Rewinds, Tags, TaskId, TenantId, Timestamp, Turn, TurnNumber,
};

impl Disk {
    /// Runs several queries, as over SQLite. Rows that are committed in between may be seen or missed.
    pub(in crate::store) async fn takeover(&self, number: InstanceNumber) -> Result<Option<InstanceRecord>, Error> {
        let Some(mut record) = self.record(number).await? else {
            return Ok(None);
        };
        let messages = self.inbox(number).await?;
        record.inbox = messages.rows;
        record.more_inbox = messages.more;
        record.more_events = messages.more_events;
        record.more_delayed = messages.more_delayed;
        record.has_attempts = self.has_attempts(number, record.execution).await?;
        let turns = self.history(number, record.execution, TurnNumber::NONE, FIRST_TURNS);
        record.first_turns = turns.await?;
        Ok(Some(record))
    }

    async fn record(&self, number: InstanceNumber) -> Result<Option<InstanceRecord>, Error> {
        self.read(|content| {
            let Some(row) = content.row(number).cloned() else {
                return Ok(None);
            };
            let rewinds = row.rewinds.as_ref();
            let rewinds = rewinds.map(|bytes| decode(bytes, || format!("the rewinds of instance {number}")));
            let rewinds = Rewinds::of(rewinds.transpose()?, row.execution);
            let entity = row.entity.as_ref();
            let entity = entity.map(|bytes| decode(bytes, || format!("the state of entity {number}")));
            Ok(Some(InstanceRecord {
                number,
                tenant: row.tenant,
                id: row.id,
                function: row.function,
                module: row.module,
                parent: row.parent,
                status: row.status,
                stuck: row.stuck,
                entity: entity.transpose()?,
                execution: row.execution,
                last_turn: row.last_turn,
                created_at: row.created_at,
                custom_status: row.custom_status.as_deref().map(payload),
                fuel: row.fuel,
                history_bytes: row.sizes.execution,
                event_bytes: row.sizes.events,
                more_inbox: false,
                more_events: false,
                more_delayed: false,
                first_turns: Vec::new(),
                inbox: Vec::new(),
                rewinds,
                has_attempts: false,
            }))
        })
        .await
    }

    async fn has_attempts(&self, instance: InstanceNumber, execution: ExecutionNumber) -> Result<bool, Error> {
        self.read(|content| {
            let rows = content.instances.get(&instance);
            let mut attempts = rows.into_iter().flat_map(|rows| rows.attempts.values());
            let mut heartbeats = rows.into_iter().flat_map(|rows| rows.heartbeats.keys());
            let mut completions = rows.into_iter().flat_map(|rows| rows.completions.keys());
            Ok(attempts.any(|row| row.execution == execution)
                || heartbeats.any(|key| key.0 == execution)
                || completions.any(|key| key.0 == execution))
        })
        .await
    }

    pub(in crate::store) async fn attempts_so_far(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        tasks: &[TaskId],
    ) -> Result<BTreeMap<TaskId, AttemptsSoFar>, Error> {
        self.read(|content| {
            let mut found = BTreeMap::<_, AttemptsSoFar>::new();
            let rows = content.instances.get(&instance);
            for row in rows.into_iter().flat_map(|rows| rows.attempts.values()) {
                if row.execution == execution && tasks.contains(&row.task) {
                    found.entry(row.task).or_default().add(row);
                }
            }
            for (of, task) in rows.into_iter().flat_map(|rows| rows.heartbeats.keys()) {
                if *of == execution && tasks.contains(task) {
                    found.entry(*task).or_default().has_heartbeat = true;
                }
            }
            for completion in rows.into_iter().flat_map(|rows| rows.completions.values()) {
                let waits = completion.execution == execution && completion.state == CompletionState::Waiting;
                if waits && tasks.contains(&completion.task) {
                    found.entry(completion.task).or_default().waits = true;
                }
            }
            Ok(found)
        })
        .await
    }

    pub(in crate::store) async fn heartbeat(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        task: TaskId,
    ) -> Result<Option<Heartbeat>, Error> {
        self.read(|content| {
            let rows = content.instances.get(&instance);
            Ok(rows.and_then(|rows| rows.heartbeats.get(&(execution, task)).cloned()))
        })
        .await
    }

    pub(in crate::store) async fn completion(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        task: TaskId,
    ) -> Result<Option<Completion>, Error> {
        self.read(|content| {
            let rows = content.instances.get(&instance);
            Ok(rows.and_then(|rows| rows.completions.get(&(execution, task)).cloned()))
        })
        .await
    }

    pub(in crate::store) async fn open_completions(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        after: Option<TaskId>,
        limit: u32,
    ) -> Result<Vec<Completion>, Error> {
        self.read(|content| {
            let rows = content.instances.get(&instance).into_iter();
            let of_execution = rows.flat_map(|rows| rows.completions.values()).filter(|completion| {
                completion.execution == execution
                    && after.is_none_or(|after| completion.task > after)
                    && matches!(completion.state, CompletionState::Running | CompletionState::Waiting)
            });
            Ok(of_execution.take(limit as usize).cloned().collect())
        })
        .await
    }

    pub(in crate::store) async fn completion_of_token(
        &self,
        token: TokenHash,
    ) -> Result<Option<FoundCompletion>, Error> {
        self.read(|content| Ok(completions(content).find(|found| found.completion.token == token)))
            .await
    }

    pub(in crate::store) async fn expired_completions(
        &self,
        now: Timestamp,
        limit: u32,
    ) -> Result<Vec<FoundCompletion>, Error> {
        self.read(|content| {
            let waiting = completions(content).filter(|found| found.completion.state == CompletionState::Waiting);
            let mut expired: Vec<_> = waiting
                .filter(|found| found.completion.expires_at.is_some_and(|at| at <= now))
                .collect();
            expired.sort_by_key(|found| found.completion.expires_at);
            expired.truncate(limit as usize);
            Ok(expired)
        })
        .await
    }

    pub(in crate::store) async fn next_expiry(&self) -> Result<Option<Timestamp>, Error> {
        self.read(|content| {
            let waiting = completions(content).filter(|found| found.completion.state == CompletionState::Waiting);
            Ok(waiting.filter_map(|found| found.completion.expires_at).min())
        })
        .await
    }

    async fn inbox(&self, instance: InstanceNumber) -> Result<Messages, Error> {
        let events_at_once = self.events_at_once();
        self.read(|content| inbox(content, instance, events_at_once)).await
    }

    pub(in crate::store) async fn events(
        &self,
        instance: InstanceNumber,
        names: &[String],
    ) -> Result<Vec<EventPage>, Error> {
        let events_at_once = self.events_at_once();
        self.read(|content| events(content, instance, names, events_at_once))
            .await
    }

    pub(in crate::store) async fn history(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        after: TurnNumber,
        limit: u32,
    ) -> Result<Vec<Turn>, Error> {
        self.read(|content| history(content, instance, execution, after, limit, Page::new()))
            .await
    }

    pub(in crate::store) async fn to_wake_at_start(
        &self,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<(TenantId, InstanceNumber)>, Error> {
        self.read(|content| {
            let waking = content.existing().filter(|(_, row, rows)| {
                let suspended = row.status == InstanceStatus::Suspended;
                // The wake-up time covers delayed messages once the owner has stored it.
                let waits = |message: &Message| match (message.due_at, row.wake_at) {
                    (Some(due_at), Some(wake_at)) => due_at >= wake_at,
                    _ => false,
                };
                let has_messages = match start_at(row.status, row.wake_at) {
                    Some(_) => is_controlled_before_its_start(rows),
                    None => rows
                        .inbox
                        .values()
                        .any(|message| (!suspended || message.control) && !waits(message)),
                };
                row.in_flight > 0 || (has_messages && !row.status.has_ended())
            });
            let numbers = waking.map(|(number, row, _)| (row.tenant, number));
            let numbers = numbers.filter(|(_, number)| after.is_none_or(|after| *number > after));
            Ok(numbers.take(limit as usize).collect())
        })
        .await
    }

    pub(in crate::store) async fn to_wake_of(
        &self,
        tenant: TenantId,
        now: Timestamp,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<InstanceNumber>, Error> {
        self.read(|content| {
            let waking = content.existing().filter(|(number, row, rows)| {
                let has_messages = match start_at(row.status, row.wake_at) {
                    Some(_) => is_controlled_before_its_start(rows),
                    None => !rows.inbox.is_empty(),
                };
                let has_work = row.in_flight > 0 || row.wake_at.is_some_and(|at| at <= now) || has_messages;
                row.tenant == tenant && !row.status.has_ended() && has_work && after.is_none_or(|after| *number > after)
            });
            Ok(waking.map(|(number, ..)| number).take(limit as usize).collect())
        })
        .await
    }

    pub(in crate::store) async fn addressee(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<Addressee>, Error> {
        self.read(|content| {
            let number = content.ids.get(&(tenant, id.clone())).copied();
            let found = number.and_then(|number| Some((number, content.row(number)?)));
            Ok(found.map(|(number, row)| Addressee {
                number,
                module: row.module,
                function: row.function.clone(),
                status: row.status,
                is_at_rest: is_at_rest(row.status, row.wake_at.is_some()),
            }))
        })
        .await
    }

    pub(in crate::store) async fn wake_ups(
        &self,
        after: Option<(Timestamp, InstanceNumber)>,
        except: &[TenantId],
        limit: u32,
    ) -> Result<Vec<WakeUp>, Error> {
        self.read(|content| {
            let others = content.existing().filter(|(_, row, _)| !except.contains(&row.tenant));
            let waking = others.filter_map(|(instance, row, _)| {
                Some(WakeUp {
                    at: row.wake_at?,
                    instance,
                    tenant: row.tenant,
                })
            });
            let mut waking: Vec<_> = waking
                .filter(|found| after.is_none_or(|after| (found.at, found.instance) > after))
                .collect();
            waking.sort_unstable_by_key(|found| (found.at, found.instance));
            waking.truncate(limit as usize);
            Ok(waking)
        })
        .await
    }

    pub(in crate::store) async fn number(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<InstanceNumber>, Error> {
        self.read(|content| Ok(content.ids.get(&(tenant, id.clone())).copied()))
            .await
    }

    pub(in crate::store) async fn summary(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<InstanceSummary>, Error> {
        self.read(|content| Ok(summary(content, tenant, id))).await
    }

    pub(in crate::store) async fn use_of_key(
        &self,
        tenant: TenantId,
        key: &IdempotencyKey,
        now: Timestamp,
    ) -> Result<Option<UsedKey>, Error> {
        self.read(|content| {
            let found = content.keys.get(&(tenant, key.key.clone()));
            let found = found.filter(|stored| stored.expires_at >= now);
            Ok(found.map(|stored| match key.is_of(&stored.fingerprint) {
                true => UsedKey::Repeated(stored.instance_id.clone()),
                false => UsedKey::Reused,
            }))
        })
        .await
    }

    pub(in crate::store) async fn answer(
        &self,
        tenant: TenantId,
        key: &IdempotencyKey,
    ) -> Result<Option<Outcome>, Error> {
        self.read(|content| {
            let id = (tenant, key.key.clone());
            let is_same = content
                .keys
                .get(&id)
                .is_some_and(|stored| stored.fingerprint == key.fingerprint);
            let answer = content.answers.get(&id).filter(|_| is_same);
            let what = || "the answer of an idempotency key".to_owned();
            answer.map(|answer| decode(answer, what)).transpose()
        })
        .await
    }
}

/// Whether a control message follows the start of an instance that has run no turn.
fn is_controlled_before_its_start(rows: &InstanceRows) -> bool {
    rows.inbox.values().filter(|message| message.control).count() > 1
}

/// All calls that may be or were completed from outside.
fn completions(content: &Content) -> impl Iterator<Item = FoundCompletion> {
    content.existing().flat_map(|(instance, row, rows)| {
        let found = rows.completions.values();
        found.map(move |completion| FoundCompletion {
            tenant: row.tenant,
            instance,
            instance_id: row.id.clone(),
            completion: completion.clone(),
        })
    })
}

fn payload(text: &str) -> Payload {
    Payload::parse(text, usize::MAX).expect("a payload was stored")
}

/// Reads the inbox of an instance. Returns the rows, whether more messages wait, and whether events wait that were not
/// read. Control messages are read first; events are read only if all of them fit.
fn inbox(content: &Content, instance: InstanceNumber, events_at_once: usize) -> Result<Messages, Error> {
    let rows = content.instances.get(&instance);
    let rows = rows.into_iter().flat_map(|rows| &rows.inbox);
    let (mut delayed, rows): (Vec<_>, Vec<_>) = rows.partition(|(_, message)| message.due_at.is_some());
    delayed.sort_by_key(|(seq, message)| (message.due_at, **seq));
    let rows = rows.into_iter();
    let (mut events, mut messages): (Vec<_>, Vec<_>) = rows.partition(|(_, message)| message.event.is_some());
    messages.sort_by_key(|(_, message)| !message.control);
    events.sort_by_key(|(_, message)| &message.event);
    let mut along = Page::of(ALONG_BYTES);
    let due_first = delayed.iter().take_while(|(_, message)| {
        let fits = !along.is_full();
        along.read(message.item.len() + Page::ROW_BYTES);
        fits
    });
    let due_first: Vec<_> = due_first.copied().collect();
    let more_delayed = due_first.len() < delayed.len();
    let (mut page, mut wanted) = (Page::new(), due_first);
    for row in messages {
        if page.is_full() {
            // Events were not examined, so assume that some wait.
            return Ok(Messages {
                rows: in_order(wanted)?,
                more: true,
                more_events: true,
                more_delayed,
            });
        }
        page.read(row.1.item.len());
        wanted.push(row);
    }
    let mut along = Page::of(ALONG_BYTES);
    let fit = events.iter().take_while(|(_, event)| {
        let fits = !along.is_full();
        along.read(event.item.len() + Page::ROW_BYTES);
        fits
    });
    let more_events = fit.take(events_at_once).count() < events.len();
    if !more_events {
        wanted.extend(events);
    }
    Ok(Messages {
        rows: in_order(wanted)?,
        more: false,
        more_events,
        more_delayed,
    })
}

/// The messages of an instance that are read at once.
pub(super) struct Messages {
    rows: Vec<InboxRow>,
    /// Whether more messages wait.
    more: bool,
    /// Whether events wait that were not read.
    more_events: bool,
    /// Whether delayed messages wait that were not read.
    more_delayed: bool,
}

fn in_order(rows: Vec<(&InboxSeq, &Message)>) -> Result<Vec<InboxRow>, Error> {
    let read = rows.into_iter().map(|(seq, message)| {
        let item = decode(&message.item, || format!("message {seq}"))?;
        Ok(InboxRow { seq: *seq, item })
    });
    let mut rows = read.collect::<Result<Vec<_>, Error>>()?;
    rows.sort_by_key(|row| row.seq);
    Ok(rows)
}

/// The oldest events of each of these names, as many as a page has room for.
fn events(
    content: &Content,
    instance: InstanceNumber,
    names: &[String],
    events_at_once: usize,
) -> Result<Vec<EventPage>, Error> {
    let (mut pages, mut room) = (Vec::new(), Page::of(PAGE_BYTES));
    for name in names.iter().take(events_at_once) {
        if room.is_full() {
            break;
        }
        let mut page = EventPage {
            name: name.clone(),
            events: Vec::new(),
            more: false,
        };
        let mut share = Page::of(PAGE_BYTES / names.len());
        let rows = content.instances.get(&instance);
        let rows = rows.into_iter().flat_map(|rows| &rows.inbox);
        for (seq, message) in rows.filter(|(_, message)| message.event.as_ref() == Some(name)) {
            if share.is_full() || page.events.len() == events_at_once {
                page.more = true;
                break;
            }
            let bytes = message.item.len() + Page::ROW_BYTES;
            share.read(bytes);
            room.read(bytes);
            if let InboxItem::Event(event) = decode(&message.item, || format!("event {seq}"))? {
                page.events.push((*seq, event));
            }
        }
        pages.push(page);
    }
    Ok(pages)
}

/// The turns of an execution after `after`, in order.
///
/// # Errors
/// If a turn is missing or cannot be decoded.
pub(super) fn history(
    content: &Content,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    after: TurnNumber,
    limit: u32,
    mut page: Page,
) -> Result<Vec<Turn>, Error> {
    let Some(rows) = content.instances.get(&instance) else {
        return Ok(Vec::new());
    };
    let mut expected = after;
    rows.history
        .range((execution, after.next())..=(execution, TurnNumber(u32::MAX)))
        .take(limit as usize)
        .take_while(|(_, body)| {
            let is_wanted = !page.is_full();
            page.read(body.len());
            is_wanted
        })
        .map(|((_, number), body)| {
            expected = expected.next();
            let name = || turns::name(instance, execution, *number);
            if *number != expected {
                return Err(turns::gap(&name(), expected));
            }
            decode(body, name)
        })
        .collect()
}

/// The summary of an instance, by its id.
pub(super) fn summary(content: &Content, tenant: TenantId, id: &InstanceId) -> Option<InstanceSummary> {
    let number = content.number(tenant, id)?;
    Some(shown(content, number, content.row(number)?))
}

/// Converts a row to a summary.
pub(super) fn shown(content: &Content, number: InstanceNumber, row: &InstanceRow) -> InstanceSummary {
    let row = row.clone();
    let tags = content.instances.get(&number).map(|rows| rows.tags.clone());
    let rewinds = row.rewinds.as_ref();
    let rewinds = rewinds.and_then(|bytes| decode(bytes, || format!("the rewinds of instance {number}")).ok());
    InstanceSummary {
        rewinds: Rewinds::of(rewinds, row.execution),
        tags: Tags::from_stored(tags.unwrap_or_default()),
        number,
        id: row.id,
        function: row.function,
        module_digest: content.catalogue.digest(row.module),
        status: row.status,
        execution: row.execution,
        last_turn: row.last_turn,
        created_at: row.created_at,
        updated_at: row.updated_at,
        start_at: start_at(row.status, row.wake_at),
        custom_status: row.custom_status.as_deref().map(payload),
        stuck: row.stuck,
        parent_id: row.parent.map(|parent| parent.instance_id),
        fuel: row.fuel,
    }
}
