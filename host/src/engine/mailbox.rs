//! The mailbox of an owner: bounded in bytes, by itself and together with all others.
//!
//! What does not fit is not lost. A row of the inbox is durable: it is dropped, and the owner reads its instance anew when
//! it has done what it knows of. An event that is nowhere durable goes back to its sender, who has it stored. Results of
//! activities always fit: there are no more of them than calls in flight, which are limited.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::sync::mpsc;

use super::mail::{EventOutcome, Mail};

/// Most bytes in all mailboxes together, unless told otherwise.
pub(super) const ALL_BYTES: usize = 256 << 20;

/// Most bytes in one mailbox, unless told otherwise.
pub(super) const MAILBOX_BYTES: usize = 4 << 20;

/// The part of a mailbox that is there whatever the others hold, so that one tenant's messages do not keep those of
/// another from being delivered.
const OWN_PART: usize = 64;

/// What mailboxes may hold. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    each: usize,
    all: usize,
    used: Arc<AtomicUsize>,
}

impl Budget {
    /// So many bytes in one mailbox, and in all together.
    pub(super) fn new(each: usize, all: usize) -> Self {
        Self {
            each,
            all,
            used: Arc::default(),
        }
    }
}

/// Where messages are put in.
#[derive(Debug)]
pub(super) struct Sender {
    sender: mpsc::UnboundedSender<Mail>,
    state: Arc<State>,
}

/// Where the owner takes them out.
#[derive(Debug)]
pub(super) struct Mailbox {
    receiver: mpsc::UnboundedReceiver<Mail>,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    budget: Budget,
    used: AtomicUsize,
    /// A wake-up is in the mailbox. A second one would say nothing new.
    is_woken: AtomicBool,
    /// Rows were dropped. Until the owner has noticed, whatever comes is left in the store, so that of what came by mail it
    /// knows the first.
    has_missed: AtomicBool,
}

impl State {
    /// Whether a message of that size may be put in. One that is larger than a mailbox may, if hardly anything else is there.
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

/// An empty mailbox.
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
    /// Puts a message in. One at a time: the table of owners is locked meanwhile.
    ///
    /// # Errors
    /// When there is no owner any more; the message comes back.
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

    /// Takes a message, if there is one.
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

    /// Whether nothing is in it.
    pub(super) fn is_empty(&self) -> bool {
        self.receiver.is_empty()
    }

    /// Whether rows were dropped since the last time: what is stored must be read anew.
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
    fn rows_that_do_not_fit_are_left_in_the_store_and_so_is_what_follows_them() {
        let budget = Budget::new(4_000, 1 << 20);
        let (sender, mut mailbox) = channel(&budget);
        sender.send(row(1, 1_000)).unwrap();
        sender.send(row(2, 5_000)).unwrap();
        sender.send(row(3, 10)).unwrap();
        assert_eq!(seqs(&mut mailbox), [1], "3 would come before 2");
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
    fn all_mailboxes_together_are_bounded_and_what_is_dropped_with_one_is_free_again() {
        let budget = Budget::new(64_000, 3_000);
        let (first, mut first_mailbox) = channel(&budget);
        let (second, mut second_mailbox) = channel(&budget);
        first.send(row(1, 2_000)).unwrap();
        second.send(row(2, 2_000)).unwrap();
        assert!(second_mailbox.take_missed());
        second.send(row(3, 100)).unwrap();
        assert_eq!(seqs(&mut second_mailbox), [3], "a little always fits");
        drop(first_mailbox.try_recv());
        second.send(row(4, 2_000)).unwrap();
        drop(second_mailbox);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        assert!(second.send(row(5, 10)).is_err() && first.send(row(6, 2_000)).is_ok());
    }

    #[test]
    fn one_wake_up_is_as_good_as_many() {
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
