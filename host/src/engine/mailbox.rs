//! The mailbox of an owner: bounded in bytes, by itself and together with all others.
//!
//! A message that does not fit is not lost. Rows of the inbox are durable: they are dropped, and the owner reads its
//! instance again after it has processed the messages in its mailbox. An event that is not durable goes back to its
//! sender, who stores it. Results of activities always fit: there is at most one per call in flight, and those are
//! limited.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::mail::{EventOutcome, Mail};

/// The default size limit of all mailboxes together, in bytes.
pub(super) const ALL_BYTES: usize = 256 << 20;

/// The default size limit of one mailbox, in bytes.
pub(super) const MAILBOX_BYTES: usize = 4 << 20;

/// Each mailbox may use this fraction (1/64) of its size even if the others use up the total, so that one tenant's
/// messages do not block those of another.
const OWN_PART: usize = 64;

/// The limits of all mailboxes and how much is used. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    each: usize,
    all: usize,
    used: Arc<AtomicUsize>,
}

impl Budget {
    /// Limits one mailbox to `each` bytes and all together to `all` bytes.
    pub(super) fn new(each: usize, all: usize) -> Self {
        Self {
            each,
            all,
            used: Arc::default(),
        }
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
    budget: Budget,
    used: AtomicUsize,
    /// A wake-up is in the mailbox; another one would be redundant.
    is_woken: AtomicBool,
    /// Rows were dropped. Until the owner notices, later rows are left in the store too, so that the mailbox never
    /// skips a row.
    has_missed: AtomicBool,
}

impl State {
    /// Whether a message of this size fits. A message larger than a mailbox fits if the mailbox is nearly empty.
    fn fits(&self, size: usize) -> bool {
        let (used, all) = (
            self.used.load(Ordering::Relaxed),
            self.budget.used.load(Ordering::Relaxed),
        );
        let own = self.budget.each / OWN_PART;
        let fits_here = used.saturating_add(size) <= self.budget.each || used <= own;
        used.saturating_add(size) <= own || (fits_here && all.saturating_add(size) <= self.budget.all)
    }

    fn put_in(&self, size: usize) {
        self.used.fetch_add(size, Ordering::Relaxed);
        self.budget.used.fetch_add(size, Ordering::Relaxed);
    }

    fn take_out(&self, size: usize) {
        self.used.fetch_sub(size, Ordering::Relaxed);
        self.budget.used.fetch_sub(size, Ordering::Relaxed);
    }
}

impl Drop for State {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(*self.used.get_mut(), Ordering::Relaxed);
    }
}

/// Creates an empty mailbox.
pub(super) fn channel(budget: &Budget) -> (Sender, Mailbox) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let state = Arc::new(State {
        budget: budget.clone(),
        used: AtomicUsize::new(0),
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
        let state = &self.state;
        let has_room = !state.has_missed.load(Ordering::SeqCst) && state.fits(mail.size());
        match mail {
            Mail::Inbox(_) if !has_room => {
                if self.sender.is_closed() {
                    return Err(Box::new(mail));
                }
                state.has_missed.store(true, Ordering::SeqCst);
                self.send(Mail::Wake)
            }
            Mail::Event(raised) if !has_room => {
                if self.sender.is_closed() {
                    return Err(Box::new(Mail::Event(raised)));
                }
                if let Some((_, reply)) = raised.take() {
                    let _ = reply.send(EventOutcome::NotTaken);
                }
                Ok(())
            }
            Mail::Wake if state.is_woken.swap(true, Ordering::SeqCst) && !self.sender.is_closed() => Ok(()),
            mail => {
                let size = mail.size();
                state.put_in(size);
                self.sender.send(mail).map_err(|error| {
                    state.take_out(size);
                    Box::new(error.0)
                })
            }
        }
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
        let budget = Budget::new(4_000, 1 << 20);
        let (sender, mut mailbox) = channel(&budget);
        sender.send(row(1, 1_000)).unwrap();
        sender.send(row(2, 5_000)).unwrap();
        sender.send(row(3, 10)).unwrap();
        assert_eq!(seqs(&mut mailbox), [1], "3 would precede 2");
        assert!(mailbox.take_missed() && !mailbox.take_missed());
        sender.send(row(4, 10)).unwrap();
        assert_eq!(seqs(&mut mailbox), [4]);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn an_event_that_does_not_fit_goes_back_to_its_sender() {
        let (sender, mut mailbox) = channel(&Budget::new(4_000, 1 << 20));
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
        let budget = Budget::new(64_000, 3_000);
        let (first, mut first_mailbox) = channel(&budget);
        let (second, mut second_mailbox) = channel(&budget);
        first.send(row(1, 2_000)).unwrap();
        second.send(row(2, 2_000)).unwrap();
        assert!(second_mailbox.take_missed());
        second.send(row(3, 100)).unwrap();
        assert_eq!(seqs(&mut second_mailbox), [3], "a small message always fits");
        drop(first_mailbox.try_recv());
        second.send(row(4, 2_000)).unwrap();
        drop(second_mailbox);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        assert!(second.send(row(5, 10)).is_err() && first.send(row(6, 2_000)).is_ok());
    }

    #[test]
    fn repeated_wake_ups_are_merged() {
        let (sender, mut mailbox) = channel(&Budget::new(4_000, 1 << 20));
        for _ in 0..100 {
            sender.send(Mail::Wake).unwrap();
        }
        assert!(matches!(mailbox.try_recv(), Some(Mail::Wake)));
        assert!(mailbox.is_empty());
        sender.send(Mail::Wake).unwrap();
        assert!(!mailbox.is_empty());
    }
}
