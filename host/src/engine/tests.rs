//! The owner with scripts as guests and a store of plain values: the tests take every step by hand.

mod cancellation;
mod events;
mod held;
mod moves;
mod parent_close;
mod rewinds;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use super::owner::{ActivityResult, Next, Orchestration, Owner, OwnerContext};
use crate::entity::StepLimits;
use crate::model::{
    ActivityOptions, Arrival, Decision, Event, EventPage, ExecutionNumber, Failure, InboxItem, InboxRow, InboxSeq,
    InstanceNumber, InstanceStatus, ModuleNumber, ObservableLimits, Payload, RetryPolicy, Rewinds,
    SubOrchestrationOptions, Tags, TaskId, TenantId, Timestamp, Turn, TurnNumber,
};
use crate::replay::ledger::ActivityCall;
use crate::replay::tests::script::{Functions, Op, Script, event, started};
use crate::replay::{Directory, Execution, Player, TurnLimits, TurnSize};
use crate::store::{
    AttemptRow, AttemptsSoFar, Creation, InstanceRecord, NewInstance, Recipient, TurnCommit, TurnReceipt,
};

struct TestWorld {
    now: Cell<u64>,
    seeds: Cell<u8>,
    held: Cell<bool>,
}

impl OwnerContext for TestWorld {
    fn now(&self) -> Timestamp {
        Timestamp(self.now.get())
    }

    fn seed(&self) -> [u8; 32] {
        self.seeds.set(self.seeds.get().wrapping_add(1));
        [self.seeds.get(); 32]
    }

    fn directory(&self) -> &dyn Directory {
        &Functions
    }

    fn shared_directory(&self) -> Arc<dyn Directory> {
        Arc::new(Functions)
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
        self.held.get()
    }
}

/// An instance with everything that a store would contain of it.
struct Instance {
    context: TestWorld,
    program: Vec<Vec<Op>>,
    record: InstanceRecord,
    attempts: Vec<AttemptRow>,
    history: BTreeMap<ExecutionNumber, Vec<Turn>>,
    owner: Owner<Orchestration<Script>>,
    next_seq: u64,
    started: Vec<TaskId>,
    /// The activity calls among them.
    calls: Vec<ActivityCall>,
    /// The tasks in whose places they run.
    origins: Vec<TaskId>,
    /// Their attempts so far.
    so_far: Vec<AttemptsSoFar>,
    cancelled: Vec<(ExecutionNumber, TaskId)>,
    commits: Vec<TurnCommit>,
    /// How often events were read.
    reads: u32,
    /// How many messages an owner reads with the instance, besides control messages.
    page: usize,
}

impl Instance {
    fn new(program: &[Vec<Op>]) -> Self {
        let record = InstanceRecord {
            number: InstanceNumber(1),
            tenant: TenantId::DEFAULT,
            id: "test".parse().unwrap(),
            function: "scripted".parse().unwrap(),
            module: ModuleNumber(1),
            parent: None,
            status: InstanceStatus::Pending,
            stuck: None,
            execution: ExecutionNumber::FIRST,
            last_turn: TurnNumber::NONE,
            created_at: Timestamp(1_000),
            custom_status: None,
            fuel: 0,
            history_bytes: 0,
            event_bytes: 0,
            inbox: Vec::new(),
            more_inbox: false,
            more_events: false,
            entity: None,
            more_delayed: false,
            rewinds: Rewinds::none(ExecutionNumber::FIRST),
            has_attempts: false,
            first_turns: Vec::new(),
        };
        let mut instance = Self {
            context: TestWorld {
                now: Cell::new(1_000),
                seeds: Cell::new(100),
                held: Cell::new(false),
            },
            program: program.to_vec(),
            owner: Owner::new(record.clone(), InboxSeq(0)),
            record,
            attempts: Vec::new(),
            history: BTreeMap::new(),
            next_seq: 1,
            started: Vec::new(),
            calls: Vec::new(),
            origins: Vec::new(),
            so_far: Vec::new(),
            cancelled: Vec::new(),
            commits: Vec::new(),
            reads: 0,
            page: usize::MAX,
        };
        instance.deliver(InboxItem::Start(Box::new(started(Vec::new()))));
        instance
    }

