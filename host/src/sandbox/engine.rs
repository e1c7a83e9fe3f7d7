//! The three Wasmtime engines, and all their settings with reasons. Those of orchestrations and entities differ in their
//! pools only, so both load the same artefacts.
//!
//! One function builds the configuration. Compiling, caching and running share it, because an artefact only loads into an
//! engine with the same settings. Changing a setting that guests can observe is a versioned change.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    time::Duration,
};

use wasmparser::WasmFeatures;
use wasmtime::{Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

use crate::model::FunctionKind;

use super::options::SandboxOptions;

/// The WebAssembly proposals that modules may use: version 2 of the standard and newer ones that compilers emit.
///
/// * Intentionally absent: threads and shared memory (a source of nondeterminism), stack switching, wide arithmetic,
///   custom page sizes (not finished), 64-bit memories (nothing here needs more than 4 GiB), garbage collection,
///   function references and exceptions (Wasmtime's collector is not compiled in), and the whole asynchronous
///   component model (calls, and with them replay, would run on another event loop).
/// * Relaxed SIMD is deterministic by the engine's settings. Multi-memory comes with composed components.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::WASM2
    // WASM2 contains it for `externref`. This build of Wasmtime has no garbage collector, and components need none.
    .difference(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::BULK_MEMORY_OPT)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::COMPONENT_MODEL);

/// Maximum core instances of one component. A plain `wasm32-wasip2` build has 3, one with an adapter 4. Python has 14 plus
/// one for each native library, or 39 with its WASI replaced by stubs. The rest is for composed components.
pub(super) const MAX_CORE_INSTANCES: u32 = 64;
/// Maximum linear memories of one component: its own, and a few for an adapter or composed parts.
pub(super) const MAX_MEMORIES: u32 = 4;
/// Maximum tables of one component: one per core module, and that of an adapter's shim.
pub(super) const MAX_TABLES: u32 = 16;
/// Maximum elements of one table. A Rust program has one element per function whose address is taken, some thousands.
pub(super) const MAX_TABLE_ELEMENTS: usize = 100_000;

/// The length of an epoch. Bounds how long a busy activity blocks a thread before other activities run on it.
pub(super) const EPOCH: Duration = Duration::from_millis(5);

/// The stack of a guest, in bytes: enough for recursive-descent parsers, and hostile recursion ends soon.
const WASM_STACK_BYTES: usize = 512 << 10;
/// The stack of a guest and of the host functions that it calls, in bytes. These parse JSON and validate it with a
/// schema, both with bounded depth. Only touched pages use memory.
const STACK_BYTES: usize = 2 << 20;

/// Slots for guests of entities. A guest has one only while a step runs, on one of the threads for guests or paused, and
/// at most 64 turns and steps are paused at a time.
const ENTITY_GUESTS: u32 = 128;

/// The size of a 32-bit address space.
const FOUR_GIB: u64 = 4 << 30;

/// Creates the engine that runs modules of a kind.
pub(super) fn engine(kind: FunctionKind, options: &SandboxOptions) -> Result<Engine> {
    let mut config = compiler_config(kind, options.orchestrator_memory_bytes);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(kind, options)));
    Engine::new(&config)
}

/// Creates an engine that compiles for [`engine`] but runs nothing. It has the same settings but no pool, because the
/// compiler's limit on address space does not leave room for one.
///
/// The compiler creates an image of an initial memory smaller than `dense_image_bytes` even if it is mostly empty. Only
/// this setting may differ between components, because it is only used at compile time.
pub(super) fn compiling_engine(
    kind: FunctionKind,
    orchestrator_memory_bytes: u64,
    dense_image_bytes: u64,
) -> Result<Engine> {
    let mut config = compiler_config(kind, orchestrator_memory_bytes);
    config.memory_guaranteed_dense_image_size(dense_image_bytes);
    Engine::new(&config)
}

