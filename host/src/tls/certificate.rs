//! The certificate and key of the host, loaded at start and reloaded when their files change.
//!
//! Hosts run longer than certificates are valid. Changes are detected by content, not by modification time, because
//! tools may preserve the time or swap links. New files may arrive in any order: while key and certificate do not
//! match, the host keeps using the previous pair.

use std::{
    fmt, fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::{
    self, InconsistentKeys, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::provider;

/// How often the files are checked. Renewed certificates overlap the previous ones by days, but operators who renew one
/// should not have to wait for the reload.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The only protocol over TLS, as negotiated in the handshake (ALPN).
const PROTOCOL: &[u8] = b"http/1.1";

/// The bits of a file's mode that give access to its group and to other users.
const OTHERS: u32 = 0o077;

/// The files of the certificate and its key, both in PEM format.
#[derive(Debug, Clone)]
pub struct CertificateFiles {
    /// The certificate, followed by the intermediate certificates up to an authority that clients trust.
    pub certificate: PathBuf,
    /// The unencrypted key: PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// The current certificate. Cheap to clone; all clones change together.
#[derive(Clone)]
pub struct Certificate(Arc<Shown>);

struct Shown {
    files: CertificateFiles,
    now: Mutex<Now>,
}

struct Now {
    config: Arc<ServerConfig>,
    /// The content of the files at the last check, or why they could not be read. Each change is handled, and each
    /// error reported, only once.
    seen: Result<Fingerprint, String>,
}

/// SHA-256 of certificate and key.
type Fingerprint = [u8; 32];

/// Why a certificate cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// One of the files cannot be read.
    #[error("the file {} cannot be read: {}", .0.display(), .1)]
    Unreadable(PathBuf, io::Error),
    /// The certificate file does not contain a certificate.
    #[error("the file {} has no certificate in PEM format", .0.display())]
    NoCertificate(PathBuf),
    /// The certificate cannot be used.
    #[error("the file {} has a certificate that cannot be used: {}", .file.display(), .reason)]
    BadCertificate {
        /// The path of the file.
        file: PathBuf,
        /// What is wrong with the certificate.
        reason: String,
    },
    /// The key file does not contain an unencrypted key.
    #[error("the file {} has no key in PEM format (PKCS#8, PKCS#1 or SEC1, not encrypted)", .0.display())]
    NoKey(PathBuf),
    /// The key cannot be used. The error has no details, because they could reveal parts of the key.
    #[error("the file {} has a key that cannot be used; use RSA, ECDSA (P-256, P-384) or Ed25519", .0.display())]
    BadKey(PathBuf),
    /// Both files are valid, but the key belongs to another certificate.
    #[error(
        "the key in {} does not belong to the first certificate in {}",
        .0.key.display(), .0.certificate.display()
    )]
    Mismatch(CertificateFiles),
}

impl Certificate {
    /// Loads the certificate and its key.
    ///
    /// # Errors
    /// If a file cannot be read or used, or the two do not match.
    pub fn load(files: CertificateFiles) -> Result<Self, CertificateError> {
        let pair = Pair::read(&files)?;
        let config = pair.config(&files)?;
        warn_of_others(&files.key);
        let now = Mutex::new(Now {
            config,
            seen: Ok(pair.fingerprint()),
        });
        Ok(Self(Arc::new(Shown { files, now })))
    }

    /// The TLS configuration for the next handshake.
    pub(crate) fn config(&self) -> Arc<ServerConfig> {
        self.now().config.clone()
    }

    /// Checks the files. Returns whether they changed; new handshakes then use the new certificate.
    ///
    /// # Errors
    /// If the new files cannot be used. Reported once per change; the previous certificate stays in use.
    pub fn look(&self) -> Result<bool, CertificateError> {
        let Shown { files, .. } = &*self.0;
        let pair = Pair::read(files);
        let seen = match &pair {
            Ok(pair) => Ok(pair.fingerprint()),
            Err(error) => Err(error.to_string()),
        };
        if self.now().seen == seen {
            return Ok(false);
        }
        let config = pair.and_then(|pair| pair.config(files));
        let mut now = self.now();
        now.seen = seen;
        now.config = config?;
        Ok(true)
    }