    /// Appends to the inbox without notifying the owner.
    fn append(&mut self, item: InboxItem) -> InboxRow {
        let row = InboxRow {
            seq: InboxSeq(self.next_seq),
            item,
        };
        self.next_seq += 1;
        self.record.inbox.push(row.clone());
        row
    }

    /// Appends to the inbox and notifies the owner.
    fn deliver(&mut self, item: InboxItem) {
        let row = self.append(item);
        self.owner.receive(row);
    }

    fn result(&mut self, task: u32) {
        let outcome = Ok(Payload::of(&task));
        let execution = self.record.execution;
        self.owner.receive_result(ActivityResult {
            execution,
            task: TaskId(task),
            outcome,
            logs: Vec::new(),
            fuel: 3,
            used: None,
            memory: None,
        });
    }

    /// Replaces the owner by a new one that reads what is stored.
    fn restart(&mut self) {
        let mut record = self.record.clone();
        let mut left = self.page;
        record.inbox.retain(|row| {
            let fits = row.item.is_control() || left > 0;
            left -= usize::from(fits && !row.item.is_control());
            fits
        });
        record.more_inbox = record.inbox.len() < self.record.inbox.len();
        self.owner = Owner::new(record, InboxSeq(0));
    }

    /// The same with a failure.
    fn failure(&mut self, task: u32) {
        self.owner.receive_result(ActivityResult {
            execution: self.record.execution,
            task: TaskId(task),
            outcome: Err(Failure::new("Down", "the service is down")),
            logs: Vec::new(),
            fuel: 3,
            used: None,
            memory: None,
        });
    }

    /// Serves the owner until it is idle. Returns its wake-up time.
    fn settle(&mut self) -> Option<Timestamp> {
        loop {
            // The loop drops an owner that is about to run if there is no memory. The next owner resumes calls, but cannot
            // know which ones to stop.
            let may_be_dropped = self.owner.is_about_to_run();
            let next = self.owner.next(&self.context).unwrap();
            let is_lost = match &next {
                Next::Activities(changes) => changes.cancel_all || !changes.cancel.is_empty(),
                Next::Ended => true,
                _ => false,
            };
            assert!(!(may_be_dropped && is_lost), "{next:?}");
            match next {
                Next::Idle(until) => return until,
                Next::Ended => return None,
                Next::Commit(commit) => self.write(*commit),
                other => self.help(other),
            }
        }
    }

    fn help(&mut self, next: Next) {
        match next {
            Next::History(after) => {
                let rows = self.history.get(&self.record.execution).cloned().unwrap_or_default();
                let rows: Vec<Turn> = rows.into_iter().filter(|turn| turn.number > after).take(2).collect();
                assert!(!rows.is_empty(), "there are rows after {after}");
                self.owner.feed(&rows).unwrap();
            }
            Next::Attempts(tasks) => {
                let mut noted = BTreeMap::<_, AttemptsSoFar>::new();
                for row in self.attempts.iter().filter(|row| tasks.contains(&row.task)) {
                    noted.entry(row.task).or_default().add(row);
                }
                self.owner.take_attempts(noted);
            }
            Next::Guest(_, started) => {
                let id = self.record.id.clone();
                let execution = Execution::new(id, started, Arc::new(Functions), TurnLimits::default());
                self.owner
                    .install_player(Player::new(Script::new(self.program.clone()), execution));
            }
            Next::Entity(_) => unreachable!("it is an orchestration"),
            Next::Activities(changes) => {
                self.started.extend(changes.start.iter().map(|start| start.task));
                self.origins.extend(changes.start.iter().map(|start| start.origin));
                self.so_far
                    .extend(changes.start.iter().map(|start| start.so_far.clone()));
                self.calls.extend(changes.start.into_iter().map(|start| start.call));
                self.cancelled.extend(changes.cancel);
            }
            Next::Events(names) => {
                let newest = InboxSeq(self.next_seq - 1);
                let pages = names.into_iter().map(|name| self.read_events(name)).collect();
                self.owner.read_events(newest, pages);
                self.reads += 1;
            }
            Next::Store(items) => {
                items.into_iter().for_each(|(item, _)| self.deliver(item));
                self.restart();
            }
            Next::Idle(_) | Next::Ended | Next::Commit(_) | Next::Judged(_) => unreachable!("handled by the caller"),
        }
    }

