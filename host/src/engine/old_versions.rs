//! Deletes the bytes of old module versions that nothing can need any more.
//!
//! An active instance needs the version that it runs on and those that its outstanding calls name. One that failed may be
//! rewound, and needs those that any of its calls names. Only histories
//! contain calls, so this reads the histories of the instances that may have made one, a few at a time. Results stay
//! valid: once a version has been superseded for a while, no new call can name it. So each version is checked in one
//! walk through the instances; the walk stops at an instance that needs the version and continues from there later. A
//! restart of the host begins the walks again.

use std::collections::HashMap;
use std::time::Duration;

use crate::model::{Decision, InstanceNumber, InstanceStatus, ModuleNumber, Timestamp, Turn};
use crate::replay::ledger::{Ledger, Outstanding};
use crate::store::{Error, OldVersion, Store};

/// How long to wait before checking again a version that is still needed.
const RECHECK_AFTER: Duration = Duration::from_secs(10 * 60);

/// Turns to read at once.
const TURNS: u32 = 1_000;

/// The walks through the instances.
pub(super) struct OldVersions {
    store: Store,
    walks: HashMap<ModuleNumber, Walk>,
    /// The version that was checked last; `None` at the end of a round.
    last: Option<ModuleNumber>,
}

/// How far the instances have been checked for one version.
struct Walk {
    superseded_at: Timestamp,
    /// No instance up to this one needs the version.
    cleared: Option<InstanceNumber>,
    skip_until: Timestamp,
}

impl OldVersions {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            walks: HashMap::new(),
            last: None,
        }
    }

    /// Continues with the next step. Returns whether there is more to do in this round.
    ///
    /// # Errors
    /// If the store fails.
    pub(super) async fn step(&mut self, now: Timestamp) -> Result<bool, Error> {
        let Some(version) = self.store.next_old_version(self.last, now).await? else {
            self.last = None;
            return Ok(false);
        };
        if self.look(version, now).await? {
            self.last = Some(version.number);
        }
        Ok(true)
    }

    /// Checks some instances for a version. Returns whether that is all for now.
    async fn look(&mut self, version: OldVersion, now: Timestamp) -> Result<bool, Error> {
        let walk = self.walks.entry(version.number).or_insert_with(|| Walk::new(&version));
        if walk.superseded_at != version.superseded_at {
            *walk = Walk::new(&version);
        }
        if walk.skip_until > now {
            return Ok(true);
        }
        let users = self.store.possible_users(&version, walk.cleared).await?;
        for user in users.instances {
            if user.runs_on_it || calls(&self.store, user.instance, version.number).await? {
                walk.skip_until = now.after(RECHECK_AFTER);
                return Ok(true);
            }
            walk.cleared = Some(user.instance);
        }
        if users.next.is_some() {
            walk.cleared = users.next;
            return Ok(false);
        }
        self.store.delete_module_bytes(version).await?;
        self.walks.remove(&version.number);
        Ok(true)
    }
}

impl Walk {
    fn new(version: &OldVersion) -> Self {
        Self {
            superseded_at: version.superseded_at,
            cleared: None,
            skip_until: Timestamp(0),
        }
    }
}

/// Whether an outstanding call of an instance names this version. Returns true if the history cannot be read.
async fn calls(store: &Store, instance: InstanceNumber, version: ModuleNumber) -> Result<bool, Error> {
    match fold(store, instance, version).await {
        Ok(Some(Calls { named: true, .. })) => Ok(true),
        Ok(Some(Calls { ledger, .. })) => Ok(ledger.tasks().any(|(_, task)| match task {
            Outstanding::Activity(call) => call.module == version,
            // Later attempts run on this version if no module offers the function any more.
            Outstanding::SubOrchestration(call) => call.module == version,
            Outstanding::Entity(_) | Outstanding::Lock | Outstanding::Timer { .. } => false,
        })),
        Ok(None) | Err(Error::Damaged(_)) => Ok(true),
        Err(error) => Err(error),
    }
}

/// What an instance calls.
#[derive(Default)]
struct Calls {
    ledger: Ledger,
    /// A rewind may run calls again that are not outstanding now, and one of the calls names the version.
    named: bool,
}

