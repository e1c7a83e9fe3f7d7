//! The table `counters`: numbers that are never given out twice.
//!
//! The writer gives numbers out of blocks that it reserves on disk, so that a block costs one small write and a crash
//! costs at most the rest of a block. `MAX(…) + 1` would give a purged instance's number to the next one.

use sqlx::sqlite::SqliteConnection;

use super::{
    Error,
    columns::{Columns, stored},
};
use crate::model::{InboxSeq, InstanceNumber};

/// How many numbers are reserved at a time. Few enough to be lost at every start, enough to make the write rare.
const BLOCK: u64 = 10_000;

/// The numbers to be given out next.
///
/// Cloned before a batch and put back if the batch fails, because its reservations are rolled back with it.
#[derive(Debug, Clone)]
pub(super) struct Counters {
    instance: Counter,
    sequence: Counter,
}

#[derive(Debug, Clone)]
struct Counter {
    next: u64,
    reserved: u64,
}

impl Counters {
    /// Goes on where the reservations of the last run ended.
    pub(super) async fn load(connection: &mut SqliteConnection) -> Result<Self, Error> {
        let mut load = async |counter: &'static str| {
            let row = sqlx::query("SELECT reserved FROM counters WHERE counter = ?")
                .bind(counter)
                .fetch_optional(&mut *connection)
                .await?
                .ok_or_else(|| Error::Damaged(format!("the counter {counter:?} is missing")))?;
            let reserved = row.number(0)?;
            Ok::<_, Error>(Counter {
                next: reserved,
                reserved,
            })
        };
        Ok(Self {
            instance: load("instance").await?,
            sequence: load("sequence").await?,
        })
    }

    /// The number of a new instance.
    pub(super) fn next_instance(&mut self) -> InstanceNumber {
        InstanceNumber(self.instance.take())
    }

    /// The next position in any inbox or log. One counter serves all: a position only has to grow.
    pub(super) fn next_seq(&mut self) -> InboxSeq {
        InboxSeq(self.sequence.take())
    }

    /// The newest position given out.
    pub(super) fn newest_seq(&self) -> InboxSeq {
        InboxSeq(self.sequence.next.saturating_sub(1))
    }

    /// Makes sure that what was given out is reserved on disk. To be called before the batch that uses it commits.
    pub(super) async fn reserve(&mut self, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
        for (counter, name) in [(&mut self.instance, "instance"), (&mut self.sequence, "sequence")] {
            if counter.next <= counter.reserved {
                continue;
            }
            counter.reserved = counter.next + BLOCK;
            sqlx::query("UPDATE counters SET reserved = ? WHERE counter = ?")
                .bind(stored(counter.reserved))
                .bind(name)
                .execute(&mut *connection)
                .await?;
        }
        Ok(())
    }
}

impl Counter {
    fn take(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }
}