    /// The two oldest events of a name.
    fn read_events(&self, name: String) -> EventPage {
        let all = self.record.inbox.iter().filter_map(|row| match &row.item {
            InboxItem::Event(event) if event.name.folded() == name => Some((row.seq, event.clone())),
            _ => None,
        });
        EventPage {
            events: all.clone().take(2).collect(),
            more: all.count() > 2,
            name,
        }
    }

    /// Writes a commit as the store would.
    fn write(&mut self, commit: TurnCommit) {
        if let Some(turn) = &commit.turn {
            let turns = self.history.entry(commit.execution).or_default();
            assert_eq!(turns.len() as u32 + 1, turn.number.0, "histories have no gaps");
            turns.push(turn.clone());
        }
        let taken: Vec<InboxSeq> = commit.taken_events.iter().map(|taken| taken.seq).collect();
        let is_gone = |seq: &InboxSeq| commit.consumed.contains(seq) || taken.contains(seq);
        self.record.inbox.retain(|row| !is_gone(&row.seq));
        self.attempts.extend(commit.attempts.iter().cloned());
        self.record.has_attempts = !self.attempts.is_empty();
        let summary = &commit.summary;
        self.record.status = summary.status;
        self.record.stuck = summary.stuck.clone();
        self.record.execution = summary.execution;
        self.record.last_turn = summary.last_turn;
        self.record.module = summary.module;
        let mut receipt = TurnReceipt::default();
        if let Some(rewinds) = &commit.rewinds {
            let until = InboxSeq(self.next_seq - 1);
            self.record.rewinds = Rewinds {
                until,
                ..rewinds.clone()
            };
            receipt.rewound_until = Some(until);
        }
        for event in &commit.kept {
            let seq = InboxSeq(self.next_seq);
            self.next_seq += 1;
            let item = InboxItem::Event(event.clone());
            self.record.inbox.push(InboxRow { seq, item });
            receipt.kept.push(seq);
        }
        if let Some(started) = &commit.next_execution {
            let row = InboxRow {
                seq: InboxSeq(self.next_seq),
                item: InboxItem::Start(Box::new(started.clone())),
            };
            self.next_seq += 1;
            self.record.inbox.push(row.clone());
            self.attempts.clear();
            self.record.has_attempts = false;
            self.record.rewinds = Rewinds::none(summary.execution);
            receipt.delivered.push((self.record.number, row));
        }
        let own = Recipient::Number(self.record.number);
        let to_itself = commit.messages.iter().filter(|message| message.to == own);
        let to_itself: Vec<_> = to_itself.map(|message| message.item.clone()).collect();
        for item in to_itself {
            let row = self.append(item);
            receipt.delivered.push((self.record.number, row));
        }
        self.commits.push(commit);
        self.owner.committed(&receipt);
    }

    fn last(&self) -> &TurnCommit {
        self.commits.last().expect("something was committed")
    }
}

fn call(name: &str) -> Op {
    Op::Call(name.into())
}

fn task_ended(task: u32) -> InboxItem {
    InboxItem::TaskEnded {
        execution: ExecutionNumber::FIRST,
        task: TaskId(task),
        attempt: 0,
        outcome: Ok(Payload::of(&task)),
    }
}

fn terminate() -> InboxItem {
    InboxItem::Terminate {
        reason: "enough".into(),
    }
}

