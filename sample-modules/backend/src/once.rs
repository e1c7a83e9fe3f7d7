//! Writes that happen once per key, however often they are requested.
//!
//! The first request with a key is carried out and its answer stored. A repeated request gets the same answer, and a
//! different request with the same key is refused. This allows an activity to run twice without doing its work twice.

use std::path::Path;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::{ApiError, Json};
use crate::journal::{Entries, Journal};

/// Set on the answer to a repeated request.
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// Maximum length of an idempotency key, in bytes.
const MAX_KEY_BYTES: usize = 200;

/// The header `Idempotency-Key`, which is required for every `POST` outside `/control`.
pub(crate) struct IdempotencyKey(pub(crate) String);

impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let key = parts
            .headers
            .get("idempotency-key")
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(ApiError::bad_request(
                "idempotency_key_required",
                format!("send a header Idempotency-Key of 1 to {MAX_KEY_BYTES} bytes"),
            ));
        }
        Ok(Self(key.to_owned()))
    }
}

/// A request that was carried out, with its answer.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Done<Request, Answer> {
    pub(crate) key: String,
    pub(crate) request: Request,
    pub(crate) answer: Answer,
    /// How often the request was repeated.
    pub(crate) repeats: u32,
}

/// All requests of one kind that were carried out.
pub(crate) struct Once<Request, Answer>(Journal<Done<Request, Answer>>);

/// An answer, and whether the request was a repetition.
pub(crate) struct Answered<Answer> {
    pub(crate) answer: Answer,
    pub(crate) replayed: bool,
}

impl<Request, Answer> Once<Request, Answer>
where
    Request: Serialize + DeserializeOwned + Clone + PartialEq,
    Answer: Serialize + DeserializeOwned + Clone,
{
    pub(crate) fn open(folder: &Path, name: &str) -> std::io::Result<Self> {
        Ok(Self(Journal::open(folder, name)?))
    }

    /// Carries out `request` with `act`, unless its key is known. `act` sees the earlier requests, atomically with its
    /// own change. If `act` refuses, nothing is stored.
    pub(crate) fn answer(
        &self,
        key: String,
        request: Request,
        act: impl FnOnce(&Request, &Entries<Done<Request, Answer>>) -> Result<Answer, ApiError>,
    ) -> Result<Answered<Answer>, ApiError> {
        self.0.change(&key.clone(), |before| match before.get(&key) {
            Some(done) if done.request != request => (
                None,
                Err(ApiError::new(
                    StatusCode::UNPROCESSABLE_ENTITY,
                    "idempotency_key_reused",
                    "this key was used for a different request",
                )),
            ),
            Some(done) => {
                let answer = done.answer.clone();
                let seen_again = Done {
                    repeats: done.repeats + 1,
                    ..done.clone()
                };
                (Some(seen_again), Ok(Answered { answer, replayed: true }))
            }
            None => match act(&request, before) {
                Ok(answer) => {
                    let done = Done {
                        key,
                        request,
                        answer: answer.clone(),
                        repeats: 0,
                    };
                    (
                        Some(done),
                        Ok(Answered {
                            answer,
                            replayed: false,
                        }),
                    )
                }
                Err(refusal) => (None, Err(refusal)),
            },
        })?
    }

    pub(crate) fn all(&self) -> Vec<Done<Request, Answer>> {
        self.0.values()
    }

    /// The answers, oldest first.
    pub(crate) fn answers(&self) -> Vec<Answer> {
        self.all().into_iter().map(|done| done.answer).collect()
    }

    pub(crate) fn clear(&self) -> std::io::Result<()> {
        self.0.clear()
    }
}

/// 201 for a new request, 200 with the header `Idempotent-Replayed` for a repeated one.
impl<Answer: Serialize> IntoResponse for Answered<Answer> {
    fn into_response(self) -> Response {
        if self.replayed {
            (StatusCode::OK, [(REPLAYED, "true")], Json(self.answer)).into_response()
        } else {
            (StatusCode::CREATED, Json(self.answer)).into_response()
        }
    }
}
