//! The keywords `type` and `format`, interpreted as the types in guest code do.
//!
//! JSON Schema accepts `10.0` and `1e1` as integers, but serde and most other parsers do not, so this host rejects
//! them. JSON Schema also leaves open whether a `format` is checked. This host checks a format if the types that guests
//! parse JSON into would reject other values anyway. Unknown formats, and formats on which parsers disagree, accept
//! everything.
//!
//! Each check takes linear time.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jsonschema::{Keyword, ValidationError};
use serde_json::{Number, Value};

use crate::model::date_time;

/// Maximum length of a value that a message quotes, in bytes.
const MAX_QUOTED_BYTES: usize = 200;

/// The keyword `type`.
pub(super) struct Types {
    allowed: Vec<Type>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Array,
    Boolean,
    Integer,
    Null,
    Number,
    Object,
    String,
}

impl Type {
    const ALL: [(Self, &str); 7] = [
        (Self::Array, "array"),
        (Self::Boolean, "boolean"),
        (Self::Integer, "integer"),
        (Self::Null, "null"),
        (Self::Number, "number"),
        (Self::Object, "object"),
        (Self::String, "string"),
    ];

    fn from_name(name: &str) -> Option<Self> {
        let (found, _) = Self::ALL.into_iter().find(|(_, other)| *other == name)?;
        Some(found)
    }

    fn name(self) -> &'static str {
        Self::ALL
            .into_iter()
            .find_map(|(other, name)| (other == self).then_some(name))
            .unwrap_or_default()
    }

    fn has(self, value: &Value) -> bool {
        match value {
            Value::Array(_) => self == Self::Array,
            Value::Bool(_) => self == Self::Boolean,
            Value::Null => self == Self::Null,
            Value::Number(number) => self == Self::Number || (self == Self::Integer && is_integer(number)),
            Value::Object(_) => self == Self::Object,
            Value::String(_) => self == Self::String,
        }
    }
}

/// Whether a number was written without fraction and exponent.
///
/// Integers beyond 64 bits were parsed as floats, so floats beyond that range also count as integers.
fn is_integer(number: &Number) -> bool {
    if number.is_i64() || number.is_u64() {
        return true;
    }
    const BEYOND_I64: f64 = -9_223_372_036_854_775_808.0;
    const BEYOND_U64: f64 = 18_446_744_073_709_551_616.0;
    number
        .as_f64()
        .is_some_and(|number| !(BEYOND_I64..BEYOND_U64).contains(&number))
}

impl Types {
    /// Parses one name or a list of names.
    pub(super) fn of<'s>(value: &Value) -> Result<Self, ValidationError<'s>> {
        let names = match value {
            Value::Array(names) => names.as_slice(),
            name => std::slice::from_ref(name),
        };
        let unknown = |name: &Value| ValidationError::custom(format!("unknown type {}", quoted(name)));
        let allowed = names
            .iter()
            .map(|name| name.as_str().and_then(Type::from_name).ok_or_else(|| unknown(name)))
            .collect::<Result<_, _>>()?;
        Ok(Self { allowed })
    }
}

impl<'i> Keyword<'i> for Types {
    fn validate(&self, value: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(value) {
            return Ok(());
        }
        let names: Vec<_> = self
            .allowed
            .iter()
            .map(|allowed| format!("{:?}", allowed.name()))
            .collect();
        let noun = if names.len() == 1 { "type" } else { "types" };
        let mut message = format!("{} is not of {noun} {}", quoted(value), names.join(", "));
        if self.allowed.contains(&Type::Integer) && value.as_f64().is_some_and(|number| number.fract() == 0.0) {
            message += ": an integer is written without fraction and exponent";
        }
        Err(ValidationError::custom(message))
    }

    fn is_valid(&self, value: &'i Value) -> bool {
        self.allowed.iter().any(|allowed| allowed.has(value))
    }
}

/// The keyword `format`.
pub(super) struct Format {
    name: String,
    check: Check,
}

