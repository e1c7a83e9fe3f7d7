//! The seam between the store and its databases.
//!
//! A backend has four parts: a [`Connection`] for the single writer, [`Readers`] for the engine, [`People`] for the
//! queries of clients, and [`Upkeep`], which runs beside the writer. Each is an enum with a variant per backend, so a
//! call costs a branch and no allocation, and a backend that lacks a query does not compile. The writer's checks and
//! the order of its writes are the same for all backends.
//!
//! Neither this module nor its users name a backend's libraries. To add a backend, add a folder beside `sqlite/` and a
//! variant to each enum.

/// Forwards a call to the backend's method of the same name.
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
