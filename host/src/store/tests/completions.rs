//! Calls that are completed from outside.

use super::{attempts_and_logs::calling, attempts_and_logs::so_far, queries::history_page, *};

over_every_backend! {
    with_module:
    a_token_is_used_once_and_its_output_becomes_a_message,
    a_failure_from_outside_is_an_attempt_that_the_retry_policy_was_not_applied_to,
    an_attempt_that_ends_by_itself_or_is_followed_by_another_voids_its_token,
    waits_that_are_over_are_found_in_order,
    completions_end_and_are_deleted_with_their_instance,
}

fn completion(task: u32, token: u8) -> Completion {
    Completion {
        execution: ExecutionNumber::FIRST,
        task: TaskId(task),
        token: TokenHash([token; 32]),
        state: CompletionState::Running,
        attempt: 1,
        ordinal: 1,
        fuel: 0,
        started_at: NOW,
        expires_at: None,
    }
}

fn output(task: u32) -> CompletionChange {
    CompletionChange::Complete(InboxItem::TaskEnded {
        execution: ExecutionNumber::FIRST,
        task: TaskId(task),
        attempt: 0,
        outcome: Ok(payload("\"yes\"")),
    })
}

fn failure(task: u32) -> CompletionChange {
    let row = AttemptRow {
        next_at: None,
        ..attempt(task, 1)
    };
    CompletionChange::Fail(Box::new(row), CompletionState::Used)
}

async fn change(
    store: &TestStore,
    number: InstanceNumber,
    completion: Completion,
    change: CompletionChange,
) -> CompletionOutcome {
    let changed = store.change_completion(number, completion, change, vec![], u64::MAX);
    let changed = changed.await.unwrap();
    store.assert_sound().await;
    changed
}

const DONE: CompletionOutcome = CompletionOutcome::Changed(None);

async fn state(store: &TestStore, token: u8) -> Option<CompletionState> {
    let found = store.completion_of_token(TokenHash([token; 32])).await.unwrap()?;
    assert_eq!((found.tenant, found.instance_id), (TENANT, id("a")));
    Some(found.completion.state)
}

async fn a_token_is_used_once_and_its_output_becomes_a_message(store: TestStore) {
    let number = calling(&store, &[1]).await;
    let call = completion(1, 7);
    assert_eq!(state(&store, 7).await, None);
    let wait = || CompletionChange::Wait { fuel: 5 };
    assert_eq!(
        change(&store, number, call.clone(), wait()).await,
        CompletionOutcome::Gone
    );
    assert_eq!(change(&store, number, call.clone(), CompletionChange::Open).await, DONE);
    assert_eq!(state(&store, 7).await, Some(CompletionState::Running));
    assert_eq!(change(&store, number, call.clone(), wait()).await, DONE);
    assert_eq!(state(&store, 7).await, Some(CompletionState::Waiting));
    assert!(so_far(&store, number, 1).await.waits);
    let waiting = async |after| {
        let page = store.open_completions(number, ExecutionNumber::FIRST, after, 10);
        page.await.unwrap().len()
    };
    assert_eq!((waiting(None).await, waiting(Some(TaskId(1))).await), (1, 0));
    assert!(store.load(number).await.unwrap().unwrap().has_attempts);
    let other = Completion {
        token: TokenHash([8; 32]),
        ..call.clone()
    };
    assert_eq!(change(&store, number, other, output(1)).await, CompletionOutcome::Gone);
    let both = tokio::join!(
        store.change_completion(number, call.clone(), output(1), vec![], u64::MAX),
        store.change_completion(number, call.clone(), output(1), vec![], u64::MAX),
    );
    assert!(matches!(both.0.unwrap(), CompletionOutcome::Changed(Some(_))));
    assert_eq!(both.1.unwrap(), CompletionOutcome::Refused(CompletionState::Used));
    assert_eq!(state(&store, 7).await, Some(CompletionState::Used));
    assert_eq!(waiting(None).await, 0);
    let ended = |row: &InboxRow| matches!(&row.item, InboxItem::TaskEnded { outcome: Ok(_), .. });
    assert_eq!(store.inbox(number).await.iter().filter(|row| ended(row)).count(), 1);
    let found = store
        .completion(number, ExecutionNumber::FIRST, TaskId(1))
        .await
        .unwrap();
    assert_eq!(found.unwrap().fuel, 5);
    let page = history_page(&store, "a", HistoryFrom::Turn(TurnNumber::NONE), 10).await;
    assert_eq!(page.completions.len(), 1);
    store.assert_sound().await;
}

