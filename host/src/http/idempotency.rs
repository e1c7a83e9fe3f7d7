//! The header `Idempotency-Key`: a repeated request answers as the first did.

use std::time::Duration;

use http::request::Parts;
use sha2::{Digest, Sha256};

use super::error::Refusal;
use crate::{model::Timestamp, store::IdempotencyKey};

/// The header's name.
pub(crate) const HEADER: &str = "idempotency-key";

/// Longest key, in characters: room for a UUID with a prefix.
const MAX_KEY_CHARACTERS: usize = 255;

/// How long a key is remembered. A client that retries for longer has other troubles.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// The key of a request, if it has one, with the fingerprint of what is asked.
pub(crate) fn key(parts: &Parts, body: &[u8]) -> Result<Option<IdempotencyKey>, Refusal> {
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
    let target = (parts.uri.path(), parts.uri.query().unwrap_or_default());
    Ok(Some(IdempotencyKey {
        key: key.to_owned(),
        fingerprint: fingerprint(parts.method.as_str(), target, body),
        expires_at: now().after(REMEMBERED),
    }))
}

fn is_valid(key: &str) -> bool {
    (1..=MAX_KEY_CHARACTERS).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}

/// SHA-256 over method, path, query and body, each after its length, so that no two requests run into each other.
fn fingerprint(method: &str, (path, query): (&str, &str), body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in [method.as_bytes(), path.as_bytes(), query.as_bytes(), body] {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp(0).after(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(keys: &[&[u8]]) -> Parts {
        let mut request = http::Request::post("/v1/orchestrations/F?instanceId=a");
        for key in keys {
            request = request.header(HEADER, *key);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_key_is_one_to_255_visible_characters() {
        assert!(key(&parts(&[]), b"").unwrap().is_none());
        assert_eq!(key(&parts(&[b"order-7"]), b"").unwrap().unwrap().key, "order-7");
        assert!(key(&parts(&[&[b'x'; 255]]), b"").is_ok());
        for keys in [
            &[&b""[..]][..],
            &[&[b'x'; 256]],
            &[b"a b"],
            &[b"\xc3\xa9"],
            &[b"a", b"a"],
        ] {
            assert!(key(&parts(keys), b"").is_err(), "{keys:?}");
        }
    }

    #[test]
    fn the_fingerprint_tells_requests_apart() {
        let all = [
            fingerprint("POST", ("/a", ""), b""),
            fingerprint("POST", ("/a", ""), b"1"),
            fingerprint("POST", ("/a", "1"), b""),
            fingerprint("POST", ("/a1", ""), b""),
            fingerprint("DELETE", ("/a", ""), b""),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[index + 1..].contains(one));
        }
    }
}
