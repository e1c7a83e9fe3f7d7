//! The payload codec: Rust values as JSON text, and [`Bytes`] for binary data.
//!
//! This module alone decides how a value is written.

mod checked;

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::ops::Deref;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::failure::{Failure, Result};
use checked::Checked;

/// Serializes a value into a payload. The message of a failure begins with `what`.
pub(crate) fn encode(what: &str, value: &(impl Serialize + ?Sized)) -> Result<String> {
    to_json(value).map_err(|error| Failure::invalid_payload(what, &error))
}

/// Serializes a value into JSON text.
///
/// # Errors
/// If JSON cannot represent the value; the message has the place. NaN and the infinities are errors, not `null`.
pub(crate) fn to_json(value: &(impl Serialize + ?Sized)) -> serde_json::Result<String> {
    serde_json::to_string(&Checked::new(value, &Cell::new(false)))
}

/// Deserializes a payload. The message of a failure begins with `what`.
pub(crate) fn decode<T: DeserializeOwned>(what: &str, payload: &str) -> Result<T> {
    serde_json::from_str(payload).map_err(|error| Failure::invalid_payload(what, &error))
}

/// The JSON Schema of a type, as text.
pub fn schema_of<T: JsonSchema>() -> String {
    SchemaSettings::default()
        .with_transform(RecursiveTransform(say_bounds))
        .into_generator()
        .into_root_schema_for::<T>()
        .as_value()
        .to_string()
}

/// Adds the bounds of number types where the author set none, because many readers of a schema do not know
/// `format: "uint32"`.
fn say_bounds(schema: &mut Schema) {
    let (minimum, maximum): (Value, Value) = match schema.get("format").and_then(Value::as_str) {
        Some("int8") => (i8::MIN.into(), i8::MAX.into()),
        Some("int16") => (i16::MIN.into(), i16::MAX.into()),
        Some("int32") => (i32::MIN.into(), i32::MAX.into()),
        Some("int64") => (i64::MIN.into(), i64::MAX.into()),
        Some("int") => (isize::MIN.into(), isize::MAX.into()),
        Some("uint8") => (u8::MIN.into(), u8::MAX.into()),
        Some("uint16") => (u16::MIN.into(), u16::MAX.into()),
        Some("uint32") => (u32::MIN.into(), u32::MAX.into()),
        Some("uint64") => (u64::MIN.into(), u64::MAX.into()),
        Some("uint") => (usize::MIN.into(), usize::MAX.into()),
        // Their decimal form as serde writes it, which is slightly outside the exact values.
        Some("float") => ((-3.402_823_5e38_f64).into(), 3.402_823_5e38_f64.into()),
        _ => return,
    };
    for (bound, exclusive, value) in [
        ("minimum", "exclusiveMinimum", minimum),
        ("maximum", "exclusiveMaximum", maximum),
    ] {
        if schema.get(bound).or_else(|| schema.get(exclusive)).is_none() {
            schema.insert(bound.into(), value);
        }
    }
}

/// Bytes inside a payload, written as base64 text.
///
/// A `Vec<u8>` becomes a list of numbers, which is about three times as long.
///
/// ```
/// use windlass_sdk::Bytes;
///
/// let pdf = Bytes::from(b"%PDF-1.7".to_vec());
/// assert_eq!(serde_json::to_string(&pdf).unwrap(), r#""JVBERi0xLjc=""#);
/// assert!(pdf.starts_with(b"%PDF"));
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl Bytes {
    /// Returns the bytes.
    pub fn into_vec(self) -> Vec<u8> {
        self.0
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        BASE64_STANDARD
            .decode(text.as_bytes())
            .map(Self)
            .map_err(D::Error::custom)
    }
}

impl JsonSchema for Bytes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bytes".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "byte", "contentEncoding": "base64" })
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Self {
        Self(bytes.to_vec())
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Self {
        bytes.0
    }
}

/// Shows only the length, so that a document does not flood the log.
impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_round_trip_and_reject_invalid_base64() {
        let bytes = Bytes::from(vec![0, 255, 10]);
        let text = encode("bytes", &bytes).unwrap();
        assert_eq!(decode::<Bytes>("bytes", &text).unwrap(), bytes);
        assert!(decode::<Bytes>("bytes", r#""*""#).is_err());
    }

    #[test]
    fn a_schema_has_the_bounds_of_its_number_types() {
        #[derive(JsonSchema)]
        #[expect(dead_code, reason = "only its schema is used")]
        struct Order {
            count: u32,
            small: Option<i8>,
            #[schemars(range(min = 1, max = 12))]
            month: u8,
            large: Vec<u64>,
            half: f32,
            whole: f64,
            due: crate::Timestamp,
            scan: Bytes,
        }
        let schema: Value = serde_json::from_str(&schema_of::<Order>()).unwrap();
        let said = |name: &str| schema["properties"][name].clone();
        let bounds = |of: &Value| (of["minimum"].clone(), of["maximum"].clone());
        assert_eq!(bounds(&said("count")), (0.into(), u32::MAX.into()));
        assert_eq!(bounds(&said("small")), ((-128).into(), 127.into()));
        assert_eq!(bounds(&said("month")), (1.into(), 12.into()));
        assert_eq!(bounds(&said("large")["items"]), (0.into(), u64::MAX.into()));
        for extreme in [f32::MIN, f32::MAX] {
            let written: f64 = serde_json::from_str(&encode("the number", &extreme).unwrap()).unwrap();
            assert!([&said("half")["minimum"], &said("half")["maximum"]].contains(&&written.into()));
        }
        assert_eq!(bounds(&said("whole")), (Value::Null, Value::Null));
        assert_eq!(said("due")["format"], "date-time");
        assert_eq!(said("scan")["format"], "byte");
    }

    #[test]
    fn a_number_that_json_cannot_represent_is_an_error() {
        let failure = encode("the output cannot be written", &[Some(0.5), Some(f64::NAN)]).unwrap_err();
        assert_eq!(
            failure.to_string(),
            r#"InvalidPayload: the output cannot be written: JSON has no number NaN (at "/1")"#
        );
        assert!(failure.is_non_retryable());
    }

    #[test]
    fn numbers_that_the_default_parser_rounds_wrongly_round_trip() {
        for number in [117.63331139400017, 1.5777777777770001, 9_007_199_254_740_991.0_f64] {
            let text = encode("the number", &number).unwrap();
            assert_eq!(decode::<f64>("the number", &text).unwrap().to_bits(), number.to_bits());
        }
    }

    /// Contains a number that serde buffers before it knows the type.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(f64),
        Nested { number: f64 },
    }

    proptest::proptest! {
        #[test]
        fn every_finite_number_round_trips(bits: u64, small: u32) {
            let (number, small) = (f64::from_bits(bits), f32::from_bits(small));
            proptest::prop_assume!(number.is_finite() && small.is_finite());
            let text = encode("the number", &number).unwrap();
            proptest::prop_assert_eq!(decode::<f64>("the number", &text).unwrap().to_bits(), bits);
            let value: Value = decode("the number", &text).unwrap();
            proptest::prop_assert_eq!(value.to_string(), text);
            let nested = [Either::Number(number), Either::Nested { number }];
            let text = encode("the numbers", &nested).unwrap();
            proptest::prop_assert_eq!(decode::<[Either; 2]>("the numbers", &text).unwrap(), nested);
            let text = encode("the number", &small).unwrap();
            proptest::prop_assert_eq!(decode::<f32>("the number", &text).unwrap().to_bits(), small.to_bits());
        }
    }
}
