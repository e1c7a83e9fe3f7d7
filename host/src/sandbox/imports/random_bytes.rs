//! `wasi:random/{random,insecure,insecure-seed}`: all draw from the execution's seeded stream, so replay returns the same
//! bytes.

use wasmtime::{Result, bail};

use crate::sandbox::{
    bindings::orchestrator::wasi::random::{insecure, insecure_seed, random},
    state::OrchestratorState,
};

/// Maximum bytes of one call. A guest that needs more calls again, which costs fuel.
const MAX_BYTES: u64 = 1 << 20;

impl OrchestratorState {
    fn random_bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        let Some(count) = usize::try_from(count).ok().filter(|_| count <= MAX_BYTES) else {
            bail!("{count} random bytes were requested at once, at most {MAX_BYTES} are allowed");
        };
        let mut bytes = vec![0; count];
        self.fill_random(&mut bytes)?;
        Ok(bytes)
    }

    fn random_u64(&mut self) -> Result<u64> {
        let mut bytes = [0; 8];
        self.fill_random(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }
}

impl random::Host for OrchestratorState {
    fn get_random_bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        self.random_bytes(count)
    }

    fn get_random_u64(&mut self) -> Result<u64> {
        self.random_u64()
    }
}

impl insecure::Host for OrchestratorState {
    fn get_insecure_random_bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        self.random_bytes(count)
    }

    fn get_insecure_random_u64(&mut self) -> Result<u64> {
        self.random_u64()
    }
}

impl insecure_seed::Host for OrchestratorState {
    fn insecure_seed(&mut self) -> Result<(u64, u64)> {
        Ok((self.random_u64()?, self.random_u64()?))
    }
}
