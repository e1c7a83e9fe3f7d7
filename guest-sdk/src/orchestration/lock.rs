//! [`CriticalSection`]: the locks of entities, and [`LockWait`], the future that acquires them.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use futures::future::FusedFuture;

use crate::backend::TaskId;
use crate::entity::address::EntityId;
use crate::executor::Core;
use crate::failure::Result;

/// Waits until all entities are locked; created by [`Orchestration::lock`](crate::Orchestration::lock). It takes its place
/// in the queues of the entities when it is created, not when it is first awaited.
///
/// # Cancel safety
/// Dropping it withdraws the request, and unlocks what was locked already.
#[must_use = "dropping it withdraws the request at once"]
pub struct LockWait {
    core: Rc<Core>,
    /// `None` once it is over.
    task: Option<TaskId>,
    entities: Vec<EntityId>,
}

impl LockWait {
    pub(crate) fn new(core: &Rc<Core>, entities: Vec<EntityId>) -> Self {
        let task = core.host().lock_entities(&entities);
        core.expect(task);
        Self {
            core: core.clone(),
            task: Some(task),
            entities,
        }
    }
}

impl Future for LockWait {
    type Output = Result<CriticalSection>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<CriticalSection>> {
        let Some(task) = self.task else { return Poll::Pending };
        let outcome = ready!(self.core.poll_task(task, cx));
        self.task = None;
        Poll::Ready(outcome.map(|_| CriticalSection {
            core: self.core.clone(),
            task,
            entities: std::mem::take(&mut self.entities),
        }))
    }
}

impl FusedFuture for LockWait {
    fn is_terminated(&self) -> bool {
        self.task.is_none()
    }
}

impl Drop for LockWait {
    fn drop(&mut self) {
        if let Some(task) = self.task {
            self.core.unlock(task);
        }
    }
}

impl fmt::Debug for LockWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockWait")
            .field("task", &self.task)
            .field("entities", &self.entities)
            .finish_non_exhaustive()
    }
}

/// Entities that this orchestration has locked, from [`Orchestration::lock`](crate::Orchestration::lock). Nobody else's
/// operations are applied to them until it is dropped.
///
/// The entities are unlocked when this is dropped, when the execution ends in any way, and when the instance is
/// terminated. Bind it to a variable that lives as long as needed: `let _ = …` drops it at once.
#[must_use = "the entities are unlocked when this is dropped"]
pub struct CriticalSection {
    core: Rc<Core>,
    task: TaskId,
    entities: Vec<EntityId>,
}

impl CriticalSection {
    /// The locked entities, as they were given.
    pub fn entities(&self) -> &[EntityId] {
        &self.entities
    }

    /// Unlocks the entities; the same as dropping it.
    pub fn unlock(self) {}
}

impl Drop for CriticalSection {
    fn drop(&mut self) {
        self.core.unlock(self.task);
    }
}

impl fmt::Debug for CriticalSection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CriticalSection").field(&self.entities).finish()
    }
}
