//! Tags: pairs of texts that a client gives an instance at its start, to find it again.

use std::{collections::BTreeMap, str::FromStr};

/// Maximum number of tags of an instance. The quota of a tenant may be lower.
pub const MAX_TAGS: usize = 64;

/// Maximum length of the key of a tag, and of its value, in bytes.
pub const MAX_TAG_BYTES: usize = 256;

/// The characters that separate the key from the value: `:` in requests, `=` on the command line.
const SEPARATORS: [char; 2] = [':', '='];

/// One tag.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tag {
    key: String,
    value: String,
}

/// The tags of an instance, each key once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(BTreeMap<String, String>);

/// Why a text is not a tag, or tags cannot be given together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TagError {
    /// The text has no separator.
    #[error("must be a key and a value with a colon between them, not {0:?}")]
    NoValue(String),
    /// The key is empty.
    #[error("must have a key in front of the colon")]
    NoKey,
    /// The key or the value is too long.
    #[error("has a key or a value of {0} bytes, at most {MAX_TAG_BYTES} are allowed")]
    TooLong(usize),
    /// The key contains a separator, or the key or the value a control character.
    #[error("must not contain {0:?} here")]
    Character(char),
    /// The same key was given twice.
    #[error("has the key {0:?} more than once")]
    Repeated(String),
    /// There are too many tags.
    #[error("is given {0} times, at most {MAX_TAGS} are allowed")]
    TooMany(usize),
}

impl Tag {
    /// A tag with this key and value. The value may be empty.
    ///
    /// # Errors
    /// If the key is empty or contains `:` or `=`, the key or the value contains a control character, or one of them is
    /// longer than [`MAX_TAG_BYTES`].
    pub fn new(key: &str, value: &str) -> Result<Self, TagError> {
        if key.is_empty() {
            return Err(TagError::NoKey);
        }
        if let Some(text) = [key, value].iter().find(|text| text.len() > MAX_TAG_BYTES) {
            return Err(TagError::TooLong(text.len()));
        }
        let separator = key.chars().find(|c| SEPARATORS.contains(c));
        let control = key.chars().chain(value.chars()).find(|c| c.is_control());
        if let Some(found) = separator.or(control) {
            return Err(TagError::Character(found));
        }
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The value.
    pub fn value(&self) -> &str {
        &self.value
    }
}

impl FromStr for Tag {
    type Err = TagError;

    /// Reads `key:value`. The value may contain further colons.
    fn from_str(text: &str) -> Result<Self, TagError> {
        match text.split_once(':') {
            Some((key, value)) => Self::new(key, value),
            None => Err(TagError::NoValue(text.to_owned())),
        }
    }
}

impl Tags {
    /// The tags of a new instance.
    ///
    /// # Errors
    /// If there are more than [`MAX_TAGS`], or two have the same key.
    pub fn new(tags: impl IntoIterator<Item = Tag>) -> Result<Self, TagError> {
        let mut unique = BTreeMap::new();
        let mut count = 0;
        for Tag { key, value } in tags {
            count += 1;
            if let Some(repeated) = unique.contains_key(&key).then(|| key.clone()) {
                return Err(TagError::Repeated(repeated));
            }
            unique.insert(key, value);
        }
        match count {
            0..=MAX_TAGS => Ok(Self(unique)),
            _ => Err(TagError::TooMany(count)),
        }
    }

    /// Tags that were checked before they were stored.
    pub fn from_stored(tags: BTreeMap<String, String>) -> Self {
        Self(tags)
    }

    /// Keys and values, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether this tag is among them.
    pub fn contains(&self, tag: &Tag) -> bool {
        self.0.get(&tag.key).is_some_and(|value| *value == tag.value)
    }

    /// The bytes of all keys and values together.
    pub fn bytes(&self) -> u64 {
        self.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_a_key_and_a_value() {
        let tag: Tag = "order:a:b=c".parse().unwrap();
        assert_eq!((tag.key(), tag.value()), ("order", "a:b=c"));
        assert_eq!("empty:".parse::<Tag>().unwrap().value(), "");
        assert!(Tag::new("é", &"x".repeat(MAX_TAG_BYTES)).is_ok());
        for text in ["", "order", ":value", "a=b:c", "a\u{7}:b", "a:b\n"] {
            assert!(text.parse::<Tag>().is_err(), "{text:?}");
        }
        let long = "é".repeat(MAX_TAG_BYTES / 2 + 1);
        assert_eq!(Tag::new(&long, ""), Err(TagError::TooLong(MAX_TAG_BYTES + 2)));
        assert_eq!(Tag::new("a", &long), Err(TagError::TooLong(MAX_TAG_BYTES + 2)));
    }

    #[test]
    fn an_instance_has_few_tags_with_different_keys() {
        let tag = |number: usize| Tag::new(&format!("key-{number:02}"), "v").unwrap();
        let all = Tags::new((0..MAX_TAGS).map(tag)).unwrap();
        assert_eq!((all.len(), all.bytes()), (MAX_TAGS, 64 * 7));
        assert!(all.contains(&tag(3)) && !all.contains(&Tag::new("key-03", "w").unwrap()));
        assert_eq!(Tags::new((0..=MAX_TAGS).map(tag)), Err(TagError::TooMany(MAX_TAGS + 1)));
        let repeated = Tags::new([tag(1), tag(2), Tag::new("key-01", "other").unwrap()]);
        assert_eq!(repeated, Err(TagError::Repeated("key-01".into())));
        assert!(Tags::default().is_empty());
    }
}
