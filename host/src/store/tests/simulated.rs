//! The simulated disk and SQLite give the same answers and have the same rows after the same operations.

use std::collections::BTreeMap;
use std::fmt::Debug;

use proptest::prelude::*;

use super::*;
use crate::model::{EndPosition, LogLevel, Tag};

/// An operation on a store. Instances and ids are small numbers.
#[derive(Debug, Clone)]
enum Deed {
    Start {
        id: u8,
        key: Option<u8>,
        later: bool,
        tags: u8,
    },
    Append {
        id: u8,
        key: Option<u8>,
        item: u8,
    },
    Deliver {
        to: u8,
        item: u8,
    },
    /// The next step of an instance, made from its stored state.
    Commit(u8, Vec<Feature>),
    NoteAttempt {
        to: u8,
        task: u8,
    },
    MarkStuck(u8),
    Purge(u8),
    Sweep {
        limit: u8,
        later: bool,
    },
}

/// A property of a step.
#[derive(Debug, Clone, PartialEq)]
enum Feature {
    Turn,
    Consume,
    Keep,
    Child(u8),
    Detached(u8),
    Message(u8),
    MessageTo(u8),
    Attempt(u8),
    Log,
    WakeAt(u8),
    InFlight(u8),
    CustomStatus(Option<u8>),
    Suspended,
    Stuck,
    Completed,
    ContinuedAsNew,
    Wrong,
    Poisoned,
}

fn feature() -> impl Strategy<Value = Feature> {
    use Feature as F;
    prop_oneof![
        6 => Just(F::Turn),
        4 => Just(F::Consume),
        2 => Just(F::Keep),
        2 => (0..5u8).prop_map(F::Child),
        1 => (0..5u8).prop_map(F::Detached),
        2 => (0..5u8).prop_map(F::Message),
        2 => (1..9u8).prop_map(F::MessageTo),
        1 => (1..4u8).prop_map(F::Attempt),
        1 => Just(F::Log),
        2 => (0..9u8).prop_map(F::WakeAt),
        2 => (0..3u8).prop_map(F::InFlight),
        1 => proptest::option::of(0..9u8).prop_map(F::CustomStatus),
        1 => Just(F::Suspended),
        1 => Just(F::Stuck),
        1 => Just(F::Completed),
        1 => Just(F::ContinuedAsNew),
        1 => Just(F::Wrong),
        1 => Just(F::Poisoned),
    ]
}

fn deed() -> impl Strategy<Value = Deed> {
    use Deed as D;
    let key = || proptest::option::weighted(0.5, 0..4u8);
    prop_oneof![
        4 => (0..5u8, key(), any::<bool>(), 0..4u8)
            .prop_map(|(id, key, later, tags)| D::Start { id, key, later, tags }),
        4 => (0..5u8, key(), 0..6u8).prop_map(|(id, key, item)| D::Append { id, key, item }),
        2 => (1..9u8, 0..6u8).prop_map(|(to, item)| D::Deliver { to, item }),
        10 => (1..9u8, prop::collection::vec(feature(), 0..7)).prop_map(|(to, features)| D::Commit(to, features)),
        2 => (1..9u8, 1..4u8).prop_map(|(to, task)| D::NoteAttempt { to, task }),
        1 => (1..9u8).prop_map(D::MarkStuck),
        1 => (0..5u8).prop_map(D::Purge),
        2 => (1..20u8, any::<bool>()).prop_map(|(limit, later)| D::Sweep { limit, later }),
    ]
}

fn name(number: u8) -> String {
    format!("i{number}")
}

fn item(kind: u8) -> InboxItem {
    let reason = "because".to_owned();
    match kind {
        0 => InboxItem::Suspend { reason },
        1 => InboxItem::Resume { reason },
        2 => InboxItem::Terminate { reason },
        3 => InboxItem::Cancel { reason },
        _ => event("e"),
    }
}

fn key_of(number: Option<u8>) -> Option<IdempotencyKey> {
    // Some requests reuse a key for a different request.
    number.and_then(|number| key(&format!("k{}", number / 2), number % 2))
}