    /// Checks the files every [`LOOK_EVERY`] until `stop` is cancelled.
    pub(crate) async fn keep_current(&self, stop: &CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
            let shown = self.clone();
            let looked = tokio::task::spawn_blocking(move || shown.look()).await;
            let certificate = self.0.files.certificate.display();
            match looked {
                Ok(Ok(false)) => {}
                Ok(Ok(true)) => {
                    warn_of_others(&self.0.files.key);
                    tracing::info!(%certificate, "loaded a new certificate");
                }
                Ok(Err(error)) => {
                    tracing::warn!(%error, "the new certificate cannot be used; keeping the previous one");
                }
                Err(error) => {
                    tracing::error!(%error, "internal error while checking for a new certificate")
                }
            }
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.0.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Omits the key.
impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.0.files.certificate.display())
    }
}

/// The content of the two files.
struct Pair {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
}

impl Pair {
    fn read(files: &CertificateFiles) -> Result<Self, CertificateError> {
        let read = |file: &Path| fs::read(file).map_err(|error| CertificateError::Unreadable(file.to_owned(), error));
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: Zeroizing::new(read(&files.key)?),
        })
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut hash = Sha256::new();
        hash.update(self.certificate.len().to_le_bytes());
        hash.update(&self.certificate);
        hash.update(&self.key);
        hash.finalize().into()
    }

    fn config(&self, files: &CertificateFiles) -> Result<Arc<ServerConfig>, CertificateError> {
        let bad = |reason: String| CertificateError::BadCertificate {
            file: files.certificate.clone(),
            reason,
        };
        let chain = CertificateDer::pem_slice_iter(&self.certificate).collect::<Result<Vec<_>, _>>();
        let chain = chain.map_err(|error| bad(error.to_string()))?;
        if chain.is_empty() {
            return Err(CertificateError::NoCertificate(files.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key);
        let key = key.map_err(|_| CertificateError::NoKey(files.key.clone()))?;
        // Checked separately, so that the error names the right file.
        if provider().key_provider.load_private_key(key.clone_key()).is_err() {
            return Err(CertificateError::BadKey(files.key.clone()));
        }
        let config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider offers TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, key);
        let mut config = config.map_err(|error| match error {
            rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => CertificateError::Mismatch(files.clone()),
            error => bad(error.to_string()),
        })?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(Arc::new(config))
    }
}

