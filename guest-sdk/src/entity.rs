//! [`Entity`]: the context of an operation.
//!
//! An entity is a state with a name and a key, and operations that change it one at a time. Its code runs in steps: the
//! [`step`] decodes the state, applies the operations that wait, and hands the host the state after each of them.

pub(crate) mod address;
pub(crate) mod client;
pub(crate) mod signature;
pub(crate) mod step;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use serde::Serialize;

use crate::bindings::entity::windlass::durable::entity_context as imports;
use crate::failure::{Failure, Result};
use crate::function::OrchestrationSignature;
use crate::logging::{Level, Sink};
use crate::orchestration::start::Start;
use crate::payload::encode;
use crate::time::Timestamp;
use crate::uuid::Uuid;
use address::{EntityAddress, EntityId};
use client::{EntityPeer, Sender};

/// The functions of a host for an operation. They are those of the WIT interface `entity-context`, which documents them.
pub(crate) trait EntityBackend {
    fn info(&self) -> EntityInfo;
    fn now_ms(&self) -> u64;
    fn new_uuid(&self) -> String;
    fn signal_entity(&self, entity: &EntityId, operation: &str, input: &str, at_ms: Option<u64>);
    fn start_orchestration(&self, name: &str, input: &str, instance_id: Option<&str>) -> String;
    fn log(&self, level: Level, message: &str);
}

/// The properties of the running entity.
#[derive(Clone, Debug)]
pub(crate) struct EntityInfo {
    pub(crate) id: EntityId,
    pub(crate) max_payload_bytes: u64,
    pub(crate) max_state_bytes: u64,
}

/// The context of an operation of an entity. Cheap to clone.
///
/// An operation reads and changes the state of its entity, which is `self`. It may signal other entities, start
/// orchestrations, read the time and log. It cannot wait for anything.
///
/// If the operation fails, its signals and starts do not happen, and the state is as it was before.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// /// Counts, and tells the total of all counters.
/// #[entity]
/// #[payload]
/// #[derive(Default)]
/// struct Counter {
///     count: i64,
/// }
///
/// #[operations]
/// impl Counter {
///     /// Adds a number and returns the sum.
///     fn add(&mut self, ctx: &Entity, number: i64) -> i64 {
///         self.count += number;
///         if ctx.key() != "total" {
///             ctx.entity(Counter::at("total")).signal().add(&number);
///         }
///         self.count
///     }
/// }
/// ```
#[derive(Clone)]
pub struct Entity {
    core: Rc<EntityCore>,
}

/// What all clones of a context share.
struct EntityCore {
    backend: Rc<dyn EntityBackend>,
    info: EntityInfo,
    operation: RefCell<Running>,
    deletes: Cell<bool>,
    /// An error that no method can return. It fails the operation.
    broken: RefCell<Option<Failure>>,
}

/// The operation that is being applied.
#[derive(Clone, Debug, Default)]
struct Running {
    name: String,
    is_signal: bool,
}

impl Entity {
    pub(crate) fn new(backend: Rc<dyn EntityBackend>) -> Self {
        Self {
            core: Rc::new(EntityCore {
                info: backend.info(),
                backend,
                operation: RefCell::default(),
                deletes: Cell::new(false),
                broken: RefCell::default(),
            }),
        }
    }

    /// Prepares the context for the next operation.
    pub(crate) fn begin(&self, operation: &str, is_signal: bool) {
        *self.core.operation.borrow_mut() = Running {
            name: operation.into(),
            is_signal,
        };
        self.core.deletes.set(false);
        self.core.broken.take();
    }

    /// Ends the operation: returns whether it deleted the entity.
    ///
    /// # Errors
    /// An error that no method could return.
    pub(crate) fn finish(&self) -> Result<bool> {
        match self.core.broken.take() {
            Some(failure) => Err(failure),
            None => Ok(self.core.deletes.get()),
        }
    }

    pub(crate) fn sink(&self) -> Rc<dyn Sink> {
        self.core.clone()
    }

    /// The key of this entity.
    pub fn key(&self) -> &str {
        self.core.info.id.key()
    }

    /// The name and key of this entity.
    pub fn id(&self) -> &EntityId {
        &self.core.info.id
    }

    /// The name of the operation that is being applied, as its sender wrote it.
    pub fn operation(&self) -> String {
        self.core.operation.borrow().name.clone()
    }

    /// Whether the operation is a signal: nobody waits for its output.
    pub fn is_signal(&self) -> bool {
        self.core.operation.borrow().is_signal
    }

