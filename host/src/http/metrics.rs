//! The metrics of the host, for Prometheus. `docs/metrics.md` explains each metric; a test compares the names.

mod memory;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, header};

use super::{
    access::{Administer, May},
    state::App,
    wait_limit::WaitLimit,
};
use crate::engine::{Engine, EngineStats, EntityStats, ShareUse};
use crate::metrics::{Kind, Text, process_usage};
use crate::store::Store;
use crate::tenancy::TenantCounts;

/// Microseconds per second; histograms of times count microseconds.
const MICROS_PER_S: f64 = 1e6;

/// Milliseconds per second; the lateness of schedules counts milliseconds.
const MILLIS_PER_S: f64 = 1e3;

/// The label of all tenants that have no label of their own. It is not a valid tenant name.
const OTHERS: &str = "(others)";

/// Get the metrics of the host, in the text format of Prometheus.
#[utoipa::path(
    get, path = "/metrics", tag = "host", operation_id = "getMetrics",
    responses((status = 200, description = "Metrics in the text format 0.0.4 of Prometheus", body = String, content_type = "text/plain")),
)]
pub(crate) async fn get(State(app): State<App>, _: May<Administer>) -> Response {
    let mut text = Text::default();
    instances(&mut text, &app.engine);
    turns(&mut text, app.engine.stats());
    entities(&mut text, &app.engine.stats().entities);
    attempts(&mut text, &app.engine);
    fuel(&mut text, app.engine.stats());
    connections(&mut text, &app.engine);
    memory::show(&mut text, &app.engine);
    schedules(&mut text, &app.engine);
    retention(&mut text, &app.engine);
    broadcasts(&mut text, &app.engine);
    waits(&mut text, &app.waits);
    tenants(&mut text, &app.engine);
    store(&mut text, app.engine.store());
    process(&mut text);
    (
        [(header::CONTENT_TYPE, HeaderValue::from_static(Text::MEDIA_TYPE))],
        text.finish(),
    )
        .into_response()
}

fn schedules(text: &mut Text, engine: &Engine) {
    let stats = &engine.stats().schedules;
    text.metric(
        Kind::Counter,
        "windlass_schedule_times_total",
        "Times that schedules selected, by outcome.",
    )
    .sample(&[("outcome", "started")], stats.started.get())
    .sample(&[("outcome", "skipped")], stats.skipped.get())
    .sample(&[("outcome", "missed")], stats.missed.get())
    .sample(&[("outcome", "failed")], stats.failed.get());
    text.number(
        Kind::Counter,
        "windlass_schedule_starts_refused_total",
        "Starts of schedules that were refused and are tried again.",
        stats.refused.get(),
    );
    text.histogram(
        "windlass_schedule_lateness_seconds",
        "How much later than its time an instance of a schedule was stored.",
        &stats.lateness_ms.read(),
        MILLIS_PER_S,
    );
}

fn retention(text: &mut Text, engine: &Engine) {
    let stats = &engine.stats().retention;
    text.number(
        Kind::Counter,
        "windlass_retention_failures_total",
        "Times that expired instances could not be deleted because the store failed; it is tried again.",
        stats.failures.get(),
    );
    text.number(
        Kind::Gauge,
        "windlass_retention_finished_timestamp_seconds",
        "When retention last had nothing more to delete, in seconds since 1970; 0 if never since the host started.",
        stats.finished_at().map_or(0, |at| at.0 / 1_000),
    );
}

fn broadcasts(text: &mut Text, engine: &Engine) {
    let stats = &engine.stats().broadcasts;
    text.metric(
        Kind::Counter,
        "windlass_broadcasts_total",
        "Broadcasts, by what happened.",
    )
    .sample(&[("state", "accepted")], stats.accepted.get())
    .sample(&[("state", "finished")], stats.finished.get())
    .sample(&[("state", "cancelled")], stats.cancelled.get())
    .sample(&[("state", "unreadable")], stats.unreadable.get());
    text.metric(
        Kind::Counter,
        "windlass_broadcast_events_total",
        "Instances that broadcasts reached, by outcome.",
    )
    .sample(&[("outcome", "raised")], stats.raised.get())
    .sample(&[("outcome", "skipped")], stats.skipped.get());
}

fn waits(text: &mut Text, waits: &WaitLimit) {
    text.number(
        Kind::Gauge,
        "windlass_http_waits",
        "Requests that wait for the end of an instance.",
        waits.count(),
    );
}

