//! Entities: their ids, the messages that they receive, and their stored state.
//!
//! An entity is an instance whose id is `@name@key`. It has no history: its [state](EntityState) is the truth.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ids::{IdError, MAX_INSTANCE_ID_BYTES, check_text};
use super::{
    ExecutionNumber, Failure, FromStored, FunctionName, InstanceId, InstanceNumber, ModuleNumber, Payload, TaskId,
    Timestamp, ids::MAX_NAME_BYTES,
};

/// The first character of an entity's instance id, and the one between its name and its key.
pub const ENTITY_MARK: char = '@';

/// The name and key of an entity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EntityId {
    name: FunctionName,
    key: Arc<str>,
}

impl EntityId {
    /// The entity with that name, without regard to letter case, and exactly that key.
    ///
    /// # Errors
    /// If the name or the key cannot be part of an instance id.
    pub fn new(name: &str, key: &str) -> Result<Self, EntityIdError> {
        let name = entity_name(name).map_err(EntityIdError::Name)?;
        let key_bytes = MAX_INSTANCE_ID_BYTES - name.as_str().len() - 2;
        if !key.is_empty() {
            check_text(key, key_bytes, FORBIDDEN_IN_KEYS).map_err(EntityIdError::Key)?;
        }
        Ok(Self { name, key: key.into() })
    }

    /// The entity with this instance id; `None` if it is the id of an orchestration.
    pub fn of(id: &InstanceId) -> Option<Self> {
        let (name, key) = id.as_str().strip_prefix(ENTITY_MARK)?.split_once(ENTITY_MARK)?;
        Self::new(name, key).ok()
    }

    /// The name, in lower case.
    pub fn name(&self) -> &FunctionName {
        &self.name
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The id of the entity among the instances.
    pub fn instance_id(&self) -> InstanceId {
        InstanceId::from_stored(&self.to_string()).expect("the parts were checked")
    }
}

impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{ENTITY_MARK}{}{ENTITY_MARK}{}", self.name, self.key)
    }
}

/// Why a name and a key are not those of an entity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EntityIdError {
    /// The name is invalid.
    #[error("the entity name {0}")]
    Name(#[source] IdError),
    /// The key is invalid.
    #[error("the entity key {0}")]
    Key(#[source] IdError),
}

const FORBIDDEN_IN_KEYS: &[char] = &['/', '\\', '?', '#'];
const FORBIDDEN_IN_NAMES: &[char] = &['/', '\\', '?', '#', ENTITY_MARK];

/// The name of an entity in lower case, under which callers find it.
///
/// # Errors
/// If it cannot be part of an instance id.
pub fn entity_name(name: &str) -> Result<FunctionName, IdError> {
    let folded = name.to_lowercase();
    check_text(&folded, MAX_NAME_BYTES, FORBIDDEN_IN_NAMES)?;
    folded.parse()
}

/// Checks the name of an operation, which is exact.
///
/// # Errors
/// If it is empty, too long or has control characters.
pub fn check_operation_name(name: &str) -> Result<(), IdError> {
    check_text(name, MAX_NAME_BYTES, &[])
}

/// A critical section: the execution that locks entities, and the task that waits for the locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SectionId {
    /// The instance that holds the locks.
    pub instance: InstanceNumber,
    /// The execution of that instance.
    pub execution: ExecutionNumber,
    /// The task that completes when all entities are locked.
    pub task: TaskId,
}

/// An operation that waits for an entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Operation {
    /// The name of the operation.
    pub name: String,
    /// Its input.
    pub input: Payload,
    /// Who gets the outcome; `None` for a signal.
    pub reply_to: Option<ReplyTo>,
    /// The critical section in which the sender has locked the entity.
    pub section: Option<SectionId>,
    /// The operation waits until this time.
    pub due_at: Option<Timestamp>,
}

/// Who gets the outcome of an operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ReplyTo {
    /// A task of an orchestration.
    Task {
        /// The instance that waits.
        instance: InstanceNumber,
        /// Its execution.
        execution: ExecutionNumber,
        /// The task.
        task: TaskId,
    },
    /// A client, under a random number that the host gave to its request.
    Client {
        /// The number of the request.
        request: u64,
    },
    /// A client that sent an idempotency key. The outcome is stored with the key, for repeated requests.
    KeyedClient {
        /// The number of the request, which follows from the key.
        request: u64,
        /// The key.
        key: String,
        /// The fingerprint of the request, which is stored with the key.
        fingerprint: [u8; 32],
    },
}

