//! [`Start`]: an orchestration that is about to be started, and that nobody awaits.

use std::fmt;
use std::rc::Rc;

use crate::executor::Core;
use crate::failure::Result;
use crate::instance_id::InstanceId;

/// An orchestration that has not been started yet, from [`Orchestration::start`](crate::Orchestration::start).
///
/// [`send`](Self::send) starts it. Nobody awaits it, and it goes on when this instance ends. To await one, use
/// [`sub_orchestration`](crate::Orchestration::sub_orchestration).
///
/// ```
/// # use windlass_sdk::prelude::*;
/// # #[orchestrator] async fn ship(order_id: String) -> Result<()> { Ok(()) }
/// # async fn example(ctx: Orchestration, order_id: String) -> Result<()> {
/// let shipment = ctx.start(ship, &order_id).id(format!("ship-{order_id}")).send();
/// info!("started {shipment}");
/// # Ok(()) }
/// ```
///
/// What is not sent is a warning of the compiler:
///
/// ```compile_fail
/// # #![deny(unused_must_use)]
/// # use windlass_sdk::prelude::*;
/// # #[orchestrator] async fn ship(order_id: String) -> Result<()> { Ok(()) }
/// # fn example(ctx: Orchestration, order_id: String) {
/// ctx.start(ship, &order_id);
/// # }
/// ```
#[must_use = "the orchestration is started by `send`"]
pub struct Start {
    core: Rc<Core>,
    name: String,
    input: Result<String>,
    id: Option<InstanceId>,
}

impl Start {
    pub(crate) fn new(core: &Rc<Core>, name: &str, input: Result<String>) -> Self {
        Self {
            core: core.clone(),
            name: name.into(),
            input,
            id: None,
        }
    }

    /// The instance's id, not `.` or `..`. Without it the host makes one up. Nothing happens if an instance of that id
    /// is alive.
    pub fn id(mut self, id: impl Into<InstanceId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Starts the orchestration when this turn is over, and returns its id.
    ///
    /// An input that cannot be written as JSON fails this orchestration with `InvalidPayload`. A start that the host
    /// refuses (an unknown function, an input that does not fit) is a line in this instance's log.
    pub fn send(self) -> InstanceId {
        let id = self.id.as_ref().map(InstanceId::as_str);
        match self.input {
            Ok(input) => self.core.host().start_orchestration(&self.name, &input, id).into(),
            Err(failure) => {
                self.core.break_with(failure);
                id.unwrap_or_default().into()
            }
        }
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Start")
            .field("name", &self.name)
            .field("input", &self.input)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
