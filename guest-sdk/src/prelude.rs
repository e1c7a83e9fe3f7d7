//! What nearly every module needs: `use windlass_sdk::prelude::*;`.

pub use crate::{
    Activity, Bytes, Elapsed, Failure, Level, OrFail, Orchestration, Result, Retry, Timestamp, activity, days,
    failure_types, hours, millis, mins, orchestrator, payload, secs,
};

/// Runs futures side by side and gives all their outputs, in the order of the futures.
pub use futures::future::join_all;
/// As [`join_all`], but ends with the first failure.
pub use futures::future::try_join_all;
/// Runs a fixed number of futures of any types side by side.
pub use futures::join;
/// Waits for whichever future is ready first. Of several that are ready the one written first wins, so that the
/// choice never depends on chance.
pub use futures::select_biased as select;
/// As [`join!`], but ends with the first failure.
pub use futures::try_join;

pub use futures::{FutureExt as _, StreamExt as _};

pub use tracing::{debug, error, info, trace, warn};
