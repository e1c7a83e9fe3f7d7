//! Write Windlass orchestrations, activities and entities in ordinary Rust.
//!
//! An **activity** is a plain function with side effects. The host retries it when it fails, and runs it again when a
//! crash interrupted it. An **orchestration** is an `async fn` that coordinates activities. It survives crashes,
//! restarts and redeploys, and may run for seconds or for years. An **entity** is a state with a name and a key, and
//! operations that change it one at a time.
//!
//! ```
//! use windlass_sdk::http;
//! use windlass_sdk::prelude::*;
//!
//! #[payload]
//! pub struct Payment {
//!     order_id: String,
//!     cents: u64,
//! }
//!
//! /// Charges the customer's card.
//! #[activity(name = "ProcessPaymentActivity", timeout = mins(5))]
//! fn process_payment(ctx: Activity, payment: Payment) -> Result<String> {
//!     let response = http::post("http://payments.example/charges")
//!         .header("idempotency-key", ctx.idempotency_key()) // a retry does not charge again
//!         .json(&payment)
//!         .send()?;
//!     match response.status() {
//!         402 => Err(Failure::new("PaymentDeclined", response.text()?).non_retryable()),
//!         _ => response.ok()?.text(),
//!     }
//! }
//!
//! /// Takes an order from payment to approval.
//! #[orchestrator(name = "OrderProcessingOrchestration")]
//! async fn order_processing(ctx: Orchestration, order_id: String) -> Result<String> {
//!     ctx.set_custom_status("Processing payment");
//!     let receipt = ctx
//!         .call(process_payment, &Payment { order_id: order_id.clone(), cents: 995 })
//!         .retry(Retry::exponential(secs(5)).max_attempts(3))
//!         .timeout(mins(1))
//!         .await?;
//!
//!     ctx.set_custom_status("Waiting for approval");
//!     select! {
//!         approved = ctx.event::<bool>("approval") => match approved? {
//!             true => Ok(receipt),
//!             false => Err(Failure::new("Rejected", format!("order {order_id} was rejected"))),
//!         },
//!         _ = ctx.sleep(hours(72)) => Err(Failure::new("NoApproval", "nobody decided in three days")),
//!     }
//! }
//! ```
//!
//! # Modules
//!
//! A module is a component of one kind: orchestrations, activities or entities. It is a crate with
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib"]
//! ```
//!
//! and one [`export!`] line that lists its functions:
//!
//! ```
//! # use windlass_sdk::prelude::*;
//! # #[orchestrator] async fn order_processing() -> Result<()> { Ok(()) }
//! windlass_sdk::export!(orchestrators: [order_processing]);
//! # fn main() {}
//! ```
//!
//! Build it with `cargo build --release --target wasm32-wasip2`, or with `cargo component build --release`.
//!
//! Both sides of a call need its name and types. There are two ways to share them: a crate declares them with
//! [`signatures!`] and both sides depend on it; or the activities are in a library without an `export!` line, which the
//! orchestrations depend on directly, and a second crate with only the `export!` line turns the library into a module.
//! Either way, an orchestration does not link the body of an activity. To call without shared types, use
//! [`call_named`](Orchestration::call_named).
//!
//! # Entities
//!
//! The state of an entity is a type with [`#[entity]`](macro@entity); [`#[operations]`](macro@operations) makes the
//! methods of an `impl` block its operations. An orchestration [calls or signals](Orchestration::entity) an entity, which
//! it names by type and key, and may [lock](Orchestration::lock) several of them. An operation can [signal](Entity::entity)
//! entities and start orchestrations. If it fails, its entity is as it was before.
//!
//! ```
//! use windlass_sdk::prelude::*;
//!
//! /// An account, in cents.
//! #[entity(name = "Account")]
//! #[payload]
//! #[derive(Default)]
//! struct Account {
//!     cents: i64,
//! }
//!
//! #[operations]
//! impl Account {
//!     fn deposit(&mut self, cents: i64) -> i64 {
//!         self.cents += cents;
//!         self.cents
//!     }
//!
//!     fn withdraw(&mut self, ctx: &Entity, cents: i64) -> Result<i64> {
//!         if cents > self.cents {
//!             return Err(Failure::new("InsufficientFunds", format!("{} has {}", ctx.key(), self.cents)));
//!         }
//!         self.cents -= cents;
//!         Ok(self.cents)
//!     }
//! }
//!
//! #[orchestrator]
//! async fn transfer(ctx: Orchestration, (from, to, cents): (String, String, i64)) -> Result<()> {
//!     let (from, to) = (Account::at(from), Account::at(to));
//!     let _both = ctx.lock([&from, &to]).await?;
//!     ctx.entity(&from).withdraw(&cents).await?;
//!     ctx.entity(&to).deposit(&cents).await?;
//!     Ok(())
//! }
//! ```
//!
//! # How an orchestration differs from other async code
//!
//! * The host records everything that it sees, and replays the record after a crash. This applies to `ctx` and to `std`
//!   alike; APIs that cannot be replayed (files, sockets, HTTP) are not available.
//! * [`call`](Orchestration::call) describes a call. `.await` makes it and waits; [`.start()`](Call::start) makes it
//!   and returns a [`Task`] that runs concurrently. Dropping a task does not cancel it.
//! * Dropping an [event wait](EventWait) or a [timer](Sleep) withdraws it, and loses no event.
//! * All combinators of `futures` work: `select!`, `FuturesUnordered`, and your own. The [`prelude`] has the most common
//!   ones; its `join_all`, `try_join_all`, `join!` and `try_join!` also start calls.
//! * `?` turns any error into a [`Failure`]. Programs distinguish failures by the names of their types, which you
//!   choose: see [`FailureType`](derive@FailureType).
//!
//! # Tests
//!
//! [`testing`] runs orchestrations and entities natively, with scripted activities and in virtual time: a timer of three
//! days fires at once.

