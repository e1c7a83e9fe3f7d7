//! The two Wasmtime engines, and every setting of theirs with its reason.
//!
//! One function builds the configuration of each; compiling, caching and running share it, because an artefact only
//! loads into an engine of the same settings. Changing a setting that guests can notice is a versioned change.

use std::{
    collections::hash_map::DefaultHasher,
    hash::{Hash, Hasher},
    time::Duration,
};

use wasmparser::WasmFeatures;
use wasmtime::{Config, Enabled, Engine, EngineWeak, InstanceAllocationStrategy, PoolingAllocationConfig, Result};

use crate::model::FunctionKind;

use super::options::SandboxOptions;

/// The WebAssembly proposals that modules may use: version 2 of the standard and what compilers emit beyond it.
///
/// * Absent on purpose: threads and shared memory (a source of nondeterminism), stack switching, wide arithmetic,
///   custom page sizes (not finished), 64-bit memories (nothing here needs more than 4 GiB), garbage collection,
///   function references and exceptions (Wasmtime's collector is not compiled in), and the whole asynchronous
///   component model (a call would move to another event loop, and replay with it).
/// * Relaxed SIMD is deterministic by the engine's settings. Multi-memory comes with composed components.
pub(super) const FEATURES: WasmFeatures = WasmFeatures::WASM2
    // Part of WASM2 for `externref`; this build of Wasmtime has no garbage collector, and components need none.
    .difference(WasmFeatures::GC_TYPES)
    .union(WasmFeatures::BULK_MEMORY_OPT)
    .union(WasmFeatures::CALL_INDIRECT_OVERLONG)
    .union(WasmFeatures::EXTENDED_CONST)
    .union(WasmFeatures::TAIL_CALL)
    .union(WasmFeatures::RELAXED_SIMD)
    .union(WasmFeatures::MULTI_MEMORY)
    .union(WasmFeatures::COMPONENT_MODEL);

/// Most core instances of one component. A plain `wasm32-wasip2` build has 3, one that went through an adapter 4. Python has
/// 14 and one for each native library, or 39 with its WASI replaced by stubs; the rest is room for composed components.
pub(super) const MAX_CORE_INSTANCES: u32 = 64;
/// Most linear memories of one component: its own and one for an adapter or a composed part or two.
pub(super) const MAX_MEMORIES: u32 = 4;
/// Most tables of one component: one per module and the table of the adapter's shim.
pub(super) const MAX_TABLES: u32 = 16;
/// Most elements of one table. A Rust program has one element per function whose address is taken, some thousands.
pub(super) const MAX_TABLE_ELEMENTS: usize = 100_000;

/// How often the epoch advances. Bounds how long a busy activity keeps a thread before others get their turn.
pub(super) const EPOCH: Duration = Duration::from_millis(10);

/// Stack of a guest, in bytes: deep enough for recursive-descent parsers, and a hostile recursion ends soon.
const WASM_STACK_BYTES: usize = 512 << 10;
/// Stack of a guest with the host functions it calls, in bytes. Those parse JSON and validate it by a schema, both of
/// bounded depth. Only pages that are touched take memory.
const STACK_BYTES: usize = 2 << 20;

/// The size of a 32-bit address space.
const FOUR_GIB: u64 = 4 << 30;

/// The engine that runs modules of a kind.
pub(super) fn engine(kind: FunctionKind, options: &SandboxOptions) -> Result<Engine> {
    let mut config = compiler_config(kind, options.orchestrator_memory_bytes);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(kind, options)));
    Engine::new(&config)
}

/// An engine that compiles for [`engine`] but runs nothing: the same settings without the pool, which would reserve
/// address space that a compiler under a limit does not have.
///
/// An image of an initial memory that is smaller than `dense_image_bytes` is made even if it is mostly empty. That alone
/// may differ from one component to the next: it is read at compile time only.
pub(super) fn compiling_engine(
    kind: FunctionKind,
    orchestrator_memory_bytes: u64,
    dense_image_bytes: u64,
) -> Result<Engine> {
    let mut config = compiler_config(kind, orchestrator_memory_bytes);
    config.memory_guaranteed_dense_image_size(dense_image_bytes);
    Engine::new(&config)
}

/// What artefacts of this engine are kept under: changes with the version of Wasmtime, with every setting that changes
/// the generated code, and with the features of the processor.
pub(super) fn fingerprint(engine: &Engine) -> u64 {
    let mut hasher = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    hasher.finish()
}

