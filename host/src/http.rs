//! The HTTP edge: turns a request into a call and an outcome into a status.
//!
//! Everything is under `/v1` and described by an OpenAPI document generated from this code. The only user of axum.
//! Queries go to the store's handle for the caller's tenant, changes to the engine's handle; nothing here knows how
//! either does its work, and nothing here is kept between requests.

pub(crate) mod document;
pub(crate) mod health;
pub(crate) mod instances;
pub(crate) mod keys;
pub(crate) mod metrics;
pub(crate) mod modules;
pub(crate) mod orchestrations;
pub(crate) mod settings;
pub(crate) mod tenants;
pub(crate) mod usage;

mod access;
mod admission;
mod body;
mod connection;
mod error;
mod error_pages;
mod guard;
mod idempotency;
mod links;
mod openapi;
mod params;
mod path;
mod problem;
mod proxies;
mod router;
mod server;
mod socket;
mod state;
#[cfg(test)]
mod tests;
mod uploads;
mod wait_limit;
mod write_timeout;

use http::uri::Scheme;

pub use admission::Places;
pub use instances::Purged;
pub use links::{InstanceLinks, PublicUrl};
pub use path::ModuleName;
pub use problem::Problem;
pub use proxies::Network;
pub use router::{openapi, router};
pub use server::{Server, ServerError, ServerOptions};

pub(crate) use access::TENANT_HEADER;
pub(crate) use links::segment;
pub(crate) use modules::SIGNATURE_HEADER;
pub(crate) use params::{MAX_WAIT, parse_duration};
pub(crate) use problem::MEDIA_TYPE as PROBLEM_MEDIA_TYPE;

/// Bounds of requests.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Longest input, output or event payload, in bytes.
    pub payload_bytes: usize,
    /// Longest module, in bytes.
    pub module_bytes: usize,
    /// Whether requests without a key must be addressed to this machine by its own name. Not so if the operator lets
    /// anybody on the network in.
    pub own_names_only: bool,
    /// How clients reach the host: with what links begin, and the origin of its own pages.
    pub scheme: Scheme,
    /// With what links begin instead, whatever a request says.
    pub public_url: Option<PublicUrl>,
    /// The proxies whose forwarding headers count for links.
    pub trusted_proxies: Vec<Network>,
}
