//! Which entity is meant: [`EntityRef`] with its type, [`EntityId`] by name, and sets of them for locks.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::signature::{EntityClients, EntitySignature, Untyped};

/// The name and key of an entity, for code that does not know its type.
///
/// Letter case does not matter in the name; the key is exact.
///
/// ```
/// use windlass_sdk::EntityId;
///
/// let id = EntityId::new("Account", "Ada");
/// assert_eq!(id, EntityId::new("account", "Ada"));
/// assert_ne!(id, EntityId::new("Account", "ada"));
/// assert_eq!(id.to_string(), "@account@Ada");
/// ```
#[derive(Clone, Serialize, Deserialize, JsonSchema)]
pub struct EntityId {
    name: String,
    key: String,
}

impl EntityId {
    /// The entity with that name and key. The host checks them where they are used: a name has at most 200 bytes, name
    /// and key together at most 254, the name is not empty, and neither has control characters or one of `/ \ ? #`; a
    /// name has no `@`.
    pub fn new(name: impl Into<String>, key: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            key: key.into(),
        }
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What makes two ids equal.
    pub(crate) fn folded(&self) -> (String, &str) {
        (self.name.to_lowercase(), &self.key)
    }
}

/// The id as the host shows it, for example `@account@ada`.
impl fmt::Display for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}@{}", self.name.to_lowercase(), self.key)
    }
}

impl fmt::Debug for EntityId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{}@{}", self.name, self.key)
    }
}

impl PartialEq for EntityId {
    fn eq(&self, other: &Self) -> bool {
        self.folded() == other.folded()
    }
}

impl Eq for EntityId {}

impl PartialOrd for EntityId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for EntityId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.folded().cmp(&other.folded())
    }
}

impl Hash for EntityId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.folded().hash(state);
    }
}

/// An entity of the type `E`, made by `E::at(key)`: `Account::at("ada")`.
///
/// It is only an address. The entity comes into being with its first operation.
pub struct EntityRef<E> {
    key: String,
    entity: PhantomData<fn() -> E>,
}

impl<E: EntitySignature> EntityRef<E> {
    /// The entity with that key.
    pub fn new(key: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            entity: PhantomData,
        }
    }

    /// The key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// The name and key.
    pub fn id(&self) -> EntityId {
        EntityId::new(E::NAME, self.key.as_str())
    }
}

impl<E> Clone for EntityRef<E> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            entity: PhantomData,
        }
    }
}

impl<E> PartialEq for EntityRef<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for EntityRef<E> {}

impl<E: EntitySignature> fmt::Debug for EntityRef<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id().fmt(f)
    }
}

impl<E: EntitySignature> From<EntityRef<E>> for EntityId {
    fn from(entity: EntityRef<E>) -> Self {
        Self::new(E::NAME, entity.key)
    }
}

impl<E: EntitySignature> From<&EntityRef<E>> for EntityId {
    fn from(entity: &EntityRef<E>) -> Self {
        entity.id()
    }
}

impl From<&EntityId> for EntityId {
    fn from(id: &EntityId) -> Self {
        id.clone()
    }
}

/// Which entity to call or signal: an [`EntityRef`], whose operations the compiler checks, or an [`EntityId`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which entity is meant",
    label = "expected an entity",
    note = "write `Account::at(\"ada\")`, or `EntityId::new(\"Account\", \"ada\")` without its type"
)]
pub trait EntityAddress {
    /// The type that has the operations.
    type Entity: EntityClients;

    /// The name and key.
    fn into_id(self) -> EntityId;
}

impl<E: EntitySignature> EntityAddress for EntityRef<E> {
    type Entity = E;

    fn into_id(self) -> EntityId {
        self.into()
    }
}

impl<E: EntitySignature> EntityAddress for &EntityRef<E> {
    type Entity = E;

    fn into_id(self) -> EntityId {
        self.id()
    }
}

impl EntityAddress for EntityId {
    type Entity = Untyped;

    fn into_id(self) -> EntityId {
        self
    }
}

impl EntityAddress for &EntityId {
    type Entity = Untyped;

    fn into_id(self) -> EntityId {
        self.clone()
    }
}

/// The entities of a critical section: one, an array, slice or `Vec` of one type, or a tuple of up to eight of any
/// types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of entities",
    label = "expected entities",
    note = "write `[Account::at(\"ada\"), Account::at(\"bob\")]`, or a tuple if their types differ"
)]
pub trait EntitySet {
    /// The names and keys.
    fn into_ids(self) -> Vec<EntityId>;
}

impl<E: EntitySignature> EntitySet for EntityRef<E> {
    fn into_ids(self) -> Vec<EntityId> {
        vec![self.into()]
    }
}

impl EntitySet for EntityId {
    fn into_ids(self) -> Vec<EntityId> {
        vec![self]
    }
}

impl<T: Into<EntityId>, const N: usize> EntitySet for [T; N] {
    fn into_ids(self) -> Vec<EntityId> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<T: Into<EntityId>> EntitySet for Vec<T> {
    fn into_ids(self) -> Vec<EntityId> {
        self.into_iter().map(Into::into).collect()
    }
}

impl<'a, T> EntitySet for &'a [T]
where
    EntityId: From<&'a T>,
{
    fn into_ids(self) -> Vec<EntityId> {
        self.iter().map(EntityId::from).collect()
    }
}

impl<'a, T> EntitySet for &'a Vec<T>
where
    EntityId: From<&'a T>,
{
    fn into_ids(self) -> Vec<EntityId> {
        self.iter().map(EntityId::from).collect()
    }
}

/// Implements [`EntitySet`] for tuples of these lengths.
macro_rules! sets_of_tuples {
    ($($($entity:ident)+;)+) => {$(
        impl<$($entity: Into<EntityId>),+> EntitySet for ($($entity,)+) {
            fn into_ids(self) -> Vec<EntityId> {
                #[expect(non_snake_case, reason = "a value has the name of its type parameter")]
                let ($($entity,)+) = self;
                vec![$($entity.into()),+]
            }
        }
    )+};
}

sets_of_tuples! {
    A;
    A B;
    A B C;
    A B C D;
    A B C D E;
    A B C D E F;
    A B C D E F G;
    A B C D E F G H;
}
