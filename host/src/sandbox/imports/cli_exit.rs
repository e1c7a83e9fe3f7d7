//! `wasi:cli/exit`: always a failure, whatever the exit code. An orchestration ends by returning.

use wasmtime::Result;

use crate::sandbox::{bindings::orchestrator::wasi::cli::exit::Host, state::OrchestratorState, trap::Exited};

impl Host for OrchestratorState {
    fn exit(&mut self, status: Result<(), ()>) -> Result<()> {
        Err(Exited(u8::from(status.is_err())).into())
    }

    fn exit_with_code(&mut self, status_code: u8) -> Result<()> {
        Err(Exited(status_code).into())
    }
}
