//! What a backend does for as long as the writer runs, and when it ends.

use std::future::Future;

use crate::store::{Error, sqlite};

/// The work beside the writer.
pub(in crate::store) enum Upkeep {
    /// Checkpoints, and the lock of the folder.
    Sqlite(Box<sqlite::Upkeep>),
    /// A disk in memory needs none.
    #[cfg(test)]
    Simulated,
}

impl Upkeep {
    /// Runs the writer, and beside it whatever must go on until it has ended.
    pub(in crate::store) async fn beside(self, writing: impl Future<Output = Result<(), Error>>) -> Result<(), Error> {
        match self {
            Self::Sqlite(upkeep) => upkeep.beside(writing).await,
            #[cfg(test)]
            Self::Simulated => writing.await,
        }
    }
}