/// What a format requires. Applies to values of one type only; other values match.
enum Check {
    Text(fn(&str) -> bool),
    /// Integers from the first to the second, inclusive.
    Integer(i128, i128),
    Float,
    Nothing,
}

impl Format {
    pub(super) fn of(value: &Value) -> Self {
        let name = value.as_str().unwrap_or_default();
        let check = match name {
            "date-time" => Check::Text(date_time::is_rfc_3339),
            "date" => Check::Text(date_time::is_date),
            "uuid" => Check::Text(|text| uuid::Uuid::parse_str(text).is_ok()),
            "ip" => Check::Text(|text| text.parse::<IpAddr>().is_ok()),
            "ipv4" => Check::Text(|text| text.parse::<Ipv4Addr>().is_ok()),
            "ipv6" => Check::Text(|text| text.parse::<Ipv6Addr>().is_ok()),
            "byte" => Check::Text(is_base64),
            "int8" => integer::<i8>(i8::MIN, i8::MAX),
            "int16" => integer(i16::MIN, i16::MAX),
            "int32" => integer(i32::MIN, i32::MAX),
            "int64" => integer(i64::MIN, i64::MAX),
            "uint8" => integer(u8::MIN, u8::MAX),
            "uint16" => integer(u16::MIN, u16::MAX),
            "uint32" => integer(u32::MIN, u32::MAX),
            "uint64" => integer(u64::MIN, u64::MAX),
            "float" => Check::Float,
            _ => Check::Nothing,
        };
        Self {
            name: name.to_owned(),
            check,
        }
    }
}

fn integer<T: Into<i128>>(least: T, most: T) -> Check {
    Check::Integer(least.into(), most.into())
}

impl<'i> Keyword<'i> for Format {
    fn validate(&self, value: &'i Value) -> Result<(), ValidationError<'i>> {
        if self.is_valid(value) {
            return Ok(());
        }
        let message = format!("{} is not of the format {:?}", quoted(value), self.name);
        Err(ValidationError::custom(message))
    }

    fn is_valid(&self, value: &'i Value) -> bool {
        match (&self.check, value) {
            (Check::Text(check), Value::String(text)) => check(text),
            (Check::Integer(least, most), Value::Number(number)) => match number.as_i128() {
                Some(number) => (*least..=*most).contains(&number),
                // Non-integers are left to `type`; integers out of the range of 64 bits are out of every range.
                None => !is_integer(number),
            },
            (Check::Float, Value::Number(number)) => {
                // `f32::MAX` is written with fewer digits than it has, as a number that is slightly larger.
                number.as_f64().is_some_and(|number| (number as f32).is_finite())
            }
            _ => true,
        }
    }
}

/// Base64 of RFC 4648 with padding, on one line. Unused bits of the last character are zero.
fn is_base64(text: &str) -> bool {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let bytes = text.as_bytes();
    let unpadded = match bytes {
        [digits @ .., b'=', b'='] | [digits @ .., b'='] => digits,
        digits => digits,
    };
    let unused_bits = match (unpadded.len() % 4, bytes.len() - unpadded.len()) {
        (0, 0) => 0,
        (2, 2) => 0b1111,
        (3, 1) => 0b11,
        _ => return false,
    };
    let last = unpadded.last().and_then(|byte| digit(*byte)).unwrap_or(0);
    unpadded.iter().all(|byte| digit(*byte).is_some()) && last & unused_bits == 0
}

fn quoted(value: &Value) -> String {
    let text = value.to_string();
    if text.len() > MAX_QUOTED_BYTES {
        return "value".to_owned();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_follows_rfc_4648() {
        for text in ["", "AA==", "AAA=", "AAAA", "JVBERi0xLjc=", "+/+/", "/w=="] {
            assert!(is_base64(text), "{text}");
        }
        for text in [
            "*", "A", "AA", "AAA", "AA=", "A===", "AB==", "AAB=", "====", "=", "AA==AAAA", "AAA=\n", "-_-_", "AÄA=",
        ] {
            assert!(!is_base64(text), "{text}");
        }
    }
}
