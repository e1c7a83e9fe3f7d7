//! What the approval workflow and its activities have in common.

pub use backend_client::Backend;
use windlass_sdk::prelude::*;
use windlass_sdk::signatures;

signatures! {
    #[activity(name = "SendApprovalMessage")]
    pub fn send_approval_message(message: Message) -> Result<()>;
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
