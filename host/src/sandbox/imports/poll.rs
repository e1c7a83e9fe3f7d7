//! `wasi:io/poll`, registered by hand, because blocking suspends the guest and refuels its store.
//!
//! Readiness depends on arrivals only. While no pollable is ready, the next arrival is applied; when there are no more
//! arrivals, the guest is quiescent until the next turn. An entity cannot wait: it fails instead.

use std::future::poll_fn;
use std::task::Poll;

use wasmtime::{
    Result, StoreContextMut, bail,
    component::{Linker, Resource, ResourceType},
};

use crate::model::TaskId;
use crate::replay::{Execution, PollTimer, Polled};
use crate::sandbox::{host_fuel, orchestrator::EPOCHS_UNTIL_PAUSE, state::OrchestratorState};

/// The host's side of a pollable.
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pollable {
    /// Always ready: streams, and points in time that have passed.
    Ready,
    /// A task of the durable interface.
    Task(TaskId),
    /// The durable timer of a clock subscription. Dropping the pollable withdraws it.
    Timer(PollTimer),
    /// A clock subscription of an entity, whose clock stands still. Never ready.
    Later,
}

impl Pollable {
    fn is_ready(self, execution: &Execution) -> bool {
        match self.task() {
            Some(task) => execution.is_ready(task),
            None => self == Self::Ready,
        }
    }

    /// The task it waits for.
    fn task(self) -> Option<TaskId> {
        match self {
            Self::Ready | Self::Later => None,
            Self::Task(task) | Self::Timer(PollTimer(task)) => Some(task),
        }
    }
}

/// An entity waits, for example in `thread::sleep`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entity cannot wait: its clock stands still during a step; let it signal itself at a later time")]
struct CannotWait;

/// Links all functions of the interface.
pub(super) fn add_to_linker(linker: &mut Linker<OrchestratorState>) -> Result<()> {
    let mut interface = linker.instance("wasi:io/poll@0.2.12")?;
    interface.resource("pollable", ResourceType::host::<Pollable>(), |mut store, rep| {
        drop_pollable(store.data_mut().called(), Resource::new_own(rep))
    })?;
    interface.func_wrap(
        "[method]pollable.ready",
        |mut store, (pollable,): (Resource<Pollable>,)| {
            let state = OrchestratorState::called(store.data_mut());
            let pollable = *state.table.get(&pollable)?;
            Ok((is_ready(state, pollable)?,))
        },
    )?;
    interface.func_wrap_async(
        "[method]pollable.block",
        |mut store, (pollable,): (Resource<Pollable>,)| {
            Box::new(async move {
                let pollable = *store.data().table.get(&pollable)?;
                poll(&mut store, &[pollable]).await?;
                Ok(())
            })
        },
    )?;
    interface.func_wrap_async("poll", |mut store, (pollables,): (Vec<Resource<Pollable>>,)| {
        Box::new(async move {
            let table = &store.data().table;
            let pollables: Vec<_> = pollables
                .iter()
                .map(|pollable| table.get(pollable).copied())
                .collect::<Result<_, _>>()?;
            Ok((poll(&mut store, &pollables).await?,))
        })
    })?;
    Ok(())
}

/// Suspends the guest until the next turn resumes it, then sets the fuel and time of that turn.
pub(super) async fn until_next_turn(store: &mut StoreContextMut<'_, OrchestratorState>) -> Result<()> {
    let left = store.get_fuel()?;
    let cell = store.data().lent()?.clone();
    // A guest that replays needs what was taken in advance for the turn that follows.
    let replays = !cell.lock().allowance.charges_host;
    if !replays {
        store.data_mut().limiter.give_back_unused();
    }
    {
        let mut content = cell.lock();
        let used = content.allowance.fuel.saturating_sub(left);
        let host = &store.data().host_fuel;
        host.check_with(used)?;
        content.quiescent = Some(host.with(used));
    }
    // No waker is needed: the code that resumes the guest clears `quiescent` and polls.
    poll_fn(|_| {
        if cell.lock().quiescent.is_some() {
            Poll::Pending
        } else {
            Poll::Ready(())
        }
    })
    .await;
    let allowance = cell.lock().allowance;
    store.set_fuel(allowance.fuel)?;
    store.set_epoch_deadline(EPOCHS_UNTIL_PAUSE);
    store.data_mut().host_fuel.begin(allowance.host_fuel());
    Ok(())
}

/// Waits until a pollable is ready. Returns the positions of all that are ready.
async fn poll(store: &mut StoreContextMut<'_, OrchestratorState>, pollables: &[Pollable]) -> Result<Vec<u32>> {
    if pollables.is_empty() {
        bail!("`poll` was called with nothing to poll");
    }
    let cost = host_fuel::POLLABLE * pollables.len() as u64;
    store.data_mut().called().charge(cost)?;
    let at_once = ready(store.data(), pollables)?;
    if !at_once.is_empty() {
        return Ok(at_once);
    }
    if store.data().step_cell().is_ok() {
        return Err(CannotWait.into());
    }
    // While the guest is in this call, only arrivals can make a pollable ready, in this turn or a later one.
    let polled = Polled::new(pollables.iter().filter_map(|pollable| pollable.task()));
    loop {
        let ready = store
            .data_mut()
            .schedule(|execution| polled.apply_arrivals(execution))?;
        if !ready.is_empty() {
            return Ok(ready);
        }
        until_next_turn(store).await?;
    }
}

fn ready(state: &OrchestratorState, pollables: &[Pollable]) -> Result<Vec<u32>> {
    let positions = |is_ready: &dyn Fn(Pollable) -> bool| {
        (0..)
            .zip(pollables)
            .filter(|(_, pollable)| is_ready(**pollable))
            .map(|(position, _)| position)
            .collect()
    };
    state.host_fuel.check()?;
    if pollables.iter().all(|pollable| pollable.task().is_none()) {
        return Ok(positions(&|pollable| pollable == Pollable::Ready));
    }
    let content = state.lent()?.lock();
    Ok(positions(&|pollable| pollable.is_ready(&content.execution)))
}

fn is_ready(state: &OrchestratorState, pollable: Pollable) -> Result<bool> {
    Ok(!ready(state, &[pollable])?.is_empty())
}

fn drop_pollable(state: &mut OrchestratorState, pollable: Resource<Pollable>) -> Result<()> {
    match state.table.delete(pollable)? {
        Pollable::Ready | Pollable::Task(_) | Pollable::Later => Ok(()),
        Pollable::Timer(PollTimer(task)) => state.decide(0, |execution| execution.cancel_task(task)),
    }
}
