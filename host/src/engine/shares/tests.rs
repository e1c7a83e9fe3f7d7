//! Shares: properties of the queue, waiting under a runtime, and an engine with two tenants.

mod engine;
mod properties;
mod waiting;
