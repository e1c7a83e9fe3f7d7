//! The HTTP API: turns a request into a call, and its outcome into a status.
//!
//! Everything is under `/v1` and described by an OpenAPI document generated from this code, except the API of Durable
//! Functions ([`durable_functions`]), which translates to the same calls. This is the only user of axum. Queries go to the store's handle for the caller's tenant, changes to the engine's handle. This module does not
//! know how either does its work, and keeps no state between requests.

pub(crate) mod completions;
pub(crate) mod document;
pub(crate) mod health;
pub(crate) mod instances;
pub(crate) mod keys;
pub(crate) mod metrics;
pub(crate) mod modules;
pub(crate) mod orchestrations;
pub(crate) mod retention;
pub(crate) mod schedules;
pub(crate) mod settings;
pub(crate) mod tenants;
pub(crate) mod usage;

mod access;
mod admission;
mod answers;
mod body;
mod broadcasts;
mod connection;
mod durable_functions;
mod entities;
mod error;
mod error_pages;
mod guard;
mod idempotency;
mod links;
mod openapi;
mod page;
mod params;
mod path;
mod positions;
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
mod weights;
mod write_timeout;

use http::uri::Scheme;

pub use admission::{PlaceOptions, Places};
pub use broadcasts::{BroadcastDocument, DryRunDocument};
pub use instances::{Purged, bulk::BulkDocument, moves::MoveDocument};
pub use links::{InstanceLinks, PublicUrl};
pub use path::ModuleName;
pub use problem::Problem;
pub use proxies::Network;
pub use retention::{ExpiredInstanceDocument, PreviewDocument, PreviewGroupDocument, RetentionDocument};
pub use router::{openapi, router};
pub use server::{Server, ServerError, ServerOptions};

pub(crate) use access::TENANT_HEADER;
pub(crate) use links::segment;
pub(crate) use modules::SIGNATURE_HEADER;
pub(crate) use params::{MAX_WAIT, parse_duration};
pub(crate) use problem::MEDIA_TYPE as PROBLEM_MEDIA_TYPE;

/// Limits on requests.
#[derive(Debug, Clone)]
pub struct HttpOptions {
    /// Maximum length of an input, output or event payload, in bytes.
    pub payload_bytes: usize,
    /// Maximum length of a module, in bytes.
    pub module_bytes: usize,
    /// Whether requests without a key must be addressed to this machine by its own name. `false` if the operator lets
    /// anybody on the network in.
    pub own_names_only: bool,
    /// How clients reach the host: the scheme of links, and of the origin of the host's own pages.
    pub scheme: Scheme,
    /// The beginning of links, instead of what a request says.
    pub public_url: Option<PublicUrl>,
    /// The proxies whose forwarding headers are trusted for links.
    pub trusted_proxies: Vec<Network>,
}
