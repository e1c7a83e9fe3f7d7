//! JSON Schemas of modules: compiled once, then used to validate inputs.
//!
//! Schemas and values are both untrusted, so neither may decide how long validation takes. Nothing is fetched (only
//! references within the schema are followed), patterns run in linear time, and the cost of a value is bounded before
//! it is validated ([`cost`]): a few nested alternatives are enough to make an innocent-looking schema exponential. The
//! memory of a schema is bounded before it is compiled ([`survey`]).

mod cost;
#[cfg(test)]
mod fuzz;
mod keywords;
mod pattern;
mod survey;

use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use crate::model::Payload;

use cost::{Cost, CostTable};
use keywords::{Format, Types};
use pattern::{DFA_CACHE_BYTES, MAX_NFA_BYTES};
use survey::Surveyed;

pub use survey::PatternWork;

/// Maximum length of a schema, in bytes.
const MAX_SCHEMA_BYTES: usize = 256 << 10;
/// Maximum cost of validating one value, in visits of a schema to a part of the value. This many take about a second.
const MAX_VISITS: u64 = 50_000_000;
/// Maximum number of nested schema evaluations for one value. Inputs are also validated on the stack of a calling
/// guest, where validation may take up to a megabyte.
const MAX_NESTED_QUESTIONS: u64 = 1_000;
/// Maximum memory for the explanation why a value does not match, in bytes. Each alternative of each part may have its
/// own error. Beyond it, a violation does not say where it is.
const MAX_EXPLANATION_BYTES: u64 = 16 << 20;
/// Maximum length of a message that quotes the value, in bytes. A longer message says "value" instead.
const MAX_QUOTING_MESSAGE_BYTES: usize = 300;

/// Bytes of a payload that are parsed in the time of a visit.
const PAYLOAD_BYTES_PER_VISIT: u64 = 2;
/// Estimated bytes of a schema that are compiled in the time of a visit.
const COMPILED_BYTES_PER_VISIT: u64 = 2;
/// Work on patterns in the time of a visit.
const PATTERN_WORK_PER_VISIT: u64 = 12;

/// A compiled schema.
#[derive(Debug)]
pub struct SchemaValidator {
    validator: Validator,
    cost: CostTable,
    bytes: u64,
    compile_visits: u64,
}

/// A value and a schema, before the value is validated.
#[derive(Debug)]
pub struct Check<'s> {
    schema: &'s SchemaValidator,
    value: Result<Value, Violation>,
    cost: Cost,
    payload_bytes: u64,
}

/// Why a schema is rejected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    /// The schema is too long.
    #[error("has {bytes} bytes, at most {limit} are allowed")]
    TooLong {
        /// Its length, in bytes.
        bytes: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The schema is not JSON.
    #[error("is not JSON: {0}")]
    NotJson(String),
    /// The schema is valid, but uses something that this host does not follow or cannot bound.
    #[error("{0}")]
    Unsupported(String),
    /// The schema is not a JSON Schema.
    #[error("is not a JSON Schema: {0}")]
    Invalid(String),
}

/// Where and why a value does not match its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer to the part that does not match; empty for the whole value.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

impl SchemaValidator {
    /// Compiles a schema.
    ///
    /// # Errors
    /// Why the schema is rejected. The text is a continuation of "the schema".
    pub fn compile(schema: &str) -> Result<Self, SchemaError> {
        Self::compile_within(schema, &mut PatternWork::default())
    }

