//! The sample entities, one per file, and what they share with the orchestrations that use them.
//!
//! The crate has their code, so that the tests of the orchestrations run it. A component that only calls an entity does
//! not link that code; the crate `entities` next to this one exports the entities.

mod account;
mod counter;
mod device_aggregator;

pub use account::Account;
pub use counter::Counter;
pub use device_aggregator::{Configuration, DeviceAggregator, Reading, Summary, Window};

use windlass_sdk::prelude::*;
use windlass_sdk::signatures;

signatures! {
    /// Starts when the mean of a window is too high.
    #[orchestrator(name = "OverheatAlarm")]
    pub async fn overheat_alarm(window: Window) -> Result<String>;
}
