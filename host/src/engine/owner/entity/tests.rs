//! The owner of an entity, step by step, with a scripted guest.

mod state_changes;

use std::cell::Cell;
use std::sync::Arc;

use super::*;
use crate::engine::owner::Owner;
use crate::entity::{NewState, Ran, StepLimits};
use crate::model::{
    ExecutionNumber, Failure, FunctionName, InstanceNumber, InstanceStatus, LockRequest, ModuleNumber,
    ObservableLimits, Operation, Rewinds, SectionId, TaskId, TenantId, TurnNumber, failure::types,
};
use crate::replay::{Directory, ResolvedActivity, ResolvedEntity, ResolvedOrchestration, TurnSize};
use crate::store::{OutboundMessage, Recipient};

/// A counter: `add` adds its input, `fail` adds and then fails, `trap` breaks the guest, `spoil` leaves a state that it cannot read, `tell` signals another counter.
#[derive(Debug)]
struct Counter {
    has_room: bool,
}

impl EntityGuest for Counter {
    fn run(&mut self, step: &mut EntityStep) -> Result<Ran, HostUnavailable> {
        if !self.has_room {
            return Err(HostUnavailable::NoRoom("full".into()));
        }
        let Ok(mut count) = step.state().map_or(Ok(0), |state| state.as_str().parse::<i64>()) else {
            return Ok(Ran {
                fuel: 10,
                broke: Some(Failure::new(types::TRAP, "not a number")),
            });
        };
        let mut fuel = 0;
        while let Some(operation) = step.next_operation().unwrap() {
            fuel += 10;
            let (name, input) = (operation.name.clone(), operation.input.as_str().to_owned());
            let added = count + input.parse::<i64>().unwrap_or(0);
            match name.as_str() {
                "fail" => drop(step.complete(Err(Failure::new("Refused", "no")))),
                "trap" => {
                    return Ok(Ran {
                        fuel,
                        broke: Some(Failure::new(types::TRAP, "unreachable")),
                    });
                }
                "spoil" => drop(step.complete(Ok(("null", NewState::Set("true"))))),
                _ => {
                    if name == "tell" {
                        step.signal("Counter", "other", "add", &input, None).unwrap();
                    }
                    count = added;
                    let text = count.to_string();
                    step.complete(Ok((&text, NewState::Set(&text)))).unwrap();
                }
            }
        }
        Ok(Ran { fuel, broke: None })
    }
}

struct Known;

impl Directory for Known {
    fn activity(&self, _: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedActivity, Failure> {
        unreachable!("entities call no activities")
    }

    fn orchestration(&self, _: &FunctionName, _: &Payload, _: &mut u64) -> Result<ResolvedOrchestration, Failure> {
        unreachable!("no test starts one")
    }

    fn entity_module(&self, _: &FunctionName) -> Result<ResolvedEntity, Failure> {
        Ok(ResolvedEntity {
            module: ModuleNumber(2),
        })
    }
}

struct World {
    now: Cell<u64>,
}

impl OwnerContext for World {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.get())
    }

    fn seed(&self) -> [u8; 32] {
        [7; 32]
    }

    fn directory(&self) -> &dyn Directory {
        &Known
    }

    fn shared_directory(&self) -> Arc<dyn Directory> {
        Arc::new(Known)
    }

    fn step_limits(&self) -> StepLimits {
        StepLimits::default()
    }

    fn limits(&self) -> ObservableLimits {
        ObservableLimits {
            memory_bytes: 1 << 20,
            payload_bytes: 1_000,
        }
    }

    fn max_turns(&self) -> u32 {
        100
    }

    fn max_history_bytes(&self) -> u64 {
        1 << 20
    }

    fn max_log_bytes(&self) -> u64 {
        1 << 20
    }

    fn turn_room(&self) -> TurnSize {
        TurnSize::MAX
    }

    fn is_held(&self) -> bool {
        false
    }
}

struct Bench {
    world: World,
    owner: Owner<Entity<Counter>>,
    next_seq: u64,
    has_room: bool,
}

