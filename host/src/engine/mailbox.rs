//! The mailbox of an owner: bounded in bytes, by itself, and together with all others by a part of the memory budget.
//!
//! A message that does not fit is not lost. Rows of the inbox are durable: they are dropped, and the owner reads its
//! instance again after it has processed the messages in its mailbox. An event that is not durable goes back to its
//! sender, who stores it. Results of activities have memory of their own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::mail::{EventOutcome, Mail};
use crate::memory::{Held, Pool};
use crate::model::TenantId;

/// The default size limit of one mailbox, in bytes.
pub(super) const MAILBOX_BYTES: usize = 4 << 20;

/// Each mailbox may use this fraction (1/64) of its size even if the others use up the part, so that small messages are
/// never read from the store.
const OWN_PART: usize = 64;

/// The limits of all mailboxes. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    each: usize,
    all: Pool,
}

impl Budget {
    /// Limits one mailbox to `each` bytes; all together take from `all`.
    pub(super) fn new(each: usize, all: Pool) -> Self {
        Self { each, all }
    }
}

/// The sender's side of a mailbox.
#[derive(Debug)]
pub(super) struct Sender {
    sender: mpsc::UnboundedSender<Mail>,
    state: Arc<State>,
}

/// The owner's side of a mailbox.
#[derive(Debug)]
pub(super) struct Mailbox {
    receiver: mpsc::UnboundedReceiver<Mail>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    /// The size limit, in bytes.
    limit: usize,
    used: AtomicUsize,
    /// What the messages take from the memory budget.
    held: Mutex<Held>,
    /// A wake-up is in the mailbox; another one would be redundant.
    is_woken: AtomicBool,
    /// Rows were dropped. Until the owner notices, later rows are left in the store too, so that the mailbox never
    /// skips a row.
    has_missed: AtomicBool,
}

impl State {
    /// Takes memory for a message of this size, if it fits. A message larger than a mailbox fits if the mailbox is nearly
    /// empty.
    fn try_put_in(&self, size: usize) -> bool {
        let used = self.used.load(Ordering::Relaxed);
        let own = self.limit / OWN_PART;
        if used.saturating_add(size) <= own {
            self.put_in(size);
            return true;
        }
        let fits = (used.saturating_add(size) <= self.limit || used <= own) && self.held().try_grow(size as u64);
        if fits {
            self.used.fetch_add(size, Ordering::Relaxed);
        }
        fits
    }

    /// Takes memory for a message in any case.
    fn put_in(&self, size: usize) {
        self.used.fetch_add(size, Ordering::Relaxed);
        if size > 0 {
            let mut held = self.held();
            let bytes = held.bytes() + size as u64;
            held.resize(bytes);
        }
    }

