//! The rewinds of an execution: which of its turns later ones supersede.

use serde::{Deserialize, Serialize};

use super::{
    InboxSeq, TurnNumber,
    codec::{CodecError, body_of},
    ids::ExecutionNumber,
};

/// How often one execution can be rewound. Bounds what is read with each instance.
pub const MAX_REWINDS: usize = 100;

/// The rewinds of one execution, the oldest first. A reader of the history must know them before it reads the turns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rewinds {
    /// The execution that was rewound. They say nothing about another one.
    pub execution: ExecutionNumber,
    /// The rewinds. Each begins after the row of the one before it.
    pub points: Vec<RewindPoint>,
    /// The newest message that was stored when the last rewind became durable: failures up to it are void. The store sets
    /// it; 0 if the rewind was written by a host that did not.
    pub until: InboxSeq,
}

/// The first version of [`Rewinds`].
#[derive(Deserialize)]
struct RewindsV1 {
    execution: ExecutionNumber,
    points: Vec<RewindPoint>,
}

/// One rewind: the execution continues after the turn before `from`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RewindPoint {
    /// The first turn that is superseded. The last one is the turn before `row`.
    pub from: TurnNumber,
    /// The row that records the rewind.
    pub row: TurnNumber,
}

impl Rewinds {
    /// An execution that was never rewound.
    pub fn none(execution: ExecutionNumber) -> Self {
        Self {
            execution,
            points: Vec::new(),
            until: InboxSeq(0),
        }
    }

    /// Reads the first version of the stored format.
    pub(super) fn read_v1(body: &[u8]) -> Result<Self, CodecError> {
        let RewindsV1 { execution, points } = body_of(body)?;
        Ok(Self {
            points,
            ..Self::none(execution)
        })
    }

    /// The rewinds that concern this execution, out of those that are stored for its instance.
    #[must_use]
    pub fn of(stored: Option<Self>, execution: ExecutionNumber) -> Self {
        let of_this = stored.filter(|rewinds| rewinds.execution == execution);
        of_this.unwrap_or_else(|| Self::none(execution))
    }

    /// The same with one more rewind.
    #[must_use]
    pub fn with(mut self, point: RewindPoint) -> Self {
        self.points.push(point);
        self
    }

    /// Whether the execution cannot be rewound again.
    pub fn is_full(&self) -> bool {
        self.points.len() >= MAX_REWINDS
    }

    /// Whether a rewind supersedes the turn.
    pub fn supersede(&self, turn: TurnNumber) -> bool {
        self.next_at(turn)
            .is_some_and(|point| point.from <= turn && turn < point.row)
    }

    /// The first turn that this turn supersedes, if it is the row of a rewind.
    pub fn from(&self, turn: TurnNumber) -> Option<TurnNumber> {
        let point = self.next_at(turn).filter(|point| point.row == turn)?;
        Some(point.from)
    }

    /// The first rewind whose row is this turn or a later one.
    fn next_at(&self, turn: TurnNumber) -> Option<&RewindPoint> {
        self.points.get(self.points.partition_point(|point| point.row < turn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(from: u32, row: u32) -> RewindPoint {
        RewindPoint {
            from: TurnNumber(from),
            row: TurnNumber(row),
        }
    }

    #[test]
    fn rewinds_supersede_the_turns_from_their_beginning_to_their_row() {
        let rewinds = Rewinds::none(ExecutionNumber(3)).with(point(2, 5)).with(point(7, 8));
        let superseded: Vec<u32> = (1..=10).filter(|turn| rewinds.supersede(TurnNumber(*turn))).collect();
        assert_eq!(superseded, [2, 3, 4, 7]);
        let rows: Vec<(u32, u32)> = (1..=10)
            .filter_map(|turn| Some((turn, rewinds.from(TurnNumber(turn))?.0)))
            .collect();
        assert_eq!(rows, [(5, 2), (8, 7)]);
    }

    #[test]
    fn rewinds_of_another_execution_are_left_out() {
        let stored = Rewinds::none(ExecutionNumber(3)).with(point(1, 2));
        assert_eq!(Rewinds::of(Some(stored.clone()), ExecutionNumber(3)), stored);
        assert!(Rewinds::of(Some(stored), ExecutionNumber(4)).points.is_empty());
    }
}
