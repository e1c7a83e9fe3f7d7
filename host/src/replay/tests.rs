//! The core against scripts: examples in `behaviour`, generated ones in `properties`.

mod behaviour;
mod properties;
pub(crate) mod script;
