//! Many operations in one transaction.

use super::*;

over_every_backend! {
    with_module:
    one_bad_commit_does_not_fail_its_neighbours,
    a_commit_that_contradicts_the_stored_state_does_not_split_its_batch,
    commits_of_one_instance_keep_their_order_within_a_batch,
    batches_of_every_size_are_written_completely,
    an_operation_sees_the_changes_of_earlier_operations_in_its_batch,
}

async fn one_bad_commit_does_not_fail_its_neighbours(store: TestStore) {
    let mut numbers = Vec::new();
    for n in 0..9 {
        numbers.push(store.running(&format!("i{n}")).await);
    }
    let commits = numbers.iter().enumerate().map(|(n, number)| match n {
        4 => poisoned(last_turn(*number, 2)),
        _ => last_turn(*number, 2),
    });
    let answers = futures::future::join_all(commits.map(|commit| store.commit(commit))).await;
    for (n, answer) in answers.iter().enumerate() {
        match n {
            4 => assert!(matches!(answer, Err(Error::Database(_))), "{answer:?}"),
            _ => assert!(answer.is_ok(), "{answer:?}"),
        }
        let expected = if n == 4 {
            InstanceStatus::Running
        } else {
            InstanceStatus::Completed
        };
        assert_eq!(store.status(&format!("i{n}")).await, Some(expected));
    }
    assert_eq!(store.stats().failures, 1);
    store.commit(last_turn(numbers[4], 2)).await.unwrap();
    store.assert_sound().await;
}

async fn a_commit_that_contradicts_the_stored_state_does_not_split_its_batch(store: TestStore) {
    let (a, b, c) = (
        store.running("a").await,
        store.running("b").await,
        store.running("c").await,
    );
    let commits = vec![last_turn(a, 2), last_turn(b, 7), last_turn(c, 2)];
    let answers = in_batches(
        &store,
        1,
        commits.into_iter().map(|commit| store.commit(commit)).collect(),
    )
    .await;
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert!(matches!(answers[1], Err(Error::Contradiction(_))));
}

async fn commits_of_one_instance_keep_their_order_within_a_batch(store: TestStore) {
    let number = store.running("a").await;
    let mut commits: Vec<_> = (2..7).map(|n| turn(number, n, vec![], vec![])).collect();
    commits[1].summary.custom_status = Some(Some(payload("\"kept\"")));
    commits.push(last_turn(number, 7));
    commits.push(last_turn(number, 8));
    let answers = in_batches(
        &store,
        1,
        commits.into_iter().map(|commit| store.commit(commit)).collect(),
    )
    .await;
    assert!(
        answers[..6]
            .iter()
            .all(|answer| !answer.as_ref().unwrap().instance_gone)
    );
    assert!(answers[6].as_ref().unwrap().instance_gone);
    let details = store.details("a").await.unwrap();
    assert_eq!(details.summary.status, InstanceStatus::Completed);
    assert_eq!(details.summary.custom_status, Some(payload("\"kept\"")));
    assert_eq!(details.summary.fuel, 7_000);
    store.assert_sound().await;
}

async fn batches_of_every_size_are_written_completely(store: TestStore) {
    let mut total = 0;
    for size in [1, 2, 7, 8, 9, 31, 33, 127, 128, 129, 200, 256] {
        let names: Vec<_> = (0..size).map(|n| format!("{size}-{n}")).collect();
        let answers = futures::future::join_all(names.iter().map(|name| store.start(instance(name), None))).await;
        assert!(
            answers
                .iter()
                .all(|answer| matches!(answer, Ok(StartOutcome::Created(_))))
        );
        total += i64::from(size);
        assert_eq!(
            (store.rows("instances").await, store.rows("inbox").await),
            (total, total)
        );
    }
    store.assert_sound().await;
}

async fn an_operation_sees_the_changes_of_earlier_operations_in_its_batch(store: TestStore) {
    let number = store.running("a").await;
    let reason = StuckReason {
        code: "nondeterminism".into(),
        message: String::new(),
    };
    let (ended, stuck, dropped, purged, unknown, restarted) = tokio::join!(
        store.commit(last_turn(number, 2)),
        store.mark_stuck(number, reason, NOW),
        store.deliver(number, event("late")),
        store.purge(TENANT, id("a")),
        store.purge(TENANT, id("a")),
        store.start(instance("a"), None),
    );
    assert!(!ended.unwrap().instance_gone);
    assert!(!stuck.unwrap());
    assert_eq!(dropped.unwrap(), None);
    assert_eq!(purged.unwrap(), PurgeOutcome::Purged);
    assert_eq!(unknown.unwrap(), PurgeOutcome::Unknown);
    assert!(matches!(restarted.unwrap(), StartOutcome::Created(_)));
    assert_eq!(store.stats().failures, 0);
    store.sweep_all(NOW).await;
    store.assert_sound().await;
}
