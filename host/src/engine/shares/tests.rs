//! Shares: the queue by its properties, waiting under a runtime, and an engine with two tenants.

mod engine;
mod properties;
mod waiting;
