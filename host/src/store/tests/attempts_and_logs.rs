//! Attempts of tasks, and logs of guests.

use std::collections::BTreeMap;

use super::{queries::history_page, *};
use crate::model::LogLevel;

over_every_backend! {
    with_module:
    attempts_are_read_as_they_were_written_by_task_and_ordinal,
    only_the_last_attempts_are_kept_but_all_are_counted,
    a_history_page_has_only_the_attempts_of_its_turns,
    large_attempts_are_counted_but_not_all_read,
    recorded_attempts_determine_the_next_attempt,
    an_attempt_is_recorded_only_for_the_current_execution_of_a_live_instance,
    a_log_is_read_in_order_by_level_and_position,
    the_log_of_an_instance_that_continues_as_new_for_ever_is_bounded,
}

pub(super) fn line(level: LogLevel, message: &str) -> LogLine {
    LogLine {
        at: NOW,
        execution: ExecutionNumber::FIRST,
        task: Some(TaskId(1)),
        attempt: Some(2),
        level,
        message: message.into(),
    }
}

fn all() -> LogFilter {
    LogFilter {
        at_least: LogLevel::Trace,
        after: None,
        limit: 100,
    }
}

async fn attempts_are_read_as_they_were_written_by_task_and_ordinal(store: TestStore) {
    let number = calling(&store, &[1, 2]).await;
    let cut_off = AttemptRow {
        cut_off: true,
        next_at: None,
        ..attempt(1, 2)
    };
    for noted in [attempt(2, 1), cut_off.clone(), attempt(1, 1)] {
        assert!(store.note_attempt(number, noted, vec![], u64::MAX, None).await.unwrap());
    }
    let page = history_page(&store, "a", HistoryFrom::Turn(TurnNumber::NONE), 10).await;
    assert_eq!(page.attempts, [attempt(1, 1), cut_off, attempt(2, 1)]);
    assert_eq!(page.attempt_totals, BTreeMap::from([(TaskId(1), 2), (TaskId(2), 1)]));
}

/// The recorded attempts of one task.
pub(in crate::store) async fn so_far(store: &TestStore, number: InstanceNumber, task: u32) -> AttemptsSoFar {
    let tasks = [TaskId(task), TaskId(999)];
    let noted = store.attempts_so_far(number, ExecutionNumber::FIRST, &tasks).await;
    let mut noted = noted.unwrap();
    assert!(noted.len() <= 1);
    noted.remove(&TaskId(task)).unwrap_or_default()
}

async fn only_the_last_attempts_are_kept_but_all_are_counted(store: TestStore) {
    let number = calling(&store, &[1, 2]).await;
    let before = store.stored_bytes(TENANT);
    let note = async |task, ordinal| {
        let noted = store.note_attempt(number, attempt(task, ordinal), vec![], u64::MAX, None);
        assert!(noted.await.unwrap());
    };
    for ordinal in 1..=ATTEMPTS_KEPT {
        note(1, ordinal).await;
    }
    note(2, 1).await;
    let full = store.stored_bytes(TENANT);
    assert!(full > before);
    for ordinal in ATTEMPTS_KEPT + 1..=35 {
        note(1, ordinal).await;
    }
    assert_eq!(store.stored_bytes(TENANT), full);
    assert_eq!(store.rows("attempts").await, i64::from(ATTEMPTS_KEPT) + 1);
    let page = history_page(&store, "a", HistoryFrom::Turn(TurnNumber::NONE), 10).await;
    let ordinals = page.attempts.iter().map(|row| (row.task.0, row.ordinal));
    assert!(ordinals.eq((26..=35).map(|ordinal| (1, ordinal)).chain([(2, 1)])));
    assert_eq!(page.attempt_totals, BTreeMap::from([(TaskId(1), 35), (TaskId(2), 1)]));
    let noted = so_far(&store, number, 1).await;
    assert_eq!((noted.noted, noted.failed, noted.cut_offs), (35, 35, 0));
    store.assert_sound().await;
}

