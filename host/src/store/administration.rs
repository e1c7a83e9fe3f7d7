//! Tenants and API keys: what the host's administrator changes.
//!
//! Seldom written and small, so whoever needs them reads all of them and keeps them in memory.

use super::{SettingKind, SettingRow};
use crate::model::{Role, TenantId, TenantName, Timestamp};

/// A tenant as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantRow {
    /// Its number.
    pub tenant: TenantId,
    /// Its name.
    pub name: TenantName,
    /// Whether requests on its behalf are refused.
    pub disabled: bool,
    /// Its quotas, as JSON.
    pub quotas: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// An API key as it is stored: without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRow {
    /// Names the key in lists; the first part of the key itself.
    pub id: String,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is for.
    pub role: Role,
    /// SHA-256 of the secret part.
    pub hash: [u8; 32],
    /// What people call it; may be empty.
    pub label: String,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it stops working, if ever.
    pub expires_at: Option<Timestamp>,
}

/// A change to tenants or keys.
#[derive(Debug, Clone)]
pub enum Change {
    /// Create a tenant.
    CreateTenant {
        /// Its name.
        name: TenantName,
        /// Its quotas, as JSON.
        quotas: String,
        /// Now.
        at: Timestamp,
    },
    /// Change a tenant.
    SetTenant {
        /// Which.
        tenant: TenantId,
        /// Whether requests on its behalf are refused.
        disabled: bool,
        /// Its quotas, as JSON.
        quotas: String,
    },
    /// Delete a tenant that has no instances, with its modules and keys.
    DeleteTenant(TenantId),
    /// Create a key.
    CreateKey(KeyRow),
    /// Forget a key.
    RevokeKey(String),
    /// Set a setting or secret.
    PutSetting(SettingRow),
    /// Take a setting or secret away.
    DeleteSetting {
        /// Whose.
        tenant: TenantId,
        /// What it is.
        kind: SettingKind,
        /// Its name.
        name: String,
    },
}

/// What came of a [`Change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It was made; for a new tenant with its number.
    Done(Option<TenantId>),
    /// What was to be changed does not exist.
    Unknown,
    /// The name or id is taken.
    Taken,
    /// The tenant has that many instances; nothing was changed.
    NotEmpty(u64),
}
