//! The thin loop around an [`Owner`]: reads what it needs, writes what it wants, passes on what follows.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio_util::task::AbortOnDropHandle;

use super::events;
use super::flight_recorder::Flight;
use super::guests::AnyGuest;
use super::mail::{EventOutcome, Mail, PendingCreation};
use super::mailbox::Mailbox;
use super::owner::{ActivityChanges, ActivityResult, Next, Owner, OwnerContext, UNREADABLE};
use super::owners::Owners;
use super::recorded_guest::RecordedGuest;
use super::shared::Shared;
use super::shares::TurnPermit;
use super::stats::Step;
use crate::model::{
    ExecutionNumber, InboxItem, InstanceNumber, ModuleNumber, ObservableLimits, Started, TaskId, TenantId, Timestamp,
    Turn, TurnNumber,
};
use crate::replay::{Directory, Execution, HostUnavailable, Player};
use crate::store::{self, StartOutcome, TurnCommit, TurnReceipt, Used};
use crate::tenancy::{Quotas, Work};

/// Rows of history read at once. Bounds the memory of a cold load.
const HISTORY_PAGE: u32 = 1_000;

/// Turns that are replayed in one go, without a look at who else wants to run.
const PIECE_TURNS: usize = 100;

/// Fuel recorded of such turns, the last one excepted: about five milliseconds.
const PIECE_FUEL: u64 = 5_000_000;

/// How long an owner waits before it tries again after trouble of the host's own.
const TROUBLE_PAUSE: Duration = Duration::from_millis(100);

/// The longest such wait: a disk that is full stays so for a while, and thousands of instances may be waiting for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How often loading a module is tried before the instance is stuck.
const MODULE_TRIES: u32 = 3;

type GuestOwner = Owner<RecordedGuest<AnyGuest>>;

/// What the owner of one tenant's instance is given to decide with.
struct HostContext<'a> {
    shared: &'a Shared,
    tenant: TenantId,
    directory: &'a dyn Directory,
}

impl OwnerContext for HostContext<'_> {
    fn now(&self) -> Timestamp {
        self.shared.clock.now()
    }

    fn seed(&self) -> [u8; 32] {
        self.shared.entropy.seed()
    }

    fn directory(&self) -> &dyn Directory {
        self.directory
    }

    fn limits(&self) -> ObservableLimits {
        self.shared.observable
    }

    fn max_turns(&self) -> u32 {
        let limit = self.shared.turn_limits.turns;
        self.quota(|quotas| quotas.max_turns)
            .map_or(limit, |quota| quota.min(limit))
    }

    fn max_history_bytes(&self) -> u64 {
        self.shared.max_history_bytes(self.tenant)
    }

    fn max_log_bytes(&self) -> u64 {
        self.shared.tenancy.max_log_bytes(self.tenant)
    }

    fn is_held(&self) -> bool {
        self.shared.held_tenants.is_held(self.tenant)
    }
}

impl HostContext<'_> {
    fn quota<T>(&self, of: impl FnOnce(&Quotas) -> Option<T>) -> Option<T> {
        of(&self.shared.tenancy.tenant(self.tenant)?.quotas)
    }
}

/// Starts the task of an owner.
pub(super) fn spawn(
    owners: &Owners,
    instance: InstanceNumber,
    mailbox: Mailbox,
    pending_creation: Option<PendingCreation>,
) {
    let work = run(owners.clone(), instance, mailbox, pending_creation);
    owners.shared().tracker.spawn_on(work, &owners.shared().runtime);
}

