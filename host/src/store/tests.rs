//! Tests of the store's guarantees, over every backend.
//!
//! Tests about files and about SQLite's query plans are beside the SQL, in `sqlite/tests/`.

/// Runs tests over every backend. Each gets its own new store, [`with_module`](TestStore::with_module) or
/// [`empty`](TestStore::empty).
macro_rules! over_every_backend {
    ($made:ident: $($test:ident),+ $(,)?) => {
        over_every_backend!(@ sqlite folder $made $($test)+);
        over_every_backend!(@ simulated memory $made $($test)+);
    };
    (@ $backend:ident $place:ident $made:ident $($test:ident)+) => {
        mod $backend {
            use crate::store::tests::{Place, TestStore};
            $(
                #[tokio::test]
                async fn $test() {
                    super::$test(TestStore::$made(Place::$place()).await).await;
                }
            )+
        }
    };
}

mod answers;
pub(super) mod attempts_and_logs;
mod batches;
mod broadcasts;
mod commits;
mod completions;
mod creations;
mod ended_entities;
mod folds;
mod heartbeats;
mod inboxes;
mod modules;
mod ownership;
mod purges;
pub(super) mod queries;
mod retention;
mod rewinds;
mod schedules;
mod simulated;
mod sizes;
mod starts;
mod sweeping;
mod tags;
mod waiting;
mod waking;

use std::future::Future;

use tokio::task::JoinHandle;

use super::{
    simulated::{Content, Disk, FaultPlan, Step, Treatment},
    *,
};
use crate::model::{
    Arrival, Decision, Event, FunctionDescription, FunctionKind, ModuleDescription, ModuleDigest, ObservableLimits,
    Outcome as TaskOutcome, Parent, Payload, Started, Tags, TaskId,
};

/// The time of everything, unless a test passes another one.
pub(super) const NOW: Timestamp = Timestamp(1_700_000_000_000);

pub(super) const TENANT: TenantId = TenantId::DEFAULT;

/// Where a test store keeps its rows. Outlives the store.
pub(super) enum Place {
    /// A database file in a temporary folder.
    Folder(tempfile::TempDir),
    /// A simulated disk without faults.
    Memory(Disk),
}

impl Place {
    pub(super) fn folder() -> Self {
        Self::Folder(tempfile::tempdir().unwrap())
    }

    pub(super) fn memory() -> Self {
        Self::Memory(Disk::new(Arc::new(NoFaults), None))
    }

    async fn open(&self, change: impl FnOnce(&mut StoreOptions)) -> Result<(Store, StoreService), Error> {
        match self {
            Self::Folder(folder) => {
                let mut options = StoreOptions::new(folder.path());
                options.synchronous = Synchronous::Normal;
                change(&mut options);
                Store::open(&options).await
            }
            Self::Memory(disk) => Store::open_simulated(disk).await,
        }
    }

    /// Resets a simulated disk to its durable content.
    fn crash(&self) {
        if let Self::Memory(disk) = self {
            disk.crash();
        }
    }
}

/// A fault plan without faults.
pub(super) struct NoFaults;

impl FaultPlan for NoFaults {
    fn of(&self, _: Step) -> Treatment {
        Treatment::SMOOTH
    }

    fn committed(&self, _: &Content, _: &Content) {}
}

/// An open store in its own place.
pub(super) struct TestStore {
    pub(super) place: Place,
    pub(super) store: Store,
    pub(super) service: JoinHandle<Result<(), Error>>,
    pub(super) stop: CancellationToken,
}

impl std::ops::Deref for TestStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl TestStore {
    /// A new store in a folder, with one module, number 1.
    pub(super) async fn new() -> Self {
        Self::with_module(Place::folder()).await
    }

    /// A new store with one module, number 1.
    pub(super) async fn with_module(place: Place) -> Self {
        let test = Self::empty(place).await;
        let put = put_module("orders", 1, &["Order", "Child"]);
        assert!(matches!(
            test.put_module(put).await.unwrap(),
            PutModuleOutcome::Stored { .. }
        ));
        test
    }

    pub(super) async fn empty(place: Place) -> Self {
        Self::open(place, |_| {}).await
    }

    pub(super) async fn open(place: Place, change: impl FnOnce(&mut StoreOptions)) -> Self {
        let (store, service) = place.open(change).await.unwrap();
        let stop = CancellationToken::new();
        let service = tokio::spawn(service.run(stop.clone()));
        Self {
            place,
            store,
            service,
            stop,
        }
    }

    /// Shuts the store down gracefully and opens it again.
    pub(super) async fn reopen(self) -> Self {
        Self::empty(self.closed().await).await
    }

    /// Shuts the store down gracefully.
    pub(super) async fn closed(self) -> Place {
        let Self {
            place,
            store,
            service,
            stop,
        } = self;
        stop.cancel();
        service.await.unwrap().unwrap();
        assert!(matches!(
            store.deliver(InstanceNumber(1), terminate()).await,
            Err(Error::Closed)
        ));
        drop(store);
        place
    }

