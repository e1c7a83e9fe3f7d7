//! Descriptions of functions, from their doc comments.

use syn::{Attribute, Expr, ExprLit, Lit, Meta};

/// The first non-empty line of the doc comment, or an empty string.
pub(crate) fn first_doc_line(attributes: &[Attribute]) -> String {
    attributes
        .iter()
        .filter_map(doc_text)
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| line.trim().to_owned())
        .find(|line| !line.is_empty())
        .unwrap_or_default()
}

fn doc_text(attribute: &Attribute) -> Option<String> {
    match &attribute.meta {
        Meta::NameValue(meta) if meta.path.is_ident("doc") => match &meta.value {
            Expr::Lit(ExprLit {
                lit: Lit::Str(text), ..
            }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}
