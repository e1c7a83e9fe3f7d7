//! The length of SQLite's log, with and without long readers.

use std::task::Poll;

use sqlx::Connection as _;

use super::*;
use crate::store::{
    backend::Upkeep,
    sqlite::{
        checkpoint::{Checkpointer, Length},
        people::People,
    },
};

/// A store whose checkpoints the test runs itself.
struct ByHand {
    folder: tempfile::TempDir,
    store: Store,
    checkpointer: Checkpointer,
    people: People,
    written: u32,
}

impl ByHand {
    const MAX_LOG_BYTES: u64 = 1 << 20;

    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = StoreOptions::new(folder.path());
        options.synchronous = Synchronous::Normal;
        options.max_log_bytes = Self::MAX_LOG_BYTES;
        let (store, service) = Store::open(&options).await.unwrap();
        let StoreService { writer, upkeep } = service;
        let Upkeep::Sqlite(upkeep) = upkeep else {
            panic!("not a file")
        };
        tokio::spawn(writer.run(CancellationToken::new()));
        store.put_module(put_module("orders", 1, &["Order"])).await.unwrap();
        Self {
            folder,
            store,
            checkpointer: upkeep.checkpointer,
            people: upkeep.people,
            written: 0,
        }
    }

    /// Writes 64 KiB, `times` times.
    async fn write(&mut self, times: u32) {
        for _ in 0..times {
            self.written += 1;
            let name = format!("i{}", self.written);
            let mut new = instance(&name);
            new.started.input = payload(&format!("\"{}\"", "x".repeat(64 << 10)));
            self.store.start(new, None).await.unwrap();
        }
    }

    fn log_bytes(&self) -> u64 {
        std::fs::metadata(self.folder.path().join("windlass.db-wal"))
            .unwrap()
            .len()
    }

    /// Opens a reader of the current snapshot, which it holds until it is closed.
    async fn reader(&self) -> SqliteConnection {
        let settings = sqlx::sqlite::SqliteConnectOptions::new().filename(self.folder.path().join("windlass.db"));
        let mut reader = settings.connect().await.unwrap();
        sqlx::query("BEGIN").execute(&mut reader).await.unwrap();
        sqlx::query("SELECT count(*) FROM instances")
            .fetch_one(&mut reader)
            .await
            .unwrap();
        reader
    }
}

#[tokio::test]
async fn during_a_long_read_the_writer_does_not_pause_and_the_log_shrinks_afterwards() {
    let mut test = ByHand::new().await;
    test.write(2).await;
    let reader = test.reader().await;
    for _ in 0..7 {
        test.write(5).await;
        test.checkpointer.shorten().await.unwrap();
    }
    let stats = test.store.stats();
    assert_eq!(stats.checkpoint_pauses, 0, "no pause could have succeeded");
    assert!(stats.checkpoints_in_use > 5, "{stats:?}");
    assert!(test.log_bytes() > 2 * ByHand::MAX_LOG_BYTES);

    reader.close().await.unwrap();
    // Nothing is written any more.
    assert_eq!(test.checkpointer.shorten().await.unwrap(), Length::Short);
    assert_eq!(test.log_bytes(), 0);
    assert_eq!(test.store.stats().checkpoint_pauses, 1);
}

#[tokio::test]
async fn queries_that_keep_the_log_very_long_end_before_others_begin() {
    let mut test = ByHand::new().await;
    test.write(2).await;
    let people = test.people.clone();
    let query = async || {
        let mut reader = people.read(None).await.unwrap();
        sqlx::query("SELECT count(*) FROM instances")
            .fetch_one(reader.connection())
            .await
            .unwrap();
        reader
    };
    let old = query().await;
    for _ in 0..2 {
        test.write(20).await;
        assert_eq!(test.checkpointer.shorten().await.unwrap(), Length::InUse);
    }
    test.write(40).await;
    assert!(test.log_bytes() > 4 * ByHand::MAX_LOG_BYTES);
    let mut shortened = Box::pin(test.checkpointer.shorten());
    while people.free() > 0 {
        assert!(futures::poll!(&mut shortened).is_pending(), "it waits for the query");
        tokio::task::yield_now().await;
    }
    let mut further = Box::pin(query());
    assert!(futures::poll!(&mut further).is_pending());
    old.finish(Ok(())).await.unwrap();
    assert_eq!(shortened.await.unwrap(), Length::Short);
    further.await.finish(Ok(())).await.unwrap();
    assert_eq!(test.log_bytes(), 0);
}

#[tokio::test]
async fn queries_do_not_wait_again_and_again_for_a_reader_that_is_no_query() {
    let mut test = ByHand::new().await;
    test.write(2).await;
    let backup = test.reader().await;
    test.write(40).await;
    test.checkpointer.shorten().await.unwrap();
    test.write(40).await;
    assert_eq!(test.checkpointer.shorten().await.unwrap(), Length::InUse);
    // From now on, a query that takes long delays no other one.
    let slow = test.people.read(None).await.unwrap();
    for _ in 0..3 {
        test.write(5).await;
        let mut shortened = Box::pin(test.checkpointer.shorten());
        let length = loop {
            match futures::poll!(&mut shortened) {
                Poll::Ready(length) => break length.unwrap(),
                Poll::Pending => assert!(test.people.free() > 0, "queries would wait"),
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(length, Length::InUse);
    }
    slow.finish(Ok(())).await.unwrap();
    backup.close().await.unwrap();
    assert_eq!(test.checkpointer.shorten().await.unwrap(), Length::Short);
    assert_eq!(test.log_bytes(), 0);
}

#[tokio::test]
async fn without_readers_the_log_starts_over_in_the_same_file() {
    let mut test = ByHand::new().await;
    for _ in 0..10 {
        test.write(5).await;
        assert_eq!(test.checkpointer.shorten().await.unwrap(), Length::Short);
    }
    let pauses = test.store.stats().checkpoint_pauses;
    assert!((1..10).contains(&pauses), "{pauses}");
    assert!(test.log_bytes() < 2 * ByHand::MAX_LOG_BYTES);
    assert_eq!(test.store.stats().checkpoints_in_use, 0);
}

#[tokio::test]
async fn while_the_log_is_shortened_only_small_operations_are_written() {
    let test = ByHand::new().await;
    let only_small = test.checkpointer.gate.only_small();
    // Operations of one tenant keep their order.
    let mut large = instance("large");
    large.tenant = TenantId(2);
    large.started.input = payload(&format!("\"{}\"", "x".repeat(64 << 10)));
    let mut large = std::pin::pin!(test.store.start(large, None));
    for number in 0..20 {
        let small = test.store.start(instance(&format!("small {number}")), None);
        tokio::select! {
            biased;
            _ = &mut large => panic!("the large operation did not wait"),
            outcome = small => assert!(matches!(outcome.unwrap(), StartOutcome::Created(_))),
        }
    }
    drop(only_small);
    assert!(matches!(large.await.unwrap(), StartOutcome::Created(_)));
}
