//! A minimal URL parser, just enough to send a request. The server checks the rest.

use std::fmt::Write as _;

use super::wrong;
use crate::failure::Result;

/// An absolute `http` or `https` URL, split into the parts that a request needs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) is_https: bool,
    /// Host and port.
    pub(crate) authority: String,
    /// Begins with `/`.
    pub(crate) path_with_query: String,
}

impl Url {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refuse = |why: &str| Err(wrong(format!("`{text}` {why}")));
        let Some((scheme, rest)) = text.split_once("://") else {
            return refuse("is not an absolute URL");
        };
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return refuse("is not an http or https URL"),
        };
        if text.contains(|c: char| c.is_ascii_control() || c == ' ') {
            return refuse("contains a blank or a control character");
        }
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return refuse("has no host");
        }
        if authority.contains('@') {
            return refuse("contains a user name or password: use an `authorization` header");
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            is_https,
            authority: authority.into(),
            path_with_query: format!("{slash}{path}"),
        })
    }
}

/// Adds a parameter to the query, before a fragment.
pub(crate) fn add_query(url: &mut String, name: &str, value: &str) {
    let fragment = url.find('#').map(|at| url.split_off(at)).unwrap_or_default();
    url.push(if url.contains('?') { '&' } else { '?' });
    escape_into(url, name);
    url.push('=');
    escape_into(url, value);
    url.push_str(&fragment);
}

fn escape_into(url: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            // Writing to a String cannot fail.
            _ => drop(write!(url, "%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_into_the_parts_of_a_request() {
        let url = Url::parse("HTTP://localhost:8080?x=1#top").unwrap();
        assert_eq!(
            (url.is_https, &*url.authority, &*url.path_with_query),
            (false, "localhost:8080", "/?x=1")
        );
        let url = Url::parse("https://a.example/b/c?d").unwrap();
        assert_eq!(
            (url.is_https, &*url.authority, &*url.path_with_query),
            (true, "a.example", "/b/c?d")
        );
        for wrong in [
            "/a",
            "ftp://a",
            "http:///a",
            "http://u:p@a/",
            "http://a/b c",
            "http://a/\n",
        ] {
            let failure = Url::parse(wrong).unwrap_err();
            assert!(failure.is_non_retryable(), "{wrong}");
        }
    }

    #[test]
    fn query_parameters_are_escaped() {
        let mut url = String::from("http://a/b#c");
        add_query(&mut url, "q", "x y&ü");
        add_query(&mut url, "n", "1");
        assert_eq!(url, "http://a/b?q=x%20y%26%C3%BC&n=1#c");
    }
}
