//! Runs one turn: delivers arrivals, runs the guest until it waits, and compares or collects its decisions.

use crate::model::{
    Arrival, Decision, Event, Failure, LogLine, Payload, Rewinds, StuckReason, Timestamp, Turn, TurnNumber,
    failure::types,
};

use super::{
    Budget, Execution, Guest, HostUnavailable, PendingEvent, PendingEvents, Place, Progress, Waits,
    decisions::describe,
    execution::{Divergence, Interrupt},
    limits::TurnSize,
};

/// A guest with its execution. Replays recorded turns, then runs new ones.
pub struct Player<G> {
    guest: G,
    execution: Execution,
    rewinds: Rewinds,
    last_turn: TurnNumber,
    last_at: Timestamp,
}

/// The input of a new turn.
#[derive(Debug)]
pub struct Delivery<'a> {
    /// All arrivals except events, in order.
    pub arrivals: Vec<(Place, Arrival)>,
    /// Pending events. The turn takes those that its guest waits for.
    pub pending: &'a mut PendingEvents,
    /// The turn takes only events before this place.
    pub until: Place,
    /// How many events the turn may take.
    pub budget: EventBudget,
    /// How large a turn the host has memory for.
    pub room: TurnSize,
    /// How many entities a critical section may lock; `None` for the limit of the host.
    pub locked_entities: Option<usize>,
}

/// How many events, and how many bytes of them, a turn may still take. The last event may exceed the bytes. Bounds the
/// size of the row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EventBudget {
    /// The number of events.
    pub events: usize,
    /// Bytes of their payloads.
    pub bytes: usize,
}

impl EventBudget {
    pub(super) fn is_used_up(self) -> bool {
        self.events == 0 || self.bytes == 0
    }

    pub(super) fn take(&mut self, event: &Event) {
        self.events = self.events.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(event.payload.as_str().len());
    }
}

/// A turn that has just run and is not yet durable.
#[derive(Debug, Clone, PartialEq)]
pub struct NewTurn {
    /// The row to append.
    pub turn: Turn,
    /// The pending events that it took.
    pub taken: Vec<PendingEvent>,
    /// The log lines of the guest.
    pub logs: Vec<LogLine>,
    /// The custom status, if the turn set one.
    pub custom_status: Option<Payload>,
}

/// Why a recorded turn could not be replayed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReplayError {
    /// History and code differ, or the code failed. The instance is stuck until a person resolves it.
    #[error("{}", .0.message)]
    Stuck(StuckReason),
    /// The host cannot run the guest at the moment. The instance is unchanged.
    #[error(transparent)]
    Host(#[from] HostUnavailable),
}

/// The types of the failures with which the host ends an execution after it stopped the guest.
const ENDED_BY_HOST: [&str; 6] = [
    types::TRAP,
    types::FUEL,
    types::MEMORY,
    types::LIMIT,
    types::WAITS_FOR_NOTHING,
    types::PAYLOAD,
];

impl<G: Guest> Player<G> {
    /// Creates a player before its first turn.
    pub fn new(guest: G, execution: Execution) -> Self {
        Self {
            guest,
            rewinds: Rewinds::none(execution.started().execution),
            execution,
            last_turn: TurnNumber::NONE,
            last_at: Timestamp(0),
        }
    }

    /// The same for an execution with these rewinds.
    #[must_use]
    pub fn with_rewinds(mut self, rewinds: Rewinds) -> Self {
        self.rewinds = rewinds;
        self
    }

    /// The last turn that was replayed or run.
    pub fn last_turn(&self) -> TurnNumber {
        self.last_turn
    }

    /// The waits of the guest for events, by name.
    pub fn waits(&self) -> &Waits {
        self.execution.waits()
    }

    /// Replays a recorded turn.
    ///
    /// # Errors
    /// When the guest does not repeat the recorded decisions, or the host cannot run it. The caller must then discard the
    /// player.
    ///
    /// # Panics
    /// When the row does not follow the last one: histories have no gaps.
    pub fn replay(&mut self, row: &Turn) -> Result<(), ReplayError> {
        assert_eq!(row.number, self.last_turn.next(), "a history is replayed without gaps");
        self.last_turn = row.number;
        self.last_at = row.at;
        if self.rewinds.supersede(row.number) {
            return Ok(());
        }
        if let Some(Arrival::Rewound { next_task, .. }) = row.arrivals.first() {
            self.execution.skip_tasks_before(*next_task);
            return Ok(());
        }
        let terminated = matches!(row.arrivals.last(), Some(Arrival::Terminated { .. }));
        if terminated || was_stopped(row) || row.ends_before_start() {
            return Ok(());
        }
        self.execution.repeat_turn(row);
        let budget = Budget::Replay { recorded: row.fuel };
        let resumed = self.guest.resume(&mut self.execution, budget);
        let ran = match resumed {
            Ok(ran) => ran,
            Err(trouble) => {
                self.execution.end_turn();
                return Err(trouble.into());
            }
        };
        let stuck = |code: &str, message: String| {
            Err(ReplayError::Stuck(StuckReason {
                code: code.to_owned(),
                message: format!("turn {}: {message}", row.number),
            }))
        };
        match self.execution.take_interrupt() {
            Some(Interrupt::Diverged(divergence)) => return stuck("nondeterminism", explain(&divergence)),
            Some(other) => return stuck("trap-on-replay", format!("the guest was stopped: {other:?}")),
            None => {}
        }
        if let Err(interrupt) = self.finish(&ran.progress) {
            self.execution.take_interrupt();
            return match interrupt {
                Interrupt::Diverged(divergence) => stuck("nondeterminism", explain(&divergence)),
                other => stuck("trap-on-replay", format!("the guest was stopped: {other:?}")),
            };
        }
        let end = self.execution.end_turn();
        if let Progress::Broke(failure) = &ran.progress {
            let Failure {
                message, error_type, ..
            } = failure;
            return match error_type == types::FUEL {
                true => stuck("fuel-on-replay", format!("{message}; it used {} at first", row.fuel)),
                false => stuck("trap-on-replay", format!("the guest failed: {message} ({error_type})")),
            };
        }
        self.execution.grow(row);
        let left = end.unrepeated.as_ref().and_then(|left| left.front());
        match left.or_else(|| self.execution.unasked_patch(row)) {
            Some(left) => {
                let divergence = Divergence {
                    recorded: Some(describe(left)),
                    requested: None,
                };
                stuck("nondeterminism", explain(&divergence))
            }
            None => Ok(()),
        }
    }

