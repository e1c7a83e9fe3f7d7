//! Examples of each primitive, and of the errors when the code of an orchestration changed.

use expect_test::{Expect, expect};

use super::script::{ChildCall, Op, begin, begin_turn, done, event, fired, player, player_with, raised};
use crate::model::{
    ActivityOptions, Arrival, Decision, EventName, Failure, FromStored, InstanceId, ParentClose, Payload, RetryPolicy,
    SubOrchestrationOptions, TaskId, Timestamp, failure::types,
};
use crate::replay::{
    Delivery, EventBudget, HostUnavailable, PendingEvents, Place, ReplayError, TurnLimits, TurnSize,
    decisions::describe,
};

fn call(name: &str) -> Op {
    Op::Call(name.into())
}

/// Runs the program with these turns and compares the decisions of each.
fn check(strands: &[Vec<Op>], turns: Vec<Vec<Arrival>>, expected: Expect) {
    let mut player = player(strands);
    let mut shown = String::new();
    for (n, mut arrivals) in (0..).zip(turns) {
        if n == 0 {
            arrivals.insert(0, begin());
        }
        let turn = player.advance(Timestamp(1_000 + n * 10), arrivals).unwrap();
        let decisions: Vec<String> = turn.turn.decisions.iter().map(show).collect();
        shown += &format!("{}: {}\n", turn.turn.number, decisions.join(", "));
    }
    expected.assert_eq(&shown);
}

fn show(decision: &Decision) -> String {
    match decision {
        Decision::Complete { output } => format!("completes with {output}"),
        Decision::Fail { failure } => format!("fails: {}: {}", failure.error_type, failure.message),
        Decision::ContinueAsNew { input, events } => {
            let events: Vec<String> = events.iter().map(|e| format!("{}={}", e.name, e.payload)).collect();
            format!("continues with {input} and [{}]", events.join(" "))
        }
        other => describe(other),
    }
}

