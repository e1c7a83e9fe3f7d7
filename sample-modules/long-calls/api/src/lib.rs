//! The types and signatures of the samples for long calls.

pub use backend_client::Backend;
use windlass_sdk::prelude::*;
use windlass_sdk::signatures;

signatures! {
    #[activity(name = "ImportRowsActivity")]
    pub fn import_rows(import: Import) -> Result<Imported>;

    #[activity(name = "AskActivity")]
    pub fn ask(question: Question) -> Result<String>;

    /// Stops the import.
    #[event(name = "Stop")]
    pub fn stop(reason: String);
}

/// Rows to import.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct Import {
    pub rows: u64,
    /// How long each row takes.
    #[serde(default)]
    pub row_ms: u64,
    /// The first attempt fails after this row.
    #[serde(default)]
    pub fails_after: Option<u64>,
    /// The first attempt hangs after this row: it sends no heartbeat any more.
    #[serde(default)]
    pub hangs_after: Option<u64>,
    /// An import that is cancelled ignores it.
    #[serde(default)]
    pub stubborn: bool,
}

/// A question to a person, who answers it by completing the call.
#[payload]
pub struct Question {
    /// The e-mail address of the person.
    pub to: String,
    pub text: String,
    /// The activity answers the question by itself, after it has passed the token on.
    #[serde(default)]
    pub impatient: bool,
    #[serde(default)]
    pub backend: Backend,
}

/// What the last attempt of an import did.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct Imported {
    pub rows: u64,
    /// The row after which the last attempt began.
    pub resumed_after: u64,
    pub attempt: u32,
}