    fn take_out(&self, size: usize) {
        self.used.fetch_sub(size, Ordering::Relaxed);
        if size > 0 {
            let mut held = self.held();
            let bytes = held.bytes() - size as u64;
            held.resize(bytes);
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Creates an empty mailbox for an instance of this tenant.
pub(super) fn channel(budget: &Budget, tenant: TenantId) -> (Sender, Mailbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let state = Arc::new(State {
        limit: budget.each,
        used: AtomicUsize::new(0),
        held: Mutex::new(budget.all.take_beyond_limit(tenant, 0)),
        is_woken: AtomicBool::new(false),
        has_missed: AtomicBool::new(false),
    });
    let mailbox = Mailbox {
        receiver,
        state: state.clone(),
    };
    (Sender { sender, state }, mailbox)
}

impl Sender {
    /// Sends a message. Callers hold the lock of the table of owners, so no two calls overlap.
    ///
    /// # Errors
    /// If the owner is gone; returns the message.
    pub(super) fn send(&self, mail: Mail) -> Result<(), Box<Mail>> {
        let (state, size) = (&self.state, mail.size());
        match mail {
            Mail::Inbox(_) | Mail::Event(_) if self.sender.is_closed() => Err(Box::new(mail)),
            Mail::Inbox(_) | Mail::Event(_) if !state.has_missed.load(Ordering::SeqCst) && state.try_put_in(size) => {
                self.pass(mail, size)
            }
            Mail::Inbox(_) => {
                state.has_missed.store(true, Ordering::SeqCst);
                self.send(Mail::Wake)
            }
            Mail::Event(raised) => {
                if let Some((_, reply)) = raised.take() {
                    let _ = reply.send(EventOutcome::NotTaken);
                }
                Ok(())
            }
            Mail::Wake if state.is_woken.swap(true, Ordering::SeqCst) && !self.sender.is_closed() => Ok(()),
            mail => {
                state.put_in(size);
                self.pass(mail, size)
            }
        }
    }

    /// Passes on a message that has its memory.
    fn pass(&self, mail: Mail, size: usize) -> Result<(), Box<Mail>> {
        self.sender.send(mail).map_err(|error| {
            self.state.take_out(size);
            Box::new(error.0)
        })
    }
}

impl Mailbox {
    /// Waits for a message.
    pub(super) async fn recv(&mut self) -> Option<Mail> {
        let mail = self.receiver.recv().await;
        mail.map(|mail| self.taken(mail))
    }

    /// Takes a message if there is one.
    pub(super) fn try_recv(&mut self) -> Option<Mail> {
        let mail = self.receiver.try_recv().ok();
        mail.map(|mail| self.taken(mail))
    }

    fn taken(&self, mail: Mail) -> Mail {
        self.state.take_out(mail.size());
        if matches!(mail, Mail::Wake) {
            self.state.is_woken.swap(false, Ordering::SeqCst);
        }
        mail
    }

    /// Whether it is empty.
    pub(super) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Whether rows were dropped since the last call of [`take_missed`](Self::take_missed).
    pub(super) fn has_missed(&self) -> bool {
        self.state.has_missed.load(Ordering::SeqCst)
    }

    /// Whether rows were dropped since the last call, so that the owner must read its instance again.
    pub(super) fn take_missed(&self) -> bool {
        self.state.has_missed.swap(false, Ordering::SeqCst)
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.receiver.close();
        while self.try_recv().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::mail::RaisedEvent;
    use crate::model::{Event, InboxItem, InboxRow, InboxSeq, Payload};

    const TENANT: TenantId = TenantId(1);

    fn event(bytes: usize) -> Event {
        Event {
            name: "e".parse().unwrap(),
            payload: Payload::parse(&format!("\"{}\"", "x".repeat(bytes)), usize::MAX).unwrap(),
        }
    }

    fn row(seq: u64, bytes: usize) -> Mail {
        Mail::Inbox(InboxRow {
            seq: InboxSeq(seq),
            item: InboxItem::Event(event(bytes)),
        })
    }

    fn seqs(mailbox: &mut Mailbox) -> Vec<u64> {
        let mails = std::iter::from_fn(|| mailbox.try_recv());
        mails
            .filter_map(|mail| match mail {
                Mail::Inbox(row) => Some(row.seq.0),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn rows_that_do_not_fit_are_left_in_the_store_with_all_later_ones() {
        let pool = Pool::new(1 << 20);
        let (sender, mut mailbox) = channel(&Budget::new(4_000, pool.clone()), TENANT);
        sender.send(row(1, 1_000)).unwrap();
        sender.send(row(2, 5_000)).unwrap();
        sender.send(row(3, 10)).unwrap();
        assert_eq!(seqs(&mut mailbox), [1], "3 would precede 2");
        assert!(mailbox.take_missed() && !mailbox.take_missed());
        sender.send(row(4, 10)).unwrap();
        assert_eq!(seqs(&mut mailbox), [4]);
        assert_eq!(pool.usage().used, 0);
    }

    #[test]
    fn an_event_that_does_not_fit_goes_back_to_its_sender() {
        let (sender, mut mailbox) = channel(&Budget::new(4_000, Pool::new(1 << 20)), TENANT);
        sender.send(row(1, 1_000)).unwrap();
        let (large, _claim, mut outcome) = RaisedEvent::new(event(5_000));
        sender.send(Mail::Event(large)).unwrap();
        assert!(matches!(outcome.try_recv(), Ok(EventOutcome::NotTaken)));
        assert!(!mailbox.take_missed());
        assert_eq!(seqs(&mut mailbox), [1]);
        sender.send(row(2, 5_000)).unwrap();
        assert_eq!(seqs(&mut mailbox), [2], "by itself, even a large one fits");
    }

    #[test]
    fn all_mailboxes_together_are_bounded_and_a_dropped_one_frees_its_bytes() {
        let pool = Pool::new(3_000);
        let budget = Budget::new(64_000, pool.clone());
        let (first, mut first_mailbox) = channel(&budget, TENANT);
        let (second, mut second_mailbox) = channel(&budget, TENANT);
        first.send(row(1, 2_000)).unwrap();
        second.send(row(2, 2_000)).unwrap();
        assert!(second_mailbox.take_missed());
        second.send(row(3, 100)).unwrap();
        assert_eq!(seqs(&mut second_mailbox), [3], "a small message always fits");
        drop(first_mailbox.try_recv());
        second.send(row(4, 2_000)).unwrap();
        drop(second_mailbox);
        assert_eq!(pool.usage().used, 0);
        assert!(second.send(row(5, 10)).is_err() && first.send(row(6, 2_000)).is_ok());
    }

    #[test]
    fn repeated_wake_ups_are_merged() {
        let (sender, mut mailbox) = channel(&Budget::new(4_000, Pool::new(1 << 20)), TENANT);
        for _ in 0..100 {
            sender.send(Mail::Wake).unwrap();
        }
        assert!(matches!(mailbox.try_recv(), Some(Mail::Wake)));
        assert!(mailbox.is_empty());
        sender.send(Mail::Wake).unwrap();
        assert!(!mailbox.is_empty());
    }
}
