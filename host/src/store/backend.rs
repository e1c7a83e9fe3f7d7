//! The seam between the store and what keeps its rows.
//!
//! A backend offers four things: a [`Connection`] for the one writer, [`Readers`] for the engine, [`People`] for what
//! people ask, and its [`Upkeep`], which goes on beside the writer. Each is an enum with a variant per backend, so a call
//! costs a branch and no allocation, and a backend that lacks a query does not compile. What the writer judges and in which
//! order it writes is the same over all of them.
//!
//! Nothing here or above names a library of a backend: one more is a folder beside `sqlite/`, and a variant of each enum.

/// Passes a call on to whichever backend it is: each has a method of that name.
macro_rules! on {
    ($which:expr, $method:ident($($argument:expr),*)) => {
        match $which {
            Self::Sqlite(sqlite) => sqlite.$method($($argument),*).await,
            #[cfg(test)]
            Self::Simulated(simulated) => simulated.$method($($argument),*).await,
        }
    };
}

mod connection;
mod people;
mod readers;
mod upkeep;

pub(super) use self::{connection::Connection, people::People, readers::Readers, upkeep::Upkeep};