/// Warns if other users than the owner can access the key. This is not an error, because some operators give a group
/// access to such files.
fn warn_of_others(key: &Path) {
    if fs::metadata(key).is_ok_and(|file| file.permissions().mode() & OTHERS != 0) {
        tracing::warn!(key = %key.display(), "the key file is accessible to other users; run `chmod 600` on it");
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const SERVICE: &str = include_str!("../../../tests/harness/certificates/service.pem");
    const SERVICE_KEY: &str = include_str!("../../../tests/harness/certificates/service.key");
    const RENEWED: &str = include_str!("../../../tests/harness/certificates/renewed.pem");
    const RENEWED_KEY: &str = include_str!("../../../tests/harness/certificates/renewed.key");
    const AUTHORITY: &str = include_str!("../../../tests/harness/certificates/authority.pem");

    /// The service's key in the format of `openssl ecparam -genkey`.
    const SERVICE_KEY_SEC1: &str = "\
-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIBCZZhOod6Agt23Ewirgvc0iapxPe/FMoO9+Ja1LKKdOoAoGCCqGSM49
AwEHoUQDQgAEqW5ge2UGXFfi3eqQRZsGvyEO6alURt9MaT6sFpnec06PK90aPLsF
5O6U2coSvtpxflRYg/lqCT1SiE2BscxJtg==
-----END EC PRIVATE KEY-----
";

    /// The two files, in a temporary folder.
    struct Folder {
        files: CertificateFiles,
        _folder: TempDir,
    }

    impl Folder {
        fn with(certificate: &str, key: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let files = CertificateFiles {
                certificate: folder.path().join("host.pem"),
                key: folder.path().join("host.key"),
            };
            let folder = Self { files, _folder: folder };
            folder.bring_certificate(certificate);
            folder.bring_key(key);
            folder
        }

        fn bring_certificate(&self, text: &str) {
            fs::write(&self.files.certificate, text).unwrap();
        }

        fn bring_key(&self, text: &str) {
            fs::write(&self.files.key, text).unwrap();
        }

        fn load(&self) -> Result<Certificate, CertificateError> {
            Certificate::load(self.files.clone())
        }
    }

    fn error(certificate: &str, key: &str) -> String {
        let folder = Folder::with(certificate, key);
        let error = folder.load().unwrap_err().to_string();
        let place = folder.files.certificate.parent().unwrap().display().to_string();
        error.replace(&format!("{place}/"), "")
    }

    #[test]
    fn keys_of_all_formats_and_chains_are_accepted() {
        for (certificate, key) in [
            (SERVICE, SERVICE_KEY),
            (SERVICE, SERVICE_KEY_SEC1),
            (RENEWED, RENEWED_KEY),
            (&format!("{SERVICE}{AUTHORITY}"), SERVICE_KEY),
            // One file for both, as some tools write it.
            (&format!("{SERVICE_KEY}{SERVICE}"), &format!("{SERVICE_KEY}{SERVICE}")),
        ] {
            let shown = Folder::with(certificate, key).load().unwrap();
            assert_eq!(shown.config().alpn_protocols, [b"http/1.1".to_vec()]);
        }
    }

    #[test]
    fn errors_name_the_file() {
        assert_eq!(
            error("nothing", SERVICE_KEY),
            "the file host.pem has no certificate in PEM format"
        );
        assert_eq!(
            error(SERVICE_KEY, SERVICE_KEY),
            "the file host.pem has no certificate in PEM format"
        );
        let no_key = "the file host.key has no key in PEM format (PKCS#8, PKCS#1 or SEC1, not encrypted)";
        assert_eq!(error(SERVICE, ""), no_key);
        let encrypted = SERVICE_KEY.replace("PRIVATE", "ENCRYPTED PRIVATE");
        assert_eq!(error(SERVICE, &encrypted), no_key);
        assert_eq!(
            error(SERVICE, RENEWED_KEY),
            "the key in host.key does not belong to the first certificate in host.pem"
        );
        // A chain in the wrong order: the authority comes first.
        assert_eq!(
            error(&format!("{AUTHORITY}{SERVICE}"), SERVICE_KEY),
            "the key in host.key does not belong to the first certificate in host.pem"
        );
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let said = error(broken, SERVICE_KEY);
        assert!(
            said.starts_with("the file host.pem has a certificate that cannot be used: "),
            "{said}"
        );
        let broken = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        assert_eq!(
            error(SERVICE, broken),
            "the file host.key has a key that cannot be used; use RSA, ECDSA (P-256, P-384) or Ed25519"
        );

        let folder = Folder::with(SERVICE, SERVICE_KEY);
        fs::remove_file(&folder.files.key).unwrap();
        let said = folder.load().unwrap_err().to_string();
        assert!(
            said.contains("host.key cannot be read: No such file or directory"),
            "{said}"
        );
    }

    #[test]
    fn a_renewed_pair_is_used_once_both_files_match() {
        let folder = Folder::with(SERVICE, SERVICE_KEY);
        let shown = folder.load().unwrap();
        let before = shown.config();
        assert!(!shown.look().unwrap());

        folder.bring_key(RENEWED_KEY);
        assert!(matches!(shown.look(), Err(CertificateError::Mismatch(_))));
        assert!(!shown.look().unwrap(), "an error is reported once");
        assert!(
            Arc::ptr_eq(&before, &shown.config()),
            "the previous certificate stays in use"
        );

        folder.bring_certificate(RENEWED);
        assert!(shown.look().unwrap());
        assert!(!Arc::ptr_eq(&before, &shown.config()));
        assert!(!shown.look().unwrap());
    }

    #[test]
    fn files_that_disappear_and_come_back_change_nothing() {
        let folder = Folder::with(SERVICE, SERVICE_KEY);
        let shown = folder.load().unwrap();
        fs::remove_file(&folder.files.certificate).unwrap();
        assert!(matches!(shown.look(), Err(CertificateError::Unreadable(..))));
        assert!(!shown.look().unwrap(), "an error is reported once");
        folder.bring_certificate(SERVICE);
        assert!(shown.look().is_ok());
        assert!(!shown.look().unwrap());
    }
}
