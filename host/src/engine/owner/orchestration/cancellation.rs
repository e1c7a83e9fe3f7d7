//! Requests to cancel an orchestration. Its code sees them and ends as it likes; only before its first turn is due, the
//! host ends it.

use crate::engine::owner::OwnerContext;
use crate::engine::owner::behaviour::StepChanges;
use crate::engine::owner::effects::Effects;
use crate::engine::owner::inbox::Inbox;
use crate::engine::owner::instance::Instance;
use crate::model::{Arrival, Decision, Failure, Turn, failure::types};
use crate::replay::Guest;

use super::turn::used_by;
use super::{Orchestration, not_before};

impl<G: Guest> Orchestration<G> {
    /// The reason of the request to cancel the instance, if one arrived up to this turn.
    pub(super) fn cancel_reason<'a>(&'a self, turn: &'a Turn) -> Option<&'a str> {
        self.execution.ledger.cancel_reason().or_else(|| turn.cancel_reason())
    }

    /// Ends an instance whose cancellation is requested before it is due to start. The guest does not run.
    pub(super) fn cancelled_before_start(
        &self,
        instance: &Instance,
        inbox: &mut Inbox,
        context: &dyn OwnerContext,
    ) -> Option<StepChanges> {
        let (at, reason) = (context.now(), inbox.cancel_reason()?.to_owned());
        not_before(instance, inbox).filter(|not_before| at < *not_before)?;
        let started = inbox.start()?.clone();
        let message = if reason.is_empty() {
            "cancelled before its start"
        } else {
            &reason
        };
        let failure = Failure::new(types::CANCELLED, message).permanent();
        let turn = Turn {
            number: instance.position.last_turn.next(),
            at,
            arrivals: vec![
                Arrival::Started(Box::new(started)),
                Arrival::CancelRequested { reason: reason.clone() },
            ],
            decisions: vec![Decision::Fail {
                failure: failure.clone(),
            }],
            fuel: 0,
        };
        let mut effects = Effects {
            is_cancelled: true,
            ..Effects::default()
        };
        effects.end(instance.identity.parent.as_ref(), Err(failure));
        effects.usage.push(used_by(&turn, instance));
        Some(StepChanges {
            at,
            messages: inbox.take_all(),
            turn: Some(turn),
            effects,
        })
    }
}
