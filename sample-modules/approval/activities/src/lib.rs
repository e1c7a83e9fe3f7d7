//! The activity of the approval workflow: messages to people.

use approval_api::*;
use windlass_sdk::prelude::*;

windlass_sdk::export!(activities: [send_approval_message]);

/// Sends a message to a person.
#[activity(signature = approval_api::send_approval_message)]
fn send_approval_message(ctx: Activity, message: Message) -> Result<()> {
    message
        .backend
        .notify(&ctx, &message.kind, &message.to, &message.about, &message.text)
}
