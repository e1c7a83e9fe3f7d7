//! [`Start`]: a builder for the start of an independent orchestration, for orchestrations and entities.

use std::fmt;
use std::rc::Rc;

use crate::entity::client::Sender;
use crate::failure::Result;
use crate::instance_id::InstanceId;

/// An orchestration that has not been started yet, from [`Orchestration::start`](crate::Orchestration::start) or
/// [`Entity::start`](crate::Entity::start).
///
/// [`send`](Self::send) starts it. It cannot be awaited, and it continues when this instance ends. To await one, use
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
/// The compiler warns about a start that is not sent:
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
    sender: Rc<dyn Sender>,
    name: String,
    input: Result<String>,
    id: Option<InstanceId>,
}

impl Start {
    pub(crate) fn new(sender: Rc<dyn Sender>, name: &str, input: Result<String>) -> Self {
        Self {
            sender,
            name: name.into(),
            input,
            id: None,
        }
    }

    /// Sets the id of the new instance, which must not be `.` or `..`. If unset, the host generates one. If an instance
    /// with that id exists and has not ended, nothing is started.
    pub fn id(mut self, id: impl Into<InstanceId>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Starts the orchestration at the end of this turn, or when this operation of an entity has succeeded, and returns
    /// its id.
    ///
    /// An input that cannot be written as JSON fails this orchestration or operation with `InvalidPayload`. If the host
    /// refuses the start (an unknown function, an invalid input), it writes a line to the log of this instance or entity.
    pub fn send(self) -> InstanceId {
        let id = self.id.as_ref().map(InstanceId::as_str);
        match self.input {
            Ok(input) => self.sender.start_orchestration(&self.name, &input, id).into(),
            Err(failure) => {
                self.sender.break_with(failure);
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
