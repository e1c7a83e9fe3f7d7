//! What activities may ask for by name.

use crate::model::{TenantId, Timestamp};

/// A plain setting or a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum SettingKind {
    /// Its value may be shown.
    Plain = 0,
    /// Its value is sealed.
    Secret = 1,
}

/// A setting as it is stored.
#[derive(Clone, PartialEq)]
pub struct SettingRow {
    /// Whose.
    pub tenant: TenantId,
    /// What it is.
    pub kind: SettingKind,
    /// Its name.
    pub name: String,
    /// UTF-8 text, or a sealed secret.
    pub value: Vec<u8>,
    /// The modules that may ask for it.
    pub modules: Vec<String>,
    /// When it was set.
    pub updated_at: Timestamp,
}

impl std::fmt::Debug for SettingRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SettingRow({} of tenant {})", self.name, self.tenant)
    }
}