impl ReplyTo {
    /// The number of a client's request.
    pub fn request(&self) -> Option<u64> {
        match self {
            Self::Task { .. } => None,
            Self::Client { request } | Self::KeyedClient { request, .. } => Some(*request),
        }
    }
}

/// A request to lock entities, one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LockRequest {
    /// The critical section.
    pub section: SectionId,
    /// The id of the instance that holds the locks, for people.
    pub holder: InstanceId,
    /// The entities to lock after this one, in order, each with a module version that contains it.
    pub then: Vec<(EntityId, ModuleNumber)>,
    /// Whether the section was left before this entity was asked for its lock. Then the request locks nothing.
    pub withdrawn: bool,
}

/// A change of an entity's state that an operator asks for. It is applied without the entity's code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StateChange {
    /// The new state; `None` deletes it.
    pub state: Option<Payload>,
    /// The state that it may replace.
    pub replaces: Replaces,
    /// The id of the API key with which the operator asked for it; `None` if the host has no keys.
    pub key: Option<String>,
    /// Who gets the new version, or why the state was not changed.
    pub reply_to: ReplyTo,
}

impl StateChange {
    /// The failure type of a change that found another state than the one that it may replace. No guest sees it.
    pub const CHANGED: &str = "state-changed";
    /// The failure type of a change of an entity that a critical section has locked. No guest sees it.
    pub const LOCKED: &str = "state-locked";
}

/// The state that a change by an operator may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replaces {
    /// Any state, or none.
    Anything,
    /// This version of it.
    Version {
        /// The instance that the entity was: an entity that was deleted begins again with another one, and with its first
        /// version.
        instance: InstanceNumber,
        /// How often the state had changed.
        version: u64,
    },
    /// Only the absence of a state.
    Nothing,
}

/// What is stored of an entity.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct EntityState {
    /// The state; `None` if the entity has none.
    pub state: Option<Payload>,
    /// How often the state has changed.
    pub version: u64,
    /// The critical section that has locked the entity.
    pub lock: Option<EntityLock>,
    /// Critical sections that were left before their requests for the lock arrived.
    pub left_sections: Vec<SectionId>,
    /// The last operation that failed.
    pub last_failure: Option<FailedOperation>,
}

/// The lock of an entity.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EntityLock {
    /// The critical section that holds it.
    pub section: SectionId,
    /// The id of the instance that holds it.
    pub holder: InstanceId,
    /// Since when.
    pub since: Timestamp,
}

/// An operation that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FailedOperation {
    /// When it was applied.
    pub at: Timestamp,
    /// The name of the operation.
    pub operation: String,
    /// Why it failed, abridged.
    pub failure: Failure,
}

impl EntityState {
    /// Whether nothing is known of the entity, as before its first operation.
    pub fn is_empty(&self) -> bool {
        self.state.is_none() && self.lock.is_none() && self.left_sections.is_empty()
    }

    /// Bytes of the state and of the last failure.
    pub fn bytes(&self) -> u64 {
        let failure = self.last_failure.as_ref();
        self.state.as_ref().map_or(0, Payload::bytes) + failure.map_or(0, |failed| failed.failure.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_entity_is_folded_and_its_key_is_exact() {
        let id = EntityId::new("Account", "Ada@Bank").unwrap();
        assert_eq!(id.instance_id().as_str(), "@account@Ada@Bank");
        assert_eq!(EntityId::of(&id.instance_id()), Some(id));
        assert_eq!(EntityId::new("ACCOUNT", "x"), EntityId::new("account", "x"));
        assert_ne!(EntityId::new("account", "X"), EntityId::new("account", "x"));
        assert_eq!(EntityId::new("a", "").unwrap().instance_id().as_str(), "@a@");
    }

    #[test]
    fn names_and_keys_that_do_not_fit_into_an_id_are_refused() {
        let name = |name: &str| EntityId::new(name, "k").map(drop).unwrap_err().to_string();
        assert_eq!(name(""), "the entity name must not be empty");
        assert_eq!(name("a@b"), "the entity name must not contain '@'");
        let key = |key: &str| EntityId::new("n", key).map(drop).unwrap_err().to_string();
        assert_eq!(key("a/b"), "the entity key must not contain '/'");
        assert_eq!(
            key(&"k".repeat(254)),
            "the entity key is 254 bytes long, at most 253 are allowed"
        );
        assert!(EntityId::new("n", &"k".repeat(253)).is_ok());
        assert_eq!(EntityId::of(&"order-1".parse().unwrap()), None);
    }
}
