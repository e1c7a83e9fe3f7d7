//! Messages that wait for an instance.

use std::borrow::Cow;

use crate::model::{InboxSeq, InstanceNumber};

/// A message to be written.
pub(super) struct NewMessage<'a> {
    pub(super) instance: InstanceNumber,
    pub(super) seq: InboxSeq,
    pub(super) control: bool,
    pub(super) item: Cow<'a, [u8]>,
}

/// A message to be deleted.
pub(super) struct ConsumedMessage {
    pub(super) instance: InstanceNumber,
    pub(super) seq: InboxSeq,
}
