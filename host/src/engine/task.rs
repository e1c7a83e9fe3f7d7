//! The thin loop around an [`Owner`]: reads what it needs, writes what it wants, passes on what follows.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::activities::Activities;
use super::catalogue::{Catalogue, TenantDirectory};
use super::flight_recorder::{Flight, FlightRecorder};
use super::heat::Heat;
use super::hub::{Hub, Mail};
use super::owner::{ActivityChanges, ActivityResult, Next, Owner, World};
use super::recorded::Recorded;
use super::timers::Timers;
use super::waiters::Waiters;
use crate::clock::Clock;
use crate::model::{InstanceNumber, ModuleNumber, ObservableLimits, Started, Timestamp, TurnNumber};
use crate::replay::{Directory, Execution, HostTrouble, Player, TurnLimits};
use crate::sandbox::OrchestratorGuest;
use crate::store::{self, AttemptRow, Store, TurnCommit, TurnReceipt};

/// Rows of history read at once. Bounds the memory of a cold load.
const HISTORY_PAGE: u32 = 1_000;

/// How long an owner waits before it tries again after trouble of the host's own.
const TROUBLE_PAUSE: Duration = Duration::from_millis(100);

/// How often loading a module is tried before the instance is stuck.
const MODULE_TRIES: u32 = 3;

/// What all owners share.
pub(super) struct Shared {
    pub store: Store,
    pub catalogue: Arc<Catalogue>,
    pub clock: Arc<dyn Clock>,
    pub recorder: FlightRecorder,
    pub activities: Activities,
    pub timers: Timers,
    pub waiters: Waiters,
    pub heat: Heat,
    /// Bounds the instances being loaded at once, so that a start with many does not read them all into memory.
    pub loading: Semaphore,
    pub runtime: tokio::runtime::Handle,
    pub tracker: TaskTracker,
    pub shutdown: CancellationToken,
    pub hot_cap: usize,
    pub hot_idle: Duration,
    pub turn_limits: TurnLimits,
    pub observable: ObservableLimits,
}

type GuestOwner = Owner<Recorded<OrchestratorGuest>>;

/// What the owner of one tenant's instance is given to decide with.
struct HostWorld<'a> {
    shared: &'a Shared,
    directory: &'a TenantDirectory,
}

impl World for HostWorld<'_> {
    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn seed(&self) -> [u8; 32] {
        new_seed()
    }

    fn directory(&self) -> &dyn Directory {
        self.directory
    }

    fn limits(&self) -> ObservableLimits {
        self.shared.observable
    }

    fn max_turns(&self) -> u32 {
        self.shared.turn_limits.turns
    }
}

/// 32 bytes from the operating system.
pub(super) fn new_seed() -> [u8; 32] {
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).expect("the operating system has random bytes");
    seed
}

/// Runs the owner of an instance until it is idle for long enough or has ended.
pub(super) async fn run(hub: Hub, instance: InstanceNumber, mut mailbox: mpsc::UnboundedReceiver<Mail>) {
    let shared = hub.shared().clone();
    let mut results = VecDeque::new();
    loop {
        // An owner whose commit failed is thrown away, and a new one reads what is really stored.
        match load(&shared, instance, &mut results).await {
            Some((owner, attempts)) => {
                let mut session = Session {
                    hub: &hub,
                    shared: &shared,
                    instance,
                    attempts,
                    module_tries: 0,
                };
                match session.work(owner, &mut mailbox).await {
                    Ended::Idle => {}
                    Ended::Over => over(&shared, instance, &mut mailbox),
                    Ended::Failed(kept) => {
                        results.extend(kept);
                        if pause(&shared).await {
                            continue;
                        }
                    }
                }
            }
            None => over(&shared, instance, &mut mailbox),
        }
        shared.heat.not_idle(instance);
        if hub.remove_if_idle(instance, &mailbox) || shared.shutdown.is_cancelled() {
            return;
        }
    }
}

/// The instance has ended or is gone: those who wait for it are told, and what is still in the mail concerns nobody.
fn over(shared: &Shared, instance: InstanceNumber, mailbox: &mut mpsc::UnboundedReceiver<Mail>) {
    while mailbox.try_recv().is_ok() {}
    shared.waiters.ended(instance);
}

/// Waits a moment after trouble; says whether to go on.
async fn pause(shared: &Shared) -> bool {
    shared
        .shutdown
        .run_until_cancelled(tokio::time::sleep(TROUBLE_PAUSE))
        .await
        .is_some()
}

