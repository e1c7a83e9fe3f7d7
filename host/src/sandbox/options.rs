//! The options of the sandbox: sizes and limits, with their defaults and the reasons for them.

use std::{path::PathBuf, time::Duration};

use crate::grants::{ActivityLimits, EgressPolicy};
use crate::tls::ExtraRoots;

/// Memory maps that one guest needs: 2 for its stack, and 4 more while it is suspended (measured with wasmtime 48).
const MAPS_PER_GUEST: u64 = 6;

/// The default of `vm.max_map_count` on Linux.
const DEFAULT_MAX_MAP_COUNT: u64 = 65_530;

/// The maximum for the default number of hot guests. More would not pay off: at 50 kB each they use 200 MB, and a replay
/// takes microseconds.
const MOST_HOT_GUESTS: u64 = 4_000;

/// The maximum for the default number of activity slots, because each activity may use its whole memory limit.
const MOST_ACTIVITY_SLOTS: u64 = 256;

/// The options of the sandbox.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// The folder of compiled modules, created with mode 0700. No other user may write to it, because the host runs its
    /// files as machine code.
    pub cache_dir: PathBuf,
    /// Where modules are compiled.
    pub compiler: Compiler,
    /// Maximum size of an uploaded module, in bytes.
    pub max_module_bytes: usize,
    /// Maximum guests of orchestrations and entities in memory. Further ones get [`HostUnavailable::NoRoom`](crate::replay::HostUnavailable).
    pub hot_guests: u32,
    /// Maximum activity guests in memory, including modules that describe themselves at upload.
    pub activity_slots: u32,
    /// Fuel of one new turn and of one operation of an entity, in Wasmtime fuel units (about one per instruction, one per byte of a bulk copy).
    pub turn_fuel: u64,
    /// Longest time of one new turn and of one operation of an entity. Fuel bounds the computation of the guest; this bounds the work of the host for it.
    pub turn_timeout: Duration,
    /// Maximum memory of an orchestrator or an entity, in bytes, and the size of the pool's slots. The limit of an execution is the
    /// smaller of this and the limit recorded at its start.
    pub orchestrator_memory_bytes: u64,
    /// Limits on each attempt of an activity.
    pub activity: ActivityLimits,
    /// Limits on start-up code and `describe` at upload.
    pub describe: DescribeLimits,
    /// The destinations that all activities may connect to.
    pub egress: EgressPolicy,
    /// Certificate authorities that their TLS connections trust in addition to Mozilla's.
    pub egress_roots: ExtraRoots,
}

/// Where modules are compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// In a child process with limits on CPU time and address space, so that a module that makes the compiler misbehave
    /// only takes down the child.
    Child {
        /// The program to run. It must implement `compile --kind KIND --output PATH` like `windlass`.
        program: PathBuf,
        /// CPU time the child may use, in seconds.
        cpu_seconds: u64,
        /// Address space the child may use, in bytes.
        address_space_bytes: u64,
    },
    /// In this process, for tests and for programs that embed the library.
    InProcess,
}

/// Limits on start-up code and `describe`, which run when a module is uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribeLimits {
    /// Fuel, in Wasmtime fuel units.
    pub fuel: u64,
    /// Maximum wall-clock time.
    pub timeout: Duration,
    /// Maximum bytes of all memories and tables together.
    pub memory_bytes: u64,
    /// Maximum bytes of a description.
    pub description_bytes: usize,
}

impl SandboxOptions {
    /// Default options with the cache in that folder.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        let guests = guests_within_maps(max_map_count());
        let activity_slots = (guests / 8).clamp(1, MOST_ACTIVITY_SLOTS);
        let hot_guests = (guests - activity_slots).clamp(1, MOST_HOT_GUESTS);
        Self {
            cache_dir: cache_dir.into(),
            compiler: Compiler::InProcess,
            max_module_bytes: 32 << 20,
            hot_guests: u32::try_from(hot_guests).expect("clamped"),
            activity_slots: u32::try_from(activity_slots).expect("clamped"),
            turn_fuel: 2_000_000_000,
            turn_timeout: Duration::from_secs(10),
            orchestrator_memory_bytes: 64 << 20,
            activity: ActivityLimits::default(),
            describe: DescribeLimits::default(),
            egress: EgressPolicy::deny_all(),
            egress_roots: ExtraRoots::none(),
        }
    }
}

impl Compiler {
    /// A child process of that program with the default limits: one minute of CPU time and 4 GiB, far more than a module
    /// of 32 MiB needs.
    pub fn child(program: impl Into<PathBuf>) -> Self {
        Self::Child {
            program: program.into(),
            cpu_seconds: 60,
            address_space_bytes: 4 << 30,
        }
    }
}

impl Default for DescribeLimits {
    /// A description is static data: a thousand functions with schemas take a few million instructions.
    fn default() -> Self {
        Self {
            fuel: 500_000_000,
            timeout: Duration::from_secs(5),
            memory_bytes: 64 << 20,
            description_bytes: 4 << 20,
        }
    }
}

/// The number of guests that leave half of the memory maps free for the rest of the process.
fn guests_within_maps(maps: u64) -> u64 {
    (maps / 2 / MAPS_PER_GUEST).max(2)
}

fn max_map_count() -> u64 {
    std::fs::read_to_string("/proc/sys/vm/max_map_count")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(DEFAULT_MAX_MAP_COUNT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_leave_half_of_the_memory_maps_free() {
        assert_eq!(guests_within_maps(DEFAULT_MAX_MAP_COUNT), 5_460);
        assert_eq!(guests_within_maps(0), 2);
        let options = SandboxOptions::new("/nowhere");
        assert!(options.hot_guests >= 1 && u64::from(options.hot_guests) <= MOST_HOT_GUESTS);
        assert!(options.activity_slots >= 1 && u64::from(options.activity_slots) <= MOST_ACTIVITY_SLOTS);
    }
}
