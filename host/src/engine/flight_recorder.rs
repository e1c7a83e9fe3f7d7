//! Records what is running, so that it can be read after a crash of the process.
//!
//! A guest that crashes the host must not do so again and again. A commit before every turn and attempt would be too
//! expensive. This file is mapped into memory instead: recording costs a few memory writes, and the pages survive the
//! process (they may not survive a loss of power, but no guest causes that). Every turn and attempt holds a slot of the
//! file while it runs; after an unclean end, the slots in use name the suspects.
//!
//! A slot also says in which [phase](Phase) of the host its turn or attempt started, and at how many unclean ends in a
//! row it was running before. [`blame`](super::blame) needs both to find the culprit.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::path::Path;
use std::ptr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memmap2::MmapRaw;

use crate::model::{ExecutionNumber, InstanceNumber, TaskId};

/// Bytes of a slot: instance (8), execution (4), task (4; 0 for a turn), the phase (1; 0 for a free slot), unclean ends in
/// a row (1), those of them at which nothing else was running (1), padding. Older hosts wrote zeros after the phase.
pub(super) const SLOT_BYTES: usize = 24;
/// The maximum number of slots; what runs beyond is not recorded. There are never so many guests running at once.
const MAX_SLOTS: usize = 65_536;
/// The size of the file in bytes.
const FILE_BYTES: usize = MAX_SLOTS * SLOT_BYTES;

/// A turn or attempt that was running.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flight {
    /// The instance that was running.
    pub instance: InstanceNumber,
    /// Its execution.
    pub execution: ExecutionNumber,
    /// The task of an attempt; `None` for a turn of the instance itself.
    pub task: Option<TaskId>,
}

impl Flight {
    /// A turn of an instance.
    pub(super) fn turn(instance: InstanceNumber, execution: ExecutionNumber) -> Self {
        Self {
            instance,
            execution,
            task: None,
        }
    }

    /// The same for all turns of an instance, whatever their execution.
    pub(super) fn subject(self) -> Self {
        match self.task {
            None => Self {
                execution: ExecutionNumber::FIRST,
                ..self
            },
            Some(_) => self,
        }
    }
}

/// What else may be running beside a turn or attempt.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Phase {
    /// Everything.
    #[default]
    Normal,
    /// It started in a quiet period that is over, and only further quiet periods have begun since.
    EarlierPeriod,
    /// It started in the current quiet period.
    QuietPeriod,
}

/// At how many unclean ends in a row something was running.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EndsInARow {
    /// All of them.
    pub all: u8,
    /// The last ones of them at which it ran by itself in a quiet period.
    pub alone: u8,
}

/// A slot that the previous run of the host left in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeftFlight {
    /// What was running.
    pub flight: Flight,
    /// In which phase of the host it was running.
    pub phase: Phase,
    /// The unclean ends before this one.
    pub ends: EndsInARow,
}

/// The file and its free slots. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FlightRecorder(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    medium: Medium,
    /// The number of slots that the previous run may have left in use.
    left: usize,
    slots: Mutex<Slots>,
}

/// What the slots are written to.
#[derive(Debug)]
enum Medium {
    Map(MmapRaw),
    /// Bytes that survive a simulated host.
    #[cfg(test)]
    Memory(Arc<Mutex<Vec<u8>>>),
}

impl Medium {
    fn write(&self, offset: usize, bytes: &[u8; SLOT_BYTES]) {
        match self {
            Self::Map(map) => {
                assert!(offset + SLOT_BYTES <= map.len(), "the map has room for every slot");
                // SAFETY: the bytes lie within the map, as asserted, and no other code accesses them: a slot belongs to
                // one recording at a time, or to `clear` before there are any, and other processes read the file only
                // after this one has ended.
                unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), map.as_mut_ptr().add(offset), SLOT_BYTES) };
            }
            #[cfg(test)]
            Self::Memory(memory) => {
                let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
                let length = memory.len().max(offset + SLOT_BYTES);
                memory.resize(length, 0);
                memory[offset..offset + SLOT_BYTES].copy_from_slice(bytes);
            }
        }
    }
}

#[derive(Debug, Default)]
struct Slots {
    free: Vec<usize>,
    used: usize,
    /// Nothing is recorded any more, because an orderly shutdown has begun.
    closed: bool,
    /// The phase of what starts now.
    phase: Phase,
    /// The slots in use whose phase is not [`Phase::Normal`].
    marked: BTreeMap<usize, LeftFlight>,
    /// The unclean ends of suspects that have not ended since.
    ends: BTreeMap<Flight, EndsInARow>,
}

/// Holds a slot while something runs. Dropping it frees the slot.
#[derive(Debug)]
pub struct Recording {
    recorder: FlightRecorder,
    slot: Option<usize>,
}

