//! The writer's connection: to SQLite, or to the disk of the simulation.
//!
//! What the writer judges and in which order it writes is the same over both; here is all that it asks of what lies
//! below. Each method is one function of the table it concerns.

use std::collections::HashMap;

use sqlx::{
    ConnectOptions as _, Connection as _,
    sqlite::{SqliteConnectOptions, SqliteConnection},
};

#[cfg(test)]
use super::simulated;
use super::{
    Change, Changed, Error, PutModule, PutModuleOutcome, administration,
    attempts::{self, AttemptKey, Prunable},
    counters, garbage,
    idempotency::{self, StoredKey, WantedKey},
    instances::{self, ById, ByNumber, InstanceHead},
    modules::{self, OldVersion},
    sizes,
    sqlite::{names, statement::Changes},
    writer::rows::Rows,
};
use crate::model::{FunctionName, InstanceNumber, StuckReason, TenantId, Timestamp};

const BEGIN: &str = "BEGIN IMMEDIATE";
const COMMIT: &str = "COMMIT";

/// Where the writer writes.
pub(super) enum Connection {
    /// The database file.
    Sqlite(Box<Sqlite>),
    /// A disk that exists in memory only.
    #[cfg(test)]
    Simulated(simulated::Session),
}

/// A connection with what it takes to make another one.
pub(super) struct Sqlite {
    connection: SqliteConnection,
    changes: Changes,
    options: SqliteConnectOptions,
}

/// Passes a question on to whichever connection it is.
macro_rules! on {
    ($connection:expr, $sqlite:ident => $ask:expr, $session:ident => $simulated:expr) => {
        match $connection {
            Connection::Sqlite(sqlite) => {
                let $sqlite = &mut sqlite.connection;
                $ask.await
            }
            #[cfg(test)]
            Connection::Simulated($session) => $simulated.await,
        }
    };
}

impl Connection {
    /// The connection to a database whose schema is up to date.
    pub(super) fn sqlite(connection: SqliteConnection, options: SqliteConnectOptions) -> Self {
        Self::Sqlite(Box::new(Sqlite {
            connection,
            changes: Changes::default(),
            options,
        }))
    }

    /// Runs a statement without parameters. (The transaction calls of sqlx count on a rollback to succeed.)
    pub(super) async fn execute(&mut self, statement: &'static str) -> Result<(), sqlx::Error> {
        on!(self,
            sqlite => async { sqlx::query(statement).execute(sqlite).await.map(|_| ()) },
            session => session.execute(statement))
    }

