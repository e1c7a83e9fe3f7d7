//! What the tests that run the real host have in common.
//!
//! A [`World`] is a host and the samples' backend, as child processes with data folders of their own on free ports. Tests
//! speak to them over HTTP, as users do, and to the command line; nothing here links the host. [`World::stop`] ends
//! every test: it ends the host politely and has `windlass check` replay every history the test has produced.

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
