//! [`Failure`]: the error type of orchestrations and activities, and the conversion of ordinary errors into it.
//!
//! A failure is plain data rather than a boxed error, because it crosses the boundary of the sandbox: a program on the
//! other side branches on the name of its type, never on a Rust type. Authors choose these names, with a derive or a
//! call: the name of a Rust type would change with the code. `Failure` deliberately does not implement
//! [`std::error::Error`], so that every ordinary error converts with `?`; [`Failure::into_error`] converts back.

use std::error::Error;
use std::fmt;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::failure_types;
use crate::payload::to_json;

/// The result of the functions of a module: `Result<T>` is `Result<T, Failure>`.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Why something failed: a type for programs, a message for people, details, and the chain of causes.
///
/// You choose its type with [`new`](Self::new), with [`or_fail`](OrFail::or_fail) or by deriving [`FailureType`] for a
/// type of your own. Any other error converts with `?` as well: its type is then always
/// [`Error`](failure_types::ERROR), and its sources become the causes.
///
/// ```
/// use windlass_sdk::prelude::*;
///
/// fn parse(text: &str) -> Result<u32> {
///     Ok(text.parse()?)
/// }
/// assert!(parse("x").unwrap_err().is(failure_types::ERROR));
///
/// let declined = Failure::new("PaymentDeclined", "the card has expired")
///     .non_retryable()
///     .details(&serde_json::json!({ "code": 54 }));
/// assert_eq!(declined.details_as::<serde_json::Value>().unwrap()["code"], 54);
/// assert_eq!(declined.to_string(), "PaymentDeclined: the card has expired");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    #[serde(rename = "type")]
    error_type: String,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    details: Option<Json>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    non_retryable: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    causes: Vec<Cause>,
}

/// One link of the chain of causes behind a [`Failure`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cause {
    #[serde(rename = "type")]
    error_type: String,
    message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    details: Option<Json>,
}

/// Continue-as-new is returned as a failure of this type, so that `return ctx.continue_as_new(…)` fits any return type.
const CONTINUE_AS_NEW: &str = "windlass.continue-as-new";

