//! Passes over a store, in pieces of any size, with crashes between them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::retention::reference::{self, Ended};
use crate::model::{
    ExecutionNumber, InstanceStatus, Kept, ModuleNumber, ObservableLimits, Parent, Payload, Started, TaskId, TurnNumber,
};
use crate::store::simulated::{Content, Disk, Ending, FaultPlan, Step, Treatment};
use crate::store::{NewInstance, StartOutcome, Summary, TurnCommit};

const TENANT: TenantId = TenantId::DEFAULT;

struct NoFaults;

impl FaultPlan for NoFaults {
    fn of(&self, _: Step) -> Treatment {
        Treatment {
            ending: Ending::Done,
            ..Treatment::SMOOTH
        }
    }

    fn committed(&self, _: &Content, _: &Content) {}
}

/// An instance to be created. The parent is the index of an earlier one.
#[derive(Debug, Clone)]
struct Planned {
    function: &'static str,
    /// `None` if it has not ended.
    end: Option<(InstanceStatus, u64)>,
    parent: Option<usize>,
}

fn started(function: &str, parent: Option<Parent>) -> Started {
    Started {
        execution: ExecutionNumber::FIRST,
        function: function.parse().unwrap(),
        input: Payload::null(),
        seed: [7; 32],
        limits: ObservableLimits {
            memory_bytes: 64 << 20,
            payload_bytes: 256 << 10,
        },
        parent,
        events: Vec::new(),
        not_before: None,
    }
}

/// Creates the instances. Returns their numbers.
async fn create(store: &Store, planned: &[Planned]) -> Vec<InstanceNumber> {
    let mut numbers: Vec<InstanceNumber> = Vec::new();
    for (index, instance) in planned.iter().enumerate() {
        let parent = instance.parent.map(|parent| Parent {
            instance: numbers[parent],
            instance_id: format!("i{parent}").parse().unwrap(),
            execution: ExecutionNumber::FIRST,
            task: TaskId(1),
            attempt: 1,
        });
        let new = NewInstance {
            tenant: TENANT,
            id: format!("i{index}").parse().unwrap(),
            module: ModuleNumber(1),
            started: started(instance.function, parent),
            created_at: Timestamp(0),
        };
        let StartOutcome::Created(number) = store.start(new, None).await.unwrap() else {
            panic!("the id is new");
        };
        numbers.push(number);
        if let Some((status, at)) = instance.end {
            let summary = Summary {
                status,
                execution: ExecutionNumber::FIRST,
                last_turn: TurnNumber::NONE,
                wake_at: None,
                in_flight: 0,
                custom_status: None,
                stuck: None,
                module: ModuleNumber(1),
                fuel: 0,
                updated_at: Timestamp(at),
            };
            store.commit(TurnCommit::new(number, TENANT, summary)).await.unwrap();
        }
    }
    numbers
}

/// The indexes of the instances that must be gone: the trees of expired roots in which everything has ended.
fn expected(
    rules: &[RetentionRule],
    now: Timestamp,
    planned: &[Planned],
    numbers: &[InstanceNumber],
) -> BTreeSet<usize> {
    let root_of = |mut index: usize| {
        while let Some(parent) = planned[index].parent {
            index = parent;
        }
        index
    };
    let mut trees = BTreeMap::<usize, Vec<usize>>::new();
    for index in 0..planned.len() {
        trees.entry(root_of(index)).or_default().push(index);
    }
    let ended_roots = trees.keys().filter_map(|root| {
        let (status, at) = planned[*root].end?;
        Some(Ended {
            function: planned[*root].function.parse().unwrap(),
            status,
            position: EndPosition {
                ended_at: Timestamp(at),
                instance: numbers[*root],
            },
        })
    });
    let deleted = reference::deleted(rules, now, &ended_roots.collect::<Vec<_>>());
    let is_deleted = |root: &usize| deleted.contains(&numbers[*root]);
    let all_ended = |tree: &Vec<usize>| tree.iter().all(|index| planned[*index].end.is_some());
    let gone = trees
        .into_iter()
        .filter(|(root, tree)| is_deleted(root) && all_ended(tree));
    gone.flat_map(|(_, tree)| tree).collect()
}

/// Runs passes until one ends. After some pieces the host ends, which forgets the pass; `crashes` says after which.
async fn run_passes(store: &Store, rules: &[RetentionRule], now: Timestamp, most: usize, crashes: &[bool]) {
    let begin = || Pass {
        rules: rules.to_vec(),
        ..Pass::default()
    };
    let (mut pass, mut crashes) = (begin(), crashes.iter());
    for _ in 0..10_000 {
        let mut piece = Piece::of(most);
        let has_ended = pass.fill(store, TENANT, now, &mut piece).await.unwrap();
        assert!(piece.instances.len() <= most.max(1));
        let crash = crashes.next().copied().unwrap_or(false);
        if !piece.instances.is_empty() {
            let wanted = piece.instances.len() as u64;
            assert_eq!(store.expire(TENANT, piece.instances).await.unwrap(), wanted);
        }
        if crash {
            pass = begin();
        } else if has_ended {
            return;
        }
    }
    panic!("the pass does not end");
}