fn instances(text: &mut Text, engine: &Engine) {
    let stats = engine.stats();
    text.metric(
        Kind::Counter,
        "windlass_instances_started_total",
        "Instances started, by origin.",
    )
    .sample(&[("by", "client")], stats.started_by_clients.get())
    .sample(&[("by", "schedule")], stats.started_by_schedules.get())
    .sample(&[("by", "orchestration")], stats.started_by_orchestrations.get());
    text.metric(
        Kind::Counter,
        "windlass_instances_ended_total",
        "Instances that have ended, by status.",
    )
    .sample(&[("status", "completed")], stats.completed.get())
    .sample(&[("status", "failed")], stats.failed.get())
    .sample(&[("status", "terminated")], stats.terminated.get())
    .sample(&[("status", "cancelled")], stats.cancelled.get());
    text.number(
        Kind::Counter,
        "windlass_instances_stuck_total",
        "Times that an instance became stuck.",
        stats.stuck.get(),
    );
    text.number(
        Kind::Gauge,
        "windlass_active_instances",
        "Instances that are being worked on or kept hot.",
        engine.active_instances(),
    );
    text.number(
        Kind::Gauge,
        "windlass_hot_instances",
        "Instances whose guest is in memory.",
        stats.guests.get(),
    );
    text.number(
        Kind::Gauge,
        "windlass_timers_in_memory",
        "Wake-ups kept in memory: the nearest ones; the others are on disk only.",
        engine.timers_in_memory(),
    );
}

fn turns(text: &mut Text, stats: &EngineStats) {
    text.number(
        Kind::Counter,
        "windlass_turns_total",
        "New turns written.",
        stats.turns.get(),
    );
    text.metric(
        Kind::Counter,
        "windlass_guests_started_total",
        "Guests created for instances, by whether they had to replay a history first; all other turns found their guest hot.",
    )
    .sample(&[("history", "none")], stats.guests_new.get())
    .sample(&[("history", "replayed")], stats.guests_replayed.get());
    text.number(
        Kind::Counter,
        "windlass_turns_replayed_total",
        "Recorded turns that were replayed.",
        stats.turns_replayed.get(),
    );
}

fn entities(text: &mut Text, stats: &EntityStats) {
    text.number(
        Kind::Counter,
        "windlass_entity_steps_total",
        "Steps of entities written; each applies the operations that wait.",
        stats.steps.get(),
    );
    text.metric(
        Kind::Counter,
        "windlass_entity_operations_total",
        "Operations of entities, by how they ended.",
    )
    .sample(&[("outcome", "succeeded")], stats.succeeded.get())
    .sample(&[("outcome", "failed")], stats.failed.get());
}

fn attempts(text: &mut Text, engine: &Engine) {
    let attempts = &engine.stats().attempts;
    text.metric(
        Kind::Counter,
        "windlass_activity_attempts_total",
        "Attempts of activities, by how they ended.",
    )
    .sample(&[("outcome", "completed")], attempts.completed.get())
    .sample(&[("outcome", "failed")], attempts.failed.get())
    .sample(&[("outcome", "timed_out")], attempts.timed_out.get())
    .sample(&[("outcome", "dropped")], attempts.dropped.get())
    .sample(&[("outcome", "cut_off")], attempts.cut_off.get());
    text.number(
        Kind::Gauge,
        "windlass_activity_attempts_running",
        "Attempts of activities that are running.",
        attempts.running.get(),
    );
    text.number(
        Kind::Gauge,
        "windlass_activity_attempts_waiting",
        "Attempts of activities that wait for a slot, also because results of their instance pile up.",
        attempts.waiting.get(),
    );
    text.number(
        Kind::Gauge,
        "windlass_activity_calls",
        "Activity calls that run, wait for a slot, or wait for their next attempt.",
        engine.activity_calls(),
    );
}

fn fuel(text: &mut Text, stats: &EngineStats) {
    text.metric(
        Kind::Counter,
        "windlass_fuel_total",
        "Fuel used by guests, about one per instruction.",
    )
    .sample(&[("by", "turns")], stats.turn_fuel.get())
    .sample(&[("by", "entities")], stats.entities.fuel.get())
    .sample(&[("by", "activities")], stats.attempts.fuel.get());
}

fn connections(text: &mut Text, engine: &Engine) {
    let counts = engine.connections();
    text.number(
        Kind::Counter,
        "windlass_outgoing_connections_opened_total",
        "Connections opened for requests of activities.",
        counts.opened,
    );
    text.number(
        Kind::Counter,
        "windlass_outgoing_connections_reused_total",
        "Requests of activities that reused a connection.",
        counts.reused,
    );
    text.number(
        Kind::Gauge,
        "windlass_outgoing_connections_idle",
        "Connections that wait for the next request of an activity.",
        counts.idle,
    );
}

/// The statistics of one tenant, or of several combined.
struct OfTenant<'a> {
    name: &'a str,
    counts: &'a TenantCounts,
    used: ShareUse,
    /// Bytes of the memory budget.
    memory: u64,
}

