//! `wasi:cli/{stdin,stdout,stderr}`: an empty input, and outputs whose lines become log lines.

use wasmtime::{Result, component::Resource};

use crate::sandbox::{
    bindings::orchestrator::wasi::cli::{stderr, stdin, stdout},
    state::OrchestratorState,
};

use super::streams::{EmptyInput, LogStream};

impl stdin::Host for OrchestratorState {
    fn get_stdin(&mut self) -> Result<Resource<EmptyInput>> {
        Ok(self.table.push(EmptyInput)?)
    }
}

impl stdout::Host for OrchestratorState {
    fn get_stdout(&mut self) -> Result<Resource<LogStream>> {
        Ok(self.table.push(LogStream::Stdout)?)
    }
}

impl stderr::Host for OrchestratorState {
    fn get_stderr(&mut self) -> Result<Resource<LogStream>> {
        Ok(self.table.push(LogStream::Stderr)?)
    }
}
