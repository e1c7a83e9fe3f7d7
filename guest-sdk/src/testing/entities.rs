//! The entities of a simulated world: states, queues and locks.
//!
//! As on the real host, an operation is applied when its turn in the queue of its entity comes; a lock waits in the same
//! queue, and the operations of its holder pass the queue. A section locks its entities one after the other in the order
//! of their ids.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use serde_json::Value;

use crate::entity::address::EntityId;
use crate::entity::client::Sender;
use crate::entity::signature::{EntityEntry, unknown_operation};
use crate::entity::step::{Applied, NewState, Operation};
use crate::entity::{Entity, EntityBackend, EntityInfo};
use crate::failure::{Failure, Result};
use crate::failure_types;
use crate::instance_id::InstanceId;
use crate::logging::{self, Level};
use crate::payload::encode;
use crate::time::Timestamp;

use super::functions::Functions;
use super::host::MAX_PAYLOAD_BYTES;
use super::instance::{Happening, Place, State};
use super::run::{Called, CalledKind, LogLine, SentSignal};
use super::simulation::Simulation;

/// The maximum size of a state in bytes: the default of the real host.
const MAX_STATE_BYTES: u64 = 256 << 10;

/// The maximum number of entities of a critical section: the default of the real host.
const MAX_LOCKED_ENTITIES: usize = 32;

/// The maximum size of a name in bytes.
const MAX_NAME_BYTES: usize = 200;

/// The maximum size of an entity's id among the instances in bytes.
const MAX_ID_BYTES: usize = 256;

/// An operation that a scripted entity applies.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EntityOperation {
    /// The key of the entity.
    pub key: String,
    /// The name of the operation.
    pub name: String,
    /// The input as JSON.
    pub input: Value,
    /// Whether nobody waits for the output.
    pub is_signal: bool,
    /// The current virtual time.
    pub now: Timestamp,
}

pub(super) type EntityScript = dyn FnMut(&EntityOperation, &mut Option<Value>) -> Result<Value>;

/// The code of an entity.
#[derive(Clone)]
pub(super) enum EntityCode {
    Real(EntityEntry),
    Script(Rc<RefCell<EntityScript>>),
}

impl EntityCode {
    fn apply(&self, ctx: &Entity, state: Option<String>, operation: &Operation) -> Result<Applied> {
        let script = match self {
            Self::Real(entry) => {
                let opened = (entry.open)(state);
                let mut entity =
                    opened.unwrap_or_else(|failure| panic!("the state of {} cannot be read: {failure}", ctx.id()));
                return entity.apply(ctx, operation);
            }
            Self::Script(script) => script,
        };
        let parse = |text: &str| serde_json::from_str(text).expect("a payload that was written before");
        let mut value = state.as_deref().map(parse);
        let operation = EntityOperation {
            key: ctx.key().into(),
            name: operation.name.clone(),
            input: parse(&operation.input),
            is_signal: operation.is_signal,
            now: ctx.now(),
        };
        let output = (script.borrow_mut())(&operation, &mut value)?;
        Ok(Applied {
            output: output.to_string(),
            state: value.map_or(NewState::Deleted, |value| NewState::Set(value.to_string())),
        })
    }
}

/// All entities that were ever asked for something.
#[derive(Default)]
pub(super) struct Entities {
    all: BTreeMap<EntityId, SimulatedEntity>,
    /// Critical sections that were left. Their requests for locks come too late.
    left: BTreeSet<Place>,
    starts: u64,
}

#[derive(Default)]
struct SimulatedEntity {
    state: Option<String>,
    queue: VecDeque<Waiting>,
    /// The lock task of the section that holds it.
    lock: Option<Place>,
}

enum Waiting {
    Operation(SentOperation),
    Lock(LockRequest),
}

/// An operation on its way.
pub(super) struct SentOperation {
    pub(super) entity: EntityId,
    pub(super) operation: String,
    pub(super) input: String,
    /// The task that waits for the outcome; `None` for a signal.
    pub(super) caller: Option<Place>,
    /// The lock task of the section that the sender is in.
    pub(super) section: Option<Place>,
}