/// The next step of an instance, with these features.
fn commit_of(record: &InstanceRecord, noted: &Noted, features: &[Feature]) -> TurnCommit {
    let last = record.last_turn.0;
    let mut commit = match features.contains(&Feature::Turn) {
        true => turn(record.number, last + 1, Vec::new(), Vec::new()),
        false => step(record.number, last),
    };
    commit.execution = record.execution;
    commit.summary.execution = record.execution;
    for feature in features {
        match feature {
            Feature::Turn => {}
            Feature::Consume => consume(&mut commit, &record.inbox),
            Feature::Keep => commit.kept = vec![numbered("K"), numbered("e")],
            Feature::Child(id) => commit.children.push(child_of(record.number, &name(*id))),
            Feature::Detached(id) => commit.children.push(instance(&name(*id))),
            Feature::Message(id) => commit.messages.push(OutboundMessage {
                to: Recipient::Id(id_of(*id)),
                item: event("e"),
            }),
            Feature::MessageTo(number) => commit.messages.push(OutboundMessage {
                to: Recipient::Number(InstanceNumber((*number).into())),
                item: event("e"),
            }),
            Feature::Attempt(task) => {
                commit.attempts = vec![AttemptRow {
                    execution: record.execution,
                    ..attempt((*task).into(), next_ordinal(noted, *task))
                }];
            }
            Feature::Log => commit.logs = vec![line(record.execution)],
            Feature::WakeAt(at) => commit.summary.wake_at = Some(Timestamp(NOW.0 + u64::from(*at))),
            Feature::InFlight(count) => commit.summary.in_flight = (*count).into(),
            Feature::CustomStatus(status) => {
                commit.summary.custom_status = Some(status.map(|status| Payload::of(&status)));
            }
            Feature::Suspended => commit.summary.status = InstanceStatus::Suspended,
            Feature::Stuck => commit.summary.status = InstanceStatus::Stuck,
            Feature::Completed => commit.summary.status = InstanceStatus::Completed,
            Feature::ContinuedAsNew => {
                let execution = record.execution.next();
                commit.next_execution = Some(Started {
                    execution,
                    ..started("Order", None)
                });
                commit.summary.execution = execution;
                commit.summary.last_turn = TurnNumber::NONE;
            }
            Feature::Wrong => commit.summary.last_turn = TurnNumber(77),
            Feature::Poisoned => commit = poisoned(commit),
        }
    }
    if commit.summary.status == InstanceStatus::Stuck {
        commit.summary.stuck = Some(reason());
    }
    commit
}

/// The recorded attempts of an instance.
type Noted = BTreeMap<TaskId, AttemptsSoFar>;

/// The ordinal of another attempt. It leaves gaps, so that a few attempts reach the limit of kept ones.
fn next_ordinal(noted: &Noted, task: u8) -> u32 {
    let last = noted.get(&TaskId(task.into())).map_or(0, |so_far| so_far.noted);
    last + ATTEMPTS_KEPT / 2
}

fn numbered(name: &str) -> Event {
    Event {
        name: name.parse().unwrap(),
        payload: Payload::of(&1),
    }
}

/// That many of the tags `t0:v`, `t1:v`, …
fn tags_of(count: u8) -> Tags {
    Tags::new((0..count).map(tag_of)).unwrap()
}

fn tag_of(number: u8) -> Tag {
    Tag::new(&format!("t{number}"), "v").unwrap()
}

fn id_of(number: u8) -> InstanceId {
    id(&name(number))
}

fn reason() -> StuckReason {
    StuckReason {
        code: "nondeterminism".into(),
        message: "it differs".into(),
    }
}

fn line(execution: ExecutionNumber) -> LogLine {
    LogLine {
        at: NOW,
        execution,
        task: None,
        attempt: None,
        level: LogLevel::Info,
        message: "line".into(),
    }
}

/// An answer as text, without the database's own error message.
fn shown<T: Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Ok(answer) => format!("{answer:?}"),
        Err(Error::Database(_)) => "the database failed".into(),
        Err(other) => format!("{other}"),
    }
}

