//! Shared code of the tests that run the real host.
//!
//! A [`World`] is a host and the samples' backend, as child processes with their own data folders on free ports. Tests
//! use them over HTTP and on the command line, as users do; nothing here links the host. Every test ends with
//! [`World::stop`], which shuts the host down gracefully and replays every history of the test with `windlass check`.

mod answer;
mod backend;
mod command;
mod compiled;
mod encrypted;
mod host;
mod load;
mod metrics;
mod plain_server;
mod process;
mod programs;
mod tenants;
mod waiting;
mod world;

pub use answer::Answer;
pub use backend::Backend;
pub use command::Command;
pub use encrypted::Encrypted;
pub use host::{Host, HostOptions};
pub use load::Load;
pub use metrics::Metrics;
pub use plain_server::{Closes, PlainServer, SeenRequest};
pub use programs::{module, modules, windlass};
pub use waiting::{PATIENCE, until};
pub use world::World;