async fn a_history_page_has_only_the_attempts_of_its_turns(store: TestStore) {
    let number = calling(&store, &[1]).await;
    store.commit(turn(number, 3, vec![], vec![call(2)])).await.unwrap();
    for task in [1, 2, 3] {
        store
            .note_attempt(number, attempt(task, 1), vec![], u64::MAX, None)
            .await
            .unwrap();
    }
    let page = async |after, limit| {
        let page = history_page(&store, "a", HistoryFrom::Turn(TurnNumber(after)), limit).await;
        page.attempts.iter().map(|row| row.task.0).collect::<Vec<_>>()
    };
    assert_eq!(page(0, 2).await, [1]);
    assert_eq!(page(2, 10).await, [2]);
    assert_eq!(page(0, 10).await, [1, 2]);
}

async fn large_attempts_are_counted_but_not_all_read(store: TestStore) {
    let tasks: Vec<u32> = (1..=20).collect();
    let number = calling(&store, &tasks).await;
    for task in &tasks {
        let large = AttemptRow {
            failure: crate::model::Failure::new("x".repeat(100 << 10), "x".repeat(1 << 20)),
            ..attempt(*task, 1)
        };
        store.note_attempt(number, large, vec![], u64::MAX, None).await.unwrap();
    }
    let page = history_page(&store, "a", HistoryFrom::Turn(TurnNumber::NONE), 10).await;
    assert_eq!(page.attempts.len(), 11, "1 MiB of abridged failures");
    assert_eq!(page.attempt_totals.len(), tasks.len());
}

async fn recorded_attempts_determine_the_next_attempt(store: TestStore) {
    let number = store.running("a").await;
    assert_eq!(so_far(&store, number, 1).await, AttemptsSoFar::default());
    let cut_off = |ordinal| AttemptRow {
        cut_off: true,
        number: 2,
        ..attempt(1, ordinal)
    };
    for row in [attempt(1, 1), cut_off(2), cut_off(3)] {
        store.note_attempt(number, row, vec![], u64::MAX, None).await.unwrap();
    }
    let noted = so_far(&store, number, 1).await;
    let expected = AttemptsSoFar {
        has_heartbeat: false,
        waits: false,
        noted: 3,
        failed: 1,
        cut_offs: 2,
        next_at: attempt(1, 1).next_at,
        undecided: None,
    };
    assert_eq!(noted, expected);
    let undecided = AttemptRow {
        number: 2,
        next_at: None,
        ..attempt(1, 4)
    };
    store
        .note_attempt(number, undecided.clone(), vec![], u64::MAX, None)
        .await
        .unwrap();
    let noted = so_far(&store, number, 1).await;
    assert_eq!((noted.failed, noted.cut_offs, noted.next_at), (2, 0, None));
    assert_eq!(noted.undecided, Some(Box::new((undecided.failure, undecided.ended_at))));
}

/// A running instance `a` that calls an activity with each of these task numbers.
pub(in crate::store) async fn calling(store: &TestStore, tasks: &[u32]) -> InstanceNumber {
    let number = store.running("a").await;
    let calls = tasks.iter().map(|task| call(*task)).collect();
    store.commit(turn(number, 2, vec![], calls)).await.unwrap();
    number
}

fn call(task: u32) -> Decision {
    Decision::CallActivity {
        task: TaskId(task),
        function: "work".parse().unwrap(),
        input: payload("1"),
        options: crate::model::ActivityOptions::default(),
        module: ModuleNumber(1),
    }
}

