//! Compiles the JSON Schemas of modules, and validates inputs with them.
//!
//! Schemas and values are both untrusted, so neither may decide how long validation takes. Only references within the
//! schema are followed, so nothing is fetched. Patterns run in linear time. The cost of a value is bounded before it is
//! validated ([`cost`]), because a few nested alternatives make an innocent-looking schema exponential.

mod cost;
#[cfg(test)]
mod fuzz;
mod keywords;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::model::Payload;

use cost::{Cost, CostTable};
use keywords::{Format, Types};

/// Maximum length of a schema, in bytes.
const MAX_SCHEMA_BYTES: usize = 256 << 10;
/// Maximum size of a compiled pattern, in bytes. Allows a bounded repetition of a class, but not a thousand of them.
/// Matching takes at most this many steps per byte of the value.
const MAX_PATTERN_BYTES: usize = 64 << 10;
/// Maximum cost of validating one value, in visits of a schema to a part of the value. This takes about a second.
const MAX_VISITS: u64 = 50_000_000;
/// Maximum depth of nested schema evaluations for one value. Inputs are also validated on the stack of a calling guest,
/// where validation may use up to a megabyte.
const MAX_NESTED_QUESTIONS: u64 = 1_000;
/// Maximum length of a message that quotes the value, in bytes. A longer message says "value" instead.
const MAX_QUOTING_MESSAGE_BYTES: usize = 300;

/// A compiled schema.
#[derive(Debug)]
pub struct SchemaValidator {
    validator: Validator,
    cost: CostTable,
}

/// Why a schema is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The schema exceeds the maximum length.
    #[error("has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// The length of the schema, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The schema is not JSON.
    #[error("is not JSON: {0}")]
    NotJson(String),
    /// The schema uses something that this host does not support, or whose cost it cannot bound.
    #[error("{0}")]
    Unsupported(String),
    /// The schema is JSON, but not a valid JSON Schema.
    #[error("is not a JSON Schema: {0}")]
    Invalid(String),
}

/// Where and why a value does not match its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer to the part that does not match; empty for the whole value.
    pub path: String,
    /// What is wrong with this part.
    pub message: String,
}

impl SchemaValidator {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Why the schema is rejected. The text continues a sentence that begins with "the schema".
    pub fn compile(schema: &str) -> Result<Self, SchemaError> {
        if schema.len() > MAX_SCHEMA_BYTES {
            return Err(SchemaError::TooLong {
                bytes: schema.len(),
                limit: MAX_SCHEMA_BYTES,
            });
        }
        let schema: Value = serde_json::from_str(schema).map_err(|error| SchemaError::NotJson(error.to_string()))?;
        let cost = CostTable::of(&schema).map_err(SchemaError::Unsupported)?;
        let patterns = PatternOptions::regex()
            .size_limit(MAX_PATTERN_BYTES)
            .dfa_size_limit(MAX_PATTERN_BYTES);
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .with_keyword("type", |_, value, _| Ok(Box::new(Types::of(value)?)))
            .with_keyword("format", |_, value, _| Ok(Box::new(Format::of(value))))
            .build(&schema)
            .map_err(|error| SchemaError::Invalid(short(&error)))?;
        Ok(Self { validator, cost })
    }

    /// Validates a value.
    ///
    /// # Errors
    /// The first part that does not match. A value that cannot be parsed, or is too large to be validated with this
    /// schema, does not match either.
    pub fn validate(&self, payload: &Payload) -> Result<(), Violation> {
        let value = payload.to_value().map_err(|error| Violation {
            path: String::new(),
            message: format!("cannot be checked by the schema of the function: {error}"),
        })?;
        let Cost { visits, nesting } = self.cost.of_value(&value);
        if visits > MAX_VISITS || nesting > MAX_NESTED_QUESTIONS {
            let message = "is too large or too deeply nested to be checked by the schema of the function".to_owned();
            return Err(Violation {
                path: String::new(),
                message,
            });
        }
        self.validator.validate(&value).map_err(|error| Violation {
            path: error.instance_path().to_string(),
            message: short(&error),
        })
    }
}

