//! Events that nobody has taken yet, by instance and name.

use std::borrow::Cow;

use crate::model::{InboxSeq, InstanceNumber};

/// Bytes of events after which no further one is read along when an instance is taken over.
pub(super) const ALONG_BYTES: usize = 256 << 10;

/// Bytes of events after which no further one is read of some names.
pub(super) const PAGE_BYTES: usize = 4 << 20;

/// An event to be written.
pub(super) struct NewEvent<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) name: String,
    pub(super) seq: InboxSeq,
    pub(super) item: Cow<'a, [u8]>,
}

/// An event to be deleted.
pub(super) struct OldEvent<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) name: &'a str,
    pub(super) seq: InboxSeq,
}