/// Runs the owner of an instance until it is idle for long enough or has ended.
async fn run(
    owners: Owners,
    instance: InstanceNumber,
    mut mailbox: Mailbox,
    pending_creation: Option<PendingCreation>,
) {
    let shared = owners.shared().clone();
    let mut results = VecDeque::new();
    let mut session = Session {
        owners: &owners,
        shared: &shared,
        instance,
        module_tries: 0,
        failures: 0,
        first_turns: Vec::new(),
        ahead: None,
        creation_reply: None,
        raised: VecDeque::new(),
    };
    let is_new = pending_creation.is_some();
    let pending_creation = pending_creation.filter(|pending_creation| pending_creation.claim.take());
    let mut not_stored = pending_creation.map(|pending_creation| {
        session.creation_reply = Some(pending_creation.reply);
        let mut owner = Owner::not_stored(instance, pending_creation.creation, pending_creation.turn_later);
        owner.know_events_of(shared.known_event_bytes);
        owner
    });
    if is_new && not_stored.is_none() && owners.remove_if_idle(instance, &mailbox) {
        // Somebody else creates the instance, and wakes it then.
        return;
    }
    loop {
        // An owner whose commit failed is thrown away, and a new one reads what is really stored.
        let owner = match not_stored.take() {
            Some(owner) => Some(owner),
            None => session.load(&mut results, &mailbox).await,
        };
        match owner {
            Some(owner) => match session.work(owner, &mut mailbox).await {
                Ended::Idle => {}
                Ended::Stored => continue,
                Ended::Missed(kept) => {
                    results.extend(kept);
                    continue;
                }
                Ended::Over(unwanted) => {
                    results.extend(unwanted);
                    over(&shared, instance, &mut mailbox);
                }
                Ended::Failed(kept) => {
                    results.extend(kept);
                    session.failures += 1;
                    if pause_after(&shared, session.failures).await {
                        continue;
                    }
                }
            },
            // One that is about to be stored may have been looked for too early.
            None if over(&shared, instance, &mut mailbox) => continue,
            None => {}
        }
        session
            .raised
            .drain(..)
            .for_each(|reply| drop(reply.send(EventOutcome::NotTaken)));
        shared
            .activities
            .note_usage(results.drain(..).filter_map(|result| result.used));
        shared.hot_instances.not_idle(instance);
        if owners.remove_if_idle(instance, &mailbox) || shared.shutdown.is_cancelled() {
            return;
        }
    }
}

/// The instance has ended or is gone: those who wait for it are told, and what is still in the mail concerns nobody.
/// Says whether there was mail about something that is stored.
fn over(shared: &Shared, instance: InstanceNumber, mailbox: &mut Mailbox) -> bool {
    let mut woken = false;
    while let Some(mail) = mailbox.try_recv() {
        match mail {
            Mail::Wake | Mail::Inbox(_) => woken = true,
            Mail::Event(raised) => {
                if let Some((_, reply)) = raised.take() {
                    let _ = reply.send(EventOutcome::NotTaken);
                }
            }
            Mail::Result(result) => shared.activities.note_usage(result.used),
            Mail::Cool => {}
        }
    }
    shared.waiters.ended(instance, || None);
    woken
}

/// Waits a moment after trouble; says whether to go on.
async fn pause(shared: &Shared) -> bool {
    pause_after(shared, 1).await
}

/// Waits after trouble, longer each time that it comes again; says whether to go on.
async fn pause_after(shared: &Shared, times: u32) -> bool {
    let pause = TROUBLE_PAUSE
        .saturating_mul(1 << (times - 1).min(20))
        .min(LONGEST_PAUSE);
    shared
        .shutdown
        .run_until_cancelled(tokio::time::sleep(pause))
        .await
        .is_some()
}

/// How a session ended.
enum Ended {
    /// Nothing to do for a while.
    Idle,
    /// What the instance cannot take now was stored: the inbox is to be read again.
    Stored,
    /// The mailbox was full, and what is stored is to be read again; these results are nowhere durable.
    Missed(Vec<ActivityResult>),
    /// The instance has ended or is gone; nobody waits for these results.
    Over(Vec<ActivityResult>),
    /// A commit failed; these results are nowhere durable.
    Failed(Vec<ActivityResult>),
}