async fn an_attempt_is_recorded_only_for_the_current_execution_of_a_live_instance(store: TestStore) {
    let number = store.running("a").await;
    let other = AttemptRow {
        execution: ExecutionNumber(2),
        ..attempt(1, 1)
    };
    assert!(!store.note_attempt(number, other, vec![], u64::MAX, None).await.unwrap());
    store.commit(last_turn(number, 2)).await.unwrap();
    assert!(
        !store
            .note_attempt(
                number,
                attempt(1, 1),
                vec![line(LogLevel::Info, "late")],
                u64::MAX,
                None
            )
            .await
            .unwrap()
    );
    assert!(
        !store
            .note_attempt(InstanceNumber(999_999), attempt(1, 1), vec![], u64::MAX, None)
            .await
            .unwrap()
    );
    assert_eq!(store.rows("attempts").await, 0);
    assert_eq!(
        store.rows("logs").await,
        1,
        "log lines are kept even after the instance has ended"
    );
}

async fn a_log_is_read_in_order_by_level_and_position(store: TestStore) {
    let number = store.running("a").await;
    let lines = vec![
        line(LogLevel::Info, "one"),
        line(LogLevel::Trace, "two"),
        line(LogLevel::Error, "three"),
    ];
    store
        .note_attempt(number, attempt(1, 1), lines.clone(), u64::MAX, None)
        .await
        .unwrap();
    let tenant = store.tenant(TENANT);
    let read = async |filter| tenant.logs(&id("a"), &filter).await.unwrap().unwrap();
    let rows = read(all()).await;
    assert_eq!(rows.iter().map(|row| row.line.clone()).collect::<Vec<_>>(), lines);
    assert_eq!(
        read(LogFilter {
            at_least: LogLevel::Info,
            ..all()
        })
        .await
        .len(),
        2
    );
    assert_eq!(
        read(LogFilter {
            after: Some(rows[1].seq),
            ..all()
        })
        .await,
        rows[2..]
    );
    assert_eq!(read(LogFilter { limit: 2, ..all() }).await, rows[..2]);
    assert_eq!(tenant.logs(&id("nobody"), &all()).await.unwrap(), None);
}

async fn the_log_of_an_instance_that_continues_as_new_for_ever_is_bounded(store: TestStore) {
    let empty = store.stored_bytes(TENANT);
    let number = store.started("a").await;
    for execution in 1..=30 {
        let execution = ExecutionNumber(execution);
        let mut commit = turn(number, 1, vec![], vec![]);
        commit.execution = execution;
        commit.logs = vec![LogLine {
            execution,
            ..line(LogLevel::Info, "again")
        }];
        (commit.summary.execution, commit.summary.last_turn) = (execution.next(), TurnNumber::NONE);
        commit.next_execution = Some(Started {
            execution: execution.next(),
            ..started("Order", None)
        });
        consume(&mut commit, &store.inbox(number).await);
        store.commit(commit).await.unwrap();
        if execution.0 == 25 {
            // An attempt of an execution whose log is deleted already.
            let late = vec![line(LogLevel::Info, "late")];
            let noted = store.note_attempt(number, attempt(1, 1), late, u64::MAX, None);
            assert!(!noted.await.unwrap());
        }
        store.sweep_all(NOW).await;
        store.assert_sound().await;
    }
    let counted = store.stored_bytes(TENANT);
    let rows = store.tenant(TENANT).logs(&id("a"), &all()).await.unwrap().unwrap();
    let executions: Vec<_> = rows.iter().map(|row| row.line.execution.0).collect();
    assert_eq!(
        executions,
        [22, 23, 24, 25, 1, 26, 27, 28, 29, 30],
        "those of the ten latest executions, of which one is to come"
    );
    assert_eq!((store.rows("history").await, store.rows("garbage").await), (0, 0));
    let store = store.crash().await;
    assert_eq!(store.stored_bytes(TENANT), counted);
    let mut last = turn(number, 1, vec![], vec![]);
    last.execution = ExecutionNumber(31);
    last.summary.execution = last.execution;
    last.summary.status = InstanceStatus::Completed;
    consume(&mut last, &store.inbox(number).await);
    store.commit(last).await.unwrap();
    store.purge(TENANT, id("a")).await.unwrap();
    assert_eq!(store.stored_bytes(TENANT), empty, "logs go with their instance");
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("logs").await, 0);
    store.assert_sound().await;
}
