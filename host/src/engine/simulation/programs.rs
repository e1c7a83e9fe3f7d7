//! Generates orchestrations.

use super::rng::Rng;
use crate::model::{ActivityOptions, Event, FunctionName, ParentClose, Payload, RetryPolicy, SubOrchestrationOptions};
use crate::replay::tests::script::{Cancelled, ChildCall, Op, Script};

/// The events that programs wait for and that clients and programs raise.
pub(super) const EVENTS: [&str; 3] = ["ready", "Paid", "stop"];

/// Events that clients raise and that no program waits for.
pub(super) const NOISE: [&str; 2] = ["Noise", "more noise"];

/// The names of the simulated activities; [`super::guests`] implements them. The last one does not exist.
const ACTIVITIES: [&str; 7] = ["quick", "slow", "flaky", "failing", "declined", "deadly", "nowhere"];

/// How many different ids clients use for instances.
pub(super) const NAMES: u64 = 12;

/// How many entities there are.
const CELLS: u64 = 4;

/// An id for a client's instance.
pub(super) fn name(rng: &mut Rng) -> String {
    format!("i{}", rng.below(NAMES))
}

/// One orchestration.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: FunctionName,
    strands: Vec<Vec<Op>>,
    /// How often it may continue as new.
    generations: u32,
}

impl Program {
    /// A guest for an execution with this input.
    pub(super) fn script(&self, input: &Payload) -> Script {
        let generation: u32 = input.as_str().parse().unwrap_or(0);
        let strands = self.strands.iter().map(|strand| {
            let ops = strand.iter().filter_map(|op| match op {
                Op::ContinueAsNew(_) if generation >= self.generations => None,
                Op::ContinueAsNew(_) => Some(Op::ContinueAsNew(generation + 1)),
                other => Some(other.clone()),
            });
            ops.collect()
        });
        Script::new(strands.collect())
    }
}

/// The programs of a seed. Each calls only later ones, so that every run ends. Programs of a steady world use no entities:
/// which of two operations that are sent at the same time comes first is not determined.
pub(super) fn programs(seed: u64, is_steady: bool) -> Vec<Program> {
    let mut rng = Rng::new(seed, "programs");
    let count = rng.between(1, 4);
    let mut programs: Vec<_> = (0..count).map(|number| program(&mut rng, number, count)).collect();
    let mut rng = Rng::new(seed, "entities");
    if rng.per_mille(500) && !is_steady {
        for program in &mut programs {
            let strands = rng.below(3);
            let has_children = program.strands.iter().flatten().any(is_child);
            let strands = (0..strands).map(|_| on_entities(&mut rng, has_children));
            program.strands.extend(strands);
        }
    }
    let mut rng = Rng::new(seed, "cancellation");
    for program in &mut programs {
        if rng.per_mille(400) {
            let ms = *rng.pick(&[10, 500, 20_000]);
            let then = *rng.pick(&[Cancelled::GoesOn, Cancelled::Ends, Cancelled::Ends]);
            program.strands.push(vec![
                Op::CancelledOrSleep(ms, then),
                Op::Random,
                Op::Patched("late".into()),
            ]);
        }
    }
    programs
}

fn is_child(op: &Op) -> bool {
    matches!(
        op,
        Op::Child(_) | Op::ChildWith(_) | Op::ChildOrSleep(..) | Op::ChildLeft(..)
    )
}

/// Operations on entities: calls, signals, and critical sections. Some are left open, but not by programs with children: a
/// child that was started before the section may wait for the entities, and its parent for the child.
fn on_entities(rng: &mut Rng, has_children: bool) -> Vec<Op> {
    let key = |rng: &mut Rng| format!("c{}", rng.below(CELLS));
    let operation = |rng: &mut Rng| (*rng.pick(&["add", "add", "add", "tell", "fail", "trap"])).to_owned();
    let mut ops = Vec::new();
    for _ in 0..rng.between(1, 4) {
        match rng.below(5) {
            0 => ops.push(Op::CallEntity(key(rng), operation(rng))),
            4 => ops.push(Op::CallEntityOrCall(
                key(rng),
                operation(rng),
                (*rng.pick(&["quick", "slow", "failing"])).to_owned(),
            )),
            1 => {
                let later = rng.per_mille(400).then(|| *rng.pick(&[0, 30, 2_000, 70_000]));
                ops.push(Op::SignalEntity(key(rng), operation(rng), later));
            }
            2 => ops.push(Op::Sleep(rng.below(200))),
            _ => {
                let keys: Vec<_> = (0..rng.between(1, 3)).map(|_| key(rng)).collect();
                ops.push(Op::Lock(keys.clone()));
                for key in keys {
                    ops.push(Op::CallEntity(key, operation(rng)));
                    if rng.per_mille(200) {
                        ops.push(Op::Sleep(rng.below(500)));
                    }
                }
                if rng.per_mille(800) || has_children {
                    ops.push(Op::Unlock);
                }
            }
        }
    }
    ops
}

