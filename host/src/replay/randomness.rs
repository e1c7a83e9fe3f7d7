//! All randomness of an execution, derived from a seed of 32 bytes that is drawn when it starts.
//!
//! The generator is ChaCha20 (RFC 8439 block function, 64-bit counter). Each use has its own stream, so that a guest
//! which draws one more byte does not change the ids of its children. An instance that is purged and started again has a
//! new seed, and so new idempotency keys.

use rand_chacha::{
    ChaCha20Rng,
    rand_core::{Rng, SeedableRng},
};
use uuid::{Builder, Uuid};

use crate::model::TaskId;

/// The stream that `wasi:random` reads.
const STREAM_BYTES: u64 = 0;
/// The stream of new UUIDs.
const STREAM_UUIDS: u64 = 1;
/// The stream of ids for detached starts.
const STREAM_DETACHED: u64 = 2;
/// Plus the task's number: the stream of its child id.
const STREAM_CHILD: u64 = 1 << 32;
/// Plus the task's number: the stream of its idempotency key.
const STREAM_KEY: u64 = 2 << 32;

/// The random streams of one execution.
#[derive(Debug, Clone)]
pub struct Randomness {
    seed: [u8; 32],
    bytes: ChaCha20Rng,
    uuids: ChaCha20Rng,
    detached: ChaCha20Rng,
}

fn stream(seed: [u8; 32], number: u64) -> ChaCha20Rng {
    let mut stream = ChaCha20Rng::from_seed(seed);
    stream.set_stream(number);
    stream
}

fn uuid(stream: &mut ChaCha20Rng) -> Uuid {
    let mut bytes = [0; 16];
    stream.fill_bytes(&mut bytes);
    Builder::from_random_bytes(bytes).into_uuid()
}

impl Randomness {
    /// All streams at their beginning.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            seed,
            bytes: stream(seed, STREAM_BYTES),
            uuids: stream(seed, STREAM_UUIDS),
            detached: stream(seed, STREAM_DETACHED),
        }
    }

    /// The next bytes for the guest.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        self.bytes.fill_bytes(buffer);
    }

    /// The next UUID (version 4) for the guest.
    pub fn uuid(&mut self) -> Uuid {
        uuid(&mut self.uuids)
    }

    /// The next id for a detached start without one.
    pub fn detached_id(&mut self) -> Uuid {
        uuid(&mut self.detached)
    }

    /// The id for the child of a task without one.
    pub fn child_id(&self, task: TaskId) -> Uuid {
        uuid(&mut stream(self.seed, STREAM_CHILD + u64::from(task.0)))
    }
}

/// The idempotency key of an activity call: the same for all its attempts and re-runs, different for every other call.
pub fn idempotency_key(seed: [u8; 32], task: TaskId) -> Uuid {
    uuid(&mut stream(seed, STREAM_KEY + u64::from(task.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_streams_are_fixed_for_ever() {
        // A change here breaks the replay of running executions.
        let seed = std::array::from_fn(|i| u8::try_from(i).unwrap());
        let mut randomness = Randomness::new(seed);
        let mut bytes = [0; 8];
        randomness.fill(&mut bytes);
        let drawn = format!(
            "{bytes:02x?} {} {} {} {}",
            randomness.uuid(),
            randomness.detached_id(),
            randomness.child_id(TaskId(1)),
            idempotency_key(seed, TaskId(1)),
        );
        expect_test::expect!["[39, fd, 2b, 7d, d9, c5, 19, 6a] 2fa4f102-5080-4e89-a252-31e50fdf6ee0 54b275d1-4c65-4817-8ac3-a499cf3e8406 ed0c5f33-618f-4173-acb7-cd2f12aa1144 da8d0fb7-d99b-47ac-853f-ef4b90ca2ea7"].assert_eq(&drawn);
    }
}