extern crate self as windlass_sdk;

pub mod prelude;

mod orchestration;

mod join;

mod entity;

mod event_declaration;

mod activity;
mod progress;
mod settings;

mod instance_id;

mod failure;
pub mod failure_types;

mod retry;

mod time;
mod uuid;

mod payload;

pub mod http;

#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

mod export;
mod function;
mod logging;

mod backend;
mod bindings;
mod block_on;
mod executor;

pub use windlass_sdk_macros::{FailureType, activity, entity, operations, orchestrator, payload, signatures};

pub use activity::{Activity, CompletionToken};
pub use backend::HistorySize;
pub use block_on::block_on;
pub use entity::Entity;
pub use entity::address::{EntityAddress, EntityId, EntityRef, EntitySet};
pub use entity::client::{EntityCall, EntityClient, EntityPeer, Signal, UntypedCalls, UntypedSignals};
pub use entity::signature::{EntityClients, EntityOperations, EntitySignature, EntityState, Untyped};
pub use event_declaration::{EventDeclaration, EventName, EventSignature};
pub use failure::{Cause, Failure, FailureError, FailureType, OrFail, Result};
pub use function::{ActivityFunction, ActivitySignature, OrchestrationFunction, OrchestrationSignature, Outcome};
pub use instance_id::InstanceId;
pub use logging::Level;
pub use orchestration::Orchestration;
pub use orchestration::call::{Call, SubCall};
pub use orchestration::cancellation::{Cancellation, Cancelled};
pub use orchestration::event::EventWait;
pub use orchestration::lock::{CriticalSection, LockWait};
pub use orchestration::start::Start;
pub use orchestration::task::Task;
pub use orchestration::timer::{Elapsed, Sleep};
pub use payload::Bytes;
pub use retry::{ActivityOptions, ParentClose, Retry, SubOrchestrationOptions};
pub use settings::Secret;
pub use time::{ParseTimestampError, Timestamp, days, hours, millis, mins, secs};
pub use uuid::Uuid;

pub use futures;
pub use schemars;
pub use serde;
pub use serde_json;
pub use tracing;

/// Items that the macros expand to. Not part of the public API.
#[doc(hidden)]
pub mod __private {
    pub use futures::future::LocalBoxFuture;

    pub use crate::bindings::{EntityModuleDescription, EventDescription, activity, entity, orchestrator, wit};
    pub use crate::entity::client::{CallTarget, SignalTarget};
    pub use crate::entity::signature::{
        DeclaredOperation, EntityEntry, OperationEntry, check_operation_input, check_operations, read_operation_input,
        write_operation_output,
    };
    pub use crate::event_declaration::check_events;
    pub use crate::export::{
        check_entity_names, check_names, describe_activities, describe_entities, describe_events,
        describe_orchestrations, run_activity, run_entity, run_orchestration,
    };
    pub use crate::function::{ActivityEntry, OrchestrationEntry};
    pub use crate::payload::schema_of;
}
