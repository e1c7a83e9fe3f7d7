//! `wasi:filesystem/preopens`: always empty, so a guest cannot access any file.

use wasmtime::{Result, component::Resource};

use crate::sandbox::{bindings::orchestrator::wasi::filesystem::preopens::Host, state::OrchestratorState};

use super::Never;

impl Host for OrchestratorState {
    fn get_directories(&mut self) -> Result<Vec<(Resource<Never>, String)>> {
        Ok(Vec::new())
    }
}