/// The request of a critical section for its next lock.
pub(super) struct LockRequest {
    pub(super) section: Place,
    /// The entities that are not locked yet, in the order of locking. Not empty.
    pub(super) entities: VecDeque<EntityId>,
}

impl Entities {
    pub(super) fn set(&mut self, entity: EntityId, state: String) {
        self.all.entry(entity).or_default().state = Some(state);
    }

    /// The states of the entities that have one.
    pub(super) fn into_states(self) -> BTreeMap<EntityId, String> {
        let state = |(id, entity): (EntityId, SimulatedEntity)| Some((id, entity.state?));
        self.all.into_iter().filter_map(state).collect()
    }

    fn entity(&mut self, id: &EntityId) -> &mut SimulatedEntity {
        self.all.entry(id.clone()).or_default()
    }
}

impl Functions {
    /// Checks the parts of an operation that need no entity.
    pub(super) fn check_operation_form(entity: &EntityId, operation: &str, input: &str) -> Result<()> {
        check_id(entity)?;
        if operation.len() > MAX_NAME_BYTES {
            let message = format!(
                "the operation name is {} bytes long, at most {MAX_NAME_BYTES} are allowed",
                operation.len()
            );
            return Err(argument(message));
        }
        if input.len() as u64 > MAX_PAYLOAD_BYTES {
            let message = format!("the payload has more than {MAX_PAYLOAD_BYTES} bytes");
            return Err(Failure::new(failure_types::PAYLOAD_REFUSED, message).non_retryable());
        }
        Ok(())
    }

    /// Checks that the entity has the operation and takes the input.
    pub(super) fn check_operation(&self, entity: &EntityId, operation: &str, input: &str) -> Result<()> {
        let EntityCode::Real(entry) = self.entity(entity)? else {
            return Ok(());
        };
        let Some(checked) = (entry.check_input)(operation, input) else {
            return Err(unknown_operation(entry.name, operation));
        };
        checked.map_err(|failure| {
            let message = format!("the input of {operation:?} is invalid: {}", failure.message());
            Failure::new(failure_types::INVALID_INPUT, message).non_retryable()
        })
    }

    fn entity(&self, id: &EntityId) -> Result<&EntityCode> {
        self.entities.get(&id.name().to_lowercase()).ok_or_else(|| {
            let message = format!("no module has the entity {:?}", id.name());
            Failure::new(failure_types::UNKNOWN_FUNCTION, message).non_retryable()
        })
    }

    /// Checks the entities of a critical section. Returns them in the order of locking, each once.
    pub(super) fn check_section(&self, entities: &[EntityId], is_in_section: bool) -> Result<VecDeque<EntityId>> {
        for id in entities {
            check_id(id)?;
        }
        let sorted: BTreeSet<EntityId> = entities.iter().cloned().collect();
        if is_in_section {
            let message = "the execution is in a critical section";
            return Err(Failure::new(failure_types::LOCKED_ALREADY, message).non_retryable());
        }
        if sorted.is_empty() {
            return Err(argument("a critical section needs at least one entity".into()));
        }
        if sorted.len() > MAX_LOCKED_ENTITIES {
            let message = format!(
                "a critical section may lock {MAX_LOCKED_ENTITIES} entities, not {}",
                sorted.len()
            );
            return Err(Failure::new(failure_types::LIMIT, message).non_retryable());
        }
        for id in &sorted {
            self.entity(id)?;
        }
        Ok(sorted.into_iter().collect())
    }
}

fn argument(message: String) -> Failure {
    Failure::new(failure_types::INVALID_ARGUMENT, message).non_retryable()
}