    /// Compiles a schema of several that share the work on patterns.
    ///
    /// # Errors
    /// Like [`compile`](Self::compile).
    pub fn compile_within(schema: &str, pattern_work: &mut PatternWork) -> Result<Self, SchemaError> {
        if schema.len() > MAX_SCHEMA_BYTES {
            return Err(SchemaError::TooLong {
                bytes: schema.len(),
                limit: MAX_SCHEMA_BYTES,
            });
        }
        let schema: Value = serde_json::from_str(schema).map_err(|error| SchemaError::NotJson(error.to_string()))?;
        let surveyed = Surveyed::of(&schema, pattern_work).map_err(SchemaError::Unsupported)?;
        let patterns = PatternOptions::regex()
            .size_limit(MAX_NFA_BYTES)
            .dfa_size_limit(DFA_CACHE_BYTES);
        let validator = jsonschema::options()
            .offline()
            .with_pattern_options(patterns)
            .with_keyword("type", |_, value, _| Ok(Box::new(Types::of(value)?)))
            .with_keyword("format", |_, value, _| Ok(Box::new(Format::of(value))))
            .build(&schema)
            .map_err(|error| SchemaError::Invalid(short(&error)))?;
        Ok(Self {
            validator,
            cost: CostTable::of(&surveyed),
            bytes: surveyed.bytes,
            compile_visits: surveyed.bytes / COMPILED_BYTES_PER_VISIT + surveyed.pattern_work / PATTERN_WORK_PER_VISIT,
        })
    }

    /// What it cost to compile the schema, in visits.
    pub const fn compile_visits(&self) -> u64 {
        self.compile_visits
    }

    /// An estimate of the memory that the compiled schema takes, in bytes.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Validates a value.
    ///
    /// # Errors
    /// The first part that does not match, or that the value is too large to be validated with this schema.
    pub fn validate(&self, payload: &Payload) -> Result<(), Violation> {
        self.check(payload).run()
    }

    /// Parses a value and estimates the cost of validating it.
    pub fn check(&self, payload: &Payload) -> Check<'_> {
        let value = payload
            .to_value()
            .map_err(|error| Violation::of_whole(format!("cannot be checked by the schema of the function: {error}")));
        Check {
            schema: self,
            cost: value
                .as_ref()
                .map(|value| self.cost.of_value(value))
                .unwrap_or_default(),
            value,
            payload_bytes: payload.bytes(),
        }
    }
}

impl Check<'_> {
    /// The maximum cost in visits, which take about 20 nanoseconds each. Includes the cost of parsing the value.
    pub fn visits(&self) -> u64 {
        let parsing = self.payload_bytes / PAYLOAD_BYTES_PER_VISIT;
        if self.is_too_large() {
            return parsing;
        }
        parsing + self.cost.visits
    }

    /// Whether the value is refused instead of validated.
    const fn is_too_large(&self) -> bool {
        self.cost.visits > MAX_VISITS || self.cost.nesting > MAX_NESTED_QUESTIONS
    }

    /// Validates the value.
    ///
    /// # Errors
    /// The first part that does not match, or that the value is too large to be validated with this schema.
    pub fn run(self) -> Result<(), Violation> {
        let is_too_large = self.is_too_large();
        let value = self.value?;
        if is_too_large {
            return Err(Violation::of_whole(
                "is too large or too deeply nested to be checked by the schema of the function",
            ));
        }
        let validator = &self.schema.validator;
        if self.cost.explanation_bytes > MAX_EXPLANATION_BYTES {
            let is_valid = validator.is_valid(&value);
            return is_valid.then_some(()).ok_or_else(|| {
                Violation::of_whole("does not match the schema of the function, and is too large to find out where")
            });
        }
        validator.validate(&value).map_err(|error| Violation {
            path: error.instance_path().to_string(),
            message: short(&error),
        })
    }
}

impl Violation {
    fn of_whole(message: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            message: message.into(),
        }
    }
}

