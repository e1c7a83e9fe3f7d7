//! `windlass:durable/orchestration`.

use wasmtime::{
    Result, StoreContextMut, bail,
    component::{HasSelf, Linker},
};

use crate::model::{ActivityOptions, ParentClose, TaskId, Timestamp};
use crate::replay::{Completion, Waited, execution::SubOrchestrationRequest};
use crate::sandbox::{
    bindings::{
        orchestrator::windlass::durable::orchestration::{
            self, EntityId, ExecutionInfo, HistorySize, Host, ParentClosePolicy,
        },
        wit,
    },
    convert, host_fuel,
    state::OrchestratorState,
};

use super::{orchestration_poll, poll};

/// Links all functions of the interface. `wait` is registered by hand, because it suspends the guest and refuels its
/// store.
///
/// So is `subscribe`, which the interface no longer has: components built before the first release import it from here,
/// and their instances must continue.
pub(super) fn add_to_linker(linker: &mut Linker<OrchestratorState>) -> Result<()> {
    orchestration::add_to_linker::<_, HasSelf<OrchestratorState>>(linker, OrchestratorState::called)?;
    linker.allow_shadowing(true);
    let mut interface = linker.instance("windlass:durable/orchestration@0.1.0")?;
    interface.func_wrap_async("wait", |store, (): ()| {
        Box::new(async move { Ok((wait(store).await?,)) })
    })?;
    interface.func_wrap("subscribe", |mut store, (task,): (u32,)| {
        Ok((orchestration_poll::subscribe(store.data_mut().called(), task)?,))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

async fn wait(mut store: StoreContextMut<'_, OrchestratorState>) -> Result<Vec<wit::Completion>> {
    store.data_mut().called();
    loop {
        match store.data_mut().schedule(|execution| execution.wait())? {
            Waited::Ready(completions) => {
                store.data_mut().charge(cost_of(&completions))?;
                return Ok(completions.into_iter().map(convert::completion).collect());
            }
            Waited::Quiescent => poll::until_next_turn(&mut store).await?,
        }
    }
}

/// The cost of passing outcomes to the guest, in fuel.
fn cost_of(completions: &[Completion]) -> u64 {
    let payloads = completions.iter().map(|completion| match &completion.outcome {
        Ok(payload) => payload.as_str().len(),
        Err(failure) => usize::try_from(failure.bytes()).unwrap_or(usize::MAX),
    });
    payloads
        .map(|bytes| host_fuel::COMPLETION + host_fuel::copied(bytes))
        .sum()
}

impl Host for OrchestratorState {
    fn info(&mut self) -> Result<ExecutionInfo> {
        self.schedule(|execution| {
            let started = execution.started();
            Ok(ExecutionInfo {
                instance_id: execution.instance_id().as_str().to_owned(),
                execution: started.execution.0,
                function: started.function.as_str().to_owned(),
                parent_instance_id: started
                    .parent
                    .as_ref()
                    .map(|parent| parent.instance_id.as_str().to_owned()),
                started_at_ms: execution.started_at().0,
                max_payload_bytes: started.limits.payload_bytes,
            })
        })
    }

    fn history(&mut self) -> Result<HistorySize> {
        self.schedule(|execution| {
            let size = execution.history();
            Ok(HistorySize {
                turns: size.turns,
                payload_bytes: size.payload_bytes,
            })
        })
    }

    fn now_ms(&mut self) -> Result<u64> {
        self.schedule(|execution| Ok(execution.now()?.0))
    }

    fn new_uuid(&mut self) -> Result<String> {
        self.schedule(|execution| Ok(execution.new_uuid().to_string()))
    }

    fn call_activity(&mut self, name: String, input: String, options: wit::ActivityOptions) -> Result<u32> {
        let options = convert::activity_options(options);
        self.decide(name.len() + input.len(), |execution| {
            Ok(execution.call_activity(&name, &input, options)?.0)
        })
    }

    fn call_activity_with_heartbeat(
        &mut self,
        name: String,
        input: String,
        options: wit::ActivityOptions,
        heartbeat_timeout_ms: u64,
    ) -> Result<u32> {
        let options = ActivityOptions {
            heartbeat_timeout_ms: Some(heartbeat_timeout_ms),
            ..convert::activity_options(options)
        };
        self.decide(name.len() + input.len(), |execution| {
            Ok(execution.call_activity(&name, &input, options)?.0)
        })
    }

    fn call_sub_orchestration(
        &mut self,
        function: String,
        input: String,
        options: wit::SubOrchestrationOptions,
    ) -> Result<u32> {
        let (options, instance_id) = convert::sub_orchestration_options(options);
        let bytes = function.len() + input.len();
        let request = SubOrchestrationRequest {
            function,
            input,
            instance_id,
            options,
        };
        self.decide(bytes, |execution| Ok(execution.call_sub_orchestration(request)?.0))
    }

    fn start_orchestration(&mut self, name: String, input: String, instance_id: Option<String>) -> Result<String> {
        self.decide(name.len() + input.len(), |execution| {
            let id = execution.start_orchestration(&name, &input, instance_id.as_deref())?;
            Ok(id.as_str().to_owned())
        })
    }

    fn send_event(&mut self, instance_id: String, name: String, payload: String) -> Result<()> {
        let bytes = name.len() + payload.len();
        self.decide(bytes, |execution| execution.send_event(&instance_id, &name, &payload))
    }

    fn create_timer(&mut self, fire_at_ms: u64) -> Result<u32> {
        self.decide(0, |execution| Ok(execution.create_timer(Timestamp(fire_at_ms))?.0))
    }

    fn wait_for_event(&mut self, name: String) -> Result<u32> {
        self.decide(name.len(), |execution| Ok(execution.wait_for_event(&name)?.0))
    }

    fn take_event(&mut self, task: u32) -> Result<Option<String>> {
        let event = self.schedule(|execution| execution.take_event(TaskId(task)))?;
        let payload = event.map(|payload| payload.as_str().to_owned());
        self.charge(host_fuel::copied(payload.as_ref().map_or(0, String::len)))?;
        Ok(payload)
    }

    fn cancel_task(&mut self, task: u32) -> Result<()> {
        self.decide(0, |execution| execution.cancel_task(TaskId(task)))
    }

    fn wait_for_cancellation(&mut self) -> Result<u32> {
        self.decide(0, |execution| Ok(execution.wait_for_cancellation()?.0))
    }

    fn cancellation_requested(&mut self) -> Result<Option<String>> {
        let reason = self.schedule(|execution| Ok(execution.cancellation_requested()?.map(str::to_owned)))?;
        self.charge(host_fuel::copied(reason.as_ref().map_or(0, String::len)))?;
        Ok(reason)
    }

    fn set_parent_close(&mut self, task: u32, policy: ParentClosePolicy) -> Result<()> {
        let policy = match policy {
            ParentClosePolicy::Abandon => ParentClose::Abandon,
            ParentClosePolicy::Terminate => ParentClose::Terminate,
            ParentClosePolicy::Cancel => ParentClose::Cancel,
        };
        self.decide(0, |execution| execution.set_parent_close(TaskId(task), policy))
    }

    fn patched(&mut self, name: String) -> Result<bool> {
        self.decide(name.len(), |execution| execution.patched(&name))
    }

    fn deprecate_patch(&mut self, name: String) -> Result<()> {
        self.decide(name.len(), |execution| execution.deprecate_patch(&name))
    }

    fn call_entity(&mut self, entity: EntityId, operation: String, input: String) -> Result<u32> {
        let EntityId { name, key } = entity;
        let bytes = name.len() + key.len() + operation.len() + input.len();
        self.decide(bytes, |execution| {
            Ok(execution.call_entity(&name, &key, &operation, &input)?.0)
        })
    }

    fn signal_entity(&mut self, entity: EntityId, operation: String, input: String, at_ms: Option<u64>) -> Result<()> {
        let EntityId { name, key } = entity;
        let bytes = name.len() + key.len() + operation.len() + input.len();
        let due_at = at_ms.map(Timestamp);
        self.decide(bytes, |execution| {
            execution.signal_entity(&name, &key, &operation, &input, due_at)
        })
    }

    fn lock_entities(&mut self, entities: Vec<EntityId>) -> Result<u32> {
        // Each entity gets a request for its lock, like a decision.
        self.charge(host_fuel::DECISION.saturating_mul(entities.len() as u64))?;
        let bytes = entities.iter().map(|entity| entity.name.len() + entity.key.len()).sum();
        self.decide(bytes, |execution| {
            let ids = entities
                .iter()
                .map(|entity| (entity.name.as_str(), entity.key.as_str()));
            Ok(execution.lock_entities(ids)?.0)
        })
    }

    fn unlock_entities(&mut self, task: u32) -> Result<()> {
        self.decide(0, |execution| execution.unlock_entities(TaskId(task)))
    }

    fn wait(&mut self) -> Result<Vec<wit::Completion>> {
        bail!("`wait` is registered by hand")
    }

    fn set_custom_status(&mut self, status: String) -> Result<()> {
        self.decide(status.len(), |execution| execution.set_custom_status(&status))
    }

    fn continue_as_new(&mut self, input: String) -> Result<()> {
        self.decide(input.len(), |execution| execution.continue_as_new(&input))
    }

    fn log(&mut self, level: wit::LogLevel, message: String) -> Result<()> {
        OrchestratorState::log(self, convert::log_level(level), &message)
    }
}

impl wit::Host for OrchestratorState {}
