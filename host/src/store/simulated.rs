//! The disk of the simulation: what a database file would hold, in memory, with faults on demand.
//!
//! Stands in for SQLite below the [seam](super::backend); everything above it is real. It survives what
//! it is told to survive: a [`Disk`] outlives the runtime that a simulated host ran on, a transaction that was not
//! committed does not. [`FaultPlan`] decides about each step: how long it takes, whether it fails, whether the host ends in
//! the middle of it. That it answers as SQLite does is shown by the tests of the store, which run over both.

mod catalogue;
mod check;
mod content;
mod people;
mod queries;
mod session;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use self::content::{Content, InstanceRow, InstanceRows};
pub(super) use self::session::Session;
use super::{
    Error, Opened, Store, StoreService,
    backend::{Connection, People, Readers, Upkeep},
    ownership::Epoch,
    writer::WriteGate,
};

/// A step that the disk is about to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Answer a query.
    Read,
    /// Begin a transaction.
    Begin,
    /// Ask or write something in a transaction.
    Write,
    /// Commit a transaction.
    Commit,
}

/// What becomes of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It is done.
    Done,
    /// It fails and changes nothing.
    Fails,
    /// The host ends before it is done: it never returns.
    HostEndsBefore,
    /// The host ends when it is done and before anybody knows: it never returns.
    HostEndsAfter,
}

/// How a step goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Treatment {
    /// How long it takes until it is done.
    pub(crate) before: Duration,
    /// And then until the answer is there.
    pub(crate) after: Duration,
    pub(crate) ending: Ending,
}

/// Decides what happens to each step, and sees what was committed.
pub(crate) trait FaultPlan: Send + Sync {
    /// What is to happen to the next step.
    fn of(&self, step: Step) -> Treatment;

    /// Something was committed.
    fn committed(&self, before: &Content, after: &Content);
}

/// A mistake that is planted to show that it would be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Now and then a turn is not written with the rest of its commit.
    LosesTurns,
    /// What was committed last is gone after a crash, although it was answered.
    AnswersBeforeCommit,
    /// Now and then an outcome is written into history twice.
    RepeatsOutcomes,
    /// Messages that were taken stay in the inbox.
    KeepsMessages,
    /// Nobody is woken by time after a restart.
    ForgetsWakeUps,
    /// Now and then a turn that was written before is overwritten.
    RewritesTurns,
    /// Now and then an event that waits is gone when an execution continues as new.
    LosesEvents,
}

/// The disk. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

struct State {
    /// What is committed.
    content: Content,
    /// What a crash leaves: the same, if nothing is sabotaged.
    durable: Content,
    fault_plan: Arc<dyn FaultPlan>,
    /// That of the newest owner.
    epoch: Epoch,
    sabotage: Option<Sabotage>,
    /// Commits so far, to sabotage some of them.
    commits: u64,
    /// Most events that a query reads, and most names.
    events_at_once: usize,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl Treatment {
    /// Done at once.
    pub(crate) const SMOOTH: Self = Self {
        before: Duration::ZERO,
        after: Duration::ZERO,
        ending: Ending::Done,
    };
}

impl Disk {
    /// A disk with the empty tables of a new database.
    pub(crate) fn new(fault_plan: Arc<dyn FaultPlan>, sabotage: Option<Sabotage>) -> Self {
        let content = Content::new();
        Self(Arc::new(Mutex::new(State {
            durable: content.clone(),
            content,
            fault_plan,
            epoch: Epoch::ONLY,
            sabotage,
            commits: 0,
            events_at_once: usize::MAX,
        })))
    }

    /// From now on, queries read so few events that most instances have more.
    pub(crate) fn read_few_events(&self) {
        self.lock().events_at_once = 2;
    }

    fn events_at_once(&self) -> usize {
        self.lock().events_at_once
    }

    /// What is committed now. Cheap.
    pub(crate) fn content(&self) -> Content {
        self.lock().content.clone()
    }

    /// The host has ended.
    pub(crate) fn crash(&self) {
        let mut state = self.lock();
        state.content = state.durable.clone();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The epoch of the newest owner.
    fn epoch(&self) -> Epoch {
        self.lock().epoch
    }

    /// Begins the epoch of a new owner.
    fn next_epoch(&self) -> Epoch {
        let mut state = self.lock();
        state.epoch = state.epoch.next();
        state.epoch
    }

    fn sabotage(&self) -> Option<Sabotage> {
        self.lock().sabotage
    }

    /// Applies the fault plan to a step, up to the moment at which it is done.
    async fn begin_step(&self, step: Step) -> Result<Treatment, Error> {
        let fault_plan = self.lock().fault_plan.clone();
        let treatment = fault_plan.of(step);
        pass(treatment.before).await;
        match treatment.ending {
            Ending::Done | Ending::HostEndsAfter => Ok(treatment),
            Ending::Fails => {
                let trouble = std::io::Error::other(format!("simulated trouble: {step:?}"));
                Err(Error::database(trouble))
            }
            Ending::HostEndsBefore => std::future::pending().await,
        }
    }

    /// Takes the time until the answer is there.
    async fn end_step(&self, treatment: Treatment) {
        if treatment.ending == Ending::HostEndsAfter {
            std::future::pending::<()>().await;
        }
        pass(treatment.after).await;
    }

    /// Runs a query over what is committed at one moment.
    async fn read<T>(&self, query: impl FnOnce(&Content) -> Result<T, Error>) -> Result<T, Error> {
        let treatment = self.begin_step(Step::Read).await?;
        let found = query(&self.content());
        self.end_step(treatment).await;
        found
    }

    /// Commits the last of these stages; the others led to it.
    fn commit(&self, stages: Vec<Content>) {
        let content = stages.last().expect("a transaction has an end").clone();
        let (mut before, fault_plan) = {
            let mut state = self.lock();
            state.commits += 1;
            let before = std::mem::replace(&mut state.content, content.clone());
            state.durable = match state.sabotage {
                Some(Sabotage::AnswersBeforeCommit) => before.clone(),
                _ => content,
            };
            (before, state.fault_plan.clone())
        };
        for stage in stages {
            fault_plan.committed(&before, &stage);
            before = stage;
        }
    }

    /// Whether this time something goes wrong on purpose.
    fn sabotages(&self, what: Sabotage) -> bool {
        let state = self.lock();
        state.sabotage == Some(what) && state.commits % 5 == 4
    }
}

/// Lets time pass, or at least the others go first: a real database answers from another thread.
async fn pass(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
}

impl Store {
    /// Opens the store of a simulated disk.
    ///
    /// # Errors
    /// When the fault plan says so.
    pub(crate) async fn open_simulated(disk: &Disk) -> Result<(Self, StoreService), Error> {
        let opened = Opened {
            connection: Connection::Simulated(Session::new(disk.clone())),
            readers: Readers::Simulated(disk.clone()),
            people: People::Simulated(disk.clone()),
            upkeep: Upkeep::Simulated,
            gate: WriteGate::default(),
            stats: Arc::default(),
        };
        opened.into_store().await
    }
}
