//! One step of an entity, without a guest.

use std::collections::VecDeque;
use std::sync::Arc;

use super::*;
use crate::replay::{ResolvedActivity, ResolvedEntity, ResolvedOrchestration};

/// Knows the entity `other` and the orchestration `run`.
struct Known;

impl Directory for Known {
    fn activity(&self, _: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedActivity, Failure> {
        unreachable!("entities call no activities")
    }

    fn orchestration(&self, name: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedOrchestration, Failure> {
        match name.as_str() {
            "run" => Ok(ResolvedOrchestration {
                module: ModuleNumber(1),
            }),
            _ => Err(Failure::new(types::UNKNOWN_FUNCTION, "no such orchestration")),
        }
    }

    fn entity(&self, name: &FunctionName, _: &str, _: &Payload, fuel: &mut u64) -> Result<ResolvedEntity, Failure> {
        *fuel += 7;
        match name.as_str() {
            "other" => Ok(ResolvedEntity {
                module: ModuleNumber(2),
            }),
            _ => Err(Failure::new(types::UNKNOWN_FUNCTION, "no such entity")),
        }
    }
}

fn operation(name: &str) -> Operation {
    Operation {
        name: name.into(),
        input: Payload::null(),
        reply_to: None,
        section: None,
        due_at: None,
    }
}

fn step(operations: &[&str]) -> Step {
    Step::new(
        EntityId::new("Account", "ada").unwrap(),
        Some(Payload::of(&1)),
        operations.iter().map(|name| operation(name)).collect::<VecDeque<_>>(),
        Timestamp(1_000),
        [7; 32],
        Arc::new(Known),
        StepLimits {
            payload_bytes: 100,
            state_bytes: 10,
            effects: 2,
            effect_bytes: 100,
            step_bytes: 1_000,
            log_bytes: 1_000,
            log_lines: 10,
        },
    )
}

/// The names and outcomes of the operations that were applied: `None` for success, or the type of the failure.
fn outcomes(end: &StepEnd) -> Vec<(&str, Option<&str>)> {
    let applied = end.applied.iter();
    applied
        .map(|applied| {
            let failure = applied.outcome.as_ref().err();
            (
                applied.operation.name.as_str(),
                failure.map(|failure| failure.error_type.as_str()),
            )
        })
        .collect()
}

#[test]
fn an_operation_that_failed_leaves_neither_state_nor_effects() {
    let mut step = step(&["a", "b"]);
    step.next_operation().unwrap();
    step.signal("Other", "x", "poke", "1", None).unwrap();
    assert!(step.complete(Ok(("2", NewState::Set("2")))).unwrap());
    step.next_operation().unwrap();
    step.signal("Other", "y", "poke", "1", None).unwrap();
    step.start("run", "1", None).unwrap();
    let refused = Failure::new("Refused", "no");
    assert!(!step.complete(Err(refused)).unwrap());
    assert_eq!(step.next_operation(), Ok(None));
    assert!(!step.guest_ended(None));
    let end = step.end();
    assert_eq!(outcomes(&end), [("a", None), ("b", Some("Refused"))]);
    assert_eq!((end.state, end.changes), (Some(Payload::of(&2)), 1));
    assert_eq!(end.effects.len(), 1);
    assert_eq!(end.logs.len(), 1, "the failure is in the log");
}

#[test]
fn a_trap_fails_the_running_operation_alone_and_the_rest_is_for_a_new_guest() {
    let mut step = step(&["a", "b", "c"]);
    step.next_operation().unwrap();
    step.complete(Ok(("null", NewState::Deleted))).unwrap();
    step.next_operation().unwrap();
    let trap = Failure::new(types::TRAP, "unreachable");
    assert!(step.guest_ended(Some(trap)));
    let end = step.end();
    assert_eq!(outcomes(&end), [("a", None), ("b", Some(types::TRAP))]);
    assert_eq!(end.left.len(), 1);
    assert_eq!(end.state, None);
}

#[test]
fn a_guest_that_fails_between_two_operations_fails_neither() {
    let mut step = step(&["a", "b", "c"]);
    step.next_operation().unwrap();
    step.complete(Ok(("1", NewState::Unchanged))).unwrap();
    assert!(step.guest_ended(Some(Failure::new(types::TRAP, "unreachable"))));
    step.next_operation().unwrap();
    step.complete(Ok(("2", NewState::Unchanged))).unwrap();
    assert!(step.guest_ended(None), "it returned early");
    step.next_operation().unwrap();
    step.complete(Ok(("3", NewState::Unchanged))).unwrap();
    assert!(!step.guest_ended(None));
    let end = step.end();
    assert_eq!(outcomes(&end), [("a", None), ("b", None), ("c", None)]);
    assert_eq!(end.logs.len(), 1);
}

#[test]
fn a_step_can_be_closed_between_two_operations() {
    let mut step = step(&["a", "b"]);
    step.close();
    assert!(
        step.next_operation().unwrap().is_some(),
        "the first operation is given out"
    );
    step.close();
    step.complete(Ok(("1", NewState::Unchanged))).unwrap();
    step.close();
    assert_eq!(step.next_operation(), Ok(None));
    assert!(!step.guest_ended(None));
    let end = step.end();
    assert_eq!((end.applied.len(), end.left.len()), (1, 1));
}

#[test]
fn a_guest_that_takes_no_operation_fails_one_at_a_time_so_that_the_queue_moves() {
    let mut broken = step(&["a", "b"]);
    broken.end.state = None;
    assert!(broken.guest_ended(Some(Failure::new(types::MEMORY, "too much"))));
    assert!(!broken.guest_ended(None));
    let end = broken.end();
    assert_eq!(outcomes(&end), [("a", Some(types::MEMORY)), ("b", Some(types::TRAP))]);
}

#[test]
fn a_guest_that_cannot_begin_with_a_state_takes_no_operation() {
    let mut step = step(&["a", "b"]);
    let trap = Failure::new(types::TRAP, "the state cannot be read");
    assert!(!step.guest_ended(Some(trap.clone())));
    let end = step.end();
    assert_eq!((end.applied.len(), end.left.len()), (0, 2));
    assert_eq!(end.unreadable, Some(trap));
}

#[test]
fn outputs_and_states_that_are_too_large_or_no_json_fail_the_operation() {
    let mut step = step(&["a", "b", "c"]);
    step.next_operation().unwrap();
    assert!(!step.complete(Ok(("1", NewState::Set("\"0123456789\"")))).unwrap());
    step.next_operation().unwrap();
    assert!(!step.complete(Ok(("{", NewState::Set("2")))).unwrap());
    step.next_operation().unwrap();
    assert!(step.complete(Ok(("1", NewState::Set("1")))).unwrap());
    let end = step.end();
    let expected = [("a", Some(types::STATE)), ("b", Some(types::PAYLOAD)), ("c", None)];
    assert_eq!(outcomes(&end), expected);
    assert_eq!((end.state, end.changes), (Some(Payload::of(&1)), 0));
}

#[test]
fn calls_of_imports_out_of_order_stop_the_guest() {
    let mut one = step(&["a", "b"]);
    one.next_operation().unwrap();
    assert!(matches!(one.next_operation(), Err(Interrupt::OutOfOrder(_))));
    one.guest_ended(Some(Failure::new(types::TRAP, "stopped")));
    assert_eq!(outcomes(&one.end()), [("a", Some(types::TRAP))]);
    let mut two = step(&[]);
    assert!(matches!(
        two.complete(Ok(("1", NewState::Unchanged))),
        Err(Interrupt::OutOfOrder(_))
    ));
    assert!(matches!(two.start("run", "1", None), Err(Interrupt::OutOfOrder(_))));
}

#[test]
fn an_operation_has_a_limit_on_what_it_causes() {
    let mut step = step(&["a"]);
    step.next_operation().unwrap();
    assert_eq!(step.signal("Other", "x", "poke", "1", None), Ok(7));
    step.start("run", "1", Some("child")).unwrap();
    assert!(matches!(step.start("run", "1", None), Err(Interrupt::Limit(_))));
    step.guest_ended(Some(Failure::new(types::TRAP, "stopped")));
    let end = step.end();
    assert_eq!(outcomes(&end), [("a", Some(types::LIMIT))]);
    assert!(end.effects.is_empty());
}

#[test]
fn signals_and_starts_that_are_refused_are_logged() {
    let mut step = step(&["a"]);
    step.next_operation().unwrap();
    step.signal("Unknown", "x", "poke", "1", None).unwrap();
    step.signal("other", "a/b", "poke", "1", None).unwrap();
    step.signal("other", "x", "poke", "no json", None).unwrap();
    step.start("unknown", "1", None).unwrap();
    step.start("run", "1", Some("@other@x")).unwrap();
    step.complete(Ok(("1", NewState::Unchanged))).unwrap();
    let end = step.end();
    assert!(end.effects.is_empty());
    assert_eq!(end.logs.len(), 5);
}

#[test]
fn a_step_that_is_large_enough_leaves_the_rest() {
    let mut step = step(&["a"; 30]);
    let output = format!("\"{}\"", "x".repeat(90));
    while step.next_operation().unwrap().is_some() {
        step.complete(Ok((&output, NewState::Unchanged))).unwrap();
    }
    assert!(!step.guest_ended(None));
    let end = step.end();
    assert_eq!((end.applied.len(), end.left.len()), (11, 19));
}
