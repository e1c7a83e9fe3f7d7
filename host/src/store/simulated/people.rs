//! Queries of clients. Each answer comes from one snapshot.

use std::collections::{BTreeMap, VecDeque};

use super::super::{
    Amount, AttemptRow, Completion, Cursor, Days, Error, Folded, FoundHistory, FunctionUsage, Heartbeat, HistoryFilter,
    HistoryFold, HistoryPage, InstanceDetails, InstancePage, ListFilter, LogFilter, LogRow, LogSeq, MAX_FOLDED_BYTES,
    MAX_FOLDED_TURNS, TenantHoldings, UsageCursor, UsagePage,
    attempts::{ATTEMPT_BYTES, ATTEMPTS_KEPT, AttemptsOfTasks},
    decode::decode,
    heartbeats::HEARTBEAT_BYTES,
    instances::start_at,
    list::MAX_EXAMINED,
    page::Page,
    purges::{MAX_NAMED, Tree},
    tenant::{End, First},
};
use super::queries::{history, shown, summary};
use super::{Content, Disk, InstanceRow};
use crate::model::{
    EntityId, ExecutionNumber, FunctionName, InboxItem, InstanceId, InstanceNumber, Started, Tag, TaskId, TenantId,
    Turn, TurnNumber, codec,
};

impl Disk {
    pub(in crate::store) async fn details(
        &self,
        tenant: TenantId,
        id: &InstanceId,
    ) -> Result<Option<InstanceDetails>, Error> {
        self.read(|content| details(content, tenant, id)).await
    }

    pub(in crate::store) async fn details_with_history(
        &self,
        tenant: TenantId,
        id: &InstanceId,
        filter: &HistoryFilter,
    ) -> Result<Option<(InstanceDetails, FoundHistory)>, Error> {
        self.read(|content| details_with_history(content, tenant, id, filter))
            .await
    }

    pub(in crate::store) async fn folded<F: HistoryFold>(
        &self,
        tenant: TenantId,
        id: &InstanceId,
        fold: F,
    ) -> Result<Option<Folded<F>>, Error> {
        self.read(|content| folded(content, tenant, id, fold)).await
    }

    pub(in crate::store) async fn holdings(&self, tenant: TenantId) -> Result<TenantHoldings, Error> {
        self.read(|content| {
            let own = || content.existing().filter(|(_, row, _)| row.tenant == tenant);
            Ok(TenantHoldings {
                modules: content.catalogue.holdings(tenant),
                instances: own().count() as u64,
                live_instances: own().filter(|(_, row, _)| !row.status.has_ended()).count() as u64,
            })
        })
        .await
    }

    pub(in crate::store) async fn usage(
        &self,
        tenant: TenantId,
        days: Days,
        after: Option<&UsageCursor>,
        limit: u32,
    ) -> Result<UsagePage, Error> {
        self.read(|content| {
            let mut sums = BTreeMap::<_, FunctionUsage>::new();
            for ((owner, day, kind, function), amount) in content.usage.iter() {
                if *owner == tenant && (days.first..=days.last).contains(day) {
                    let sum = sums.entry((*kind, function)).or_insert_with(|| FunctionUsage {
                        kind: *kind,
                        function: function.clone(),
                        amount: Default::default(),
                    });
                    sum.amount.add(*amount);
                }
            }
            let mut total = Amount::default();
            sums.values().for_each(|sum| total.add(sum.amount));
            let is_after = |kind, function: &FunctionName| {
                after.is_none_or(|after| (kind, function) > (after.kind, &after.function))
            };
            let later = sums.into_values().filter(|sum| is_after(sum.kind, &sum.function));
            Ok(UsagePage::new(total, later.take(limit as usize + 1).collect(), limit))
        })
        .await
    }

    pub(in crate::store) async fn list(
        &self,
        tenant: TenantId,
        filter: &ListFilter,
        from: Option<&Cursor>,
        limit: u32,
    ) -> Result<InstancePage, Error> {
        self.read(|content| Ok(page(content, tenant, filter, from, limit)))
            .await
    }

