//! Pages of lists that are ordered by a name or a number. The content of a page is bounded in bytes.

use super::{
    error::Refusal,
    params::{FromParams, Given},
};
use crate::store::ANSWER_BYTES;

/// Default and maximum number of items on a page.
const MAX_ITEMS: u32 = 1_000;

/// Selects a page of a list.
#[derive(Debug, Clone)]
pub(crate) struct PageParams {
    /// The last item of the previous page.
    after: Option<String>,
    /// The maximum number of items.
    pub(crate) limit: u32,
}

impl FromParams for PageParams {
    fn read(given: &mut Given) -> Result<Self, Refusal> {
        let after = given.with("cursor", |text| {
            let after = text.strip_prefix(KIND).filter(|after| !after.is_empty());
            after.map(str::to_owned).ok_or_else(|| NOT_A_CURSOR.to_owned())
        })?;
        Ok(Self {
            after,
            limit: given.limit("limit", MAX_ITEMS, MAX_ITEMS)?,
        })
    }
}

const NOT_A_CURSOR: &str = "is not a cursor from an earlier page";

/// The first character of a cursor, so that later kinds can be distinguished.
const KIND: char = '1';

/// The cursor of the page that follows an item.
pub(crate) fn cursor(last: impl std::fmt::Display) -> String {
    format!("{KIND}{last}")
}

impl PageParams {
    /// The name or id of the last item of the previous page.
    pub(crate) fn after(&self) -> Option<&str> {
        self.after.as_deref()
    }

    /// The number of the last item of the previous page, for a list in the order of numbers.
    pub(crate) fn after_number(&self) -> Result<Option<u32>, Refusal> {
        let invalid = |_| Refusal::InvalidParameter {
            name: "cursor".into(),
            message: NOT_A_CURSOR.into(),
        };
        self.after().map(|after| after.parse().map_err(invalid)).transpose()
    }

    /// Whether an item with this name or id belongs to this page or a later one.
    pub(crate) fn is_after(&self, name: &str) -> bool {
        self.after.as_deref().is_none_or(|after| name > after)
    }

    /// Takes items until the page is full: at least one, if there is any. Also returns whether some are left.
    pub(crate) fn fill<T>(&self, items: impl IntoIterator<Item = T>, bytes: impl Fn(&T) -> usize) -> (Vec<T>, bool) {
        let (mut page, mut total) = (Vec::new(), 0);
        for item in items {
            if page.len() == self.limit as usize || total >= ANSWER_BYTES {
                return (page, true);
            }
            total += bytes(&item);
            page.push(item);
        }
        (page, false)
    }
}

/// The length of a text in JSON, in bytes.
pub(crate) fn json_bytes(text: &str) -> usize {
    let escapes = text.bytes().map(|byte| match byte {
        b'"' | b'\\' => 1,
        byte if byte < b' ' => "u0000".len(),
        _ => 0,
    });
    text.len() + escapes.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_ends_at_its_limit_of_items_or_of_bytes_and_has_at_least_one_item() {
        let filled = |limit, items: &[usize]| {
            let params = PageParams { after: None, limit };
            let (page, more) = params.fill(items.iter().copied(), |bytes| *bytes);
            (page.len(), more)
        };
        assert_eq!(filled(2, &[]), (0, false));
        assert_eq!(filled(2, &[1, 1]), (2, false));
        assert_eq!(filled(2, &[1, 1, 1]), (2, true));
        assert_eq!(filled(9, &[ANSWER_BYTES * 2, 1]), (1, true));
        assert_eq!(filled(9, &[ANSWER_BYTES - 1, 1, 1]), (2, true));
    }

    #[test]
    fn the_length_of_a_text_in_json_is_exact() {
        for text in ["", "plain é", "a\"b\\c", "\u{0}\u{1f}"] {
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(json_bytes(text), json.len() - 2, "{json}");
        }
    }
}
