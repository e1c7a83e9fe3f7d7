//! Authentication and authorization.
//!
//! A handler reaches a tenant's rows with a [`Caller`], and gets one only by naming what it does: `May<Start>` lets a
//! request through only if its key has a role that may start orchestrations. [`Role::may`] alone decides what each role
//! may do.

use std::marker::PhantomData;

use axum::extract::FromRequestParts;
use http::{HeaderMap, header, request::Parts};

use super::{error::Refusal, state::App};
use crate::{
    model::{Action, Role, TenantId},
    tenancy::{Identity, IdentityError, Tenancy, key},
};

/// The header by which an administrator acts on behalf of a tenant.
pub(crate) const TENANT_HEADER: &str = "windlass-tenant";

/// The tenant on whose behalf a request acts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Caller {
    pub(crate) tenant: TenantId,
}

/// Proof that a request is allowed to do what `A` stands for.
pub(crate) struct May<A> {
    pub(crate) caller: Caller,
    /// The id of the key that was presented.
    pub(crate) key: Option<String>,
    action: PhantomData<A>,
}

/// An action of a handler, as a type.
pub(crate) trait Does {
    const ACTION: Action;
}

macro_rules! actions {
    ($($name:ident),+) => {
        $(
            #[doc = concat!("See [`Action::", stringify!($name), "`].")]
            pub(crate) struct $name;

            impl Does for $name {
                const ACTION: Action = Action::$name;
            }
        )+
    };
}

actions!(Start, Signal, Read, Browse, Control, ReadModules, Deploy, Administer);

impl<A: Does> FromRequestParts<App> for May<A> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let caller = caller(app.engine.tenancy(), &parts.headers, A::ACTION)?;
        let key = bearer(&parts.headers)?.and_then(key::id_of);
        Ok(Self {
            caller,
            key: key.map(str::to_owned),
            action: PhantomData,
        })
    }
}

/// Authenticates the sender of a request.
pub(super) fn identity(tenancy: &Tenancy, headers: &HeaderMap) -> Result<Identity, Refusal> {
    tenancy.identify(bearer(headers)?).map_err(|error| match error {
        IdentityError::Unknown => Refusal::Unauthenticated,
        IdentityError::Disabled => Refusal::TenantDisabled,
    })
}

/// The headers by which a request is authenticated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Credentials(HeaderMap);

impl Credentials {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get_all(header::AUTHORIZATION).iter();
        Self(given.map(|value| (header::AUTHORIZATION, value.clone())).collect())
    }

    /// Returns when the sender would not be authenticated as the same one any more, because its key was revoked or its
    /// tenant disabled.
    pub(super) async fn revoked(&self, tenancy: &Tenancy) -> Refusal {
        let mut changes = tenancy.changes();
        let mut sender = None;
        loop {
            match identity(tenancy, &self.0) {
                Err(refusal) => return refusal,
                Ok(now) if *sender.get_or_insert(now) != now => return Refusal::Unauthenticated,
                Ok(_) => {}
            }
            if changes.changed().await.is_err() {
                return Refusal::ShuttingDown;
            }
        }
    }
}

/// The tenant for which an authenticated sender acts, if its role allows the action.
pub(super) fn caller(tenancy: &Tenancy, headers: &HeaderMap, action: Action) -> Result<Caller, Refusal> {
    let Identity { tenant, role } = identity(tenancy, headers)?;
    if !role.may(action) {
        return Err(Refusal::Forbidden { role, action });
    }
    let Some(wanted) = headers.get(TENANT_HEADER) else {
        return Ok(Caller { tenant });
    };
    if role != Role::Admin {
        return Err(Refusal::Forbidden {
            role,
            action: Action::Administer,
        });
    }
    let name = wanted.to_str().unwrap_or("?");
    Ok(Caller {
        tenant: tenancy.named(name)?.id,
    })
}

/// The key of a request; `None` if it presents none.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let (scheme, key) = value
                .to_str()
                .ok()
                .and_then(|text| text.split_once(' '))
                .ok_or(Refusal::Unauthenticated)?;
            if scheme.eq_ignore_ascii_case("bearer") {
                Ok(Some(key.trim()))
            } else {
                Err(Refusal::Unauthenticated)
            }
        }
        // With two keys, which one counts would depend on the implementation.
        _ => Err(Refusal::Unauthenticated),
    }
}
