//! Parts that the documents of several resources share: verbatim payloads, failures and times.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer, ser::Error as _};
use serde_json::value::RawValue;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr, Schema,
        schema::{ObjectBuilder, SchemaType},
    },
};

use crate::model::{Cause, Failure, Payload, Tags, Timestamp};

/// A payload within a document: the stored text itself, so that `1.0` stays `1.0`.
#[derive(Debug, Clone)]
pub(crate) struct Verbatim(pub(crate) Payload);

impl Serialize for Verbatim {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.0.as_str()).map_err(S::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl PartialSchema for Verbatim {
    fn schema() -> RefOr<Schema> {
        let any_value = ObjectBuilder::new()
            .schema_type(SchemaType::AnyValue)
            .description(Some("Any JSON value, as it was given"));
        RefOr::T(Schema::Object(any_value.build()))
    }
}

impl ToSchema for Verbatim {
    fn name() -> std::borrow::Cow<'static, str> {
        "Payload".into()
    }
}

/// The payload, or `null` if there is none.
pub(crate) fn verbatim(payload: Option<Payload>) -> Verbatim {
    Verbatim(payload.unwrap_or_else(Payload::null))
}

/// Tags as an object.
pub(crate) fn tags(tags: &Tags) -> BTreeMap<String, String> {
    let pairs = tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    pairs.collect()
}

/// A point in time, as RFC 3339.
pub(crate) fn time(at: Timestamp) -> String {
    at.to_string()
}

/// Why a task or an instance failed.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Failure)]
pub(crate) struct FailureDocument {
    /// Machine-readable type, for example `PaymentDeclined` or `windlass.timeout`.
    r#type: String,
    /// One sentence for people.
    message: String,
    /// Further data for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Verbatim, required = false)]
    details: Option<Verbatim>,
    /// Whether retrying is pointless.
    non_retryable: bool,
    /// The causes, from the direct one to the root.
    causes: Vec<CauseDocument>,
}

/// One link of the chain of causes.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Cause)]
pub(crate) struct CauseDocument {
    /// Machine-readable type.
    r#type: String,
    /// One sentence for people.
    message: String,
    /// Further data for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Verbatim, required = false)]
    details: Option<Verbatim>,
}

impl From<Failure> for FailureDocument {
    fn from(failure: Failure) -> Self {
        let Failure {
            error_type,
            message,
            details,
            non_retryable,
            causes,
        } = failure;
        Self {
            r#type: error_type,
            message,
            details: details.map(Verbatim),
            non_retryable,
            causes: causes.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Cause> for CauseDocument {
    fn from(cause: Cause) -> Self {
        let Cause {
            error_type,
            message,
            details,
        } = cause;
        Self {
            r#type: error_type,
            message,
            details: details.map(Verbatim),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_written_as_they_were_given() {
        let text = "{\"a\" : 1.0,\"b\":123456789012345678901234567890,\"c\":\"\\u00e9\"}";
        let payload = Payload::parse(text, 100).unwrap();
        assert_eq!(
            serde_json::to_string(&[Verbatim(payload)]).unwrap(),
            format!("[{text}]")
        );
        assert_eq!(serde_json::to_string(&verbatim(None)).unwrap(), "null");
    }
}
