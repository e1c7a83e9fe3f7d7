//! `wasi:io/error`: has no instances, because the streams of an orchestrator never fail.

use wasmtime::{Result, component::Resource};

use crate::sandbox::{
    bindings::orchestrator::wasi::io::error::{Host, HostError},
    state::OrchestratorState,
};

use super::Never;

impl Host for OrchestratorState {}

impl HostError for OrchestratorState {
    fn to_debug_string(&mut self, error: Resource<Never>) -> Result<String> {
        self.table.get(&error)?.never()
    }

    fn drop(&mut self, error: Resource<Never>) -> Result<()> {
        self.table.delete(error)?.never()
    }
}
