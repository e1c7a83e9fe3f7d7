//! Property tests of pending events over several executions, with only some of the events in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::properties::{World, program, world};
use super::script::{Functions, Op, Script, done, event, fired, started};
use crate::model::{Arrival, Decision, Event, EventPage, InboxSeq, Started, Timestamp, Turn};
use crate::replay::{
    Delivery, EventBudget, Execution, Ledger, Outstanding, PendingEvents, Place, Player, TurnLimits, TurnSize, Waits,
};

/// The maximum number of executions of one run.
const EXECUTIONS: usize = 4;

/// An instance, and a store with the events that it has not taken.
struct Instance {
    strands: Vec<Vec<Op>>,
    stored: BTreeMap<InboxSeq, Event>,
    accepted: Vec<Event>,
    pending: PendingEvents,
    /// Maximum bytes of events in memory.
    memory: usize,
    /// Maximum events that a turn takes.
    budget: usize,
    turns: Vec<Vec<Turn>>,
    started: Started,
}

impl Instance {
    fn player(&self) -> Player<Script> {
        let started = Arc::new(self.started.clone());
        let id = "test".parse().unwrap();
        let execution = Execution::new(id, started, Arc::new(Functions), TurnLimits::default());
        Player::new(Script::new(self.strands.clone()), execution)
    }

    fn raise(&mut self, event: &Event, waits: &Waits) {
        let seq = InboxSeq(self.accepted.len() as u64 + 1);
        self.accepted.push(event.clone());
        self.stored.insert(seq, event.clone());
        self.pending.receive(seq, event.clone(), self.memory, waits);
    }

    /// Reads two events of each awaited name without events in memory.
    fn read(&mut self, waits: &Waits) {
        let names: Vec<String> = self.pending.unread(waits).cloned().collect();
        if names.is_empty() {
            return;
        }
        let newest = InboxSeq(self.accepted.len() as u64);
        let pages = names.into_iter().map(|name| {
            let of_name = self.stored.iter().filter(|(_, event)| event.name.folded() == name);
            EventPage {
                events: of_name
                    .clone()
                    .take(2)
                    .map(|(seq, event)| (*seq, event.clone()))
                    .collect(),
                more: of_name.count() > 2,
                name,
            }
        });
        let pages = pages.collect();
        self.pending.read(newest, pages, self.memory, waits);
    }

    fn turn(&mut self, player: &mut Player<Script>, arrivals: Vec<(Place, Arrival)>) -> Turn {
        let new = player.deliver(
            Timestamp(1_000),
            Delivery {
                locked_entities: None,
                room: TurnSize::MAX,
                arrivals,
                pending: &mut self.pending,
                until: Place::Own,
                budget: EventBudget {
                    events: self.budget,
                    bytes: usize::MAX,
                },
            },
        );
        let new = new.unwrap();
        for taken in &new.taken {
            let Place::Stored(seq) = taken.place else {
                panic!("all are stored")
            };
            let name = taken.event.name.folded();
            let oldest = self.stored.iter().find(|(_, event)| event.name.folded() == name);
            assert_eq!(
                oldest,
                Some((&seq, &taken.event)),
                "events with the same name are taken in order"
            );
            self.stored.remove(&seq);
        }
        new.turn
    }

    /// Runs one execution. Returns whether another one follows.
    fn execution(&mut self, steps: &mut impl Iterator<Item = World>) -> bool {
        let (mut player, mut ledger) = (self.player(), Ledger::default());
        let mut batch = vec![(
            Place::Stored(InboxSeq(0)),
            Arrival::Started(Box::new(self.started.clone())),
        )];
        self.turns.push(Vec::new());
        loop {
            let turn = self.turn(&mut player, std::mem::take(&mut batch));
            ledger.apply(&turn).unwrap();
            let last = turn.decisions.last().cloned();
            self.turns.last_mut().unwrap().push(turn);
            match last {
                Some(Decision::ContinueAsNew { events, .. }) => {
                    self.started.execution = self.started.execution.next();
                    self.started.events = events;
                    return true;
                }
                _ if ledger.has_ended() => return false,
                _ => {}
            }
            let actual: Vec<&String> = player.waits().keys().collect();
            let folded: Vec<&String> = ledger.waits().keys().collect();
            assert!(actual.iter().all(|name| folded.contains(name)), "{actual:?} {folded:?}");
            let waits = player.waits().clone();
            let mut outstanding: Vec<_> = ledger.tasks().map(|(task, kind)| (task, kind.clone())).collect();
            loop {
                self.read(&waits);
                let has_work = !batch.is_empty() || self.pending.has_wanted(&waits, Place::Own);
                match steps.next() {
                    None if has_work => break,
                    None => return false,
                    Some(World::Cut) if !has_work => {}
                    Some(World::Cut) => break,
                    Some(World::Cancel(_)) => {}
                    Some(World::Raise(name, payload)) => self.raise(&event(&name, payload), &waits),
                    Some(World::Settle(_)) if outstanding.is_empty() => {}
                    Some(World::Settle(index)) => {
                        let (task, kind) = outstanding.remove(index.index(outstanding.len()));
                        let arrival = match kind {
                            Outstanding::Timer { .. } => fired(task.0),
                            _ => done(task.0),
                        };
                        batch.push((Place::Own, arrival));
                    }
                }
            }
        }
    }
}

fn raised(turns: &[Vec<Turn>]) -> Vec<Event> {
    let arrivals = turns.iter().flatten().flat_map(|turn| &turn.arrivals);
    let events = arrivals.filter_map(|arrival| match arrival {
        Arrival::EventRaised(event) => Some(event.clone()),
        _ => None,
    });
    events.collect()
}

fn of_name(events: impl IntoIterator<Item = Event>, name: &str) -> Vec<Event> {
    events.into_iter().filter(|event| event.name.folded() == name).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn accepted_events_are_taken_once_and_in_order_or_are_still_pending(
        strands in program(),
        world in world(),
        early in 0..12u32,
        memory in prop::sample::select(vec![0, 300, usize::MAX]),
        budget in prop::sample::select(vec![1, 3, usize::MAX]),
    ) {
        let mut instance = Instance {
            strands,
            stored: BTreeMap::new(),
            accepted: Vec::new(),
            pending: PendingEvents::new(InboxSeq(0), false),
            memory,
            budget,
            turns: Vec::new(),
            started: started(Vec::new()),
        };
        for number in 0..early {
            let name = ["a", "B", "c", "noise"][number as usize % 4];
            instance.raise(&event(name, 1_000 + number), &Waits::default());
        }
        let mut steps = world.into_iter();
        let mut replayed = Vec::new();
        for _ in 0..EXECUTIONS {
            let mut cold = instance.player();
            let goes_on = instance.execution(&mut steps);
            for turn in instance.turns.last().unwrap() {
                prop_assert_eq!(cold.replay(turn), Ok(()));
            }
            replayed.push(instance.turns.last().unwrap().len());
            if !goes_on {
                break;
            }
        }
        prop_assert!(!replayed.is_empty());
        for name in ["a", "b", "c", "nope", "noise"] {
            let mut found = of_name(raised(&instance.turns), name);
            found.extend(of_name(instance.stored.values().cloned(), name));
            prop_assert_eq!(found, of_name(instance.accepted.clone(), name));
        }
        // Events that were delivered but not taken are carried over, and are not arrivals again.
        let all = raised(&instance.turns);
        prop_assert!(all.len() <= instance.accepted.len());
    }
}
