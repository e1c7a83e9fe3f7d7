//! Settings and secrets that activities may read by name.

use crate::model::{TenantId, Timestamp};

/// A plain setting or a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingKind {
    /// A setting, whose value may be shown.
    Plain = 0,
    /// A secret, whose value is sealed.
    Secret = 1,
}

/// A setting as it is stored.
#[derive(Clone, PartialEq)]
pub struct SettingRow {
    /// The tenant that the setting belongs to.
    pub tenant: TenantId,
    /// Whether it is a setting or a secret.
    pub kind: SettingKind,
    /// Its name.
    pub name: String,
    /// UTF-8 text, or a sealed secret.
    pub value: Vec<u8>,
    /// The names of the modules whose activities may read it.
    pub modules: Vec<String>,
    /// When it was last set.
    pub updated_at: Timestamp,
}

impl std::fmt::Debug for SettingRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SettingRow({} of tenant {})", self.name, self.tenant)
    }
}
