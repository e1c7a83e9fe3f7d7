//! A step of an entity: applies the operations that wait, one after the other.
//!
//! The state is decoded once. Each operation is a savepoint: after one that failed or was refused, the last good state is
//! decoded again from its text, which is kept for that.

use std::cell::OnceCell;
use std::rc::Rc;

use super::signature::{EntityEntry, EntityState, find, unknown_operation};
use super::{Entity, EntityBackend, Host};
use crate::bindings::entity::windlass::durable::entity_context as imports;
use crate::failure::Result;
use crate::logging;
use crate::payload::{decode, encode};

/// An operation to apply.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) name: String,
    pub(crate) input: String,
    pub(crate) is_signal: bool,
}

/// What an operation that succeeded leaves behind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Applied {
    pub(crate) output: String,
    pub(crate) state: NewState,
}

/// What an operation makes of the state.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum NewState {
    Unchanged,
    Set(String),
    Deleted,
}

/// The part of the host that hands out operations.
pub(crate) trait Operations {
    fn next(&self) -> Option<Operation>;

    /// Gives the outcome of an operation to the host. Returns the new state, or `None` if the operation has failed: it
    /// was not successful, or the host refuses its output or state.
    fn complete(&self, outcome: Result<Applied>) -> Option<NewState>;
}

/// An entity in memory.
pub(crate) trait Live {
    /// Applies one operation. [`settle`](Self::settle) must follow.
    fn apply(&mut self, ctx: &Entity, operation: &Operation) -> Result<Applied>;

    /// Keeps what the last operation made of the state, or undoes it if that is `None`.
    fn settle(&mut self, kept: Option<NewState>);
}

/// Runs a step.
///
/// # Panics
/// If the state cannot be read. The host sees a trap before the first operation was taken.
pub(crate) fn run(
    entry: &EntityEntry,
    state: Option<String>,
    backend: Rc<dyn EntityBackend>,
    operations: &impl Operations,
) {
    let ctx = Entity::new(backend);
    let _logging = logging::enter(ctx.sink());
    let mut entity = match (entry.open)(state) {
        Ok(entity) => entity,
        Err(failure) => panic!("the state of {} cannot be read: {}", ctx.id(), failure.message()),
    };
    while let Some(operation) = operations.next() {
        let outcome = entity.apply(&ctx, &operation);
        entity.settle(operations.complete(outcome));
    }
}

/// The state of one entity.
pub(crate) struct LiveState<S> {
    state: S,
    /// The text of the last good state; `None` if the entity has none.
    good: Option<String>,
    /// Whether the last operation may have changed the state.
    is_touched: bool,
    default_text: OnceCell<Result<String>>,
}

impl<S: EntityState> LiveState<S> {
    /// Decodes a state, or begins with the default.
    pub(crate) fn open(text: Option<String>) -> Result<Self> {
        Ok(Self {
            state: read_state(text.as_deref())?,
            good: text,
            is_touched: false,
            default_text: OnceCell::new(),
        })
    }

    /// Compares the state with the last good one.
    fn new_state(&self) -> Result<NewState> {
        let text = write_state(&self.state)?;
        let is_deleted = S::DELETE_WHEN_DEFAULT
            && match self.default_text.get_or_init(|| write_state(&S::default())) {
                Ok(default) => *default == text,
                Err(failure) => return Err(failure.clone()),
            };
        Ok(match &self.good {
            None if is_deleted => NewState::Unchanged,
            Some(good) if *good == text && !is_deleted => NewState::Unchanged,
            _ if is_deleted => NewState::Deleted,
            _ => NewState::Set(text),
        })
    }
}