fn tenants(text: &mut Text, engine: &Engine) {
    let tenancy = engine.tenancy();
    let (alone, others): (Vec<_>, Vec<_>) = tenancy
        .tenants()
        .into_iter()
        .partition(|tenant| tenant.counts().are_of_one());
    let counts_of_others = tenancy.counts_of_others();
    let used_by_others = others.iter().map(|tenant| engine.share_use(tenant.id));
    let together = OfTenant {
        name: OTHERS,
        counts: &counts_of_others,
        used: used_by_others.fold(ShareUse::default(), |sum, used| ShareUse {
            running: sum.running + used.running,
            waiting: sum.waiting + used.waiting,
        }),
        memory: others.iter().map(|tenant| engine.memory().used_by(tenant.id)).sum(),
    };
    let alone = alone.iter().map(|tenant| OfTenant {
        name: tenant.name.as_str(),
        counts: tenant.counts(),
        used: engine.share_use(tenant.id),
        memory: engine.memory().used_by(tenant.id),
    });
    let all: Vec<OfTenant<'_>> = alone.chain([together]).collect();
    let mut show = |kind, name, help, number: fn(&OfTenant<'_>) -> u64| {
        let metric = text.metric(kind, name, help);
        all.iter()
            .fold(metric, |metric, of| metric.sample(&[("tenant", of.name)], number(of)));
    };
    show(
        Kind::Counter,
        "windlass_tenant_instances_started_total",
        "Instances that clients started, by tenant.",
        |of| of.counts.starts.get(),
    );
    show(
        Kind::Counter,
        "windlass_tenant_turns_total",
        "New turns written, by tenant.",
        |of| of.counts.turns.get(),
    );
    show(
        Kind::Counter,
        "windlass_tenant_operations_total",
        "Operations of entities, by tenant.",
        |of| of.counts.operations.get(),
    );
    show(
        Kind::Counter,
        "windlass_tenant_activity_attempts_total",
        "Attempts of activities that ended by themselves, by tenant.",
        |of| of.counts.attempts.get(),
    );
    show(
        Kind::Counter,
        "windlass_tenant_fuel_total",
        "Fuel used by guests, by tenant.",
        |of| of.counts.fuel.get(),
    );
    show(
        Kind::Counter,
        "windlass_tenant_instances_expired_total",
        "Ended instances that retention deleted, by tenant.",
        |of| of.counts.expired.get(),
    );
    show(
        Kind::Gauge,
        "windlass_tenant_activities_running",
        "Activities that are running, by tenant.",
        |of| of.used.running as u64,
    );
    show(
        Kind::Gauge,
        "windlass_tenant_activities_waiting",
        "Activities that wait for a slot or for a limit of their tenant, by tenant.",
        |of| of.used.waiting as u64,
    );
    show(
        Kind::Gauge,
        "windlass_tenant_memory_bytes",
        "Bytes of the memory budget that are held, by tenant.",
        |of| of.memory,
    );
}

fn store(text: &mut Text, store: &Store) {
    let (stats, batches) = (store.stats(), store.batch_stats());
    text.number(
        Kind::Counter,
        "windlass_store_commits_total",
        "Transactions written.",
        batches.micros.count,
    );
    text.number(
        Kind::Counter,
        "windlass_store_operations_total",
        "Turns, starts, messages and other operations written in transactions.",
        stats.operations,
    );
    text.number(
        Kind::Counter,
        "windlass_store_rows_total",
        "Rows written or deleted in transactions.",
        stats.rows,
    );
    text.number(
        Kind::Counter,
        "windlass_store_failures_total",
        "Operations that the database rejected, and transactions that could not begin.",
        stats.failures,
    );
    text.number(
        Kind::Counter,
        "windlass_store_checkpoint_pauses_total",
        "Times that the writer paused so that SQLite's log could start over.",
        stats.checkpoint_pauses,
    );
    text.number(
        Kind::Counter,
        "windlass_store_checkpoints_in_use_total",
        "Checkpoints that could not shorten SQLite's log because of a reader.",
        stats.checkpoints_in_use,
    );
    text.number(
        Kind::Gauge,
        "windlass_store_queue_operations",
        "Operations that wait for the writer.",
        store.queue_length(),
    );
    text.histogram(
        "windlass_store_commit_seconds",
        "Duration of a transaction, until it is on disk.",
        &batches.micros,
        MICROS_PER_S,
    );
    text.histogram(
        "windlass_store_commit_operations",
        "Operations in a transaction.",
        &batches.operations,
        1.0,
    );
    text.histogram(
        "windlass_store_commit_rows",
        "Rows in a transaction.",
        &batches.rows,
        1.0,
    );
}

/// Metrics of the process, under the names that Prometheus' own clients use.
fn process(text: &mut Text) {
    let Some(usage) = process_usage("self") else { return };
    text.number(
        Kind::Counter,
        "process_cpu_seconds_total",
        "CPU time used, user and system.",
        usage.cpu.as_secs_f64(),
    );
    text.number(
        Kind::Gauge,
        "process_resident_memory_bytes",
        "Resident memory.",
        usage.resident_bytes,
    );
}
