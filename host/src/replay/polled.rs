//! What a guest polls for, by task.
//!
//! A guest may poll a hundred thousand things, and a turn may bring ten thousand arrivals, of which each changes one task.
//! So everything is looked at once, and after each arrival only what the arrival was about: the work is the sum of both
//! numbers, not their product, which one host call could spend far beyond the deadline of its turn.

use crate::model::TaskId;

use super::{Applied, Execution, Interrupt};

/// Tasks without an outcome, with the positions at which they are polled for.
#[derive(Debug)]
pub struct Polled {
    /// Ordered; a task may be polled for several times.
    positions: Vec<(TaskId, u32)>,
}

impl Polled {
    /// Those tasks, none of which is ready.
    pub fn new(tasks: impl Iterator<Item = TaskId>) -> Self {
        let mut positions: Vec<_> = tasks.zip(0..).collect();
        positions.sort_unstable();
        Self { positions }
    }

    /// Applies arrivals until one of the tasks is ready, and gives its positions in ascending order; none if no arrival is
    /// left, and the guest is quiescent.
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
            }
        }
    }

    fn positions_of(&self, task: TaskId) -> Vec<u32> {
        let from = self.positions.partition_point(|(other, _)| *other < task);
        let of_task = self.positions[from..].iter().take_while(|(other, _)| *other == task);
        of_task.map(|(_, position)| *position).collect()
    }
}