/// One owner at work.
struct Session<'a> {
    owners: &'a Owners,
    shared: &'a Arc<Shared>,
    instance: InstanceNumber,
    module_tries: u32,
    /// Commits that failed since the last one that did not.
    failures: u32,
    /// The first turns of the execution, from when the owner was loaded until it has taken a step.
    first_turns: Vec<Turn>,
    /// Turns that are being read while those before them are replayed.
    ahead: Option<ReadAhead>,
    /// Who is told that the instance is stored, until it is.
    creation_reply: Option<oneshot::Sender<Result<StartOutcome, store::Error>>>,
    /// Who is told that an event is stored, in the order in which the owner received them.
    raised: VecDeque<oneshot::Sender<EventOutcome>>,
}

/// A page of a history on its way, in a task of its own.
struct ReadAhead {
    execution: ExecutionNumber,
    after: TurnNumber,
    rows: AbortOnDropHandle<Result<Vec<Turn>, store::Error>>,
}

impl ReadAhead {
    fn begin(shared: &Shared, instance: InstanceNumber, execution: ExecutionNumber, after: TurnNumber) -> Self {
        let store = shared.store.clone();
        let read = async move { store.history(instance, execution, after, HISTORY_PAGE).await };
        let rows = AbortOnDropHandle::new(shared.tracker.spawn_on(read, &shared.runtime));
        Self { execution, after, rows }
    }

    fn is_of(&self, execution: ExecutionNumber, after: TurnNumber) -> bool {
        (self.execution, self.after) == (execution, after)
    }

    /// The turns, as soon as they were read.
    async fn rows(self) -> Result<Vec<Turn>, store::Error> {
        // The task is aborted by nobody else; it ends early with its runtime only.
        self.rows.await.unwrap_or(Err(store::Error::Closed))
    }
}

