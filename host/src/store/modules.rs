//! Modules: uploaded code, and which module offers which function.

use crate::model::{
    FunctionKind, FunctionName, InstanceNumber, ModuleDescription, ModuleDigest, ModuleNumber, TenantId, Timestamp,
    codec,
};

/// How long a version keeps its bytes after it was superseded or deleted, in milliseconds, even if no instance needs
/// it: a turn that looked it up just before may still commit a call to it. Any turn takes far less time than this.
pub(super) const BYTES_GRACE_MS: u64 = 10 * 60 * 1000;

/// A module to store under a name.
#[derive(Debug, Clone)]
pub struct PutModule {
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// The name of the module.
    pub name: String,
    /// The SHA-256 of the bytes.
    pub digest: ModuleDigest,
    /// The bytes of the component.
    pub bytes: Vec<u8>,
    /// The description that the component contains.
    pub description: ModuleDescription,
    /// The size of its compiled code, in bytes.
    pub compiled_bytes: u64,
    /// When it was uploaded.
    pub at: Timestamp,
    /// The id of the API key of the upload, if there was one.
    pub by: Option<String>,
}

impl PutModule {
    /// The bytes that count as stored in addition to those of the module: its compiled code and its description.
    pub fn counted_bytes(&self) -> u64 {
        let events = &self.description.events;
        let events = if events.is_empty() {
            0
        } else {
            codec::encode(events).len()
        };
        let described = codec::encode(&self.description).len() + events;
        self.compiled_bytes + described as u64
    }
}

/// The outcome of a [`PutModule`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutModuleOutcome {
    /// The module is the current version of its name.
    Stored {
        /// The number of the version.
        number: ModuleNumber,
        /// Whether anything changed; false if it was already the current version.
        new: bool,
    },
    /// Another module of the tenant offers one of its functions; nothing was changed.
    FunctionTaken {
        /// The function that both offer.
        function: FunctionName,
        /// The name of the module that offers it.
        module: String,
    },
    /// The tenant was deleted in the meantime; nothing was changed.
    TenantGone,
}

/// The outcome of a change to modules or a schedule of a tenant, and what counts of them as stored before and after it,
/// in bytes.
pub(super) struct Counted<T> {
    pub(super) outcome: T,
    pub(super) before: u64,
    pub(super) after: u64,
}

/// The description of a version whose bytes were deleted. Nothing can call it any more.
pub(super) fn without_functions(kind: FunctionKind) -> ModuleDescription {
    ModuleDescription {
        kind,
        functions: Vec::new(),
        sdk: String::new(),
        events: Vec::new(),
        entities: Vec::new(),
    }
}

/// A version of a module.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleVersion {
    /// Its number.
    pub number: ModuleNumber,
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// The name of its last upload.
    pub name: String,
    /// The SHA-256 of its bytes.
    pub digest: ModuleDigest,
    /// The description that the component contains.
    pub description: ModuleDescription,
    /// The size of the component in bytes.
    pub size: u64,
    /// The time of its last upload.
    pub uploaded_at: Timestamp,
    /// The id of the API key of the upload, if there was one.
    pub uploaded_by: Option<String>,
    /// When it stopped being the current version of its name; `None` while it is.
    pub superseded_at: Option<Timestamp>,
}

/// Current versions of modules, by name.
#[derive(Debug, Clone, PartialEq)]
pub struct ModulePage {
    /// The modules on this page; at least one, if there are any.
    pub modules: Vec<ModuleVersion>,
    /// If more modules follow: the name of the last one on this page.
    pub next: Option<String>,
}

/// A version that is no longer current and still has its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OldVersion {
    /// Its number.
    pub number: ModuleNumber,
    /// The SHA-256 of its bytes.
    pub digest: ModuleDigest,
    /// The tenant that owns it.
    pub tenant: TenantId,
    /// When it stopped being the current version.
    pub superseded_at: Timestamp,
}

/// Instances that may need the bytes of an old version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PossibleUsers {
    /// The instances, in ascending order.
    pub instances: Vec<PossibleUser>,
    /// Where to continue: after this instance. `None` if there are no more.
    pub next: Option<InstanceNumber>,
}

/// An instance that may need the bytes of an old version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PossibleUser {
    /// Its number.
    pub instance: InstanceNumber,
    /// Whether the instance runs on the version. Otherwise only its history shows whether an outstanding call names the
    /// version.
    pub runs_on_it: bool,
}

/// The maximum number of instances per query.
pub(super) const MAX_USERS: u32 = 100;