async fn check(rules: &[RetentionRule], now: Timestamp, planned: &[Planned], most: usize, crashes: &[bool]) {
    let disk = Disk::new(Arc::new(NoFaults), None);
    let (store, service) = Store::open_simulated(&disk).await.unwrap();
    let stop = tokio_util::sync::CancellationToken::new();
    let service = tokio::spawn(service.run(stop.clone()));
    let numbers = create(&store, planned).await;
    run_passes(&store, rules, now, most, crashes).await;
    let mut gone = BTreeSet::new();
    for index in 0..planned.len() {
        let id = format!("i{index}").parse().unwrap();
        if store.tenant(TENANT).number(&id).await.unwrap().is_none() {
            gone.insert(index);
        }
    }
    assert_eq!(gone, expected(rules, now, planned, &numbers));
    stop.cancel();
    service.await.unwrap().unwrap();
}

fn any_rules() -> impl Strategy<Value = Vec<RetentionRule>> {
    let scope = (
        proptest::option::of(prop::sample::select(vec!["A", "B"])),
        proptest::option::of(any_status()),
    );
    let scope = scope.prop_map(|(function, status)| RetentionScope {
        function: function.map(|name| name.parse().unwrap()),
        status,
    });
    let limits = (proptest::option::of(1..40u64), proptest::option::of(1..5u32));
    prop::collection::btree_map(scope, limits, 0..5).prop_map(|rules| {
        let rule = |(scope, (age, count)): (_, (Option<u64>, _))| RetentionRule {
            scope,
            kept: Kept {
                age: age.map(Duration::from_secs),
                count,
            },
        };
        rules.into_iter().map(rule).collect()
    })
}

fn any_status() -> impl Strategy<Value = InstanceStatus> {
    prop::sample::select(vec![
        InstanceStatus::Completed,
        InstanceStatus::Failed,
        InstanceStatus::Terminated,
        InstanceStatus::Canceled,
    ])
}

fn any_instances() -> impl Strategy<Value = Vec<Planned>> {
    let one = (
        prop::sample::select(vec!["A", "B", "C"]),
        proptest::option::weighted(0.9, (any_status(), 0..50_000u64)),
        proptest::option::weighted(0.5, any::<prop::sample::Index>()),
    );
    prop::collection::vec(one, 0..40).prop_map(|all| {
        let planned = all
            .into_iter()
            .enumerate()
            .map(|(index, (function, end, parent))| Planned {
                function,
                end,
                parent: parent.filter(|_| index > 0).map(|parent| parent.index(index)),
            });
        planned.collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn exactly_what_the_rules_do_not_keep_is_deleted(
        rules in any_rules(),
        planned in any_instances(),
        now in 0..60_000u64,
        most in 1..20usize,
        crashes in prop::collection::vec(prop::bool::weighted(0.3), 0..10),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(check(&rules, Timestamp(now), &planned, most, &crashes));
    }
}

fn by_age() -> Vec<RetentionRule> {
    vec![RetentionRule {
        scope: RetentionScope::default(),
        kept: Kept {
            age: Some(Duration::from_secs(1)),
            count: None,
        },
    }]
}

fn completed(parent: Option<usize>) -> Planned {
    Planned {
        function: "A",
        end: Some((InstanceStatus::Completed, 0)),
        parent,
    }
}

#[tokio::test]
async fn a_tree_with_many_children_is_read_page_by_page() {
    let children = PAGE as usize * 2 + 1;
    let mut planned = vec![completed(None)];
    planned.extend((0..children).map(|_| completed(Some(0))));
    check(&by_age(), Timestamp(2_000), &planned, PIECE, &[false, true]).await;
    // The last one runs.
    planned.push(Planned {
        end: None,
        ..completed(Some(0))
    });
    check(&by_age(), Timestamp(2_000), &planned, PIECE, &[]).await;
}

#[tokio::test]
async fn a_deep_tree_is_walked_without_keeping_the_pages() {
    // Each has two children, of which the first has children in turn.
    let mut planned = vec![completed(None)];
    for _ in 0..PAGES_AND_MORE {
        let parent = planned.len().saturating_sub(2);
        planned.push(completed(Some(parent)));
        planned.push(completed(Some(parent)));
    }
    check(&by_age(), Timestamp(2_000), &planned, 7, &[false, false, true]).await;
}

/// Deeper than the pages that a walk keeps.
const PAGES_AND_MORE: usize = 60;
