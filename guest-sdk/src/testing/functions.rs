//! The functions of a simulated world, and the start of instances.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;

use futures::future::LocalBoxFuture;

use crate::event_declaration::{EventDeclaration, find};
use crate::executor::{Core, Execution};
use crate::failure::{Failure, Result};
use crate::failure_types;
use crate::instance_id::InstanceId;
use crate::orchestration::Orchestration;
use crate::settings::Settings;

use super::entities::EntityCode;
use super::host::{MAX_PAYLOAD_BYTES, SimulatedHost};
use super::instance::{Index, Instance, Place, State};
use super::run::CalledKind;
use super::script::Script;

/// An orchestration whose real code runs.
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub(super) run: fn(Orchestration, &str) -> LocalBoxFuture<'static, Result<String>>,
    /// Checks that the input is of the function's type.
    pub(super) check_input: fn(&str) -> Result<()>,
    pub(super) events: &'static [EventDeclaration],
}

/// The functions and entities that an orchestration can call, and the settings of activities.
#[derive(Default)]
pub(super) struct Functions {
    pub(super) activities: BTreeMap<String, Script>,
    pub(super) children: BTreeMap<String, Script>,
    pub(super) orchestrations: BTreeMap<String, Body>,
    /// By name in lower case.
    pub(super) entities: BTreeMap<String, EntityCode>,
    pub(super) settings: Rc<Settings>,
    /// The patches that instances passed with the code before the change.
    pub(super) old_branches: BTreeSet<String>,
}

/// Prints the names only.
impl fmt::Debug for Functions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.activities.keys().chain(self.children.keys());
        let names = names.chain(self.orchestrations.keys()).chain(self.entities.keys());
        f.debug_set().entries(names).finish()
    }
}

impl Functions {
    pub(super) fn activity(&self, name: &str) -> &Script {
        self.activities
            .get(name)
            .unwrap_or_else(|| panic!("the orchestration calls the activity `{name}`, which this test does not script"))
    }

    pub(super) fn is_orchestration(&self, name: &str) -> bool {
        self.orchestrations.contains_key(name)
    }

    /// Checks a call or a start like the host.
    pub(super) fn check_call(&self, kind: CalledKind, name: &str, input: &str) -> Result<()> {
        if input.len() as u64 > MAX_PAYLOAD_BYTES {
            let message = format!("the payload has more than {MAX_PAYLOAD_BYTES} bytes");
            return Err(Failure::new(failure_types::PAYLOAD_REFUSED, message).non_retryable());
        }
        let check = match (kind, self.children.get(name)) {
            (CalledKind::Activity, _) => self.activity(name).check_input,
            (_, Some(script)) => script.check_input,
            (_, None) => self.body(name).check_input,
        };
        check(input).map_err(|failure| {
            let message = format!("the input of `{name}` is invalid: {}", failure.message());
            Failure::new(failure_types::INVALID_INPUT, message).non_retryable()
        })
    }

    /// Checks an event against the declarations of the orchestration.
    pub(super) fn check_event(&self, orchestration: &str, event: &str, payload: &str) -> Result<()> {
        let body = self.orchestrations.get(orchestration);
        let declared = body.and_then(|body| find(body.events, event));
        declared.map_or(Ok(()), |event| event.check(payload))
    }

    fn body(&self, name: &str) -> Body {
        *self.orchestrations.get(name).unwrap_or_else(|| {
            panic!("the orchestration calls the sub-orchestration `{name}`, which this test does not script")
        })
    }

    /// Adds an instance and makes it runnable.
    pub(super) fn start_instance(
        self: &Rc<Self>,
        state: &Rc<RefCell<State>>,
        id: InstanceId,
        name: &str,
        input: &str,
        parent: Option<(Place, u32)>,
    ) -> Index {
        let mut borrowed = state.borrow_mut();
        let mut instance = Instance::new(id, name, input, borrowed.now);
        instance.parent = parent;
        borrowed.instances.push(instance);
        let index = borrowed.instances.len() - 1;
        drop(borrowed);
        self.start_execution(state, index);
        index
    }

    /// Begins an execution of an instance and makes it runnable.
    pub(super) fn start_execution(self: &Rc<Self>, state: &Rc<RefCell<State>>, index: Index) {
        let host = SimulatedHost {
            state: state.clone(),
            functions: self.clone(),
            instance: index,
        };
        let mut state = state.borrow_mut();
        let instance = &mut state.instances[index];
        let body = self.body(&instance.function);
        let core = Core::new(Box::new(host), body.events);
        let future = (body.run)(Orchestration::new(core.clone()), &instance.input);
        instance.guest = Some(Execution::new(core, future));
        state.runnable.push_back(index);
    }
}
