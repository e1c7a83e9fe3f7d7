//! Broadcasts: events that are raised for every instance that a filter selects.
//!
//! The row of a broadcast says how far it is. A piece writes its events and the new position in one transaction, so that
//! no instance gets the event twice, and none is left out, whenever the host ends.

use serde::{Deserialize, Serialize};

use super::{Cursor, Error, IdempotencyKey, ListFilter, TenantStore, page::Page};
use crate::model::{
    Event, FromStored, FunctionName, InboxRow, InstanceNumber, InstanceStatus, Tag, TenantId, Timestamp,
};

/// The maximum number of broadcasts of a tenant that are not finished.
pub const MAX_UNFINISHED_BROADCASTS: u64 = 100;

/// The maximum number of broadcasts of a tenant, including finished ones.
pub const MAX_BROADCASTS: u64 = 1_000;

/// The maximum number of finished broadcasts that one operation forgets.
pub(super) const FORGOTTEN_AT_ONCE: u32 = 100;

/// What a broadcast counts as stored besides its texts, in bytes.
const BROADCAST_BYTES: u64 = 256;

/// A broadcast to be stored.
#[derive(Debug, Clone)]
pub struct NewBroadcast {
    /// The tenant of the instances.
    pub tenant: TenantId,
    /// Identifies it, with the fingerprint of the request: a repeated request is not a new broadcast.
    pub key: IdempotencyKey,
    /// The event to raise.
    pub event: Event,
    /// Selects the instances. Only those that have not ended get the event.
    pub filter: ListFilter,
    /// When it was accepted.
    pub at: Timestamp,
}

/// The outcome of [`Store::create_broadcast`](super::Store::create_broadcast).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BroadcastOutcome {
    /// It is stored.
    Created,
    /// The same request was stored before; nothing was changed.
    Repeated,
    /// Another request was stored under this id; nothing was changed.
    KeyReused,
    /// The tenant has too many broadcasts; nothing was changed. Contains the maximum that was reached.
    TooMany(u64),
    /// The tenant was deleted.
    TenantGone,
}

/// A broadcast as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Broadcast {
    /// The tenant of the instances.
    pub tenant: TenantId,
    /// Its id, unique within the tenant.
    pub id: String,
    /// The event to raise.
    pub event: Event,
    /// Selects the instances.
    pub filter: ListFilter,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// Where it goes on.
    pub from: Cursor,
    /// How many instances got the event.
    pub raised: u64,
    /// How many instances matched, but did not get the event: they ended in between, their history is full, or the event
    /// does not match its schema.
    pub skipped: u64,
    /// When it was finished.
    pub finished_at: Option<Timestamp>,
}

/// How a broadcast has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BroadcastEnd {
    /// It has raised all its events.
    Finished,
    /// A client cancelled it. The events that it had raised stay raised.
    Cancelled,
    /// Its row cannot be read, for this reason, so the rest of its events is never raised.
    Unreadable(String),
}

/// A broadcast as clients see it: without its payload and its filter, so that a damaged one is shown, too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroadcastSummary {
    /// Its id, unique within the tenant.
    pub id: String,
    /// The name of the event.
    pub event: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// How many instances got the event.
    pub raised: u64,
    /// How many instances matched, but did not get the event.
    pub skipped: u64,
    /// When it has ended, and how.
    pub ended: Option<(Timestamp, BroadcastEnd)>,
}

impl BroadcastSummary {
    /// The approximate size in an answer, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let problem = match &self.ended {
            Some((_, BroadcastEnd::Unreadable(problem))) => problem.len(),
            _ => 0,
        };
        Page::ROW_BYTES + self.id.len() + self.event.len() + problem
    }
}

/// A page of broadcasts, by id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BroadcastPage {
    /// The broadcasts.
    pub broadcasts: Vec<BroadcastSummary>,
    /// The last id; `None` on the last page.
    pub next: Option<String>,
}

/// A broadcast that is not finished.
#[derive(Debug)]
pub enum NextBroadcast {
    /// It can go on.
    Readable(Box<Broadcast>),
    /// Its row cannot be read.
    Unreadable {
        /// Its tenant.
        tenant: TenantId,
        /// Its id.
        id: String,
        /// Why it cannot be read.
        error: Error,
    },
}