    pub(in crate::store) async fn list_children(
        &self,
        tenant: TenantId,
        parent: &InstanceId,
        filter: ListFilter,
        from: Option<&Cursor>,
        limit: u32,
    ) -> Result<Option<InstancePage>, Error> {
        self.read(|content| {
            let number = content.number(tenant, parent);
            let page = page(content, tenant, &filter.of_children(parent, number), from, limit);
            // Children outlive a purged parent, so an id with children is not unknown.
            let is_unknown = number.is_none() && from.is_none() && page.is_empty();
            Ok(Some(page).filter(|_| !is_unknown))
        })
        .await
    }

    pub(in crate::store) async fn logs(
        &self,
        tenant: TenantId,
        id: &InstanceId,
        filter: &LogFilter,
    ) -> Result<Option<Vec<LogRow>>, Error> {
        self.read(|content| {
            let Some(number) = content.number(tenant, id) else {
                return Ok(None);
            };
            let rows = content.instances.get(&number);
            let lines = rows.into_iter().flat_map(|rows| &rows.lines).map(|(seq, line)| LogRow {
                seq: LogSeq(seq.0),
                line: line.clone(),
            });
            let after = filter.after.unwrap_or(LogSeq(0));
            let wanted = lines.filter(|row| row.seq > after && row.line.level >= filter.at_least);
            let mut page = Page::for_answer();
            let fitting = wanted.take(filter.limit as usize).take_while(|row| {
                let fits = !page.is_full();
                page.read(row.bytes());
                fits
            });
            Ok(Some(fitting.collect()))
        })
        .await
    }

    pub(in crate::store) async fn tree(&self, tenant: TenantId, root: InstanceNumber) -> Result<Tree, Error> {
        self.read(|content| Ok(tree(content, tenant, root))).await
    }
}

fn details(content: &Content, tenant: TenantId, id: &InstanceId) -> Result<Option<InstanceDetails>, Error> {
    let Some(summary) = summary(content, tenant, id) else {
        return Ok(None);
    };
    let turn = |number| turn(content, summary.number, summary.execution, number);
    let first = match turn(TurnNumber(1))? {
        Some(first) => first.arrivals.into_iter().next().map(First::taken),
        None => start(content, summary.number)?.map(First::waiting),
    };
    let end = match summary.status.has_ended() {
        true => turn(summary.last_turn)?,
        false => None,
    };
    let end = match end.map(|last| End::of(&codec::encode(&last))) {
        Some(end) => end.map_err(|error| Error::Damaged(error.to_string()))?,
        None => End::default(),
    };
    Ok(Some(InstanceDetails::new(summary, first.unwrap_or_default(), end)))
}

fn turn(
    content: &Content,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    number: TurnNumber,
) -> Result<Option<Turn>, Error> {
    let Some(before) = number.0.checked_sub(1) else {
        return Ok(None);
    };
    Ok(history(content, instance, execution, TurnNumber(before), 1, Page::new())?.pop())
}

/// The start message of an execution that has not taken its first turn.
fn start(content: &Content, instance: InstanceNumber) -> Result<Option<Started>, Error> {
    let rows = content.instances.get(&instance);
    for (seq, message) in rows.into_iter().flat_map(|rows| &rows.inbox) {
        if let InboxItem::Start(started) = decode(&message.item, || format!("message {seq}"))? {
            return Ok(Some(*started));
        }
    }
    Ok(None)
}

fn details_with_history(
    content: &Content,
    tenant: TenantId,
    id: &InstanceId,
    filter: &HistoryFilter,
) -> Result<Option<(InstanceDetails, FoundHistory)>, Error> {
    let Some(details) = details(content, tenant, id)? else {
        return Ok(None);
    };
    let Some(after) = filter.from.after(&details.summary) else {
        return Ok(Some((details, FoundHistory::Over)));
    };
    let (number, execution) = (details.summary.number, details.summary.execution);
    let turns = history(content, number, execution, after, filter.limit, Page::for_answer())?;
    let tasks: Vec<TaskId> = turns.iter().flat_map(Turn::called_tasks).collect();
    let attempts = attempts(content, number, execution, &tasks);
    let page = HistoryPage {
        heartbeats: heartbeats(content, number, execution, &tasks),
        completions: completions(content, number, execution, &tasks),
        ..HistoryPage::new(&details.summary, after, turns, attempts)
    };
    Ok(Some((details, FoundHistory::Page(page))))
}

