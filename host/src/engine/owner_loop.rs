//! The loop around an [`Owner`]: reads what the owner needs, writes its commits and carries out its effects.

mod context;
mod guest;
mod memory;
mod reading;
mod turn_memory;
mod writing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::context::HostContext;
use self::memory::{Growth, GuestMemory};
use self::reading::HistoryReader;
use super::creation::{Answer, Offer, TakenOffer};
use super::flight_recorder::Flight;
use super::guests::{AnyEntity, AnyGuest};
use super::long_turns::PermitPlace;
use super::mail::{EventOutcome, Mail, MoveMail, MoveOutcome};
use super::mailbox::Mailbox;
use super::owner::{ActivityResult, Kind, Next, Owner};
use super::owners::{NewOwner, OWNER_BYTES, Owners};
use super::recorded_guest::{RecordedEntity, RecordedGuest};
use super::shared::Shared;
use super::shares::Slot;
use crate::memory::{Held, Part};
use crate::model::{InstanceNumber, Timestamp};
use crate::store::{self, StartOutcome, TurnReceipt};

/// The delay before an owner tries again after a failure of the host.
const TROUBLE_PAUSE: Duration = Duration::from_millis(100);

/// The maximum of this delay, which doubles with each failure. A full disk stays full for a while, and thousands of
/// instances may be waiting for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type GuestOwner = Owner<Kind<RecordedGuest<AnyGuest>, RecordedEntity<AnyEntity>>>;

/// Starts the task of an owner.
pub(super) fn spawn(shared: &Arc<Shared>, owners: &Owners, new: NewOwner) {
    let work = run(shared.clone(), owners.clone(), new);
    shared.tracker.spawn_on(work, &shared.runtime);
}

/// Runs the owner of an instance until it has been idle for long enough or the instance has ended.
async fn run(shared: Arc<Shared>, owners: Owners, new: NewOwner) {
    let NewOwner {
        instance,
        mut mailbox,
        memory,
        offer,
    } = new;
    let mut results = VecDeque::new();
    let mut session = Session {
        owners: &owners,
        shared: &shared,
        instance,
        module_tries: 0,
        active: memory,
        needed: OWNER_BYTES,
        has_taken_turn: false,
        growth: Growth::default(),
        loading: None,
        memory: GuestMemory::default(),
        permit: PermitPlace::default(),
        turn: None,
        last_turn_bytes: 0,
        starting_calls: None,
        has_untaken: true,
        turn_too_large: false,
        failures: 0,
        reader: HistoryReader::default(),
        creation: Answer::none(),
        raised: VecDeque::new(),
        moving: None,
    };
    let is_new = offer.is_some();
    let mut not_stored = offer.and_then(Offer::take).map(|offer| session.create(offer));
    if is_new && not_stored.is_none() && owners.remove_if_idle(instance, &mailbox) {
        // The request creates the instance instead and wakes it afterwards.
        return;
    }
    loop {
        // After a failed commit, a new owner reads what is really stored.
        let owner = match not_stored.take() {
            Some(owner) => Some(owner),
            None => {
                // Others may be read while this one waits for memory and for its turn.
                session.loading = None;
                session.room_to_load().await;
                session.load(&mut results, &mailbox).await
            }
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
                    // It may have been rewound just after it failed.
                    if over(&shared, instance, &mut mailbox) {
                        continue;
                    }
                }
                Ended::Failed(kept) => {
                    results.extend(kept);
                    session.failures += 1;
                    if pause_after(&shared, session.failures).await {
                        continue;
                    }
                }
            },
            // If it was woken, the instance may have been stored just after the read.
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
        session.has_nothing_to_do();
        if owners.remove_if_idle(instance, &mailbox) || shared.shutdown.is_cancelled() {
            return;
        }
    }
}

/// Handles mail for an instance that has ended or does not exist, and answers the clients that wait for it. Returns
/// whether the mail was about something that is stored.
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
            // The sender of a move learns that the owner has ended.
            Mail::Cool | Mail::StartCalls(_) | Mail::Move(_) => {}
        }
    }
    shared.waiters.ended(instance, || None);
    woken
}

