//! Pending events, which no task has taken yet, by instance and name.

use std::borrow::Cow;

use crate::model::{InboxSeq, InstanceNumber};

/// The limit for the pending events that are read with an instance when an owner takes it over, in bytes. If there are
/// more, none of them is read with it.
pub(super) const ALONG_BYTES: usize = 256 << 10;

/// The limit for one read of events by name, in bytes.
pub(super) const PAGE_BYTES: usize = 4 << 20;

/// A row to write.
pub(super) struct NewEvent<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) name: String,
    pub(super) seq: InboxSeq,
    pub(super) item: Cow<'a, [u8]>,
}

/// A row to delete.
pub(super) struct OldEvent<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) name: &'a str,
    pub(super) seq: InboxSeq,
}
