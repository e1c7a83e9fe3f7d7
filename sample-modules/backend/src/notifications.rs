//! Messages to people: confirmations, payment failures, reminders, escalations. They are stored rather than sent.

use std::path::Path as Folder;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::post;
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, Json, Query};
use crate::once::{Answered, IdempotencyKey, Once};
use crate::{Endpoint, World};

pub(crate) const ENDPOINTS: &[Endpoint] = &[
    ("POST", "/notifications", "sends a message to a person"),
    ("GET", "/notifications", "all messages, by ?about= and ?kind="),
];

#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Message {
    /// For example `order-confirmation`, `payment-failure`, `reminder`.
    kind: String,
    to: String,
    /// The order or request it is about.
    about: String,
    text: String,
}

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    notification_id: String,
    #[serde(flatten)]
    message: Message,
}

pub(crate) struct Notifications(Once<Message, Sent>);

impl Notifications {
    pub(crate) fn open(folder: &Folder) -> std::io::Result<Self> {
        Ok(Self(Once::open(folder, "notifications")?))
    }

    pub(crate) fn clear(&self) -> std::io::Result<()> {
        self.0.clear()
    }
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new().route("/notifications", post(send).get(list))
}

async fn send(
    State(world): State<Arc<World>>,
    IdempotencyKey(key): IdempotencyKey,
    Json(message): Json<Message>,
) -> Result<Answered<Sent>, ApiError> {
    if !message.to.contains('@') {
        return Err(ApiError::bad_request(
            "bad_recipient",
            format!("\"{}\" is not an e-mail address", message.to),
        ));
    }
    world.notifications.0.answer(key, message, |message, before| {
        Ok(Sent {
            notification_id: format!("msg-{:05}", before.len() + 1),
            message: message.clone(),
        })
    })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    about: Option<String>,
    kind: Option<String>,
}

async fn list(State(world): State<Arc<World>>, Query(filter): Query<Filter>) -> Json<Vec<Sent>> {
    let mut sent = world.notifications.0.answers();
    sent.retain(|sent| {
        filter.about.as_ref().is_none_or(|about| *about == sent.message.about)
            && filter.kind.as_ref().is_none_or(|kind| *kind == sent.message.kind)
    });
    Json(sent)
}