#[test]
fn a_chain_takes_one_commit_per_turn_and_survives_a_new_owner_anywhere() {
    for restart_after in 0..3 {
        let mut instance = Instance::new(&[vec![call("a"), call("b")]]);
        for task in 1..=2 {
            instance.settle();
            assert!(instance.started.contains(&TaskId(task)));
            if restart_after == task {
                instance.restart();
            }
            instance.result(task);
        }
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Completed);
        assert_eq!(instance.commits.len(), 3);
        assert_eq!(instance.last().summary.fuel, 7 + 3);
    }
}

#[test]
fn a_new_owner_resumes_outstanding_activities_unless_their_result_has_arrived() {
    let mut instance = Instance::new(&[vec![call("a")], vec![call("b")]]);
    instance.settle();
    assert_eq!(instance.last().summary.in_flight, 2);
    instance.started.clear();
    instance.restart();
    instance.result(2);
    instance.settle();
    assert_eq!(instance.started, [TaskId(1)]);
}

#[test]
fn an_activity_that_ended_while_its_instance_was_suspended_does_not_run_again() {
    let mut instance = Instance::new(&[vec![call("a")], vec![call("b")]]);
    instance.settle();
    instance.deliver(InboxItem::Suspend { reason: String::new() });
    instance.settle();
    instance.result(1);
    instance.settle();
    instance.started.clear();
    instance.deliver(InboxItem::Resume { reason: String::new() });
    instance.settle();
    assert_eq!(instance.started, [TaskId(2)], "the other one is resumed");
    instance.result(2);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn an_activity_whose_outcome_is_in_an_unread_message_does_not_run_again() {
    let mut instance = Instance::new(&[vec![call("a")], vec![call("b")], vec![call("c")]]);
    instance.settle();
    instance.started.clear();
    (1..=2).for_each(|task| drop(instance.append(task_ended(task))));
    let mut first_page = instance.record.clone();
    first_page.inbox.truncate(1);
    first_page.more_inbox = true;
    instance.owner = Owner::new(first_page, InboxSeq(0));
    instance.settle();
    assert_eq!(instance.started, [TaskId(3)]);
    instance.result(3);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn the_result_of_another_execution_does_not_count_for_this_one() {
    let mut instance = Instance::new(&[vec![call("a")]]);
    instance.settle();
    assert_eq!(instance.started, [TaskId(1)]);
    instance.restart();
    instance.owner.receive_result(ActivityResult {
        execution: ExecutionNumber(7),
        task: TaskId(1),
        outcome: Ok(Payload::null()),
        logs: Vec::new(),
        fuel: 0,
        used: None,
        memory: None,
    });
    instance.settle();
    assert_eq!(instance.started, [TaskId(1), TaskId(1)], "it is resumed all the same");
}

#[test]
fn a_result_is_kept_when_its_commit_fails() {
    let mut instance = Instance::new(&[vec![call("a")]]);
    instance.settle();
    instance.result(1);
    while !matches!(instance.owner.next(&instance.context).unwrap(), Next::Commit(_)) {}
    let fresh = Owner::new(instance.record.clone(), InboxSeq(0));
    let kept = std::mem::replace(&mut instance.owner, fresh).into_results();
    assert_eq!(kept.len(), 1);
    kept.into_iter()
        .for_each(|result| instance.owner.receive_result(result));
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn a_suspended_instance_takes_no_messages_and_has_no_timers_until_it_is_resumed() {
    let mut instance = Instance::new(&[vec![call("a"), Op::Sleep(50)]]);
    instance.settle();
    instance.deliver(InboxItem::Suspend { reason: String::new() });
    assert_eq!(instance.settle(), None);
    assert_eq!(instance.record.status, InstanceStatus::Suspended);
    assert_eq!(
        instance.last().summary.in_flight,
        1,
        "a restart in between must not lose the activity"
    );
    instance.result(1);
    instance.settle();
    assert_eq!(instance.record.inbox.len(), 1, "the result is durable in the inbox");
    instance.restart();
    instance.deliver(InboxItem::Resume { reason: String::new() });
    assert_eq!(instance.settle(), Some(Timestamp(1_050)));
    assert_eq!(instance.last().summary.wake_at, Some(Timestamp(1_050)));
}

#[test]
fn a_cold_instance_that_is_resumed_keeps_its_timer() {
    let mut instance = Instance::new(&[vec![Op::Sleep(50)]]);
    instance.settle();
    instance.deliver(InboxItem::Suspend { reason: String::new() });
    instance.settle();
    instance.restart();
    instance.deliver(InboxItem::Resume { reason: String::new() });
    instance.settle();
    assert_eq!(instance.last().summary.wake_at, Some(Timestamp(1_050)));
    instance.context.now.set(1_050);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn termination_needs_no_guest_and_reaches_children() {
    let mut instance = Instance::new(&[vec![Op::Child("c".into())], vec![call("a")]]);
    instance.settle();
    instance.program = vec![vec![call("something else entirely")]];
    instance.restart();
    instance.deliver(terminate());
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Terminated);
    let messages = &instance.last().messages;
    assert!(matches!(&messages[..], [message] if matches!(message.item, InboxItem::Terminate { .. })));
}

#[test]
fn an_instance_terminated_before_its_first_turn_still_shows_its_input() {
    let mut instance = Instance::new(&[vec![call("a")]]);
    instance.deliver(terminate());
    instance.settle();
    let arrivals = &instance.history[&ExecutionNumber::FIRST][0].arrivals;
    assert!(matches!(
        &arrivals[..],
        [Arrival::Started(_), Arrival::Terminated { .. }]
    ));
}

#[test]
fn changed_code_makes_an_instance_stuck_and_the_old_code_lets_it_continue() {
    let mut instance = Instance::new(&[vec![call("charge"), call("ship")]]);
    instance.settle();
    let good = std::mem::replace(&mut instance.program, vec![vec![call("refund")]]);
    instance.restart();
    instance.deliver(InboxItem::TaskEnded {
        execution: ExecutionNumber::FIRST,
        task: TaskId(1),
        attempt: 0,
        outcome: Ok(Payload::null()),
    });
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Stuck);
    assert_eq!(instance.record.stuck.as_ref().unwrap().code, "nondeterminism");
    assert_eq!(instance.record.inbox.len(), 1, "what arrived is kept");
    instance.program = good;
    instance.deliver(InboxItem::Resume { reason: String::new() });
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Running);
    instance.result(2);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn continue_as_new_starts_over_with_events_in_order_and_a_new_seed() {
    let mut instance = Instance::new(&[vec![call("a"), Op::ContinueAsNew(1)]]);
    instance.settle();
    for n in 1..=3 {
        instance.deliver(InboxItem::Event(event("e", n)));
    }
    instance.result(1);
    instance.program = vec![
        vec![Op::Event("e".into()), Op::Event("e".into())],
        vec![Op::Event("e".into())],
    ];
    let first = instance.history.clone();
    instance.settle();
    assert_eq!(first.len(), 1);
    let second = &instance.history[&ExecutionNumber(2)][0];
    let [Arrival::Started(started), ..] = &second.arrivals[..] else {
        panic!("the second execution starts")
    };
    assert_ne!(started.seed, crate::replay::tests::script::started(Vec::new()).seed);
    assert_eq!(instance.record.status, InstanceStatus::Completed);
    let output = second.decisions.iter().find_map(|decision| match decision {
        Decision::Complete { output } => Some(output.to_string()),
        _ => None,
    });
    assert_eq!(output.unwrap(), r#"["1=Some(1)","2=Some(2)","3=Some(3)"]"#);
}

#[test]
fn the_last_turn_of_an_execution_cancels_a_call_of_this_execution() {
    let mut instance = Instance::new(&[vec![Op::CallOrCall("a".into(), "b".into()), Op::ContinueAsNew(1)]]);
    instance.settle();
    instance.result(1);
    instance.settle();
    assert!(instance.history.contains_key(&ExecutionNumber(2)));
    assert_eq!(instance.cancelled, [(ExecutionNumber(1), TaskId(2))]);
}

#[test]
fn a_call_is_stopped_before_the_next_turn_may_wait_for_memory() {
    let strands = [
        vec![Op::CallOrCall("a".into(), "b".into()), Op::Event("e".into())],
        vec![Op::Sleep(1_000_000)],
    ];
    let mut instance = Instance::new(&strands);
    instance.settle();
    instance.result(1);
    // `settle` asserts the order.
    assert!(instance.settle().is_some(), "it waits for the timer");
    assert_eq!(instance.cancelled, [(ExecutionNumber(1), TaskId(2))]);
}

#[test]
fn an_event_that_is_delivered_twice_arrives_once() {
    let mut instance = Instance::new(&[vec![Op::Event("e".into()), Op::Event("e".into())]]);
    instance.settle();
    let seq = InboxSeq(instance.next_seq);
    instance.deliver(InboxItem::Event(Event {
        name: "e".parse().unwrap(),
        payload: Payload::null(),
    }));
    let row = instance.record.inbox.iter().find(|row| row.seq == seq).unwrap().clone();
    // A new owner reads it from the store, and it is delivered again.
    instance.restart();
    instance.settle();
    instance.owner.receive(row);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Running);
}

#[test]
fn a_failed_child_is_retried_after_its_backoff_until_the_policy_is_exhausted() {
    use crate::replay::Ledger;
    // Scripts set no options; put a policy into the recorded decision, as an SDK would have sent it.
    let mut instance = Instance::new(&[vec![Op::Child("c".into())]]);
    instance.settle();
    let retry = RetryPolicy {
        first_interval_ms: 500,
        backoff_coefficient: 2.0,
        max_interval_ms: 10_000,
        max_attempts: 2,
        non_retryable_error_types: Vec::new(),
    };
    let turn = &mut instance.history.get_mut(&ExecutionNumber::FIRST).unwrap()[0];
    let Decision::CallSubOrchestration {
        options, instance_id, ..
    } = &mut turn.decisions[0]
    else {
        panic!()
    };
    *options = SubOrchestrationOptions {
        retry: Some(retry),
        timeout_ms: None,
    };
    let first_id = instance_id.clone();
    assert_eq!(Ledger::default().apply(turn), Ok(()));
    instance.restart();
    let failed = |attempt| InboxItem::TaskEnded {
        execution: ExecutionNumber::FIRST,
        task: TaskId(1),
        attempt,
        outcome: Err(Failure::new("Busy", "later")),
    };
    instance.deliver(failed(1));
    instance.settle();
    let [child] = &instance.last().children[..] else {
        panic!("a second child is started")
    };
    assert_eq!(child.id.as_str(), format!("{first_id}-2"));
    assert_eq!(child.started.not_before, Some(Timestamp(1_500)));
    assert_eq!(instance.last().attempts.len(), 1);
    instance.restart();
    instance.deliver(failed(1));
    instance.settle();
    assert_eq!(
        instance.record.status,
        InstanceStatus::Running,
        "a late outcome of the first attempt changes nothing"
    );
    instance.deliver(failed(2));
    instance.settle();
    assert_eq!(
        instance.record.status,
        InstanceStatus::Completed,
        "the script catches the failure"
    );
}

#[test]
fn a_child_does_not_start_before_its_time() {
    let mut instance = Instance::new(&[vec![call("a")]]);
    instance.record.inbox.clear();
    instance.restart();
    let mut later = started(Vec::new());
    later.not_before = Some(Timestamp(2_000));
    instance.deliver(InboxItem::Start(Box::new(later)));
    assert_eq!(instance.settle(), Some(Timestamp(2_000)));
    assert_eq!(instance.commits.len(), 0);
    instance.context.now.set(2_000);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Running);
}

/// An instance that is not stored yet.
fn not_stored(program: &[Vec<Op>]) -> Instance {
    let mut instance = Instance::new(program);
    instance.record.inbox.clear();
    let creation = Creation {
        instance: NewInstance {
            tenant: TenantId::DEFAULT,
            id: instance.record.id.clone(),
            module: instance.record.module,
            started: started(Vec::new()),
            created_at: Timestamp(1_000),
        },
        key: None,
        tags: Tags::default(),
    };
    instance.owner = Owner::not_stored(instance.record.number, creation, false);
    instance
}

#[test]
fn an_instance_is_created_by_the_commit_of_its_first_turn() {
    let mut instance = not_stored(&[vec![call("a")]]);
    instance.settle();
    let first = &instance.commits[0];
    assert!(first.creation.is_some() && first.turn.is_some() && first.consumed.is_empty());
    assert_eq!(first.summary.in_flight, 1);
    assert_eq!(instance.started, [TaskId(1)]);
    instance.result(1);
    instance.settle();
    assert!(instance.last().creation.is_none(), "it is created once");
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn an_instance_whose_guest_cannot_run_now_is_created_without_its_turn() {
    let mut instance = not_stored(&[vec![call("a")]]);
    assert!(matches!(
        instance.owner.next(&instance.context),
        Ok(Next::Guest(ModuleNumber(1), _))
    ));
    instance.owner.turn_later();
    let Ok(Next::Commit(commit)) = instance.owner.next(&instance.context) else {
        panic!("it is created")
    };
    assert!(commit.creation.is_some() && commit.turn.is_none());
    assert_eq!(commit.summary.status, InstanceStatus::Pending);
    let row = InboxRow {
        seq: InboxSeq(7),
        item: InboxItem::Start(Box::new(started(Vec::new()))),
    };
    instance.record.inbox.push(row.clone());
    let receipt = TurnReceipt {
        delivered: vec![(instance.record.number, row)],
        ..TurnReceipt::default()
    };
    instance.owner.committed(&receipt);
    instance.settle();
    assert_eq!(instance.last().consumed, [InboxSeq(7)]);
    assert_eq!(instance.started, [TaskId(1)]);
}

#[test]
fn an_event_is_stored_by_the_turn_that_takes_it() {
    let mut instance = Instance::new(&[vec![Op::Event("go".into()), Op::Event("go".into())]]);
    instance.settle();
    let before = instance.commits.len();
    instance.owner.receive_event(event("go", 1));
    instance.owner.receive_event(event("go", 2));
    let Ok(Next::Commit(commit)) = instance.owner.next(&instance.context) else {
        panic!("both are taken")
    };
    assert_eq!(commit.turn.as_ref().unwrap().arrivals.len(), 2);
    assert!(commit.consumed.is_empty());
    assert_eq!(instance.owner.committed(&TurnReceipt::default()), [true, true]);
    assert_eq!(instance.commits.len(), before);
}

#[test]
fn an_event_for_an_instance_that_starts_later_is_stored() {
    let mut instance = Instance::new(&[vec![Op::Event("go".into())]]);
    instance.record.inbox.clear();
    instance.restart();
    let mut start = started(Vec::new());
    start.not_before = Some(Timestamp(5_000));
    instance.deliver(InboxItem::Start(Box::new(start)));
    instance.owner.receive_event(event("go", 1));
    assert_eq!(instance.settle(), Some(Timestamp(5_000)));
    assert_eq!(instance.record.inbox.len(), 2, "it is durable before the first turn");
    instance.context.now.set(5_000);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn a_suspended_instance_keeps_events_in_its_inbox() {
    let mut instance = Instance::new(&[vec![Op::Event("go".into())]]);
    instance.settle();
    instance.deliver(InboxItem::Suspend { reason: String::new() });
    instance.settle();
    instance.owner.receive_event(event("go", 1));
    instance.settle();
    assert_eq!(instance.record.inbox.len(), 1);
    instance.restart();
    instance.deliver(InboxItem::Resume { reason: String::new() });
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
}

#[test]
fn a_long_history_is_read_once_when_the_guest_is_needed_anyway() {
    let steps = 40;
    let program = vec![(0..steps).map(|n| call(&format!("a{n}"))).collect::<Vec<_>>()];
    let mut instance = Instance::new(&program);
    for task in 1..steps {
        instance.settle();
        instance.result(task);
    }
    instance.settle();
    instance.restart();
    instance.result(steps);
    let mut read = 0;
    loop {
        match instance.owner.next(&instance.context).unwrap() {
            Next::Commit(commit) => break instance.write(*commit),
            Next::History(after) => {
                let rows = &instance.history[&ExecutionNumber::FIRST];
                let rows: Vec<Turn> = rows
                    .iter()
                    .filter(|turn| turn.number > after)
                    .take(5)
                    .cloned()
                    .collect();
                read += rows.len();
                instance.owner.feed(&rows).unwrap();
            }
            other => instance.help(other),
        }
    }
    assert_eq!(instance.record.status, InstanceStatus::Completed);
    assert_eq!(read as u32, steps + 5, "only the first page is read twice");
}

/// An hour, in milliseconds.
const HOUR: u64 = 60 * 60 * 1_000;

/// An instance whose clock was set back by an hour after its first turn, and which then received an event.
fn set_back(then: Op) -> Instance {
    let mut instance = Instance::new(&[vec![Op::Event("go".into()), then]]);
    instance.context.now.set(10 * HOUR);
    instance.settle();
    instance.context.now.set(9 * HOUR);
    instance.deliver(InboxItem::Event(event("go", 1)));
    instance
}

#[test]
fn a_timer_created_after_the_clock_was_set_back_has_its_full_length() {
    for restarts in [false, true] {
        let mut instance = set_back(Op::Sleep(5_000));
        assert_eq!(instance.settle(), Some(Timestamp(9 * HOUR + 5_000)));
        let turn = instance.last().turn.clone().unwrap();
        assert_eq!((turn.at, turn.clock_at()), (Timestamp(10 * HOUR), Timestamp(9 * HOUR)));
        assert_eq!(instance.last().summary.wake_at, Some(Timestamp(9 * HOUR + 5_000)));
        instance.context.now.set(9 * HOUR + 4_999);
        if restarts {
            instance.restart();
        }
        assert_eq!(instance.settle(), Some(Timestamp(9 * HOUR + 5_000)));
        instance.context.now.set(9 * HOUR + 5_000);
        instance.settle();
        let turn = instance.last().turn.clone().unwrap();
        assert_eq!(turn.at, Timestamp(10 * HOUR + 5_000), "not before the due time");
        assert_eq!(instance.last().summary.status, InstanceStatus::Completed);
    }
}

#[test]
fn timers_from_before_the_clock_was_set_back_keep_their_time() {
    let mut instance = Instance::new(&[vec![Op::Sleep(5_000)]]);
    instance.context.now.set(10 * HOUR);
    assert_eq!(instance.settle(), Some(Timestamp(10 * HOUR + 5_000)));
    instance.context.now.set(9 * HOUR);
    assert_eq!(instance.settle(), Some(Timestamp(10 * HOUR + 5_000)));
}

#[test]
fn a_clock_that_is_slightly_behind_is_not_recorded() {
    let mut instance = set_back(Op::Sleep(5_000));
    instance.context.now.set(10 * HOUR - 999);
    assert_eq!(instance.settle(), Some(Timestamp(10 * HOUR + 5_000)));
    let turn = instance.last().turn.clone().unwrap();
    assert_eq!((turn.at, turn.arrivals.len()), (Timestamp(10 * HOUR), 1));
}

#[test]
fn the_timeout_of_a_call_counts_by_the_current_clock() {
    let options = ActivityOptions {
        timeout_ms: Some(5_000),
        ..ActivityOptions::default()
    };
    for restarts in [false, true] {
        let mut instance = set_back(Op::CallWith("slow".into(), options.clone()));
        instance.settle();
        if restarts {
            instance.restart();
            instance.settle();
        }
        let call = instance.calls.last().expect("a call was started");
        assert_eq!(call.deadline(), Some(Timestamp(9 * HOUR + 5_000)));
    }
}
