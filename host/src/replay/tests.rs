//! Tests of the replay core with scripts: examples in `behaviour`, generated scripts in `properties`, `pending` and `rewinds`,
//! changed scripts in `patches`, recorded histories in `golden`, damaged histories in `fuzz`.

mod behaviour;
mod fuzz;
mod golden;
mod patches;
mod pending;
mod properties;
mod rewinds;
pub(crate) mod script;