#[test]
fn a_chain_calls_its_activities_in_sequence() {
    check(
        &[vec![call("a"), call("b")]],
        vec![vec![], vec![done(1)], vec![done(2)]],
        expect![[r#"
            1: calls activity "a" as task 1
            2: calls activity "b" as task 2
            3: completes with ["1=Ok(1)","2=Ok(2)"]
        "#]],
    );
}

#[test]
fn an_early_event_is_kept_and_names_are_case_insensitive() {
    check(
        &[vec![call("a"), Op::Event("Go".into()), Op::Event("GO".into())]],
        vec![vec![], vec![raised("gO", 7)], vec![done(1)], vec![raised("go", 8)]],
        expect![[r#"
            1: calls activity "a" as task 1
            2: 
            3: waits for event "Go" as task 2, waits for event "GO" as task 3
            4: completes with ["1=Ok(1)","2=Some(7)","3=Some(8)"]
        "#]],
    );
}

#[test]
fn the_event_of_a_dropped_wait_reaches_the_next_wait() {
    check(
        &[vec![
            Op::EventOrSleep("go".into(), 5),
            call("a"),
            Op::Event("go".into()),
        ]],
        vec![vec![], vec![fired(2), raised("go", 1)], vec![done(3)]],
        expect![[r#"
            1: waits for event "go" as task 1, sets a timer as task 2
            2: cancels task 1, calls activity "a" as task 3
            3: waits for event "go" as task 4, completes with ["2 won: Ok(null) None","3=Ok(3)","4=Some(1)"]
        "#]],
    );
}

#[test]
fn an_event_given_back_returns_to_the_head_of_its_queue() {
    check(
        &[vec![Op::EventTwice("go".into()), Op::Event("go".into())]],
        vec![vec![], vec![raised("go", 1), raised("go", 2)]],
        expect![[r#"
            1: waits for event "go" as task 1
            2: cancels task 1, waits for event "go" as task 2, waits for event "go" as task 3, completes with ["2=Some(1)","3=Some(2)"]
        "#]],
    );
}

#[test]
fn continue_as_new_carries_over_untaken_and_unapplied_events() {
    check(
        &[vec![call("a"), Op::ContinueAsNew(5)]],
        vec![vec![raised("x", 1)], vec![raised("y", 2), done(1), raised("x", 3)]],
        expect![[r#"
            1: calls activity "a" as task 1
            2: continues with 5 and [x=1 y=2 x=3]
        "#]],
    );
}

#[test]
fn events_carried_over_come_before_new_ones() {
    let mut player = player_with(
        &[vec![Op::Event("x".into())]],
        TurnLimits::default(),
        vec![event("x", 1)],
    );
    let turn = player.advance(Timestamp(1), vec![begin(), raised("x", 2)]).unwrap();
    assert_eq!(
        turn.turn.decisions.last(),
        Some(&Decision::Complete {
            output: Payload::of(&["1=Some(1)"])
        })
    );
}

#[test]
fn a_refused_call_fails_its_task_without_another_turn() {
    check(
        &[vec![call("nothing"), call("")]],
        vec![vec![]],
        expect![[r#"
        1: asks for call-activity of "nothing", which was refused, asks for call-activity of "", which was refused, completes with ["1=Err(Failure { error_type: \"windlass.unknown-function\", message: \"there is none\", details: None, non_retryable: true, causes: [] })","2=Err(Failure { error_type: \"windlass.invalid-argument\", message: \"the function name must not be empty\", details: None, non_retryable: true, causes: [] })"]
    "#]],
    );
}

fn child_of_id(id: &str) -> Op {
    Op::ChildWith(ChildCall {
        function: "c".into(),
        id: Some(id.into()),
        options: SubOrchestrationOptions::default(),
    })
}

#[test]
fn a_new_child_or_wait_with_the_name_of_a_dot_segment_is_refused() {
    for op in [
        child_of_id(".."),
        Op::Event(".".into()),
        Op::SendTo("a".into(), "..".into()),
    ] {
        let mut recorder = player(&[vec![op.clone()]]);
        let row = recorder.advance(Timestamp(1), vec![begin()]).unwrap().turn;
        let Some(Decision::Refused { failure, .. }) = row.decisions.first() else {
            panic!("{op:?}: {row:?}");
        };
        assert_eq!(failure.error_type, types::ARGUMENT);
        assert!(failure.message.contains("URLs cannot hold it"), "{failure:?}");
        assert_eq!(player(&[vec![op]]).replay(&row), Ok(()));
    }
}

/// Older hosts accepted such names. Their histories must replay, and messages can still be sent to such ids.
#[test]
fn a_recorded_decision_with_the_name_of_a_dot_segment_is_repeated() {
    let replace = |decision: &mut Decision| match decision {
        Decision::CallSubOrchestration { instance_id, .. } => *instance_id = InstanceId::from_stored("..").unwrap(),
        Decision::WaitForEvent { name, .. } => *name = EventName::from_stored("..").unwrap(),
        Decision::SendEvent { event, .. } => event.name = EventName::from_stored("..").unwrap(),
        other => panic!("{other:?}"),
    };
    for (now, accepted) in [
        (child_of_id(".."), child_of_id("x")),
        (Op::Event("..".into()), Op::Event("x".into())),
        (
            Op::SendTo("..".into(), "..".into()),
            Op::SendTo("..".into(), "x".into()),
        ),
    ] {
        let mut row = player(&[vec![accepted]])
            .advance(Timestamp(1), vec![begin()])
            .unwrap()
            .turn;
        replace(&mut row.decisions[0]);
        assert_eq!(player(&[vec![now]]).replay(&row), Ok(()), "{row:?}");
    }
}

#[test]
fn a_second_outcome_of_a_task_is_ignored() {
    check(
        &[vec![call("a"), call("b")]],
        vec![vec![], vec![done(1), done(1)], vec![done(1)], vec![done(2)]],
        expect![[r#"
            1: calls activity "a" as task 1
            2: calls activity "b" as task 2
            3: 
            4: completes with ["1=Ok(1)","2=Ok(2)"]
        "#]],
    );
}

#[test]
fn cancelling_a_call_completes_it_at_once() {
    check(
        &[vec![Op::CallOrCall("a".into(), "b".into()), call("c")]],
        vec![vec![], vec![done(2), done(1)], vec![done(3)]],
        expect![[r#"
            1: calls activity "a" as task 1, calls activity "b" as task 2
            2: cancels task 1, calls activity "c" as task 3
            3: completes with ["2 won: Ok(2) None","3=Ok(3)"]
        "#]],
    );
}

#[test]
fn time_never_runs_backwards() {
    let mut player = player(&[vec![call("a"), call("b")]]);
    let first = player.advance(Timestamp(5_000), vec![begin()]).unwrap();
    let second = player.advance(Timestamp(4_000), vec![done(1)]).unwrap();
    assert_eq!((first.turn.at, second.turn.at), (Timestamp(5_000), Timestamp(5_000)));
}

#[test]
fn a_turn_over_its_limits_fails_the_instance_and_decides_nothing_else() {
    let limits = TurnLimits {
        decisions: 2,
        ..TurnLimits::default()
    };
    let strands: Vec<Vec<Op>> = (0..5).map(|_| vec![call("a")]).collect();
    let mut player = player_with(&strands, limits, Vec::new());
    let turn = player.advance(Timestamp(1), vec![begin()]).unwrap();
    let failure = Failure::new("windlass.limit", "a turn may take 2 decisions").permanent();
    assert_eq!(turn.turn.decisions, [Decision::Fail { failure }]);
}

#[test]
fn the_outstanding_tasks_of_an_execution_are_limited() {
    let limits = TurnLimits {
        tasks: 2,
        ..TurnLimits::default()
    };
    let one_by_one = vec![call("a"), call("b"), call("c")];
    let mut patient = player_with(&[one_by_one], limits, Vec::new());
    for arrivals in [vec![begin()], vec![done(1)], vec![done(2)], vec![done(3)]] {
        let decisions = patient.advance(Timestamp(1), arrivals).unwrap().turn.decisions;
        assert!(!matches!(decisions[..], [Decision::Fail { .. }]), "{decisions:?}");
    }
    let mut greedy = player_with(&["a", "b", "c"].map(|name| vec![call(name)]), limits, Vec::new());
    let turn = greedy.advance(Timestamp(1), vec![begin()]).unwrap();
    let failure = Failure::new("windlass.limit", "2 tasks may wait for their outcomes").permanent();
    assert_eq!(turn.turn.decisions, [Decision::Fail { failure }]);
}

#[test]
fn the_names_in_a_retry_policy_count_as_bytes_of_the_turn() {
    let policy = RetryPolicy {
        first_interval_ms: 1,
        backoff_coefficient: 1.0,
        max_interval_ms: 1,
        max_attempts: 2,
        non_retryable_error_types: vec!["x".repeat(600)],
    };
    let options = ActivityOptions {
        retry: Some(policy),
        ..ActivityOptions::default()
    };
    let limits = TurnLimits {
        decision_bytes: 1_000,
        ..TurnLimits::default()
    };
    let strands = [0, 1].map(|_| vec![Op::CallWith("a".into(), options.clone())]);
    let mut player = player_with(&strands, limits, Vec::new());
    let turn = player.advance(Timestamp(1), vec![begin()]).unwrap();
    let failure = Failure::new("windlass.limit", "the decisions of a turn may hold 1000 bytes").permanent();
    assert_eq!(turn.turn.decisions, [Decision::Fail { failure }]);
}

#[test]
fn a_turn_whose_decisions_have_no_memory_never_happened() {
    let strands: Vec<Vec<Op>> = (0..5).map(|_| vec![call("a")]).collect();
    let mut pending = PendingEvents::default();
    let mut run = |room| {
        let delivery = Delivery {
            locked_entities: None,
            arrivals: vec![(Place::Own, begin())],
            pending: &mut pending,
            until: Place::Own,
            budget: EventBudget::default(),
            room,
        };
        player(&strands).deliver(Timestamp(1), delivery)
    };
    let room = TurnSize {
        decisions: 1_000,
        tasks: 10_000,
    };
    for (scarce, most) in [
        (TurnSize { decisions: 100, ..room }, (200, 3_000)),
        (TurnSize { tasks: 2_500, ..room }, (400, 4_000)),
    ] {
        let Err(HostUnavailable::NoTurnMemory { needed }) = run(scarce) else {
            panic!("five calls need more memory")
        };
        assert!(!needed.fits(scarce), "{needed:?}");
        assert!(needed.decisions < most.0 && needed.tasks < most.1, "{needed:?}");
    }
    assert_eq!(run(room).unwrap().turn.decisions.len(), 5);
}

#[test]
fn the_bytes_of_outstanding_calls_are_limited() {
    let limits = TurnLimits {
        call_bytes: 150,
        ..TurnLimits::default()
    };
    let chain: Vec<Vec<Op>> = vec![(0..5).map(|n| call(&format!("a{n}"))).collect()];
    let mut one_by_one = player_with(&chain, limits, Vec::new());
    let turn = one_by_one.advance(Timestamp(1), vec![begin()]).unwrap().turn;
    assert!(!turn.is_last());
    for task in 1..5 {
        let ended = Arrival::TaskEnded {
            task: TaskId(task),
            outcome: Ok(Payload::null()),
        };
        let turn = one_by_one.advance(Timestamp(2), vec![ended]).unwrap().turn;
        assert!(!turn.is_last(), "{turn:?}");
    }
    let strands: Vec<Vec<Op>> = (0..5).map(|_| vec![call("a")]).collect();
    let mut at_once = player_with(&strands, limits, Vec::new());
    let turn = at_once.advance(Timestamp(1), vec![begin()]).unwrap().turn;
    let message = "the calls that wait for their outcomes may hold 150 bytes";
    let failure = Failure::new(types::LIMIT, message).permanent();
    assert_eq!(turn.decisions, [Decision::Fail { failure }]);
}

#[test]
fn the_log_lines_of_a_turn_are_limited_in_number() {
    let limits = TurnLimits {
        log_lines: 3,
        ..TurnLimits::default()
    };
    let mut player = player_with(&[vec![Op::Log; 10]], limits, Vec::new());
    let logs = player.advance(Timestamp(1), vec![begin()]).unwrap().logs;
    assert_eq!(logs.len(), 4);
    assert_eq!(logs[3].message, "7 log lines dropped: limit of a turn reached");
}

#[test]
fn limits_do_not_apply_to_replay() {
    let strands: Vec<Vec<Op>> = (0..5).map(|_| vec![call("a")]).collect();
    let row = player(&strands).advance(Timestamp(1), vec![begin()]).unwrap().turn;
    let limits = TurnLimits {
        decisions: 2,
        tasks: 1,
        call_bytes: 1,
        decision_bytes: 1,
        locked_entities: 0,
        log_bytes: 0,
        log_lines: 0,
        turns: 0,
        history_bytes: 0,
    };
    assert_eq!(player_with(&strands, limits, Vec::new()).replay(&row), Ok(()));
}

/// Records with one program and replays with another.
fn check_changed(recorded: &[Vec<Op>], now: &[Vec<Op>], turns: Vec<Vec<Arrival>>, expected: Expect) {
    let mut recorder = player(recorded);
    let mut replayer = player(now);
    for (n, mut arrivals) in (0..).zip(turns) {
        if n == 0 {
            arrivals.insert(0, begin());
        }
        let row = recorder.advance(Timestamp(1_000 + n), arrivals).unwrap().turn;
        match replayer.replay(&row) {
            Ok(()) => {}
            Err(ReplayError::Stuck(reason)) => {
                return expected.assert_eq(&format!("{}: {}", reason.code, reason.message));
            }
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the change was not detected");
}

#[test]
fn renaming_an_activity_is_reported_as_nondeterminism() {
    check_changed(
        &[vec![call("charge")]],
        &[vec![call("refund")]],
        vec![vec![]],
        expect![[
            r#"nondeterminism: turn 1: history calls activity "charge" as task 1, the code now calls activity "refund" as task 1"#
        ]],
    );
}

#[test]
fn a_removed_step_is_reported() {
    check_changed(
        &[vec![call("a"), call("b")]],
        &[vec![call("a")]],
        vec![vec![], vec![done(1)]],
        expect![[r#"nondeterminism: turn 2: history calls activity "b" as task 2, the code now completes"#]],
    );
}

#[test]
fn an_added_step_is_reported() {
    check_changed(
        &[vec![call("a")]],
        &[vec![call("a")], vec![call("b")]],
        vec![vec![]],
        expect![[r#"nondeterminism: turn 1: history ends the turn there, the code now calls activity "b" as task 2"#]],
    );
}

#[test]
fn a_premature_end_is_reported() {
    check_changed(
        &[vec![call("a")]],
        &[vec![]],
        vec![vec![]],
        expect![[r#"nondeterminism: turn 1: history calls activity "a" as task 1, the code now completes"#]],
    );
}

#[test]
fn payloads_and_statuses_may_change() {
    let row = {
        let mut player = player(&[vec![Op::Status(1), call("a")]]);
        player.advance(Timestamp(1), vec![begin()]).unwrap().turn
    };
    let mut changed = row.clone();
    if let Decision::CallActivity { input, .. } = &mut changed.decisions[0] {
        *input = Payload::of(&"written another way");
    }
    assert_eq!(player(&[vec![Op::Status(2), call("a")]]).replay(&changed), Ok(()));
}

#[test]
fn the_last_custom_status_of_a_turn_wins() {
    let mut player = player(&[vec![Op::Status(1), Op::Status(2), call("a")]]);
    let turn = player.advance(Timestamp(1), vec![begin()]).unwrap();
    assert_eq!(turn.custom_status, Some(Payload::of(&2)));
    assert_eq!(turn.turn.decisions.len(), 1, "a status is not a decision");
}

#[test]
fn a_request_for_cancellation_completes_every_wait_and_stays() {
    use super::script::Cancelled::{Ends, GoesOn};
    let cancel = |reason: &str| Arrival::CancelRequested { reason: reason.into() };
    let program = [
        vec![Op::CancelledOrSleep(50, GoesOn), Op::CancelledOrSleep(50, GoesOn)],
        vec![Op::CancelledOrSleep(50, GoesOn)],
        vec![call("a"), Op::CancelledOrSleep(50, Ends)],
    ];
    let mut new = player(&program);
    let turns = [
        vec![begin()],
        vec![cancel("first")],
        vec![cancel("second")],
        vec![done(5)],
    ];
    let turns = turns.map(|arrivals| new.advance(Timestamp(1), arrivals).unwrap().turn);
    expect![[r#"
        [WaitForCancellation { task: TaskId(1) }, CreateTimer { task: TaskId(2), fire_at: Timestamp(51) }, WaitForCancellation { task: TaskId(3) }, CreateTimer { task: TaskId(4), fire_at: Timestamp(51) }]
        [CancelTask { task: TaskId(2) }, WaitForCancellation { task: TaskId(6) }, CreateTimer { task: TaskId(7), fire_at: Timestamp(51) }, CancelTask { task: TaskId(4) }, CancelTask { task: TaskId(7) }]
        []
        [WaitForCancellation { task: TaskId(8) }, CreateTimer { task: TaskId(9), fire_at: Timestamp(51) }, CancelTask { task: TaskId(9) }, Fail { failure: Failure { error_type: "windlass.cancelled", message: "as asked", details: None, non_retryable: true, causes: [] } }]
    "#]]
    .assert_eq(&turns.iter().fold(String::new(), |text, turn| {
        let decided = turn
            .decisions
            .iter()
            .filter(|decision| !matches!(decision, Decision::CallActivity { .. }));
        format!("{text}{:?}\n", decided.collect::<Vec<_>>())
    }));
    let mut cold = player(&program);
    turns.iter().for_each(|turn| assert_eq!(cold.replay(turn), Ok(())));
}

#[test]
fn what_happens_to_a_child_at_the_end_may_change() {
    let left = |policy| vec![Op::ChildLeft("c".into(), policy, 5), call("a")];
    let plain = vec![Op::ChildOrSleep("c".into(), 5)];
    let turn = |strand: &Vec<Op>| {
        let mut player = player(std::slice::from_ref(strand));
        player.advance(Timestamp(1), vec![begin()]).unwrap().turn
    };
    let programs = [left(ParentClose::Cancel), left(ParentClose::Abandon), plain];
    for recorded in &programs {
        for now in &programs {
            assert_eq!(player(std::slice::from_ref(now)).replay(&turn(recorded)), Ok(()));
        }
    }
}

#[test]
fn a_withdrawn_wait_for_cancellation_does_not_complete() {
    let program = [vec![Op::CancelledOrSleep(5, super::script::Cancelled::Ends), call("a")]];
    let mut player = player(&program);
    player.advance(Timestamp(1), vec![begin()]).unwrap();
    player.advance(Timestamp(6), vec![fired(2)]).unwrap();
    let reason = String::from("late");
    let turn = player
        .advance(Timestamp(7), vec![Arrival::CancelRequested { reason }, done(3)])
        .unwrap()
        .turn;
    assert!(matches!(&turn.decisions[..], [Decision::Complete { .. }]), "{turn:?}");
}

#[test]
fn code_that_waits_only_for_cancellation_does_not_wait_for_nothing() {
    let mut execution = crate::replay::Execution::new(
        "i".parse().unwrap(),
        std::sync::Arc::new(super::script::started(Vec::new())),
        std::sync::Arc::new(super::script::Functions),
        TurnLimits::default(),
    );
    begin_turn(&mut execution, Timestamp(1), Vec::new());
    execution.wait_for_cancellation().unwrap();
    assert_eq!(execution.wait(), Ok(crate::replay::Waited::Quiescent));
    assert_eq!(execution.cancellation_requested(), Ok(None));
}

#[test]
fn waiting_for_nothing_fails_instead_of_hanging() {
    let mut execution = crate::replay::Execution::new(
        "i".parse().unwrap(),
        std::sync::Arc::new(super::script::started(Vec::new())),
        std::sync::Arc::new(super::script::Functions),
        TurnLimits::default(),
    );
    begin_turn(&mut execution, Timestamp(1), vec![raised("x", 1)]);
    assert_eq!(execution.wait(), Err(crate::replay::Interrupt::WaitsForNothing));
}

#[test]
fn poll_sees_a_clock_subscription_and_wait_does_not() {
    let mut execution = crate::replay::Execution::new(
        "i".parse().unwrap(),
        std::sync::Arc::new(super::script::started(Vec::new())),
        std::sync::Arc::new(super::script::Functions),
        TurnLimits::default(),
    );
    begin_turn(&mut execution, Timestamp(1), vec![fired(1), done(2)]);
    let timer = execution.create_poll_timer(Timestamp(50)).unwrap();
    let call = execution.call_activity("a", "1", ActivityOptions::default()).unwrap();
    assert!(!execution.is_ready(timer.0) && !execution.is_ready(call));
    assert_eq!(
        execution.apply_next_arrival(),
        Ok(crate::replay::Applied::Settled(timer.0))
    );
    assert!(execution.is_ready(timer.0) && !execution.is_ready(TaskId(2)));
    let crate::replay::Waited::Ready(ready) = execution.wait().unwrap() else {
        panic!("an outcome arrived")
    };
    assert_eq!(ready[0].task, call);
}

#[test]
fn recorded_turns_replay_whatever_the_limit_of_locks_is_today() {
    let program = [vec![
        Op::Lock(vec!["b".into(), "a".into()]),
        Op::Unlock,
        Op::Event("go".into()),
    ]];
    for (limit, is_refused) in [(None, false), (Some(2), false), (Some(1), true)] {
        let mut first = player(&program);
        let delivery = Delivery {
            arrivals: vec![(Place::Own, begin())],
            pending: &mut PendingEvents::default(),
            until: Place::Own,
            budget: EventBudget::default(),
            room: TurnSize::MAX,
            locked_entities: limit,
        };
        let turn = first.deliver(Timestamp(1), delivery).unwrap().turn;
        let refused = |decision: &Decision| matches!(decision, Decision::Refused { .. });
        assert_eq!(turn.decisions.iter().any(refused), is_refused, "{limit:?}");
        assert_eq!(player(&program).replay(&turn), Ok(()), "{limit:?}");
    }
}
