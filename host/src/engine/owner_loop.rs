//! The thin loop around an [`Owner`]: reads what it needs, writes what it wants, passes on what follows.

mod context;
mod guest;
mod reading;
mod writing;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use self::context::HostContext;
use self::reading::HistoryReader;
use super::creation::{Answer, Offer, TakenOffer};
use super::guests::AnyGuest;
use super::mail::{EventOutcome, Mail};
use super::mailbox::Mailbox;
use super::owner::{ActivityResult, Next, Owner};
use super::owners::{NewOwner, Owners};
use super::recorded_guest::RecordedGuest;
use super::shared::Shared;
use super::shares::TurnPermit;
use crate::model::{InstanceNumber, Timestamp};
use crate::store::{StartOutcome, TurnReceipt};

/// How long an owner waits before it tries again after trouble of the host's own.
const TROUBLE_PAUSE: Duration = Duration::from_millis(100);

/// The longest such wait: a disk that is full stays so for a while, and thousands of instances may be waiting for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

type GuestOwner = Owner<RecordedGuest<AnyGuest>>;

/// Starts the task of an owner.
pub(super) fn spawn(shared: &Arc<Shared>, owners: &Owners, new: NewOwner) {
    let work = run(shared.clone(), owners.clone(), new);
    shared.tracker.spawn_on(work, &shared.runtime);
}

/// Runs the owner of an instance until it is idle for long enough or has ended.
async fn run(shared: Arc<Shared>, owners: Owners, new: NewOwner) {
    let NewOwner {
        instance,
        mut mailbox,
        offer,
    } = new;
    let mut results = VecDeque::new();
    let mut session = Session {
        owners: &owners,
        shared: &shared,
        instance,
        module_tries: 0,
        failures: 0,
        reader: HistoryReader::default(),
        creation: Answer::none(),
        raised: VecDeque::new(),
    };
    let is_new = offer.is_some();
    let mut not_stored = offer.and_then(Offer::take).map(|offer| session.create(offer));
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
    reader: HistoryReader,
    /// Who is told that the instance is stored, until it is.
    creation: Answer,
    /// Who is told that an event is stored, in the order in which the owner received them.
    raised: VecDeque<oneshot::Sender<EventOutcome>>,
}

impl Session<'_> {
    /// The owner of an instance that is to be created.
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
                    Ok(receipt) if receipt.refused.is_some() => return self.refused(owner, receipt),
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

    /// The instance was not created by its owner. If the request did that meanwhile, another owner begins with what is
    /// stored; otherwise there is no such instance.
    fn refused(&mut self, owner: GuestOwner, receipt: TurnReceipt) -> Ended {
        let refused = receipt.refused.expect("it was refused");
        let is_stored = matches!(refused, StartOutcome::Created(number) if number == self.instance);
        self.creation.give(Ok(refused));
        match is_stored {
            true => self.missed(owner),
            false => Ended::Over(owner.into_results()),
        }
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
            && let Some(oldest) = self
                .shared
                .hot_instances
                .idle(self.instance, self.shared.options.hot_guests)
        {
            self.owners.deliver(oldest, Mail::Cool);
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
}
