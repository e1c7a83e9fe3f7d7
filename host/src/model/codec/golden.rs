//! Golden files: for each stored type and version, the bytes of some values (`.bin`) beside the decoded values
//! (`.txt`).
//!
//! A `.bin` file is written once, by the first test of its version, and never changed, because databases hold such
//! bytes. A `.txt` file shows how the current code decodes them; `UPDATE_EXPECT=1` rewrites it when a type got a new
//! field.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use expect_test::expect_file;

use super::{CodecError, Stored, body_of, decode, encode, first_arrival, visit_turn};
use crate::model::{
    ActivityOptions, Arrival, Cause, Decision, EntityDescription, EntityId, EntityLock, EntityState, Event,
    EventDescription, ExecutionNumber, FailedOperation, Failure, FunctionDescription, FunctionKind, InboxItem,
    InboxSeq, InstanceNumber, LockRequest, ModuleDescription, ModuleNumber, ObservableLimits, Operation,
    OperationDescription, Overlap, Parent, ParentClose, Payload, Replaces, ReplyTo, RetryPolicy, RewindPoint, Rewinds,
    Schedule, ScheduleState, SectionId, Started, StateChange, StuckReason, SubOrchestrationOptions, Tags, TaskId,
    Timestamp, Turn, TurnNumber,
    schedule::{Counts, LastStart, Occasion, OccasionOutcome, Refused, Spec, StoredSchedule},
};

/// Set this variable to 1 to write missing files, for a new version or a new variant.
const NEW: &str = "WINDLASS_NEW_GOLDEN";

/// Compares all golden files of a type with what the code decodes, and newly encoded values with the files of the
/// current version.
fn check<T: Stored + Debug>(samples: &[(&str, T)]) {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "src/model/golden", T::NAME]
        .iter()
        .collect();
    let now = folder.join(format!("v{}", T::VERSION));
    for (name, sample) in samples {
        let path = now.join(name).with_extension("bin");
        if !path.exists() {
            assert!(
                std::env::var_os(NEW).is_some(),
                "{} is missing: {NEW}=1 writes it, if version {} of the format of a {} is new",
                path.display(),
                T::VERSION,
                T::NAME
            );
            fs::create_dir_all(&now).expect("the repository can be written to");
            fs::write(&path, encode(sample)).expect("the repository can be written to");
        }
        assert!(
            fs::read(&path).expect("a file of the repository") == encode(sample),
            "the format of a {} changed, and databases hold the old one: {} no longer matches. \
             Undo the change, or give it a new version; host/src/model/codec.rs describes how.",
            T::NAME,
            path.display()
        );
    }
    for version in 1..=T::VERSION {
        let files = bin_files(&folder.join(format!("v{version}")));
        assert!(
            !files.is_empty(),
            "version {version} of a {} has no golden files",
            T::NAME
        );
        for path in files {
            check_file::<T>(&path, version);
        }
    }
}

fn check_file<T: Stored + Debug>(path: &Path, version: u8) {
    let bytes = fs::read(path).expect("a file of the repository");
    assert_eq!(bytes.first(), Some(&version), "{}", path.display());
    let value: T = decode(&bytes).unwrap_or_else(|error| {
        panic!(
            "{error}: {} is what databases hold, and the code cannot read it any more. \
             host/src/model/codec.rs says how a format changes.",
            path.display()
        )
    });
    let shown = format!("{value:#?}\n");
    expect_file![path.with_extension("txt")].assert_eq(&shown);
    let written = encode(&value);
    if version == T::VERSION {
        assert_eq!(written, bytes, "{}", path.display());
    } else {
        let again: T = decode(&written).expect("an encoded value can be decoded");
        assert_eq!(format!("{again:#?}\n"), shown, "{}", path.display());
    }
}

/// The golden files in a folder, sorted; empty if there is no folder.
fn bin_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.expect("a file of the repository").path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|ext| ext == "bin"))
        .collect();
    paths.sort();
    paths
}

/// Checks that the samples contain every variant of an enum. `name_of` matches exhaustively, so that a new variant is
/// first a compile error there, and then a missing sample here.
fn check_variants<T>(all: &[&str], samples: &[(&str, T)], name_of: impl Fn(&T) -> Vec<&'static str>) {
    let shown: BTreeSet<&str> = samples.iter().flat_map(|(_, sample)| name_of(sample)).collect();
    let all: BTreeSet<&str> = all.iter().copied().collect();
    assert_eq!(shown, all, "each variant needs a sample");
}