/// The calls of an instance; `None` if its history changed while it was read, or is not valid.
async fn fold(store: &Store, instance: InstanceNumber, version: ModuleNumber) -> Result<Option<Calls>, Error> {
    let mut named = false;
    let Some(record) = store.load(instance).await? else {
        return Ok(Some(Calls::default()));
    };
    let has_failed = record.status == InstanceStatus::Failed;
    if record.status.has_ended() && !has_failed {
        return Ok(Some(Calls::default()));
    }
    let mut ledger = Ledger::new(record.rewinds);
    let mut turns = record.first_turns;
    while ledger.last_turn() < record.last_turn {
        if turns.is_empty() {
            turns = store
                .history(instance, record.execution, ledger.last_turn(), TURNS)
                .await?;
        }
        if turns.is_empty() || turns.iter().any(|turn| ledger.apply(turn).is_err()) {
            return Ok(None);
        }
        named |= turns.iter().any(|turn| names(turn, version));
        turns.clear();
    }
    // One that goes on after a failure may fail later. One that has ended, although it has not failed, was just rewound.
    let may_repeat = has_failed || ledger.has_ended() || ledger.has_failures();
    Ok(Some(Calls {
        ledger,
        named: named && may_repeat,
    }))
}

/// Whether a call of the turn names the version.
fn names(turn: &Turn, version: ModuleNumber) -> bool {
    turn.decisions.iter().any(|decision| match decision {
        Decision::CallActivity { module, .. } | Decision::CallSubOrchestration { module, .. } => *module == version,
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        ActivityOptions, Arrival, ExecutionNumber, Failure, FunctionKind, ModuleDescription, ModuleDigest,
        ObservableLimits, Payload, Started, TaskId, TenantId, TurnNumber,
    };
    use crate::store::{NewInstance, PutModule, PutModuleOutcome, StartOutcome, StoreOptions, Summary, TurnCommit};

    const HOUR_MS: u64 = 60 * 60 * 1000;

    struct World {
        _folder: tempfile::TempDir,
        store: Store,
        versions: OldVersions,
    }

    impl World {
        async fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let (store, service) = Store::open(&StoreOptions::new(folder.path())).await.unwrap();
            tokio::spawn(service.run(tokio_util::sync::CancellationToken::new()));
            Self {
                _folder: folder,
                versions: OldVersions::new(store.clone()),
                store,
            }
        }

        async fn put(&self, name: &str, content: u8, hour: u64) -> ModuleNumber {
            let put = PutModule {
                tenant: TenantId::DEFAULT,
                name: name.into(),
                digest: ModuleDigest([content; 32]),
                bytes: vec![content; 10],
                description: ModuleDescription {
                    kind: FunctionKind::Activity,
                    functions: Vec::new(),
                    sdk: String::new(),
                    events: Vec::new(),
                    entities: Vec::new(),
                },
                compiled_bytes: 1_000,
                at: Timestamp(hour * HOUR_MS),
                by: None,
            };
            match self.store.put_module(put).await.unwrap() {
                PutModuleOutcome::Stored { number, .. } => number,
                other => panic!("not stored: {other:?}"),
            }
        }

        /// Creates an instance with one turn, in which it called an activity of the version `calls`.
        async fn eternal(&self, id: &str, module: ModuleNumber, calls: Option<ModuleNumber>) -> InstanceNumber {
            let started = Started {
                execution: ExecutionNumber::FIRST,
                function: "Eternal".parse().unwrap(),
                input: Payload::null(),
                seed: [0; 32],
                limits: ObservableLimits {
                    memory_bytes: 1,
                    payload_bytes: 1,
                },
                parent: None,
                events: Vec::new(),
                not_before: None,
            };
            let instance = NewInstance {
                tenant: TenantId::DEFAULT,
                id: id.parse().unwrap(),
                module,
                started: started.clone(),
                created_at: Timestamp(HOUR_MS),
            };
            let StartOutcome::Created(number) = self.store.start(instance, None).await.unwrap() else {
                panic!("not created")
            };
            let call = calls.map(|module| Decision::CallActivity {
                task: TaskId(1),
                function: "Slow".parse().unwrap(),
                input: Payload::null(),
                options: ActivityOptions::default(),
                module,
            });
            self.turn(number, module, 1, vec![Arrival::Started(Box::new(started))], call)
                .await;
            number
        }

        async fn turn(
            &self,
            instance: InstanceNumber,
            module: ModuleNumber,
            number: u32,
            arrivals: Vec<Arrival>,
            call: Option<Decision>,
        ) {
            let turn = Turn {
                number: TurnNumber(number),
                at: Timestamp(HOUR_MS),
                arrivals,
                decisions: call.into_iter().collect(),
                fuel: 1,
            };
            let summary = Summary {
                status: InstanceStatus::Running,
                execution: ExecutionNumber::FIRST,
                last_turn: turn.number,
                wake_at: None,
                in_flight: u32::from(!turn.decisions.is_empty()),
                custom_status: None,
                stuck: None,
                module,
                fuel: 1,
                updated_at: turn.at,
            };
            let commit = TurnCommit {
                turn: Some(turn),
                ..TurnCommit::new(instance, TenantId::DEFAULT, summary)
            };
            self.store.commit(commit).await.unwrap();
        }

        /// Runs one round. Returns which of these versions still have their bytes.
        async fn left(&mut self, versions: &[ModuleNumber], hour: u64) -> Vec<u32> {
            while self.versions.step(Timestamp(hour * HOUR_MS)).await.unwrap() {}
            let mut left = Vec::new();
            for version in versions {
                if self.store.module_bytes(*version).await.unwrap().is_some() {
                    left.push(version.0);
                }
            }
            left
        }
    }

    #[tokio::test]
    async fn an_eternal_instance_keeps_only_versions_that_it_needs() {
        let mut world = World::new().await;
        let own = world.put("eternal", 100, 1).await;
        world.eternal("eternal", own, None).await;
        let mut versions = vec![own];
        for content in 1..=5 {
            versions.push(world.put("unrelated", content, 1 + u64::from(content)).await);
        }
        // A version that was superseded a moment ago may be used by a turn that is about to be committed.
        assert_eq!(world.left(&versions, 6).await, [own.0, versions[4].0, versions[5].0]);
        assert_eq!(world.left(&versions, 7).await, [own.0, versions[5].0]);
        world.put("eternal", 101, 8).await;
        assert_eq!(world.left(&versions, 10).await, [own.0, versions[5].0], "it runs on it");
    }

    #[tokio::test]
    async fn an_outstanding_call_keeps_only_the_version_that_it_names() {
        let mut world = World::new().await;
        let own = world.put("eternal", 100, 1).await;
        let mut versions = vec![world.put("called", 1, 1).await];
        let caller = world.eternal("caller", own, Some(versions[0])).await;
        for content in 2..=5 {
            versions.push(world.put("called", content, u64::from(content)).await);
        }
        let (first, current) = (versions[0].0, versions[4].0);
        assert_eq!(world.left(&versions, 10).await, [first, current]);
        assert_eq!(world.left(&versions, 11).await, [first, current]);

        let ended = Arrival::TaskEnded {
            task: TaskId(1),
            outcome: Ok(Payload::null()),
        };
        world.turn(caller, own, 2, vec![ended], None).await;
        assert_eq!(world.left(&versions, 12).await, [current]);
    }

    #[tokio::test]
    async fn a_call_that_failed_keeps_its_version_because_a_rewind_may_repeat_it() {
        let mut world = World::new().await;
        let own = world.put("eternal", 100, 1).await;
        let first = world.put("called", 1, 1).await;
        let caller = world.eternal("caller", own, Some(first)).await;
        let current = world.put("called", 2, 2).await;
        let failed = Arrival::TaskEnded {
            task: TaskId(1),
            outcome: Err(Failure::new("Down", "it will be compensated")),
        };
        world.turn(caller, own, 2, vec![failed], None).await;
        assert_eq!(world.left(&[first, current], 10).await, [first.0, current.0]);
    }

    #[tokio::test]
    async fn bytes_that_were_uploaded_again_stay() {
        let mut world = World::new().await;
        let own = world.put("eternal", 100, 1).await;
        let first = world.put("called", 1, 1).await;
        world.put("called", 2, 2).await;
        let version = world
            .store
            .next_old_version(None, Timestamp(5 * HOUR_MS))
            .await
            .unwrap();
        assert_eq!(version.unwrap().number, first);
        world.put("called", 1, 5).await;
        assert!(!world.store.delete_module_bytes(version.unwrap()).await.unwrap());
        world.eternal("caller", own, Some(first)).await;
        world.put("called", 3, 6).await;
        assert_eq!(world.left(&[first], 9).await, [first.0]);
    }
}
