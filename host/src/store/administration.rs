//! Tenants, API keys and settings: rows that administrators change.
//!
//! These tables are small and change rarely, so the host reads them completely and keeps them in memory.

use super::{RetentionRow, SettingKind, SettingRow};
use crate::model::{RetentionScope, Role, TenantId, TenantName, Timestamp};

/// A tenant as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantRow {
    /// The tenant's number.
    pub tenant: TenantId,
    /// The tenant's name, unique on the host.
    pub name: TenantName,
    /// Whether requests on its behalf are refused.
    pub disabled: bool,
    /// The tenant's quotas, as JSON.
    pub quotas: String,
    /// When it was created.
    pub created_at: Timestamp,
}

/// An API key as it is stored: without its secret.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyRow {
    /// Identifies the key in lists; also the first part of the key itself.
    pub id: String,
    /// The tenant that the key belongs to.
    pub tenant: TenantId,
    /// The permissions of the key.
    pub role: Role,
    /// SHA-256 of the secret part.
    pub hash: [u8; 32],
    /// A description for people; may be empty.
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
        /// The tenant's quotas, as JSON.
        quotas: String,
        /// The time of creation.
        at: Timestamp,
    },
    /// Change a tenant.
    SetTenant {
        /// The tenant to change.
        tenant: TenantId,
        /// Whether requests on its behalf are refused.
        disabled: bool,
        /// The tenant's quotas, as JSON.
        quotas: String,
    },
    /// Delete a tenant that has no instances, with its modules and keys.
    DeleteTenant(TenantId),
    /// Create a key.
    CreateKey(KeyRow),
    /// Delete the key with this id.
    RevokeKey(String),
    /// Create or replace a setting or secret.
    PutSetting(SettingRow),
    /// Delete a setting or secret.
    DeleteSetting {
        /// The tenant that the setting belongs to.
        tenant: TenantId,
        /// Whether it is a setting or a secret.
        kind: SettingKind,
        /// Its name.
        name: String,
    },
    /// Create or replace a retention rule.
    PutRetentionRule(RetentionRow),
    /// Delete a retention rule.
    DeleteRetentionRule {
        /// The tenant that the rule belongs to.
        tenant: TenantId,
        /// Its scope.
        scope: RetentionScope,
    },
}

/// The outcome of a [`Change`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// The change was made. Contains the number of a new tenant.
    Done(Option<TenantId>),
    /// The row to change does not exist.
    Unknown,
    /// The name or id is in use.
    Taken,
    /// The tenant still has this many instances; nothing was changed.
    NotEmpty(u64),
    /// The tenant has as many rows of this kind as it may have.
    TooMany,
}
