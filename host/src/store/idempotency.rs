//! Clients' idempotency keys: a repeated request gets the answer of the first one.

use super::IdempotencyKey;
use crate::model::{InstanceId, TenantId, Timestamp};

/// A stored key.
#[derive(Debug, Clone)]
pub(super) struct StoredKey {
    pub(super) tenant: TenantId,
    pub(super) key: String,
    pub(super) fingerprint: Vec<u8>,
    pub(super) instance_id: InstanceId,
    pub(super) expires_at: Timestamp,
    /// The length of the stored answer; 0 if there is none.
    pub(super) answer_bytes: u64,
}

/// What is known of an idempotency key that was used before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UsedKey {
    /// For the same request, which concerned this instance.
    Repeated(InstanceId),
    /// For another request.
    Reused,
}

/// The size of a key beside its text and the id of its instance, in bytes: the fingerprint, and two rows.
pub(super) const KEY_BYTES: u64 = 128;

impl StoredKey {
    /// What it counts as stored, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.key.len() as u64 + self.instance_id.as_str().len() as u64 + self.answer_bytes + KEY_BYTES
    }
}

/// A key to look for.
#[derive(Clone, Copy)]
pub(super) struct WantedKey<'a> {
    pub(super) tenant: TenantId,
    pub(super) key: &'a str,
}

/// A row to write.
pub(super) struct NewKey<'a> {
    pub(super) tenant: TenantId,
    pub(super) key: &'a IdempotencyKey,
    pub(super) instance_id: &'a InstanceId,
}

/// An answer to store with its key.
pub(super) struct NewAnswer<'a> {
    pub(super) tenant: TenantId,
    pub(super) key: &'a str,
    /// In the codec of the model.
    pub(super) answer: &'a [u8],
}