fn program(rng: &mut Rng, number: u64, count: u64) -> Program {
    let generations = if rng.per_mille(400) { *rng.pick(&[2, 2, 5]) } else { 0 };
    let mut children = if number + 1 == count {
        0
    } else {
        2 - u64::from(generations > 0)
    };
    let strands = (0..rng.between(1, 4)).map(|_| {
        let ops = (0..rng.between(1, 6)).map(|_| op(rng, number, count, &mut children));
        let mut ops: Vec<Op> = ops.collect();
        if generations > 0 && rng.per_mille(500) {
            ops.push(Op::ContinueAsNew(0));
        }
        ops
    });
    Program {
        strands: strands.collect(),
        name: format!("p{number}").parse().expect("a name"),
        generations,
    }
}

fn op(rng: &mut Rng, number: u64, count: u64, children: &mut u64) -> Op {
    let activity = rng.pick(&ACTIVITIES).to_string();
    let event = rng.pick(&EVENTS).to_string();
    let ms = *rng.pick(&[0, 1, 20, 300, 5_000, 60_000]);
    let ms = ms + rng.below(ms + 1);
    if *children > 0 && rng.per_mille(150) {
        *children -= 1;
        let program = format!("p{}", rng.between(number + 1, count - 1));
        return match rng.below(6) {
            5 => {
                let policies = [ParentClose::Abandon, ParentClose::Terminate, ParentClose::Cancel];
                Op::ChildLeft(program, *rng.pick(&policies), ms)
            }
            0 => Op::Child(program),
            1 => Op::Start(program),
            2 => Op::ChildOrSleep(program, ms),
            _ => Op::ChildWith(ChildCall {
                function: program,
                id: rng.per_mille(300).then(|| format!("fixed-{}", rng.below(2))),
                options: SubOrchestrationOptions {
                    retry: retry(rng),
                    timeout_ms: rng.per_mille(300).then(|| rng.between(1, 20_000)),
                },
            }),
        };
    }
    match rng.below(20) {
        0..=3 => Op::Call(activity),
        4..=7 => Op::CallWith(
            activity,
            ActivityOptions {
                retry: retry(rng),
                attempt_timeout_ms: rng.per_mille(300).then(|| rng.between(1, 3_000)),
                timeout_ms: rng.per_mille(300).then(|| rng.between(1, 20_000)),
                heartbeat_timeout_ms: None,
            },
        ),
        8..=9 => Op::CallOrCall(activity, rng.pick(&ACTIVITIES).to_string()),
        10..=11 => Op::Sleep(ms),
        12 => Op::Event(event),
        13..=14 => Op::EventOrSleep(event, ms),
        15 => Op::EventTwice(event),
        16 => Op::SendTo(name(rng), event),
        17 => Op::Random,
        18 => Op::Status(u32::try_from(number).expect("few programs")),
        _ if rng.per_mille(200) => Op::Fail,
        _ => Op::Log,
    }
}

fn retry(rng: &mut Rng) -> Option<RetryPolicy> {
    rng.per_mille(700).then(|| RetryPolicy {
        first_interval_ms: rng.between(1, 800),
        backoff_coefficient: *rng.pick(&[1.0, 2.0]),
        max_interval_ms: rng.between(1, 3_000),
        max_attempts: u32::try_from(rng.between(1, 5)).expect("a few"),
        non_retryable_error_types: if rng.per_mille(200) {
            vec!["Busy".into()]
        } else {
            Vec::new()
        },
    })
}

/// An event with a payload of its own, so that it can be distinguished from all others.
pub(super) fn numbered(event: &str, number: u64) -> Event {
    Event {
        name: event.parse().expect("a name"),
        payload: Payload::of(&format!("event {number}")),
    }
}
