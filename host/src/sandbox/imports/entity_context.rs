//! `windlass:durable/entity-context`.

use wasmtime::{
    Result, StoreContextMut, bail,
    component::{HasSelf, Linker},
};

use crate::entity::NewState;
use crate::model::Timestamp;
use crate::sandbox::{
    bindings::{
        entity::windlass::durable::entity_context::{self, Applied, EntityInfo, Host, NewState as WitState, Operation},
        wit,
    },
    convert, host_fuel,
    state::OrchestratorState,
};

/// What a guest gives as the outcome of an operation.
type GivenOutcome = std::result::Result<Applied, wit::Failure>;

/// Links all functions of the interface. `next-operation` and `complete-operation` are registered by hand, because they
/// refuel and measure the guest's store.
pub(super) fn add_to_linker(linker: &mut Linker<OrchestratorState>) -> Result<()> {
    entity_context::add_to_linker::<_, HasSelf<OrchestratorState>>(linker, OrchestratorState::called)?;
    linker.allow_shadowing(true);
    let mut interface = linker.instance("windlass:durable/entity-context@0.1.0")?;
    interface.func_wrap("next-operation", |mut store, (): ()| Ok((next_operation(&mut store)?,)))?;
    interface.func_wrap("complete-operation", |mut store, (outcome,): (GivenOutcome,)| {
        Ok((complete_operation(&mut store, outcome)?,))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// Gives out the next operation, with fuel and time of its own.
fn next_operation(store: &mut StoreContextMut<'_, OrchestratorState>) -> Result<Option<Operation>> {
    let left = store.get_fuel()?;
    let state = store.data_mut().called();
    state.host_fuel.check()?;
    let cell = state.step_cell()?.clone();
    let allowance = cell.allowance();
    let used = state.host_fuel.with(allowance.fuel.saturating_sub(left));
    cell.lock().end_if_long(used);
    let operation = state.step(|step| {
        let next = step.next_operation()?;
        Ok(next.map(|operation| Operation {
            name: operation.name.clone(),
            input: operation.input.as_str().to_owned(),
            is_signal: operation.reply_to.is_none(),
        }))
    })?;
    let Some(operation) = operation else {
        // What is left of the fuel and the time is for the rest of `run`. More would never end.
        return Ok(None);
    };
    cell.lock().begin_operation(used);
    state.host_fuel.begin(allowance.host_fuel());
    state.forget_panic();
    state.charge(host_fuel::OPERATION + host_fuel::copied(operation.name.len() + operation.input.len()))?;
    store.set_fuel(allowance.fuel)?;
    Ok(Some(operation))
}

/// Takes the outcome of the running operation, if it has stayed within its fuel.
fn complete_operation(store: &mut StoreContextMut<'_, OrchestratorState>, outcome: GivenOutcome) -> Result<bool> {
    let left = store.get_fuel()?;
    let state = store.data_mut().called();
    let allowance = state.step_cell()?.allowance();
    state.charge(cost_of(&outcome))?;
    state.host_fuel.check_with(allowance.fuel.saturating_sub(left))?;
    state.step(|step| match outcome {
        Ok(Applied { output, state }) => {
            let state = match &state {
                WitState::Unchanged => NewState::Unchanged,
                WitState::Set(state) => NewState::Set(state),
                WitState::Deleted => NewState::Deleted,
            };
            step.complete(Ok((&output, state)))
        }
        Err(failure) => {
            let payload_bytes = step.limits().payload_bytes;
            step.complete(Err(convert::failure(failure, payload_bytes)))
        }
    })
}

/// The cost of checking and storing an outcome, in fuel.
fn cost_of(outcome: &GivenOutcome) -> u64 {
    let bytes = match outcome {
        Ok(Applied { output, state }) => {
            let state = match state {
                WitState::Set(state) => state.len(),
                WitState::Unchanged | WitState::Deleted => 0,
            };
            output.len() + state
        }
        Err(failure) => {
            let details = |details: &Option<String>| details.as_ref().map_or(0, String::len);
            let causes = failure.causes.iter();
            let causes = causes.map(|cause| cause.error_type.len() + cause.message.len() + details(&cause.details));
            failure.error_type.len() + failure.message.len() + details(&failure.details) + causes.sum::<usize>()
        }
    };
    host_fuel::DECISION + host_fuel::payload(bytes)
}

impl Host for OrchestratorState {
    fn info(&mut self) -> Result<EntityInfo> {
        self.charge(0)?;
        let content = self.step_cell()?.lock();
        let limits = content.step.limits();
        Ok(EntityInfo {
            name: content.name.clone(),
            key: content.step.entity().key().to_owned(),
            max_payload_bytes: limits.payload_bytes as u64,
            max_state_bytes: limits.state_bytes as u64,
        })
    }

    fn next_operation(&mut self) -> Result<Option<Operation>> {
        bail!("`next-operation` is registered by hand")
    }

    fn complete_operation(&mut self, _: GivenOutcome) -> Result<bool> {
        bail!("`complete-operation` is registered by hand")
    }

    fn now_ms(&mut self) -> Result<u64> {
        self.charge(0)?;
        self.step(|step| Ok(step.now().0))
    }

    fn new_uuid(&mut self) -> Result<String> {
        self.charge(0)?;
        self.step(|step| Ok(step.new_uuid().to_string()))
    }

    fn signal_entity(
        &mut self,
        name: String,
        key: String,
        operation: String,
        input: String,
        at_ms: Option<u64>,
    ) -> Result<()> {
        let bytes = name.len() + key.len() + operation.len() + input.len();
        self.charge(host_fuel::DECISION + host_fuel::payload(bytes))?;
        let due_at = at_ms.map(Timestamp);
        let fuel = self.step(|step| step.signal(&name, &key, &operation, &input, due_at))?;
        self.charge(fuel)
    }

    fn start_orchestration(&mut self, name: String, input: String, instance_id: Option<String>) -> Result<String> {
        let bytes = name.len() + input.len() + instance_id.as_ref().map_or(0, String::len);
        self.charge(host_fuel::DECISION + host_fuel::payload(bytes))?;
        let (id, fuel) = self.step(|step| step.start(&name, &input, instance_id.as_deref()))?;
        self.charge(fuel)?;
        Ok(id.as_str().to_owned())
    }

    fn log(&mut self, level: wit::LogLevel, message: String) -> Result<()> {
        OrchestratorState::log(self, convert::log_level(level), &message)
    }
}
