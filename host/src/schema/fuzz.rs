//! Fuzzes schemas, and values that are validated with them.

use super::SchemaValidator;
use crate::fuzz::{Target, corpus};
use crate::model::Payload;

/// Tokens of schemas, including those that often break validators.
const WORDS: &[&str] = &[
    r##"{"$ref":"#"}"##,
    r##"{"$ref":"#/$defs/a"}"##,
    r##""$defs":{"a":"##,
    r#""allOf":["#,
    r#""anyOf":["#,
    r#""oneOf":["#,
    r#""not":"#,
    r#""if":"#,
    r#""then":"#,
    r#""items":"#,
    r#""prefixItems":["#,
    r#""contains":"#,
    r#""minContains":"#,
    r#""properties":{"a":"#,
    r#""patternProperties":{"^(a+)+$":"#,
    r#""propertyNames":"#,
    r#""dependentSchemas":{"a":"#,
    r#""unevaluatedProperties":"#,
    r#""unevaluatedItems":"#,
    r#""additionalProperties":"#,
    r#""uniqueItems":true,"#,
    r#""multipleOf":"#,
    r#""minLength":"#,
    r#""pattern":"(a|a?)+$","#,
    r#""pattern":"\\p{L}{1,1000}","#,
    r#""enum":["#,
    r#""const":"#,
    r#""type":["null","object"],"#,
    r#""$schema":"http://json-schema.org/draft-04/schema#","#,
    r#""$id":"x","#,
    r#""$dynamicRef":"#,
    "-1",
    "0",
    "1e308",
    "1e-320",
    "0.1",
    "18446744073709551616",
    "true",
    "{",
    "}",
    "[",
    "]",
    ",",
];

#[test]
fn fuzz_schema_is_refused_or_answers_in_bounded_time() {
    let values: Vec<Payload> = corpus("payload")
        .iter()
        .filter_map(|bytes| Payload::parse(str::from_utf8(bytes).ok()?, 1 << 20).ok())
        .collect();
    // A compiled schema holds compiled patterns; each is bounded, but takes only a few bytes of the schema.
    let target = Target::new("schema").words(WORDS).cases(1_000).memory(16 << 20, 50_000);
    target.run(|bytes| {
        let schema = String::from_utf8_lossy(bytes);
        let Ok(validator) = SchemaValidator::compile(&schema) else {
            return false;
        };
        for value in &values {
            let _ = validator.validate(value);
        }
        true
    });
}
