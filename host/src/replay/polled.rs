//! The tasks that a guest polls.
//!
//! A guest may poll a hundred thousand tasks, and a turn may have ten thousand arrivals, each of which settles one task.
//! (Only a request for cancellation, of which there is one, may settle several.) So all tasks are checked once, and after
//! each arrival only the tasks that it settled. The work is the sum of both
//! numbers; their product could exceed the deadline of a turn within one host call.

use crate::model::TaskId;

use super::{Applied, Execution, Interrupt};

/// Tasks without an outcome, with their positions in the list of the poll.
#[derive(Debug)]
pub struct Polled {
    /// Sorted. A task may have several positions.
    positions: Vec<(TaskId, u32)>,
}

impl Polled {
    /// Indexes these tasks, none of which may be ready.
    pub fn new(tasks: impl Iterator<Item = TaskId>) -> Self {
        let mut positions: Vec<_> = tasks.zip(0..).collect();
        positions.sort_unstable();
        Self { positions }
    }

    /// Applies arrivals until one of the tasks is ready, and returns its positions in ascending order. Returns no
    /// position if there are no more arrivals, so that the guest is quiescent.
    ///
    /// # Errors
    /// Outside a turn.
    pub fn apply_arrivals(&self, execution: &mut Execution) -> Result<Vec<u32>, Interrupt> {
        loop {
            match execution.apply_next_arrival()? {
                Applied::NoneLeft => return Ok(Vec::new()),
                Applied::Nothing => {}
                Applied::Settled(task) => {
                    let ready = self.positions_of(task);
                    if !ready.is_empty() {
                        return Ok(ready);
                    }
                }
                Applied::SettledAll(tasks) => {
                    let mut ready: Vec<u32> = tasks.into_iter().flat_map(|task| self.positions_of(task)).collect();
                    if !ready.is_empty() {
                        ready.sort_unstable();
                        return Ok(ready);
                    }
                }
            }
        }
    }

    fn positions_of(&self, task: TaskId) -> Vec<u32> {
        let from = self.positions.partition_point(|(other, _)| *other < task);
        let of_task = self.positions[from..].iter().take_while(|(other, _)| *other == task);
        of_task.map(|(_, position)| *position).collect()
    }
}