impl NextBroadcast {
    /// The tenant of the broadcast.
    pub fn tenant(&self) -> TenantId {
        match self {
            Self::Readable(broadcast) => broadcast.tenant,
            Self::Unreadable { tenant, .. } => *tenant,
        }
    }
}

/// A request to end a broadcast before it has raised all its events.
#[derive(Debug, Clone)]
pub struct EndBroadcast {
    /// The tenant.
    pub tenant: TenantId,
    /// The id.
    pub id: String,
    /// How it ends.
    pub end: BroadcastEnd,
    /// The time.
    pub at: Timestamp,
}

/// The outcome of [`EndBroadcast`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOfBroadcast {
    /// It has ended now.
    Ended,
    /// It had ended before; nothing was changed.
    EndedBefore,
    /// The tenant has no such broadcast.
    Unknown,
}

/// The maximum length of the reason why a row cannot be read, in bytes. The fixed part of what a broadcast counts covers
/// it.
const MAX_PROBLEM_BYTES: usize = 200;

impl BroadcastEnd {
    /// The number and the text that are stored.
    pub(super) fn stored(&self) -> (u32, Option<&str>) {
        match self {
            Self::Finished => (0, None),
            Self::Cancelled => (1, None),
            Self::Unreadable(problem) => (2, Some(&problem[..problem.floor_char_boundary(MAX_PROBLEM_BYTES)])),
        }
    }

    /// Reads what is stored.
    pub(super) fn read(number: u64, problem: Option<&str>) -> Result<Self, Error> {
        match number {
            0 => Ok(Self::Finished),
            1 => Ok(Self::Cancelled),
            2 => Ok(Self::Unreadable(problem.unwrap_or_default().to_owned())),
            other => Err(Error::Damaged(format!(
                "a broadcast has ended in the unknown way {other}"
            ))),
        }
    }
}

impl TenantStore {
    /// A broadcast as clients see it.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn broadcast_summary(&self, id: &str) -> Result<Option<BroadcastSummary>, Error> {
        self.people.broadcast_summary(self.tenant, id).await
    }

    /// Broadcasts after an id, by id, at most `limit`.
    ///
    /// # Errors
    /// When the query fails.
    pub async fn broadcasts(&self, after: Option<&str>, limit: u32) -> Result<BroadcastPage, Error> {
        self.people.broadcasts(self.tenant, after, limit).await
    }
}

/// The next piece of a broadcast.
#[derive(Debug, Clone)]
pub struct BroadcastPiece {
    /// The tenant of the instances.
    pub tenant: TenantId,
    /// The broadcast.
    pub id: String,
    /// The event to raise.
    pub event: Event,
    /// Where the piece begins. If the broadcast is elsewhere, nothing is changed.
    pub from: Cursor,
    /// The instances to raise the event for. Those that have ended in between are skipped.
    pub instances: Vec<InstanceNumber>,
    /// An instance whose pending messages and history have this many bytes is skipped.
    pub max_bytes: u64,
    /// How many instances matched that cannot get the event.
    pub refused: u64,
    /// Where the broadcast goes on; `None` if this was the last piece.
    pub next: Option<Cursor>,
    /// The time of the piece.
    pub at: Timestamp,
}

/// An event that a piece has raised.
#[derive(Debug)]
pub struct RaisedByBroadcast {
    /// The instance that has it.
    pub instance: InstanceNumber,
    /// Its row.
    pub row: InboxRow,
    /// Whether the instance processes no messages for now.
    pub is_at_rest: bool,
}

/// How a piece changes the row of its broadcast.
pub(super) struct Advance<'a> {
    pub(super) piece: &'a BroadcastPiece,
    pub(super) raised: u64,
    pub(super) skipped: u64,
}

impl Advance<'_> {
    /// The position after the piece.
    pub(super) fn below(&self) -> InstanceNumber {
        self.piece.next.as_ref().map_or(InstanceNumber(0), Cursor::number)
    }

    /// When the broadcast was finished, if it is.
    pub(super) fn finished_at(&self) -> Option<Timestamp> {
        self.piece.next.is_none().then_some(self.piece.at)
    }
}