async fn a_failure_from_outside_is_an_attempt_that_the_retry_policy_was_not_applied_to(store: TestStore) {
    let number = calling(&store, &[1]).await;
    change(&store, number, completion(1, 7), CompletionChange::Open).await;
    // Even while the attempt runs.
    assert_eq!(change(&store, number, completion(1, 7), failure(1)).await, DONE);
    let noted = so_far(&store, number, 1).await;
    assert_eq!((noted.noted, noted.failed), (1, 1));
    assert!(noted.undecided.is_some());
    for late in [
        CompletionChange::Close,
        CompletionChange::Wait { fuel: 1 },
        failure(1),
        output(1),
    ] {
        let refused = change(&store, number, completion(1, 7), late).await;
        assert_eq!(refused, CompletionOutcome::Refused(CompletionState::Used));
    }
    assert_eq!(store.rows("attempts").await, 1);
}

async fn an_attempt_that_ends_by_itself_or_is_followed_by_another_voids_its_token(store: TestStore) {
    let number = calling(&store, &[1]).await;
    change(&store, number, completion(1, 7), CompletionChange::Open).await;
    let before = store.stored_bytes(TENANT);
    assert_eq!(
        change(&store, number, completion(1, 7), CompletionChange::Close).await,
        DONE
    );
    let refused = change(&store, number, completion(1, 7), output(1)).await;
    assert_eq!(refused, CompletionOutcome::Refused(CompletionState::Void));
    change(&store, number, completion(1, 8), CompletionChange::Open).await;
    assert_eq!(
        (state(&store, 7).await, state(&store, 8).await),
        (None, Some(CompletionState::Running))
    );
    assert_eq!(
        change(&store, number, completion(1, 7), output(1)).await,
        CompletionOutcome::Gone
    );
    assert_eq!(store.stored_bytes(TENANT), before);
    assert_eq!(store.rows("completions").await, 1);
}

async fn waits_that_are_over_are_found_in_order(store: TestStore) {
    let number = calling(&store, &[1, 2, 3]).await;
    assert_eq!(store.next_expiry().await.unwrap(), None);
    for (task, expires_at) in [(1, Some(30)), (2, Some(10)), (3, None)] {
        let call = Completion {
            expires_at: expires_at.map(Timestamp),
            ..completion(task, u8::try_from(task).unwrap())
        };
        change(&store, number, call.clone(), CompletionChange::Open).await;
        assert_eq!(
            change(&store, number, call, CompletionChange::Wait { fuel: 0 }).await,
            DONE
        );
    }
    assert_eq!(store.next_expiry().await.unwrap(), Some(Timestamp(10)));
    let over = async |now, limit| {
        let found = store.expired_completions(Timestamp(now), limit).await.unwrap();
        found.iter().map(|found| found.completion.task.0).collect::<Vec<_>>()
    };
    assert!(over(9, 9).await.is_empty());
    assert_eq!(over(30, 9).await, [2, 1]);
    assert_eq!(over(30, 1).await, [2]);
    change(&store, number, completion(2, 2), failure(2)).await;
    assert_eq!(over(30, 9).await, [1]);
    assert_eq!(store.next_expiry().await.unwrap(), Some(Timestamp(30)));
}

async fn completions_end_and_are_deleted_with_their_instance(store: TestStore) {
    let number = calling(&store, &[1]).await;
    let call = Completion {
        expires_at: Some(Timestamp(10)),
        ..completion(1, 7)
    };
    change(&store, number, call.clone(), CompletionChange::Open).await;
    change(&store, number, call.clone(), CompletionChange::Wait { fuel: 0 }).await;
    store.commit(last_turn(number, 3)).await.unwrap();
    assert_eq!(
        change(&store, number, call.clone(), output(1)).await,
        CompletionOutcome::Gone
    );
    // The end of its time is not found again.
    assert_eq!(change(&store, number, call, failure(1)).await, CompletionOutcome::Gone);
    assert_eq!(store.next_expiry().await.unwrap(), None);
    assert_eq!(store.rows("attempts").await, 0);
    store.purge(TENANT, id("a")).await.unwrap();
    assert_eq!(state(&store, 7).await, None);
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("completions").await, 0);
    store.assert_sound().await;
}