fn check_id(id: &EntityId) -> Result<()> {
    let folded = id.name().to_lowercase();
    if folded.is_empty() {
        return Err(argument("the entity name must not be empty".into()));
    }
    let is_dots = |text: &str| text == "." || text == "..";
    let is_bad = |c: char| c.is_control() || ['/', '\\', '?', '#'].contains(&c);
    if folded.len() > MAX_NAME_BYTES || is_dots(&folded) || folded.contains(|c| is_bad(c) || c == '@') {
        return Err(argument(format!("the entity name {:?} is invalid", id.name())));
    }
    if folded.len() + id.key().len() + 2 > MAX_ID_BYTES || is_dots(id.key()) || id.key().contains(is_bad) {
        return Err(argument(format!("the entity key {:?} is invalid", id.key())));
    }
    Ok(())
}

impl State {
    /// Leaves the critical section of an execution that is in one. Returns the message that unlocks its entities.
    pub(super) fn leave_section(&mut self, instance: usize) -> Option<Happening> {
        let (task, entities) = self.instances[instance].section.take()?;
        self.instances[instance].tasks.remove(&task);
        Some(Happening::SectionLeft {
            section: self.place(instance, task),
            entities,
        })
    }
}

impl Simulation {
    pub(super) fn operation_arrives(&self, operation: SentOperation) {
        let id = operation.entity.clone();
        let mut state = self.state.borrow_mut();
        let entity = state.entities.entity(&id);
        let is_holders = entity.lock.is_some() && entity.lock == operation.section;
        if is_holders {
            drop(state);
            return self.apply(operation);
        }
        entity.queue.push_back(Waiting::Operation(operation));
        drop(state);
        self.serve(&id);
    }

    pub(super) fn lock_arrives(&self, request: LockRequest) {
        let mut state = self.state.borrow_mut();
        if state.entities.left.contains(&request.section) {
            return;
        }
        let id = request.entities[0].clone();
        state.entities.entity(&id).queue.push_back(Waiting::Lock(request));
        drop(state);
        self.serve(&id);
    }

    pub(super) fn section_left(&self, section: Place, entities: &[EntityId]) {
        let mut state = self.state.borrow_mut();
        state.entities.left.insert(section);
        for id in entities {
            let entity = state.entities.entity(id);
            entity.lock.take_if(|holder| *holder == section);
            entity.queue.retain(|waiting| match waiting {
                Waiting::Lock(request) => request.section != section,
                Waiting::Operation(_) => true,
            });
        }
        drop(state);
        for id in entities {
            self.serve(id);
        }
    }

    /// Takes what waits for an entity, until it is locked.
    fn serve(&self, id: &EntityId) {
        loop {
            let mut state = self.state.borrow_mut();
            let entity = state.entities.entity(id);
            if entity.lock.is_some() {
                return;
            }
            match entity.queue.pop_front() {
                None => return,
                Some(Waiting::Operation(operation)) => {
                    drop(state);
                    self.apply(operation);
                }
                Some(Waiting::Lock(mut request)) => {
                    entity.lock = Some(request.section);
                    request.entities.pop_front();
                    if request.entities.is_empty() {
                        state.complete(request.section, Ok("null".into()));
                    } else {
                        let now = state.now;
                        state.at(now, Happening::LockArrives(request));
                    }
                }
            }
        }
    }

    /// Applies one operation, with everything that follows from it.
    fn apply(&self, sent: SentOperation) {
        let host = Rc::new(EntityHost {
            state: self.state.clone(),
            functions: self.functions.clone(),
            entity: sent.entity.clone(),
            effects: RefCell::default(),
        });
        let state = self.state.borrow_mut().entities.entity(&sent.entity).state.clone();
        let ctx = Entity::new(host.clone());
        let operation = Operation {
            name: sent.operation.clone(),
            input: sent.input,
            is_signal: sent.caller.is_none(),
        };
        let outcome = {
            let _logging = logging::enter(ctx.sink());
            let code = self.functions.entity(&sent.entity).cloned();
            code.and_then(|code| code.apply(&ctx, state, &operation))
                .and_then(check_sizes)
        };
        let outcome = match outcome {
            Ok(applied) => {
                let mut state = self.state.borrow_mut();
                let entity = state.entities.entity(&sent.entity);
                match applied.state {
                    NewState::Unchanged => {}
                    NewState::Set(text) => entity.state = Some(text),
                    NewState::Deleted => entity.state = None,
                }
                drop(state);
                for effect in host.effects.take() {
                    self.cause(effect);
                }
                Ok(applied.output)
            }
            Err(failure) => {
                let line = format!("operation {:?} failed: {failure}", operation.name);
                host.log(Level::Warn, &line);
                Err(failure)
            }
        };
        if let Some(caller) = sent.caller {
            self.state.borrow_mut().complete(caller, outcome);
        }
    }

