//! The last turn of an orchestration that is terminated. It needs the history but no guest.

use crate::engine::owner::behaviour::StepChanges;
use crate::engine::owner::effects::Effects;
use crate::engine::owner::inbox::Inbox;
use crate::engine::owner::instance::Instance;
use crate::model::{Arrival, ParentClose, Timestamp, Turn};
use crate::replay::Guest;

use super::Orchestration;
use super::turn::used_by;

impl<G: Guest> Orchestration<G> {
    /// Ends the execution and terminates its sub-orchestrations, except those for which its code chose otherwise.
    pub(super) fn terminated(&self, reason: &str, instance: &Instance, inbox: &Inbox, now: Timestamp) -> StepChanges {
        let mut arrivals = Vec::new();
        if instance.position.is_first_turn()
            && let Some(started) = inbox.start()
        {
            arrivals.push(Arrival::Started(Box::new(started.clone())));
        }
        arrivals.push(Arrival::Terminated {
            reason: reason.to_owned(),
        });
        let turn = Turn {
            number: instance.position.last_turn.next(),
            at: now.max(self.execution.ledger.last_at()),
            arrivals,
            decisions: Vec::new(),
            fuel: 0,
        };
        let mut effects = Effects::default();
        let why = format!("its parent {} was terminated: {reason}", instance.identity.id);
        self.close_each_child(ParentClose::Terminate, &why, &mut effects, instance, inbox);
        self.leave_section(&turn, &mut effects, instance);
        effects.usage.push(used_by(&turn, instance));
        StepChanges {
            at: turn.at,
            messages: Vec::new(),
            turn: Some(turn),
            effects,
        }
    }
}