/// Runs an operation on one store.
async fn ask(store: &Store, deed: &Deed, record: Option<&InstanceRecord>, noted: &Noted) -> String {
    let number = |number: &u8| InstanceNumber((*number).into());
    let execution = record.map_or(ExecutionNumber::FIRST, |record| record.execution);
    match deed {
        Deed::Start { id, key, later, tags } => {
            let mut instance = instance(&name(*id));
            instance.started.not_before = later.then_some(Timestamp(NOW.0 + 5));
            let number = store.new_number(TENANT, &instance.id);
            let creation = Creation {
                instance,
                key: key_of(*key),
                tags: tags_of(*tags),
            };
            shown(store.commit(TurnCommit::of_creation(number, creation)).await)
        }
        Deed::Append { id, key, item: kind } => {
            shown(store.append(append(&name(*id), item(*kind)), key_of(*key)).await)
        }
        Deed::Deliver { to, item: kind } => shown(store.deliver(number(to), item(*kind)).await),
        Deed::Commit(_, features) => match record {
            Some(record) => shown(store.commit(commit_of(record, noted, features)).await),
            None => String::new(),
        },
        Deed::NoteAttempt { to, task } => {
            let attempt = AttemptRow {
                execution,
                ..attempt((*task).into(), next_ordinal(noted, *task))
            };
            shown(
                store
                    .note_attempt(number(to), attempt, vec![line(execution)], u64::MAX, None)
                    .await,
            )
        }
        Deed::MarkStuck(to) => shown(store.mark_stuck(number(to), reason(), NOW).await),
        Deed::Purge(id) => shown(store.purge(TENANT, id_of(*id)).await),
        Deed::Sweep { limit, later } => {
            let now = Timestamp(NOW.0 + if *later { 10_000 } else { 0 });
            shown(store.sweep(now, (*limit).into()).await)
        }
    }
}

/// All answers to clients about one instance.
async fn answers_to_people(tenant: &TenantStore, id: &InstanceId) -> Vec<String> {
    let (log, children) = (
        LogFilter {
            at_least: LogLevel::Info,
            after: None,
            limit: 3,
        },
        ListFilter::default(),
    );
    let mut found = vec![
        shown(tenant.instance(id).await),
        shown(tenant.logs(id, &log).await),
        shown(tenant.list_children(id, children, None, 10).await),
    ];
    for limit in [1, 100] {
        let filter = HistoryFilter {
            from: HistoryFrom::Turn(TurnNumber::NONE),
            limit,
        };
        found.push(shown(tenant.instance_with_history(id, &filter).await));
    }
    found
}

/// All answers to clients about a tenant.
async fn lists(tenant: &TenantStore) -> Vec<String> {
    let ended = ListFilter {
        statuses: vec![InstanceStatus::Completed, InstanceStatus::Stuck],
        ..ListFilter::default()
    };
    let tagged = ListFilter {
        tags: vec![tag_of(0), tag_of(1)],
        ..ListFilter::default()
    };
    let first = tenant.list(&ListFilter::default(), None, 2).await.unwrap();
    let ended_ones = ListFilter {
        statuses: vec![InstanceStatus::Completed],
        updated_from: Some(NOW),
        updated_to: Some(Timestamp(NOW.0 + 1)),
        ..ListFilter::default()
    };
    let tree = tenant.tree(InstanceNumber(1)).await;
    vec![
        shown(tenant.list(&ListFilter::default(), first.next.as_ref(), 2).await),
        shown(tenant.list(&ended, None, 10).await),
        shown(tenant.list(&tagged, None, 2).await),
        format!("{first:?}"),
        shown(tenant.list(&ended_ones, None, 2).await),
        shown(tree.map(|tree| (tree.status, tree.ended, tree.live))),
        shown(tenant.holdings().await),
    ]
}

