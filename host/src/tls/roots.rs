//! The certificate authorities that activities and commands trust.

use std::sync::Arc;

use tokio_rustls::rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::provider;

/// Certificate authorities that the host trusts in addition to Mozilla's, for example those of a company.
#[derive(Debug, Clone)]
pub struct ExtraRoots(RootCertStore);

/// Why a file of certificate authorities is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RootsError {
    /// The file does not contain a certificate.
    #[error("has no certificate in PEM format")]
    None,
    /// A certificate cannot be parsed.
    #[error("has a certificate that cannot be used: {0}")]
    Invalid(String),
}

impl ExtraRoots {
    /// No additional authorities.
    pub fn none() -> Self {
        Self(RootCertStore::empty())
    }

    /// Reads all certificates of a file in PEM format.
    ///
    /// # Errors
    /// If there is no certificate, or one cannot be parsed.
    pub fn from_pem(pem: &[u8]) -> Result<Self, RootsError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| RootsError::Invalid(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| RootsError::Invalid(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(RootsError::None);
        }
        Ok(Self(roots))
    }

    /// A TLS configuration that trusts these authorities and Mozilla's. The latter are built in, so that the host
    /// trusts the same authorities on every machine.
    pub(crate) fn client_config(&self) -> Arc<ClientConfig> {
        let mut roots = self.0.clone();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        let config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider offers TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Arc::new(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_usable_certificate_is_refused() {
        assert_eq!(ExtraRoots::from_pem(b"").unwrap_err(), RootsError::None);
        assert_eq!(ExtraRoots::from_pem(b"no certificate").unwrap_err(), RootsError::None);
        let broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert!(matches!(ExtraRoots::from_pem(broken), Err(RootsError::Invalid(_))));
    }
}
