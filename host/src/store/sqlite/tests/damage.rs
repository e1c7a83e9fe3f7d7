//! Rows that cannot be read.

use super::*;

#[tokio::test]
async fn the_error_names_an_unreadable_message() {
    let store = TestStore::new().await;
    let number = store.started("a").await;
    store.damage("UPDATE inbox SET item = x'09'").await;
    let error = store.load(number).await.unwrap_err();
    assert!(
        matches!(&error, Error::Damaged(what) if what.contains(&format!("inbox of instance {number}"))),
        "{error}"
    );
}

#[tokio::test]
async fn the_error_names_a_damaged_or_missing_turn() {
    let store = TestStore::new().await;
    let number = store.running("a").await;
    for n in 2..=4 {
        store.commit(turn(number, n, vec![], vec![])).await.unwrap();
    }
    let read = async || match store
        .history(number, ExecutionNumber::FIRST, TurnNumber::NONE, 10)
        .await
    {
        Err(Error::Damaged(what)) => what,
        other => panic!("not damaged: {other:?}"),
    };
    store.damage("UPDATE history SET body = x'7f00' WHERE turn = 3").await;
    let what = read().await;
    assert!(
        what.starts_with(&format!("turn 3 of execution 1 of instance {number}: ")),
        "{what}"
    );
    store.damage("DELETE FROM history WHERE turn = 2").await;
    let what = read().await;
    assert!(what.ends_with("turn 2 should come before it"), "{what}");
    let other = store.running("b").await;
    assert!(
        store
            .history(other, ExecutionNumber::FIRST, TurnNumber::NONE, 10)
            .await
            .is_ok()
    );
}
