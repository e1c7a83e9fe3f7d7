//! Creates an instance: by the first commit of its owner, or by a commit of the request.
//!
//! The request offers the creation to an owner, under a number that is not used yet. An owner that takes the offer creates
//! the instance with its first commit, together with the first turn if that can run now, and answers. The request waits
//! for a short time only; then it withdraws the offer and stores the instance without a turn. If the owner has taken the
//! offer by then, both commit, and the store reports to the second that the instance exists.

use std::time::Duration;

use tokio::sync::oneshot;

use super::mail::Claim;
use crate::store::{self, Creation, StartOutcome};

/// How a creation ended.
pub(super) type Created = Result<StartOutcome, store::Error>;

/// A creation that an owner may take.
#[derive(Debug)]
pub struct Offer {
    creation: Creation,
    turn_later: bool,
    answer: Answer,
    claim: Claim,
}

/// One that an owner has taken.
#[derive(Debug)]
pub(super) struct TakenOffer {
    /// What to create.
    pub creation: Creation,
    /// Create it before its first turn runs.
    pub turn_later: bool,
    /// Whom to tell.
    pub answer: Answer,
}

/// Where the answer is sent. At most one is.
#[derive(Debug)]
pub(super) struct Answer(Option<oneshot::Sender<Created>>);

/// The request's side of an offer.
#[derive(Debug)]
pub(super) struct Offered {
    answer: oneshot::Receiver<Created>,
    claim: Claim,
}

impl Offer {
    /// The two sides of one. With `turn_later`, the instance is created before its first turn runs.
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

    /// Takes it, unless it was withdrawn: then the instance is created by somebody else, who wakes it.
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
    /// To nobody: the instance is stored.
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Tells what came of it. What is said later is not heard.
    pub(super) fn give(&mut self, outcome: Created) {
        if let Some(answer) = self.0.take() {
            let _ = answer.send(outcome);
        }
    }
}

impl Offered {
    /// Waits for the owner's answer. Withdraws the offer, and returns none, when the patience is over.
    pub(super) async fn answer(mut self, patience: Duration) -> Option<Created> {
        if let Ok(answer) = tokio::time::timeout(patience, &mut self.answer).await {
            return Some(answer.unwrap_or(Err(store::Error::Closed)));
        }
        // Either its owner has not begun, and need not any more, or it has and will find the instance stored.
        self.claim.take();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{InstanceNumber, ModuleNumber, TenantId, Timestamp};
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
        Offer::new(Creation { instance, key: None }, false)
    }

    #[tokio::test(start_paused = true)]
    async fn an_offer_that_is_taken_is_answered_once() {
        let (offer, offered) = offer();
        let mut taken = offer.take().expect("nobody has withdrawn it");
        taken.answer.give(Ok(StartOutcome::Created(InstanceNumber(7))));
        taken.answer.give(Err(store::Error::Closed));
        let answer = offered.answer(Duration::from_secs(1)).await;
        assert!(matches!(answer, Some(Ok(StartOutcome::Created(InstanceNumber(7))))));
    }

    #[tokio::test(start_paused = true)]
    async fn an_offer_that_nobody_answers_is_withdrawn() {
        let (offer, offered) = offer();
        assert!(offered.answer(Duration::from_secs(1)).await.is_none());
        assert!(offer.take().is_none());
    }
}