    /// Deletes the state when the operation has succeeded, whatever it does to the state before or after this call. The
    /// next operation finds the default state.
    ///
    /// An entity without an operation of that name has the operation `delete`, which does the same and returns nothing.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// #[entity]
    /// #[payload]
    /// #[derive(Default)]
    /// struct Cart {
    ///     articles: Vec<String>,
    /// }
    ///
    /// #[operations]
    /// impl Cart {
    ///     fn add(&mut self, article: String) {
    ///         self.articles.push(article);
    ///     }
    ///
    ///     /// Returns the articles and empties the cart.
    ///     fn check_out(&mut self, ctx: &Entity) -> Vec<String> {
    ///         ctx.delete();
    ///         self.articles.clone()
    ///     }
    /// }
    /// ```
    pub fn delete(&self) {
        self.core.deletes.set(true);
    }

    /// An entity that this one may signal, given by its type and key or by an [`EntityId`].
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # windlass_sdk::signatures! { #[entity] trait Audit { fn record(line: String); } }
    /// # fn example(ctx: &Entity) {
    /// ctx.entity(Audit::at("accounts")).signal().record(&"opened".to_owned());
    /// ctx.entity(Audit::at("accounts")).signal().after(hours(1)).record(&"still open".to_owned());
    /// ctx.entity(EntityId::new("Audit", "accounts")).signal().send("record", "opened");
    /// # }
    /// ```
    ///
    /// An entity cannot wait, so it cannot call another one:
    ///
    /// ```compile_fail,E0599
    /// # use windlass_sdk::prelude::*;
    /// # windlass_sdk::signatures! { #[entity] trait Audit { fn record(line: String); } }
    /// # fn example(ctx: &Entity) {
    /// ctx.entity(Audit::at("accounts")).record(&"opened".to_owned());
    /// # }
    /// ```
    pub fn entity<A: EntityAddress>(&self, entity: A) -> EntityPeer<A::Entity> {
        EntityPeer::new(self.core.clone(), entity.into_id())
    }

    /// Prepares the start of an orchestration. [`send`](Start::send) starts it and returns its id.
    pub fn start<O: OrchestrationSignature>(&self, orchestration: O, input: &O::Input) -> Start {
        let _ = orchestration;
        self.start_named(O::NAME, input)
    }

    /// Like [`start`](Self::start), by the name of the orchestration.
    pub fn start_named(&self, name: &str, input: &(impl Serialize + ?Sized)) -> Start {
        Start::new(self.core.clone(), name, encode("the input cannot be written", input))
    }

    /// The time of the operation.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_host(self.core.backend.now_ms())
    }

    /// A new random UUID.
    pub fn new_uuid(&self) -> Uuid {
        Uuid::from_host(self.core.backend.new_uuid())
    }

    /// The maximum size of an output in bytes. The host refuses longer ones.
    pub fn max_payload_bytes(&self) -> u64 {
        self.core.info.max_payload_bytes
    }

    /// The maximum size of a state in bytes. An operation that leaves a larger one fails.
    pub fn max_state_bytes(&self) -> u64 {
        self.core.info.max_state_bytes
    }

    /// Writes a line to the log of the entity, like the macros of `tracing` and `log`. The line stays if the operation
    /// fails.
    pub fn log(&self, level: Level, message: &str) {
        self.core.backend.log(level, message);
    }
}

impl fmt::Debug for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entity")
            .field("id", &self.core.info.id)
            .field("operation", &self.core.operation.borrow().name)
            .finish_non_exhaustive()
    }
}

impl Sender for EntityCore {
    fn now(&self) -> Timestamp {
        Timestamp::from_host(self.backend.now_ms())
    }

    fn signal_entity(&self, entity: &EntityId, operation: &str, input: &str, at_ms: Option<u64>) {
        self.backend.signal_entity(entity, operation, input, at_ms);
    }

    fn start_orchestration(&self, name: &str, input: &str, instance_id: Option<&str>) -> String {
        self.backend.start_orchestration(name, input, instance_id)
    }

    fn break_with(&self, failure: Failure) {
        self.broken.borrow_mut().get_or_insert(failure);
    }
}

impl Sink for EntityCore {
    fn log(&self, level: Level, message: &str) {
        self.backend.log(level, message);
    }
}

/// The imports of the sandbox.
pub(crate) struct Host;

impl EntityBackend for Host {
    fn info(&self) -> EntityInfo {
        let info = imports::info();
        EntityInfo {
            id: EntityId::new(info.name, info.key),
            max_payload_bytes: info.max_payload_bytes,
            max_state_bytes: info.max_state_bytes,
        }
    }

    fn now_ms(&self) -> u64 {
        imports::now_ms()
    }

    fn new_uuid(&self) -> String {
        imports::new_uuid()
    }

    fn signal_entity(&self, entity: &EntityId, operation: &str, input: &str, at_ms: Option<u64>) {
        imports::signal_entity(entity.name(), entity.key(), operation, input, at_ms);
    }

    fn start_orchestration(&self, name: &str, input: &str, instance_id: Option<&str>) -> String {
        imports::start_orchestration(name, input, instance_id)
    }

    fn log(&self, level: Level, message: &str) {
        imports::log(level.into(), message);
    }
}