    /// Runs a new turn with exactly these arrivals, in this order.
    ///
    /// # Errors
    /// Like [`deliver`](Self::deliver).
    pub fn advance(&mut self, now: Timestamp, arrivals: Vec<Arrival>) -> Result<NewTurn, HostUnavailable> {
        self.deliver(
            now,
            Delivery {
                arrivals: arrivals.into_iter().map(|arrival| (Place::Own, arrival)).collect(),
                pending: &mut PendingEvents::default(),
                until: Place::Own,
                budget: EventBudget::default(),
                room: TurnSize::MAX,
                locked_entities: None,
            },
        )
    }

    /// Runs a new turn at `now`, or at the time of the last turn if that is later.
    ///
    /// # Errors
    /// When the host cannot run the guest. Then no event is taken. The caller must keep the arrivals for another try, and
    /// discard the player.
    pub fn deliver(&mut self, now: Timestamp, delivery: Delivery<'_>) -> Result<NewTurn, HostUnavailable> {
        let at = now.max(self.last_at);
        let Delivery {
            arrivals,
            pending,
            until,
            budget,
            room,
            locked_entities,
        } = delivery;
        self.execution
            .begin_turn(at, arrivals, std::mem::take(pending), until, budget);
        self.execution.limit_size(room);
        self.execution.limit_locked_entities(locked_entities);
        let resumed = self.guest.resume(&mut self.execution, Budget::Turn);
        let interrupt = self.execution.take_interrupt();
        let ran = match (resumed, &interrupt) {
            (Ok(_), Some(Interrupt::NoRoom(needed))) => Err(HostUnavailable::NoTurnMemory { needed: *needed }),
            (resumed, _) => resumed,
        };
        let ran = match ran {
            Ok(ran) => ran,
            Err(trouble) => {
                let end = self.execution.end_turn();
                *pending = end.pending;
                pending.put_back(end.taken);
                return Err(trouble);
            }
        };
        // The host has memory for the end of an execution.
        self.execution.limit_size(TurnSize::MAX);
        let failure = match interrupt {
            None => match (&ran.progress, self.finish(&ran.progress)) {
                (Progress::Broke(failure), _) => Some(failure.clone()),
                (_, Err(interrupt)) => {
                    self.execution.take_interrupt();
                    Some(stopped(interrupt))
                }
                (_, Ok(())) => None,
            },
            Some(interrupt) => Some(stopped(interrupt)),
        };
        let end = self.execution.end_turn();
        *pending = end.pending;
        // The only decision of a turn in which the guest was stopped is its failure: the others are incomplete.
        let decisions = failure.map_or(end.decisions, |failure| vec![Decision::Fail { failure }]);
        self.last_turn = self.last_turn.next();
        self.last_at = at;
        let turn = Turn {
            number: self.last_turn,
            at,
            arrivals: end.arrivals,
            decisions,
            fuel: ran.fuel,
        };
        self.execution.grow(&turn);
        Ok(NewTurn {
            turn,
            taken: end.taken,
            logs: end.logs,
            custom_status: end.custom_status,
        })
    }

    /// If the function returned, adds the decision that ends the execution.
    fn finish(&mut self, progress: &Progress) -> Result<(), Interrupt> {
        let Progress::Returned(outcome) = progress else {
            return Ok(());
        };
        let decision = match outcome {
            Err(failure) => Decision::Fail {
                failure: failure.clone(),
            },
            Ok(output) => match self.execution.take_continuation() {
                Some((input, events)) => Decision::ContinueAsNew { input, events },
                None => Decision::Complete { output: output.clone() },
            },
        };
        self.execution.decide_end(decision)
    }
}

/// Whether the host stopped the guest in this turn, so that there is nothing to replay.
fn was_stopped(row: &Turn) -> bool {
    matches!(&row.decisions[..], [Decision::Fail { failure }] if ENDED_BY_HOST.contains(&failure.error_type.as_str()))
}

fn stopped(interrupt: Interrupt) -> Failure {
    match interrupt {
        Interrupt::Limit(failure) => failure,
        Interrupt::WaitsForNothing => {
            let message = "the orchestration waits, but no timer, event or call is outstanding";
            Failure::new(types::WAITS_FOR_NOTHING, message).permanent()
        }
        Interrupt::OutsideTurn => Failure::new(types::TRAP, "a scheduling call was made outside a turn").permanent(),
        Interrupt::NoRoom(_) => unreachable!("such a turn is run again"),
        Interrupt::Diverged(_) => unreachable!("a new turn has no record to differ from"),
    }
}

fn explain(divergence: &Divergence) -> String {
    match (&divergence.recorded, &divergence.requested) {
        (Some(recorded), Some(requested)) => format!("history {recorded}, the code now {requested}"),
        (Some(recorded), None) => format!("history {recorded}, the code now does not"),
        (None, Some(requested)) => format!("history ends the turn there, the code now {requested}"),
        (None, None) => "history and code differ".into(),
    }
}