impl Bench {
    fn new() -> Self {
        let record = InstanceRecord {
            number: InstanceNumber(1),
            tenant: TenantId::DEFAULT,
            id: EntityId::new("Counter", "a").unwrap().instance_id(),
            function: "counter".parse().unwrap(),
            module: ModuleNumber(1),
            parent: None,
            status: InstanceStatus::Running,
            entity: None,
            stuck: None,
            execution: ExecutionNumber::FIRST,
            last_turn: TurnNumber::NONE,
            created_at: Timestamp(0),
            custom_status: None,
            fuel: 0,
            history_bytes: 0,
            event_bytes: 0,
            inbox: Vec::new(),
            more_inbox: false,
            more_events: false,
            more_delayed: false,
            rewinds: Rewinds::none(ExecutionNumber::FIRST),
            has_attempts: false,
            first_turns: Vec::new(),
        };
        Self {
            world: World { now: Cell::new(1_000) },
            owner: Owner::new(record, InboxSeq(0)),
            next_seq: 1,
            has_room: true,
        }
    }

    fn send(&mut self, item: InboxItem) {
        let seq = InboxSeq(self.next_seq);
        self.next_seq += 1;
        self.owner.receive(InboxRow { seq, item });
    }

    /// Sends an operation of task `task` of instance 9.
    fn call(&mut self, name: &str, input: i64, task: u32, section: Option<SectionId>) {
        self.send(InboxItem::Operation(Box::new(Operation {
            name: name.into(),
            input: Payload::of(&input),
            reply_to: Some(ReplyTo::Task {
                instance: InstanceNumber(9),
                execution: ExecutionNumber::FIRST,
                task: TaskId(task),
            }),
            section,
            due_at: None,
        })));
    }

    fn signal_at(&mut self, input: i64, due_at: u64) {
        self.send(InboxItem::Operation(Box::new(Operation {
            name: "add".into(),
            input: Payload::of(&input),
            reply_to: None,
            section: None,
            due_at: Some(Timestamp(due_at)),
        })));
    }

    fn lock(&mut self, task: u32, then: Vec<(EntityId, ModuleNumber)>) {
        self.send(InboxItem::Lock(Box::new(LockRequest {
            section: section(task),
            holder: "holder".parse().unwrap(),
            then,
            withdrawn: false,
        })));
    }

    fn unlock(&mut self, task: u32) {
        self.send(InboxItem::Unlock { section: section(task) });
    }

    /// Takes steps until the entity idles. Returns what each commit sent, and when it wakes.
    fn run(&mut self) -> (Vec<Vec<String>>, Option<u64>) {
        let mut commits = Vec::new();
        loop {
            match self.owner.next(&self.world) {
                Ok(Next::Entity(module)) => {
                    assert_eq!(module, ModuleNumber(2), "the current version");
                    let has_room = self.has_room;
                    self.owner.behaviour.install(Counter { has_room });
                }
                Ok(Next::Commit(commit)) => {
                    commits.push(commit.messages.iter().map(sent).collect());
                    self.owner.committed(&TurnReceipt::default());
                }
                Ok(Next::Idle(at)) => return (commits, at.map(|at| at.0)),
                Ok(next) => panic!("{next:?}"),
                Err(_) => return (commits, None),
            }
        }
    }

    fn state(&self) -> &EntityState {
        &self.owner.behaviour.state
    }

    fn count(&self) -> Option<&str> {
        self.state().state.as_ref().map(Payload::as_str)
    }
}

fn section(task: u32) -> SectionId {
    SectionId {
        instance: InstanceNumber(9),
        execution: ExecutionNumber::FIRST,
        task: TaskId(task),
    }
}