/// The cache key of this engine's artefacts. It changes with the version of Wasmtime, with every setting that changes the
/// generated code, and with the features of the processor.
pub(super) fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// The configuration of an engine except its pool.
fn compiler_config(kind: FunctionKind, orchestrator_memory_bytes: u64) -> Config {
    let mut config = Config::new();
    // Disable everything first, so that a proposal stays off when a new version of Wasmtime enables it by default.
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true);
    config.shared_memory(false);
    // The event loop of the asynchronous component model is not compiled in. If the features of another crate enable it,
    // calls still do not use it.
    config.concurrency_support(false);
    // Fuel limits computation, per instruction and per byte of bulk operations.
    config.consume_fuel(true);
    // Activities yield at each epoch, so that a busy one shares its thread. Orchestrators have a deadline in epochs for
    // each new turn and for `describe`, because fuel does not count the work of the host on behalf of a guest.
    config.epoch_interruption(true);
    // Traps contain a backtrace with the names of the guest's functions.
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
    config.max_wasm_stack(WASM_STACK_BYTES).async_stack_size(STACK_BYTES);
    // A returned stack is zeroed. Otherwise the next guest, perhaps of another tenant, would start on the data of the last
    // one.
    config.async_stack_zeroing(true);
    // A new instance maps the image of its initial memory and copies pages as it writes to them.
    config.memory_init_cow(true);
    match kind {
        FunctionKind::Orchestration | FunctionKind::Entity => {
            // NaNs and the results of relaxed SIMD have the same bits on every processor.
            config
                .cranelift_nan_canonicalization(true)
                .relaxed_simd_deterministic(true);
            // There are many small guests, so each reserves address space for its memory limit instead of 4 GiB. This
            // requires bounds checks.
            config
                .memory_reservation(orchestrator_memory_bytes)
                .memory_guard_size(64 << 10);
        }
        FunctionKind::Activity => {
            // There are few guests, which compute much, so each reserves the whole 32-bit address space. No access needs
            // a bounds check.
            config.memory_reservation(FOUR_GIB).memory_guard_size(32 << 20);
        }
    }
    config.memory_may_move(false);
    config
}

