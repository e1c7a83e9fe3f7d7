//! Orchestrations, generated.

use super::dice::Dice;
use crate::model::{ActivityOptions, Event, FunctionName, Payload, RetryPolicy, SubOrchestrationOptions};
use crate::replay::tests::script::{ChildCall, Op, Script};

/// The events that programs wait for and that clients and programs raise.
pub(super) const EVENTS: [&str; 3] = ["ready", "Paid", "stop"];

/// Events that clients raise and that no program waits for.
pub(super) const NOISE: [&str; 2] = ["Noise", "more noise"];

/// What the simulated activities are called; see [`super::guests`] for what they do. The last does not exist.
const ACTIVITIES: [&str; 6] = ["quick", "slow", "flaky", "failing", "declined", "nowhere"];

/// How many instances clients may start by name.
pub(super) const NAMES: u64 = 12;

/// The id of a client's instance.
pub(super) fn name(dice: &mut Dice) -> String {
    format!("i{}", dice.below(NAMES))
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
    /// A guest for an execution with that input.
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

/// The programs of a seed. Each calls later ones only, so that there is an end to it.
pub(super) fn programs(seed: u64) -> Vec<Program> {
    let mut dice = Dice::new(seed, "programs");
    let count = dice.between(1, 4);
    (0..count).map(|number| program(&mut dice, number, count)).collect()
}

fn program(dice: &mut Dice, number: u64, count: u64) -> Program {
    let generations = if dice.per_mille(400) { *dice.pick(&[2, 2, 5]) } else { 0 };
    let mut children = if number + 1 == count {
        0
    } else {
        2 - u64::from(generations > 0)
    };
    let strands = (0..dice.between(1, 4)).map(|_| {
        let ops = (0..dice.between(1, 6)).map(|_| op(dice, number, count, &mut children));
        let mut ops: Vec<Op> = ops.collect();
        if generations > 0 && dice.per_mille(500) {
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

fn op(dice: &mut Dice, number: u64, count: u64, children: &mut u64) -> Op {
    let activity = dice.pick(&ACTIVITIES).to_string();
    let event = dice.pick(&EVENTS).to_string();
    let ms = *dice.pick(&[0, 1, 20, 300, 5_000, 60_000]);
    let ms = ms + dice.below(ms + 1);
    if *children > 0 && dice.per_mille(150) {
        *children -= 1;
        let program = format!("p{}", dice.between(number + 1, count - 1));
        return match dice.below(5) {
            0 => Op::Child(program),
            1 => Op::Start(program),
            2 => Op::ChildOrSleep(program, ms),
            _ => Op::ChildWith(ChildCall {
                function: program,
                id: dice.per_mille(300).then(|| format!("fixed-{}", dice.below(2))),
                options: SubOrchestrationOptions {
                    retry: retry(dice),
                    timeout_ms: dice.per_mille(300).then(|| dice.between(1, 20_000)),
                },
            }),
        };
    }
    match dice.below(20) {
        0..=3 => Op::Call(activity),
        4..=7 => Op::CallWith(
            activity,
            ActivityOptions {
                retry: retry(dice),
                attempt_timeout_ms: dice.per_mille(300).then(|| dice.between(1, 3_000)),
                timeout_ms: dice.per_mille(300).then(|| dice.between(1, 20_000)),
            },
        ),
        8..=9 => Op::CallOrCall(activity, dice.pick(&ACTIVITIES).to_string()),
        10..=11 => Op::Sleep(ms),
        12 => Op::Event(event),
        13..=14 => Op::EventOrSleep(event, ms),
        15 => Op::EventTwice(event),
        16 => Op::SendTo(name(dice), event),
        17 => Op::Random,
        18 => Op::Status(u32::try_from(number).expect("few programs")),
        _ if dice.per_mille(200) => Op::Fail,
        _ => Op::Log,
    }
}

fn retry(dice: &mut Dice) -> Option<RetryPolicy> {
    dice.per_mille(700).then(|| RetryPolicy {
        first_interval_ms: dice.between(1, 800),
        backoff_coefficient: *dice.pick(&[1.0, 2.0]),
        max_interval_ms: dice.between(1, 3_000),
        max_attempts: u32::try_from(dice.between(1, 5)).expect("a few"),
        non_retryable_error_types: if dice.per_mille(200) {
            vec!["Busy".into()]
        } else {
            Vec::new()
        },
    })
}

/// An event with a payload of its own, so that it can be told from all others.
pub(super) fn numbered(event: &str, number: u64) -> Event {
    Event {
        name: event.parse().expect("a name"),
        payload: Payload::of(&format!("event {number}")),
    }
}
