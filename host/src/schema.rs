//! JSON Schemas that modules bring.

use crate::model::Payload;

/// A compiled schema.
pub struct SchemaValidator {}

/// Why a schema is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SchemaError(String);

/// Where a payload does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

impl SchemaValidator {
    /// Compiles.
    pub fn compile(_: &str) -> Result<Self, SchemaError> {
        Ok(Self {})
    }

    /// Checks.
    pub fn validate(&self, _: &Payload) -> Result<(), Violation> {
        Ok(())
    }
}
