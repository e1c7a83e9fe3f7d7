//! A module that is ready to run.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, OnceLock},
};

use crate::model::{FunctionKind, FunctionName, ModuleDigest};

use super::{
    activity::ActivityState,
    bindings::{activity::ActivityModulePre, entity::EntityModulePre, orchestrator::OrchestratorPre},
    state::OrchestratorState,
};

/// A compiled and linked module. Cheap to clone.
#[derive(Clone)]
pub struct Module(Arc<Inner>);

struct Inner {
    digest: ModuleDigest,
    code: Code,
    entity_names: OnceLock<EntityNames>,
}

/// The names of entities as their module declares them, by the names in lower case.
pub(super) type EntityNames = BTreeMap<FunctionName, String>;

/// The code from which guests are instantiated.
pub(super) enum Code {
    Orchestrator(OrchestratorPre<OrchestratorState>),
    Activity(ActivityModulePre<ActivityState>),
    Entity(EntityModulePre<OrchestratorState>),
}

impl Module {
    pub(super) fn new(digest: ModuleDigest, code: Code) -> Self {
        Self(Arc::new(Inner {
            digest,
            code,
            entity_names: OnceLock::new(),
        }))
    }

    /// The digest of its bytes.
    pub fn digest(&self) -> ModuleDigest {
        self.0.digest
    }

    /// The kind of its functions.
    pub fn kind(&self) -> FunctionKind {
        match self.0.code {
            Code::Orchestrator(_) => FunctionKind::Orchestration,
            Code::Activity(_) => FunctionKind::Activity,
            Code::Entity(_) => FunctionKind::Entity,
        }
    }

    /// The size in bytes of its compiled image: code, data and metadata.
    pub fn code_bytes(&self) -> u64 {
        let component = match &self.0.code {
            Code::Orchestrator(code) => code.instance_pre().component(),
            Code::Activity(code) => code.instance_pre().component(),
            Code::Entity(code) => code.instance_pre().component(),
        };
        let image = component.image_range();
        (image.end as u64).saturating_sub(image.start as u64)
    }

    pub(super) fn code(&self) -> &Code {
        &self.0.code
    }

    /// The names of its entities, once they are known. They are not stored with the compiled code, so that the first step
    /// after the module was loaded asks for them.
    pub(super) fn entity_names(&self) -> &OnceLock<EntityNames> {
        &self.0.entity_names
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({}, {:?})", self.0.digest, self.kind())
    }
}
