//! TLS on both sides: the certificate that the host shows, and whom its commands and its activities trust.
//!
//! Everything encrypted uses the same library (rustls with ring) and the same versions of the protocol (1.2 and 1.3). What
//! is said over a connection, and who may make one, is not known here.

mod certificate;
mod roots;

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

pub use certificate::{Certificate, CertificateError, CertificateFiles};
pub use roots::{ExtraRoots, RootsError};

/// The cryptography of all connections. Named each time: rustls would look for one of the whole process otherwise.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
