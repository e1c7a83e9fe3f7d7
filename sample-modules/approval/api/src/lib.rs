//! The types and signatures that the approval workflow and its activities share.

pub use backend_client::Backend;
use windlass_sdk::prelude::*;
use windlass_sdk::signatures;

signatures! {
    #[activity(name = "SendApprovalMessage")]
    pub fn send_approval_message(message: Message) -> Result<()>;

    /// The decision on a request.
    #[event(name = "Approval")]
    pub fn approval(decision: Decision);
}

/// A message to one of the people involved.
#[payload]
pub struct Message {
    /// `approval-request`, `reminder`, `escalation` or `decision`.
    pub kind: String,
    pub to: String,
    pub about: String,
    pub text: String,
    pub backend: Backend,
}

/// The payload of the event `Approval`.
#[payload]
pub struct Decision {
    pub approved: bool,
    pub by: String,
    #[serde(default)]
    pub comment: String,
}
