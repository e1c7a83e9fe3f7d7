//! Tests of moves to another version of the module.

use super::*;
use crate::engine::owner::MoveTo;
use crate::model::StuckReason;

const NEW: ModuleNumber = ModuleNumber(2);

fn to(dry_run: bool) -> MoveTo {
    MoveTo {
        module: NEW,
        dry_run,
        note: "moved".into(),
    }
}

impl Instance {
    /// Serves a move to its end with this program. Returns why the history does not fit.
    fn moves(&mut self, program: &[Vec<Op>], dry_run: bool) -> Option<StuckReason> {
        let before = std::mem::replace(&mut self.program, program.to_vec());
        self.owner.begin_move(to(dry_run));
        loop {
            match self.owner.next(&self.context).unwrap() {
                Next::Judged(misfit) => {
                    if misfit.is_some() || dry_run {
                        self.program = before;
                    }
                    return misfit;
                }
                Next::Commit(commit) => {
                    self.write(*commit);
                    if self.owner.take_moved() {
                        return None;
                    }
                }
                Next::Guest(module, started) => {
                    assert_eq!(module, NEW);
                    self.help(Next::Guest(module, started));
                }
                other @ (Next::History(_) | Next::Attempts(_) | Next::Activities(_)) => self.help(other),
                other => panic!("{other:?}"),
            }
        }
    }

    fn write_module(&mut self) -> ModuleNumber {
        self.last().summary.module
    }
}

fn old() -> Vec<Vec<Op>> {
    vec![vec![call("a"), call("b"), call("c")]]
}

fn patched() -> Vec<Vec<Op>> {
    let added = Op::IfPatched("x".into(), vec![call("added")], Vec::new());
    vec![vec![call("a"), added.clone(), call("b"), added, call("c")]]
}

fn half_way() -> Instance {
    let mut instance = Instance::new(&old());
    instance.settle();
    instance.result(1);
    instance.settle();
    instance
}

#[test]
fn an_instance_whose_history_fits_goes_on_with_the_new_version() {
    for (restarts, dry_run_first) in [(false, true), (true, false)] {
        let mut instance = half_way();
        if restarts {
            instance.restart();
        }
        let commits = instance.commits.len();
        if dry_run_first {
            assert_eq!(instance.moves(&patched(), true), None);
            assert_eq!(instance.commits.len(), commits, "nothing is stored");
        }
        assert_eq!(instance.moves(&patched(), false), None);
        assert_eq!(instance.commits.len(), commits + 1);
        let commit = instance.last();
        assert!(commit.turn.is_none() && commit.summary.status == InstanceStatus::Running);
        assert_eq!((commit.summary.module, commit.summary.in_flight), (NEW, 1));
        assert_eq!(commit.logs[0].message, "moved");
        assert!(!instance.owner.take_moved(), "it moved once");
        instance.settle();
        instance.result(2);
        instance.settle();
        // The answer of the first point holds at the second one.
        assert_eq!(instance.calls.last().unwrap().function.as_str(), "c");
        assert_eq!(instance.write_module(), NEW);
        instance.result(3);
        instance.settle();
        assert_eq!(instance.record.status, InstanceStatus::Completed);
    }
}

#[test]
fn an_instance_whose_history_does_not_fit_goes_on_with_its_own_version() {
    let mut instance = half_way();
    let commits = instance.commits.len();
    let other = vec![vec![call("a"), call("other")]];
    for dry_run in [true, false] {
        let misfit = instance.moves(&other, dry_run).expect("it does not fit");
        assert_eq!(misfit.code, "nondeterminism");
        assert!(
            misfit.message.starts_with("turn 2: history calls activity \"b\""),
            "{misfit:?}"
        );
    }
    assert_eq!(instance.commits.len(), commits);
    assert_eq!(instance.record.status, InstanceStatus::Running);
    instance.settle();
    instance.result(2);
    instance.settle();
    instance.result(3);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Completed);
    assert_eq!(instance.write_module(), ModuleNumber(1));
}

#[test]
fn what_arrives_during_a_move_is_taken_afterwards() {
    let mut instance = half_way();
    instance.result(2);
    instance.deliver(InboxItem::Suspend { reason: String::new() });
    assert_eq!(instance.moves(&patched(), false), None);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Suspended);
    instance.deliver(InboxItem::Resume { reason: String::new() });
    instance.settle();
    assert_eq!(instance.calls.last().unwrap().function.as_str(), "c");
    assert_eq!(instance.write_module(), NEW);
}

#[test]
fn a_stuck_instance_that_fits_runs_again_and_one_that_does_not_keeps_its_reason() {
    let mut instance = half_way();
    // Replay with other code makes it stuck.
    instance.program = vec![vec![call("other")]];
    instance.restart();
    instance.result(2);
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Stuck);
    let reason = instance.record.stuck.clone();
    let commits = instance.commits.len();
    assert!(instance.moves(&[vec![call("another")]], false).is_some());
    assert_eq!((instance.commits.len(), &instance.record.stuck), (commits, &reason));
    assert_eq!(instance.moves(&patched(), false), None);
    assert_eq!(
        (instance.record.status, instance.record.stuck.clone()),
        (InstanceStatus::Running, None)
    );
    instance.result(2);
    instance.settle();
    assert_eq!(instance.calls.last().unwrap().function.as_str(), "c");
}

#[test]
fn a_move_that_was_given_up_changes_nothing() {
    let mut instance = half_way();
    instance.owner.begin_move(to(false));
    let Ok(Next::Guest(NEW, _)) = instance.owner.next(&instance.context) else {
        panic!("it judges");
    };
    instance.owner.end_move();
    instance.settle();
    instance.result(2);
    instance.settle();
    assert_eq!(instance.write_module(), ModuleNumber(1));
    assert_eq!(instance.calls.last().unwrap().function.as_str(), "c");
}

#[test]
fn an_instance_that_has_not_begun_fits_every_version() {
    let mut instance = Instance::new(&old());
    assert_eq!(instance.moves(&[vec![call("new")]], false), None);
    assert_eq!(instance.write_module(), NEW);
    instance.settle();
    assert_eq!(instance.calls[0].function.as_str(), "new");
}

#[test]
fn a_module_that_cannot_be_loaded_does_not_make_the_instance_stuck() {
    let mut instance = half_way();
    instance.owner.begin_move(to(false));
    let Ok(Next::Guest(NEW, _)) = instance.owner.next(&instance.context) else {
        panic!("it judges");
    };
    instance
        .owner
        .break_down("module-unavailable", "its bytes are gone".into());
    let Ok(Next::Judged(Some(misfit))) = instance.owner.next(&instance.context) else {
        panic!("it was judged");
    };
    assert_eq!(misfit.code, "module-unavailable");
    instance.settle();
    assert_eq!(instance.record.status, InstanceStatus::Running);
}

#[test]
fn a_held_instance_is_not_judged() {
    let mut instance = half_way();
    instance.context.held.set(true);
    instance.owner.begin_move(to(false));
    assert!(matches!(instance.owner.next(&instance.context), Ok(Next::Idle(_))));
    instance.context.held.set(false);
    instance.program = patched();
    instance.settle();
    assert!(instance.owner.take_moved());
    assert_eq!(instance.write_module(), NEW);
}
