//! Stores the heartbeats of one attempt, at a bounded rate.
//!
//! The guest does not wait for the store. The first heartbeat is stored at once; of those that come within
//! [`INTERVAL`] after a stored one, the last is stored when the interval is over. What is not stored when the attempt
//! fails is stored before its failure.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::engine::environment::Environment;
use crate::model::{ExecutionNumber, InstanceNumber, Payload, TaskId};
use crate::sandbox::Heartbeats;
use crate::store::{Error as StoreError, Heartbeat};

/// The shortest time between two heartbeats of an attempt that are stored.
const INTERVAL: Duration = Duration::from_secs(1);

/// The heartbeats of one attempt. Cheap to clone.
#[derive(Clone)]
pub(super) struct StoredHeartbeats(Arc<Inner>);

struct Inner {
    environment: Arc<Environment>,
    instance: InstanceNumber,
    execution: ExecutionNumber,
    task: TaskId,
    state: Mutex<State>,
    /// Held while a heartbeat is written, so that an older one never replaces a newer one.
    writing: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// The last details, if they are not stored yet.
    unwritten: Option<Payload>,
    /// Whether a task writes what is unwritten.
    is_writing: bool,
    /// Whether a heartbeat of this attempt is stored.
    is_stored: bool,
    /// Whether the attempt is over.
    is_over: bool,
}

impl StoredHeartbeats {
    pub(super) fn new(
        environment: Arc<Environment>,
        instance: InstanceNumber,
        execution: ExecutionNumber,
        task: TaskId,
    ) -> Self {
        Self(Arc::new(Inner {
            environment,
            instance,
            execution,
            task,
            state: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
        }))
    }

    /// Ends the attempt. With `keep`, stores the last heartbeat if it is not stored yet; otherwise no attempt will ask for
    /// it. Returns whether a heartbeat of this attempt is stored.
    pub(super) async fn finish(&self, keep: bool) -> bool {
        {
            let mut state = self.lock();
            state.is_over = true;
            if !keep {
                state.unwritten = None;
            }
        }
        self.write().await;
        self.lock().is_stored
    }

    /// Writes what is unwritten, again and again, until there is nothing for a whole interval.
    async fn write_regularly(self) {
        loop {
            self.write().await;
            let shutdown = &self.0.environment.shutdown;
            let next = tokio::time::sleep(INTERVAL);
            let ends = shutdown.run_until_cancelled(next).await.is_none();
            let mut state = self.lock();
            if ends || state.unwritten.is_none() || state.is_over {
                state.is_writing = false;
                return;
            }
        }
    }

    /// Writes the last heartbeat if it is not stored yet. If the store fails, it is lost.
    async fn write(&self) {
        let Inner {
            environment,
            instance,
            execution,
            task,
            ..
        } = &*self.0;
        let _writing = self.0.writing.lock().await;
        let Some(details) = self.lock().unwritten.take() else {
            return;
        };
        let heartbeat = Heartbeat {
            execution: *execution,
            task: *task,
            details,
            at: environment.clock.now(),
        };
        match environment.store.note_heartbeat(*instance, heartbeat).await {
            Ok(stored) => self.lock().is_stored |= stored,
            Err(StoreError::Closed | StoreError::NotOwner) => {}
            Err(error) => {
                tracing::warn!(instance = instance.0, task = task.0, %error, "a heartbeat could not be stored")
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heartbeats for StoredHeartbeats {
    fn beat(&self, details: Payload) {
        let mut state = self.lock();
        state.unwritten = Some(details);
        if !state.is_writing && !state.is_over {
            state.is_writing = true;
            let environment = &self.0.environment;
            let work = self.clone().write_regularly();
            environment.tracker.spawn_on(work, &environment.runtime);
        }
    }
}
