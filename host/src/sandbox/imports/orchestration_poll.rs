//! `windlass:durable/orchestration-poll`.

use wasmtime::{Result, component::Resource};

use crate::model::TaskId;
use crate::sandbox::{bindings::orchestrator::windlass::durable::orchestration_poll::Host, state::OrchestratorState};

use super::poll::Pollable;

/// Creates a pollable that is ready when the task has an outcome.
pub(super) fn subscribe(state: &mut OrchestratorState, task: u32) -> Result<Resource<Pollable>> {
    state.lent()?;
    Ok(state.table.push(Pollable::Task(TaskId(task)))?)
}

impl Host for OrchestratorState {
    fn subscribe(&mut self, task: u32) -> Result<Resource<Pollable>> {
        subscribe(self, task)
    }
}
