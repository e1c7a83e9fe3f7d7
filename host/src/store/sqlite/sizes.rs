//! The stored bytes of instances and tenants: columns of the tables `instances` and `tenants`.

use std::collections::HashMap;

use sqlx::sqlite::SqliteConnection;

use super::{
    columns::{Columns, Values},
    statement::{BindRow, RowStatement},
};
use crate::{
    model::TenantId,
    store::{
        Error,
        sizes::{GrownTenant, SizedInstance},
    },
};

impl BindRow for SizedInstance {
    fn bind(&self, values: &mut Values) {
        values
            .number(self.number.0)
            .number(self.sizes.execution)
            .number(self.sizes.events)
            .number(self.sizes.log)
            .number(self.sizes.old_logs);
    }
}

/// Sets the stored bytes of instances.
pub(super) static SET: RowStatement = RowStatement::new(
    "WITH v(instance, execution_bytes, event_bytes, log_bytes, old_log_bytes) AS (VALUES ",
    5,
    ")
     UPDATE instances
     SET execution_bytes = v.execution_bytes,
         event_bytes = v.event_bytes,
         log_bytes = v.log_bytes,
         old_log_bytes = v.old_log_bytes
     FROM v
     WHERE instances.partition = 0 AND instances.instance = v.instance",
);

impl BindRow for GrownTenant {
    fn bind(&self, values: &mut Values) {
        values.number(self.0.0).signed(self.1);
    }
}

/// Adds to the stored bytes of tenants.
pub(super) static GROW: RowStatement = RowStatement::new(
    "WITH v(tenant, change) AS (VALUES ",
    2,
    ")
     UPDATE tenants
     SET stored_bytes = tenants.stored_bytes + v.change
     FROM v
     WHERE tenants.tenant = v.tenant",
);

/// The stored bytes of each tenant.
pub(super) async fn of_tenants(connection: &mut SqliteConnection) -> Result<HashMap<TenantId, u64>, Error> {
    let rows = sqlx::query("SELECT tenant, stored_bytes FROM tenants")
        .fetch_all(connection)
        .await?;
    rows.iter()
        .map(|row| Ok((TenantId(row.small_number(0)?), row.number(1)?)))
        .collect()
}