impl NewBroadcast {
    /// What it counts as stored, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        let texts = self.key.key.len() + self.event.name.as_str().len() + self.filter_text().len();
        texts as u64 + self.event.payload.bytes() + BROADCAST_BYTES
    }

    /// The filter as it is stored.
    pub(super) fn filter_text(&self) -> String {
        serde_json::to_string(&StoredFilter::from(&self.filter)).expect("texts and numbers can be written as JSON")
    }
}

/// A filter as it is stored, as JSON. Fields are only added, each with a default.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct StoredFilter {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    statuses: Vec<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_to: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_from: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_to: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tags: Vec<(String, String)>,
}

impl From<&ListFilter> for StoredFilter {
    fn from(filter: &ListFilter) -> Self {
        let time = |at: Option<Timestamp>| at.map(|at| at.0);
        let tag = |tag: &Tag| (tag.key().to_owned(), tag.value().to_owned());
        Self {
            statuses: filter.statuses.iter().map(|status| *status as u8).collect(),
            function: filter.function.as_ref().map(ToString::to_string),
            id_prefix: filter.id_prefix.clone(),
            created_from: time(filter.created_from),
            created_to: time(filter.created_to),
            updated_from: time(filter.updated_from),
            updated_to: time(filter.updated_to),
            tags: filter.tags.iter().map(tag).collect(),
        }
    }
}

/// Reads a stored filter.
pub(super) fn filter(text: &str) -> Result<ListFilter, Error> {
    let damaged = |what: &dyn std::fmt::Display| Error::Damaged(format!("the filter of a broadcast: {what}"));
    let stored: StoredFilter = serde_json::from_str(text).map_err(|error| damaged(&error))?;
    let statuses = stored
        .statuses
        .into_iter()
        .map(|number| InstanceStatus::from_number(number).ok_or_else(|| damaged(&format!("unknown status {number}"))));
    let function = stored.function.map(|name| FunctionName::from_stored(&name));
    let tags = stored
        .tags
        .into_iter()
        .map(|(key, value)| format!("{key}:{value}").parse());
    Ok(ListFilter {
        statuses: statuses.collect::<Result<_, _>>()?,
        function: function.transpose().map_err(|error| damaged(&error))?,
        id_prefix: stored.id_prefix,
        created_from: stored.created_from.map(Timestamp),
        created_to: stored.created_to.map(Timestamp),
        updated_from: stored.updated_from.map(Timestamp),
        updated_to: stored.updated_to.map(Timestamp),
        tags: tags
            .collect::<Result<_, _>>()
            .map_err(|error: crate::model::TagError| damaged(&error))?,
        parent: None,
        orphans_of: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_filter_is_read_as_it_was_written() {
        let full = ListFilter {
            statuses: vec![InstanceStatus::Running, InstanceStatus::Stuck],
            function: Some("Order".parse().unwrap()),
            id_prefix: Some("a\"b".into()),
            created_from: Some(Timestamp(1)),
            created_to: Some(Timestamp(2)),
            updated_from: Some(Timestamp(3)),
            updated_to: Some(Timestamp(4)),
            tags: vec!["region:eu:west".parse().unwrap()],
            parent: None,
            orphans_of: None,
        };
        // Stored by this version; every later one must read it.
        let text = r#"{"statuses":[1,3],"function":"Order","id_prefix":"a\"b","created_from":1,"created_to":2,"updated_from":3,"updated_to":4,"tags":[["region","eu:west"]]}"#;
        assert_eq!(serde_json::to_string(&StoredFilter::from(&full)).unwrap(), text);
        assert_eq!(format!("{:?}", filter(text).unwrap()), format!("{full:?}"));
        assert_eq!(
            format!("{:?}", filter("{}").unwrap()),
            format!("{:?}", ListFilter::default())
        );
        assert!(filter(r#"{"statuses":[99]}"#).is_err() && filter("{\"later\":1}").is_err());
    }
}
