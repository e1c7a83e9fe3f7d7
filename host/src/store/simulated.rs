//! A simulated disk: the content of a database file in memory, with injected faults.
//!
//! Replaces SQLite below the [seam](super::backend); everything above it is real. A [`Disk`] outlives the runtime of a
//! simulated host, but uncommitted transactions do not. A [`FaultPlan`] decides for each step how long it takes,
//! whether it fails, and whether the host ends during it. The store's tests run over both backends, to prove that both
//! give the same answers.

mod broadcasts;
mod catalogue;
mod check;
mod content;
mod entities;
mod people;
mod queries;
mod retention;
mod schedules;
mod session;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) use self::content::{Content, InstanceRow, InstanceRows, Message};
pub(super) use self::session::Session;
use super::{
    Error, Opened, Store, StoreService,
    backend::{Connection, People, Readers, Upkeep},
    ownership::Epoch,
    writer::WriteGate,
};

/// A kind of operation on the disk, for which the fault plan chooses the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Answer a query.
    Read,
    /// Begin a transaction.
    Begin,
    /// Read or write in a transaction.
    Write,
    /// Commit a transaction.
    Commit,
}

/// The result of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The step succeeds.
    Done,
    /// The step fails and changes nothing.
    Fails,
    /// The host ends before the step takes effect; the call never returns.
    HostEndsBefore,
    /// The host ends after the step took effect, but before its answer arrives; the call never returns.
    HostEndsAfter,
}

/// The result and the duration of a step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Treatment {
    /// The time until the step takes effect.
    pub(crate) before: Duration,
    /// The time from then until the answer arrives.
    pub(crate) after: Duration,
    pub(crate) ending: Ending,
}

/// Decides the result of each step, and observes all commits.
pub(crate) trait FaultPlan: Send + Sync {
    /// Decides the result of the next step.
    fn of(&self, step: Step) -> Treatment;

    /// The maximum size of a turn, in bytes. The disk refuses larger ones.
    fn max_turn_bytes(&self) -> usize {
        usize::MAX
    }

    /// Observes a commit.
    fn committed(&self, before: &Content, after: &Content);
}

/// A bug planted in the disk, to prove that the checkers detect it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PlantedBug {
    /// Some turns are missing from their commit.
    LosesTurns,
    /// A crash loses the last commit, although it was acknowledged.
    AnswersBeforeCommit,
    /// Some outcomes are written into the history twice.
    RepeatsOutcomes,
    /// Messages that an orchestration has consumed stay in its inbox. (An entity would apply them for ever.)
    KeepsMessages,
    /// Changes of an instance do not store its wake-up time, so it does not wake in time after a restart.
    ForgetsWakeUps,
    /// Some turns are overwritten by the next turn.
    RewritesTurns,
    /// A pending event is lost when an execution continues as new.
    LosesEvents,
    /// Some messages to entities are delivered twice.
    RepeatsOperations,
}

/// The disk. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

struct State {
    /// The committed content.
    content: Content,
    /// The content after a crash. Equal to `content`, unless a planted bug loses commits.
    durable: Content,
    fault_plan: Arc<dyn FaultPlan>,
    /// The epoch of the newest owner.
    epoch: Epoch,
    planted_bug: Option<PlantedBug>,
    /// The number of commits so far. Some planted bugs show only in every fifth commit.
    commits: u64,
    /// The maximum number of events, and of event names, that a query reads.
    events_at_once: usize,
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Disk")
    }
}

impl Treatment {
    /// The step succeeds immediately.
    pub(crate) const SMOOTH: Self = Self {
        before: Duration::ZERO,
        after: Duration::ZERO,
        ending: Ending::Done,
    };
}

impl Disk {
    /// A disk with the empty tables of a new database.
    pub(crate) fn new(fault_plan: Arc<dyn FaultPlan>, planted_bug: Option<PlantedBug>) -> Self {
        let content = Content::new();
        Self(Arc::new(Mutex::new(State {
            durable: content.clone(),
            content,
            fault_plan,
            epoch: Epoch::ONLY,
            planted_bug,
            commits: 0,
            events_at_once: usize::MAX,
        })))
    }

    /// Limits queries to two events, so that most instances have more than one page.
    pub(crate) fn read_few_events(&self) {
        self.lock().events_at_once = 2;
    }

    fn events_at_once(&self) -> usize {
        self.lock().events_at_once
    }

    /// The committed content. Cheap to clone.
    pub(crate) fn content(&self) -> Content {
        self.lock().content.clone()
    }

    /// Resets the content to what survives a crash of the host.
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

    fn max_turn_bytes(&self) -> usize {
        self.lock().fault_plan.max_turn_bytes()
    }

    fn planted_bug(&self) -> Option<PlantedBug> {
        self.lock().planted_bug
    }

    /// Asks the fault plan how to treat the step, and waits until the step takes effect.
    ///
    /// # Errors
    /// If the fault plan lets the step fail.
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

    /// Waits until the answer of the step arrives.
    async fn end_step(&self, treatment: Treatment) {
        if treatment.ending == Ending::HostEndsAfter {
            std::future::pending::<()>().await;
        }
        pass(treatment.after).await;
    }

    /// Runs a query over a snapshot of the committed content.
    async fn read<T>(&self, query: impl FnOnce(&Content) -> Result<T, Error>) -> Result<T, Error> {
        let treatment = self.begin_step(Step::Read).await?;
        let found = query(&self.content());
        self.end_step(treatment).await;
        found
    }

    /// Commits the last stage. The fault plan observes each stage on its own.
    fn commit(&self, stages: Vec<Content>) {
        let content = stages.last().expect("a transaction has an end").clone();
        let (mut before, fault_plan) = {
            let mut state = self.lock();
            state.commits += 1;
            let before = std::mem::replace(&mut state.content, content.clone());
            state.durable = match state.planted_bug {
                Some(PlantedBug::AnswersBeforeCommit) => before.clone(),
                _ => content,
            };
            (before, state.fault_plan.clone())
        };
        for stage in stages {
            fault_plan.committed(&before, &stage);
            before = stage;
        }
    }

    /// Whether a planted bug shows in this commit.
    fn sabotages(&self, what: PlantedBug) -> bool {
        let state = self.lock();
        state.planted_bug == Some(what) && state.commits % 5 == 4
    }
}

/// Waits. Yields even if the time is zero, because a real database answers from another thread.
async fn pass(time: Duration) {
    if time.is_zero() {
        tokio::task::yield_now().await;
    } else {
        tokio::time::sleep(time).await;
    }
}

impl Store {
    /// Opens the store on a simulated disk.
    ///
    /// # Errors
    /// If the fault plan lets a step fail.
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
