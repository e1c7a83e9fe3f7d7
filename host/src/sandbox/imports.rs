//! The imports of orchestrators and entities: their durable interfaces, and a virtual WASI that is deterministic. All of
//! them are our own code.
//!
//! There is one file per interface. Each is a translation: convert the arguments, call the execution or the step, convert
//! the result. [`crate::replay`] decides what is new and what is replayed from history, [`crate::entity`] what an
//! operation leaves behind.

use wasmtime::{
    Engine, Result,
    component::{HasSelf, Linker},
};

use super::bindings::orchestrator::{
    wasi::{cli, clocks, filesystem, io, random},
    windlass::durable::{orchestration_poll as durable_poll, types},
};
use super::state::OrchestratorState;

pub(super) mod entity_context;
pub(super) mod orchestration;
pub(super) mod orchestration_poll;

pub(super) mod cli_environment;
pub(super) mod cli_exit;
pub(super) mod cli_stdio;
pub(super) mod cli_terminal;
pub(super) mod filesystem_preopens;
pub(super) mod filesystem_types;
pub(super) mod http_requests;
pub(super) mod inert;
pub(super) mod io_error;
pub(super) mod monotonic_clock;
pub(super) mod poll;
pub(super) mod random_bytes;
pub(super) mod streams;
pub(super) mod wall_clock;

/// A resource type without instances: descriptors, terminals, stream errors.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
#[derive(Debug)]
pub enum Never {}

impl Never {
    /// Returns any type, because it can never be called.
    pub(super) fn never<R>(&self) -> R {
        match *self {}
    }
}

/// Links everything that an orchestrator or an entity may import. An upload is refused if it imports the durable interface
/// of another kind, whose functions would only trap. Each call costs [fuel](super::host_fuel).
pub(super) fn linker(engine: &Engine) -> Result<Linker<OrchestratorState>> {
    type State = HasSelf<OrchestratorState>;
    let mut linker = Linker::new(engine);
    let l = &mut linker;
    types::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    orchestration::add_to_linker(l)?;
    entity_context::add_to_linker(l)?;
    durable_poll::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    poll::add_to_linker(l)?;
    io::error::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    io::streams::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    clocks::wall_clock::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    clocks::monotonic_clock::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    random::random::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    random::insecure::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    random::insecure_seed::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    cli::environment::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    cli::exit::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    cli::stdin::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    cli::stdout::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    cli::stderr::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    cli::terminal_input::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    cli::terminal_output::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    cli::terminal_stdin::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    cli::terminal_stdout::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    cli::terminal_stderr::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    filesystem::types::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    filesystem::preopens::add_to_linker::<_, State>(l, OrchestratorState::called)?;
    inert::add_sockets(l)?;
    inert::add_http(l)?;
    Ok(linker)
}
