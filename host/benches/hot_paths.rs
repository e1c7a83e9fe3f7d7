//! Benchmarks of the parts that every turn uses: replaying, folding, encoding, writing.
//!
//! `make microbench` runs them and compares them with the previous run. No test depends on a time.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use tokio_util::sync::CancellationToken;
use windlass::model::{
    ActivityOptions, Arrival, Decision, ExecutionNumber, Failure, FunctionName, InstanceStatus, ModuleNumber,
    ObservableLimits, Payload, Started, Tags, TaskId, TenantId, Timestamp, Turn, TurnNumber, codec,
};
use windlass::replay::{
    Budget, Directory, Execution, Guest, HostUnavailable, Interrupt, Ledger, Player, Progress, Ran, ResolvedActivity,
    ResolvedOrchestration, TurnLimits, Waited,
};
use windlass::store::{Creation, NewInstance, Store, StoreOptions, Summary, TurnCommit};

/// An orchestration that calls activities in sequence.
struct Chain {
    left: u32,
    waiting: bool,
}

impl Chain {
    fn go(&mut self, execution: &mut Execution) -> Result<Progress, Interrupt> {
        loop {
            if self.waiting {
                match execution.wait()? {
                    Waited::Quiescent => return Ok(Progress::Waiting),
                    Waited::Ready(_) => self.waiting = false,
                }
            }
            if self.left == 0 {
                return Ok(Progress::Returned(Ok(payload())));
            }
            self.left -= 1;
            execution.call_activity("BenchEcho", payload().as_str(), ActivityOptions::default())?;
            self.waiting = true;
        }
    }
}

impl Guest for Chain {
    fn resume(&mut self, execution: &mut Execution, _: Budget) -> Result<Ran, HostUnavailable> {
        let progress = self.go(execution);
        let progress = progress.unwrap_or_else(|_| Progress::Broke(Failure::new("bench", "stopped")));
        Ok(Ran { progress, fuel: 1_000 })
    }
}

struct Functions;

impl Directory for Functions {
    fn activity(&self, _: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedActivity, Failure> {
        Ok(ResolvedActivity {
            module: ModuleNumber(1),
            defaults: ActivityOptions::default(),
        })
    }

    fn orchestration(&self, _: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedOrchestration, Failure> {
        Ok(ResolvedOrchestration {
            module: ModuleNumber(1),
        })
    }
}

fn payload() -> Payload {
    Payload::of(&"order-1001")
}

fn started() -> Started {
    Started {
        execution: ExecutionNumber::FIRST,
        function: "BenchChain".parse().expect("a name"),
        input: payload(),
        seed: [7; 32],
        limits: ObservableLimits {
            memory_bytes: 64 << 20,
            payload_bytes: 1 << 20,
        },
        parent: None,
        events: Vec::new(),
        not_before: None,
    }
}

fn player(activities: u32) -> Player<Chain> {
    let id = "bench".parse().expect("an id");
    let execution = Execution::new(id, Arc::new(started()), Arc::new(Functions), TurnLimits::default());
    let guest = Chain {
        left: activities,
        waiting: false,
    };
    Player::new(guest, execution)
}

/// The history of an execution that has called that many activities in sequence.
fn history(activities: u32) -> Vec<Turn> {
    let mut player = player(activities);
    let mut turns = Vec::new();
    let mut arrival = Arrival::Started(Box::new(started()));
    for turn in 0..=activities {
        let new = player.advance(Timestamp(1_000 + u64::from(turn)), vec![arrival]);
        turns.push(new.expect("scripts run").turn);
        arrival = Arrival::TaskEnded {
            task: TaskId(turn + 1),
            outcome: Ok(payload()),
        };
    }
    turns
}

fn replay(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("replay, without a guest's own time");
    for activities in [10, 1_000] {
        let turns = history(activities);
        group.throughput(Throughput::Elements(turns.len() as u64));
        group.bench_with_input(BenchmarkId::from_parameter(activities), &turns, |bencher, turns| {
            bencher.iter_batched(
                || player(activities),
                |mut player| {
                    for turn in turns {
                        player.replay(turn).expect("replay makes the recorded decisions");
                    }
                    player
                },
                BatchSize::SmallInput,
            );
        });
    }
}

fn fold(criterion: &mut Criterion) {
    let turns = history(1_000);
    let mut group = criterion.benchmark_group("fold");
    group.throughput(Throughput::Elements(turns.len() as u64));
    group.bench_function("1000", |bencher| {
        bencher.iter(|| {
            let mut ledger = Ledger::default();
            for turn in &turns {
                ledger.apply(turn).expect("a history");
            }
            ledger
        });
    });
}

fn encode(criterion: &mut Criterion) {
    let turns = history(2);
    let turn = &turns[1];
    let bytes = codec::encode(turn);
    criterion.bench_function("encode a turn", |bencher| {
        bencher.iter(|| codec::encode(black_box(turn)))
    });
    criterion.bench_function("decode a turn", |bencher| {
        bencher.iter(|| codec::decode::<Turn>(black_box(&bytes)).expect("a turn"));
    });
}

/// The commit that creates an instance together with its first turn.
fn creation(store: &Store, number: u64) -> TurnCommit {
    let started = started();
    let decision = Decision::CallActivity {
        task: TaskId(1),
        function: "BenchEcho".parse().expect("a name"),
        input: payload(),
        options: ActivityOptions::default(),
        module: ModuleNumber(1),
    };
    let turn = Turn {
        number: TurnNumber(1),
        at: Timestamp(1_000),
        arrivals: vec![Arrival::Started(Box::new(started.clone()))],
        decisions: vec![decision],
        fuel: 1_000,
    };
    let instance = NewInstance {
        tenant: TenantId::DEFAULT,
        id: format!("bench-{number:012}").parse().expect("an id"),
        module: ModuleNumber(1),
        started,
        created_at: Timestamp(1_000),
    };
    let number = store.new_number(instance.tenant, &instance.id);
    let summary = Summary {
        status: InstanceStatus::Running,
        execution: ExecutionNumber::FIRST,
        last_turn: TurnNumber(1),
        wake_at: None,
        in_flight: 1,
        custom_status: None,
        stuck: None,
        module: ModuleNumber(1),
        fuel: 1_000,
        updated_at: Timestamp(1_000),
    };
    TurnCommit {
        creation: Some(Box::new(Creation {
            instance,
            tags: Tags::default(),
            key: None,
        })),
        turn: Some(turn),
        ..TurnCommit::new(number, TenantId::DEFAULT, summary)
    }
}

fn write(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let folder = tempfile::tempdir().expect("a folder");
    let stop = CancellationToken::new();
    let (store, service) = runtime
        .block_on(Store::open(&StoreOptions::new(folder.path())))
        .expect("a store");
    let service = runtime.spawn(service.run(stop.clone()));
    let mut next = 0;
    let mut group = criterion.benchmark_group("write, on this disk");
    for at_once in [1, 64] {
        group.throughput(Throughput::Elements(at_once));
        group.bench_function(BenchmarkId::from_parameter(at_once), |bencher| {
            bencher.iter(|| {
                let commits = (0..at_once).map(|_| {
                    next += 1;
                    store.commit(creation(&store, next))
                });
                runtime
                    .block_on(futures::future::try_join_all(commits))
                    .expect("commits")
            });
        });
    }
    group.finish();
    stop.cancel();
    runtime
        .block_on(service)
        .expect("the service ends")
        .expect("the store closes");
}

criterion_group!(hot_paths, replay, fold, encode, write);
criterion_main!(hot_paths);
