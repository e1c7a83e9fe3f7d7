//! Addresses of the host's resources, as the requesting client would write them.
//!
//! They begin with `--public-url`. Without it, they begin with what a trusted proxy says ([`proxies`](super::proxies)),
//! and otherwise with what the request itself was addressed to.

use std::{fmt, str::FromStr, sync::Arc};

use axum::extract::FromRequestParts;
use http::{
    HeaderValue, Uri, header,
    request::Parts,
    uri::{Authority, Scheme},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    connection::Connection,
    error::Refusal,
    proxies::{self, Forwarded},
    state::App,
};
use crate::model::InstanceId;

/// Everything except RFC 3986's unreserved characters is escaped in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How long a client should wait before asking again, in seconds. Most instances end sooner; `wait` avoids polling.
pub(crate) const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// Escapes a text as a path segment.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// The address under which clients know a host, without a trailing slash: scheme, authority, and optionally a prefix of
/// all paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl FromStr for PublicUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            |problem: &str| format!("{problem}; it must be an address such as https://windlass.example.com/base");
        if text.contains(['?', '#']) {
            return Err(wrong("has a query or a fragment"));
        }
        let uri: Uri = text.parse().map_err(|_| wrong("is not a URL"))?;
        let scheme = uri
            .scheme()
            .filter(|scheme| [&Scheme::HTTPS, &Scheme::HTTP].contains(scheme))
            .ok_or_else(|| wrong("does not begin with https:// or http://"))?;
        let authority = uri
            .authority()
            .and_then(|authority| proxies::authority(authority.as_str()))
            .ok_or_else(|| wrong("has no valid host or port"))?;
        let prefix = proxies::prefix(uri.path()).ok_or_else(|| wrong("has an unusable path"))?;
        Ok(Self(format!("{scheme}://{authority}{prefix}")))
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The address under which the client knows this host, without a trailing slash.
#[derive(Debug, Clone)]
pub(crate) struct Base(String);

impl FromRequestParts<App> for Base {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        if let Some(PublicUrl(url)) = &app.options.public_url {
            return Ok(Self(url.clone()));
        }
        let peer = parts
            .extensions
            .get::<Arc<Connection>>()
            .map(|connection| connection.peer());
        let forwarded = peer.map(|peer| Forwarded::read(&parts.headers, peer, &app.options.trusted_proxies));
        let Forwarded {
            scheme,
            authority,
            prefix,
        } = forwarded.unwrap_or_default();
        let scheme = scheme.as_ref().unwrap_or(&app.options.scheme);
        let authority = authority
            .or_else(|| addressed(parts))
            .unwrap_or_else(|| "localhost".into());
        Ok(Self(format!("{scheme}://{authority}{}", prefix.unwrap_or_default())))
    }
}

/// The authority that the request was addressed to, if it is valid in a URL.
fn addressed(parts: &Parts) -> Option<String> {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(Authority::as_str));
    proxies::authority(host?)
}

impl Base {
    /// The address as text.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The address of an instance.
    pub(crate) fn instance(&self, id: &InstanceId) -> String {
        format!("{}/v1/instances/{}", self.0, segment(id.as_str()))
    }

    /// The address of a broadcast.
    pub(crate) fn broadcast(&self, id: &str) -> String {
        format!("{}/v1/broadcasts/{}", self.0, segment(id))
    }
}

/// The links with which a client follows and controls an instance. The names are those of Durable Functions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceLinks {
    /// The instance's id.
    pub id: String,
    /// GET: its status; with `?wait=20s`, once it has ended.
    pub status_query_get_uri: String,
    /// POST: raise an event; replace `{eventName}`.
    pub send_event_post_uri: String,
    /// POST: terminate it; replace `{text}` with a reason.
    pub terminate_post_uri: String,
    /// DELETE: remove it once it has ended.
    pub purge_history_delete_uri: String,
    /// POST: suspend it; replace `{text}` with a reason.
    pub suspend_post_uri: String,
    /// POST: resume it; replace `{text}` with a reason.
    pub resume_post_uri: String,
    /// POST: ask it to cancel itself; replace `{text}` with a reason.
    #[serde(default)]
    pub cancel_post_uri: String,
    /// POST: let it go on after it has failed; replace `{text}` with a reason.
    #[serde(default)]
    pub rewind_post_uri: String,
    /// POST: start it again with the same input once it has ended.
    #[serde(default)]
    pub restart_post_uri: String,
}

impl InstanceLinks {
    pub(crate) fn new(base: &Base, id: &InstanceId) -> Self {
        let instance = base.instance(id);
        Self {
            id: id.to_string(),
            send_event_post_uri: format!("{instance}/events/{{eventName}}"),
            terminate_post_uri: format!("{instance}/terminate?reason={{text}}"),
            suspend_post_uri: format!("{instance}/suspend?reason={{text}}"),
            resume_post_uri: format!("{instance}/resume?reason={{text}}"),
            cancel_post_uri: format!("{instance}/cancel?reason={{text}}"),
            rewind_post_uri: format!("{instance}/rewind?reason={{text}}"),
            restart_post_uri: format!("{instance}/restart"),
            purge_history_delete_uri: instance.clone(),
            status_query_get_uri: instance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_public_url_is_a_scheme_a_host_and_perhaps_a_path() {
        for (text, expected) in [
            ("https://windlass.example.com", "https://windlass.example.com"),
            ("https://windlass.example.com/", "https://windlass.example.com"),
            ("http://[::1]:8080/a/b-c/", "http://[::1]:8080/a/b-c"),
            ("HTTPS://a.example/Base", "https://a.example/Base"),
        ] {
            assert_eq!(text.parse::<PublicUrl>().unwrap().to_string(), expected);
        }
        for text in [
            "",
            "windlass.example.com",
            "/base",
            "ftp://a.example",
            "javascript:alert(1)",
            "https://user:pass@a.example",
            "https://a.example?x",
            "https://a.example/#x",
            "https://a.example/a/../b",
            "https://a.example//b",
            "https://a.example/a b",
        ] {
            assert!(text.parse::<PublicUrl>().is_err(), "{text}");
        }
    }

    #[test]
    fn ids_are_escaped_in_links() {
        let base = Base("http://localhost:1".into());
        let links = InstanceLinks::new(&base, &"a b+é%:~".parse().unwrap());
        assert_eq!(
            links.status_query_get_uri,
            "http://localhost:1/v1/instances/a%20b%2B%C3%A9%25%3A~"
        );
        assert_eq!(links.id, "a b+é%:~");
        for (link, action) in [
            (links.cancel_post_uri, "cancel?reason={text}"),
            (links.rewind_post_uri, "rewind?reason={text}"),
            (links.restart_post_uri, "restart"),
        ] {
            assert_eq!(link, format!("{}/{action}", links.status_query_get_uri));
        }
    }
}