    /// Replaces the connection, whose state is in doubt.
    pub(super) async fn reopen(&mut self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => {
                sqlite.connection = sqlite.options.connect().await?;
                sqlite.changes = Changes::default();
            }
            #[cfg(test)]
            Self::Simulated(session) => session.reopen(),
        }
        Ok(())
    }

    /// Closes the connection properly.
    pub(super) async fn close(self) -> Result<(), sqlx::Error> {
        match self {
            Self::Sqlite(sqlite) => sqlite.connection.close().await,
            #[cfg(test)]
            Self::Simulated(_) => Ok(()),
        }
    }

    /// Where the reservations of a counter ended; none if there is no such counter.
    pub(super) async fn reserved(&mut self, counter: &'static str) -> Result<Option<u64>, Error> {
        on!(self, sqlite => counters::reserved(sqlite, counter), session => session.reserved(counter))
    }

    /// Moves the reservations of a counter on.
    pub(super) async fn reserve(&mut self, counter: &'static str, reserved: u64) -> Result<(), sqlx::Error> {
        on!(self,
            sqlite => counters::reserve(sqlite, counter, reserved),
            session => session.reserve(counter, reserved))
    }

    /// How much is stored of each tenant.
    pub(super) async fn stored_bytes(&mut self) -> Result<HashMap<TenantId, u64>, Error> {
        on!(self, sqlite => sizes::of_tenants(sqlite), session => session.stored_bytes())
    }

    /// The number of a function name, given to it now if it has none yet.
    pub(super) async fn intern(&mut self, tenant: TenantId, name: &FunctionName) -> Result<u64, Error> {
        on!(self, sqlite => names::intern(sqlite, tenant, name), session => session.intern(tenant, name))
    }

    /// Those of the instances that exist.
    pub(super) async fn heads_by_number(&mut self, wanted: &[ByNumber]) -> Result<Vec<InstanceHead>, Error> {
        on!(self, sqlite => instances::heads_by_number(sqlite, wanted), session => session.heads_by_number(wanted))
    }

    /// Those of the instances that exist.
    pub(super) async fn heads_by_id(&mut self, wanted: &[ById<'_>]) -> Result<Vec<InstanceHead>, Error> {
        on!(self, sqlite => instances::heads_by_id(sqlite, wanted), session => session.heads_by_id(wanted))
    }

    /// Those of the idempotency keys that are stored, expired or not.
    pub(super) async fn find_keys(&mut self, wanted: &[WantedKey<'_>]) -> Result<Vec<StoredKey>, Error> {
        on!(self, sqlite => idempotency::find(sqlite, wanted), session => session.find_keys(wanted))
    }

    /// How long the failures of those of the attempts are that exist.
    pub(super) async fn measure_attempts(&mut self, wanted: &[AttemptKey]) -> Result<Vec<(AttemptKey, u64)>, Error> {
        on!(self, sqlite => attempts::measure(sqlite, wanted), session => session.measure_attempts(wanted))
    }

    /// Attempts that can be pruned, of one task that has more than are kept. (In the simulation none ever has.)
    pub(super) async fn prunable_attempts(&mut self, limit: u64) -> Result<Option<Prunable>, Error> {
        on!(self, sqlite => attempts::prunable(sqlite, limit), _session => async { Ok(None) })
    }

    /// Writes rows within a transaction, and says how many.
    pub(super) async fn write(&mut self, rows: &Rows<'_>) -> Result<u64, Error> {
        match self {
            Self::Sqlite(sqlite) => {
                let Sqlite {
                    connection, changes, ..
                } = &mut **sqlite;
                rows.script().run(connection, changes, rows.certain()).await
            }
            #[cfg(test)]
            Self::Simulated(session) => session.write(rows).await,
        }
    }

    /// Writes the last rows of a transaction, which may have `begun` already, and commits it.
    pub(super) async fn commit(&mut self, rows: &Rows<'_>, begun: bool) -> Result<u64, Error> {
        match self {
            Self::Sqlite(sqlite) => {
                let Sqlite {
                    connection, changes, ..
                } = &mut **sqlite;
                let script = rows.script();
                let script = if begun { script } else { script.beginning_with(BEGIN) };
                let script = script.ending_with(COMMIT);
                script.run(connection, changes, rows.certain()).await
            }
            #[cfg(test)]
            Self::Simulated(session) => {
                if !begun {
                    session.execute(BEGIN).await?;
                }
                let written = session.write(rows).await?;
                session.execute(COMMIT).await?;
                Ok(written)
            }
        }
    }

    /// Marks a live instance as stuck; says whether there was one.
    pub(super) async fn mark_stuck(
        &mut self,
        instance: InstanceNumber,
        reason: &StuckReason,
        at: Timestamp,
    ) -> Result<bool, sqlx::Error> {
        on!(self,
            sqlite => instances::mark_stuck(sqlite, instance, reason, at),
            session => session.mark_stuck(instance, reason, at))
    }

    /// Counts an unclean end of the host for a live instance, and says how often in a row there was one.
    pub(super) async fn count_unclean_end(&mut self, instance: InstanceNumber) -> Result<Option<u32>, Error> {
        on!(self,
            sqlite => instances::count_unclean_end(sqlite, instance),
            session => session.count_unclean_end(instance))
    }

    /// Changes tenants or API keys.
    pub(super) async fn administer(&mut self, change: &Change) -> Result<Changed, Error> {
        on!(self, sqlite => administration::change(sqlite, change), _session => simulated::no_modules())
    }

    /// Stores a module and makes it the current version of its name.
    pub(super) async fn put_module(&mut self, put: &PutModule) -> Result<PutModuleOutcome, Error> {
        on!(self, sqlite => modules::put(sqlite, put), _session => simulated::no_modules())
    }

    /// Takes a module's name and functions away; says whether it existed.
    pub(super) async fn delete_module(&mut self, tenant: TenantId, name: &str, at: Timestamp) -> Result<bool, Error> {
        on!(self, sqlite => modules::delete(sqlite, tenant, name, at), _session => simulated::no_modules())
    }

    /// Deletes bytes, unless they were uploaded again meanwhile; says whether it did.
    pub(super) async fn delete_module_bytes(&mut self, version: &OldVersion) -> Result<bool, Error> {
        on!(self,
            sqlite => async { Ok(modules::delete_bytes(sqlite, version).await?) },
            _session => simulated::no_modules())
    }

    /// Deletes rows that nobody needs any more, at most `limit`, and says how many.
    pub(super) async fn sweep(&mut self, now: Timestamp, limit: u64) -> Result<u64, Error> {
        on!(self, sqlite => sweep(sqlite, now, limit), session => session.sweep(now, limit))
    }
}

async fn sweep(connection: &mut SqliteConnection, now: Timestamp, limit: u64) -> Result<u64, Error> {
    let deleted = garbage::delete_some(connection, limit).await?;
    if deleted >= limit {
        return Ok(deleted);
    }
    Ok(deleted + idempotency::delete_expired(connection, now, limit - deleted).await?)
}
