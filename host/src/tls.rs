//! TLS on both sides: the certificate of the host, and the authorities that commands and activities trust.
//!
//! All connections use the same library (rustls with ring) and the same protocol versions (1.2 and 1.3). This module
//! does not know what is sent over a connection or who may open one.

mod certificate;
mod roots;

use std::sync::Arc;

use tokio_rustls::rustls::crypto::{CryptoProvider, ring};

pub use certificate::{Certificate, CertificateError, CertificateFiles};
pub use roots::{ExtraRoots, RootsError};

/// The cryptography of all connections. Passed explicitly, because rustls would otherwise use a process-wide default.
fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}
