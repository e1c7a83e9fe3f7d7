//! Tenants, the roles of their API keys, and what each role may do.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// Maximum length of a tenant's name, in bytes: that of a DNS label.
pub const MAX_TENANT_NAME_BYTES: usize = 63;

/// The name of a tenant: lower-case letters, digits and hyphens, beginning with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct TenantName(Arc<str>);

impl TenantName {
    /// The text itself.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TenantName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for TenantName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let fits = (1..=MAX_TENANT_NAME_BYTES).contains(&text.len())
            && !text.starts_with('-')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(format!(
                "must be 1 to {MAX_TENANT_NAME_BYTES} lower-case letters, digits and hyphens, beginning with a letter \
                 or digit"
            ))
        }
    }
}

impl<'de> Deserialize<'de> for TenantName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse()
            .map_err(|problem| serde::de::Error::custom(format!("the name of a tenant {problem}")))
    }
}

/// The role of an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A program that starts orchestrations, sends them events and queries their status.
    Client = 0,
    /// A person or program that operates a tenant's instances.
    Operator = 1,
    /// A pipeline that uploads a tenant's modules.
    Deployer = 2,
    /// The administrator of the host: everything, for every tenant.
    Admin = 3,
}

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Start an orchestration.
    Start,
    /// Raise an event.
    Signal,
    /// Read one instance whose id is known, with its history.
    Read,
    /// List instances, and read their logs and the usage.
    Browse,
    /// Terminate, cancel, suspend, resume and purge; set retention rules.
    Control,
    /// List modules and show their functions.
    ReadModules,
    /// Upload and remove modules.
    Deploy,
    /// Manage tenants and keys, and read the metrics of the host.
    Administer,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] = [Self::Client, Self::Operator, Self::Deployer, Self::Admin];

    /// The name over HTTP and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Operator => "operator",
            Self::Deployer => "deployer",
            Self::Admin => "admin",
        }
    }

    /// Whether the role allows the action. `docs/security.md` shows this as a table; a test compares the two.
    pub fn may(self, action: Action) -> bool {
        use Action as A;
        match self {
            Self::Client => matches!(action, A::Start | A::Signal | A::Read | A::ReadModules),
            Self::Operator => !matches!(action, A::Deploy | A::Administer),
            Self::Deployer => matches!(action, A::ReadModules | A::Deploy),
            Self::Admin => true,
        }
    }

    /// The role with that number in the database.
    pub fn of(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|role| *role as u64 == number)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Role {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let role = Self::ALL.into_iter().find(|role| role.name() == text);
        role.ok_or_else(|| "must be client, operator, deployer or admin".into())
    }
}

impl Action {
    /// All actions.
    pub const ALL: [Self; 8] = [
        Self::Start,
        Self::Signal,
        Self::Read,
        Self::Browse,
        Self::Control,
        Self::ReadModules,
        Self::Deploy,
        Self::Administer,
    ];

    /// A description that follows "may".
    pub fn description(self) -> &'static str {
        match self {
            Self::Start => "start orchestrations",
            Self::Signal => "raise events",
            Self::Read => "read an instance and its history",
            Self::Browse => "list instances, read logs and usage",
            Self::Control => {
                "terminate, cancel, suspend, resume, rewind, move and purge, set retention rules, and raise an event for many \
                 instances"
            }
            Self::ReadModules => "list modules",
            Self::Deploy => "upload and remove modules, manage settings and secrets",
            Self::Administer => "manage tenants and keys, read metrics",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_tenant_is_a_label() {
        for name in ["default", "a", "7-x", &"x".repeat(63)] {
            assert_eq!(name.parse::<TenantName>().unwrap().as_str(), name);
        }
        for name in ["", "-a", "A", "a b", "a.b", "é", "a/b", &"x".repeat(64)] {
            assert!(name.parse::<TenantName>().is_err(), "{name}");
        }
    }

    #[test]
    fn the_documentation_has_the_same_table_of_roles() {
        let page = include_str!("../../../docs/security.md");
        for action in Action::ALL {
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| {} |", action.description())));
            let row = row.unwrap_or_else(|| panic!("no row for {:?}", action.description()));
            let cells: Vec<_> = row.split('|').skip(2).take(4).map(str::trim).collect();
            let expected = Role::ALL.map(|role| if role.may(action) { "yes" } else { "" });
            assert_eq!(cells, expected, "{row}");
        }
        for role in Role::ALL {
            assert_eq!(Role::of(role as u64), Some(role));
            assert_eq!(role.name().parse(), Ok(role));
        }
    }
}