/// Reads an instance; none if it is gone or has ended.
async fn load(
    shared: &Shared,
    instance: InstanceNumber,
    results: &mut VecDeque<ActivityResult>,
) -> Option<(GuestOwner, Vec<AttemptRow>)> {
    let _turn = shared.loading.acquire().await.expect("loading is never closed");
    loop {
        let inbox_from = shared.store.newest_message();
        match shared.store.load(instance).await {
            Ok(Some(record)) if !record.status.has_ended() => {
                let attempts = record.attempts.clone();
                let mut owner = Owner::new(record, inbox_from);
                results.drain(..).for_each(|result| owner.receive_result(result));
                return Some((owner, attempts));
            }
            Ok(_) | Err(store::Error::Closed) => return None,
            Err(error @ store::Error::Damaged(_)) => {
                tracing::error!(instance = instance.0, %error, "an instance cannot be read");
                let reason = crate::model::StuckReason {
                    code: "history-unreadable".into(),
                    message: error.to_string(),
                };
                if let Err(error) = shared.store.mark_stuck(instance, reason, shared.clock.now()).await {
                    tracing::error!(instance = instance.0, %error, "an instance could not be marked as stuck");
                }
                return None;
            }
            Err(error) => {
                tracing::warn!(instance = instance.0, %error, "an instance could not be read; trying again");
                if !pause(shared).await {
                    return None;
                }
            }
        }
    }
}

/// How a session ended.
enum Ended {
    /// Nothing to do for a while.
    Idle,
    /// The instance has ended or is gone.
    Over,
    /// A commit failed; these results are nowhere durable.
    Failed(Vec<ActivityResult>),
}

/// One owner at work.
struct Session<'a> {
    hub: &'a Hub,
    shared: &'a Arc<Shared>,
    instance: InstanceNumber,
    /// Attempts noted when the owner was loaded.
    attempts: Vec<AttemptRow>,
    module_tries: u32,
}

