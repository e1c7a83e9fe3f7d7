//! SQLite: the database file below the store. All SQL is here, and all that names sqlx.

pub(super) mod backup;
pub(super) mod check;
pub(super) mod checkpoint;
pub(super) mod columns;
pub(super) mod inspect;
pub(super) mod migrate;
pub(super) mod names;
pub(super) mod open;
pub(super) mod people;
pub(super) mod statement;
pub(super) mod takeover;
#[cfg(test)]
mod tests;
