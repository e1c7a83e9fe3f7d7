//! Tests of the sandbox with components built from WebAssembly text, one small guest for each behaviour.

mod activities;
mod connections;
mod entities;
mod fuel;
mod grants;
mod guests;
mod hostile;
mod orchestrators;
mod requests;
mod uploads;

use std::time::Duration;

use bytes::Bytes;

use super::{DescribeLimits, Sandbox, SandboxOptions};
use crate::grants::ActivityLimits;
use crate::memory::{Held, Pool};
use crate::model::TenantId;

/// A sandbox with low limits, and its folder.
pub(super) struct TestSandbox {
    pub(super) sandbox: Sandbox,
    _folder: tempfile::TempDir,
}

pub(super) fn sandbox() -> TestSandbox {
    sandbox_with(|_| {})
}

fn sandbox_with(change: impl FnOnce(&mut SandboxOptions)) -> TestSandbox {
    let folder = tempfile::tempdir().unwrap();
    let mut options = SandboxOptions {
        hot_guests: 4,
        activity_slots: 4,
        turn_fuel: 10_000_000,
        max_module_bytes: 1 << 20,
        orchestrator_memory_bytes: 4 << 20,
        activity: ActivityLimits {
            fuel: 10_000_000_000,
            memory_bytes: 4 << 20,
            timeout: Duration::from_secs(30),
            ..ActivityLimits::default()
        },
        describe: DescribeLimits {
            fuel: 10_000_000,
            memory_bytes: 4 << 20,
            ..DescribeLimits::default()
        },
        ..SandboxOptions::new(folder.path().join("cache"))
    };
    change(&mut options);
    TestSandbox {
        sandbox: Sandbox::new(options).unwrap(),
        _folder: folder,
    }
}

/// Memory for a guest, from a budget of its own.
pub(super) fn memory() -> Held {
    Pool::new(1 << 30).take_beyond_limit(TenantId::DEFAULT, 0)
}

impl TestSandbox {
    /// The size of all compiled modules in bytes.
    fn artefact_bytes(&self) -> u64 {
        let files = std::fs::read_dir(&self.sandbox.options().cache_dir).unwrap();
        let files = files.map(|file| file.unwrap()).filter(|file| file.file_name() != "key");
        files.map(|file| file.metadata().unwrap().len()).sum()
    }

    /// Inspects a component like an upload, and loads it like a call.
    async fn module(&self, component: Vec<u8>) -> super::Module {
        let bytes = Bytes::from(component);
        let inspected = self.sandbox.inspect(bytes.clone()).await.unwrap();
        let load = self
            .sandbox
            .load(inspected.digest, inspected.description.kind, || async move {
                Err::<Bytes, _>(std::io::Error::other(
                    "not called: the module is in the cache after the upload",
                ))
            });
        load.await.unwrap()
    }
}
