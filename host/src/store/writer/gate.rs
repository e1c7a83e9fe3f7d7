//! Through the gate, the checkpointer slows the writer down, or pauses it.

use std::sync::Arc;

use tokio::sync::{Mutex, MutexGuard, watch};

/// The gate between the writer and the checkpointer. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct WriteGate(Arc<Gate>);

#[derive(Debug, Default)]
struct Gate {
    /// Held while a batch is written, and while the writer is paused.
    writing: Mutex<()>,
    only_small: watch::Sender<bool>,
}

/// While it exists, the writer writes only small operations; the others wait.
#[derive(Debug)]
pub(in crate::store) struct OnlySmall(WriteGate);

impl WriteGate {
    /// Waits until nothing is being written. Nothing is written until the guard is dropped.
    pub(in crate::store) async fn pass(&self) -> MutexGuard<'_, ()> {
        self.0.writing.lock().await
    }

    /// Lets only small operations pass until the guard is dropped. There may be one guard at a time.
    pub(in crate::store) fn only_small(&self) -> OnlySmall {
        self.0.only_small.send_replace(true);
        OnlySmall(self.clone())
    }

    /// Whether only small operations may pass.
    pub(super) fn is_for_small(&self) -> bool {
        *self.0.only_small.borrow()
    }

    /// Waits until operations of every size may pass.
    pub(super) async fn open_for_all(&self) {
        let mut only_small = self.0.only_small.subscribe();
        let _ = only_small.wait_for(|only_small| !only_small).await;
    }
}

impl Drop for OnlySmall {
    fn drop(&mut self) {
        self.0.0.only_small.send_replace(false);
    }
}
