//! Checks every response of these tests against the OpenAPI document.

use std::sync::LazyLock;

use http::Method;
use serde_json::{Value, json};

use super::harness::Answer;
use crate::http::{durable_functions, openapi};

static DOCUMENT: LazyLock<Value> = LazyLock::new(openapi::complete);

/// Compares a response with the description of the operation that sent it. Responses for paths and methods that are not
/// described must be errors.
///
/// # Panics
/// If they differ.
pub(super) fn check(method: &Method, path: &str, answer: &Answer) {
    if durable_functions::owns(path) {
        return check_durable_functions(answer);
    }
    let method = method.as_str().to_lowercase();
    let Some((template, operation)) = described(&method, path) else {
        assert!(answer.status >= 400, "{method} {path} is not described: {answer:?}");
        return;
    };
    let responses = &operation["responses"];
    let status = answer.status.to_string();
    let response = match &responses[status.as_str()] {
        Value::Null if answer.status >= 400 => &responses["default"],
        Value::Null => panic!("{method} {template} does not describe status {status}: {answer:?}"),
        response => response,
    };
    let Some(content) = response["content"].as_object() else {
        assert_eq!(
            answer.text, "",
            "{method} {template} describes no body for status {status}"
        );
        return;
    };
    let media_type = answer.header("content-type").split(';').next().unwrap_or_default();
    let body = content
        .get(media_type)
        .unwrap_or_else(|| panic!("{method} {template} does not describe {media_type} for status {status}"));
    if !media_type.ends_with("json") {
        return;
    }
    let described = body.get("schema").cloned().unwrap_or(Value::Bool(true));
    let schema = json!({ "allOf": [described], "components": DOCUMENT["components"] });
    let validator = jsonschema::draft202012::new(&schema).expect("the document holds valid schemas");
    let errors: Vec<String> = validator
        .iter_errors(&answer.json())
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(
        errors.is_empty(),
        "{method} {template}, {status}: {errors:#?}\n{}",
        answer.text
    );
}

/// The API of Durable Functions is not part of the document. Its clients parse every body as JSON.
fn check_durable_functions(answer: &Answer) {
    if answer.text.is_empty() {
        assert!(!answer.headers.contains_key("content-type"), "{answer:?}");
    } else {
        assert_eq!(
            answer.header("content-type"),
            "application/json; charset=utf-8",
            "{answer:?}"
        );
        answer.json();
    }
}

/// The operation that serves a request, with its path. Longer fixed paths come before shorter ones with parameters.
fn described(method: &str, path: &str) -> Option<(&'static str, &'static Value)> {
    let segments: Vec<&str> = path.split('/').collect();
    let fits = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        parts.len() == segments.len()
            && parts
                .iter()
                .zip(&segments)
                .all(|(part, segment)| part == segment || (part.starts_with('{') && !segment.is_empty()))
    };
    let paths = DOCUMENT["paths"].as_object()?;
    let (template, item) = paths.iter().find(|(template, _)| fits(template))?;
    Some((template, item.get(method)?))
}