    fn cause(&self, effect: Effect) {
        let mut state = self.state.borrow_mut();
        match effect {
            Effect::Signal(signal) => {
                let time = signal.at.map_or(state.now, |at| at.max(state.now));
                let operation = signal.operation();
                state.signals.push(signal.into());
                state.at(time, Happening::OperationArrives(operation));
            }
            Effect::Start { id, name, input } => {
                state.calls.push(Called::new(CalledKind::Start, &name, &input));
                let starts = self.functions.is_orchestration(&name) && state.alive(id.as_str()).is_none();
                drop(state);
                if starts {
                    self.functions.start_instance(&self.state, id, &name, &input, None);
                }
            }
        }
    }
}

fn check_sizes(applied: Applied) -> Result<Applied> {
    if applied.output.len() as u64 > MAX_PAYLOAD_BYTES {
        let message = format!("the output has more than {MAX_PAYLOAD_BYTES} bytes");
        return Err(Failure::new(failure_types::PAYLOAD_REFUSED, message).non_retryable());
    }
    match &applied.state {
        NewState::Set(state) if state.len() as u64 > MAX_STATE_BYTES => {
            let message = format!("the state has more than {MAX_STATE_BYTES} bytes");
            Err(Failure::new(failure_types::INVALID_STATE, message).non_retryable())
        }
        _ => Ok(applied),
    }
}

/// What an operation causes outside of its entity if it succeeds.
enum Effect {
    Signal(NewSignal),
    Start {
        id: InstanceId,
        name: String,
        input: String,
    },
}

/// A signal that was checked.
pub(super) struct NewSignal {
    pub(super) entity: EntityId,
    pub(super) operation: String,
    pub(super) input: String,
    pub(super) at: Option<Timestamp>,
}

impl NewSignal {
    pub(super) fn operation(&self) -> SentOperation {
        SentOperation {
            entity: self.entity.clone(),
            operation: self.operation.clone(),
            input: self.input.clone(),
            caller: None,
            section: None,
        }
    }
}

impl From<NewSignal> for SentSignal {
    fn from(signal: NewSignal) -> Self {
        Self {
            input: serde_json::from_str(&signal.input).unwrap_or_default(),
            entity: signal.entity,
            operation: signal.operation,
            at: signal.at,
        }
    }
}

/// The simulated host, for one operation of an entity.
struct EntityHost {
    state: Rc<RefCell<State>>,
    functions: Rc<Functions>,
    entity: EntityId,
    effects: RefCell<Vec<Effect>>,
}

impl EntityBackend for EntityHost {
    fn info(&self) -> EntityInfo {
        EntityInfo {
            id: self.entity.clone(),
            max_payload_bytes: MAX_PAYLOAD_BYTES,
            max_state_bytes: MAX_STATE_BYTES,
        }
    }

    fn now_ms(&self) -> u64 {
        self.state.borrow().now.for_host()
    }

    fn new_uuid(&self) -> String {
        self.state.borrow_mut().new_uuid()
    }

