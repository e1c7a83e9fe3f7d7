//! Inputs similar to seeds: a seed after a few edits, or a combination of two.

use proptest::prelude::*;
use proptest::sample::Index;

/// Maximum number of edits to one seed. With few edits most of the seed remains, so that the parser gets far.
const MAX_EDITS: usize = 6;
/// Maximum length of a piece that is inserted, removed or repeated, in bytes.
const MAX_PIECE_BYTES: usize = 64;
/// Maximum number of repetitions of a piece: enough for nesting that exhausts a stack.
const MAX_REPEATS: usize = 500;

/// Boundary values of formats: lengths that overflow, as little-endian and as variable-length integers.
const NUMBERS: [&[u8]; 9] = [
    &[0x00],
    &[0x7f],
    &[0x80, 0x01],
    &[0xff, 0xff, 0x03],
    &[0xff, 0xff, 0xff, 0xff, 0x0f],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0xff, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0x00, 0x00, 0x00, 0x80],
];

/// One edit.
#[derive(Debug, Clone)]
enum Edit {
    /// Flips a bit.
    Flip { at: Index, bit: u8 },
    /// Overwrites bytes.
    Overwrite { at: Index, piece: Piece },
    /// Inserts bytes.
    Insert { at: Index, piece: Piece },
    /// Removes bytes.
    Remove { at: Index, length: usize },
    /// Repeats bytes.
    Repeat { at: Index, length: usize, times: usize },
    /// Truncates the input.
    Cut { at: Index },
    /// Continues with the rest of another seed.
    GoOnAs { at: Index, other: Index, from: Index },
}

/// Bytes to insert.
#[derive(Debug, Clone)]
enum Piece {
    /// Arbitrary bytes.
    Any(Vec<u8>),
    /// One of [`NUMBERS`].
    Number(Index),
    /// A token of the format.
    Word(Index),
    /// A piece of another seed.
    Of(Index, Index, usize),
}

/// Generates inputs similar to these seeds.
pub(crate) fn near(seeds: Vec<Vec<u8>>, words: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    assert!(!seeds.is_empty(), "there is at least one seed");
    let edits = prop::collection::vec(edit(), 1..=MAX_EDITS);
    (any::<Index>(), edits).prop_map(move |(seed, edits)| {
        let mut bytes = seed.get(&seeds).clone();
        for edit in edits {
            edit.apply(&mut bytes, &seeds, &words);
        }
        bytes
    })
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        3 => (at(), 0..8_u8).prop_map(|(at, bit)| Edit::Flip { at, bit }),
        3 => (at(), piece()).prop_map(|(at, piece)| Edit::Overwrite { at, piece }),
        3 => (at(), piece()).prop_map(|(at, piece)| Edit::Insert { at, piece }),
        2 => (at(), 1..MAX_PIECE_BYTES).prop_map(|(at, length)| Edit::Remove { at, length }),
        2 => (at(), 1..MAX_PIECE_BYTES, 1..MAX_REPEATS).prop_map(|(at, length, times)| Edit::Repeat { at, length, times }),
        1 => at().prop_map(|at| Edit::Cut { at }),
        1 => (at(), at(), at()).prop_map(|(at, other, from)| Edit::GoOnAs { at, other, from }),
    ]
}

fn piece() -> impl Strategy<Value = Piece> {
    let at = any::<Index>;
    prop_oneof![
        prop::collection::vec(any::<u8>(), 1..8).prop_map(Piece::Any),
        at().prop_map(Piece::Number),
        at().prop_map(Piece::Word),
        (at(), at(), 1..MAX_PIECE_BYTES).prop_map(|(seed, from, length)| Piece::Of(seed, from, length)),
    ]
}

impl Edit {
    fn apply(self, bytes: &mut Vec<u8>, seeds: &[Vec<u8>], words: &[Vec<u8>]) {
        let place = |at: Index, bytes: &[u8]| at.index(bytes.len() + 1);
        let end = |from: usize, length: usize, bytes: &[u8]| (from + length).min(bytes.len());
        match self {
            Self::Flip { at, bit } => {
                let at = place(at, bytes);
                bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1 << bit);
            }
            Self::Overwrite { at, piece } => {
                let (at, piece) = (place(at, bytes), piece.bytes(seeds, words));
                bytes.splice(at..end(at, piece.len(), bytes), piece);
            }
            Self::Insert { at, piece } => {
                let at = place(at, bytes);
                bytes.splice(at..at, piece.bytes(seeds, words));
            }
            Self::Remove { at, length } => {
                let at = place(at, bytes);
                bytes.drain(at..end(at, length, bytes));
            }
            Self::Repeat { at, length, times } => {
                let at = place(at, bytes);
                let again = bytes[at..end(at, length, bytes)].repeat(times);
                bytes.splice(at..at, again);
            }
            Self::Cut { at } => bytes.truncate(place(at, bytes)),
            Self::GoOnAs { at, other, from } => {
                let other = other.get(seeds);
                bytes.truncate(place(at, bytes));
                bytes.extend_from_slice(&other[place(from, other)..]);
            }
        }
    }
}

impl Piece {
    fn bytes(self, seeds: &[Vec<u8>], words: &[Vec<u8>]) -> Vec<u8> {
        match self {
            Self::Any(bytes) => bytes,
            Self::Word(word) if !words.is_empty() => word.get(words).clone(),
            Self::Word(number) | Self::Number(number) => number.get(&NUMBERS).to_vec(),
            Self::Of(seed, from, length) => {
                let seed = seed.get(seeds);
                let from = from.index(seed.len() + 1);
                seed[from..(from + length).min(seed.len())].to_vec()
            }
        }
    }
}