fn folded<F: HistoryFold>(
    content: &Content,
    tenant: TenantId,
    id: &InstanceId,
    mut fold: F,
) -> Result<Option<Folded<F>>, Error> {
    let Some(details) = details(content, tenant, id)? else {
        return Ok(None);
    };
    let (number, execution) = (details.summary.number, details.summary.execution);
    fold.begin(&details.summary.rewinds);
    let rows = content.instances.get(&number);
    let bodies = rows.into_iter().flat_map(|rows| &rows.history);
    let own = bodies.filter(|((of, _), _)| *of == execution);
    let bytes: u64 = own.map(|(_, body)| body.len() as u64).sum();
    let is_too_long = details.summary.last_turn.0 > MAX_FOLDED_TURNS || bytes > MAX_FOLDED_BYTES;
    if !is_too_long {
        let page = Page::of(usize::MAX);
        for turn in history(content, number, execution, TurnNumber::NONE, MAX_FOLDED_TURNS, page)? {
            let added = fold.add(turn);
            added.map_err(|problem| Error::Damaged(format!("the history of instance {number}: {problem}")))?;
        }
    }
    let mut attempts = BTreeMap::new();
    for task in fold.tasks() {
        let mut of_task = rows.into_iter().flat_map(|rows| rows.attempts.values());
        let last = of_task.rfind(|row| row.execution == execution && row.task == task);
        attempts.extend(last.map(|row| {
            let failure = row.failure.brief();
            (task, AttemptRow { failure, ..row.clone() })
        }));
    }
    let states = fold.instances(&attempts).into_iter().filter_map(|id| {
        let row = content.row(content.number(tenant, &id)?)?;
        Some((id, (row.status, start_at(row.status, row.wake_at))))
    });
    Ok(Some(Folded {
        instances: states.collect(),
        details,
        completed_outside: completions(content, number, execution, &fold.tasks())
            .iter()
            .filter(|call| call.waits())
            .map(|call| call.task)
            .collect(),
        fold,
        is_too_long,
        attempts,
    }))
}

fn attempts(
    content: &Content,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    tasks: &[TaskId],
) -> AttemptsOfTasks {
    let mut found = AttemptsOfTasks::default();
    let rows = content.instances.get(&instance);
    let rows = rows.into_iter().flat_map(|rows| rows.attempts.values());
    let rows: Vec<_> = rows
        .filter(|row| row.execution == execution && tasks.contains(&row.task))
        .collect();
    for row in &rows {
        found.totals.insert(row.task, row.ordinal);
    }
    let mut page = Page::of(ATTEMPT_BYTES);
    for row in rows {
        if row.ordinal + ATTEMPTS_KEPT > found.totals[&row.task] && !page.is_full() {
            let failure = row.failure.abridged();
            page.read(Page::ROW_BYTES + codec::encode(&failure).len());
            found.last.push(AttemptRow { failure, ..row.clone() });
        }
    }
    found
}

fn completions(
    content: &Content,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    tasks: &[TaskId],
) -> Vec<Completion> {
    let rows = content.instances.get(&instance);
    let rows = rows.into_iter().flat_map(|rows| rows.completions.values());
    let wanted = rows.filter(|row| row.execution == execution && tasks.contains(&row.task));
    wanted.cloned().collect()
}

fn heartbeats(
    content: &Content,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    tasks: &[TaskId],
) -> Vec<Heartbeat> {
    let mut page = Page::of(HEARTBEAT_BYTES);
    let rows = content.instances.get(&instance);
    let rows = rows.into_iter().flat_map(|rows| rows.heartbeats.values());
    let wanted = rows.filter(|row| row.execution == execution && tasks.contains(&row.task));
    let wanted = wanted.take_while(|row| {
        let fits = !page.is_full();
        page.read(Page::ROW_BYTES + row.details.as_str().len());
        fits
    });
    wanted.cloned().collect()
}

