//! Deletes the compiled code of modules that are not stored any more.
//!
//! Versions lose their bytes, tenants are deleted, and a crash may come between an upload's compilation and its commit. So
//! nobody who deletes a module deletes its compiled code: from time to time, the files are compared with the stored
//! versions of all tenants. A file that is deleted by mistake is compiled again.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::model::{ModuleDigest, Timestamp};
use crate::sandbox::Sandbox;
use crate::store::{Error, Store};

/// The pause after a comparison, and before the first one.
const PAUSE: Duration = Duration::from_secs(60);

/// How old a file must be: an upload compiles the module first, and stores it after it was described and checked, which
/// takes seconds.
const GRACE: Duration = Duration::from_secs(10 * 60);

/// The number of files to delete in one step. Each may have hundreds of megabytes.
const FILES: usize = 5;

/// The number of versions to read at once.
const VERSIONS: u32 = 1_000;

/// When the next comparison is due.
#[derive(Debug, Default)]
pub(super) struct CompiledCode {
    /// In milliseconds; 0 before the first step.
    due_ms: AtomicU64,
}

impl CompiledCode {
    /// Deletes some files, if a comparison is due. Returns whether there may be more.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn sweep(&self, store: &Store, sandbox: &Sandbox, now: Timestamp) -> Result<bool, Error> {
        let due = self.due_ms.load(Relaxed);
        // Not at once: a start has better things to do.
        if due == 0 || now.0 < due {
            let _ = self.due_ms.compare_exchange(0, now.after(PAUSE).0, Relaxed, Relaxed);
            return Ok(false);
        }
        self.sweep_older_than(GRACE, store, sandbox, now).await
    }

    async fn sweep_older_than(
        &self,
        grace: Duration,
        store: &Store,
        sandbox: &Sandbox,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let kept = stored_versions(store).await?;
        let more = sandbox.discard_others(kept, grace, FILES).await == FILES;
        if !more {
            self.due_ms.store(now.after(PAUSE).0, Relaxed);
        }
        Ok(more)
    }
}

/// The digests of all versions whose bytes are kept.
async fn stored_versions(store: &Store) -> Result<BTreeSet<ModuleDigest>, Error> {
    let (mut digests, mut after) = (BTreeSet::new(), None);
    loop {
        let page = store.kept_digests(after, VERSIONS).await?;
        let Some((last, _)) = page.last() else {
            return Ok(digests);
        };
        after = Some(*last);
        digests.extend(page.into_iter().map(|(_, digest)| digest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{FunctionKind, ModuleDescription, TenantId};
    use crate::sandbox::SandboxOptions;
    use crate::store::{PutModule, StoreOptions};

    const NOW: Timestamp = Timestamp(1_700_000_000_000);

    async fn world(folder: &std::path::Path) -> (Store, Sandbox) {
        let (store, service) = Store::open(&StoreOptions::new(folder)).await.unwrap();
        tokio::spawn(service.run(tokio_util::sync::CancellationToken::new()));
        let sandbox = Sandbox::new(SandboxOptions {
            hot_guests: 1,
            activity_slots: 1,
            ..SandboxOptions::new(folder.join("compiled"))
        });
        (store, sandbox.unwrap())
    }

    async fn put(store: &Store, name: &str, content: u8) {
        let put = PutModule {
            tenant: TenantId::DEFAULT,
            name: name.into(),
            digest: ModuleDigest([content; 32]),
            bytes: vec![content],
            description: ModuleDescription {
                kind: FunctionKind::Activity,
                functions: Vec::new(),
                sdk: String::new(),
                events: Vec::new(),
                entities: Vec::new(),
            },
            compiled_bytes: 1,
            at: NOW,
            by: None,
        };
        store.put_module(put).await.unwrap();
    }

    #[tokio::test]
    async fn compiled_code_goes_with_the_last_version_that_has_it() {
        let folder = tempfile::tempdir().unwrap();
        let (store, sandbox) = world(folder.path()).await;
        let compiled = folder.path().join("compiled");
        // Files of other hosts, which no module needs.
        for file in 0..2 * FILES + 1 {
            std::fs::write(compiled.join(format!("{file}.cwasm")), "").unwrap();
        }
        let left = || std::fs::read_dir(&compiled).unwrap().count();
        put(&store, "stored", 1).await;
        let code = CompiledCode::default();
        let sweep = async |now| {
            code.sweep_older_than(Duration::ZERO, &store, &sandbox, now)
                .await
                .unwrap()
        };
        assert!(sweep(NOW).await);
        assert_eq!(left(), FILES + 2, "the key, and what other steps delete");
        assert!(sweep(NOW).await);
        assert!(!sweep(NOW).await);
        assert_eq!(left(), 1);
        assert_eq!(
            stored_versions(&store).await.unwrap(),
            BTreeSet::from([ModuleDigest([1; 32])])
        );

        let old = Timestamp(NOW.0 + 3_600_000);
        store.delete_module(TenantId::DEFAULT, "stored", NOW).await.unwrap();
        let version = store.next_old_version(None, old).await.unwrap().unwrap();
        assert_eq!(stored_versions(&store).await.unwrap().len(), 1, "its bytes are kept");
        assert!(store.delete_module_bytes(version).await.unwrap());
        assert_eq!(stored_versions(&store).await.unwrap(), BTreeSet::new());
    }

    #[tokio::test]
    async fn files_are_compared_from_time_to_time_and_young_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        let (store, sandbox) = world(folder.path()).await;
        let file = folder.path().join("compiled/left.cwasm");
        std::fs::write(&file, "").unwrap();
        let code = CompiledCode::default();
        let sweep = async |now| assert!(!code.sweep(&store, &sandbox, now).await.unwrap());
        sweep(NOW).await;
        let due = NOW.after(PAUSE);
        sweep(due).await;
        assert!(file.exists(), "it is young");
        let opened = std::fs::File::options().write(true).open(&file).unwrap();
        opened.set_modified(std::time::UNIX_EPOCH).unwrap();
        sweep(due).await;
        assert!(file.exists(), "nothing is due");
        sweep(due.after(PAUSE)).await;
        assert!(!file.exists());
    }
}