impl<S: EntityState> Live for LiveState<S> {
    fn apply(&mut self, ctx: &Entity, operation: &Operation) -> Result<Applied> {
        self.is_touched = false;
        ctx.begin(&operation.name, operation.is_signal);
        let entry = find::<S>(&operation.name).ok_or_else(|| unknown_operation(S::NAME, &operation.name))?;
        self.is_touched = entry.mutates;
        let output = (entry.apply)(&mut self.state, ctx, &operation.input)?;
        let state = match (ctx.finish()?, entry.mutates) {
            (true, _) => NewState::Deleted,
            (false, true) => self.new_state()?,
            (false, false) => NewState::Unchanged,
        };
        Ok(Applied { output, state })
    }

    fn settle(&mut self, kept: Option<NewState>) {
        match kept {
            Some(NewState::Unchanged) => {}
            Some(NewState::Set(text)) => self.good = Some(text),
            Some(NewState::Deleted) => {
                self.good = None;
                self.state = S::default();
            }
            None if self.is_touched => {
                self.state = read_state(self.good.as_deref()).expect("a state that was read or written before");
            }
            None => {}
        }
    }
}

fn read_state<S: EntityState>(text: Option<&str>) -> Result<S> {
    match text {
        Some(text) => decode("the state does not match its type", text),
        None => Ok(S::default()),
    }
}

fn write_state<S: EntityState>(state: &S) -> Result<String> {
    encode("the state cannot be written", state)
}

impl Operations for Host {
    fn next(&self) -> Option<Operation> {
        let operation = imports::next_operation()?;
        Some(Operation {
            name: operation.name,
            input: operation.input,
            is_signal: operation.is_signal,
        })
    }