/// Waits a moment after a failure. Returns false on shutdown.
async fn pause(shared: &Shared) -> bool {
    pause_after(shared, 1).await
}

/// Waits after a failure, longer each time in a row. Returns false on shutdown.
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

/// Why a session ended.
enum Ended {
    /// The owner has nothing to do, or the host shuts down.
    Idle,
    /// Messages that the instance cannot take now were stored; read the inbox again.
    Stored,
    /// The mailbox overflowed or the instance became too large, so the stored state must be read again. These results
    /// are not durable.
    Missed(Vec<ActivityResult>),
    /// The instance has ended or does not exist; no task waits for these results.
    Over(Vec<ActivityResult>),
    /// A commit failed. These results are not durable.
    Failed(Vec<ActivityResult>),
}

/// The work of one owner task.
struct Session<'a> {
    owners: &'a Owners,
    shared: &'a Arc<Shared>,
    instance: InstanceNumber,
    module_tries: u32,
    /// What the owner takes from the budget.
    active: Held,
    /// What the instance took before its last turn, in bytes.
    needed: u64,
    /// Whether it has taken a turn since the budget had memory for it.
    has_taken_turn: bool,
    /// What the next turn may add to the instance.
    growth: Growth,
    /// Held from before the instance is read until its history is folded.
    loading: Option<Slot>,
    memory: GuestMemory,
    /// The permit of the running turn.
    permit: PermitPlace,
    /// What the running turn, or the commit that waits for the writer, takes from the budget.
    turn: Option<Held>,
    /// What the last turn took, in bytes.
    last_turn_bytes: u64,
    /// Dropped when the calls that were left out before are started.
    starting_calls: Option<oneshot::Sender<()>>,
    /// Whether there were results that the instance had not taken, when that was shown last, or some have arrived since.
    has_untaken: bool,
    /// Whether the last turn was larger than the database can store. Then the instance becomes stuck.
    turn_too_large: bool,
    /// Failed commits since the last successful one.
    failures: u32,
    reader: HistoryReader,
    /// Answers the request that creates the instance.
    creation: Answer,
    /// Answer those who raised an event directly, in the order in which the owner received the events.
    raised: VecDeque<oneshot::Sender<EventOutcome>>,
    /// Answers the client that moves the instance to another module version.
    moving: Option<oneshot::Sender<MoveOutcome>>,
}

