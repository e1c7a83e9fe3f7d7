//! The header `Idempotency-Key`: a repeated request gets the answer of the first one.
//!
//! Two requests are the same if they have the same method, path, body, and the query parameters that say what to do.
//! How long the client waits for the answer does not matter.

use std::time::Duration;

use http::request::Parts;
use percent_encoding::percent_decode_str;
use sha2::{Digest, Sha256};

use super::error::Refusal;
use crate::{model::Timestamp, store::IdempotencyKey};

/// The name of the header.
pub(crate) const HEADER: &str = "idempotency-key";

/// Maximum length of a key, in characters: room for a UUID with a prefix.
const MAX_KEY_CHARACTERS: usize = 255;

/// How long a key is remembered. Retries take much less than a day.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Query parameters that only affect the answer, not what is done. All others are part of the fingerprint. Only the API
/// of Durable Functions has the last two.
const ANSWER_PARAMETERS: [&str; 3] = ["wait", "timeout", "pollingInterval"];

/// The body of a request, as the fingerprints use it.
pub(crate) struct Asked<'a> {
    /// The body as received.
    pub(crate) bytes: &'a [u8],
    /// The payload that the body stands for: `null` for an empty body, and without a byte order mark.
    pub(crate) meaning: &'a [u8],
}

/// The key of a request, if it has one, with the fingerprint of the request.
pub(crate) fn key(parts: &Parts, body: Asked<'_>) -> Result<Option<IdempotencyKey>, Refusal> {
    let mut given = parts.headers.get_all(HEADER).iter();
    let (Some(value), None) = (given.next(), given.next()) else {
        return if parts.headers.contains_key(HEADER) {
            Err(Refusal::InvalidIdempotencyKey)
        } else {
            Ok(None)
        };
    };
    let key = value
        .to_str()
        .ok()
        .filter(|key| is_valid(key))
        .ok_or(Refusal::InvalidIdempotencyKey)?;
    let (method, path) = (parts.method.as_str(), parts.uri.path());
    let query = parts.uri.query().unwrap_or_default();
    Ok(Some(IdempotencyKey {
        key: key.to_owned(),
        fingerprint: fingerprint(method, path, query, body.meaning),
        earlier_fingerprint: earlier_fingerprint(method, path, query, body.bytes),
        expires_at: now().after(REMEMBERED),
    }))
}

fn is_valid(key: &str) -> bool {
    (1..=MAX_KEY_CHARACTERS).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

/// SHA-256 over the request: method, segments of the path, parameters by name, body. Percent escapes are decoded and
/// the order of parameters does not matter, since clients may write the same request in several ways. Each part is
/// preceded by its length and each list by its number of parts, so that different requests have different inputs.
fn fingerprint(method: &str, path: &str, query: &str, body: &[u8]) -> [u8; 32] {
    let segments: Vec<_> = path.split('/').map(decoded).collect();
    let mut parameters: Vec<_> = query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decoded(&name.replace('+', " ")), decoded(&value.replace('+', " "))))
        .filter(|(name, _)| !ANSWER_PARAMETERS.iter().any(|parameter| parameter.as_bytes() == name))
        .collect();
    parameters.sort_unstable();
    let mut hash = PartsHash::new();
    hash.text(b"windlass request 2")
        .text(method.as_bytes())
        .count(segments.len());
    for segment in &segments {
        hash.text(segment);
    }
    hash.count(parameters.len());
    for (name, value) in &parameters {
        hash.text(name).text(value);
    }
    hash.text(body);
    hash.finish()
}

/// The fingerprint of earlier versions, which included `wait` and the exact spelling of a request. Keys are remembered
/// for a day, so a client that repeats a request across an upgrade of the host must be recognized.
fn earlier_fingerprint(method: &str, path: &str, query: &str, body: &[u8]) -> [u8; 32] {
    let mut hash = PartsHash::new();
    hash.text(method.as_bytes())
        .text(path.as_bytes())
        .text(query.as_bytes())
        .text(body);
    hash.finish()
}

fn decoded(text: &str) -> Vec<u8> {
    percent_decode_str(text).collect()
}

/// SHA-256 over parts, including their boundaries.
struct PartsHash(Sha256);

impl PartsHash {
    fn new() -> Self {
        Self(Sha256::new())
    }

    fn count(&mut self, number: usize) -> &mut Self {
        self.0.update(u64::try_from(number).unwrap_or(u64::MAX).to_le_bytes());
        self
    }

    fn text(&mut self, part: &[u8]) -> &mut Self {
        self.count(part.len()).0.update(part);
        self
    }

    fn finish(self) -> [u8; 32] {
        self.0.finalize().into()
    }
}

/// The current time.
pub(crate) fn now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(0).after(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key_of(keys: &[&[u8]]) -> Result<Option<IdempotencyKey>, Refusal> {
        let mut request = http::Request::post("/v1/orchestrations/F?instanceId=a");
        for key in keys {
            request = request.header(HEADER, *key);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let body = Asked {
            bytes: b"",
            meaning: b"null",
        };
        key(&parts, body)
    }

    #[test]
    fn a_key_is_one_to_255_visible_characters() {
        assert!(key_of(&[]).unwrap().is_none());
        assert_eq!(key_of(&[b"order-7"]).unwrap().unwrap().key, "order-7");
        assert!(key_of(&[&[b'x'; 255]]).is_ok());
        for keys in [
            &[&b""[..]][..],
            &[&[b'x'; 256]],
            &[b"a b"],
            &[b"\xc3\xa9"],
            &[b"a", b"a"],
        ] {
            assert!(key_of(keys).is_err(), "{keys:?}");
        }
    }

    #[test]
    fn the_fingerprint_tells_requests_apart() {
        let all = [
            fingerprint("POST", "/a", "", b""),
            fingerprint("POST", "/a", "", b"1"),
            fingerprint("POST", "/a", "1", b""),
            fingerprint("POST", "/a1", "", b""),
            fingerprint("DELETE", "/a", "", b""),
            fingerprint("POST", "/a/b", "", b""),
            fingerprint("POST", "/a%2Fb", "", b""),
            fingerprint("POST", "/a", "x=1", b""),
            fingerprint("POST", "/a", "x=2", b""),
            fingerprint("POST", "/a", "x=1&y=2", b""),
            fingerprint("POST", "/a", "x=1%26y=2", b""),
            fingerprint("POST", "/a", "waits=1", b""),
            earlier_fingerprint("POST", "/a", "", b""),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one), "{index}");
        }
    }

    #[test]
    fn the_fingerprint_ignores_wait_and_the_spelling_of_a_request() {
        let asked = fingerprint("POST", "/v1/orchestrations/F", "instanceId=a%20b&x=1", b"1");
        for query in [
            "wait=10s&instanceId=a+b&x=1",
            "x=1&wait=0&instanceId=a%20b",
            "&instanceId=%61%20b&&x=1&wait",
            "w%61it=1&instanceId=a%20b&x=1",
        ] {
            assert_eq!(
                asked,
                fingerprint("POST", "/v1/orchestrations/F", query, b"1"),
                "{query}"
            );
        }
        assert_eq!(
            asked,
            fingerprint("POST", "/v1/orchestrations/%46", "instanceId=a+b&x=1", b"1")
        );
    }
}
