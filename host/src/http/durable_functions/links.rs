//! The addresses with which a client follows and controls an instance.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::{Call, path::PREFIX};
use crate::http::{access::Caller, links::segment};

/// The connection that links name if the request names none. The host ignores it.
const DEFAULT_CONNECTION: &str = "AzureWebJobsStorage";

/// Everything except unreserved characters is escaped in the value of a parameter.
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The beginning and the query of all links of a request.
pub(super) struct Links {
    /// Scheme, authority and prefix, without a trailing slash.
    pub(super) base: String,
    /// `taskHub`, `connection`, and `code` if the request has it.
    query: String,
    /// `code` alone; empty if the request has none.
    pub(super) code: String,
    /// The name of the task hub.
    pub(super) hub: String,
}

/// The management links of an instance.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ManagementUrls {
    id: String,
    pub(super) status_query_get_uri: String,
    send_event_post_uri: String,
    terminate_post_uri: String,
    rewind_post_uri: String,
    purge_history_delete_uri: String,
    restart_post_uri: String,
    suspend_post_uri: String,
    resume_post_uri: String,
}

impl Links {
    pub(super) fn new(call: &Call, caller: Caller) -> Self {
        let hub = call.hub(caller);
        let connection = call.query.text("connection").unwrap_or(DEFAULT_CONNECTION);
        let code = call.original.key.as_deref();
        let code = code.map_or_else(String::new, |key| format!("code={}", value(key)));
        let mut query = format!("taskHub={}&connection={}", value(&hub), value(connection));
        if !code.is_empty() {
            query = format!("{query}&{code}");
        }
        Self {
            base: format!("{}{PREFIX}", call.base.as_str()),
            query,
            code,
            hub,
        }
    }

    /// The links of an instance.
    pub(super) fn of(&self, id: &str) -> ManagementUrls {
        let (instance, query) = (format!("{}/instances/{}", self.base, segment(id)), &self.query);
        let with_reason = |action: &str| format!("{instance}/{action}?reason={{text}}&{query}");
        ManagementUrls {
            id: id.to_owned(),
            status_query_get_uri: format!("{instance}?{query}"),
            send_event_post_uri: format!("{instance}/raiseEvent/{{eventName}}?{query}"),
            terminate_post_uri: with_reason("terminate"),
            rewind_post_uri: with_reason("rewind"),
            purge_history_delete_uri: format!("{instance}?{query}"),
            restart_post_uri: format!("{instance}/restart?{query}"),
            suspend_post_uri: with_reason("suspend"),
            resume_post_uri: with_reason("resume"),
        }
    }
}

fn value(text: &str) -> String {
    utf8_percent_encode(text, VALUE).to_string()
}
