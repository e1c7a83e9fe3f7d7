//! Runs `describe` of an uploaded module, with limits on fuel, time and memory, and without access to scheduling or the
//! network.

use wasmtime::{Store, Trap};

use super::{
    activity::ActivityState,
    bindings::{WitEvent, entity::EntityModulePre, events::Events, orchestrator::Orchestrator, wit, wit_entity},
    engine,
    module::Code,
    options::DescribeLimits,
    state::OrchestratorState,
    trap::{self, Evidence},
    upload::UploadError,
};

/// The optional interface with which orchestrators declare events.
const EVENTS: &str = "windlass:durable/orchestrator-events@0.1.0";

/// The description that a module returns.
pub(super) enum Described {
    /// Of orchestrations or activities.
    Functions {
        module: wit::ModuleDescription,
        /// The events that orchestrations declare.
        events: Vec<WitEvent>,
    },
    /// Of entities.
    Entities(wit_entity::EntityModuleDescription),
}

/// Runs the start-up code, `describe` and `describe-events` of a module.
///
/// Must be polled on a thread that may block for as long as the limits allow.
pub(super) async fn describe(code: &Code, limits: DescribeLimits) -> Result<Described, UploadError> {
    let run = async {
        match code {
            Code::Orchestrator(code) => {
                let state = OrchestratorState::for_description(limits.memory_bytes);
                let mut store = store(code.engine(), state, limits)?;
                store.limiter(|state| &mut state.limiter);
                let described = async {
                    let code = code.instance_pre();
                    let instance = code.instantiate_async(&mut store).await?;
                    let guest = Orchestrator::new(&mut store, &instance)?;
                    let module = guest.windlass_durable_orchestrator().call_describe(&mut store).await?;
                    let events = match code.component().get_export_index(None, EVENTS) {
                        None => Vec::new(),
                        Some(_) => {
                            let guest = Events::new(&mut store, &instance)?;
                            let guest = guest.windlass_durable_orchestrator_events();
                            guest.call_describe_events(&mut store).await?
                        }
                    };
                    wasmtime::Result::<_>::Ok(Described::Functions { module, events })
                };
                described.await.map_err(|error| {
                    describe_error(&error, store.data_mut().evidence(limits.fuel, limits.description_bytes))
                })
            }
            Code::Activity(code) => {
                let state = ActivityState::for_description(limits.memory_bytes);
                let mut store = store(code.engine(), state, limits)?;
                store.limiter(|state| state.limiter());
                let described = async {
                    let instance = code.instantiate_async(&mut store).await?;
                    let module = instance.windlass_durable_activity().call_describe(&mut store).await?;
                    wasmtime::Result::<_>::Ok(Described::Functions {
                        module,
                        events: Vec::new(),
                    })
                };
                described.await.map_err(|error| {
                    describe_error(&error, store.data().evidence(limits.fuel, limits.description_bytes))
                })
            }
            Code::Entity(code) => Ok(Described::Entities(describe_entities(code, limits).await?)),
        }
    };
    // Epochs stop a guest that computes; this timeout stops a guest that is suspended in a host call.
    match tokio::time::timeout(limits.timeout, run).await {
        Ok(described) => described,
        Err(_) => Err(UploadError::DescribeLimit {
            message: too_long(limits),
        }),
    }
}

/// Runs the start-up code and `describe` of a module of entities. They cannot suspend.
pub(super) async fn describe_entities(
    code: &EntityModulePre<OrchestratorState>,
    limits: DescribeLimits,
) -> Result<wit_entity::EntityModuleDescription, UploadError> {
    let state = OrchestratorState::for_description(limits.memory_bytes);
    let mut store = store(code.engine(), state, limits)?;
    store.limiter(|state| &mut state.limiter);
    let described = async {
        let instance = code.instantiate_async(&mut store).await?;
        instance.windlass_durable_entity().call_describe(&mut store).await
    };
    described
        .await
        .map_err(|error| describe_error(&error, store.data_mut().evidence(limits.fuel, limits.description_bytes)))
}

fn store<T>(engine: &wasmtime::Engine, state: T, limits: DescribeLimits) -> Result<Store<T>, UploadError> {
    let mut store = Store::new(engine, state);
    store
        .set_fuel(limits.fuel)
        .map_err(|error| UploadError::host(format!("{error:#}")))?;
    store.set_epoch_deadline(engine::epochs(limits.timeout));
    store.set_hostcall_fuel(limits.description_bytes);
    Ok(store)
}

/// The error for a guest that failed to start or to describe itself.
fn describe_error(error: &wasmtime::Error, evidence: Evidence) -> UploadError {
    if let Some(trouble) = trap::host_trouble(error, false) {
        return UploadError::Busy {
            message: trouble.to_string(),
        };
    }
    let limited = matches!(error.downcast_ref(), Some(Trap::OutOfFuel | Trap::Interrupt));
    let memory = evidence.memory_denied.is_some();
    let message = trap::failure(error, evidence).message;
    if limited || memory {
        UploadError::DescribeLimit { message }
    } else {
        UploadError::DescribeFailed { message }
    }
}

fn too_long(limits: DescribeLimits) -> String {
    format!("it took longer than {}", humantime::format_duration(limits.timeout))
}
