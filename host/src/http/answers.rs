//! Bounds the answers that are being assembled or sent, in bytes, by tenant.
//!
//! A handler takes [`Room`] for the largest answer that it may give before it reads anything from the store. When the
//! body is complete, the room shrinks to the size of the body, and is held until its bytes are sent or the connection
//! ends. So clients that read slowly, or not at all, cannot collect answers in memory.

use std::time::Duration;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use tokio::time::timeout;

use super::error::Refusal;
use crate::{
    memory::{Held, Pool},
    model::TenantId,
    store::ANSWER_BYTES,
};

/// How long a request waits for room.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// Room for a page of a list: its content, and the JSON text made of it.
pub(crate) const PAGE_BYTES: usize = 2 * ANSWER_BYTES;

/// The memory for answers.
#[derive(Debug, Clone)]
pub(crate) struct Answers(Pool);

/// Memory for one answer.
#[derive(Debug)]
pub(crate) struct Room(Held);

impl Answers {
    pub(crate) fn new(pool: Pool) -> Self {
        Self(pool)
    }

    /// Waits for room for an answer. A tenant that has other answers leaves room for one of another tenant, also if the
    /// memory is little more than a few answers.
    ///
    /// # Errors
    /// If there is none for too long.
    pub(crate) async fn room(&self, tenant: TenantId, bytes: usize) -> Result<Room, Refusal> {
        let room = timeout(MAX_WAIT, self.take(tenant, bytes as u64)).await;
        room.map_err(|_| Refusal::TooManyAnswers)
    }

    async fn take(&self, tenant: TenantId, bytes: u64) -> Room {
        if self.0.usage_of(tenant).used == 0 {
            let held = self.0.take(tenant, bytes).await;
            if self.0.usage_of(tenant).used == bytes {
                return Room(held);
            }
            // Another answer of the tenant took room meanwhile.
        }
        let mut with_spare = self.0.take(tenant, bytes.saturating_mul(2)).await;
        with_spare.resize(bytes);
        Room(with_spare)
    }

    /// Takes room in any case, for the answer to a change that has been made.
    pub(crate) fn room_for_change(&self, tenant: TenantId, bytes: usize) -> Room {
        Room(self.0.take_beyond_limit(tenant, bytes as u64))
    }
}

impl Room {
    /// A response with a JSON document. Its bytes hold the room.
    ///
    /// # Errors
    /// If the document cannot be written as JSON.
    pub(crate) fn json(self, status: StatusCode, document: &impl Serialize) -> Result<Response, Refusal> {
        let text = serde_json::to_vec(document);
        let mut text =
            text.map_err(|error| Refusal::Internal(format!("an answer cannot be written as JSON: {error}")))?;
        // It may be twice as large, and stays until a slow client has read it.
        text.shrink_to_fit();
        let Self(mut held) = self;
        held.resize(text.capacity() as u64);
        let mut response = Response::new(Body::from(Bytes::from_owner(Text { text, _held: held })));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

/// The bytes of a body, with the memory that they take.
struct Text {
    text: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Text {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    const TENANT: TenantId = TenantId(1);

    #[tokio::test(start_paused = true)]
    async fn room_is_held_until_the_last_byte_of_the_body_is_dropped() {
        let pool = Pool::new(10_000);
        let answers = Answers::new(pool.clone());
        let room = answers.room(TENANT, 8_000).await.unwrap();
        let refused = answers.room(TENANT, 8_000).await.unwrap_err();
        assert_eq!(refused.kind().1, "too-many-answers");
        let response = room.json(StatusCode::OK, &"x".repeat(1_000)).unwrap();
        let used = pool.usage_of(TENANT).used;
        assert!((1_002..8_000).contains(&used), "{used}");
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let last = body.slice(1_001..);
        drop(body);
        assert_eq!(pool.usage_of(TENANT).used, used);
        drop(last);
        assert_eq!(pool.usage_of(TENANT).used, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn answers_that_waited_together_leave_room_for_others_too() {
        let answers = Answers::new(Pool::new(15_000));
        let all = answers.room(TenantId(3), 15_000).await.unwrap();
        let ask = || {
            let answers = answers.clone();
            tokio::spawn(async move { answers.room(TENANT, 8_000).await })
        };
        let (first, second) = (ask(), ask());
        tokio::task::yield_now().await;
        drop(all);
        let unread = first.await.unwrap().unwrap().json(StatusCode::OK, &"x".repeat(6_000));
        assert!(answers.room(TenantId(2), 8_000).await.is_ok());
        assert!(second.await.unwrap().is_err());
        drop(unread);
    }

    #[tokio::test(start_paused = true)]
    async fn a_tenant_whose_answers_are_not_read_leaves_room_for_others() {
        for memory in [10_000, 3_000, 2_000] {
            let answers = Answers::new(Pool::new(memory));
            let mut unread = Vec::new();
            while let Ok(room) = answers.room(TENANT, 1_000).await {
                unread.push(room);
            }
            assert!(answers.room(TenantId(2), 1_000).await.is_ok(), "{memory}");
            drop(answers.room_for_change(TENANT, 5_000));
        }
    }
}
