//! Windlass: a durable workflow host for WebAssembly components.

mod byte_order_mark;
pub mod cli;
pub mod clock;
pub mod config;
pub mod engine;
pub mod entity;
pub mod entropy;
#[cfg(test)]
mod fuzz;
pub mod grants;
pub mod http;
pub mod memory;
pub mod metrics;
pub mod model;
pub mod priority;
pub mod replay;
pub mod sandbox;
pub mod schema;
pub mod shutdown;
pub mod store;
pub mod telemetry;
pub mod tenancy;
pub mod tls;
