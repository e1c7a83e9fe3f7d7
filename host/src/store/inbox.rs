//! Messages that an instance has not consumed yet, except events.

use std::borrow::Cow;

use crate::model::{InboxSeq, InstanceNumber, Timestamp};

/// The maximum number of messages that are counted for one instance. The writer counts only for entities that seem to
/// have none.
pub(super) const MAX_COUNTED: u64 = 4_096;

/// A row to write.
pub(super) struct NewMessage<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) seq: InboxSeq,
    pub(super) control: bool,
    /// The message waits until this time.
    pub(super) due_at: Option<Timestamp>,
    pub(super) item: Cow<'a, [u8]>,
}

/// A row to delete.
pub(super) struct ConsumedMessage {
    pub(super) instance: InstanceNumber,
    pub(super) seq: InboxSeq,
}
