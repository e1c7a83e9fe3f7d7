//! The readers for clients: separate from the engine's, limited, and consistent within an answer.

use std::{task::Poll, time::Duration};

use futures::FutureExt as _;

use super::*;
use crate::{
    model::{Arrival, Event, Started},
    store::{
        backend,
        sqlite::people::{Asker, MAX_ASKING, People, Reader},
    },
};

const OTHER: Asker = Some(TenantId(2));

impl TestStore {
    fn people(&self) -> &People {
        match &self.store.people {
            backend::People::Sqlite(people) => people,
            backend::People::Simulated(_) => panic!("not a file"),
        }
    }
}

/// Occupies as many readers as one asker can.
async fn occupy(store: &TestStore, asker: Asker) -> Vec<Reader> {
    let mut readers = Vec::new();
    while readers.len() + 1 < StoreOptions::new("").people_readers as usize {
        readers.push(store.people().read(asker).await.unwrap());
    }
    readers
}

#[tokio::test]
async fn queries_of_one_tenant_delay_neither_other_tenants_nor_the_engine() {
    let store = TestStore::new().await;
    let number = store.running("a").await;
    let occupied = occupy(&store, Some(TENANT)).await;
    let tenant = store.tenant(TENANT);
    let filter = ListFilter::default();
    let mut waits = Box::pin(tenant.list(&filter, None, 10));
    assert!(matches!(futures::poll!(&mut waits), Poll::Pending));
    assert!(store.tenant(TenantId(2)).list(&filter, None, 10).await.is_ok());
    assert!(
        store.tenant(TENANT).holdings().await.is_ok(),
        "administrators have their own share"
    );

    // All readers are occupied.
    let other = store.people().read(OTHER).await.unwrap();
    assert!(store.load(number).await.unwrap().is_some());
    let addressee = tenant.addressee(&id("a")).await.unwrap();
    assert_eq!(addressee.map(|addressee| addressee.number), Some(number));
    assert!(tenant.summary(&id("a")).await.unwrap().is_some());
    store.commit(last_turn(number, 2)).await.unwrap();

    drop((occupied, other));
    assert_eq!(waits.await.unwrap().instances.len(), 1);
    store.assert_sound().await;
}

#[tokio::test]
async fn too_many_queries_of_one_tenant_are_refused_without_affecting_others() {
    let store = TestStore::new().await;
    let occupied = occupy(&store, Some(TENANT)).await;
    let people = store.people();
    let mut waiting: Vec<_> = (occupied.len()..MAX_ASKING)
        .map(|_| Box::pin(people.read(Some(TENANT))))
        .collect();
    for waits in &mut waiting {
        assert!(waits.now_or_never().is_none());
    }
    assert!(matches!(people.read(Some(TENANT)).await, Err(Error::TooManyQueries)));
    drop(people.read(OTHER).await.unwrap());
    waiting.truncate(1);
    drop(people.read(OTHER).await.unwrap());
    assert!(
        people.read(Some(TENANT)).now_or_never().is_none(),
        "there is room to wait again"
    );
    drop(occupied);
    let reader = waiting.remove(0).await.unwrap();
    reader.finish(Ok(())).await.unwrap();
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_interrupted_and_the_next_one_is_answered() {
    let store = TestStore::open(Place::folder(), |options| options.query_time = Duration::ZERO).await;
    store
        .put_module(put_module("orders", 1, &["Order", "Child"]))
        .await
        .unwrap();
    let names: Vec<_> = (0..2_000).map(|n| format!("i{n}")).collect();
    futures::future::join_all(names.iter().map(|name| store.start(instance(name), None))).await;
    let tenant = store.tenant(TENANT);
    for _ in 0..10 {
        assert!(matches!(tenant.holdings().await, Err(Error::QueryTimedOut)));
        // Too short for a check of the clock.
        assert!(tenant.instance(&id("i1")).await.unwrap().is_some());
    }
    assert!(
        store.load(InstanceNumber(1)).await.is_ok(),
        "the engine's queries have no such limit"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_shows_one_point_in_time() {
    let store = TestStore::new().await;
    let number = store.started("a").await;
    let name = |execution: u32| payload(&format!("\"execution {execution}\""));
    let write = async {
        for execution in 1..200 {
            let inbox = store.inbox(number).await;
            let mut commit = first_turn(number, inbox);
            commit.execution = ExecutionNumber(execution);
            commit.turn = commit.turn.map(|turn| Turn {
                decisions: vec![],
                ..turn
            });
            commit.next_execution = Some(Started {
                execution: ExecutionNumber(execution + 1),
                input: name(execution + 1),
                ..started("Order", None)
            });
            commit.summary.execution = ExecutionNumber(execution + 1);
            commit.summary.last_turn = TurnNumber::NONE;
            store.commit(commit).await.unwrap();
        }
    };
    let reader = store.tenant(TENANT);
    let look = tokio::spawn(async move {
        let mut seen = 0;
        while seen < 199 {
            let details = reader.instance(&id("a")).await.unwrap().unwrap();
            seen = details.summary.execution.0;
            if seen > 1 {
                assert_eq!(details.input, Some(name(seen)), "{seen}");
            }
        }
    });
    write.await;
    look.await.unwrap();
}

#[tokio::test]
async fn one_status_at_a_time_is_read_from_a_large_turn() {
    let store = TestStore::new().await;
    store.ended("small").await;
    let number = store.running("large").await;
    let event = Event {
        name: "large".parse().unwrap(),
        payload: payload(&format!("{:?}", "x".repeat(2 << 20))),
    };
    let mut commit = last_turn(number, 2);
    commit.turn.as_mut().unwrap().arrivals.push(Arrival::EventRaised(event));
    store.commit(commit).await.unwrap();

    let people = store.people();
    let reading = people.large_turns().acquire().await.unwrap();
    assert!(store.details("small").await.unwrap().outcome.is_some());
    let mut waits = Box::pin(store.details("large"));
    let waited = tokio::time::timeout(Duration::from_millis(200), &mut waits).await;
    assert!(waited.is_err(), "another query reads a large turn");
    drop(reading);
    assert!(waits.await.unwrap().outcome.is_some());
}
