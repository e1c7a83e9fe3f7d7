//! `wasi:cli/environment`: always empty, because an orchestration may only depend on its input.

use wasmtime::Result;

use crate::sandbox::{bindings::orchestrator::wasi::cli::environment::Host, state::OrchestratorState};

impl Host for OrchestratorState {
    fn get_environment(&mut self) -> Result<Vec<(String, String)>> {
        Ok(Vec::new())
    }

    fn get_arguments(&mut self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    fn initial_cwd(&mut self) -> Result<Option<String>> {
        Ok(None)
    }
}
