//! The address of a host, and connections to it, plain or over TLS.

use std::{fmt, io, net::IpAddr, path::Path, time::Duration};

use http::{HeaderValue, Uri, uri::Scheme};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{self, CertificateError, pki_types::ServerName},
};

use super::error::CliError;
use crate::tls::ExtraRoots;

/// Timeout of a TCP connection. Hosts are usually near.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Timeout of a TLS handshake. Longer: a host at its connection limit lets new connections wait.
const HANDSHAKE_TIME: Duration = Duration::from_secs(30);

/// A connection to a host.
pub(super) trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// The address of a host. Cheap to clone.
#[derive(Clone)]
pub(super) struct Address {
    /// The URL as given.
    url: String,
    /// A name or an IP address, without brackets.
    host: String,
    port: u16,
    /// The value of the header `Host`.
    name: HeaderValue,
    /// The prefix of all paths: empty, or the path under which a proxy serves the host.
    base: String,
    /// Set if the URL begins with `https`.
    tls: Option<Tls>,
}

#[derive(Clone)]
struct Tls {
    connector: TlsConnector,
    /// The name that the certificate must be valid for.
    server: ServerName<'static>,
}

impl Address {
    /// Parses a URL. Over TLS, the host's certificate must be issued by one of Mozilla's authorities or of `roots`.
    pub(super) fn parse(url: &str, roots: &ExtraRoots) -> Result<Self, CliError> {
        let unusable = |problem: &str| CliError::Usage(format!("{url:?} {problem}"));
        let uri: Uri = url.parse().map_err(|_| unusable("is not a valid URL"))?;
        let is_tls = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => false,
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            _ => return Err(unusable("must begin with http:// or https://")),
        };
        let authority = uri.authority().ok_or_else(|| unusable("has no valid host"))?;
        if authority.as_str().contains('@') {
            return Err(unusable("must not contain a user; pass an API key with --key"));
        }
        let host = authority.host();
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        let tls = is_tls.then(|| {
            let server = ServerName::try_from(host.to_owned()).map_err(|_| unusable("has no valid host"))?;
            let connector = TlsConnector::from(roots.client_config());
            Ok::<_, CliError>(Tls { connector, server })
        });
        Ok(Self {
            url: url.to_owned(),
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_tls { 443 } else { 80 }),
            name: HeaderValue::from_str(authority.as_str()).map_err(|_| unusable("is not a valid URL"))?,
            base: uri.path().trim_end_matches('/').to_owned(),
            tls: tls.transpose()?,
        })
    }

    /// The value of the header `Host`.
    pub(super) fn name(&self) -> HeaderValue {
        self.name.clone()
    }

    /// The request target for a path and query of the API.
    pub(super) fn target(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }

    /// Whether requests can be intercepted: they are not encrypted and leave this machine.
    pub(super) fn is_exposed(&self) -> bool {
        let is_here = self.host.eq_ignore_ascii_case("localhost")
            || self.host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
        self.tls.is_none() && !is_here
    }

    /// Opens a connection.
    pub(super) async fn connect(&self) -> Result<Box<dyn Connection>, CliError> {
        let stream = match timeout(CONNECT_TIME, TcpStream::connect((self.host.as_str(), self.port))).await {
            Ok(stream) => stream.map_err(|error| self.lost(&error))?,
            Err(_) => return Err(self.unreachable("the connection took too long".into())),
        };
        // Requests are written whole; waiting for more data to send would only delay them.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            return Ok(Box::new(stream));
        };
        match timeout(HANDSHAKE_TIME, tls.connector.connect(tls.server.clone(), stream)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(self.not_secured(&error)),
            Err(_) => Err(self.unreachable("the TLS handshake took too long".into())),
        }
    }

    /// The error for a connection that was lost or could not be opened.
    pub(super) fn lost(&self, error: &dyn std::error::Error) -> CliError {
        let causes = std::iter::successors(Some(error), |error| error.source());
        self.unreachable(causes.last().map(ToString::to_string).unwrap_or_default())
    }

    fn unreachable(&self, cause: String) -> CliError {
        CliError::Unreachable {
            url: self.url.clone(),
            cause,
        }
    }

    /// The error for a server that responds, but not with trusted TLS.
    fn not_secured(&self, error: &io::Error) -> CliError {
        let Some(reason) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
            return self.lost(error);
        };
        let Self { url, host, .. } = self;
        let sentence = match reason {
            rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => format!(
                "the certificate of {url} is not signed by a trusted authority; to trust its authority, pass a \
                 file with the authority's certificate with --ca FILE or WINDLASS_CA"
            ),
            rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => format!("the certificate of {url} is not valid for {host}; use a host name that it is valid for"),
            rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
                format!("the certificate of {url} has expired")
            }
            rustls::Error::InvalidMessage(_) => {
                format!("the server at {url} does not speak TLS; should the URL start with http://?")
            }
            other => format!("cannot establish a TLS connection to {url}: {other}"),
        };
        CliError::NotSecured(sentence)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.url)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({})", self.url)
    }
}

/// The certificate authorities of a file, trusted in addition to Mozilla's; no additional ones without a file.
pub(super) fn roots(file: Option<&Path>) -> Result<ExtraRoots, CliError> {
    let Some(file) = file else {
        return Ok(ExtraRoots::none());
    };
    let said = |problem: String| CliError::Usage(format!("the --ca file {} {problem}", file.display()));
    let pem = std::fs::read(file).map_err(|error| said(format!("cannot be read: {error}")))?;
    ExtraRoots::from_pem(&pem).map_err(|error| said(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Address {
        Address::parse(url, &ExtraRoots::none()).unwrap()
    }

    #[test]
    fn addresses_are_read_with_their_defaults() {
        let address = parse("https://windlass.example");
        assert_eq!((address.host.as_str(), address.port), ("windlass.example", 443));
        assert_eq!(address.name(), "windlass.example");
        assert_eq!(address.target("/v1/modules"), "/v1/modules");
        let address = parse("http://[::1]:7411/behind/a/proxy/");
        assert_eq!((address.host.as_str(), address.port), ("::1", 7411));
        assert_eq!(address.name(), "[::1]:7411");
        assert_eq!(address.target("/v1/modules"), "/behind/a/proxy/v1/modules");
        assert_eq!(parse("http://windlass.example").port, 80);
    }

    #[test]
    fn invalid_addresses_are_refused() {
        for (url, problem) in [
            ("", "is not a valid URL"),
            ("127.0.0.1:7411", "must begin with http:// or https://"),
            ("ftp://127.0.0.1", "must begin with http:// or https://"),
            ("/v1", "must begin with http:// or https://"),
            ("https://user:pass@127.0.0.1", "must not contain a user"),
        ] {
            match Address::parse(url, &ExtraRoots::none()) {
                Err(CliError::Usage(sentence)) => assert!(sentence.contains(problem), "{url}: {sentence}"),
                other => panic!("{url}: {other:?}"),
            }
        }
    }

    #[test]
    fn only_plain_text_to_other_machines_is_exposed() {
        for url in [
            "http://windlass.example",
            "http://10.0.0.1:7411",
            "http://localhost.example",
        ] {
            assert!(parse(url).is_exposed(), "{url}");
        }
        for url in [
            "http://localhost:7411",
            "http://127.3.2.1",
            "http://[::1]:7411",
            "https://windlass.example",
            "https://10.0.0.1",
        ] {
            assert!(!parse(url).is_exposed(), "{url}");
        }
    }
}
