//! A writer after another one has taken over. Only the simulated disk can be opened twice.

use super::*;

#[tokio::test]
async fn a_writer_whose_partitions_were_taken_over_writes_nothing_and_stops() {
    let Place::Memory(disk) = Place::memory() else {
        unreachable!("it is in memory")
    };
    let first = TestStore::with_module(Place::Memory(disk.clone())).await;
    let a = first.running("a").await;
    let second = TestStore::empty(Place::Memory(disk)).await;

    let late = first.commit(last_turn(a, 2)).await;
    assert!(matches!(late, Err(Error::Closed | Error::NotOwner)), "{late:?}");
    let ended = first.service.await.unwrap();
    assert!(matches!(ended, Err(Error::NotOwner)), "{ended:?}");

    assert_eq!(second.status("a").await, Some(InstanceStatus::Running));
    second.commit(last_turn(a, 2)).await.unwrap();
    assert_eq!(second.status("a").await, Some(InstanceStatus::Completed));
    second.assert_sound().await;
}
