//! Without API keys, the host accepts only requests from programs on this machine that address it by its own name.
//!
//! The socket is bound to loopback, but a web page in the operator's browser can send requests to loopback too:
//! directly (then the browser adds its `Origin`), or through a DNS name of its own that resolves to 127.0.0.1 (then
//! `Host` holds that name). Both are refused before anything is read or changed. With keys, a page would have to know
//! one. The host never sends a CORS header.

use std::net::{IpAddr, SocketAddr};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{
    HeaderMap, Uri, header,
    uri::{Authority, Scheme},
};

use super::{error::Refusal, state::App};

/// Maximum length of a request target (path and query), in bytes. The longest valid ones hold an escaped id and an
/// escaped event name.
pub(crate) const MAX_TARGET_BYTES: usize = 8 * 1024;

/// As long as there are no keys, accepts only requests that are addressed to this machine by its own name and come from
/// no foreign page.
pub(crate) async fn own_machine_only(State(app): State<App>, request: Request, next: Next) -> Response {
    let foreign_welcome = !app.options.own_names_only || !app.engine.tenancy().is_open();
    let checked = check_length(request.uri()).and_then(|()| {
        if foreign_welcome {
            Ok(())
        } else {
            check(request.uri(), request.headers(), &app.options.scheme)
        }
    });
    match checked {
        Ok(()) => next.run(request).await,
        Err(refusal) => refusal.into_response(),
    }
}

fn check_length(uri: &Uri) -> Result<(), Refusal> {
    match uri.path_and_query() {
        Some(target) if target.as_str().len() > MAX_TARGET_BYTES => Err(Refusal::TargetTooLong {
            limit: MAX_TARGET_BYTES,
        }),
        _ => Ok(()),
    }
}

fn check(uri: &Uri, headers: &HeaderMap, scheme: &Scheme) -> Result<(), Refusal> {
    let host = single(headers, header::HOST).ok_or_else(|| Refusal::ForeignHost { host: String::new() })?;
    // A proxy-style request names its host in the target as well; both names must be the machine's own.
    for name in [Some(host), uri.authority().map(Authority::as_str)]
        .into_iter()
        .flatten()
    {
        if !is_own_name(name) {
            return Err(Refusal::ForeignHost { host: name.to_owned() });
        }
    }
    for origin in headers.get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or("?");
        let own = origin
            .strip_prefix(scheme.as_str())
            .and_then(|rest| rest.strip_prefix("://"))
            .is_some_and(|authority| authority.eq_ignore_ascii_case(host));
        if !own {
            return Err(Refusal::ForeignOrigin {
                origin: origin.to_owned(),
            });
        }
    }
    Ok(())
}

/// The value of a header that must be present exactly once.
fn single(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Whether `host` is `localhost` or a loopback address, with or without a port. The port is not compared: a tunnel may
/// change it, and a page cannot set `Host` at all.
fn is_own_name(host: &str) -> bool {
    if let Ok(address) = host.parse::<SocketAddr>() {
        return address.ip().is_loopback();
    }
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    }
    let (name, port) = host.rsplit_once(':').unwrap_or((host, "0"));
    let name_is_ours =
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    name_is_ours && port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(target: &str, given: &[(header::HeaderName, &str)]) -> &'static str {
        let headers = given
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        code_over(&Scheme::HTTP, target, &headers)
    }

    fn code_over(scheme: &Scheme, target: &str, headers: &HeaderMap) -> &'static str {
        check(&target.parse().unwrap(), headers, scheme).map_or_else(|refusal| refusal.kind().1, |()| "ok")
    }

    #[test]
    fn only_the_machines_own_names_are_accepted() {
        for host in [
            "localhost",
            "LOCALHOST:7411",
            "127.0.0.1",
            "127.0.0.1:80",
            "127.3.2.1:1",
            "[::1]",
            "[::1]:7411",
        ] {
            assert_eq!(code("/", &[(header::HOST, host)]), "ok", "{host}");
        }
        for host in [
            "",
            "example.com",
            "localhost.example.com",
            "localhost:x",
            "localhost:",
            "localhost:99999",
            "127.0.0.1.nip.io",
            "10.0.0.1",
            "[::2]",
            "[::1",
            "0.0.0.0",
            "user@localhost",
            "localhost:80:80",
            "::1",
        ] {
            assert_eq!(code("/", &[(header::HOST, host)]), "foreign-host", "{host}");
        }
        assert_eq!(code("/", &[]), "foreign-host");
        assert_eq!(
            code("/", &[(header::HOST, "localhost"), (header::HOST, "localhost")]),
            "foreign-host",
            "with two names, which one counts would depend on the implementation"
        );
        assert_eq!(
            code("http://evil.example/", &[(header::HOST, "localhost")]),
            "foreign-host"
        );
    }

    #[test]
    fn pages_of_other_origins_are_refused() {
        let host = (header::HOST, "localhost:7411");
        let check = |origin| code("/", &[host.clone(), (header::ORIGIN, origin)]);
        assert_eq!(check("http://localhost:7411"), "ok");
        for origin in [
            "null",
            "http://localhost:3000",
            "https://localhost:7411",
            "http://evil.example",
            "http://127.0.0.1:7411",
        ] {
            assert_eq!(check(origin), "foreign-origin", "{origin}");
        }
    }

    #[test]
    fn over_tls_only_https_origins_belong_to_the_host() {
        let check = |origin: &str| {
            let headers = [(header::HOST, "localhost:7411"), (header::ORIGIN, origin)];
            let headers = headers.map(|(name, value)| (name, value.parse().unwrap()));
            code_over(&Scheme::HTTPS, "/", &headers.into_iter().collect())
        };
        assert_eq!(check("https://localhost:7411"), "ok");
        for origin in ["http://localhost:7411", "https:localhost:7411", "https://evil.example"] {
            assert_eq!(check(origin), "foreign-origin", "{origin}");
        }
    }

    #[test]
    fn a_very_long_target_is_refused() {
        let target = format!("/v1/instances/{}", "x".repeat(MAX_TARGET_BYTES));
        let refusal = check_length(&target.parse().unwrap()).unwrap_err();
        assert_eq!(refusal.kind().1, "target-too-long");
    }
}
