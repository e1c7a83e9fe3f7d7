//! Runs orchestrations and entities natively, without a host, in virtual time.
//!
//! A [`World`] simulates the host: closures script activities, sub-orchestrations and entities, or the real ones run;
//! timers fire without waiting; events are raised at a virtual time; retries and timeouts are applied. The orchestration runs on the
//! same executor as in the sandbox.
//!
//! ```
//! use windlass_sdk::prelude::*;
//! use windlass_sdk::testing::World;
//!
//! #[activity]
//! fn charge(cents: u64) -> Result<String> { unimplemented!("calls the payment gateway") }
//!
//! #[orchestrator]
//! async fn purchase(ctx: Orchestration, cents: u64) -> Result<String> {
//!     ctx.set_custom_status("waiting for approval");
//!     let approved = ctx.timeout(hours(72), ctx.event::<bool>("approval")).await;
//!     if !matches!(approved, Ok(Ok(true))) {
//!         return Err(Failure::new("NotApproved", "nobody approved the purchase"));
//!     }
//!     ctx.call(charge, &cents).retry(Retry::fixed(mins(1)).max_attempts(3)).await
//! }
//!
//! // Approved after a day; the gateway works at the third attempt.
//! let run = World::new()
//!     .event(hours(24), "approval", &true)
//!     .activity(charge, |call| match call.attempt {
//!         1 | 2 => Err(Failure::new("GatewayDown", "no response")),
//!         _ => Ok(format!("receipt over {}", call.input)),
//!     })
//!     .run(purchase, &995);
//! assert_eq!(run.output(), "receipt over 995");
//! assert_eq!(run.elapsed(), hours(24) + mins(2));
//! assert_eq!(run.attempts_of(charge), 3);
//! assert_eq!(run.custom_statuses(), ["waiting for approval"]);
//!
//! // Nobody approves.
//! let run = World::new().run(purchase, &995);
//! assert!(run.failure().is("NotApproved"));
//! assert_eq!(run.elapsed(), hours(72));
//! ```
//!
//! Only `ctx` is virtual here. `std` (the clock, the order of a `HashMap`, `rand`) is that of the machine, whereas the
//! real host makes it replay-safe.

mod world;

mod run;

mod script;

mod simulation;

mod functions;
mod host;
mod instance;

mod entities;
mod events;
mod patches;
mod retries;

use std::cell::Cell;
use std::rc::Rc;

use crate::activity::{Activity, Attempt as AttemptInfo};
use crate::entity::Entity;
use crate::failure::Result;
use crate::http::{Request, Response, scripted};
use crate::logging::{Level, Sink};
use crate::progress::Progress;

pub use entities::EntityOperation;
pub use run::{Called, CalledKind, End, LogLine, Run, SentEvent, SentSignal};
pub use script::Attempt;
pub use world::World;

/// Creates a context for calling an activity directly, with this number of the attempt.
/// [`with_config`](Activity::with_config) and [`with_secret`](Activity::with_secret) add settings and secrets,
/// [`with_heartbeat_details`](Activity::with_heartbeat_details) what an earlier attempt reported, and
/// [`cancelled_after`](Activity::cancelled_after) cancels the attempt.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # use windlass_sdk::testing;
/// #[activity]
/// fn flaky(ctx: Activity) -> Result<u32> {
///     if ctx.attempt() < 3 { Err(Failure::new("NotYet", "try again")) } else { Ok(7) }
/// }
/// assert!(flaky(testing::activity(2)).unwrap_err().is("NotYet"));
/// assert_eq!(flaky(testing::activity(3)).unwrap(), 7);
/// ```
pub fn activity(attempt: u32) -> Activity {
    let info = AttemptInfo {
        instance_id: "test".into(),
        execution: 1,
        function: "test".into(),
        attempt,
        idempotency_key: "test".into(),
        deadline_ms: u64::MAX,
        max_payload_bytes: host::MAX_PAYLOAD_BYTES,
    };
    Activity::new(info, Rc::default(), Progress::for_test(), Rc::new(Nowhere))
}

/// Creates a context for calling operations directly, for the entity with this key. Its time is the beginning of 2026;
/// what it signals, starts and logs goes nowhere. A [`World`] plays whole entities.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # use windlass_sdk::testing;
/// #[entity]
/// #[payload]
/// #[derive(Default)]
/// struct Greeter {
///     greeted: u32,
/// }
///
/// #[operations]
/// impl Greeter {
///     fn greet(&mut self, ctx: &Entity) -> String {
///         self.greeted += 1;
///         format!("Hello {}", ctx.key())
///     }
/// }
///
/// assert_eq!(Greeter::default().greet(&testing::entity("ada")), "Hello ada");
/// ```
pub fn entity(key: &str) -> Entity {
    Entity::new(Rc::new(entities::Alone {
        key: key.into(),
        now: world::DEFAULT_START,
        uuids: Cell::new(0),
    }))
}

struct Nowhere;

impl Sink for Nowhere {
    fn log(&self, _: Level, _: &str) {}
}

/// Answers the HTTP requests of activities on this thread while `work` runs.
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # use windlass_sdk::{http, testing};
/// let price = testing::with_http(
///     |request| match request.url() {
///         "http://shop.example/price" => Ok(http::Response::of_json(200, &995)),
///         _ => Ok(http::Response::new(404, "")),
///     },
///     || http::get("http://shop.example/price").send()?.ok()?.json::<u64>(),
/// );
/// assert_eq!(price.unwrap(), 995);
/// ```
pub fn with_http<T>(handler: impl Fn(&Request) -> Result<Response> + 'static, work: impl FnOnce() -> T) -> T {
    scripted::with(Rc::new(handler), work)
}
