//! The error pages that problem documents link to. The host serves them itself, so that they match its version.

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

/// The codes that have their own page.
const PAGES: &[(&str, &str)] = &[
    (
        "module-forbidden-import",
        include_str!("../../../docs/errors/module-forbidden-import.md"),
    ),
    ("foreign-host", include_str!("../../../docs/errors/foreign-host.md")),
    ("function-taken", include_str!("../../../docs/errors/function-taken.md")),
    (
        "idempotency-key-reused",
        include_str!("../../../docs/errors/idempotency-key-reused.md"),
    ),
    ("invalid-event", include_str!("../../../docs/errors/invalid-event.md")),
    ("query-timeout", include_str!("../../../docs/errors/query-timeout.md")),
    ("invalid-input", include_str!("../../../docs/errors/invalid-input.md")),
    ("nondeterminism", include_str!("../../../docs/errors/nondeterminism.md")),
    ("took-host-down", include_str!("../../../docs/errors/took-host-down.md")),
    (
        "unknown-function",
        include_str!("../../../docs/errors/unknown-function.md"),
    ),
];

/// A code in the path, which may be unknown.
#[derive(Debug)]
pub(crate) struct Code(String);

impl PathPart for Code {
    const PARAMETER: &'static str = "code";
    const WHAT: &'static str = "error code";

    fn read(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }
}

/// Get the page of an error code: its meaning and remedy.
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

/// The page of a code: its own, or its row of the table.
fn page(code: &str) -> Option<String> {
    if let Some((_, page)) = PAGES.iter().find(|(known, _)| *known == code) {
        return Some((*page).to_owned());
    }
    let (_, status, meaning) = rows().find(|(known, ..)| *known == code)?;
    Some(format!("# {code}\n\nStatus: {status}\n\n{meaning}\n"))
}

/// The rows of the tables: code, status, meaning.
fn rows() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    TABLE.lines().filter_map(|line| {
        let mut cells = line
            .strip_prefix("| ")?
            .split(" | ")
            .map(|cell| cell.trim_end_matches(" |"));
        // A code that has its own page is a link to it.
        let code = cells.next()?.split('`').nth(1)?;
        Some((code, cells.next()?, cells.next()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The codes in a source file: kebab-case strings that follow `marker`.
    fn codes(source: &'static str, marker: &str) -> Vec<&'static str> {
        source
            .split(marker)
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect()
    }

    #[test]
    fn every_code_has_a_row_and_every_page_is_linked() {
        let of_requests = codes(include_str!("error.rs").split("fn members").next().unwrap(), ", \"");
        let of_modules = codes(include_str!("../sandbox/upload.rs"), "=> \"");
        assert!(
            of_requests.len() > 20 && of_modules.len() > 20,
            "{of_requests:?} {of_modules:?}"
        );
        for code in of_requests
            .iter()
            .chain(&of_modules)
            .filter(|code| !code.contains(' ') && code.contains('-'))
        {
            assert!(page(code).is_some(), "{code} is not in docs/errors/README.md");
        }
        for (code, text) in PAGES {
            assert!(
                text.starts_with(&format!("# {code}\n")),
                "the page {code} has another title"
            );
            assert!(
                TABLE.contains(&format!("[`{code}`]({code}.md)")),
                "{code} is not linked"
            );
        }
        assert_eq!(
            TABLE.matches("`](").count(),
            PAGES.len(),
            "a link of the table has no page"
        );
    }

    #[test]
    fn a_code_without_a_page_shows_its_row() {
        assert_eq!(page("unknown-route").unwrap().lines().next(), Some("# unknown-route"));
        assert!(page("unknown-route").unwrap().contains("Status: 404"));
        assert!(page("no-such-code").is_none());
    }
}
