//! Folds of histories for queries.

use super::*;
use crate::model::Rewinds;

over_every_backend! {
    with_module:
    a_fold_gets_all_turns_of_the_current_execution_and_the_last_attempts,
    a_history_that_is_too_large_is_not_read,
    a_fold_that_refuses_a_turn_is_damage,
}

/// Notes the numbers of the turns, and asks for two tasks and two instances.
#[derive(Debug, Default)]
struct Numbers {
    turns: Vec<u32>,
    refuses: bool,
}

impl HistoryFold for Numbers {
    fn begin(&mut self, rewinds: &Rewinds) {
        assert_eq!(rewinds, &Rewinds::none(ExecutionNumber::FIRST));
    }

    fn add(&mut self, turn: Turn) -> Result<(), String> {
        self.turns.push(turn.number.0);
        if self.refuses { Err("refused".into()) } else { Ok(()) }
    }

    fn tasks(&self) -> Vec<TaskId> {
        vec![TaskId(1), TaskId(2)]
    }

    fn instances(&self, attempts: &BTreeMap<TaskId, AttemptRow>) -> Vec<InstanceId> {
        assert!(!attempts.contains_key(&TaskId(2)), "task 2 has no attempts");
        vec![id("other"), id("missing")]
    }
}

async fn fold(store: &TestStore, name: &str) -> Result<Option<Folded<Numbers>>, Error> {
    store.tenant(TENANT).folded(&id(name), Numbers::default()).await
}

async fn a_fold_gets_all_turns_of_the_current_execution_and_the_last_attempts(store: TestStore) {
    let number = store.running("a").await;
    store.ended("other").await;
    for ordinal in [1, 2] {
        let mut row = attempt(1, ordinal);
        row.failure.message = "é".repeat(1_000);
        store.note_attempt(number, row, vec![], u64::MAX, None).await.unwrap();
    }
    store.commit(turn(number, 2, vec![], vec![])).await.unwrap();
    let folded = fold(&store, "a").await.unwrap().unwrap();
    assert_eq!(folded.fold.turns, [1, 2]);
    assert!(!folded.is_too_long);
    assert_eq!(folded.details, store.details("a").await.unwrap());
    let last = &folded.attempts[&TaskId(1)];
    assert_eq!((last.ordinal, last.failure.message.len()), (2, 512));
    let state = (InstanceStatus::Completed, None);
    assert_eq!(folded.instances, BTreeMap::from([(id("other"), state)]));
    assert!(fold(&store, "missing").await.unwrap().is_none());
    let other_tenant = store.tenant(TenantId(2));
    let other = other_tenant.folded(&id("a"), Numbers::default()).await;
    assert!(other.unwrap().is_none());
}

async fn a_history_that_is_too_large_is_not_read(store: TestStore) {
    let number = store.running("a").await;
    let half = payload(&format!("\"{}\"", "x".repeat(9 << 20)));
    for (turn_number, complete) in [(2, true), (3, false)] {
        let arrival = task_ended(1, Ok(half.clone()));
        store
            .commit(turn(number, turn_number, vec![arrival], vec![]))
            .await
            .unwrap();
        let folded = fold(&store, "a").await.unwrap().unwrap();
        assert_eq!(folded.is_too_long, !complete);
        assert_eq!(folded.fold.turns.len(), if complete { 2 } else { 0 });
    }
}

async fn a_fold_that_refuses_a_turn_is_damage(store: TestStore) {
    store.running("a").await;
    let refusing = Numbers {
        refuses: true,
        ..Numbers::default()
    };
    let error = store.tenant(TENANT).folded(&id("a"), refusing).await.unwrap_err();
    assert!(matches!(error, Error::Damaged(_)), "{error}");
    assert!(error.to_string().contains("refused"), "{error}");
}
