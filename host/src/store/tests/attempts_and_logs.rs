//! Attempts of tasks, and what guests write.

use super::*;
use crate::model::LogLevel;

fn line(level: LogLevel, message: &str) -> LogLine {
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

#[tokio::test]
async fn attempts_are_read_as_they_were_written_by_task_and_ordinal() {
    let store = TestStore::new().await;
    let number = store.running("a").await;
    let cut_off = AttemptRow {
        cut_off: true,
        next_at: None,
        ..attempt(1, 2)
    };
    for noted in [attempt(2, 1), cut_off.clone(), attempt(1, 1)] {
        assert!(store.note_attempt(number, noted, vec![], u64::MAX, None).await.unwrap());
    }
    let attempts = store.load(number).await.unwrap().unwrap().attempts;
    assert_eq!(attempts, [attempt(1, 1), cut_off, attempt(2, 1)]);
    let page = store
        .tenant(TENANT)
        .history(&id("a"), TurnNumber::NONE, 10)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page.attempts, attempts);
}

#[tokio::test]
async fn an_attempt_is_noted_for_the_current_execution_of_a_live_instance_only() {
    let store = TestStore::new().await;
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
        "what an activity wrote after the end is kept for people"
    );
}

#[tokio::test]
async fn a_log_is_read_in_order_by_level_and_position() {
    let store = TestStore::new().await;
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

#[tokio::test]
async fn the_log_of_an_instance_that_continues_for_ever_stays_bounded() {
    let store = TestStore::new().await;
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
        commit.consumed = store.inbox(number).await.iter().map(|row| row.seq).collect();
        store.commit(commit).await.unwrap();
        store.sweep_all(NOW).await;
    }
    let rows = store.tenant(TENANT).logs(&id("a"), &all()).await.unwrap().unwrap();
    let executions: Vec<_> = rows.iter().map(|row| row.line.execution.0).collect();
    assert_eq!(
        executions,
        (22..=30).collect::<Vec<_>>(),
        "those of the ten latest executions, of which one is to come"
    );
    assert_eq!((store.rows("history").await, store.rows("garbage").await), (0, 0));
}