    /// Drops everything without a shutdown, as a crash would, and opens the store again.
    pub(super) async fn crash(self) -> Self {
        let Self {
            place, store, service, ..
        } = self;
        service.abort();
        let _ = service.await;
        drop(store);
        place.crash();
        Self::empty(place).await
    }

    /// Starts an instance; panics if its id is in use.
    pub(super) async fn started(&self, name: &str) -> InstanceNumber {
        match self.start(instance(name), None).await.unwrap() {
            StartOutcome::Created(number) => number,
            other => panic!("{name} was not created: {other:?}"),
        }
    }

    /// Starts an instance and runs its first turn, which calls an activity.
    pub(super) async fn running(&self, name: &str) -> InstanceNumber {
        let number = self.started(name).await;
        self.commit(first_turn(number, self.inbox(number).await)).await.unwrap();
        number
    }

    /// Starts an instance and runs it to its end.
    pub(super) async fn ended(&self, name: &str) -> InstanceNumber {
        let number = self.running(name).await;
        self.commit(last_turn(number, 2)).await.unwrap();
        number
    }

    pub(super) async fn inbox(&self, number: InstanceNumber) -> Vec<InboxRow> {
        self.load(number).await.unwrap().expect("the instance exists").inbox
    }

    pub(super) async fn status(&self, name: &str) -> Option<InstanceStatus> {
        Some(self.details(name).await?.summary.status)
    }

    pub(super) async fn details(&self, name: &str) -> Option<InstanceDetails> {
        self.tenant(TENANT).instance(&id(name)).await.unwrap()
    }

    /// The number of rows in a table.
    pub(super) async fn rows(&self, table: &'static str) -> i64 {
        match &self.place {
            Place::Folder(_) => self.rows_of_file(table).await,
            Place::Memory(disk) => i64::try_from(disk.content().count(table)).unwrap(),
        }
    }

    pub(super) async fn sweep_all(&self, now: Timestamp) {
        while self.sweep(now, 100).await.unwrap() {}
    }

    pub(super) async fn assert_sound(&self) {
        assert_eq!(self.check().await.unwrap(), Vec::<String>::new());
    }
}

impl Store {
    /// Starts an instance, unless a live one has its id. Like the engine's start of an instance that runs no turn yet.
    pub(crate) async fn start(
        &self,
        instance: NewInstance,
        key: Option<IdempotencyKey>,
    ) -> Result<StartOutcome, Error> {
        let number = self.new_number(instance.tenant, &instance.id);
        let creation = Creation {
            instance,
            key,
            tags: Tags::default(),
        };
        let receipt = self.commit(TurnCommit::of_creation(number, creation)).await?;
        Ok(receipt.refused.unwrap_or(StartOutcome::Created(number)))
    }
}

pub(super) fn id(name: &str) -> InstanceId {
    name.parse().unwrap()
}

pub(super) fn payload(text: &str) -> Payload {
    Payload::parse(text, usize::MAX).unwrap()
}