    fn signal_entity(&self, entity: &EntityId, operation: &str, input: &str, at_ms: Option<u64>) {
        let checked = Functions::check_operation_form(entity, operation, input)
            .and_then(|()| self.functions.check_operation(entity, operation, input));
        match checked {
            Ok(()) => self.effects.borrow_mut().push(Effect::Signal(NewSignal {
                entity: entity.clone(),
                operation: operation.into(),
                input: input.into(),
                at: at_ms.map(Timestamp::from_host),
            })),
            Err(failure) => self.log(Level::Error, &not_signalled(entity, operation, &failure)),
        }
    }

    fn start_orchestration(&self, name: &str, input: &str, instance_id: Option<&str>) -> String {
        let mut state = self.state.borrow_mut();
        state.entities.starts += 1;
        let drawn = format!("started-by-entity-{}", state.entities.starts);
        let id = instance_id.map_or(drawn, str::to_owned);
        drop(state);
        let checked = match self.functions.is_orchestration(name) {
            true => self.functions.check_call(CalledKind::Start, name, input),
            false => Ok(()),
        };
        match checked {
            Ok(()) => self.effects.borrow_mut().push(Effect::Start {
                id: id.as_str().into(),
                name: name.into(),
                input: input.into(),
            }),
            Err(failure) => {
                let line = format!("orchestration {name:?} was not started: {}", failure.message());
                self.log(Level::Error, &line);
            }
        }
        id
    }

    fn log(&self, level: Level, message: &str) {
        self.state.borrow_mut().logs.push(LogLine {
            instance_id: self.entity.to_string().into(),
            level,
            message: message.into(),
        });
    }
}

/// The line of the log about a signal that was refused.
pub(super) fn not_signalled(entity: &EntityId, operation: &str, failure: &Failure) -> String {
    let name = entity.name();
    format!(
        "operation {operation:?} of {name:?} was not signalled: {}",
        failure.message()
    )
}

/// A sender that keeps the signals of a test.
#[derive(Default)]
pub(super) struct Recorder(RefCell<Vec<NewSignal>>);

impl Recorder {
    pub(super) fn into_signals(self: Rc<Self>) -> Vec<NewSignal> {
        self.0.take()
    }
}

impl Sender for Recorder {
    fn now(&self) -> Timestamp {
        Timestamp::default()
    }

    fn signal_entity(&self, entity: &EntityId, operation: &str, input: &str, _: Option<u64>) {
        self.0.borrow_mut().push(NewSignal {
            entity: entity.clone(),
            operation: operation.into(),
            input: input.into(),
            at: None,
        });
    }

    fn start_orchestration(&self, _: &str, _: &str, _: Option<&str>) -> String {
        unreachable!("a test signals only")
    }

    fn break_with(&self, failure: Failure) {
        panic!("the test sends an input that cannot be written: {failure}");
    }
}

/// The host of an entity that a test uses directly, without a world.
pub(super) struct Alone {
    pub(super) key: String,
    pub(super) now: Timestamp,
    pub(super) uuids: std::cell::Cell<u64>,
}

impl EntityBackend for Alone {
    fn info(&self) -> EntityInfo {
        EntityInfo {
            id: EntityId::new("test", self.key.as_str()),
            max_payload_bytes: MAX_PAYLOAD_BYTES,
            max_state_bytes: MAX_STATE_BYTES,
        }
    }

    fn now_ms(&self) -> u64 {
        self.now.for_host()
    }

    fn new_uuid(&self) -> String {
        self.uuids.set(self.uuids.get() + 1);
        super::instance::uuid(self.uuids.get())
    }

    fn signal_entity(&self, _: &EntityId, _: &str, _: &str, _: Option<u64>) {}

    fn start_orchestration(&self, _: &str, _: &str, instance_id: Option<&str>) -> String {
        instance_id.unwrap_or("started").into()
    }

    fn log(&self, _: Level, _: &str) {}
}

/// Writes the state of an entity for a test.
pub(super) fn written(state: &(impl serde::Serialize + ?Sized)) -> String {
    encode("the state cannot be written", state).expect("a state that can be written as JSON")
}
