//! Windlass: a durable workflow host for WebAssembly components.

pub mod model;
pub mod replay;