impl Session<'_> {
    /// Reads the instance; none if it is gone or has ended.
    async fn load(&mut self, results: &mut VecDeque<ActivityResult>, mailbox: &Mailbox) -> Option<GuestOwner> {
        let (shared, instance) = (self.shared, self.instance);
        let _turn = shared.loading.acquire().await.expect("loading is never closed");
        loop {
            // What was dropped until now is stored, and read here.
            mailbox.take_missed();
            let inbox_from = shared.store.newest_message();
            match shared.store.load(instance).await {
                Ok(Some(mut record)) if !record.status.has_ended() => {
                    self.first_turns = std::mem::take(&mut record.first_turns);
                    let mut owner = Owner::new(record, inbox_from);
                    owner.know_events_of(shared.known_event_bytes);
                    results.drain(..).for_each(|result| owner.receive_result(result));
                    return Some(owner);
                }
                Ok(_) | Err(store::Error::Closed) => return None,
                Err(error @ store::Error::Damaged(_)) => {
                    tracing::error!(instance = instance.0, %error, "an instance cannot be read");
                    let reason = crate::model::StuckReason {
                        code: UNREADABLE.into(),
                        message: error.to_string(),
                    };
                    if let Err(error) = shared.store.mark_stuck(instance, reason, shared.clock.now()).await {
                        tracing::error!(instance = instance.0, %error, "an instance could not be marked as stuck");
                    } else {
                        shared.stats.stuck.increment();
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

    async fn work(&mut self, mut owner: GuestOwner, mailbox: &mut Mailbox) -> Ended {
        let directory = self.shared.guests.clone().directory(owner.tenant());
        loop {
            while let Some(mail) = mailbox.try_recv() {
                self.receive(&mut owner, mail);
            }
            if self.shared.shutdown.is_cancelled() {
                return Ended::Idle;
            }
            let next = {
                let pass = self.pass(&mut owner, mailbox).await;
                let context = HostContext {
                    shared: self.shared,
                    tenant: owner.tenant(),
                    directory: &*directory,
                };
                let next = owner.next(&context);
                if let (Some(pass), Ok(next)) = (pass, &next) {
                    pass.used(next.fuel());
                }
                next
            };
            match next {
                Err(trouble) => {
                    self.trouble(&mut owner, &trouble).await;
                    // It may have to wait long for its guest, and must see meanwhile that it is to end.
                    if !owner.is_not_stored() && mailbox.take_missed() {
                        return self.missed(owner);
                    }
                }
                Ok(Next::Ended) => return Ended::Over(owner.into_results()),
                Ok(Next::Activities(changes)) => self.change_activities(&owner, changes),
                Ok(Next::History(after)) => self.feed(&mut owner, after).await,
                Ok(Next::Attempts(tasks)) => self.read_attempts(&mut owner, &tasks).await,
                Ok(Next::Events(names)) => self.read_events(&mut owner, &names).await,
                Ok(Next::Guest(module, started)) => {
                    self.install(&mut owner, module, started, &directory).await;
                    if !owner.is_hot() && !owner.is_not_stored() && mailbox.take_missed() {
                        return self.missed(owner);
                    }
                }
                Ok(Next::Store(items)) => {
                    self.keep(items).await;
                    return Ended::Stored;
                }
                Ok(Next::Commit(commit)) => match self.commit(*commit).await {
                    Ok(receipt) if receipt.refused.is_some() => {
                        self.answer_creation(Ok(receipt.refused.expect("it was refused")));
                        return Ended::Over(owner.into_results());
                    }
                    Ok(receipt) => {
                        self.committed(&mut owner, &receipt);
                        if mailbox.take_missed() {
                            // Nobody else knows what the commit stops and, if the instance has ended, starts.
                            let changes = owner.take_activity_changes();
                            self.change_activities(&owner, changes);
                            return match owner.has_ended() {
                                true => Ended::Over(owner.into_results()),
                                false => self.missed(owner),
                            };
                        }
                    }
                    Err(error) => {
                        // A start that took too long may have been stored meanwhile: its turn runs again, from what
                        // is stored then.
                        self.refuse(error);
                        return Ended::Failed(owner.into_results());
                    }
                },
                Ok(Next::Idle(_)) if mailbox.take_missed() => return self.missed(owner),
                Ok(Next::Idle(wake_at)) => {
                    if !self.idle(&mut owner, mailbox, wake_at).await {
                        return Ended::Idle;
                    }
                }
            }
        }
    }

    /// Rows did not fit into the mailbox. The owner has done something since it was loaded, so that a flood of messages does
    /// not keep it from its work; now another one reads what is stored.
    fn missed(&mut self, owner: GuestOwner) -> Ended {
        self.raised
            .drain(..)
            .for_each(|reply| drop(reply.send(EventOutcome::NotTaken)));
        Ended::Missed(owner.into_results())
    }

    /// Before a turn: waits until it is the tenant's. What comes meanwhile is for that turn as well.
    async fn pass(&mut self, owner: &mut GuestOwner, mailbox: &mut Mailbox) -> Option<TurnPermit> {
        if !owner.is_about_to_run() {
            return None;
        }
        let pass = self.shared.gate.enter(owner.tenant()).await;
        while let Some(mail) = mailbox.try_recv() {
            self.receive(owner, mail);
        }
        Some(pass)
    }

    /// Waits for a message. Returns false when the owner is to go.
    async fn idle(&mut self, owner: &mut GuestOwner, mailbox: &mut Mailbox, wake_at: Option<Timestamp>) -> bool {
        if let Some(wake_at) = wake_at {
            self.shared.timers.arm(self.instance, wake_at);
        }
        if owner.is_hot()
            && let Some(oldest) = self.shared.hot_instances.idle(self.instance, self.shared.hot_cap)
        {
            self.owners.deliver(oldest, Mail::Cool);
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
        self.shared.hot_instances.not_idle(self.instance);
        match mail {
            Some(Mail::Cool) => {
                owner.cool();
                true
            }
            Some(mail) => {
                self.receive(owner, mail);
                true
            }
            None => false,
        }
    }

    fn receive(&mut self, owner: &mut GuestOwner, mail: Mail) {
        match mail {
            Mail::Inbox(row) => owner.receive(row),
            Mail::Result(result) => owner.receive_result(result),
            Mail::Event(raised) => {
                if let Some((event, reply)) = raised.take() {
                    let max_bytes = self.shared.max_history_bytes(owner.tenant());
                    if owner.takes_event(&event, max_bytes, self.shared.clock.now()) {
                        owner.receive_event(event);
                        self.raised.push_back(reply);
                    } else {
                        // Who raised it has it stored.
                        let _ = reply.send(EventOutcome::NotTaken);
                    }
                }
            }
            Mail::Wake => {}
            Mail::Cool => owner.cool(),
        }
    }

    /// A step is durable: who asked for it is told, and who is concerned by it is woken.
    fn committed(&mut self, owner: &mut GuestOwner, receipt: &TurnReceipt) {
        self.answer_creation(Ok(StartOutcome::Created(self.instance)));
        let raised = owner.committed(receipt);
        self.first_turns.clear();
        self.failures = 0;
        for (reply, durable) in self.raised.drain(..raised.len()).zip(raised) {
            let _ = reply.send(if durable {
                EventOutcome::Durable
            } else {
                EventOutcome::NotTaken
            });
        }
        self.announce(receipt);
        let shared = self.shared;
        if owner.has_ended() {
            let digest = || shared.guests.digest(owner.module());
            let end = || digest().and_then(|digest| owner.ended(digest)).map(Arc::new);
            shared.waiters.ended(self.instance, end);
        }
        if shared.hot_cap == 0 {
            owner.cool();
        }
    }

    /// Tells whoever started the instance, if that is still open, what came of it.
    fn answer_creation(&mut self, outcome: Result<StartOutcome, store::Error>) {
        if let Some(reply) = self.creation_reply.take() {
            let _ = reply.send(outcome);
        }
    }

    /// The store failed: whoever waits for something to become durable is told.
    fn refuse(&mut self, error: store::Error) {
        for reply in self.raised.drain(..) {
            let _ = reply.send(EventOutcome::Failed(error.clone()));
        }
        self.answer_creation(Err(error));
    }

    /// Appends what the instance cannot take now to its inbox.
    async fn keep(&mut self, items: Vec<(InboxItem, Option<Used>)>) {
        let results = items.len() - self.raised.len();
        for (position, (item, used)) in items.into_iter().enumerate() {
            let reply = (position >= results).then(|| self.raised.pop_front()).flatten();
            let kept = self.shared.store.deliver_used(self.instance, item, used).await;
            if let Err(error) = &kept {
                // A result that is not durable: its activity runs again when the instance goes on after a restart.
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

    async fn commit(&self, mut commit: TurnCommit) -> Result<TurnReceipt, store::Error> {
        let checked = events::drop_unfit(&*self.shared.guests, &self.shared.store, &mut commit).await;
        let (wake_at, step) = (commit.summary.wake_at, Step::of(&commit));
        let (tenant, fuel) = (commit.tenant, commit.turn.as_ref().map_or(0, |turn| turn.fuel));
        let children = commit.children.len() as u64;
        let committed = match checked {
            Ok(()) => self.shared.store.commit(commit).await,
            Err(error) => Err(error),
        };
        match committed {
            Ok(receipt) => {
                let work = Work {
                    turns: u64::from(self.shared.stats.count_step(&step, &receipt)),
                    fuel,
                    ..Work::default()
                };
                self.shared.tenancy.count_work(tenant, work);
                if children > 0 {
                    self.shared.tenancy.note_starts(tenant, children);
                }
                match wake_at {
                    Some(wake_at) => self.shared.timers.arm(self.instance, wake_at),
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

    /// Wakes those whom a commit concerns.
    fn announce(&self, receipt: &TurnReceipt) {
        for created in &receipt.created {
            self.owners.deliver(*created, Mail::Wake);
        }
        for (instance, row) in &receipt.delivered {
            if *instance != self.instance {
                self.owners.deliver(*instance, Mail::Inbox(row.clone()));
            }
        }
    }

    fn change_activities(&self, owner: &GuestOwner, changes: ActivityChanges) {
        let activities = &self.shared.activities;
        for (execution, task) in changes.cancel {
            activities.cancel(self.instance, execution, task);
        }
        if changes.cancel_all {
            activities.cancel_all(self.instance);
        }
        for start in changes.start {
            activities.start(self.owners, owner.tenant(), self.instance, owner.id(), start);
        }
    }

    /// Reads what is noted of the attempts of some tasks.
    async fn read_attempts(&self, owner: &mut GuestOwner, tasks: &[TaskId]) {
        let (execution, _) = owner.position();
        match self.shared.store.attempts_so_far(self.instance, execution, tasks).await {
            Ok(noted) => owner.take_attempts(noted),
            Err(error @ store::Error::Damaged(_)) => owner.break_down(UNREADABLE, error.to_string()),
            Err(error) => {
                tracing::warn!(instance_id = %owner.id(), %error, "attempts could not be read; trying again");
                pause(self.shared).await;
            }
        }
    }

    /// Reads the next rows of the history.
    async fn feed(&mut self, owner: &mut GuestOwner, after: TurnNumber) {
        let (execution, last) = owner.position();
        let ahead = self.ahead.take().filter(|ahead| ahead.is_of(execution, after));
        let rows = match (self.first_turns.get(after.0 as usize..), ahead) {
            (Some(rows), _) if !rows.is_empty() => Ok(Cow::Borrowed(rows)),
            (_, Some(ahead)) => ahead.rows().await.map(Cow::Owned),
            _ => {
                let rows = self.shared.store.history(self.instance, execution, after, HISTORY_PAGE);
                rows.await.map(Cow::Owned)
            }
        };
        if let Ok([.., newest]) = rows.as_deref()
            && newest.number < last
        {
            self.ahead = Some(ReadAhead::begin(self.shared, self.instance, execution, newest.number));
        }
        match rows {
            Ok(rows) if rows.is_empty() => {
                owner.break_down(UNREADABLE, format!("turns {} to {last} are missing", after.next()));
            }
            Ok(rows) => {
                self.shared.stats.count_replay(owner.is_hot(), rows.len());
                if let Err(trouble) = self.feed_in_pieces(owner, &rows).await {
                    self.trouble(owner, &trouble).await;
                }
            }
            Err(error @ store::Error::Damaged(_)) => owner.break_down(UNREADABLE, error.to_string()),
            Err(error) => {
                tracing::warn!(instance_id = %owner.id(), %error, "a history could not be read; trying again");
                pause(self.shared).await;
            }
        }
    }

    /// Reads events that the instance waits for.
    async fn read_events(&self, owner: &mut GuestOwner, names: &[String]) {
        let newest = self.shared.store.newest_message();
        match self.shared.store.events(self.instance, names).await {
            Ok(pages) => owner.read_events(newest, pages),
            Err(error @ store::Error::Damaged(_)) => owner.break_down(UNREADABLE, error.to_string()),
            Err(error) => {
                tracing::warn!(instance_id = %owner.id(), %error, "events could not be read; trying again");
                pause(self.shared).await;
            }
        }
    }

    /// Feeds rows a few at a time, so that others come in between; what is left at the shutdown is left.
    async fn feed_in_pieces(&self, owner: &mut GuestOwner, rows: &[Turn]) -> Result<(), HostUnavailable> {
        let (shared, (execution, _), was_hot) = (self.shared, owner.position(), owner.is_hot());
        let mut left = rows;
        // A guest that did not repeat its history is gone.
        while !left.is_empty() && owner.is_hot() == was_hot && !shared.shutdown.is_cancelled() {
            if left.len() < rows.len() {
                tokio::task::yield_now().await;
            }
            let (piece, rest) = left.split_at(piece(left));
            let pass = shared.gate.enter(owner.tenant()).await;
            let _recording = shared.recorder.record(Flight {
                instance: self.instance,
                execution,
                task: None,
            });
            pass.used(piece.iter().map(|row| row.fuel).fold(0, u64::saturating_add));
            owner.feed(piece)?;
            left = rest;
        }
        Ok(())
    }

    /// Makes a guest before its first turn.
    async fn install(
        &mut self,
        owner: &mut GuestOwner,
        module: ModuleNumber,
        started: Arc<Started>,
        directory: &Arc<dyn Directory>,
    ) {
        let guest = self.shared.guests.orchestrator(module, &started);
        // Nothing of the guest runs yet.
        match self.shared.gate.run(owner.tenant(), || 0, guest).await {
            Ok(guest) => {
                self.module_tries = 0;
                let flight = Flight {
                    instance: self.instance,
                    execution: started.execution,
                    task: None,
                };
                let guest = RecordedGuest {
                    guest,
                    recorder: self.shared.recorder.clone(),
                    flight,
                    _counted: self.shared.stats.count_guest(owner.position().1),
                };
                let execution = Execution::new(owner.id().clone(), started, directory.clone(), self.shared.turn_limits);
                owner.install(Player::new(guest, execution));
            }
            Err(HostUnavailable::Module(message)) => {
                self.module_tries += 1;
                owner.turn_later();
                if self.module_tries >= MODULE_TRIES {
                    owner.break_down("module-unavailable", message);
                } else {
                    pause(self.shared).await;
                }
            }
            Err(trouble @ HostUnavailable::NoRoom(_)) => self.trouble(owner, &trouble).await,
        }
    }

    /// The host cannot run the guest now. A start does not wait for room: the instance is stored, and runs later.
    async fn trouble(&self, owner: &mut GuestOwner, trouble: &HostUnavailable) {
        if owner.is_not_stored() {
            owner.turn_later();
        } else {
            self.make_room(trouble).await;
        }
    }

    /// Cools the instance that has been idle longest, and waits a moment.
    async fn make_room(&self, trouble: &HostUnavailable) {
        match self.shared.hot_instances.oldest() {
            Some(oldest) => self.owners.deliver(oldest, Mail::Cool),
            None => tracing::warn!(instance = self.instance.0, %trouble, "no room for an instance; it waits"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How many of the first rows are replayed in one go: at least one.
fn piece(rows: &[Turn]) -> usize {
    let mut fuel: u64 = 0;
    let small = rows.iter().take(PIECE_TURNS).take_while(|row| {
        fuel = fuel.saturating_add(row.fuel);
        fuel < PIECE_FUEL
    });
    (small.count() + 1).min(PIECE_TURNS).min(rows.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(fuels: &[u64], pieces: &[usize]) {
        let turn = |fuel: &u64| Turn {
            number: TurnNumber(1),
            at: Timestamp(0),
            arrivals: Vec::new(),
            decisions: Vec::new(),
            fuel: *fuel,
        };
        let rows: Vec<Turn> = fuels.iter().map(turn).collect();
        let mut left = &rows[..];
        let mut found = Vec::new();
        while !left.is_empty() {
            found.push(piece(left));
            left = &left[piece(left)..];
        }
        assert_eq!(found, pieces);
    }

    #[test]
    fn a_history_is_fed_in_pieces_of_few_turns_and_little_fuel() {
        check(&[], &[]);
        check(&[0; 250], &[100, 100, 50]);
        check(&[u64::MAX; 3], &[1, 1, 1]);
        check(&[2_000_000; 5], &[3, 2]);
        check(&[1, 9_000_000, 1, 1], &[2, 2]);
    }
}