impl Failure {
    /// Creates a failure with a type for programs and a message for people.
    ///
    /// An empty type becomes `Failure`, because the host requires one.
    pub fn new(error_type: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            error_type: Some(error_type.into())
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| "Failure".into()),
            message: message.into(),
            details: None,
            non_retryable: false,
            causes: Vec::new(),
        }
    }

    /// Converts an ordinary error into a failure of a type of your choice; `?` does the same with the type `Error`.
    ///
    /// ```
    /// # use windlass_sdk::prelude::*;
    /// fn load() -> std::result::Result<u32, Box<dyn std::error::Error>> { Ok("x".parse()?) }
    /// let failure = load().map_err(|e| Failure::from_error("LoadError", &*e)).unwrap_err();
    /// assert_eq!(failure.to_string(), "LoadError: invalid digit found in string");
    /// ```
    pub fn from_error(error_type: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        if let Some(FailureError(failure)) = error.downcast_ref() {
            return failure.clone();
        }
        let mut failure = Self::new(error_type, error.to_string());
        let mut next = error.source();
        while let Some(source) = next {
            if let Some(FailureError(inner)) = source.downcast_ref() {
                return failure.caused_by(inner.clone());
            }
            failure.causes.push(Cause {
                error_type: failure_types::ERROR.into(),
                message: source.to_string(),
                details: None,
            });
            next = source.source();
        }
        failure
    }

    /// Marks the failure as permanent: it is not retried, whatever the retry policy says.
    #[must_use]
    pub fn non_retryable(mut self) -> Self {
        self.non_retryable = true;
        self
    }

    /// Adds details for programs. A value that cannot be written as JSON (NaN, for example) is replaced by a string that
    /// says so.
    #[must_use]
    pub fn details(mut self, details: &(impl Serialize + ?Sized)) -> Self {
        self.details = Some(Json::of(details));
        self
    }

    /// Appends a cause, together with its own causes.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Failure>) -> Self {
        let cause = cause.into();
        self.causes.push(Cause {
            error_type: cause.error_type,
            message: cause.message,
            details: cause.details,
        });
        self.causes.extend(cause.causes);
        self
    }

    /// The machine-readable name, for example `PaymentDeclined`.
    pub fn error_type(&self) -> &str {
        &self.error_type
    }

    /// Whether the failure is of that type. Its causes are not considered.
    pub fn is(&self, error_type: &str) -> bool {
        self.error_type == error_type
    }

    /// The message for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the failure is never retried.
    pub fn is_non_retryable(&self) -> bool {
        self.non_retryable
    }

    /// The details as a `T`; `None` if there are none or they do not match `T`.
    pub fn details_as<T: DeserializeOwned>(&self) -> Option<T> {
        self.details.as_ref().and_then(Json::get)
    }

    /// The details as JSON text.
    pub fn details_json(&self) -> Option<&str> {
        self.details.as_ref().map(Json::text)
    }

    /// The chain of causes, nearest first.
    pub fn causes(&self) -> &[Cause] {
        &self.causes
    }

    /// The failure as an ordinary error, for code that needs one (`anyhow`, `Box<dyn Error>`).
    /// Converting it back with `?` gives the same failure.
    pub fn into_error(self) -> FailureError {
        FailureError(self)
    }

    pub(crate) fn invalid_payload(what: &str, error: &serde_json::Error) -> Self {
        Self::new(failure_types::INVALID_PAYLOAD, format!("{what}: {error}")).non_retryable()
    }

    pub(crate) fn continue_as_new() -> Self {
        Self::new(CONTINUE_AS_NEW, "this execution ends and the next one starts").non_retryable()
    }

    pub(crate) fn is_continue_as_new(&self) -> bool {
        self.is(CONTINUE_AS_NEW)
    }

    /// Builds a failure from the parts that the host passed.
    pub(crate) fn from_parts(
        error_type: String,
        message: String,
        details: Option<String>,
        non_retryable: bool,
        causes: Vec<Cause>,
    ) -> Self {
        let details = details.map(Json::from_text);
        Self {
            details,
            non_retryable,
            causes,
            ..Self::new(error_type, message)
        }
    }
}

impl Cause {
    /// The machine-readable name.
    pub fn error_type(&self) -> &str {
        &self.error_type
    }

    /// The message for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The details as a `T`; `None` if there are none or they do not match `T`.
    pub fn details_as<T: DeserializeOwned>(&self) -> Option<T> {
        self.details.as_ref().and_then(Json::get)
    }

    /// The details as JSON text.
    pub fn details_json(&self) -> Option<&str> {
        self.details.as_ref().map(Json::text)
    }

    pub(crate) fn from_parts(error_type: String, message: String, details: Option<String>) -> Self {
        Self {
            error_type,
            message,
            details: details.map(Json::from_text),
        }
    }
}

impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::from_error(failure_types::ERROR, &error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.message)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        if let Some(details) = &self.details {
            write!(f, " {}", details.text())?;
        }
        for cause in &self.causes {
            write!(f, "; caused by {cause:?}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.error_type, self.message)
    }
}

/// A [`Failure`] as an ordinary error, made by [`Failure::into_error`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureError(pub Failure);

impl fmt::Display for FailureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for FailureError {}

/// An error type whose values have a failure type. Implemented by
/// [`#[derive(FailureType)]`](macro@crate::FailureType), which also lets `?` turn it into a [`Failure`].
pub trait FailureType: fmt::Display + Sized {
    /// The machine-readable name, for example `PaymentDeclined`.
    fn error_type(&self) -> &'static str;

    /// Converts into a failure: its type, `Display` as the message, and the fields marked as details and cause.
    fn into_failure(self) -> Failure;
}

/// Converts an error or `None` into a [`Failure`] of a given type.
///
/// ```
/// use windlass_sdk::prelude::*;
///
/// fn quantity(text: &str) -> Result<u32> {
///     text.parse().or_fail("BadQuantity")
/// }
/// let failure = quantity("many").unwrap_err();
/// assert_eq!(failure.to_string(), "BadQuantity: invalid digit found in string");
/// assert_eq!(failure.causes()[0].error_type(), failure_types::ERROR);
///
/// assert!(None::<u32>.or_fail("NotFound").is_err());
/// ```
pub trait OrFail<T> {
    /// Returns the value, or a failure of that type. Its message is that of the error, and the error becomes its cause.
    ///
    /// # Errors
    /// The failure, if `self` has no value.
    fn or_fail(self, error_type: &str) -> Result<T>;
}