pub(super) fn started(function: &str, parent: Option<Parent>) -> Started {
    Started {
        execution: ExecutionNumber::FIRST,
        function: function.parse().unwrap(),
        input: payload(r#"{"order": 7}"#),
        seed: [7; 32],
        limits: ObservableLimits {
            memory_bytes: 64 << 20,
            payload_bytes: 256 << 10,
        },
        parent,
        events: Vec::new(),
        not_before: None,
    }
}

pub(super) fn instance(name: &str) -> NewInstance {
    NewInstance {
        tenant: TENANT,
        id: id(name),
        module: ModuleNumber(1),
        started: started("Order", None),
        created_at: NOW,
    }
}

pub(super) fn child_of(parent: InstanceNumber, name: &str) -> NewInstance {
    let parent = Parent {
        instance: parent,
        instance_id: id("parent"),
        execution: ExecutionNumber::FIRST,
        task: TaskId(1),
        attempt: 1,
    };
    NewInstance {
        started: started("Child", Some(parent)),
        ..instance(name)
    }
}

pub(super) fn key(text: &str, fingerprint: u8) -> Option<IdempotencyKey> {
    let expires_at = Timestamp(NOW.0 + 1_000);
    Some(IdempotencyKey {
        key: text.into(),
        fingerprint: [fingerprint; 32],
        earlier_fingerprint: [fingerprint + 100; 32],
        expires_at,
    })
}

pub(super) fn event(name: &str) -> InboxItem {
    InboxItem::Event(Event {
        name: name.parse().unwrap(),
        payload: payload("true"),
    })
}

pub(super) fn terminate() -> InboxItem {
    InboxItem::Terminate {
        reason: "enough".into(),
    }
}

pub(super) fn append(name: &str, item: InboxItem) -> InboxAppend {
    InboxAppend {
        max_bytes: u64::MAX,
        tenant: TENANT,
        id: id(name),
        item,
        at: NOW,
        max_waiting: u64::MAX,
        entity: None,
    }
}

/// A step without a turn or changes.
pub(super) fn step(instance: InstanceNumber, last_turn: u32) -> TurnCommit {
    let summary = Summary {
        status: InstanceStatus::Running,
        execution: ExecutionNumber::FIRST,
        last_turn: TurnNumber(last_turn),
        wake_at: None,
        in_flight: 1,
        custom_status: None,
        stuck: None,
        module: ModuleNumber(1),
        fuel: 0,
        updated_at: NOW,
    };
    TurnCommit::new(instance, TENANT, summary)
}

/// A step with a turn that has these arrivals and decisions.
pub(super) fn turn(
    instance: InstanceNumber,
    number: u32,
    arrivals: Vec<Arrival>,
    decisions: Vec<Decision>,
) -> TurnCommit {
    let turn = Turn {
        number: TurnNumber(number),
        at: NOW,
        arrivals,
        decisions,
        fuel: 1_000,
    };
    let mut commit = TurnCommit {
        turn: Some(turn),
        ..step(instance, number)
    };
    commit.summary.fuel = 1_000;
    commit
}

pub(super) fn first_turn(instance: InstanceNumber, inbox: Vec<InboxRow>) -> TurnCommit {
    let arrivals = inbox.iter().filter_map(|row| match &row.item {
        InboxItem::Start(started) => Some(Arrival::Started(started.clone())),
        _ => None,
    });
    let call = Decision::CallActivity {
        task: TaskId(1),
        function: "Charge".parse().unwrap(),
        input: payload("[1, 2.0]"),
        options: crate::model::ActivityOptions::default(),
        module: ModuleNumber(1),
    };
    let mut commit = turn(instance, 1, arrivals.collect(), vec![call]);
    consume(&mut commit, &inbox);
    commit
}

/// Makes a commit consume these messages.
pub(super) fn consume(commit: &mut TurnCommit, inbox: &[InboxRow]) {
    for row in inbox {
        match &row.item {
            InboxItem::Event(event) => commit.taken_events.push(TakenEvent {
                seq: row.seq,
                name: event.name.folded(),
                bytes: crate::model::inbox::event_bytes(event),
            }),
            _ => commit.consumed.push(row.seq),
        }
    }
}

pub(super) fn task_ended(task: u32, outcome: TaskOutcome) -> Arrival {
    Arrival::TaskEnded {
        task: TaskId(task),
        outcome,
    }
}

pub(super) fn last_turn(instance: InstanceNumber, number: u32) -> TurnCommit {
    let complete = Decision::Complete {
        output: payload("\"done\""),
    };
    let mut commit = turn(
        instance,
        number,
        vec![task_ended(1, Ok(Payload::null()))],
        vec![complete],
    );
    commit.summary.status = InstanceStatus::Completed;
    commit
}

/// Makes a commit fail in the database instead of in the writer's checks, because it contains an attempt twice.
pub(super) fn poisoned(mut commit: TurnCommit) -> TurnCommit {
    commit.attempts = vec![attempt(1, 1), attempt(1, 1)];
    commit
}

pub(super) fn attempt(task: u32, ordinal: u32) -> AttemptRow {
    AttemptRow {
        execution: ExecutionNumber::FIRST,
        task: TaskId(task),
        ordinal,
        number: ordinal,
        cut_off: false,
        failure: crate::model::Failure::new("Busy", "try later"),
        fuel: 5,
        started_at: NOW,
        ended_at: Timestamp(NOW.0 + 10),
        next_at: Some(Timestamp(NOW.0 + 20)),
    }
}

pub(super) fn put_module(name: &str, content: u8, functions: &[&str]) -> PutModule {
    let functions = functions.iter().map(|name| FunctionDescription {
        name: name.parse().unwrap(),
        doc: String::new(),
        input_schema: None,
        output_schema: None,
        default_options: None,
    });
    PutModule {
        tenant: TENANT,
        name: name.into(),
        digest: ModuleDigest([content; 32]),
        bytes: vec![content; 10],
        description: ModuleDescription {
            kind: FunctionKind::Orchestration,
            functions: functions.collect(),
            sdk: "test".into(),
            events: Vec::new(),
            entities: Vec::new(),
        },
        compiled_bytes: 5_000,
        at: NOW,
        by: None,
    }
}

/// Runs futures so that all their operations are in the writer's queue before it takes the first one, and checks the
/// number of transactions that they were written in.
pub(super) async fn in_batches<T>(store: &TestStore, batches: u64, asks: Vec<impl Future<Output = T>>) -> Vec<T> {
    let before = store.stats().batches;
    let answers = futures::future::join_all(asks).await;
    assert_eq!(store.stats().batches - before, batches);
    answers
}