/// The pool for guests of a kind. It has a fixed number of slots, so that creating a guest takes microseconds, and too
/// many guests are refused instead of exhausting the process.
fn pool(kind: FunctionKind, options: &SandboxOptions) -> PoolingAllocationConfig {
    let (guests, memory_bytes) = match kind {
        FunctionKind::Orchestration => (options.hot_guests, options.orchestrator_memory_bytes),
        FunctionKind::Entity => (ENTITY_GUESTS, options.orchestrator_memory_bytes),
        FunctionKind::Activity => (
            options.activity_slots,
            options.activity.memory_bytes.max(options.describe.memory_bytes),
        ),
    };
    let resident = Resident::of(kind);
    // The totals are for the maximum of a component in all slots at once. Otherwise a quarter of the guests could use up
    // everything, and the number of slots would mean nothing. This only costs address space.
    let memories_of_each = match kind {
        // Each memory in use takes three of the process's memory maps, whose number is limited. Thousands of guests with
        // the maximum of memories would use them up. If a guest finds no room, the guest that was idle longest is evicted.
        FunctionKind::Orchestration | FunctionKind::Entity => MAX_MEMORIES / 2,
        FunctionKind::Activity => MAX_MEMORIES,
    };
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(guests)
        .total_stacks(guests)
        .total_core_instances(guests.saturating_mul(MAX_CORE_INSTANCES))
        .total_memories(guests.saturating_mul(memories_of_each).max(MAX_MEMORIES))
        .total_tables(guests.saturating_mul(MAX_TABLES))
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_module(MAX_MEMORIES)
        .max_tables_per_module(MAX_TABLES)
        .table_elements(MAX_TABLE_ELEMENTS)
        .max_memory_size(usize::try_from(memory_bytes.min(FOUR_GIB)).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(resident.memory)
        .table_keep_resident(resident.table)
        .async_stack_keep_resident(resident.stack)
        // On Linux 6.7 or later, the kernel reports which pages of a slot were written, and only these are cleared.
        // Otherwise the first pages are cleared and the rest is returned to the system.
        .pagemap_scan(Enabled::Auto)
        // Batches would be cheaper, but the memory of a guest would stay in use until other guests end, too.
        .decommit_batch_size(1)
        // Slots that keep the image of their last module, so that the next instance of it starts faster.
        .max_unused_warm_slots(guests.min(256));
    pool
}

/// Bytes of a slot that stay resident after its guest has ended. They are overwritten with the module's image or with
/// zeros, so that the next guest does not see the data of the last one.
struct Resident {
    memory: usize,
    table: usize,
    stack: usize,
}

impl Resident {
    fn of(kind: FunctionKind) -> Self {
        match kind {
            // The pages that every guest touches: the first of its data, its table, and the top of its stack. To return
            // them costs a chain of five activities a quarter of its time, because the kernel flushes the address
            // translations of all processors, and the next guest faults each page in again. Thousands of guests may be
            // hot at a time, so nothing more stays: about 30 KiB in each slot that was ever used, 144 KiB if a component
            // has the maximum of memories and tables. Each guest takes 128 KiB from the budget, so all slots together
            // keep about what the budget has for guests, at most.
            FunctionKind::Orchestration => Self {
                memory: 32 << 10,
                table: 4 << 10,
                stack: 16 << 10,
            },
            // There are few slots, and each step of an entity takes one. The cost is at most 52 MB, if each slot had the
            // maximum of memories and tables.
            FunctionKind::Entity => Self {
                memory: 128 << 10,
                table: 8 << 10,
                stack: 32 << 10,
            },
            // There are a few hundred slots, each used thousands of times a second. Returning pages makes every processor
            // flush its address translations, and the next guest faults each page in again: this was two thirds of the
            // cost of a small activity. The cost is at most 100 MB, if guests that write that much ever use all slots at
            // once.
            FunctionKind::Activity => Self {
                memory: 256 << 10,
                table: 64 << 10,
                stack: 64 << 10,
            },
        }
    }
}

/// Starts a thread that advances the epoch of the engines until they are dropped.
pub(super) fn start_ticker(engines: Vec<EngineWeak>) -> std::io::Result<()> {
    std::thread::Builder::new()
        .name("windlass-epoch".into())
        .spawn(move || {
            let mut alive = true;
            while alive {
                std::thread::sleep(EPOCH);
                alive = false;
                for engine in engines.iter().filter_map(EngineWeak::upgrade) {
                    engine.increment_epoch();
                    alive = true;
                }
            }
        })?;
    Ok(())
}

/// The duration in epochs, rounded up; at least two, because the current epoch may be about to end.
pub(super) fn epochs(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(EPOCH.as_millis()))
        .unwrap_or(u64::MAX / 2)
        .clamp(2, u64::MAX / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> SandboxOptions {
        SandboxOptions {
            hot_guests: 4,
            activity_slots: 4,
            ..SandboxOptions::new("/nowhere")
        }
    }

    #[test]
    fn the_engines_have_exactly_the_listed_wasm_features() {
        for kind in [FunctionKind::Orchestration, FunctionKind::Activity] {
            let engine = engine(kind, &options()).unwrap();
            assert_eq!(engine.get_wasm_features(), FEATURES, "{kind:?}");
            assert!(!engine.get_concurrency_support(), "{kind:?}");
            assert!(!engine.get_shared_memory(), "{kind:?}");
        }
        let names: Vec<_> = FEATURES
            .iter_names()
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        expect_test::expect!["mutable_global saturating_float_to_int sign_extension reference_types multi_value bulk_memory simd relaxed_simd tail_call floats multi_memory extended_const component_model"].assert_eq(&names.join(" "));
    }

    #[test]
    fn orchestrators_compute_the_same_on_every_processor() {
        let orchestrator = engine(FunctionKind::Orchestration, &options()).unwrap();
        let config = orchestrator;
        assert_eq!(config.get_cranelift_nan_canonicalization(), Some(true));
        assert!(config.get_relaxed_simd_deterministic());
        for kind in [FunctionKind::Orchestration, FunctionKind::Activity] {
            let engine = engine(kind, &options()).unwrap();
            let config = engine;
            assert!(config.get_consume_fuel() && config.get_epoch_interruption() && config.get_async_stack_zeroing());
        }
    }

    #[test]
    fn the_fingerprint_does_not_depend_on_the_sizes_of_pool_and_images() {
        for kind in [FunctionKind::Orchestration, FunctionKind::Activity] {
            let running = fingerprint(&engine(kind, &options()).unwrap());
            let larger = SandboxOptions {
                hot_guests: 9,
                activity_slots: 9,
                ..options()
            };
            assert_eq!(running, fingerprint(&engine(kind, &larger).unwrap()));
            for dense_image_bytes in [0, 64 << 20] {
                let memory_bytes = options().orchestrator_memory_bytes;
                let compiling = compiling_engine(kind, memory_bytes, dense_image_bytes).unwrap();
                assert_eq!(running, fingerprint(&compiling));
            }
        }
        let [orchestrator, entity, activity] = [
            FunctionKind::Orchestration,
            FunctionKind::Entity,
            FunctionKind::Activity,
        ]
        .map(|kind| fingerprint(&engine(kind, &options()).unwrap()));
        assert_eq!(orchestrator, entity);
        assert_ne!(orchestrator, activity);
    }
}