/// Everything about an engine but its pool.
fn compiler_config(kind: FunctionKind, orchestrator_memory_bytes: u64) -> Config {
    let mut config = Config::new();
    // All or nothing: a proposal that a new version of Wasmtime switches on by default stays off here.
    config
        .wasm_features(WasmFeatures::all(), false)
        .wasm_features(FEATURES, true);
    config.shared_memory(false);
    // The event loop of the asynchronous component model is not compiled in; if another crate's features ever switch
    // it on, calls still stay on ours.
    config.concurrency_support(false);
    // A guest pays for what it computes, per instruction and per byte of bulk operations.
    config.consume_fuel(true);
    // Activities yield at an epoch, so that a busy one shares its thread. Orchestrators have a deadline in epochs for
    // each new turn and for `describe`: fuel does not see what a guest makes the host do.
    config.epoch_interruption(true);
    // Traps name the guest's functions; addresses and lines are not needed for that.
    config.wasm_backtrace_max_frames(std::num::NonZeroUsize::new(32));
    config.max_wasm_stack(WASM_STACK_BYTES).async_stack_size(STACK_BYTES);
    // A stack that is given back is zeroed: otherwise its pages stay resident, and the next guest on it, of another
    // tenant, would start on what the last one left.
    config.async_stack_zeroing(true);
    // A new instance maps the image of its initial memory and copies pages as it writes to them.
    config.memory_init_cow(true);
    match kind {
        FunctionKind::Orchestration => {
            // A NaN has one bit pattern on every processor, and so have the results of relaxed SIMD.
            config
                .cranelift_nan_canonicalization(true)
                .relaxed_simd_deterministic(true);
            // Many small guests: address space for what they may have, not for 4 GiB each. Costs bounds checks.
            config
                .memory_reservation(orchestrator_memory_bytes)
                .memory_guard_size(64 << 10);
        }
        FunctionKind::Activity => {
            // Few guests that compute: the whole 32-bit address space, so that no access needs a bounds check.
            config.memory_reservation(FOUR_GIB).memory_guard_size(32 << 20);
        }
    }
    config.memory_may_move(false);
    config
}

/// The pool that guests of a kind live in: a fixed number of slots, so that a new guest costs microseconds and too
/// many are refused instead of exhausting the process.
fn pool(kind: FunctionKind, options: &SandboxOptions) -> PoolingAllocationConfig {
    let (guests, memory_bytes) = match kind {
        FunctionKind::Orchestration => (options.hot_guests, options.orchestrator_memory_bytes),
        FunctionKind::Activity => (
            options.activity_slots,
            options.activity.memory_bytes.max(options.describe.memory_bytes),
        ),
    };
    let resident = Resident::of(kind);
    // Room for whatever the components may have, in all slots at once: otherwise a quarter of the guests could take it all,
    // and a slot or a share of them would mean nothing. Costs address space only.
    let memories_of_each = match kind {
        // Each that is used takes three of the process's memory maps, whose number is limited: thousands of guests with so
        // many would leave none. One that finds no room has the guest cooled that was idle longest.
        FunctionKind::Orchestration => MAX_MEMORIES / 2,
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
        // The kernel says which pages of a slot were written to, where it can (Linux 6.7): only they are cleaned, wherever
        // in its memory a guest wrote. Otherwise the first pages are cleaned and the rest is given back.
        .pagemap_scan(Enabled::Auto)
        // Not by the batch, which would be cheaper: what a guest took would stay until others have gone, too.
        .decommit_batch_size(1)
        // Slots that remember the image of their last module, for a quicker start of the next instance of it.
        .max_unused_warm_slots(guests.min(256));
    pool
}

/// Pages of a slot that stay resident after its guest is gone, in bytes. What the guest wrote to them is overwritten with
/// the module's own image or with zeros, so that the next one finds nothing.
struct Resident {
    memory: usize,
    table: usize,
    stack: usize,
}

impl Resident {
    fn of(kind: FunctionKind) -> Self {
        match kind {
            // Thousands of them are hot at a time, and what they took must come back when they are cold: their memory
            // does, at once. The top of the stack and the page of each small table stay, because every guest touches
            // them: 24 KiB a slot, about a quarter of what a hot guest takes. To give them back would be three more
            // calls to the kernel for each guest, all of which interrupt the other processors, and half of its page
            // faults: a third of the time that the kernel spends on a guest that ends soon.
            FunctionKind::Orchestration => Self {
                memory: 0,
                table: 4 << 10,
                stack: 16 << 10,
            },
            // A few hundred slots, each used thousands of times a second. Giving pages back means that every processor
            // forgets its address translations and that the next guest faults each page in again: two thirds of what
            // a small activity cost. At most 100 MB if all slots were ever used at once by guests that wrote so much.
            FunctionKind::Activity => Self {
                memory: 256 << 10,
                table: 64 << 10,
                stack: 64 << 10,
            },
        }
    }
}

/// Advances the epoch of the engines until they are gone.
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

/// That time in epochs, rounded up; at least two, because the current epoch may be about to end.
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
    fn the_features_of_wasm_are_those_listed_and_no_others() {
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
    fn an_artefact_fits_the_engine_that_runs_it_whatever_the_sizes_of_its_pool_and_images() {
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
        let [orchestrator, activity] = [FunctionKind::Orchestration, FunctionKind::Activity]
            .map(|kind| fingerprint(&engine(kind, &options()).unwrap()));
        assert_ne!(orchestrator, activity);
    }
}