fn payload(text: &str) -> Payload {
    Payload::parse(text, usize::MAX).unwrap()
}

fn event(name: &str) -> Event {
    Event {
        name: name.parse().unwrap(),
        payload: payload("{\"approved\" : true, \"by\":\"\u{e9}\"}"),
    }
}

fn retry() -> RetryPolicy {
    RetryPolicy {
        first_interval_ms: 5_000,
        backoff_coefficient: 2.5,
        max_interval_ms: 3_600_000,
        max_attempts: 10,
        non_retryable_error_types: vec!["Declined".into()],
    }
}

fn failure() -> Failure {
    Failure {
        error_type: "OrderFailed".into(),
        message: "the payment failed".into(),
        details: Some(payload("{\"order\":\"7\"}")),
        non_retryable: true,
        causes: vec![Cause {
            error_type: "Declined".into(),
            message: "no money".into(),
            details: Some(payload("1.0")),
        }],
    }
}

fn parent() -> Parent {
    Parent {
        instance: InstanceNumber(300),
        instance_id: "order-7".parse().unwrap(),
        execution: ExecutionNumber(2),
        task: TaskId(5),
        attempt: 3,
    }
}

fn started() -> Started {
    Started {
        execution: ExecutionNumber(2),
        function: "Order".parse().unwrap(),
        input: payload("{\"amount\" : 1.0}"),
        seed: std::array::from_fn(|at| u8::try_from(at).unwrap()),
        limits: ObservableLimits {
            memory_bytes: 64 << 20,
            payload_bytes: 1 << 20,
        },
        parent: Some(parent()),
        events: vec![event("Approval")],
        not_before: Some(Timestamp(1_700_000_000_000)),
    }
}

fn turn(arrivals: Vec<Arrival>, decisions: Vec<Decision>) -> Turn {
    Turn {
        number: TurnNumber(1),
        at: Timestamp(1_700_000_000_123),
        arrivals,
        decisions,
        fuel: 123_456,
    }
}

/// Every arrival, with each of its options.
fn arrivals() -> Vec<Arrival> {
    let bare = Started {
        parent: None,
        events: Vec::new(),
        not_before: None,
        ..started()
    };
    vec![
        Arrival::Started(Box::new(started())),
        Arrival::Started(Box::new(bare)),
        Arrival::TaskEnded {
            task: TaskId(1),
            outcome: Ok(payload("[1.50, 12345678901234567890]")),
        },
        Arrival::TaskEnded {
            task: TaskId(2),
            outcome: Err(failure()),
        },
        Arrival::TimerFired { task: TaskId(300) },
        Arrival::EventRaised(event("Approval")),
        Arrival::Terminated {
            reason: "by hand".into(),
        },
    ]
}

/// Every decision, with each of its options.
fn decisions() -> Vec<Decision> {
    let (function, input) = (|name: &str| name.parse().unwrap(), payload("{\"id\":7}"));
    vec![
        Decision::CallActivity {
            task: TaskId(1),
            function: function("Charge"),
            input: input.clone(),
            options: ActivityOptions {
                retry: Some(retry()),
                attempt_timeout_ms: Some(30_000),
                timeout_ms: Some(600_000),
                heartbeat_timeout_ms: None,
            },
            module: ModuleNumber(4),
        },
        Decision::CallActivity {
            task: TaskId(2),
            function: function("Ship"),
            input: input.clone(),
            options: ActivityOptions::default(),
            module: ModuleNumber(4),
        },
        Decision::CallSubOrchestration {
            task: TaskId(3),
            function: function("Refund"),
            input: input.clone(),
            instance_id: "refund-7".parse().unwrap(),
            fixed_id: true,
            options: SubOrchestrationOptions {
                retry: Some(retry()),
                timeout_ms: Some(1),
            },
            module: ModuleNumber(5),
        },
        Decision::StartOrchestration {
            function: function("Audit"),
            input: input.clone(),
            instance_id: "audit-7".parse().unwrap(),
            module: ModuleNumber(6),
        },
        Decision::SendEvent {
            instance_id: "other".parse().unwrap(),
            event: event("Paid"),
        },
        Decision::CreateTimer {
            task: TaskId(4),
            fire_at: Timestamp(1_700_000_005_123),
        },
        Decision::WaitForEvent {
            task: TaskId(5),
            name: "Approval".parse().unwrap(),
        },
        Decision::CancelTask { task: TaskId(4) },
        Decision::Refused {
            task: Some(TaskId(6)),
            call: "call-activity".into(),
            name: "Chagre".into(),
            failure: failure(),
        },
        Decision::Refused {
            task: None,
            call: "start-orchestration".into(),
            name: "Adit".into(),
            failure: failure(),
        },
        Decision::Complete { output: input.clone() },
        Decision::Fail { failure: failure() },
        Decision::ContinueAsNew {
            input,
            events: vec![event("Approval"), event("approval")],
        },
    ]
}