/// The error message. Quotes the value only if the message stays short.
fn short(error: &jsonschema::ValidationError<'_>) -> String {
    let message = error.to_string();
    if message.len() <= MAX_QUOTING_MESSAGE_BYTES {
        return message;
    }
    let mut masked = error.masked().to_string();
    masked.truncate(masked.floor_char_boundary(MAX_QUOTING_MESSAGE_BYTES));
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(schema: &str, value: &str) -> Result<(), Violation> {
        SchemaValidator::compile(schema)
            .unwrap()
            .validate(&Payload::parse(value, usize::MAX).unwrap())
    }

    fn refused(schema: &str) -> String {
        SchemaValidator::compile(schema).unwrap_err().to_string()
    }

    /// A schema as `schemars` generates it, for a struct with an optional field, a list and an enum.
    const ORDER: &str = r##"{
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Order",
        "type": "object",
        "properties": {
            "id": { "type": "string", "pattern": "^[a-z0-9-]{1,64}$" },
            "note": { "type": ["string", "null"] },
            "lines": { "type": "array", "items": { "$ref": "#/$defs/Line" } },
            "state": { "oneOf": [{ "const": "new" }, { "const": "paid" }] }
        },
        "required": ["id", "lines"],
        "$defs": {
            "Line": {
                "type": "object",
                "properties": {
                    "article": { "type": "string" },
                    "count": { "type": "integer", "format": "uint32", "minimum": 0 }
                },
                "required": ["article", "count"]
            }
        }
    }"##;

    #[test]
    fn a_matching_value_is_accepted_and_an_error_has_the_path_of_the_part() {
        assert_eq!(
            check(
                ORDER,
                r#"{"id": "a-1", "lines": [{"article": "x", "count": 2}], "state": "paid"}"#
            ),
            Ok(())
        );
        let violation = check(ORDER, r#"{"id": "a-1", "lines": [{"article": "x", "count": "2"}]}"#).unwrap_err();
        assert_eq!(violation.path, "/lines/0/count");
        assert_eq!(violation.message, r#""2" is not of type "integer""#);
        assert_eq!(check(ORDER, "[]").unwrap_err().path, "");
        assert_eq!(check(ORDER, r#"{"id": "A", "lines": []}"#).unwrap_err().path, "/id");
    }

    #[test]
    fn an_integer_has_no_fraction_and_no_exponent() {
        let fits = |schema: &str, value: &str| check(schema, value).is_ok();
        for value in ["0", "-7", "9223372036854775808", "100000000000000000000"] {
            assert!(fits(r#"{"type": "integer"}"#, value), "{value}");
        }
        for value in ["10.0", "1e6", "-0.0", "1.5", "-0"] {
            assert!(!fits(r#"{"type": "integer"}"#, value), "{value}");
            assert!(!fits(r#"{"type": ["integer", "null"]}"#, value), "{value}");
            assert!(fits(r#"{"type": "number"}"#, value), "{value}");
            assert!(fits(r#"{"type": ["string", "number"]}"#, value), "{value}");
        }
        let list = r#"{"type": "array", "items": {"type": "integer"}}"#;
        let violation = check(list, "[1, 10.0]").unwrap_err();
        assert_eq!(violation.path, "/1");
        assert_eq!(
            violation.message,
            r#"10.0 is not of type "integer": an integer is written without fraction and exponent"#
        );
        assert!(fits(list, "[1, 2]"));
        assert!(!fits(list, "{}"));
    }

    #[test]
    fn supported_formats_are_checked() {
        let fits = |format: &str, value: &str| check(&format!(r#"{{"format": {format:?}}}"#), value).is_ok();
        for (format, value) in [
            ("date-time", r#""2026-01-31T12:00:00+02:00""#),
            ("date-time", "7"),
            ("date", r#""2026-01-31""#),
            ("uuid", r#""67e55044-10b1-426f-9247-bb680e5fe0c8""#),
            ("ip", r#""::1""#),
            ("ipv4", r#""127.0.0.1""#),
            ("ipv6", r#""::ffff:127.0.0.1""#),
            ("byte", r#""JVBERi0xLjc=""#),
            ("uint8", "255"),
            ("uint8", "1.5"),
            ("int64", "-9223372036854775808"),
            ("uint64", "18446744073709551615"),
            ("float", "3.4028235e38"),
            ("email", r#""nobody""#),
            ("hovercraft", r#""eels""#),
        ] {
            assert!(fits(format, value), "{format} {value}");
        }
        for (format, value) in [
            ("date-time", r#""tomorrow""#),
            ("date-time", r#""2026-01-31T12:00:00""#),
            ("date", r#""2026-02-30""#),
            ("uuid", r#""67e55044""#),
            ("ip", r#""localhost""#),
            ("ipv4", r#""127.0.0.256""#),
            ("ipv6", r#""127.0.0.1""#),
            ("byte", r#""*""#),
            ("uint8", "256"),
            ("uint8", "-1"),
            ("int8", "-129"),
            ("uint32", "5000000000"),
            ("int64", "9223372036854775808"),
            ("uint64", "18446744073709551616"),
            ("float", "1e39"),
        ] {
            assert!(!fits(format, value), "{format} {value}");
        }
        let violation = check(
            r#"{"properties": {"due": {"format": "date-time"}}}"#,
            r#"{"due": "tomorrow"}"#,
        );
        let violation = violation.unwrap_err();
        assert_eq!(violation.path, "/due");
        assert_eq!(violation.message, r#""tomorrow" is not of the format "date-time""#);
    }

    #[test]
    fn a_message_does_not_repeat_a_large_value() {
        let value = format!("{:?}", "x".repeat(10_000));
        let violation = check(r#"{"type": "integer"}"#, &value).unwrap_err();
        assert!(violation.message.len() < 400, "{}", violation.message);
    }

    #[test]
    fn invalid_schemas_and_external_references_are_refused() {
        assert!(refused("{").starts_with("is not JSON"));
        assert!(refused(r#"{"type": "strin"}"#).starts_with("is not a JSON Schema"));
        assert!(refused("1").contains("object or a boolean"));
        assert!(refused(&format!("{:?}", "x".repeat(300_000))).starts_with("has 300002 bytes"));
        for reference in [
            "http://example.com/a.json",
            "file:///etc/passwd",
            "other.json",
            "#anchor",
            "#/$defs/Missing",
        ] {
            let message = refused(&format!(r#"{{"$ref": "{reference}"}}"#));
            assert!(message.contains(reference), "{message}");
        }
        assert!(refused(r##"{"$dynamicRef": "#a"}"##).contains("$dynamicRef"));
        assert!(refused(r#"{"properties": {"a": {"$id": "http://example.com/"}}}"#).contains("$id"));
    }

    #[test]
    fn patterns_run_in_linear_time_and_stay_small() {
        // A backtracking engine would take exponential time.
        let evil = format!("{:?}", "a".repeat(50_000) + "!");
        assert!(check(r#"{"type": "string", "pattern": "^(a+)+$"}"#, &evil).is_err());
        assert!(
            SchemaValidator::compile(r#"{"pattern": "(?=a)b"}"#).is_err(),
            "look-around is not linear"
        );
        assert!(SchemaValidator::compile(r#"{"pattern": "((a{100}){100}){100}"}"#).is_err());
    }

    #[test]
    fn a_schema_that_recurses_forever_is_refused() {
        assert!(refused(r##"{"$ref": "#"}"##).contains("itself"));
        assert!(refused(r##"{"allOf": [{"$ref": "#"}]}"##).contains("itself"));
        let two = r##"{"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"$ref": "#/$defs/a"}}}"##;
        assert!(refused(two).contains("itself"));
    }

    #[test]
    fn a_recursive_schema_that_descends_into_the_value_is_accepted() {
        let tree = r##"{"type": "object", "properties": {"children": {"type": "array", "items": {"$ref": "#"}}}}"##;
        assert_eq!(check(tree, r#"{"children": [{"children": []}, {}]}"#), Ok(()));
        assert_eq!(
            check(tree, r#"{"children": [{"children": 1}]}"#).unwrap_err().path,
            "/children/0/children"
        );
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert_eq!(check(r##"{"items": {"$ref": "#"}}"##, &deep), Ok(()));
    }

    #[test]
    fn a_value_that_is_too_expensive_is_refused_before_it_is_validated() {
        // Each level evaluates two alternatives on the same part: 2^100 visits.
        let doubling =
            r##"{"anyOf": [{"items": {"$ref": "#"}, "minItems": 9}, {"items": {"$ref": "#"}, "maxItems": 0}]}"##;
        assert_eq!(check(doubling, "[]"), Ok(()));
        let deep = "[".repeat(100) + &"]".repeat(100);
        assert!(
            check(doubling, &deep)
                .unwrap_err()
                .message
                .contains("too deeply nested")
        );
        // The value is flat, but there are 2^64 paths through the schema.
        let level = |n: usize| {
            format!(
                r##""d{n}": {{"allOf": [{{"$ref": "#/$defs/d{0}"}}, {{"$ref": "#/$defs/d{0}"}}]}}"##,
                n + 1
            )
        };
        let levels: Vec<_> = (0..64).map(level).collect();
        let wide = format!(
            r##"{{"$ref": "#/$defs/d0", "$defs": {{{}, "d64": true}}}}"##,
            levels.join(",")
        );
        assert!(check(&wide, "1").unwrap_err().message.contains("too large"));
    }

    #[test]
    fn the_deepest_allowed_evaluation_fits_a_small_stack() {
        // Nine nested schemas for each level of the value.
        let mut schema = r##"{"properties": {"a": {"$ref": "#"}}}"##.to_owned();
        for keyword in ["allOf", "anyOf", "oneOf"] {
            schema = format!(r#"{{"{keyword}": [{schema}]}}"#);
        }
        let depth = |depth: usize| "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
        let validator = SchemaValidator::compile(&schema).unwrap();
        let deepest = (1..126).rev().find(|levels| {
            validator
                .validate(&Payload::parse(&depth(*levels), 10_000).unwrap())
                .is_ok()
        });
        let payload = Payload::parse(&depth(deepest.unwrap()), 10_000).unwrap();
        let small = std::thread::Builder::new().stack_size(1 << 20);
        let thread = small.spawn(move || validator.validate(&payload)).unwrap();
        assert_eq!(thread.join().unwrap(), Ok(()));
        assert!(deepest.unwrap() > 50, "{deepest:?}");
    }

    #[test]
    fn a_value_that_cannot_be_parsed_is_refused_and_not_treated_as_null() {
        let optional = r#"{"type": ["object", "null"]}"#;
        assert_eq!(check(optional, "null"), Ok(()));
        for value in [r#"{"amount": 1e400}"#, r#"["\ud800"]"#] {
            let violation = check(optional, value).unwrap_err();
            assert!(violation.message.starts_with("cannot be checked"), "{violation:?}");
        }
    }

    #[test]
    fn an_ordinary_large_value_is_checked() {
        let lines: Vec<_> = (0..20_000)
            .map(|n| format!(r#"{{"article": "a{n}", "count": {n}}}"#))
            .collect();
        let order = format!(r#"{{"id": "a", "lines": [{}]}}"#, lines.join(","));
        assert_eq!(check(ORDER, &order), Ok(()));
    }
}
