//! The callers' side of entities: [`EntityClient`] calls and signals, [`EntityPeer`] only signals.
//!
//! The methods for the operations are those of two types that `#[operations]` or `signatures!` generates per entity;
//! the types here dereference to them.

use std::fmt;
use std::future::IntoFuture;
use std::marker::PhantomData;
use std::ops::Deref;
use std::rc::Rc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::address::EntityId;
use super::signature::EntityClients;
use crate::executor::Core;
use crate::failure::{Failure, Result};
use crate::orchestration::task::Task;
use crate::payload::encode;
use crate::time::Timestamp;

/// Whoever sends without waiting: an orchestration or an entity.
pub(crate) trait Sender {
    fn now(&self) -> Timestamp;
    fn signal_entity(&self, entity: &EntityId, operation: &str, input: &str, at_ms: Option<u64>);
    fn start_orchestration(&self, name: &str, input: &str, instance_id: Option<&str>) -> String;
    /// Fails the execution or operation with an error that the sending method cannot return.
    fn break_with(&self, failure: Failure);
}

/// An entity that an orchestration calls and signals, from [`Orchestration::entity`](crate::Orchestration::entity).
///
/// It has a method for each operation: `ctx.entity(Account::at("ada")).deposit(&500)`. The method takes the input by
/// reference, if there is one, and returns an [`EntityCall`].
///
/// The client of an [`EntityId`] has one method, [`call`](UntypedCalls::call).
#[must_use = "call an operation"]
pub struct EntityClient<E: EntityClients> {
    target: CallTarget,
    calls: E::Calls,
}

impl<E: EntityClients> EntityClient<E> {
    pub(crate) fn new(core: Rc<Core>, entity: EntityId) -> Self {
        let target = CallTarget { core, entity };
        Self {
            calls: E::calls(target.clone()),
            target,
        }
    }

    /// Sends an operation one way, without an answer: `.signal().deposit(&500)`.
    ///
    /// A failure of the operation is in the log of the entity. A signal that the host refuses (an unknown entity or
    /// operation, an input that does not match its schema, an entity that is locked by this orchestration) has no
    /// effect, and a line in the log of this instance says so.
    pub fn signal(&self) -> Signal<E> {
        Signal::new(self.target.core.clone(), self.target.entity.clone())
    }
}

impl<E: EntityClients> Deref for EntityClient<E> {
    type Target = E::Calls;

    fn deref(&self) -> &E::Calls {
        &self.calls
    }
}

impl<E: EntityClients> fmt::Debug for EntityClient<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EntityClient").field(&self.target.entity).finish()
    }
}

/// An entity that another entity signals, from [`Entity::entity`](crate::Entity::entity).
#[must_use = "signal an operation"]
pub struct EntityPeer<E> {
    sender: Rc<dyn Sender>,
    entity: EntityId,
    operations: PhantomData<fn() -> E>,
}

impl<E: EntityClients> EntityPeer<E> {
    pub(crate) fn new(sender: Rc<dyn Sender>, entity: EntityId) -> Self {
        Self {
            sender,
            entity,
            operations: PhantomData,
        }
    }

    /// Sends an operation one way, without an answer: `.signal().deposit(&500)`. It is sent when the operation that
    /// sends it has succeeded.
    ///
    /// A failure of the operation is in the log of the recipient. A signal that the host refuses (an unknown entity or
    /// operation, an input that does not match its schema) has no effect, and a line in the log of this entity says so.
    pub fn signal(&self) -> Signal<E> {
        Signal::new(self.sender.clone(), self.entity.clone())
    }
}

impl<E> fmt::Debug for EntityPeer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("EntityPeer").field(&self.entity).finish()
    }
}

/// A signal that has no operation yet. Calling one sends it: `.signal().after(mins(5)).remind()`.
///
/// The signal of an [`EntityId`] has one method, [`send`](UntypedSignals::send).
#[must_use = "the signal is sent by calling an operation"]
pub struct Signal<E: EntityClients> {
    target: SignalTarget,
    signals: E::Signals,
}

impl<E: EntityClients> Signal<E> {
    pub(crate) fn new(sender: Rc<dyn Sender>, entity: EntityId) -> Self {
        Self::of(SignalTarget {
            sender,
            entity,
            at: None,
        })
    }

    fn of(target: SignalTarget) -> Self {
        Self {
            signals: E::signals(target.clone()),
            target,
        }
    }

    /// Delays the operation until `time`: immediately if that is in the past, and at the latest at the end of the year
    /// 9999. Takes a [`Timestamp`] or a [`SystemTime`](std::time::SystemTime).
    pub fn at(self, time: impl Into<Timestamp>) -> Self {
        Self::of(SignalTarget {
            at: Some(time.into()),
            ..self.target
        })
    }

    /// Delays the operation by that duration, counted from now.
    pub fn after(self, duration: Duration) -> Self {
        let time = self.target.sender.now() + duration;
        self.at(time)
    }
}