impl<T, E: Into<Failure>> OrFail<T> for std::result::Result<T, E> {
    fn or_fail(self, error_type: &str) -> Result<T> {
        self.map_err(|error| {
            let cause = error.into();
            let failure = Failure::new(error_type, cause.message());
            let failure = if cause.is_non_retryable() {
                failure.non_retryable()
            } else {
                failure
            };
            failure.caused_by(cause)
        })
    }
}

impl<T> OrFail<T> for Option<T> {
    fn or_fail(self, error_type: &str) -> Result<T> {
        self.ok_or_else(|| Failure::new(error_type, "the value is missing"))
    }
}

/// JSON text, exactly as the host passed it.
#[derive(Clone, Serialize)]
#[serde(transparent)]
struct Json(Box<RawValue>);

/// Deserializes through [`serde_json::Value`] rather than [`RawValue`]: serde cannot read raw text inside tagged,
/// untagged or flattened types, and a failure is often part of one.
impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        serde_json::Value::deserialize(deserializer).map(|value| Self::from_text(value.to_string()))
    }
}

impl Json {
    fn of(value: &(impl Serialize + ?Sized)) -> Self {
        let text = to_json(value).unwrap_or_else(|error| quoted(&format!("(no details: {error})")));
        Self::from_text(text)
    }

    /// Text that is not JSON is kept as a JSON string.
    fn from_text(text: String) -> Self {
        match RawValue::from_string(text.clone()) {
            Ok(raw) => Self(raw),
            Err(_) => Self(RawValue::from_string(quoted(&text)).expect("a quoted string is JSON")),
        }
    }

    fn text(&self) -> &str {
        self.0.get()
    }

    fn get<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_str(self.text()).ok()
    }
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string can be written as JSON")
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Json {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_becomes_a_failure_with_its_sources_as_causes() {
        #[derive(Debug)]
        struct Outer(std::num::ParseIntError);
        impl fmt::Display for Outer {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("outer")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let failure = Failure::from(Outer("x".parse::<u32>().unwrap_err()));
        assert_eq!(failure.to_string(), "Error: outer");
        assert_eq!(failure.causes().len(), 1);
        assert_eq!(failure.causes()[0].message(), "invalid digit found in string");
    }

    #[test]
    fn a_failure_round_trips_through_an_ordinary_error() {
        let original = Failure::new("A", "b").details(&[1, 2]).non_retryable();
        let boxed: Box<dyn Error> = Box::new(original.clone().into_error());
        assert_eq!(Failure::from_error("Boxed", &*boxed), original);
        assert_eq!(Failure::from(original.clone().into_error()), original);
    }

    #[test]
    fn details_that_are_not_json_are_kept_as_text() {
        let failure = Failure::from_parts("A".into(), "b".into(), Some("{oops".into()), false, Vec::new());
        assert_eq!(failure.details_as::<String>().as_deref(), Some("{oops"));
    }

    #[test]
    fn details_that_json_cannot_represent_become_a_note() {
        let failure = Failure::new("A", "b").details(&[1.0, f64::NAN]);
        let note = r#"(no details: JSON has no number NaN (at "/1"))"#;
        assert_eq!(failure.details_as::<String>().as_deref(), Some(note));
    }

    #[test]
    fn a_failure_can_be_part_of_a_payload() {
        let failure = Failure::new("A", "b").details(&1.5).caused_by(Failure::new("C", "d"));
        let text = serde_json::to_string(&failure).unwrap();
        assert_eq!(
            text,
            r#"{"type":"A","message":"b","details":1.5,"causes":[{"type":"C","message":"d"}]}"#
        );
        assert_eq!(serde_json::from_str::<Failure>(&text).unwrap(), failure);
    }
}
