//! All randomness of the simulation, from one seed.

/// A stream of random numbers (SplitMix64: tiny, fast, and good enough to shuffle tests with).
#[derive(Debug, Clone)]
pub(super) struct Rng(u64);

impl Rng {
    /// The stream for one purpose. Drawing more numbers for one purpose does not affect the others.
    pub(super) fn new(seed: u64, purpose: &str) -> Self {
        Self(hash(seed, purpose.as_bytes()))
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mix(self.0)
    }

    /// A number below `bound`.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// Returns true with this chance, in thousandths.
    pub(super) fn per_mille(&mut self, chance: u64) -> bool {
        chance > 0 && self.below(1_000) < chance
    }

    pub(super) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        let at = usize::try_from(self.below(from.len() as u64)).expect("an index");
        &from[at]
    }
}

/// A hash of all bytes.
pub(super) fn hash(seed: u64, bytes: &[u8]) -> u64 {
    let start = mix(seed ^ 0xCBF2_9CE4_8422_2325);
    mix(bytes.iter().fold(start, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
    }))
}

fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