/// The error message. It quotes the value only if the message stays short.
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
        // A backtracking engine would need forever for this.
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
    fn a_recursive_schema_that_goes_into_the_value_is_fine() {
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
        // Without any depth in the value: 2^64 paths through the schema alone.
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
    fn long_names_and_texts_are_too_expensive_for_many_large_patterns() {
        let pattern = |n: usize| format!("(?:a|ba)[ab]{{{}}}[c-z]", 800 + n);
        let by_name: Vec<_> = (0..10).map(|n| format!("{:?}: {{}}", pattern(n))).collect();
        let by_name = format!(r#"{{"patternProperties": {{{}}}}}"#, by_name.join(","));
        let on_names: Vec<_> = (0..10).map(|n| format!(r#"{{"pattern": {:?}}}"#, pattern(n))).collect();
        let on_names = format!(r#"{{"propertyNames": {{"allOf": [{}]}}}}"#, on_names.join(","));
        let on_text = on_names.replacen("propertyNames", "additionalProperties", 1);
        let long = "ab".repeat(100_000);
        for (schema, value) in [
            (&by_name, format!(r#"{{"{long}": 1}}"#)),
            (&on_names, format!(r#"{{"{long}": 1}}"#)),
            (&on_text, format!(r#"{{"a": "{long}"}}"#)),
        ] {
            let violation = check(schema, &value).unwrap_err();
            assert!(violation.message.starts_with("is too large"), "{violation:?}");
        }
        assert_eq!(check(&by_name, r#"{"short": 1}"#), Ok(()));
    }

    #[test]
    fn a_violation_with_too_many_reasons_has_no_path() {
        let kinds: Vec<_> = (0..10)
            .map(|n| format!(r#"{{"items": {{"type": "string", "minLength": {n}}}}}"#))
            .collect();
        let schema = format!(r#"{{"anyOf": [{}]}}"#, kinds.join(","));
        let value = |count: usize| format!("[{}1]", "1,".repeat(count));
        assert!(check(&schema, &value(10)).unwrap_err().message.contains("anyOf"));
        let large = value(100_000);
        let taken = crate::fuzz::most_taken(|| {
            let violation = check(&schema, &large).unwrap_err();
            assert_eq!(violation.path, "");
            assert!(
                violation.message.contains("too large to find out where"),
                "{violation:?}"
            );
        });
        assert!(taken < 64 << 20, "{taken} bytes");
        assert_eq!(
            check(&schema, &format!("[{}]", vec![r#""long enough""#; 100_000].join(","))),
            Ok(())
        );
    }

    #[test]
    fn nested_alternatives_that_fail_are_explained_within_the_bound() {
        let mut schema = r#"{"items": {"type": "string"}}"#.to_owned();
        for _ in 0..50 {
            schema = format!(r#"{{"anyOf": [{schema}]}}"#);
        }
        let small = check(&schema, "[1]").unwrap_err();
        assert!(small.message.contains("anyOf"), "{small:?}");
        assert!(check(&schema, &format!("[{}1]", "1,".repeat(400_000))).is_err());
    }

    #[test]
    fn many_short_texts_with_patterns_are_checked() {
        let uuid = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
        let ids = format!(r#"{{"items": {{"type": "string", "pattern": {uuid:?}}}}}"#);
        let list = vec![r#""67e55044-10b1-426f-9247-bb680e5fe0c8""#; 25_000].join(",");
        assert_eq!(check(&ids, &format!("[{list}]")), Ok(()));
        let labels: Vec<_> = (0..40)
            .map(|n| format!(r#""^[a-z]+-{n}(/[a-z0-9.-]+)*$": {{"type": "string"}}"#))
            .collect();
        let labels = format!(
            r#"{{"patternProperties": {{{}}}, "additionalProperties": false}}"#,
            labels.join(",")
        );
        let many: Vec<_> = (0..2_000)
            .map(|n| format!(r#""label-{}/part{n}.x": "v""#, n % 40))
            .collect();
        assert_eq!(check(&labels, &format!("{{{}}}", many.join(","))), Ok(()));
    }

    #[test]
    fn long_patterns_are_refused() {
        let pattern = "a".repeat(5_000);
        assert_eq!(
            refused(&format!(r#"{{"pattern": "{pattern}"}}"#)),
            "has a pattern of more than 4096 bytes"
        );
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