    fn complete(&self, outcome: Result<Applied>) -> Option<NewState> {
        match outcome {
            Ok(applied) => {
                let applied = imports::Applied::from(applied);
                imports::complete_operation(Ok(&applied)).then(|| applied.state.into())
            }
            Err(failure) => {
                imports::complete_operation(Err(&failure.into()));
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;

    use super::*;
    use crate::entity::EntityInfo;
    use crate::entity::address::EntityId;
    use crate::logging::Level;
    use crate::prelude::*;

    /// Counts how often its state is read.
    #[entity(name = "Tally", delete_when_default)]
    #[payload]
    #[derive(Default)]
    struct Tally {
        #[serde(deserialize_with = "read_marks")]
        marks: Vec<u32>,
    }

    thread_local! {
        static READS: Cell<u32> = const { Cell::new(0) };
    }

    fn read_marks<'de, D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<u32>, D::Error> {
        READS.set(READS.get() + 1);
        serde::Deserialize::deserialize(deserializer)
    }

    #[operations]
    impl Tally {
        fn add(&mut self, mark: u32) -> usize {
            self.marks.push(mark);
            self.marks.len()
        }

        fn add_and_fail(&mut self, mark: u32) -> Result<()> {
            self.marks.push(mark);
            Err(Failure::new("Failed", "after the change"))
        }

        fn clear(&mut self) {
            self.marks.clear();
        }

        fn touch(&mut self) {}

        fn count(&self) -> usize {
            self.marks.len()
        }
    }

    /// A host with operations. It refuses those whose name ends with `!`.
    #[derive(Default)]
    struct Script {
        operations: RefCell<VecDeque<(String, String)>>,
        running: RefCell<String>,
        outcomes: RefCell<Vec<String>>,
    }

    impl EntityBackend for Script {
        fn info(&self) -> EntityInfo {
            EntityInfo {
                id: EntityId::new("Tally", "a"),
                max_payload_bytes: 1,
                max_state_bytes: 1,
            }
        }
        fn now_ms(&self) -> u64 {
            0
        }
        fn new_uuid(&self) -> String {
            String::new()
        }
        fn signal_entity(&self, _: &EntityId, _: &str, _: &str, _: Option<u64>) {}
        fn start_orchestration(&self, _: &str, _: &str, _: Option<&str>) -> String {
            String::new()
        }
        fn log(&self, _: Level, _: &str) {}
    }

    impl Operations for Script {
        fn next(&self) -> Option<Operation> {
            let (name, input) = self.operations.borrow_mut().pop_front()?;
            self.running.replace(name.clone());
            Some(Operation {
                name: name.trim_end_matches('!').into(),
                input,
                is_signal: false,
            })
        }

        fn complete(&self, outcome: Result<Applied>) -> Option<NewState> {
            let is_refused = self.running.borrow().ends_with('!');
            let line = match &outcome {
                Ok(applied) => format!("{} {:?}", applied.output, applied.state),
                Err(failure) => failure.error_type().to_owned(),
            };
            self.outcomes.borrow_mut().push(line);
            outcome.ok().filter(|_| !is_refused).map(|applied| applied.state)
        }
    }

    /// The outcomes of the operations of one step, and how often it read its state.
    fn step(state: Option<&str>, operations: &[(&str, &str)]) -> (Vec<String>, u32) {
        READS.set(0);
        let script = Script::default();
        let owned = operations.iter().map(|(name, input)| ((*name).into(), (*input).into()));
        script.operations.borrow_mut().extend(owned);
        let entry = EntityEntry::of::<Tally>();
        run(&entry, state.map(str::to_owned), Rc::new(Script::default()), &script);
        (script.outcomes.take(), READS.get())
    }

    #[test]
    fn a_state_is_read_once_and_written_after_each_change() {
        let operations = [
            ("count", "null"),
            ("touch", "null"),
            ("add", "2"),
            ("touch", "null"),
            ("add", "3"),
            ("count", "null"),
        ];
        let (outcomes, reads) = step(Some(r#"{"marks":[1]}"#), &operations);
        let expected = [
            "1 Unchanged",
            "null Unchanged",
            r#"2 Set("{\"marks\":[1,2]}")"#,
            "null Unchanged",
            r#"3 Set("{\"marks\":[1,2,3]}")"#,
            "3 Unchanged",
        ];
        assert_eq!(outcomes, expected);
        assert_eq!(reads, 1);
    }

    #[test]
    fn an_operation_that_fails_or_is_refused_is_undone() {
        let operations = [
            ("add", "1"),
            ("add_and_fail", "2"),
            ("count", "null"),
            ("add!", "3"),
            ("add", "4"),
            ("add", "\"x\""),
            ("nothing", "null"),
            ("delete!", "null"),
            ("count", "null"),
        ];
        let (outcomes, reads) = step(None, &operations);
        let expected = [
            r#"1 Set("{\"marks\":[1]}")"#,
            "Failed",
            "1 Unchanged",
            r#"2 Set("{\"marks\":[1,3]}")"#,
            r#"2 Set("{\"marks\":[1,4]}")"#,
            "InvalidPayload",
            "windlass.unknown-operation",
            "null Deleted",
            "2 Unchanged",
        ];
        assert_eq!(outcomes, expected);
        // After `add_and_fail`, the refused `add`, and the input of the wrong type.
        assert_eq!(reads, 3);
    }

    #[test]
    fn a_deleted_state_is_the_default_again() {
        let operations = [
            ("add_and_fail", "1"),
            ("count", "null"),
            ("add", "1"),
            ("clear", "null"),
            ("clear", "null"),
            ("add", "2"),
            ("delete", "null"),
            ("add_and_fail", "3"),
            ("add", "4"),
            ("clear!", "null"),
            ("count", "null"),
        ];
        let (outcomes, _) = step(None, &operations);
        let expected = [
            "Failed",
            "0 Unchanged",
            r#"1 Set("{\"marks\":[1]}")"#,
            "null Deleted",
            "null Unchanged",
            r#"1 Set("{\"marks\":[2]}")"#,
            "null Deleted",
            "Failed",
            r#"1 Set("{\"marks\":[4]}")"#,
            "null Deleted",
            "1 Unchanged",
        ];
        assert_eq!(outcomes, expected);
    }

    #[test]
    #[should_panic(expected = "the state of @tally@a cannot be read: the state does not match its type")]
    fn a_state_of_another_type_stops_the_step_before_the_first_operation() {
        step(Some(r#"{"marks":"none"}"#), &[("count", "null")]);
    }
}
