//! TLS connections: a TLS proxy for a plain HTTP server, and connections to a TLS server.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

const CERTIFICATE: &[u8] = include_bytes!("../certificates/service.pem");
const KEY: &[u8] = include_bytes!("../certificates/service.key");

/// A TLS proxy in front of one server. Accepts connections until it is dropped.
#[derive(Debug)]
pub struct Encrypted {
    url: String,
    accepting: AbortHandle,
}

impl Encrypted {
    /// Starts a proxy for the server at the `http://` URL.
    pub async fn way_to(url: &str) -> Self {
        let server = url.strip_prefix("http://").expect("a plain server").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let acceptor = TlsAcceptor::from(Arc::new(config()));
        let accept = async move {
            while let Ok((connection, _)) = listener.accept().await {
                let (acceptor, server) = (acceptor.clone(), server.clone());
                tokio::spawn(async move {
                    // A client that does not trust the certificate disconnects here.
                    let mut client = acceptor.accept(connection).await?;
                    let mut server = TcpStream::connect(server).await?;
                    copy_bidirectional(&mut client, &mut server).await
                });
            }
        };
        Self {
            url: format!("https://{address}"),
            accepting: tokio::spawn(accept).abort_handle(),
        }
    }

    /// The URL of the proxy.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate file of the authority that issued the proxy's certificate.
    pub fn authority() -> PathBuf {
        Self::file("authority.pem")
    }

    /// The path of a file in the folder `certificates`; its README describes the files.
    pub fn file(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("harness/certificates")
            .join(name)
    }

    /// Connects to the server at the `https://` URL, and trusts only this authority.
    ///
    /// # Errors
    /// If no server responds, or its certificate is not valid.
    pub async fn connect(url: &str, authority: &Path) -> io::Result<TlsStream<TcpStream>> {
        let address = url.strip_prefix("https://").expect("an encrypted server");
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(authority).expect("a certificate");
        roots.add(certificate).expect("a sound certificate");
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider offers TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::from(stream.peer_addr()?.ip());
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }
}

impl Drop for Encrypted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

fn config() -> ServerConfig {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE).expect("a certificate");
    let key = PrivateKeyDer::from_pem_slice(KEY).expect("a key");
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider offers TLS 1.2 and 1.3")
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .expect("the key belongs to the certificate")
}
