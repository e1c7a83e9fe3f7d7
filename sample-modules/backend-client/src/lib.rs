//! The client of the samples' backend, for activities. Converts errors of the backend into failures.

use windlass_sdk::CompletionToken;
use windlass_sdk::http;
use windlass_sdk::http::{Request, Response};
use windlass_sdk::prelude::*;
use windlass_sdk::serde::Serialize;
use windlass_sdk::serde::de::DeserializeOwned;

pub use windlass_sdk::serde_json::json;

/// The base URL of the backend. It is part of the inputs, because orchestrations have no configuration.
#[payload]
#[serde(transparent)]
pub struct Backend(String);

impl Default for Backend {
    fn default() -> Self {
        Self("http://127.0.0.1:8090".into())
    }
}

impl Backend {
    /// Reads a JSON document.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        send(http::get(self.url(path)))?.json()
    }

    /// Reads a file.
    pub fn bytes(&self, path: &str) -> Result<Bytes> {
        Ok(send(http::get(self.url(path)))?.into_bytes().into())
    }

    /// Sends a request that the backend executes only once for all attempts of this call.
    pub fn post<T: DeserializeOwned>(&self, ctx: &Activity, path: &str, body: &impl Serialize) -> Result<T> {
        send(self.keyed(ctx, path, body))?.json()
    }

    /// Like [`post`](Self::post), but ignores the response.
    pub fn tell(&self, ctx: &Activity, path: &str, body: &impl Serialize) -> Result<()> {
        send(self.keyed(ctx, path, body)).map(drop)
    }

    /// Sends an idempotent update.
    pub fn put(&self, path: &str, body: &impl Serialize) -> Result<()> {
        send(http::put(self.url(path)).json(body)).map(drop)
    }

    /// Sends a message to a person.
    pub fn notify(&self, ctx: &Activity, kind: &str, to: &str, about: &str, text: &str) -> Result<()> {
        self.tell(
            ctx,
            "/notifications",
            &json!({ "kind": kind, "to": to, "about": about, "text": text }),
        )
    }

    /// Sends the permission to complete the call of this activity to a person. Each token is a message of its own.
    pub fn send_token(&self, completion: &CompletionToken, to: &str, about: &str) -> Result<()> {
        let token = completion.token();
        let message = json!({ "kind": "question", "to": to, "about": about, "text": token });
        let request = http::post(self.url("/notifications")).header("idempotency-key", token);
        send(request.json(&message)).map(drop)
    }

    /// Appends to the error log.
    pub fn log_error(&self, ctx: &Activity, source: &str, error_type: &str, message: &str) -> Result<()> {
        self.tell(
            ctx,
            "/errors",
            &json!({ "source": source, "errorType": error_type, "message": message }),
        )
    }

    fn keyed(&self, ctx: &Activity, path: &str, body: &impl Serialize) -> Request {
        http::post(self.url(path))
            .header("idempotency-key", ctx.idempotency_key())
            .json(body)
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

/// Escapes a text for use as a segment of a path or a value in a query.
pub fn escape(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_~".contains(byte);
    text.as_bytes()
        .iter()
        .map(|byte| {
            if plain(byte) {
                char::from(*byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// The error document of the backend. Its code is more useful than the HTTP status.
#[payload]
struct BackendError {
    code: String,
    message: String,
    details: Option<windlass_sdk::serde_json::Value>,
}

/// Sends a request. If the response has an error document, returns its code and message as a failure.
fn send(request: Request) -> Result<Response> {
    let response = request.timeout(secs(20)).send()?;
    let Err(unsuccessful) = response.clone().ok() else {
        return Ok(response);
    };
    let Ok(error) = response.json::<BackendError>() else {
        return Err(unsuccessful);
    };
    let mut failure = Failure::new(pascal_case(&error.code), error.message);
    if let Some(details) = error.details {
        failure = failure.details(&details);
    }
    Err(if unsuccessful.is_non_retryable() {
        failure.non_retryable()
    } else {
        failure
    })
}

/// `payment_declined` → `PaymentDeclined`
fn pascal_case(code: &str) -> String {
    code.split('_')
        .flat_map(|word| {
            word.chars()
                .enumerate()
                .map(|(at, c)| if at == 0 { c.to_ascii_uppercase() } else { c })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_names_cannot_change_the_path() {
        assert_eq!(escape("order-1"), "order-1");
        assert_eq!(escape("../a b?ö"), "%2E%2E%2Fa%20b%3F%C3%B6");
    }

    #[test]
    fn codes_become_failure_types() {
        assert_eq!(pascal_case("payment_declined"), "PaymentDeclined");
    }
}
