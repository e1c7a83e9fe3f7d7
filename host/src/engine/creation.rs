//! Creates an instance: by the first commit of its owner, or by a commit of the request.
//!
//! The request offers the creation to an owner, under a new number. An owner that accepts the offer creates the
//! instance with its first commit, together with the first turn if that can run now, and answers. The request waits for
//! a short time only; then it withdraws the offer and stores the instance without a turn. If the owner has accepted the
//! offer by then, both commit, and the store reports to the second that the instance exists.

use std::time::Duration;

use tokio::sync::oneshot;

use super::mail::Claim;
use crate::store::{self, Creation, StartOutcome};

/// The result of a creation.
pub(super) type Created = Result<StartOutcome, store::Error>;

/// A creation that an owner may accept.
#[derive(Debug)]
pub struct Offer {
    creation: Creation,
    turn_later: bool,
    answer: Answer,
    claim: Claim,
}

/// A creation that an owner has accepted.
#[derive(Debug)]
pub(super) struct TakenOffer {
    /// The instance to create.
    pub creation: Creation,
    /// Create the instance before its first turn runs.
    pub turn_later: bool,
    /// Answers the request.
    pub answer: Answer,
}

/// The channel for the answer to the request. At most one answer is sent.
#[derive(Debug)]
pub(super) struct Answer(Option<oneshot::Sender<Created>>);

/// The request's side of an offer.
#[derive(Debug)]
pub(super) struct Offered {
    answer: oneshot::Receiver<Created>,
    claim: Claim,
}

impl Offer {
    /// Creates both sides of an offer. With `turn_later`, the instance is created before its first turn runs.
    pub(super) fn new(creation: Creation, turn_later: bool) -> (Self, Offered) {
        let (sender, answer) = oneshot::channel();
        let claim = Claim::default();
        let offer = Self {
            creation,
            turn_later,
            answer: Answer(Some(sender)),
            claim: claim.clone(),
        };
        (offer, Offered { answer, claim })
    }

    /// Accepts the offer; `None` if it was withdrawn. Then the request creates the instance and wakes it.
    pub(super) fn take(self) -> Option<TakenOffer> {
        let Self {
            creation,
            turn_later,
            answer,
            claim,
        } = self;
        claim.take().then_some(TakenOffer {
            creation,
            turn_later,
            answer,
        })
    }
}

impl Answer {
    /// An answer without a recipient, for an instance that is stored.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Sends the answer. Later answers are dropped.
    pub(super) fn give(&mut self, outcome: Created) {
        if let Some(answer) = self.0.take() {
            let _ = answer.send(outcome);
        }
    }
}

impl Offered {
    /// Waits for the owner's answer. After `patience`, withdraws the offer and returns `None`.
    pub(super) async fn answer(mut self, patience: Duration) -> Option<Created> {
        if let Ok(answer) = tokio::time::timeout(patience, &mut self.answer).await {
            return Some(answer.unwrap_or(Err(store::Error::Closed)));
        }
        // An owner that has not accepted the offer yet will not; one that has finds the instance stored.
        self.claim.take();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{InstanceNumber, ModuleNumber, Tags, TenantId, Timestamp};
    use crate::replay::tests::script::started;
    use crate::store::NewInstance;

    fn offer() -> (Offer, Offered) {
        let instance = NewInstance {
            tenant: TenantId::DEFAULT,
            id: "new".parse().unwrap(),
            module: ModuleNumber(1),
            started: started(Vec::new()),
            created_at: Timestamp(1),
        };
        let creation = Creation {
            instance,
            key: None,
            tags: Tags::default(),
        };
        Offer::new(creation, false)
    }

    #[tokio::test(start_paused = true)]
    async fn an_accepted_offer_is_answered_once() {
        let (offer, offered) = offer();
        let mut taken = offer.take().expect("it was not withdrawn");
        taken.answer.give(Ok(StartOutcome::Created(InstanceNumber(7))));
        taken.answer.give(Err(store::Error::Closed));
        let answer = offered.answer(Duration::from_secs(1)).await;
        assert!(matches!(answer, Some(Ok(StartOutcome::Created(InstanceNumber(7))))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_unanswered_offer_is_withdrawn() {
        let (offer, offered) = offer();
        assert!(offered.answer(Duration::from_secs(1)).await.is_none());
        assert!(offer.take().is_none());
    }
}
