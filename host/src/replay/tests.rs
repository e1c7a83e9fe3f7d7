//! The core against scripts: examples in `behaviour`, generated ones in `properties`, damaged histories in `fuzz`.

mod behaviour;
mod fuzz;
mod golden;
mod pending;
mod properties;
pub(crate) mod script;
