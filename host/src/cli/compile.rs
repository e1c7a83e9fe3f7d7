//! `windlass compile`: compiles one uploaded component under limits. Run by the host, not by people.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::model::FunctionKind;
use crate::sandbox::{ChildLimits, run_child};

/// Arguments of `compile`.
#[derive(Debug, Args)]
pub(super) struct Compile {
    /// Kind of the component's functions
    #[arg(long)]
    kind: Kind,
    /// Maximum memory of an orchestration or an entity, in bytes
    #[arg(long)]
    orchestrator_memory_bytes: u64,
    /// Limit of CPU time, in seconds
    #[arg(long)]
    cpu_seconds: u64,
    /// Limit of address space, in bytes
    #[arg(long)]
    address_space_bytes: u64,
    /// File to write the artefact to
    #[arg(long)]
    output: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Kind {
    Orchestration,
    Activity,
    Entity,
}

impl From<Kind> for FunctionKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Orchestration => Self::Orchestration,
            Kind::Activity => Self::Activity,
            Kind::Entity => Self::Entity,
        }
    }
}

impl Compile {
    /// Reads the component from standard input. Does not start a runtime, whose threads would count against the limits.
    pub(super) fn run(self) -> ExitCode {
        let limits = ChildLimits {
            cpu_seconds: self.cpu_seconds,
            address_space_bytes: self.address_space_bytes,
        };
        match run_child(self.kind.into(), self.orchestrator_memory_bytes, limits, &self.output) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                error.exit_code().into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_can_name_every_kind() {
        for kind in [
            FunctionKind::Orchestration,
            FunctionKind::Activity,
            FunctionKind::Entity,
        ] {
            let parsed = Kind::from_str(kind.name(), false).unwrap();
            assert_eq!(FunctionKind::from(parsed), kind);
        }
    }
}