impl<E: EntityClients> Deref for Signal<E> {
    type Target = E::Signals;

    fn deref(&self) -> &E::Signals {
        &self.signals
    }
}

impl<E: EntityClients> fmt::Debug for Signal<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signal")
            .field("entity", &self.target.entity)
            .field("at", &self.target.at)
            .finish()
    }
}

/// The recipient of calls, for generated code.
#[derive(Clone)]
pub struct CallTarget {
    core: Rc<Core>,
    entity: EntityId,
}

impl CallTarget {
    /// Prepares the call of an operation.
    pub fn call<T>(&self, operation: &str, input: &(impl Serialize + ?Sized)) -> EntityCall<T> {
        EntityCall {
            core: self.core.clone(),
            entity: self.entity.clone(),
            operation: operation.into(),
            input: encode("the input cannot be written", input),
            output: PhantomData,
        }
    }
}

impl fmt::Debug for CallTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entity.fmt(f)
    }
}

/// The recipient of signals, for generated code.
#[derive(Clone)]
pub struct SignalTarget {
    sender: Rc<dyn Sender>,
    entity: EntityId,
    at: Option<Timestamp>,
}

impl SignalTarget {
    /// Sends an operation.
    pub fn send(&self, operation: &str, input: &(impl Serialize + ?Sized)) {
        match encode("the input cannot be written", input) {
            Ok(input) => {
                let at = self.at.map(Timestamp::for_host);
                self.sender.signal_entity(&self.entity, operation, &input, at);
            }
            Err(failure) => self.sender.break_with(failure),
        }
    }
}

impl fmt::Debug for SignalTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entity.fmt(f)
    }
}

/// A call of an operation that has not been made yet.
///
/// `.await` makes it and waits for its outcome. [`start`](Self::start) makes it and returns a [`Task`], so that the
/// orchestration continues meanwhile.
///
/// The operation is applied exactly once, after everything that this instance sent to the same entity before.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # windlass_sdk::signatures! { #[entity] trait Counter { fn add(number: i64) -> i64; } }
/// # async fn example(ctx: Orchestration) -> Result<()> {
/// let sum = ctx.entity(Counter::at("visits")).add(&1).await?;
///
/// let task = ctx.entity(Counter::at("visits")).add(&1).start();
/// ctx.entity(Counter::at("visitors")).add(&1).await?; // runs in parallel
/// let sum = task.await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// The future returns the failure of the operation, or another failure of the host: `windlass.unknown-function` or
/// `windlass.unknown-operation` if there is no such entity or operation, `windlass.not-locked` in a
/// [critical section](crate::CriticalSection) that does not hold the entity; `InvalidPayload` if the input cannot be
/// written as JSON or the output does not match its Rust type.
#[must_use = "an operation is called when it is awaited or started"]
pub struct EntityCall<T> {
    core: Rc<Core>,
    entity: EntityId,
    operation: String,
    input: Result<String>,
    output: PhantomData<fn() -> T>,
}

impl<T> EntityCall<T> {
    /// Makes the call. The operation is applied even if the task is not awaited or is dropped; it cannot be cancelled.
    pub fn start(self) -> Task<T> {
        let Self {
            core,
            entity,
            operation,
            input,
            ..
        } = self;
        let task = input.map(|input| core.host().call_entity(&entity, &operation, &input));
        Task::new(core, task)
    }
}

impl<T: DeserializeOwned> IntoFuture for EntityCall<T> {
    type Output = Result<T>;
    type IntoFuture = Task<T>;

    fn into_future(self) -> Task<T> {
        self.start()
    }
}

impl<T> fmt::Debug for EntityCall<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntityCall")
            .field("entity", &self.entity)
            .field("operation", &self.operation)
            .field("input", &self.input)
            .finish_non_exhaustive()
    }
}

/// Calls of an entity by the names of its operations.
#[derive(Debug)]
pub struct UntypedCalls(pub(crate) CallTarget);

impl UntypedCalls {
    /// Calls the operation with that name.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # async fn example(ctx: Orchestration) -> Result<()> {
    /// let balance: i64 = ctx.entity(EntityId::new("Account", "ada")).call("deposit", &500).await?;
    /// # Ok(()) }
    /// ```
    pub fn call<T: DeserializeOwned>(&self, operation: &str, input: &(impl Serialize + ?Sized)) -> EntityCall<T> {
        self.0.call(operation, input)
    }
}

/// Signals to an entity by the names of its operations.
#[derive(Debug)]
pub struct UntypedSignals(pub(crate) SignalTarget);

impl UntypedSignals {
    /// Signals the operation with that name.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// # fn example(ctx: Orchestration) {
    /// ctx.entity(EntityId::new("Account", "ada")).signal().send("deposit", &500);
    /// # }
    /// ```
    pub fn send(&self, operation: &str, input: &(impl Serialize + ?Sized)) {
        self.0.send(operation, input);
    }
}