fn entity(key: &str) -> EntityId {
    EntityId::new("Account", key).unwrap()
}

fn section() -> SectionId {
    SectionId {
        instance: InstanceNumber(300),
        execution: ExecutionNumber(2),
        task: TaskId(5),
    }
}

/// The decisions about entities, with each of their options.
fn decisions_about_entities() -> Vec<Decision> {
    let call = |section| Decision::CallEntity {
        task: TaskId(2),
        entity: entity("Ada"),
        operation: "deposit".into(),
        input: payload("500"),
        section,
        module: ModuleNumber(4),
    };
    let signal = |due_at| Decision::SignalEntity {
        entity: entity("Ada"),
        operation: "deposit".into(),
        input: payload("500"),
        due_at,
        module: ModuleNumber(4),
    };
    vec![
        Decision::LockEntities {
            task: TaskId(1),
            entities: vec![(entity("Ada"), ModuleNumber(4)), (entity("bob"), ModuleNumber(5))],
        },
        call(Some(TaskId(1))),
        Decision::UnlockEntities { task: TaskId(1) },
        call(None),
        signal(None),
        signal(Some(Timestamp(1_700_000_005_123))),
    ]
}

/// Calls whose attempts must send heartbeats, with and without another timeout.
fn decisions_with_heartbeats() -> Vec<Decision> {
    let call = |task, timeout_ms| Decision::CallActivity {
        task: TaskId(task),
        function: "Import".parse().unwrap(),
        input: payload("{\"id\":7}"),
        options: ActivityOptions {
            timeout_ms,
            heartbeat_timeout_ms: Some(30_000),
            ..ActivityOptions::default()
        },
        module: ModuleNumber(4),
    };
    vec![call(1, None), call(2, Some(600_000))]
}

#[test]
fn schedules_of_all_versions_are_read() {
    let schedule = |spec: Spec, overlap| {
        let schedule = Schedule {
            function: "Report".parse().unwrap(),
            input: payload("{\"of\": 1.0}"),
            tags: Tags::new(["customer:ada".parse().unwrap()]).unwrap(),
            spec: spec.between(Some(Timestamp(1_000)), Some(Timestamp(2_000_000_000_000))),
            overlap,
            catch_up: Duration::from_secs(3_600),
            jitter: Duration::from_millis(1_500),
        };
        schedule.stored()
    };
    let cron = Spec::cron("0 9 * * MON-FRI", "Europe/Berlin").unwrap();
    let interval = Spec::interval(Duration::from_secs(90), Duration::from_secs(30)).unwrap();
    check::<StoredSchedule>(&[
        ("cron-queue-one", schedule(cron.clone(), Overlap::QueueOne)),
        ("cron-allow", schedule(cron, Overlap::Allow)),
        ("interval-skip", schedule(interval.clone(), Overlap::Skip)),
        ("interval-terminate", schedule(interval.clone(), Overlap::Terminate)),
        ("interval-cancel", schedule(interval, Overlap::Cancel)),
    ]);
}

