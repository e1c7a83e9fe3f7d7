//! The pages that problem documents point to, from the host itself, so that they fit its version.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, Uri, header};

use super::{
    error::Refusal,
    params::{NoParams, Params},
    path::{InPath, PathPart},
    problem::Problem,
};

/// The table of all codes, one line each.
const TABLE: &str = include_str!("../../../docs/errors/README.md");

/// The codes that have a page of their own.
const PAGES: &[(&str, &str)] = &[
    (
        "forbidden-import",
        include_str!("../../../docs/errors/forbidden-import.md"),
    ),
    ("foreign-host", include_str!("../../../docs/errors/foreign-host.md")),
    ("function-taken", include_str!("../../../docs/errors/function-taken.md")),
    (
        "idempotency-key-reused",
        include_str!("../../../docs/errors/idempotency-key-reused.md"),
    ),
    ("invalid-input", include_str!("../../../docs/errors/invalid-input.md")),
    ("nondeterminism", include_str!("../../../docs/errors/nondeterminism.md")),
    ("took-host-down", include_str!("../../../docs/errors/took-host-down.md")),
    (
        "unknown-function",
        include_str!("../../../docs/errors/unknown-function.md"),
    ),
];

/// A code as it stands in the path; whether it is known shows later.
#[derive(Debug)]
pub(crate) struct Code(String);

impl PathPart for Code {
    const PARAMETER: &'static str = "code";
    const WHAT: &'static str = "error code";

    fn read(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// What an error code means, and what to do about it.
#[utoipa::path(
    get, path = "/docs/errors/{code}", tag = "host", operation_id = "getErrorPage",
    params(("code" = String, Path, description = "The `code` of a problem document")),
    responses(
        (status = 200, description = "A page in Markdown", content_type = "text/markdown"),
        (status = 404, description = "`unknown-route`", body = Problem, content_type = "application/problem+json"),
    ),
)]
pub(crate) async fn get(
    uri: Uri,
    InPath(Code(code)): InPath<Code>,
    Params(NoParams): Params<NoParams>,
) -> Result<Response, Refusal> {
    let page = page(&code).ok_or_else(|| Refusal::UnknownRoute {
        path: uri.path().to_owned(),
    })?;
    let kind = HeaderValue::from_static("text/markdown; charset=utf-8");
    Ok(([(header::CONTENT_TYPE, kind)], page).into_response())
}

/// The page of a code: its own, or its line of the table.
fn page(code: &str) -> Option<String> {
    if let Some((_, page)) = PAGES.iter().find(|(known, _)| *known == code) {
        return Some((*page).to_owned());
    }
    let (_, status, meaning) = rows().find(|(known, ..)| *known == code)?;
    Some(format!("# {code}\n\nStatus: {status}\n\n{meaning}\n"))
}

/// The rows of the table: code, status, meaning.
fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TABLE.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| `")?.split('|').map(str::trim);
        Some((cells.next()?.strip_suffix('`')?, cells.next()?, cells.next()?))
    })
}
