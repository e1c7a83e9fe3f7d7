//! Modules: uploaded code and who offers what.

use crate::model::{FunctionName, InstanceNumber, ModuleDescription, ModuleDigest, ModuleNumber, TenantId, Timestamp};

/// How long a version keeps its bytes after it was superseded or deleted, in milliseconds, even if nothing is known to
/// need it: a turn that looked it up just before may still commit a call to it. Any turn takes far less than this.
pub(super) const BYTES_GRACE_MS: u64 = 10 * 60 * 1000;

/// A module to be stored under a name.
#[derive(Debug, Clone)]
pub struct PutModule {
    /// Its owner.
    pub tenant: TenantId,
    /// The name it is uploaded under.
    pub name: String,
    /// The SHA-256 of the bytes.
    pub digest: ModuleDigest,
    /// The component.
    pub bytes: Vec<u8>,
    /// What it says of itself.
    pub description: ModuleDescription,
    /// When it was uploaded.
    pub at: Timestamp,
    /// The id of the API key that it was uploaded with, if there was one.
    pub by: Option<String>,
}

/// What happened to a [`PutModule`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutModuleOutcome {
    /// It is the current version of its name.
    Stored {
        /// The number of the version.
        number: ModuleNumber,
        /// Whether anything changed; false if it was the current version already.
        new: bool,
    },
    /// Another module of the tenant offers one of its functions; nothing was changed.
    FunctionTaken {
        /// Which function.
        function: FunctionName,
        /// The name of the module that offers it.
        module: String,
    },
    /// The tenant was deleted meanwhile; nothing was changed.
    TenantGone,
}

/// A version of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleVersion {
    /// Its number.
    pub number: ModuleNumber,
    /// Its owner.
    pub tenant: TenantId,
    /// The name it was uploaded under last.
    pub name: String,
    /// The SHA-256 of its bytes.
    pub digest: ModuleDigest,
    /// What it says of itself.
    pub description: ModuleDescription,
    /// The length of its bytes.
    pub size: u64,
    /// When it was uploaded last.
    pub uploaded_at: Timestamp,
    /// The id of the API key that it was uploaded with, if there was one.
    pub uploaded_by: Option<String>,
    /// When it stopped being the current version of its name; none while it is.
    pub superseded_at: Option<Timestamp>,
}

/// A version that is not the current one of its name, and still has its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldVersion {
    /// Its number.
    pub number: ModuleNumber,
    /// Its owner.
    pub tenant: TenantId,
    /// When it stopped being the current version.
    pub superseded_at: Timestamp,
}

/// Instances that may need the bytes of an old version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PossibleUsers {
    /// In ascending order.
    pub instances: Vec<PossibleUser>,
    /// After which instance to go on; none if there are no more.
    pub next: Option<InstanceNumber>,
}

/// An instance that may need the bytes of an old version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PossibleUser {
    /// Its number.
    pub instance: InstanceNumber,
    /// Whether it runs on the version; otherwise its history tells whether an outstanding call names it.
    pub runs_on_it: bool,
}

/// Most instances that are found at once.
pub(super) const MAX_USERS: u32 = 100;