impl Session<'_> {
    async fn work(&mut self, mut owner: GuestOwner, mailbox: &mut mpsc::UnboundedReceiver<Mail>) -> Ended {
        let directory = Arc::new(TenantDirectory::new(self.shared.catalogue.clone(), owner.tenant()));
        loop {
            while let Ok(mail) = mailbox.try_recv() {
                receive(&mut owner, mail);
            }
            if self.shared.shutdown.is_cancelled() {
                return Ended::Idle;
            }
            let next = {
                let world = HostWorld {
                    shared: self.shared,
                    directory: &directory,
                };
                owner.next(&world)
            };
            match next {
                Err(trouble) => self.make_room(&trouble).await,
                Ok(Next::Ended) => return Ended::Over,
                Ok(Next::Activities(changes)) => self.change_activities(&owner, changes),
                Ok(Next::History(after)) => self.feed(&mut owner, after).await,
                Ok(Next::Guest(module, started)) => self.install(&mut owner, module, started, &directory).await,
                Ok(Next::Store(items)) => {
                    for item in items {
                        if let Err(error) = self.shared.store.deliver(self.instance, item).await {
                            // Not durable: its activity runs again when the instance goes on after a restart.
                            tracing::error!(instance = self.instance.0, %error, "a result could not be kept");
                        }
                    }
                    return Ended::Failed(Vec::new());
                }
                Ok(Next::Commit(commit)) => match self.commit(*commit).await {
                    Some(receipt) => {
                        owner.committed(&receipt);
                        self.announce(&receipt);
                        if self.shared.hot_cap == 0 {
                            owner.cool();
                        }
                    }
                    None => return Ended::Failed(owner.into_results()),
                },
                Ok(Next::Idle(wake_at)) => {
                    if !self.idle(&mut owner, mailbox, wake_at).await {
                        return Ended::Idle;
                    }
                }
            }
        }
    }

    /// Waits for a message. Returns false when the owner is to go.
    async fn idle(
        &self,
        owner: &mut GuestOwner,
        mailbox: &mut mpsc::UnboundedReceiver<Mail>,
        wake_at: Option<Timestamp>,
    ) -> bool {
        if let Some(wake_at) = wake_at {
            self.shared.timers.arm(self.instance, wake_at);
        }
        if owner.is_hot()
            && let Some(oldest) = self.shared.heat.idle(self.instance, self.shared.hot_cap)
        {
            self.hub.deliver(oldest, Mail::Cool);
        }
        let patience = if owner.is_hot() {
            self.shared.hot_idle
        } else {
            Duration::ZERO
        };
        let mail = tokio::select! {
            biased;
            mail = mailbox.recv() => mail,
            () = tokio::time::sleep(patience) => None,
            () = self.shared.shutdown.cancelled() => None,
        };
        self.shared.heat.not_idle(self.instance);
        match mail {
            Some(Mail::Cool) => {
                owner.cool();
                true
            }
            Some(mail) => {
                receive(owner, mail);
                true
            }
            None => false,
        }
    }

    async fn commit(&self, commit: TurnCommit) -> Option<TurnReceipt> {
        let wake_at = commit.summary.wake_at;
        match self.shared.store.commit(commit).await {
            Ok(receipt) => {
                match wake_at {
                    Some(wake_at) => self.shared.timers.arm(self.instance, wake_at),
                    None => self.shared.timers.disarm(self.instance),
                }
                Some(receipt)
            }
            Err(error) => {
                tracing::error!(instance = self.instance.0, %error, "a turn could not be written; it will run again");
                None
            }
        }
    }

    /// Wakes those whom a commit concerns.
    fn announce(&self, receipt: &TurnReceipt) {
        for created in &receipt.created {
            self.hub.deliver(*created, Mail::Wake);
        }
        for (instance, row) in &receipt.delivered {
            if *instance != self.instance {
                self.hub.deliver(*instance, Mail::Inbox(row.clone()));
            }
        }
    }

    fn change_activities(&self, owner: &GuestOwner, changes: ActivityChanges) {
        let activities = &self.shared.activities;
        let (execution, _) = owner.position();
        for task in changes.cancel {
            activities.cancel(self.instance, execution, task);
        }
        if changes.cancel_all {
            activities.cancel_all(self.instance);
        }
        for start in changes.start {
            activities.start(self.hub, self.instance, owner.id(), start, &self.attempts);
        }
    }

    /// Reads the next rows of the history.
    async fn feed(&self, owner: &mut GuestOwner, after: TurnNumber) {
        let (execution, last) = owner.position();
        match self
            .shared
            .store
            .history(self.instance, execution, after, HISTORY_PAGE)
            .await
        {
            Ok(rows) if rows.is_empty() => {
                owner.break_down(
                    "history-unreadable",
                    format!("turns {} to {last} are missing", after.next()),
                );
            }
            Ok(rows) => {
                let _recording = self.shared.recorder.record(Flight {
                    instance: self.instance,
                    execution,
                    task: None,
                });
                if let Err(trouble) = owner.feed(&rows) {
                    self.make_room(&trouble).await;
                }
            }
            Err(error @ store::Error::Damaged(_)) => owner.break_down("history-unreadable", error.to_string()),
            Err(error) => {
                tracing::warn!(instance_id = %owner.id(), %error, "a history could not be read; trying again");
                pause(self.shared).await;
            }
        }
    }

    /// Makes a guest before its first turn.
    async fn install(
        &mut self,
        owner: &mut GuestOwner,
        module: ModuleNumber,
        started: Arc<Started>,
        directory: &Arc<TenantDirectory>,
    ) {
        let guest = match self.shared.catalogue.load(module).await {
            Ok(module) => self
                .shared
                .catalogue
                .sandbox()
                .start_orchestrator(&module, started.limits),
            Err(trouble) => Err(trouble),
        };
        match guest {
            Ok(guest) => {
                self.module_tries = 0;
                let flight = Flight {
                    instance: self.instance,
                    execution: started.execution,
                    task: None,
                };
                let guest = Recorded {
                    guest,
                    recorder: self.shared.recorder.clone(),
                    flight,
                };
                let execution = Execution::new(owner.id().clone(), started, directory.clone(), self.shared.turn_limits);
                owner.install(Player::new(guest, execution));
            }
            Err(HostTrouble::Module(message)) => {
                self.module_tries += 1;
                if self.module_tries >= MODULE_TRIES {
                    owner.break_down("module-unavailable", message);
                } else {
                    pause(self.shared).await;
                }
            }
            Err(trouble @ HostTrouble::NoRoom(_)) => self.make_room(&trouble).await,
        }
    }

    /// Cools the instance that has been idle longest, and waits a moment.
    async fn make_room(&self, trouble: &HostTrouble) {
        match self.shared.heat.oldest() {
            Some(oldest) => self.hub.deliver(oldest, Mail::Cool),
            None => tracing::warn!(instance = self.instance.0, %trouble, "an instance has to wait"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn receive(owner: &mut GuestOwner, mail: Mail) {
    match mail {
        Mail::Inbox(row) => owner.receive(row),
        Mail::Result(result) => owner.receive_result(result),
        Mail::Wake => {}
        Mail::Cool => owner.cool(),
    }
}