impl FlightRecorder {
    /// Opens the file, and returns what was running when the previous run of the host ended.
    ///
    /// # Errors
    /// If the file cannot be read or written.
    pub fn open(path: &Path) -> std::io::Result<(Self, Vec<LeftFlight>)> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read?,
        };
        let (left, slots_left) = left_in(&bytes);
        // The slots are kept until the caller has recorded their contents: see `clear`.
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)?;
        // Reserve the blocks now: writing to a hole of the mapped file on a full disk raises a signal that ends the
        // host.
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, FILE_BYTES as u64)?;
        Ok((
            Self(Arc::new(Inner {
                medium: Medium::Map(MmapRaw::map_raw(&file)?),
                left: slots_left,
                slots: Mutex::default(),
            })),
            left,
        ))
    }

    /// The same with bytes in memory, for the simulation.
    #[cfg(test)]
    pub(super) fn in_memory(memory: Arc<Mutex<Vec<u8>>>) -> (Self, Vec<LeftFlight>) {
        let (flights, left) = left_in(&memory.lock().unwrap_or_else(PoisonError::into_inner));
        let inner = Inner {
            medium: Medium::Memory(memory),
            left,
            slots: Mutex::default(),
        };
        (Self(Arc::new(inner)), flights)
    }

    /// Clears the slots of the previous run. Call it once their contents are recorded in the store, before anything
    /// runs.
    pub fn clear(&self) {
        for slot in 0..self.0.left {
            self.write(slot, &[0; SLOT_BYTES]);
        }
    }

    /// Records something as running until the recording is dropped.
    pub fn record(&self, flight: Flight) -> Recording {
        let mut slots = self.lock();
        let slot = slots.take();
        if let Some(slot) = slot {
            let left = LeftFlight {
                flight,
                phase: slots.phase,
                ends: slots.ends.get(&flight.subject()).copied().unwrap_or_default(),
            };
            if left.phase != Phase::Normal {
                slots.marked.insert(slot, left);
            }
            self.write(slot, &slot_of(left));
        }
        Recording {
            recorder: self.clone(),
            slot,
        }
    }

    /// Begins a quiet period. What is still running since an earlier one is marked as such.
    pub(super) fn begin_quiet_period(&self) {
        self.enter(Phase::QuietPeriod, Phase::EarlierPeriod);
    }

    /// Ends the last quiet period.
    pub(super) fn end_quiet_periods(&self) {
        self.enter(Phase::Normal, Phase::Normal);
    }

    fn enter(&self, phase: Phase, phase_of_running: Phase) {
        let mut slots = self.lock();
        slots.phase = phase;
        for (slot, left) in &mut slots.marked {
            left.phase = phase_of_running;
            self.write(*slot, &slot_of(*left));
        }
        if phase == Phase::Normal {
            slots.marked.clear();
        }
    }

    /// Records these unclean ends with the suspect whenever it runs, until it is [forgotten](Self::forget).
    pub(super) fn remember(&self, suspect: Flight, ends: EndsInARow) {
        self.lock().ends.insert(suspect.subject(), ends);
    }

    /// Forgets the unclean ends of a suspect that has ended.
    pub(super) fn forget(&self, suspect: Flight) {
        self.lock().ends.remove(&suspect.subject());
    }

    /// Clears all slots and records nothing any more. Call it when a shutdown begins: whatever is still running when
    /// the process ends did not cause that end.
    pub fn close(&self) {
        let mut slots = self.lock();
        slots.closed = true;
        slots.marked.clear();
        for slot in 0..slots.used {
            self.write(slot, &[0; SLOT_BYTES]);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slots> {
        self.0.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, slot: usize, bytes: &[u8; SLOT_BYTES]) {
        self.0.medium.write(slot * SLOT_BYTES, bytes);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if let Some(slot) = self.slot {
            let mut slots = self.recorder.lock();
            self.recorder.write(slot, &[0; SLOT_BYTES]);
            slots.marked.remove(&slot);
            slots.free.push(slot);
        }
    }
}

impl Slots {
    fn take(&mut self) -> Option<usize> {
        if self.closed {
            return None;
        }
        let next = self.used;
        self.free.pop().or_else(|| {
            (next < MAX_SLOTS).then(|| {
                self.used += 1;
                next
            })
        })
    }
}

/// The flights in a record, each once, and the number of slots up to the last one in use.
fn left_in(bytes: &[u8]) -> (Vec<LeftFlight>, usize) {
    let slots = || bytes.chunks_exact(SLOT_BYTES).map(read_slot).take(MAX_SLOTS);
    let mut in_use = slots().enumerate().filter(|(_, slot)| slot.is_some());
    let left = in_use.next_back().map_or(0, |(last, _)| last + 1);
    let flights: BTreeMap<Flight, LeftFlight> = slots().flatten().map(|left| (left.flight, left)).collect();
    (flights.into_values().collect(), left)
}

impl Phase {
    /// The byte that marks a slot in use.
    fn mark(self) -> u8 {
        match self {
            Self::Normal => 0xA5,
            Self::QuietPeriod => 0xA6,
            Self::EarlierPeriod => 0xA7,
        }
    }

    /// The phase of a slot; `None` if it is free.
    fn of_mark(mark: u8) -> Option<Self> {
        let all = [Self::Normal, Self::QuietPeriod, Self::EarlierPeriod];
        all.into_iter().find(|phase| phase.mark() == mark)
    }
}

pub(super) fn slot_of(left: LeftFlight) -> [u8; SLOT_BYTES] {
    let LeftFlight { flight, phase, ends } = left;
    let mut bytes = [0; SLOT_BYTES];
    bytes[..8].copy_from_slice(&flight.instance.0.to_le_bytes());
    bytes[8..12].copy_from_slice(&flight.execution.0.to_le_bytes());
    bytes[12..16].copy_from_slice(&flight.task.map_or(0, |task| task.0).to_le_bytes());
    bytes[16..19].copy_from_slice(&[phase.mark(), ends.all, ends.alone]);
    bytes
}

fn read_slot(bytes: &[u8]) -> Option<LeftFlight> {
    let phase = Phase::of_mark(bytes[16])?;
    let task = u32::from_le_bytes(bytes[12..16].try_into().expect("four bytes"));
    let flight = Flight {
        instance: InstanceNumber(u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes"))),
        execution: ExecutionNumber(u32::from_le_bytes(bytes[8..12].try_into().expect("four bytes"))),
        task: (task > 0).then_some(TaskId(task)),
    };
    Some(LeftFlight {
        flight,
        phase,
        ends: EndsInARow {
            all: bytes[17],
            alone: bytes[18],
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flight(instance: u64, task: Option<u32>) -> Flight {
        Flight {
            instance: InstanceNumber(instance),
            execution: ExecutionNumber(1),
            task: task.map(TaskId),
        }
    }

    #[test]
    fn what_ran_when_the_process_ended_stays_readable_until_it_is_cleared() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flights");
        let (recorder, left) = FlightRecorder::open(&path).unwrap();
        assert_eq!(left, []);
        let ended = recorder.record(flight(1, None));
        let crashed = recorder.record(flight(2, Some(7)));
        drop(ended);
        let reused = recorder.record(flight(3, None));
        std::mem::forget((crashed, reused));
        for _ in 0..2 {
            let (_, left) = FlightRecorder::open(&path).unwrap();
            let left: Vec<_> = left.iter().map(|left| left.flight).collect();
            assert_eq!(left, [flight(2, Some(7)), flight(3, None)]);
        }
        let (recorder, _) = FlightRecorder::open(&path).unwrap();
        recorder.clear();
        assert_eq!(FlightRecorder::open(&path).unwrap().1, []);
    }

    #[test]
    fn what_runs_when_a_shutdown_begins_is_not_a_suspect() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flights");
        let (recorder, _) = FlightRecorder::open(&path).unwrap();
        let before = recorder.record(flight(1, Some(1)));
        recorder.close();
        let after = recorder.record(flight(2, None));
        std::mem::forget((before, after));
        assert_eq!(FlightRecorder::open(&path).unwrap().1, []);
    }

    #[test]
    fn a_slot_shows_its_phase_and_the_ends_of_a_suspect() {
        let memory = Arc::<Mutex<Vec<u8>>>::default();
        let (recorder, _) = FlightRecorder::in_memory(memory.clone());
        let ends = EndsInARow { all: 4, alone: 2 };
        let (long, short, turn) = (flight(1, Some(1)), flight(2, Some(1)), flight(3, None));
        recorder.remember(long, ends);
        recorder.remember(turn, ends);
        let left = || -> Vec<_> {
            let (_, left) = FlightRecorder::in_memory(memory.clone());
            left.iter().map(|left| (left.flight, left.phase, left.ends)).collect()
        };
        recorder.begin_quiet_period();
        let _long = recorder.record(long);
        let none = EndsInARow::default();
        assert_eq!(left(), [(long, Phase::QuietPeriod, ends)]);
        recorder.begin_quiet_period();
        let ended = recorder.record(short);
        let both = [(long, Phase::EarlierPeriod, ends), (short, Phase::QuietPeriod, none)];
        assert_eq!(left(), both);
        drop(ended);
        recorder.end_quiet_periods();
        assert_eq!(left(), [(long, Phase::Normal, ends)]);
        // Its ends are those of all executions of the instance.
        let next = Flight {
            execution: ExecutionNumber(2),
            ..turn
        };
        let recording = recorder.record(next);
        assert_eq!(left()[1], (next, Phase::Normal, ends));
        drop(recording);
        recorder.forget(turn);
        let _recording = recorder.record(turn);
        assert_eq!(left()[1], (turn, Phase::Normal, none));
    }

    #[test]
    fn the_file_of_an_older_host_is_readable() {
        let left = LeftFlight {
            flight: flight(7, Some(3)),
            phase: Phase::Normal,
            ends: EndsInARow::default(),
        };
        let old = [
            7, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0, 0xA5, 0, 0, 0, 0, 0, 0, 0,
        ];
        assert_eq!(read_slot(&old), Some(left));
        assert_eq!(slot_of(left), old);
    }

    #[test]
    fn a_damaged_file_does_not_prevent_a_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flights");
        std::fs::write(&path, vec![0xA5; SLOT_BYTES + 5]).unwrap();
        assert_eq!(FlightRecorder::open(&path).unwrap().1.len(), 1);
    }
}