#[test]
fn states_of_schedules_of_all_versions_are_read() {
    let at = Timestamp;
    let last = LastStart {
        id: "report-2026-11-29T10:00:00Z".parse().unwrap(),
        number: InstanceNumber(77),
    };
    let occasion = |nominal, times, outcome| Occasion {
        nominal: at(nominal),
        at: at(nominal + 1),
        times,
        outcome,
    };
    let started = |by_hand| OccasionOutcome::Started {
        instance: last.id.clone(),
        by_hand,
    };
    let failed = OccasionOutcome::Failed {
        reason: "no module".into(),
    };
    let full = ScheduleState {
        decided: at(5_000),
        buffered: Some((at(4_000), at(4_500))),
        last: Some(last.clone()),
        paused: Some("maintenance".into()),
        refused: Some(Refused {
            nominal: at(6_000),
            since: at(6_001),
            attempts: 3,
            retry_at: at(10_000),
            reason: "the host is overloaded".into(),
        }),
        recent: [
            occasion(1_000, 1, started(false)),
            occasion(1_500, 1, started(true)),
            occasion(2_000, 2, OccasionOutcome::Skipped),
            occasion(3_000, 9, OccasionOutcome::Missed),
            occasion(4_000, 1, failed),
        ]
        .into(),
        counts: Counts {
            started: 2,
            skipped: 2,
            missed: 9,
            failed: 1,
        },
    };
    check::<ScheduleState>(&[("new", ScheduleState::new(at(1_000))), ("full", full)]);
}

fn arrivals_of_cancellation() -> Vec<Arrival> {
    vec![Arrival::CancelRequested {
        reason: "by hand".into(),
    }]
}

fn decisions_about_cancellation() -> Vec<Decision> {
    vec![Decision::WaitForCancellation { task: TaskId(1) }]
}

fn decisions_about_parent_close() -> Vec<Decision> {
    let policies = [ParentClose::Abandon, ParentClose::Terminate, ParentClose::Cancel];
    let decision = |policy| Decision::SetParentClose {
        task: TaskId(1),
        policy,
    };
    policies.map(decision).into()
}

fn decisions_about_patches() -> Vec<Decision> {
    let decision = |name: &str, deprecated| Decision::Patched {
        name: name.into(),
        deprecated,
    };
    vec![decision("new-tax", false), decision("old-tax", true)]
}

#[test]
fn turns_of_all_versions_are_read() {
    let samples = [
        ("everything", turn(arrivals(), decisions())),
        ("entities", turn(Vec::new(), decisions_about_entities())),
        (
            "cancellation",
            turn(arrivals_of_cancellation(), decisions_about_cancellation()),
        ),
        ("parent-close", turn(Vec::new(), decisions_about_parent_close())),
        ("patches", turn(Vec::new(), decisions_about_patches())),
        ("empty", turn(Vec::new(), Vec::new())),
        ("heartbeats", turn(Vec::new(), decisions_with_heartbeats())),
        (
            "clock-behind",
            turn(vec![Arrival::ClockBehind { by_ms: 3_600_000 }], Vec::new()),
        ),
        (
            "rewound",
            turn(
                vec![Arrival::Rewound {
                    from: TurnNumber(3),
                    next_task: TaskId(300),
                    reason: "repaired".into(),
                }],
                Vec::new(),
            ),
        ),
    ];
    for (name, turn) in &samples {
        let first = first_arrival(&encode(turn));
        assert_eq!(first.as_ref().map(Option::as_ref), Ok(turn.arrivals.first()), "{name}");
        let (mut arrivals, mut decisions) = (Vec::new(), Vec::new());
        let visited = visit_turn(
            &encode(turn),
            |arrival| arrivals.push(arrival),
            |decision| decisions.push(decision),
        );
        assert_eq!(visited, Ok(()), "{name}");
        assert_eq!((&arrivals, &decisions), (&turn.arrivals, &turn.decisions), "{name}");
        for length in 0..encode(turn).len() {
            let cut = visit_turn(&encode(turn)[..length], drop, drop);
            assert!(cut.is_err(), "{name}, cut off after {length} bytes");
        }
    }
    check_variants(
        &[
            "Started",
            "TaskEnded",
            "TimerFired",
            "EventRaised",
            "Terminated",
            "ClockBehind",
            "Rewound",
            "CancelRequested",
        ],
        &samples,
        |turn| {
            let name = |arrival: &Arrival| match arrival {
                Arrival::Started(_) => "Started",
                Arrival::TaskEnded { .. } => "TaskEnded",
                Arrival::TimerFired { .. } => "TimerFired",
                Arrival::EventRaised(_) => "EventRaised",
                Arrival::Terminated { .. } => "Terminated",
                Arrival::ClockBehind { .. } => "ClockBehind",
                Arrival::Rewound { .. } => "Rewound",
                Arrival::CancelRequested { .. } => "CancelRequested",
            };
            turn.arrivals.iter().map(name).collect()
        },
    );
    check_variants(
        &[
            "CallActivity",
            "CallSubOrchestration",
            "StartOrchestration",
            "SendEvent",
            "CreateTimer",
            "WaitForEvent",
            "CancelTask",
            "Refused",
            "Complete",
            "Fail",
            "ContinueAsNew",
            "CallEntity",
            "SignalEntity",
            "LockEntities",
            "UnlockEntities",
            "WaitForCancellation",
            "SetParentClose",
            "Patched",
        ],
        &samples,
        |turn| {
            let name = |decision: &Decision| match decision {
                Decision::CallActivity { .. } => "CallActivity",
                Decision::CallSubOrchestration { .. } => "CallSubOrchestration",
                Decision::StartOrchestration { .. } => "StartOrchestration",
                Decision::SendEvent { .. } => "SendEvent",
                Decision::CreateTimer { .. } => "CreateTimer",
                Decision::WaitForEvent { .. } => "WaitForEvent",
                Decision::CancelTask { .. } => "CancelTask",
                Decision::Refused { .. } => "Refused",
                Decision::Complete { .. } => "Complete",
                Decision::Fail { .. } => "Fail",
                Decision::ContinueAsNew { .. } => "ContinueAsNew",
                Decision::CallEntity { .. } => "CallEntity",
                Decision::SignalEntity { .. } => "SignalEntity",
                Decision::LockEntities { .. } => "LockEntities",
                Decision::UnlockEntities { .. } => "UnlockEntities",
                Decision::WaitForCancellation { .. } => "WaitForCancellation",
                Decision::SetParentClose { .. } => "SetParentClose",
                Decision::Patched { .. } => "Patched",
            };
            turn.decisions.iter().map(name).collect()
        },
    );
    check(&samples);
}