fn sent(message: &OutboundMessage) -> String {
    let to = match &message.to {
        Recipient::Number(number) => number.to_string(),
        Recipient::Entity(address) => address.id.to_string(),
        Recipient::Id(id) | Recipient::Child(id) => id.to_string(),
    };
    let what = match &message.item {
        InboxItem::TaskEnded { task, outcome, .. } => match outcome {
            Ok(output) => format!("task {task} {}", output.as_str()),
            Err(failure) => format!("task {task} failed {}", failure.error_type),
        },
        InboxItem::Operation(operation) => format!("{} {}", operation.name, operation.input.as_str()),
        InboxItem::Lock(request) if request.withdrawn => "withdrawn lock".into(),
        InboxItem::Lock(request) => format!("lock then {}", request.then.len()),
        other => format!("{other:?}"),
    };
    format!("{to}: {what}")
}

#[test]
fn waiting_operations_are_applied_in_order_with_one_commit() {
    let mut bench = Bench::new();
    bench.call("add", 5, 1, None);
    bench.call("fail", 9, 2, None);
    bench.call("tell", 2, 3, None);
    let (commits, wake_at) = bench.run();
    let expected = [
        "9: task 1 5",
        "9: task 2 failed Refused",
        "9: task 3 7",
        "@counter@other: add 2",
    ];
    assert_eq!(commits, [expected]);
    assert_eq!((bench.count(), bench.state().version, wake_at), (Some("7"), 2, None));
    let failed = bench.state().last_failure.as_ref().unwrap();
    assert_eq!(
        (failed.operation.as_str(), failed.failure.error_type.as_str()),
        ("fail", "Refused")
    );
}

#[test]
fn a_trap_fails_one_operation_and_the_others_go_on_in_the_next_step() {
    let mut bench = Bench::new();
    bench.call("add", 5, 1, None);
    bench.call("trap", 0, 2, None);
    bench.call("add", 1, 3, None);
    let (commits, _) = bench.run();
    let first = vec!["9: task 1 5".to_owned(), format!("9: task 2 failed {}", types::TRAP)];
    assert_eq!(commits, [first, vec!["9: task 3 6".to_owned()]]);
}

#[test]
fn an_entity_whose_state_cannot_be_read_is_stuck_and_fails_no_operation() {
    let mut bench = Bench::new();
    bench.call("spoil", 0, 1, None);
    assert_eq!(bench.run().0, [["9: task 1 null"]]);
    bench.call("add", 5, 2, None);
    bench.call("add", 5, 3, None);
    assert_eq!(bench.run().0, [Vec::<String>::new()], "it becomes stuck");
    assert_eq!(bench.owner.instance.status, InstanceStatus::Stuck);
    let stuck = bench.owner.instance.stuck.clone().unwrap();
    assert_eq!(
        (stuck.code.as_str(), stuck.message.as_str()),
        ("state-unreadable", "its module cannot read its state: not a number")
    );
    assert_eq!(bench.count(), Some("true"));

    // The operations are still in the store, from which it reads them again.
    bench.send(InboxItem::Resume { reason: String::new() });
    let Ok(Next::Commit(resumed)) = bench.owner.next(&bench.world) else {
        panic!("it was resumed");
    };
    assert_eq!(resumed.consumed, [InboxSeq(4)]);
    bench.owner.committed(&TurnReceipt::default());
    let next = bench.owner.next(&bench.world);
    assert!(matches!(&next, Ok(Next::Store(items)) if items.is_empty()), "{next:?}");
}

#[test]
fn nothing_is_taken_when_the_host_cannot_run_the_guest() {
    let mut bench = Bench::new();
    bench.has_room = false;
    bench.call("add", 5, 1, None);
    bench.lock(2, Vec::new());
    assert_eq!(bench.run().0.len(), 0);
    bench.has_room = true;
    assert_eq!(bench.run().0, [["9: task 1 5"], ["9: task 2 null"]]);
}

