//! Changes of the state by operators, and the end of an entity.

use super::*;
use crate::model::{Replaces, StateChange};
use crate::store::EntityChange;

/// What a commit did.
#[derive(Debug)]
struct Done {
    status: InstanceStatus,
    change: Option<EntityChange>,
    logs: Vec<String>,
    answers: Vec<(u64, String)>,
}

impl Bench {
    fn set(&mut self, request: u64, state: Option<&str>, replaces: Replaces) {
        self.send(InboxItem::SetState(Box::new(StateChange {
            state: state.map(|text| Payload::parse(text, 1_000).unwrap()),
            replaces,
            key: Some("k1".into()),
            reply_to: ReplyTo::Client { request },
        })));
    }

    /// Takes steps until the entity idles or ends.
    fn steps(&mut self) -> Vec<Done> {
        let mut done = Vec::new();
        loop {
            match self.owner.next(&self.world).unwrap() {
                Next::Entity(_) => self.owner.behaviour.install(Counter { has_room: true }),
                Next::Commit(commit) => {
                    self.owner.committed(&TurnReceipt::default());
                    let answers = self.owner.behaviour.take_answers().into_iter();
                    done.push(Done {
                        status: commit.summary.status,
                        change: commit.entity,
                        logs: commit.logs.into_iter().map(|line| line.message).collect(),
                        answers: answers
                            .map(|answer| {
                                let outcome = answer.outcome.map(|output| output.as_str().to_owned());
                                (answer.request, outcome.unwrap_or_else(|failure| failure.error_type))
                            })
                            .collect(),
                    });
                }
                Next::Idle(_) | Next::Ended => return done,
                // The rows that it has missed are in the store.
                Next::Store(items) => {
                    assert!(items.is_empty());
                    return done;
                }
                next => panic!("{next:?}"),
            }
        }
    }
}

fn version(version: u64) -> Replaces {
    Replaces::Version {
        instance: InstanceNumber(1),
        version,
    }
}

#[test]
fn an_operator_replaces_only_the_version_that_it_names() {
    let mut bench = Bench::new();
    bench.call("add", 5, 1, None);
    assert_eq!(bench.steps().len(), 1);
    bench.set(1, Some("70"), version(0));
    bench.set(2, Some("80"), version(1));
    bench.set(3, Some("90"), version(1));
    let other = Replaces::Version {
        instance: InstanceNumber(2),
        version: 2,
    };
    bench.set(4, Some("91"), other);
    bench.set(5, Some("92"), Replaces::Nothing);
    let done = bench.steps();
    let [Done { answers, logs, .. }] = &done[..] else {
        panic!("one commit: {done:?}")
    };
    let changed = StateChange::CHANGED;
    let expected = [(1, changed), (2, "2"), (3, changed), (4, changed), (5, changed)];
    let expected = expected.map(|(request, outcome)| (request, outcome.to_owned()));
    assert_eq!(answers[..], expected);
    assert_eq!((bench.count(), bench.state().version), (Some("80"), 2));
    assert_eq!(
        logs[..],
        ["an operator with the key k1 set the state: version 1 (1 bytes) became version 2 (2 bytes)"]
    );
    bench.call("add", 1, 2, None);
    bench.steps();
    assert_eq!(bench.count(), Some("81"));
}

#[test]
fn a_stuck_entity_goes_on_with_its_new_state_without_its_module() {
    let mut bench = Bench::new();
    bench.call("spoil", 0, 1, None);
    bench.steps();
    bench.call("add", 4, 2, None);
    let stuck = bench.steps();
    assert_eq!(stuck.last().unwrap().status, InstanceStatus::Stuck);
    bench.set(1, Some("1"), version(7));
    let refused = bench.steps();
    assert_eq!(refused[0].answers, [(1, StateChange::CHANGED.to_owned())]);
    assert_eq!(refused[0].status, InstanceStatus::Stuck);
    bench.set(2, Some("10"), version(1));
    let repaired = bench.steps();
    // What waited is read from the store then, and applied to it.
    assert_eq!((repaired.len(), repaired[0].status), (1, InstanceStatus::Running));
    assert_eq!(bench.count(), Some("10"));
}

#[test]
fn a_stuck_entity_goes_on_without_its_state() {
    let mut bench = Bench::new();
    bench.call("spoil", 0, 1, None);
    bench.steps();
    bench.call("add", 4, 2, None);
    bench.steps();
    bench.set(1, None, Replaces::Anything);
    let done = bench.steps();
    assert_eq!(done[0].answers, [(1, "2".to_owned())]);
    assert_eq!((done[0].status, bench.count()), (InstanceStatus::Running, None));
    let kept = done[0].change.as_ref().unwrap();
    assert!(!kept.ends, "its log says who deleted the state");
}

#[test]
fn a_locked_entity_keeps_its_state_unless_it_is_stuck() {
    let mut bench = Bench::new();
    bench.call("add", 5, 1, None);
    bench.lock(2, Vec::new());
    bench.steps();
    bench.set(1, Some("9"), Replaces::Anything);
    let done = bench.steps();
    assert_eq!(done[0].answers, [(1, StateChange::LOCKED.to_owned())]);
    assert_eq!(bench.count(), Some("5"));
    bench.call("spoil", 0, 3, Some(section(2)));
    bench.steps();
    bench.call("add", 1, 4, Some(section(2)));
    bench.steps();
    bench.set(2, Some("20"), Replaces::Anything);
    bench.steps();
    assert_eq!(bench.count(), Some("20"));
    assert!(bench.state().lock.is_some(), "its holder goes on");
}

#[test]
fn an_entity_ends_when_it_has_neither_state_nor_lock_nor_messages() {
    let ends = |bench: &mut Bench| {
        let done = bench.steps();
        done.last().unwrap().change.as_ref().unwrap().ends
    };
    let mut bench = Bench::new();
    bench.lock(1, Vec::new());
    assert!(!ends(&mut bench), "it is locked");
    bench.unlock(1);
    assert!(ends(&mut bench));
    bench.unlock(2);
    assert!(!ends(&mut bench), "it remembers the section");
    bench.lock(2, Vec::new());
    assert!(ends(&mut bench));

    let mut bench = Bench::new();
    bench.call("fail", 1, 1, None);
    assert!(ends(&mut bench), "the caller has the failure");
    bench.signal_at(1, 5_000);
    bench.call("fail", 1, 1, None);
    assert!(!ends(&mut bench), "a delayed operation waits");
    bench.call("add", 1, 1, None);
    assert!(!ends(&mut bench), "it has a state");

    let mut bench = Bench::new();
    bench.send(InboxItem::Operation(Box::new(Operation {
        name: "fail".into(),
        input: Payload::null(),
        reply_to: None,
        section: None,
        due_at: None,
    })));
    assert!(!ends(&mut bench), "the failure of a signal is only in its log");
}

#[test]
fn an_entity_that_was_deleted_takes_nothing_any_more() {
    let mut bench = Bench::new();
    bench.call("fail", 1, 1, None);
    bench.owner.next(&bench.world).unwrap();
    bench.owner.behaviour.install(Counter { has_room: true });
    assert!(matches!(bench.owner.next(&bench.world).unwrap(), Next::Commit(_)));
    bench.owner.committed(&TurnReceipt {
        deleted: true,
        ..TurnReceipt::default()
    });
    assert!(matches!(bench.owner.next(&bench.world).unwrap(), Next::Ended));
}
