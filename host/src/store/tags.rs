//! The rows of tags.

use super::sizes::ROW_BYTES;
use crate::model::{InstanceNumber, Tags, TenantId};

/// A tag to store.
pub(super) struct NewTag<'a> {
    pub(super) tenant: TenantId,
    pub(super) instance: InstanceNumber,
    pub(super) key: &'a str,
    pub(super) value: &'a str,
}

/// The stored bytes of all tags of an instance.
pub(super) fn stored_bytes(tags: &Tags) -> u64 {
    tags.bytes() + tags.len() as u64 * ROW_BYTES
}
