//! The dispatcher's readers and people's: of SQLite, or of the disk of the simulation.

use std::collections::BTreeMap;

use sqlx::sqlite::SqlitePool;

#[cfg(test)]
use super::simulated;
use super::{
    AttemptsSoFar, Error, InstanceRecord, InstanceSummary, ModuleVersion, attempts, events, history, instances,
    modules::{self, OldVersion, PossibleUsers},
    sqlite::{people::People, takeover},
    tenant::{self, Addressee},
};
use crate::model::{
    EventPage, ExecutionNumber, InstanceId, InstanceNumber, ModuleNumber, TaskId, TenantId, Timestamp, Turn, TurnNumber,
};

/// Where queries go. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) enum Readers {
    /// Connections to the database file: the engine's own, and those for people's queries.
    Sqlite { engine: SqlitePool, people: People },
    /// A disk that exists in memory only.
    #[cfg(test)]
    Simulated(simulated::Disk),
}

/// Passes a query on to whichever readers they are.
macro_rules! on {
    ($readers:expr, $pool:ident => $ask:expr, $disk:ident => $simulated:expr) => {
        match $readers {
            Readers::Sqlite { engine: $pool, .. } => $ask.await,
            #[cfg(test)]
            Readers::Simulated($disk) => $simulated.await,
        }
    };
}

impl Readers {
    /// The engine's connections to the database file, for queries that the simulation never makes.
    ///
    /// # Panics
    /// In the simulation.
    pub(super) fn sqlite(&self) -> &SqlitePool {
        match self {
            Self::Sqlite { engine, .. } => engine,
            #[cfg(test)]
            Self::Simulated(_) => panic!("the simulated disk knows no such queries"),
        }
    }

    /// The readers for people's queries.
    ///
    /// # Panics
    /// In the simulation.
    pub(super) fn people(&self) -> &People {
        match self {
            Self::Sqlite { people, .. } => people,
            #[cfg(test)]
            Self::Simulated(_) => panic!("the simulated disk knows no queries for people"),
        }
    }

    /// Closes the connections, once what they read is there.
    pub(super) async fn close(&self) {
        match self {
            Self::Sqlite { engine, people } => {
                people.close().await;
                engine.close().await;
            }
            #[cfg(test)]
            Self::Simulated(_) => {}
        }
    }

    /// All that an owner needs to take over an instance.
    pub(super) async fn takeover(&self, instance: InstanceNumber) -> Result<Option<InstanceRecord>, Error> {
        on!(self, pool => takeover::read(pool, instance), disk => disk.takeover(instance))
    }

    /// What is noted of the attempts of some tasks.
    pub(super) async fn attempts_so_far(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        tasks: &[TaskId],
    ) -> Result<BTreeMap<TaskId, AttemptsSoFar>, Error> {
        on!(self,
            pool => attempts::so_far(pool, instance, execution, tasks),
            disk => disk.attempts_so_far(instance, execution, tasks))
    }

    /// The oldest events of each of these names.
    pub(super) async fn events(&self, instance: InstanceNumber, names: &[String]) -> Result<Vec<EventPage>, Error> {
        on!(self, pool => events::of_names(pool, instance, names), disk => disk.events(instance, names))
    }

    /// Turns of an execution after a turn, in order and without gaps.
    pub(super) async fn history(
        &self,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        after: TurnNumber,
        limit: u32,
    ) -> Result<Vec<Turn>, Error> {
        on!(self,
            pool => history::after(pool, instance, execution, after, limit),
            disk => disk.history(instance, execution, after, limit))
    }

    /// Live instances that must be woken when the host starts, in ascending order after a number.
    pub(super) async fn to_wake_at_start(
        &self,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<InstanceNumber>, Error> {
        on!(self, pool => instances::to_wake_at_start(pool, after, limit), disk => disk.to_wake_at_start(after, limit))
    }

    /// Live instances of a tenant that have something to do, in ascending order after a number.
    pub(super) async fn to_wake_of(
        &self,
        tenant: TenantId,
        now: Timestamp,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<InstanceNumber>, Error> {
        on!(self,
            pool => instances::to_wake_of(pool, tenant, now, after, limit),
            disk => disk.to_wake_of(tenant, now, after, limit))
    }

    /// Instances that are to be woken at or before a time, the earliest first, except those of some tenants.
    pub(super) async fn waking_before(
        &self,
        time: Timestamp,
        except: &[TenantId],
        limit: u32,
    ) -> Result<Vec<(Timestamp, InstanceNumber)>, Error> {
        on!(self, pool => instances::waking_before(pool, time, except, limit), disk => disk.waking_before(time, except, limit))
    }

    /// A module version, current or not.
    pub(super) async fn module(&self, number: ModuleNumber) -> Result<Option<ModuleVersion>, Error> {
        modules::by_number(self.sqlite(), number).await
    }

    /// The bytes of a module version, if they are kept.
    pub(super) async fn module_bytes(&self, number: ModuleNumber) -> Result<Option<Vec<u8>>, Error> {
        modules::bytes(self.sqlite(), number).await
    }

    /// The next version after a number that no new call can name any more. (The simulation has no modules.)
    pub(super) async fn next_old_version(
        &self,
        after: Option<ModuleNumber>,
        now: Timestamp,
    ) -> Result<Option<OldVersion>, Error> {
        on!(self, pool => modules::next_old_version(pool, after, now), _disk => async { Ok(None) })
    }

    /// Live instances after a number that may need the bytes of an old version.
    pub(super) async fn possible_users(
        &self,
        version: &OldVersion,
        after: Option<InstanceNumber>,
    ) -> Result<PossibleUsers, Error> {
        modules::possible_users(self.sqlite(), version, after).await
    }

    /// An instance of a tenant as a list shows it.
    pub(super) async fn summary(&self, tenant: TenantId, id: &InstanceId) -> Result<Option<InstanceSummary>, Error> {
        on!(self, pool => tenant::summary_of(pool, tenant, id), disk => disk.summary(tenant, id))
    }

    /// The instance that has the id now.
    pub(super) async fn addressee(&self, tenant: TenantId, id: &InstanceId) -> Result<Option<Addressee>, Error> {
        on!(self, pool => tenant::addressee(pool, tenant, id), disk => disk.addressee(tenant, id))
    }

    /// The number of the instance that has the id now.
    pub(super) async fn number(&self, tenant: TenantId, id: &InstanceId) -> Result<Option<InstanceNumber>, Error> {
        on!(self, pool => tenant::number_of(pool, tenant, id), disk => disk.number(tenant, id))
    }
}