fn page(content: &Content, tenant: TenantId, filter: &ListFilter, from: Option<&Cursor>, limit: u32) -> InstancePage {
    let newest_first = content.instances.iter().rev();
    let walked: Vec<(InstanceNumber, &InstanceRow)> = newest_first
        .filter_map(|(number, rows)| Some((*number, rows.row.as_ref()?)))
        .filter(|(number, _)| from.is_none_or(|cursor| *number < cursor.number()))
        .filter(|(number, row)| match (filter.parent, filter.tags.first()) {
            (Some(parent), _) => row.parent.as_ref().is_some_and(|link| link.instance == parent),
            (None, Some(tag)) => row.tenant == tenant && has_tag(content, *number, tag),
            (None, None) => row.tenant == tenant,
        })
        .collect();
    let too_far = walked.get(MAX_EXAMINED as usize).filter(|_| filter.is_selective());
    let floor = too_far.map(|(number, _)| *number);
    let mut fitting = walked
        .into_iter()
        .take_while(|(number, _)| floor.is_none_or(|floor| *number > floor))
        .filter(|(number, row)| row.tenant == tenant && fits(content, filter, *number, row));
    let (mut instances, mut size) = (Vec::new(), Page::for_answer());
    while instances.len() < limit as usize
        && !size.is_full()
        && let Some((number, row)) = fitting.next()
    {
        let instance = shown(content, number, row);
        size.read(instance.bytes());
        instances.push(instance);
    }
    let next = match instances.last() {
        Some(last) if fitting.next().is_some() => Some(Cursor::below(last.number)),
        _ => floor.map(Cursor::at),
    };
    InstancePage { instances, next }
}

fn has_tag(content: &Content, number: InstanceNumber, tag: &Tag) -> bool {
    let rows = content.instances.get(&number);
    let value = rows.and_then(|rows| rows.tags.get(tag.key()));
    value.is_some_and(|value| value == tag.value())
}

fn fits(content: &Content, filter: &ListFilter, number: InstanceNumber, row: &InstanceRow) -> bool {
    let is_orphan_of = |id: &InstanceId| {
        let parent = row.parent.as_ref().filter(|parent| parent.instance_id == *id);
        parent.is_some_and(|parent| content.row(parent.instance).is_none())
    };
    EntityId::of(&row.id).is_none()
        && (filter.statuses.is_empty() || filter.statuses.contains(&row.status))
        && filter
            .function
            .as_ref()
            .is_none_or(|function| row.function == *function)
        && filter
            .id_prefix
            .as_ref()
            .is_none_or(|prefix| row.id.as_str().starts_with(prefix))
        && filter.created_from.is_none_or(|from| row.created_at >= from)
        && filter.created_to.is_none_or(|to| row.created_at < to)
        && filter.updated_from.is_none_or(|from| row.updated_at >= from)
        && filter.updated_to.is_none_or(|to| row.updated_at < to)
        && filter.tags.iter().all(|tag| has_tag(content, number, tag))
        && filter.orphans_of.as_ref().is_none_or(is_orphan_of)
}

fn tree(content: &Content, tenant: TenantId, root: InstanceNumber) -> Tree {
    let mut tree = Tree {
        status: content
            .row(root)
            .filter(|row| row.tenant == tenant)
            .map(|row| row.status),
        ended: Vec::new(),
        live: Vec::new(),
    };
    let (mut left, mut ended) = (VecDeque::from([(0, root)]), Vec::new());
    while let Some((depth, instance)) = left.pop_front() {
        let links = content
            .existing()
            .filter_map(|(number, row, _)| Some((number, row.parent.as_ref()?)));
        left.extend(
            links
                .filter(|(_, link)| link.instance == instance)
                .map(|(number, _)| (depth + 1, number)),
        );
        match content.row(instance).filter(|row| row.tenant == tenant) {
            Some(row) if row.status.has_ended() => ended.push((depth, instance)),
            Some(row) if tree.live.len() < MAX_NAMED => tree.live.push(row.id.clone()),
            Some(_) | None => {}
        }
    }
    tree.set_ended(ended);
    tree
}
