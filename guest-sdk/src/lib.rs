//! Write Windlass orchestrations and activities in ordinary Rust.
extern crate self as windlass_sdk;

mod activity;
mod backend;
mod bindings;
mod block_on;
mod executor;
mod export;
mod failure;
mod function;
pub mod http;
mod logging;
mod orchestration;
mod payload;
pub mod prelude;
mod retry;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;

pub use windlass_sdk_macros::{activity, orchestrator, payload, signatures};

pub use activity::Activity;
pub use block_on::block_on;
pub use failure::{Cause, Failure, FailureError, OrFail, Result, failure_types};
pub use function::{ActivityFunction, ActivitySignature, OrchestrationFunction, OrchestrationSignature, Outcome};
pub use logging::Level;
pub use orchestration::Orchestration;
pub use orchestration::call::{Call, SubCall};
pub use orchestration::event::EventWait;
pub use orchestration::timer::{Elapsed, Sleep};
pub use payload::Bytes;
pub use retry::{ActivityOptions, Retry, SubOrchestrationOptions};
pub use time::{ParseTimestampError, Timestamp, days, hours, millis, mins, secs};

pub use futures;
pub use schemars;
pub use serde;
pub use serde_json;
pub use tracing;

/// What the macros expand to. Not part of the interface.
#[doc(hidden)]
pub mod __private {
    pub use futures::future::LocalBoxFuture;

    pub use crate::bindings::{activity, orchestrator, wit};
    pub use crate::export::{
        check_names, describe_activities, describe_orchestrations, run_activity, run_orchestration,
    };
    pub use crate::function::{ActivityEntry, OrchestrationEntry};
}
