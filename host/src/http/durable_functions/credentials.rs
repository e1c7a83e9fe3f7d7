//! The key of a request: `code` in the query or the header `x-functions-key`, as in the original, or `Authorization`.
//!
//! The first two become `Authorization` before anything else sees the request, so that authentication, shares and
//! waits know one form only. `code` is taken out of the query: what is logged or hashed never contains a key.

use axum::extract::Request;
use http::{HeaderMap, HeaderName, HeaderValue, Uri, header, uri::PathAndQuery};

use super::query::decoded;

/// The header with the key.
const KEY_HEADER: HeaderName = HeaderName::from_static("x-functions-key");

/// A request as it came, for links.
#[derive(Clone, Default)]
pub(super) struct Original {
    /// Path and query, with the key if it was there.
    pub(super) target: String,
    /// The key, if it was given with `code` or `x-functions-key`: then links contain it, as in the original.
    pub(super) key: Option<String>,
}

/// Moves the key of a request to where the rest of `http` looks for it. A host that is `open` has no keys and ignores
/// them here: SDKs send one that belongs to another host.
pub(super) fn present(request: &mut Request, open: bool) {
    let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
    let mut original = Original {
        target: target.to_owned(),
        key: None,
    };
    let mut keys = take_from_headers(request.headers_mut());
    keys.extend(take_from_query(request.uri_mut()));
    keys.retain(|key| !key.trim().is_empty());
    keys.sort_unstable();
    keys.dedup();
    if !open {
        // Two different keys stay two, and are refused like two headers.
        for key in &keys {
            let bearer = HeaderValue::from_str(&format!("Bearer {}", key.trim()));
            let bearer = bearer.unwrap_or(HeaderValue::from_static("Bearer ?"));
            let is_there = request
                .headers()
                .get_all(header::AUTHORIZATION)
                .iter()
                .any(|given| given == bearer);
            if !is_there {
                request.headers_mut().append(header::AUTHORIZATION, bearer);
            }
        }
        original.key = keys.pop();
    }
    request.extensions_mut().insert(original);
}

fn take_from_headers(headers: &mut HeaderMap) -> Vec<String> {
    let given = headers.get_all(&KEY_HEADER).iter();
    let keys = given.map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let keys = keys.collect();
    headers.remove(&KEY_HEADER);
    keys
}

/// Takes `code` out of the query.
fn take_from_query(uri: &mut Uri) -> Vec<String> {
    let is_key = |pair: &&str| decoded(pair.split('=').next().unwrap_or_default()).eq_ignore_ascii_case("code");
    let (keys, others): (Vec<_>, Vec<_>) = uri.query().unwrap_or_default().split('&').partition(is_key);
    if keys.is_empty() {
        return Vec::new();
    }
    let keys = keys
        .into_iter()
        .filter_map(|pair| Some(decoded(pair.split_once('=')?.1)));
    let keys = keys.collect();
    let mut parts = uri.clone().into_parts();
    let rest = format!("{}?{}", uri.path(), others.join("&"));
    // A part of a valid query is valid.
    parts.path_and_query = rest.parse().ok();
    if let Ok(without) = Uri::from_parts(parts) {
        *uri = without;
    }
    keys
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    /// Target, `Authorization` headers and key for links of a request after its key was moved.
    fn check(target: &str, headers: &[(&str, &str)], open: bool) -> (String, Vec<String>, Option<String>) {
        let mut request = http::Request::post(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        present(&mut request, open);
        assert!(!request.headers().contains_key(&KEY_HEADER));
        let bearers = request.headers().get_all(header::AUTHORIZATION).iter();
        let bearers = bearers.map(|value| value.to_str().unwrap().to_owned()).collect();
        let original = request.extensions().get::<Original>().unwrap();
        assert_eq!(original.target, target);
        (request.uri().to_string(), bearers, original.key.clone())
    }

    #[test]
    fn a_key_becomes_a_bearer_and_leaves_the_query() {
        let key = Some("wl_a_b".to_owned());
        let bearer = vec!["Bearer wl_a_b".to_owned()];
        let moved = ("/x?taskHub=h&z=1".into(), bearer.clone(), key.clone());
        assert_eq!(check("/x?taskHub=h&CODE=wl_a_b&z=1", &[], false), moved);
        let moved = ("/x?z".into(), bearer.clone(), key.clone());
        assert_eq!(check("/x?z", &[("x-functions-key", "wl_a_b")], false), moved);
        let same = [("x-functions-key", "wl_a_b"), ("authorization", "Bearer wl_a_b")];
        assert_eq!(check("/x?code=wl_a_b", &same, false).1, bearer);
        let own = [("authorization", "Bearer wl_a_b")];
        assert_eq!(check("/x?code=", &own, false), ("/x?".into(), bearer, None));
    }

    #[test]
    fn different_keys_stay_different_and_a_host_without_keys_ignores_them() {
        let (_, bearers, _) = check("/x?code=a&code=b", &[("x-functions-key", "c")], false);
        assert_eq!(bearers, ["Bearer a", "Bearer b", "Bearer c"]);
        assert_eq!(check("/x?code=%0A1", &[], false).1, ["Bearer 1"]);
        assert_eq!(check("/x?code=1%0A2", &[], false).1, ["Bearer ?"]);
        let open = check("/x?code=a&y", &[("x-functions-key", "b")], true);
        assert_eq!(open, ("/x?y".into(), Vec::new(), None));
    }
}
