//! A module that is ready to run.

use std::{fmt, sync::Arc};

use crate::model::{FunctionKind, ModuleDigest};

use super::{
    activity::ActivityState,
    bindings::{activity::ActivityModulePre, orchestrator::OrchestratorPre},
    state::OrchestratorState,
};

/// A compiled and linked module. Cheap to clone.
#[derive(Clone)]
pub struct Module(Arc<Inner>);

struct Inner {
    digest: ModuleDigest,
    code: Code,
}

/// The code from which guests are instantiated.
pub(super) enum Code {
    Orchestrator(OrchestratorPre<OrchestratorState>),
    Activity(ActivityModulePre<ActivityState>),
}

impl Module {
    pub(super) fn new(digest: ModuleDigest, code: Code) -> Self {
        Self(Arc::new(Inner { digest, code }))
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
        }
    }

    /// The size in bytes of its compiled image: code, data and metadata.
    pub fn code_bytes(&self) -> u64 {
        let component = match &self.0.code {
            Code::Orchestrator(code) => code.instance_pre().component(),
            Code::Activity(code) => code.instance_pre().component(),
        };
        let image = component.image_range();
        (image.end as u64).saturating_sub(image.start as u64)
    }

    pub(super) fn code(&self) -> &Code {
        &self.0.code
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Module({}, {:?})", self.0.digest, self.kind())
    }
}
