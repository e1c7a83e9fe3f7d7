//! The format of values on disk: one byte with the version of the type's format, then the value in the Postcard wire
//! format.
//!
//! Postcard's format is specified (<https://postcard.jamesmunns.com/wire-format>): variable-length integers, fields in
//! order, enum variants by position. A new variant at the end of an enum leaves all stored values readable. Any other
//! change of a stored type is a new version of its format:
//!
//! 1. keep the old type under another name, for example `TurnV1`, with a function that converts it to the current type;
//! 2. increment [`Stored::VERSION`] and read the old version in [`Stored::read_older`];
//! 3. add golden files for the new version; those of older versions stay unchanged.
//!
//! Golden files (`host/src/model/golden/`) hold the bytes of every version that was ever written, beside the values
//! they decode to. The tests decode all of them.

#[cfg(test)]
mod golden;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{
    Arrival, Decision, EntityDescription, EntityState, EventDescription, Failure, InboxItem, ModuleDescription,
    Outcome, Parent, Rewinds, ScheduleState, StuckReason, Timestamp, Turn, TurnNumber, schedule::StoredSchedule,
};

/// A type whose values are stored separately, in a versioned format.
pub trait Stored: Serialize + DeserializeOwned {
    /// The name of the type in messages, and the folder of its golden files.
    const NAME: &'static str;

    /// The version that is written, from 1.
    const VERSION: u8 = 1;

    /// Reads a value of an older version.
    ///
    /// # Errors
    /// If there was no such version, or the bytes are damaged.
    fn read_older(version: u8, body: &[u8]) -> Result<Self, CodecError> {
        let _ = body;
        Err(CodecError::Version {
            name: Self::NAME,
            found: version,
            known: Self::VERSION,
        })
    }
}

impl Stored for Turn {
    const NAME: &'static str = "turn";
}

impl Stored for InboxItem {
    const NAME: &'static str = "message";
}

impl Stored for Failure {
    const NAME: &'static str = "failure";
}

impl Stored for ModuleDescription {
    const NAME: &'static str = "module";
}

/// The events that the orchestrations of a module declare.
impl Stored for Vec<EventDescription> {
    const NAME: &'static str = "declared-events";
}

/// The entities of a module with their operations.
impl Stored for Vec<EntityDescription> {
    const NAME: &'static str = "declared-entities";
}

impl Stored for EntityState {
    const NAME: &'static str = "entity";
}

impl Stored for StoredSchedule {
    const NAME: &'static str = "schedule";
}

impl Stored for ScheduleState {
    const NAME: &'static str = "schedule-state";
}

impl Stored for Parent {
    const NAME: &'static str = "parent";
}

impl Stored for Rewinds {
    const NAME: &'static str = "rewinds";
    const VERSION: u8 = 2;

    fn read_older(version: u8, body: &[u8]) -> Result<Self, CodecError> {
        match version {
            1 => Self::read_v1(body),
            found => Err(CodecError::Version {
                name: Self::NAME,
                found,
                known: Self::VERSION,
            }),
        }
    }
}

impl Stored for StuckReason {
    const NAME: &'static str = "stuck";
}

/// The answer to a client's call to an entity.
impl Stored for Outcome {
    const NAME: &'static str = "answer";
}

/// Why bytes could not be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// There are no bytes.
    #[error("the row is empty")]
    Empty,
    /// The bytes were written by a newer host, or are damaged.
    #[error("the row has version {found} of the format of a {name}, this host knows versions up to {known}")]
    Version {
        /// The name of the stored type.
        name: &'static str,
        /// The version in the row.
        found: u8,
        /// The newest version that this host reads.
        known: u8,
    },
    /// The bytes are damaged.
    #[error("the row is damaged: {0}")]
    Damaged(postcard::Error),
    /// The bytes are damaged: more bytes follow the value.
    #[error("the row is damaged: {0} bytes follow its value")]
    Trailing(usize),
}

/// Encodes a value in the current version.
///
/// # Panics
/// Never for the types of [`model`](super): Postcard rejects only sequences of unknown length.
pub fn encode<T: Stored>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![T::VERSION]).expect("every stored type can be encoded")
}

/// Decodes a value of any version.
///
/// # Errors
/// If the bytes were not written by [`encode`] of a version that this host knows.
pub fn decode<T: Stored>(bytes: &[u8]) -> Result<T, CodecError> {
    let (version, body) = bytes.split_first().ok_or(CodecError::Empty)?;
    if *version == T::VERSION {
        body_of(body)
    } else {
        T::read_older(*version, body)
    }
}

/// Decodes only the first arrival of a turn; `None` if it has none. A turn may have many megabytes of other content.
///
/// # Errors
/// If the beginning of the bytes was not written by [`encode`] of a version that this host knows.
pub fn first_arrival(turn: &[u8]) -> Result<Option<Arrival>, CodecError> {
    let (version, body) = turn.split_first().ok_or(CodecError::Empty)?;
    if *version != Turn::VERSION {
        return Turn::read_older(*version, body).map(|turn| turn.arrivals.into_iter().next());
    }
    // The first fields of a turn, and the length of its list of arrivals.
    let begin = postcard::take_from_bytes::<(TurnNumber, Timestamp, usize)>(body);
    let ((_, _, arrivals), rest) = begin.map_err(CodecError::Damaged)?;
    if arrivals == 0 {
        return Ok(None);
    }
    let first = postcard::take_from_bytes::<Arrival>(rest);
    first.map(|(first, _)| Some(first)).map_err(CodecError::Damaged)
}

/// Decodes the arrivals and decisions of an encoded turn one after the other, so that only one of them is in memory.
///
/// # Errors
/// If the bytes were not written by [`encode`] of a version that this host knows. Entries before the damage were visited.
pub fn visit_turn(
    turn: &[u8],
    mut arrival: impl FnMut(Arrival),
    mut decision: impl FnMut(Decision),
) -> Result<(), CodecError> {
    let (version, body) = turn.split_first().ok_or(CodecError::Empty)?;
    if *version != Turn::VERSION {
        let turn = Turn::read_older(*version, body)?;
        turn.arrivals.into_iter().for_each(arrival);
        turn.decisions.into_iter().for_each(decision);
        return Ok(());
    }
    let (_, mut rest) = take::<(TurnNumber, Timestamp)>(body)?;
    for _ in 0..take_into::<usize>(&mut rest)? {
        arrival(take_into(&mut rest)?);
    }
    for _ in 0..take_into::<usize>(&mut rest)? {
        decision(take_into(&mut rest)?);
    }
    take_into::<u64>(&mut rest)?;
    match rest.len() {
        0 => Ok(()),
        trailing => Err(CodecError::Trailing(trailing)),
    }
}

fn take<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<(T, &'a [u8]), CodecError> {
    postcard::take_from_bytes(bytes).map_err(CodecError::Damaged)
}

fn take_into<'a, T: Deserialize<'a>>(rest: &mut &'a [u8]) -> Result<T, CodecError> {
    let (value, left) = take(rest)?;
    *rest = left;
    Ok(value)
}

/// Decodes the body after the version byte, completely. Used in [`Stored::read_older`] with the type of that version.
///
/// # Errors
/// If the bytes are damaged.
pub fn body_of<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, CodecError> {
    let (value, rest) = postcard::take_from_bytes(body).map_err(CodecError::Damaged)?;
    if rest.is_empty() {
        Ok(value)
    } else {
        Err(CodecError::Trailing(rest.len()))
    }
}
