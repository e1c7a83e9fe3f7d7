//! How the sandbox is set up: sizes and limits, with their defaults and where those come from.

use std::{path::PathBuf, time::Duration};

use crate::grants::{ActivityLimits, EgressPolicy};
use crate::tls::ExtraRoots;

/// Memory maps that one live guest needs: its stack takes 2, a parked guest 4 more (measured with wasmtime 48).
const MAPS_PER_GUEST: u64 = 6;

/// What Linux grants a process when nobody has configured `vm.max_map_count`.
const DEFAULT_MAX_MAP_COUNT: u64 = 65_530;

/// More hot guests than this bring nothing by default: at 50 kB each they are 200 MB, and a replay costs
/// microseconds.
const MOST_HOT_GUESTS: u64 = 4_000;

/// More activities at once than this are not allowed by default: each may use its whole memory cap.
const MOST_ACTIVITY_SLOTS: u64 = 256;

/// How the sandbox is set up.
#[derive(Debug, Clone)]
pub struct SandboxOptions {
    /// Where compiled modules are kept. Created with mode 0700; nobody else may be able to write there, because what
    /// lies there is run as machine code.
    pub cache_dir: PathBuf,
    /// How modules are compiled.
    pub compiler: Compiler,
    /// Largest module that is taken in, in bytes.
    pub max_module_bytes: usize,
    /// Most orchestrator guests alive at once; the next one gets [`HostUnavailable::NoRoom`](crate::replay::HostUnavailable).
    pub hot_guests: u32,
    /// Most activity guests alive at once, those that describe themselves at upload included.
    pub activity_slots: u32,
    /// Fuel of one new turn, in Wasmtime fuel units (about one per instruction, one per byte of a bulk copy).
    pub turn_fuel: u64,
    /// Longest time one new turn may take. Fuel bounds what the guest computes; this bounds what it makes the host do.
    pub turn_timeout: Duration,
    /// Most memory an orchestrator can ever have, in bytes; the limit of an execution is the smaller of this and the
    /// one recorded at its start. Fixes the size of the pool's slots.
    pub orchestrator_memory_bytes: u64,
    /// Limits on each attempt of an activity.
    pub activity: ActivityLimits,
    /// Limits on start-up code and `describe` at upload.
    pub describe: DescribeLimits,
    /// Where all activities may connect to.
    pub egress: EgressPolicy,
    /// Whom their TLS connections trust, besides the authorities that Mozilla does.
    pub egress_roots: ExtraRoots,
}

/// Where modules are compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compiler {
    /// In a child process under CPU and address-space limits: a module that makes the compiler misbehave takes down
    /// the child.
    Child {
        /// The program to run; it must understand `compile --kind KIND --output PATH` as `windlass` does.
        program: PathBuf,
        /// CPU time the child may use, in seconds.
        cpu_seconds: u64,
        /// Address space the child may use, in bytes.
        address_space_bytes: u64,
    },
    /// In this process, for tests and for programs that embed the library.
    InProcess,
}

/// Limits on start-up code and `describe`, which run at upload for whoever may upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribeLimits {
    /// Fuel, in Wasmtime fuel units.
    pub fuel: u64,
    /// Longest wall-clock time.
    pub timeout: Duration,
    /// Sum of memories and tables, in bytes.
    pub memory_bytes: u64,
    /// Longest description, in bytes.
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
    /// A child process of that program with the default limits: one CPU minute and 4 GiB, which a module of 32 MiB
    /// stays under by far.
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

/// How many guests fit while half of the memory maps stay free for everything else in the process.
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