#[test]
fn a_lock_is_granted_in_turn_and_lets_only_its_holder_pass() {
    let mut bench = Bench::new();
    bench.call("add", 1, 1, None);
    bench.lock(2, vec![(EntityId::new("Counter", "b").unwrap(), ModuleNumber(3))]);
    bench.call("add", 1, 3, None);
    bench.lock(4, Vec::new());
    assert_eq!(bench.run().0, [["9: task 1 1"], ["@counter@b: lock then 0"]]);
    bench.call("add", 10, 5, Some(section(2)));
    assert_eq!(bench.run().0, [["9: task 5 11"]]);
    bench.unlock(2);
    // Then the others in order: the call that came before the next lock, and the lock.
    assert_eq!(bench.run().0, [["9: task 3 12"], ["9: task 4 null"]]);
    bench.call("add", 1, 6, None);
    assert_eq!(bench.run().0.len(), 0);
    bench.unlock(4);
    assert_eq!(bench.run().0, [["9: task 6 13"]]);
    assert!(bench.state().lock.is_none() && bench.state().left_sections.is_empty());
}

#[test]
fn a_lock_waits_for_the_operations_that_a_trap_left() {
    let mut bench = Bench::new();
    bench.call("trap", 0, 1, None);
    bench.call("add", 1, 2, None);
    bench.lock(3, Vec::new());
    bench.call("add", 10, 4, Some(section(3)));
    let sent: Vec<_> = bench.run().0.concat();
    let trapped = format!("9: task 1 failed {}", types::TRAP);
    assert_eq!(sent, [&trapped, "9: task 2 1", "9: task 3 null", "9: task 4 11"]);
}

#[test]
fn a_section_that_was_left_before_its_request_arrives_locks_nothing() {
    let mut bench = Bench::new();
    bench.unlock(2);
    bench.run();
    assert_eq!(bench.state().left_sections, [section(2)]);
    bench.lock(2, vec![(EntityId::new("Counter", "b").unwrap(), ModuleNumber(3))]);
    assert_eq!(bench.run().0, [["@counter@b: withdrawn lock"]]);
    assert!(bench.state().lock.is_none() && bench.state().left_sections.is_empty());
}

#[test]
fn a_section_that_is_left_while_its_request_waits_is_withdrawn_when_its_turn_comes() {
    let mut bench = Bench::new();
    bench.lock(2, Vec::new());
    bench.run();
    bench.lock(4, vec![(EntityId::new("Counter", "b").unwrap(), ModuleNumber(3))]);
    bench.unlock(4);
    bench.unlock(2);
    let sent: Vec<_> = bench.run().0.concat();
    assert_eq!(sent, ["@counter@b: withdrawn lock"]);
    assert!(bench.state().lock.is_none() && bench.state().left_sections.is_empty());
}

#[test]
fn a_delayed_signal_waits_for_its_time_and_the_store_wakes_the_entity() {
    let mut bench = Bench::new();
    bench.signal_at(5, 3_000);
    bench.signal_at(1, 2_000);
    // One commit stores the time.
    assert_eq!(bench.run(), (vec![Vec::new()], Some(2_000)));
    assert_eq!(bench.run(), (Vec::new(), Some(2_000)));
    bench.world.now.set(2_000);
    assert_eq!(bench.run().1, Some(3_000));
    assert_eq!(bench.count(), Some("1"));
    bench.world.now.set(3_000);
    assert_eq!(bench.run().1, None);
    assert_eq!(bench.count(), Some("6"));
}

#[test]
fn a_delayed_signal_waits_for_the_end_of_a_section_without_being_woken() {
    let mut bench = Bench::new();
    bench.signal_at(5, 2_000);
    bench.lock(1, Vec::new());
    assert_eq!(bench.run().1, None);
    bench.world.now.set(3_000);
    assert_eq!(bench.run(), (Vec::new(), None));
    bench.unlock(1);
    assert_eq!(bench.run().1, None);
    assert_eq!(bench.count(), Some("5"));
}

#[test]
fn a_step_is_bounded_and_the_rest_follows() {
    let mut bench = Bench::new();
    for _ in 0..2_500 {
        bench.call("add", 1, 1, None);
    }
    let (commits, _) = bench.run();
    assert_eq!(commits.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 1_000, 500]);
    assert_eq!(bench.count(), Some("2500"));
}
