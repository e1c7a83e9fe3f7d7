//! The metrics of the memory budget.

use crate::engine::Engine;
use crate::memory::{Part, PoolUse};
use crate::metrics::{Kind, Text};

/// Adds what each part of the budget holds, and what waits for it in the store.
pub(super) fn show(text: &mut Text, engine: &Engine) {
    text.number(
        Kind::Gauge,
        "windlass_instances_without_memory_for_calls",
        "Instances with activity calls that start when there is memory for them.",
        engine.instances_without_memory_for_calls(),
    );
    let memory = engine.memory();
    let parts = Part::ALL.map(|part| (part.name(), memory.part(part).usage()));
    let mut show = |kind, name, help, number: fn(&PoolUse) -> u64| {
        let metric = text.metric(kind, name, help);
        parts.iter().fold(metric, |metric, (part, used)| {
            metric.sample(&[("part", part)], number(used))
        });
    };
    show(
        Kind::Gauge,
        "windlass_memory_limit_bytes",
        "Size of the parts of the memory budget.",
        |used| used.limit,
    );
    show(
        Kind::Gauge,
        "windlass_memory_used_bytes",
        "Bytes held in the parts of the memory budget.",
        |used| used.used,
    );
    show(
        Kind::Gauge,
        "windlass_memory_most_bytes",
        "Most bytes that were held at one time in the parts of the memory budget.",
        |used| used.most,
    );
    show(
        Kind::Gauge,
        "windlass_memory_waiting",
        "Requests that wait for bytes of the parts of the memory budget.",
        |used| used.waiting as u64,
    );
    show(
        Kind::Counter,
        "windlass_memory_refused_total",
        "Requests for bytes of the memory budget that had to wait or were refused.",
        |used| used.refused,
    );
}
