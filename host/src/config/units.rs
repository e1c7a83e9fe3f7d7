//! Values of settings as people write them: `64MiB`, `30s`, `auto`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// A number of bytes, written as `1MiB`, `64KiB` or a plain number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteSize(pub u64);

/// A duration, written as `30s`, `500ms` or `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

/// A number, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capacity {
    /// Derived from the kernel's limits.
    Auto,
    /// Exactly this number.
    Number(u32),
}

/// The size of the memory budget, or `auto`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemorySize {
    /// Half of the memory that the process may use.
    Auto,
    /// Exactly this many bytes.
    Bytes(ByteSize),
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// When a write counts as stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Synchronous {
    /// When it survives a power failure.
    Full,
    /// When it survives the end of the process.
    Normal,
}

const UNITS: [(&str, u32); 4] = [("GiB", 30), ("MiB", 20), ("KiB", 10), ("B", 0)];

impl ByteSize {
    /// Creates a size of that many MiB.
    pub const fn mib(number: u64) -> Self {
        Self(number << 20)
    }

    /// The size as a `usize`.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl Span {
    /// Creates a duration of that many seconds.
    pub const fn seconds(number: u64) -> Self {
        Self(Duration::from_secs(number))
    }
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a size such as 64MiB, 512KiB or a plain number of bytes");
        let (digits, shift) = UNITS
            .iter()
            .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)))
            .unwrap_or((text, 0));
        let number: u64 = digits.trim_end().parse().map_err(|_| wrong())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(wrong)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |shift: u32| self.0 != 0 && self.0.trailing_zeros() >= shift;
        let (unit, shift) = UNITS.into_iter().find(|(_, shift)| whole(*shift)).unwrap_or(("B", 0));
        write!(f, "{}{unit}", self.0 >> shift)
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        humantime::parse_duration(text)
            .map(Self)
            .map_err(|_| format!("{text:?} is not a time such as 30s, 500ms or 5m"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_duration(self.0).fmt(f)
    }
}

impl FromStr for Capacity {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse()
            .map(Self::Number)
            .map_err(|_| format!("{text:?} is neither a number nor `auto`"))
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

impl FromStr for MemorySize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        text.parse()
            .map(Self::Bytes)
            .map_err(|_| format!("{text:?} is neither a size such as 2GiB nor `auto`"))
    }
}

impl fmt::Display for MemorySize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Bytes(size) => size.fmt(f),
        }
    }
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(format!("{text:?} is neither `text` nor `json`")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}

impl FromStr for Synchronous {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "full" => Ok(Self::Full),
            "normal" => Ok(Self::Normal),
            _ => Err(format!("{text:?} is neither `full` nor `normal`")),
        }
    }
}

impl fmt::Display for Synchronous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "full",
            Self::Normal => "normal",
        })
    }
}

/// In the file, these values are written as on the command line; plain numbers need no quotes.
macro_rules! serde_as_text {
    ($($type:ty),+) => {
        $(
            impl Serialize for $type {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    match self.to_string().parse::<u32>() {
                        Ok(number) => serializer.serialize_u32(number),
                        Err(_) => serializer.collect_str(self),
                    }
                }
            }

            impl<'de> Deserialize<'de> for $type {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    #[derive(Deserialize)]
                    #[serde(
                        untagged,
                        expecting = "it must be text such as `64MiB` or `30s`, or a number from 0"
                    )]
                    enum Raw {
                        Number(u64),
                        Text(String),
                    }
                    let text = match Raw::deserialize(deserializer)? {
                        Raw::Number(number) => number.to_string(),
                        Raw::Text(text) => text,
                    };
                    text.parse().map_err(D::Error::custom)
                }
            }
        )+
    };
}

serde_as_text!(ByteSize, Span, Capacity, MemorySize, LogFormat, Synchronous);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_back_what_they_write() {
        for (text, bytes) in [
            ("1MiB", 1 << 20),
            ("3KiB", 3 << 10),
            ("5B", 5),
            ("2GiB", 2 << 30),
            ("0B", 0),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)));
            assert_eq!(ByteSize(bytes).to_string(), text);
        }
        assert_eq!("123".parse(), Ok(ByteSize(123)));
        for text in ["", "MiB", "1 TiB", "-1", "1.5MiB", "99999999999GiB"] {
            assert!(text.parse::<ByteSize>().is_err(), "{text}");
        }
        for json in ["-1", "1.5", "true", "[]", "{}"] {
            let error = serde_json::from_str::<ByteSize>(json).unwrap_err().to_string();
            assert!(error.starts_with("it must be text such as"), "{json}: {error}");
        }
    }

    #[test]
    fn times_and_capacities_read_back_what_they_write() {
        for text in ["30s", "1m 30s", "500ms"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["auto", "0", "17"] {
            assert_eq!(text.parse::<Capacity>().unwrap().to_string(), text);
        }
        for text in ["auto", "2GiB"] {
            assert_eq!(text.parse::<MemorySize>().unwrap().to_string(), text);
        }
        assert!("much".parse::<MemorySize>().is_err());
        assert!("7".parse::<Span>().is_err());
        assert!("many".parse::<Capacity>().is_err());
    }
}
