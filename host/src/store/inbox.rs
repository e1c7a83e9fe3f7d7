//! Messages that an instance has not consumed yet, except events.

use std::borrow::Cow;

use crate::model::{InboxSeq, InstanceNumber, Timestamp};

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
