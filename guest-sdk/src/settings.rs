//! Settings and [`Secret`]s, which an activity reads in addition to its input.

use std::collections::BTreeMap;
use std::fmt;

use crate::bindings::activity::windlass::durable::activity_context as imports;
use crate::failure::{Failure, Result};
use crate::failure_types;

/// A password, token or key that the operator granted to the module.
///
/// It does not leak by accident: `Debug` prints `***`, and it implements neither `Display` nor `Serialize`. Call
/// [`expose`](Self::expose) where the value is needed.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Returns the secret value.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where settings and secrets come from.
#[derive(Clone)]
pub(crate) enum Settings {
    /// The imports of the sandbox.
    Host,
    /// Values given by a test.
    Given {
        config: BTreeMap<String, String>,
        secrets: BTreeMap<String, String>,
    },
}

impl Default for Settings {
    fn default() -> Self {
        Self::Given {
            config: BTreeMap::new(),
            secrets: BTreeMap::new(),
        }
    }
}

impl Settings {
    pub(crate) fn config(&self, name: &str) -> Result<String> {
        let found = match self {
            Self::Host => imports::config(name),
            Self::Given { config, .. } => config.get(name).cloned(),
        };
        found.ok_or_else(|| missing(failure_types::MISSING_CONFIG, "setting", name))
    }

    pub(crate) fn secret(&self, name: &str) -> Result<Secret> {
        let found = match self {
            Self::Host => imports::secret(name),
            Self::Given { secrets, .. } => secrets.get(name).cloned(),
        };
        let missing = || missing(failure_types::MISSING_SECRET, "secret", name);
        found.map(Secret).ok_or_else(missing)
    }

    /// Adds a setting, in a test.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn give_config(&mut self, name: &str, value: String) {
        if let Self::Given { config, .. } = self {
            config.insert(name.into(), value);
        }
    }

    /// Adds a secret, in a test.
    #[cfg(not(target_arch = "wasm32"))]
    pub(crate) fn give_secret(&mut self, name: &str, value: String) {
        if let Self::Given { secrets, .. } = self {
            secrets.insert(name.into(), value);
        }
    }
}

/// Non-retryable, because another attempt would not find it either.
fn missing(error_type: &str, what: &str, name: &str) -> Failure {
    let message = format!("the {what} `{name}` does not exist: create it for this module or its tenant");
    Failure::new(error_type, message).non_retryable()
}