#[test]
fn answers_of_all_versions_are_read() {
    check(&[("output", Ok(payload("1.0"))), ("failure", Err(failure()))]);
}

#[test]
fn messages_of_all_versions_are_read() {
    let ended = |outcome| InboxItem::TaskEnded {
        execution: ExecutionNumber(2),
        task: TaskId(5),
        attempt: 1,
        outcome,
    };
    let reason = || String::from("by hand");
    let samples = [
        ("start", InboxItem::Start(Box::new(started()))),
        ("task-ended", ended(Ok(payload("1.0")))),
        ("task-failed", ended(Err(failure()))),
        ("event", InboxItem::Event(event("Approval"))),
        ("terminate", InboxItem::Terminate { reason: reason() }),
        ("suspend", InboxItem::Suspend { reason: reason() }),
        ("resume", InboxItem::Resume { reason: reason() }),
        ("rewind", InboxItem::Rewind { reason: reason() }),
        (
            "call",
            InboxItem::Operation(Box::new(Operation {
                name: "deposit".into(),
                input: payload("500"),
                reply_to: Some(ReplyTo::Task {
                    instance: InstanceNumber(300),
                    execution: ExecutionNumber(2),
                    task: TaskId(6),
                }),
                section: Some(section()),
                due_at: None,
            })),
        ),
        (
            "call-of-client",
            InboxItem::Operation(Box::new(Operation {
                name: "deposit".into(),
                input: payload("500"),
                reply_to: Some(ReplyTo::Client { request: u64::MAX }),
                section: None,
                due_at: None,
            })),
        ),
        (
            "call-of-client-with-key",
            InboxItem::Operation(Box::new(Operation {
                name: "deposit".into(),
                input: payload("500"),
                reply_to: Some(ReplyTo::KeyedClient {
                    request: u64::MAX,
                    key: "payment-7".into(),
                    fingerprint: [7; 32],
                }),
                section: None,
                due_at: None,
            })),
        ),
        (
            "signal",
            InboxItem::Operation(Box::new(Operation {
                name: "deposit".into(),
                input: payload("500"),
                reply_to: None,
                section: None,
                due_at: Some(Timestamp(1_700_000_005_123)),
            })),
        ),
        (
            "lock",
            InboxItem::Lock(Box::new(LockRequest {
                section: section(),
                holder: "transfer-7".parse().unwrap(),
                then: vec![(entity("bob"), ModuleNumber(5))],
                withdrawn: true,
            })),
        ),
        ("unlock", InboxItem::Unlock { section: section() }),
        ("cancel", InboxItem::Cancel { reason: reason() }),
        (
            "set-state",
            InboxItem::SetState(Box::new(StateChange {
                state: Some(payload("{\"cents\":5}")),
                replaces: Replaces::Version {
                    instance: InstanceNumber(9),
                    version: 4,
                },
                key: Some("k1".into()),
                reply_to: ReplyTo::Client { request: 7 },
            })),
        ),
        (
            "delete-state",
            InboxItem::SetState(Box::new(StateChange {
                state: None,
                replaces: Replaces::Anything,
                key: None,
                reply_to: ReplyTo::Client { request: 8 },
            })),
        ),
        (
            "create-state",
            InboxItem::SetState(Box::new(StateChange {
                state: Some(payload("1")),
                replaces: Replaces::Nothing,
                key: None,
                reply_to: ReplyTo::Client { request: 9 },
            })),
        ),
    ];
    check_variants(
        &[
            "Start",
            "TaskEnded",
            "Event",
            "Terminate",
            "Suspend",
            "Resume",
            "Operation",
            "Lock",
            "Unlock",
            "Rewind",
            "Cancel",
            "SetState",
        ],
        &samples,
        |item| {
            vec![match item {
                InboxItem::Start(_) => "Start",
                InboxItem::TaskEnded { .. } => "TaskEnded",
                InboxItem::Event(_) => "Event",
                InboxItem::Terminate { .. } => "Terminate",
                InboxItem::Suspend { .. } => "Suspend",
                InboxItem::Resume { .. } => "Resume",
                InboxItem::Operation(_) => "Operation",
                InboxItem::Lock(_) => "Lock",
                InboxItem::Unlock { .. } => "Unlock",
                InboxItem::Rewind { .. } => "Rewind",
                InboxItem::Cancel { .. } => "Cancel",
                InboxItem::SetState(_) => "SetState",
            }]
        },
    );
    check(&samples);
}

