//! Tests of the fuel that host calls of orchestrations cost.

use super::guests::Guest;
use super::orchestrators::{Run, run};
use super::sandbox;
use crate::model::{Arrival, TaskId, Turn, failure::types};
use crate::sandbox::host_fuel;

/// A guest that asks for the time so often, and then sleeps.
fn asks_for_the_time(times: u32) -> Guest {
    Guest::orchestrator()
        .durable("now-ms", "(result i64)")
        .durable("create-timer", "(param i64) (result i32)")
        .durable("wait", "(param i32)")
        .run_first(&format!(
            "(local.set $k (i64.const {times}))
             (loop $again
               (drop (call $now-ms))
               (local.set $k (i64.sub (local.get $k) (i64.const 1)))
               (br_if $again (i64.ne (local.get $k) (i64.const 0))))
             (drop (call $create-timer (i64.const 5000)))
             (call $wait (i32.const 1024))
             (drop (call $now-ms))"
        ))
}

fn timer_fired() -> Vec<Arrival> {
    vec![Arrival::TimerFired { task: TaskId(1) }]
}

#[tokio::test]
async fn each_host_call_costs_fuel() {
    let sandbox = sandbox();
    let fuel = async |times| {
        let mut run = run(&sandbox, &asks_for_the_time(times)).await;
        run.turn(vec![]).unwrap().turn.fuel
    };
    let (few, many) = (fuel(1_000).await, fuel(11_000).await);
    let each = (many - few) / 10_000;
    assert!((host_fuel::CALL..2 * host_fuel::CALL).contains(&each), "{each}");
}

#[tokio::test]
async fn a_guest_that_makes_too_many_host_calls_is_out_of_fuel() {
    let sandbox = sandbox();
    let mut run = run(&sandbox, &asks_for_the_time(u32::MAX)).await;
    let turn = run.turn(vec![]).unwrap().turn.clone();
    let failure = run.ended().unwrap().unwrap_err();
    assert_eq!(failure.error_type, types::FUEL, "{}", failure.message);
    assert!(turn.fuel >= sandbox.sandbox.options().turn_fuel, "{}", turn.fuel);
}

#[tokio::test]
async fn a_turn_that_was_recorded_without_the_fuel_of_host_calls_is_replayed() {
    let sandbox = sandbox();
    let module = sandbox.module(asks_for_the_time(90_000).build()).await;
    let mut first = Run::new(&sandbox.sandbox, &module, "Echo", "1");
    let recorded = Turn {
        fuel: 1,
        ..first.turn(vec![]).unwrap().turn.clone()
    };
    assert!(first.turns[0].turn.fuel > 9_000_000, "{}", first.turns[0].turn.fuel);
    let mut second = Run::new(&sandbox.sandbox, &module, "Echo", "1");
    assert_eq!(second.player.replay(&recorded), Ok(()));
}

#[tokio::test]
async fn a_turn_costs_the_same_after_a_replay() {
    let sandbox = sandbox();
    let module = sandbox.module(asks_for_the_time(1_000).build()).await;
    let mut hot = Run::new(&sandbox.sandbox, &module, "Echo", "1");
    hot.turn(vec![]).unwrap();
    let mut cold = Run::new(&sandbox.sandbox, &module, "Echo", "1");
    cold.player.replay(&hot.turns[0].turn).unwrap();
    cold.turns.clone_from(&hot.turns);
    let expected = hot.turn(timer_fired()).unwrap().turn.clone();
    assert_eq!(cold.turn(timer_fired()).unwrap().turn, expected);
    assert!(expected.fuel > 2 * host_fuel::CALL, "{}", expected.fuel);
}
