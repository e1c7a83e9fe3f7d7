//! `wasi:cli/terminal-*`: nothing is a terminal.

use wasmtime::{Result, component::Resource};

use crate::sandbox::{
    bindings::orchestrator::wasi::cli::{
        terminal_input::{self, HostTerminalInput},
        terminal_output::{self, HostTerminalOutput},
        terminal_stderr, terminal_stdin, terminal_stdout,
    },
    state::OrchestratorState,
};

use super::Never;

impl terminal_input::Host for OrchestratorState {}

impl HostTerminalInput for OrchestratorState {
    fn drop(&mut self, terminal: Resource<Never>) -> Result<()> {
        self.table.delete(terminal)?.never()
    }
}

impl terminal_output::Host for OrchestratorState {}

impl HostTerminalOutput for OrchestratorState {
    fn drop(&mut self, terminal: Resource<Never>) -> Result<()> {
        self.table.delete(terminal)?.never()
    }
}

impl terminal_stdin::Host for OrchestratorState {
    fn get_terminal_stdin(&mut self) -> Result<Option<Resource<Never>>> {
        Ok(None)
    }
}

impl terminal_stdout::Host for OrchestratorState {
    fn get_terminal_stdout(&mut self) -> Result<Option<Resource<Never>>> {
        Ok(None)
    }
}

impl terminal_stderr::Host for OrchestratorState {
    fn get_terminal_stderr(&mut self) -> Result<Option<Resource<Never>>> {
        Ok(None)
    }
}