#[test]
fn failures_parents_and_reasons_of_all_versions_are_read() {
    check(&[
        ("with-causes", failure()),
        ("plain", Failure::new("windlass.timeout", "too late")),
    ]);
    check(&[("parent", parent())]);
    let point = |from, row| RewindPoint {
        from: TurnNumber(from),
        row: TurnNumber(row),
    };
    let rewinds = Rewinds::none(ExecutionNumber(2))
        .with(point(3, 300))
        .with(point(301, 302));
    let late = Rewinds {
        until: InboxSeq(70_000),
        ..rewinds.clone()
    };
    check(&[
        ("twice", rewinds),
        ("never", Rewinds::none(ExecutionNumber(1))),
        ("late-messages", late),
    ]);
    check(&[(
        "nondeterminism",
        StuckReason {
            code: "nondeterminism".into(),
            message: "turn 1: history calls activity \"charge\" as task 1, the code now calls \"refund\"".into(),
        },
    )]);
}

#[test]
fn module_descriptions_of_all_versions_are_read() {
    let function = |name: &str, default_options| FunctionDescription {
        name: name.parse().unwrap(),
        doc: "Charges a card.".into(),
        input_schema: Some("{\"type\":\"integer\"}".into()),
        output_schema: None,
        default_options,
    };
    let options = ActivityOptions {
        retry: Some(retry()),
        ..ActivityOptions::default()
    };
    let samples = [
        (
            "activities",
            ModuleDescription {
                kind: FunctionKind::Activity,
                functions: vec![function("Charge", Some(options)), function("Ship", None)],
                sdk: "windlass-sdk 0.1.0".into(),
                events: Vec::new(),
                entities: Vec::new(),
            },
        ),
        (
            "entities",
            ModuleDescription {
                kind: FunctionKind::Entity,
                functions: vec![function("account", None)],
                sdk: String::new(),
                events: Vec::new(),
                entities: Vec::new(),
            },
        ),
        (
            "orchestrations",
            ModuleDescription {
                kind: FunctionKind::Orchestration,
                functions: vec![function("Order", None)],
                sdk: String::new(),
                events: Vec::new(),
                entities: Vec::new(),
            },
        ),
    ];
    check_variants(&["Orchestration", "Activity", "Entity"], &samples, |module| {
        vec![match module.kind {
            FunctionKind::Orchestration => "Orchestration",
            FunctionKind::Activity => "Activity",
            FunctionKind::Entity => "Entity",
        }]
    });
    check(&samples);
}

