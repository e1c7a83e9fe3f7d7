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

#[tokio::test]
async fn an_unreadable_broadcast_is_set_aside_and_shown() {
    let store = TestStore::new().await;
    let new = |id: &str| NewBroadcast {
        tenant: TENANT,
        key: key(id, 1).unwrap(),
        event: crate::model::Event {
            name: "Stop".parse().unwrap(),
            payload: payload("1"),
        },
        filter: ListFilter::default(),
        at: NOW,
    };
    for id in ["a", "b"] {
        store.create_broadcast(new(id)).await.unwrap();
    }
    store
        .damage("UPDATE broadcasts SET filter = '{\"later\":1}' WHERE id = 'a'")
        .await;
    let NextBroadcast::Unreadable { tenant, id, error } = store.next_broadcast(None).await.unwrap().unwrap() else {
        panic!("it is damaged");
    };
    assert_eq!((tenant, id.as_str()), (TENANT, "a"));
    let end = EndBroadcast {
        tenant,
        id,
        end: BroadcastEnd::Unreadable(format!("{error}{}", "ä".repeat(200))),
        at: NOW,
    };
    assert_eq!(store.end_broadcast(end.clone()).await.unwrap(), EndOfBroadcast::Ended);
    assert_eq!(store.end_broadcast(end).await.unwrap(), EndOfBroadcast::EndedBefore);
    let page = store.tenant(TENANT).broadcasts(None, 10).await.unwrap();
    let ended = page.broadcasts[0].ended.as_ref();
    assert!(
        matches!(ended, Some((NOW, BroadcastEnd::Unreadable(why))) if why.contains("later") && why.len() <= 200),
        "{ended:?}"
    );
    // The one behind it goes on.
    let next = store.next_broadcast(None).await.unwrap().unwrap();
    assert!(matches!(next, NextBroadcast::Readable(next) if next.id == "b"));
    store.assert_sound().await;
}