impl Session<'_> {
    /// The owner of an instance that does not exist yet.
    fn create(&mut self, offer: TakenOffer) -> GuestOwner {
        let TakenOffer {
            creation,
            turn_later,
            answer,
        } = offer;
        self.creation = answer;
        let mut owner = Owner::not_stored(self.instance, creation, turn_later);
        owner.know_events_of(self.shared.options.known_event_bytes);
        owner
    }

    async fn work(&mut self, mut owner: GuestOwner, mailbox: &mut Mailbox) -> Ended {
        // Whatever the last owner has shown.
        self.has_untaken = true;
        let directory = self.shared.guests.clone().directory(owner.tenant());
        // This owner knows nothing of a move that the last one began.
        self.moving = None;
        loop {
            while let Some(mail) = mailbox.try_recv() {
                self.receive(&mut owner, mail);
            }
            if self.shared.shutdown.is_cancelled() {
                return Ended::Idle;
            }
            self.show_untaken(&owner);
            if self.moving.take_if(|reply| reply.is_closed()).is_some() {
                owner.end_move();
            }
            if owner.is_about_to_run() && self.makes_room(&owner) {
                return self.missed(owner);
            }
            let next = {
                let permit = match owner.is_about_to_run() {
                    true => {
                        let Some(permit) = self.permit(&mut owner, mailbox).await else {
                            continue;
                        };
                        // Others may have grown while it waited.
                        if self.others_take_all() {
                            // Those others may wait for it.
                            self.turn = None;
                            if owner.is_not_stored() {
                                // Without its guest it is not about to run, and is created without a turn.
                                owner.turn_later();
                                owner.cool();
                                continue;
                            }
                            return self.missed(owner);
                        }
                        Some(permit)
                    }
                    false => None,
                };
                let context = HostContext {
                    shared: self.shared,
                    tenant: owner.tenant(),
                    instance: self.instance,
                    directory: &directory,
                    turn_room: self.turn_room(),
                };
                self.permit.put(permit);
                let next = owner.next(&context);
                let permit = self.permit.take();
                if let (Some(permit), Ok(next)) = (&permit, &next) {
                    permit.used(next.fuel());
                }
                // Before the permit is dropped, so that no further turn of the tenant runs if this one was large.
                match &next {
                    Ok(Next::Commit(commit)) => {
                        self.count_turn(commit);
                        if commit.turn.is_some() {
                            self.growth = Growth::default();
                        }
                    }
                    _ => self.turn = None,
                }
                if !matches!(next, Ok(Next::History(_))) {
                    self.end_loading();
                }
                self.count_instance(&owner);
                if matches!(next, Ok(Next::Commit(_))) {
                    self.needed = self.active.bytes();
                }
                next
            };
            if !matches!(next, Ok(Next::Guest(..) | Next::Entity(_))) {
                self.memory.withdraw();
            }
            match next {
                Err(trouble) => {
                    self.trouble(&mut owner, &trouble).await;
                    // It may wait long for its guest. A message that did not fit into the mailbox may be a request
                    // to terminate it, so look for those here.
                    if !owner.is_not_stored() && mailbox.take_missed() {
                        return self.missed(owner);
                    }
                }
                Ok(Next::Ended) if owner.is_rewound() => return self.missed(owner),
                Ok(Next::Ended) => return Ended::Over(owner.into_results()),
                Ok(Next::Activities(changes)) => self.change_activities(&mut owner, changes, mailbox).await,
                Ok(Next::History(after)) => {
                    self.feed(&mut owner, after).await;
                    if self.outgrows_its_memory(&owner) {
                        return self.missed(owner);
                    }
                }
                Ok(Next::Attempts(tasks)) => self.read_attempts(&mut owner, &tasks).await,
                Ok(Next::Events(names)) => self.read_events(&mut owner, &names).await,
                Ok(Next::Guest(..)) if self.makes_room(&owner) => return self.missed(owner),
                Ok(Next::Guest(module, started)) => {
                    self.install(&mut owner, mailbox, module, started, &directory).await;
                    if !owner.is_hot() && !owner.is_not_stored() && mailbox.take_missed() {
                        return self.missed(owner);
                    }
                }
                Ok(Next::Entity(_)) if self.makes_room(&owner) => return self.missed(owner),
                Ok(Next::Entity(module)) => self.install_entity(&mut owner, mailbox, module).await,
                Ok(Next::Judged(misfit)) => self.moved(misfit.map_or(MoveOutcome::Fits, MoveOutcome::Misfit)),
                Ok(Next::Store(items)) => {
                    self.keep(items).await;
                    return Ended::Stored;
                }
                Ok(Next::Commit(commit)) => match self.write(*commit).await {
                    Ok(receipt) if receipt.refused.is_some() => return self.refused(owner, receipt),
                    Ok(receipt) => {
                        self.committed(&mut owner, &receipt);
                        if mailbox.take_missed() {
                            // Nobody else knows which activities the commit starts and stops, even if the instance has
                            // ended.
                            let changes = owner.take_activity_changes();
                            self.change_activities(&mut owner, changes, mailbox).await;
                            return self.missed(owner);
                        }
                    }
                    Err(error) => {
                        self.turn_too_large = matches!(error, store::Error::TooLarge);
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

    /// Answers the client that moves the instance.
    fn moved(&mut self, outcome: MoveOutcome) {
        if let Some(reply) = self.moving.take() {
            let _ = reply.send(outcome);
        }
    }

    /// Ends the session because messages did not fit into the mailbox, or the instance not into memory; the next owner
    /// reads them from the store. The owner took at least one step since it was loaded, so a flood of messages cannot
    /// starve it.
    fn missed(&mut self, owner: GuestOwner) -> Ended {
        self.raised
            .drain(..)
            .for_each(|reply| drop(reply.send(EventOutcome::NotTaken)));
        Ended::Missed(owner.into_results())
    }

    /// Handles a refused creation. If the request has stored this instance in the meantime, another owner continues
    /// with what is stored; otherwise the instance does not exist.
    fn refused(&mut self, owner: GuestOwner, receipt: TurnReceipt) -> Ended {
        let refused = receipt.refused.expect("it was refused");
        let is_stored = matches!(refused, StartOutcome::Created(number) if number == self.instance);
        self.creation.give(Ok(refused));
        match is_stored {
            true => self.missed(owner),
            false => Ended::Over(owner.into_results()),
        }
    }

    /// Waits for a message. Returns false if none came in time or the host shuts down.
    async fn idle(&mut self, owner: &mut GuestOwner, mailbox: &mut Mailbox, wake_at: Option<Timestamp>) -> bool {
        if let Some(wake_at) = wake_at {
            self.shared.timers.arm(owner.tenant(), self.instance, wake_at);
        }
        self.starting_calls = None;
        self.has_nothing_to_do();
        // It may have dropped some without a commit.
        self.show_untaken(owner);
        let (shared, tenant) = (self.shared, owner.tenant());
        let must_give_way = |part| shared.memory.part(part).must_give_way(tenant);
        if owner.is_hot() && (must_give_way(Part::Guests) || must_give_way(Part::Instances)) {
            owner.cool();
        }
        if owner.is_hot()
            && let Some(oldest) = shared
                .hot_instances
                .idle(tenant, self.instance, shared.options.hot_guests)
        {
            self.owners.cool(oldest);
        }
        let patience = if owner.is_hot() {
            self.shared.options.hot_idle
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

    /// Shows how much waits for the next turn to those who give slots to calls.
    fn show_untaken(&mut self, owner: &GuestOwner) {
        let bytes = owner.untaken_bytes();
        if bytes != Some(0) || self.has_untaken {
            self.shared.activities.set_untaken(self.instance, bytes);
        }
        self.has_untaken = bytes != Some(0);
    }

    /// Of the suspects of this instance, only calls that are in progress run now.
    fn has_nothing_to_do(&self) {
        let is_in_progress = |flight| self.shared.activities.is_in_progress(flight);
        self.shared.quiet_periods.idle(self.instance, is_in_progress);
    }

    fn receive(&mut self, owner: &mut GuestOwner, mail: Mail) {
        match mail {
            Mail::Inbox(row) => {
                self.has_untaken = true;
                owner.receive(row);
            }
            Mail::Result(result) => {
                self.has_untaken = true;
                owner.receive_result(result);
            }
            Mail::Event(raised) => {
                if let Some((event, reply)) = raised.take() {
                    let max_bytes = self.shared.max_history_bytes(owner.tenant());
                    let turn = Flight::turn(self.instance, owner.position().0);
                    // In a quiet period, its sender would wait for the end of the period.
                    let may_run = self.shared.quiet_periods.admit(turn);
                    if may_run && owner.takes_event(&event, max_bytes, self.shared.clock.now()) {
                        owner.receive_event(event);
                        self.raised.push_back(reply);
                    } else {
                        // The sender stores the event instead.
                        let _ = reply.send(EventOutcome::NotTaken);
                    }
                }
            }
            Mail::Wake => {}
            Mail::Cool => owner.cool(),
            // The sender of another one tries again.
            Mail::Move(_) if self.moving.is_some() || owner.is_not_stored() => {}
            Mail::Move(mail) => {
                let MoveMail { to, reply } = *mail;
                owner.begin_move(to);
                self.moving = Some(reply);
            }
            Mail::StartCalls(done) => {
                owner.resume_calls();
                self.starting_calls = Some(done);
            }
        }
    }
}
