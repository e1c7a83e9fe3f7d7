//! Task hubs are tenants. The key of a request selects its tenant; `taskHub` may name the same tenant, and an
//! administrator may name any.

use super::Call;
use crate::{
    http::{
        access::{self, Caller, TENANT_HEADER},
        error::Refusal,
    },
    model::{Action, Role},
};

impl Call {
    /// The tenant for which the request acts, if its key allows the action.
    ///
    /// # Errors
    /// If the key does not allow it, or `taskHub` names another tenant. The refusal does not say whether that exists.
    pub(super) fn allow(&self, action: Action) -> Result<Caller, Refusal> {
        let tenancy = self.app.engine.tenancy();
        let caller = access::caller(tenancy, &self.headers, action)?;
        let Some(hub) = self.query.text("taskHub").map(str::trim) else {
            return Ok(caller);
        };
        if self.hub(caller).eq_ignore_ascii_case(hub) {
            return Ok(caller);
        }
        let other = || Refusal::OtherTaskHub { name: hub.to_owned() };
        let role = access::identity(tenancy, &self.headers)?.role;
        if role != Role::Admin || self.headers.contains_key(TENANT_HEADER) {
            return Err(other());
        }
        let tenant = tenancy.named(&hub.to_ascii_lowercase()).map_err(|_| other())?;
        Ok(Caller { tenant: tenant.id })
    }

    /// The name of the task hub of a tenant.
    pub(super) fn hub(&self, caller: Caller) -> String {
        let tenant = self.app.engine.tenancy().tenant(caller.tenant);
        tenant.map(|tenant| tenant.name.to_string()).unwrap_or_default()
    }
}
