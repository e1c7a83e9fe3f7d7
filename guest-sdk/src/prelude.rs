//! Imports that nearly every module needs: `use windlass_sdk::prelude::*;`.

pub use crate::{
    Activity, Bytes, Elapsed, Entity, EntityId, Failure, FailureType, InstanceId, Level, OrFail, Orchestration,
    ParentClose, Result, Retry, Timestamp, activity, days, entity, failure_types, hours, millis, mins, operations,
    orchestrator, payload, secs,
};

pub use crate::join::{for_each_concurrent, join_all, try_for_each_concurrent, try_join_all};
pub use crate::{join, try_join};

/// Waits for the first future that is ready. If several are ready, the one written first wins, so the choice is
/// deterministic.
pub use futures::select_biased as select;
pub use futures::{FutureExt as _, StreamExt as _};

pub use tracing::{debug, error, info, trace, warn};