/// All that can be read from a store.
async fn everything(store: &Store) -> Vec<String> {
    let mut found = vec![
        format!("{:?}, {} bytes", store.newest_message(), store.stored_bytes(TENANT)),
        shown(store.to_wake_at_start(None, 100).await),
        shown(store.to_wake_at_start(Some(InstanceNumber(2)), 2).await),
        shown(
            store
                .wake_ups(Some((Timestamp(NOW.0 + 6), InstanceNumber(2))), &[], 3)
                .await,
        ),
        shown(store.wake_ups(None, &[], 100).await),
        shown(store.wake_ups(None, &[TenantId(9), TENANT], 100).await),
        shown(
            store
                .to_wake_of(TENANT, Timestamp(NOW.0 + 6), Some(InstanceNumber(1)), 3)
                .await,
        ),
    ];
    for number in 0..5 {
        found.push(shown(store.tenant(TENANT).summary(&id_of(number)).await));
        found.push(shown(store.tenant(TENANT).number(&id_of(number)).await));
        found.push(shown(store.tenant(TENANT).addressee(&id_of(number)).await));
        found.extend(answers_to_people(&store.tenant(TENANT), &id_of(number)).await);
    }
    found.extend(lists(&store.tenant(TENANT)).await);
    found.extend(retention(store).await);
    for number in (0..12).map(InstanceNumber) {
        found.push(shown(store.load(number).await));
        let names = ["k", "e", "nobody's"].map(str::to_owned);
        found.push(shown(store.events(number, &names).await));
        for execution in [1, 2].map(ExecutionNumber) {
            found.push(shown(store.history(number, execution, TurnNumber::NONE, 100).await));
            found.push(shown(store.history(number, execution, TurnNumber(1), 2).await));
            let tasks: Vec<TaskId> = (0..8).map(TaskId).collect();
            found.push(shown(store.attempts_so_far(number, execution, &tasks).await));
        }
    }
    found
}

/// What retention would find.
async fn retention(store: &Store) -> Vec<String> {
    let (mut found, mut after) = (Vec::new(), None);
    let statuses = [InstanceStatus::Completed, InstanceStatus::Failed];
    loop {
        let function = store.next_ended_function(TENANT, after).await.unwrap();
        found.push(format!("{function:?}"));
        let Some(function) = function else { break };
        after = Some(function.number);
        let of = EndedInstances {
            tenant: TENANT,
            function: function.number,
            statuses: &statuses,
        };
        let before = EndPosition {
            ended_at: NOW,
            instance: InstanceNumber(8),
        };
        found.push(shown(store.first_surplus(of, 1).await));
        found.push(shown(store.ended_between(of, None, before, 3).await));
        found.push(shown(store.tenant(TENANT).count_ended(of, before, 3).await));
    }
    for number in (0..12).map(InstanceNumber) {
        found.push(shown(store.descendants(number, None, 3).await));
    }
    found
}

async fn compare(deeds: &[Vec<Deed>]) -> Result<(), TestCaseError> {
    let real = TestStore::new().await;
    let simulated = TestStore::with_module(Place::memory()).await;
    for batch in deeds {
        let mut records = Vec::new();
        for deed in batch {
            let number = match deed {
                Deed::Commit(number, _) | Deed::NoteAttempt { to: number, .. } => *number,
                _ => 0,
            };
            let number = InstanceNumber(number.into());
            let record = real.load(number).await.unwrap();
            let execution = record
                .as_ref()
                .map_or(ExecutionNumber::FIRST, |record| record.execution);
            let tasks: Vec<TaskId> = (0..=u8::MAX).map(|task| TaskId(task.into())).collect();
            let noted = real.attempts_so_far(number, execution, &tasks).await.unwrap();
            records.push((record, noted));
        }
        // All operations are queued before the writer takes the first one, so they form one batch.
        let asks = |store: Store| {
            let asks = batch.iter().zip(&records).map(move |(deed, (record, noted))| {
                let store = store.clone();
                async move { ask(&store, deed, record.as_ref(), noted).await }
            });
            futures::future::join_all(asks.collect::<Vec<_>>())
        };
        let (expected, found) = (asks(real.store.clone()).await, asks(simulated.store.clone()).await);
        prop_assert_eq!(found, expected, "answers to {:?}", batch);
        let (expected, found) = (everything(&real).await, everything(&simulated).await);
        prop_assert_eq!(found, expected, "rows after {:?}", batch);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_simulated_disk_answers_as_sqlite_does(deeds in prop::collection::vec(prop::collection::vec(deed(), 1..4), 1..25)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(compare(&deeds))?;
    }
}
