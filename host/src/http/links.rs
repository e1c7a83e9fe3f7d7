//! Addresses of our own resources, as the client that asks would write them.

use axum::extract::FromRequestParts;
use http::{HeaderValue, header, request::Parts};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{error::Refusal, state::App};
use crate::model::InstanceId;

/// Everything but RFC 3986's unreserved characters is escaped in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How often a client should ask again, in seconds. Most instances end sooner; `wait` saves asking at all.
pub(crate) const RETRY_AFTER_SECONDS: HeaderValue = HeaderValue::from_static("1");

/// A path segment holding that text.
pub(crate) fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// Scheme and authority under which the client knows this host.
#[derive(Debug, Clone)]
pub(crate) struct Base(String);

impl FromRequestParts<App> for Base {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Refusal> {
        let host = parts
            .headers
            .get(header::HOST)
            .and_then(|host| host.to_str().ok())
            .unwrap_or("localhost");
        Ok(Self(format!("{}://{host}", app.options.scheme)))
    }
}

impl Base {
    /// The address of an instance.
    pub(crate) fn instance(&self, id: &InstanceId) -> String {
        format!("{}/v1/instances/{}", self.0, segment(id.as_str()))
    }
}

/// What a client needs to follow and steer an instance. The names are those of Durable Functions.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct InstanceLinks {
    /// The instance's id.
    pub id: String,
    /// GET: its status; with `?wait=20s` after it ended.
    pub status_query_get_uri: String,
    /// POST: raise an event; replace `{eventName}`.
    pub send_event_post_uri: String,
    /// POST: end it; replace `{text}` by a reason.
    pub terminate_post_uri: String,
    /// DELETE: remove it once it has ended.
    pub purge_history_delete_uri: String,
    /// POST: stop it for a while; replace `{text}` by a reason.
    pub suspend_post_uri: String,
    /// POST: let it go on; replace `{text}` by a reason.
    pub resume_post_uri: String,
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
            purge_history_delete_uri: instance.clone(),
            status_query_get_uri: instance,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_escaped_in_links() {
        let base = Base("http://localhost:1".into());
        let links = InstanceLinks::new(&base, &"a b+é%:~".parse().unwrap());
        assert_eq!(
            links.status_query_get_uri,
            "http://localhost:1/v1/instances/a%20b%2B%C3%A9%25%3A~"
        );
        assert_eq!(links.id, "a b+é%:~");
    }
}