#[test]
fn entities_of_all_versions_are_read() {
    check(&[
        ("empty", EntityState::default()),
        (
            "everything",
            EntityState {
                state: Some(payload("{\"cents\" : 1.0}")),
                version: 300,
                lock: Some(EntityLock {
                    section: section(),
                    holder: "transfer-7".parse().unwrap(),
                    since: Timestamp(1_700_000_000_123),
                }),
                left_sections: vec![section()],
                last_failure: Some(FailedOperation {
                    at: Timestamp(1_700_000_000_123),
                    operation: "withdraw".into(),
                    failure: failure(),
                }),
            },
        ),
    ]);
}

#[test]
fn declared_entities_of_all_versions_are_read() {
    let operation = |name: &str, input_schema| OperationDescription {
        name: name.into(),
        doc: "Changes the balance.".into(),
        input_schema,
        output_schema: None,
    };
    let declared = |name: &str, operations| EntityDescription {
        name: name.into(),
        state_schema: Some("{\"type\":\"object\"}".into()),
        operations,
    };
    check(&[(
        "two",
        vec![
            declared(
                "Account",
                vec![
                    operation("deposit", Some("{\"type\":\"integer\"}".into())),
                    operation("get", None),
                ],
            ),
            declared("Any", Vec::new()),
        ],
    )]);
}

#[test]
fn declared_events_of_all_versions_are_read() {
    let declared = |name: &str, payload_schema| EventDescription {
        function: "Order".parse().unwrap(),
        name: name.parse().unwrap(),
        payload_schema,
    };
    check(&[(
        "two",
        vec![
            declared("Paid", Some("{\"type\":\"integer\"}".into())),
            declared("close", None),
        ],
    )]);
}

/// A type that has changed twice: a field was added, then another field got a unit.
#[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
struct Wait {
    name: String,
    millis: u64,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct WaitV2 {
    name: String,
    seconds: u64,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct WaitV1 {
    seconds: u64,
}

impl WaitV1 {
    fn upgrade(self) -> WaitV2 {
        WaitV2 {
            name: "wait".into(),
            seconds: self.seconds,
        }
    }
}

impl WaitV2 {
    fn upgrade(self) -> Wait {
        Wait {
            name: self.name,
            millis: self.seconds * 1_000,
        }
    }
}

impl Stored for Wait {
    const NAME: &'static str = "wait";
    const VERSION: u8 = 3;

    fn read_older(version: u8, body: &[u8]) -> Result<Self, CodecError> {
        match version {
            1 => Ok(body_of::<WaitV1>(body)?.upgrade().upgrade()),
            2 => Ok(body_of::<WaitV2>(body)?.upgrade()),
            found => Err(CodecError::Version {
                name: Self::NAME,
                found,
                known: Self::VERSION,
            }),
        }
    }
}

#[test]
fn all_versions_of_a_changed_type_are_read_and_unknown_ones_are_refused() {
    let read = |version: u8, body: Vec<u8>| decode::<Wait>(&[vec![version], body].concat());
    let wait = |name: &str, millis| Wait {
        name: name.into(),
        millis,
    };
    let first = postcard::to_allocvec(&WaitV1 { seconds: 5 }).unwrap();
    let second = postcard::to_allocvec(&WaitV2 {
        name: "nap".into(),
        seconds: 6,
    })
    .unwrap();
    assert_eq!(read(1, first.clone()), Ok(wait("wait", 5_000)));
    assert_eq!(read(2, second), Ok(wait("nap", 6_000)));
    assert_eq!(decode(&encode(&wait("now", 7))), Ok(wait("now", 7)));
    let unknown = |found| {
        Err(CodecError::Version {
            name: "wait",
            found,
            known: 3,
        })
    };
    assert_eq!(read(4, first.clone()), unknown(4));
    assert_eq!(read(0, first.clone()), unknown(0));
    assert_eq!(read(1, [first, vec![0]].concat()), Err(CodecError::Trailing(1)));
    assert_eq!(decode::<Wait>(&[]), Err(CodecError::Empty));
}
