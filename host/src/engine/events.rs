//! Checks events against the declarations of their recipients: when they are raised, before anything is stored.
//!
//! The version that the recipient is pinned to decides. Stored events are not checked again: an instance that continues
//! as new on another version takes over the events of the previous one.

use std::collections::BTreeMap;

use super::api::MessageError;
use super::check_places::NoPlace;
use super::guests::Guests;
use super::schemas::{CheckLimits, Checked, NotChecked};
use crate::model::{Event, FunctionName, InboxItem, InstanceId, LogLevel, LogLine, ModuleNumber};
use crate::schema::Violation;
use crate::store::{self, OutboundMessage, Recipient, Store, TurnCommit};

/// The code that an instance runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Code {
    module: ModuleNumber,
    function: FunctionName,
}

/// Checks the event of a client for an instance that runs this function.
///
/// # Errors
/// If the event does not match its declaration, no place for the check becomes free in time, or the store fails.
pub(super) async fn check(
    guests: &dyn Guests,
    module: ModuleNumber,
    function: FunctionName,
    event: &Event,
) -> Result<(), MessageError> {
    let declared = guests.events(module).await?;
    let checked = declared.check(&function, event, CheckLimits::OF_REQUEST).await;
    let checked = checked.map_err(|error| match error {
        NotChecked::NoPlace(NoPlace::OfTenant) => MessageError::TooManyChecks,
        NotChecked::NoPlace(NoPlace::OfHost) => MessageError::Overloaded,
        NotChecked::Closed => store::Error::Closed.into(),
    })?;
    match checked.violation {
        None => Ok(()),
        Some(Violation { path, message }) => Err(MessageError::InvalidEvent {
            event: event.name.clone(),
            function,
            path,
            message,
        }),
    }
}

/// Drops the events of a turn that do not fit the declarations of their recipients, with a warning in the sender's log.
/// The checks cost the turn fuel.
///
/// # Errors
/// If the store fails.
pub(super) async fn drop_unfit(
    guests: &dyn Guests,
    store: &Store,
    commit: &mut TurnCommit,
) -> Result<(), store::Error> {
    if !commit.messages.iter().any(|message| as_event(message).is_some()) || !guests.declare_events(commit.tenant) {
        return Ok(());
    }
    // A turn may send many events to few instances.
    let mut known: BTreeMap<InstanceId, Option<Code>> = BTreeMap::new();
    let mut kept = Vec::with_capacity(commit.messages.len());
    let mut limits = CheckLimits::OF_TURN;
    for message in std::mem::take(&mut commit.messages) {
        let Some((id, event)) = as_event(&message) else {
            kept.push(message);
            continue;
        };
        if !known.contains_key(id) {
            let code = code_of(store, commit, id).await?;
            known.insert(id.clone(), code);
        }
        let Some(Some(code)) = known.get(id) else {
            kept.push(message);
            continue;
        };
        let declared = guests.events(code.module).await?;
        let checked = declared.check(&code.function, event, limits).await;
        // It waits for its place as long as necessary.
        let Checked { violation, fuel } = checked.map_err(|_| store::Error::Closed)?;
        limits = limits.after(fuel);
        commit.add_fuel(fuel);
        match violation {
            None => kept.push(message),
            Some(violation) => {
                let text = line(id, event, &code.function, &violation);
                commit.logs.push(LogLine {
                    at: commit.summary.updated_at,
                    execution: commit.execution,
                    task: None,
                    attempt: None,
                    level: LogLevel::Warn,
                    message: text,
                });
            }
        }
    }
    commit.messages = kept;
    Ok(())
}

/// The recipient and the event of a message between instances.
fn as_event(message: &OutboundMessage) -> Option<(&InstanceId, &Event)> {
    match (&message.to, &message.item) {
        (Recipient::Id(id), InboxItem::Event(event)) => Some((id, event)),
        _ => None,
    }
}

/// The code of an instance that is stored or that this commit creates.
async fn code_of(store: &Store, commit: &TurnCommit, id: &InstanceId) -> Result<Option<Code>, store::Error> {
    if let Some(addressee) = store.tenant(commit.tenant).addressee(id).await? {
        return Ok(Some(Code {
            module: addressee.module,
            function: addressee.function,
        }));
    }
    let child = commit.children.iter().find(|child| child.id == *id);
    Ok(child.map(|child| Code {
        module: child.module,
        function: child.started.function.clone(),
    }))
}

fn line(id: &InstanceId, event: &Event, function: &FunctionName, violation: &Violation) -> String {
    let Violation { path, message } = violation;
    let (name, id, function) = (event.name.as_str(), id.as_str(), function.as_str());
    format!(
        "the event {name:?} for {id:?} was dropped: it does not fit what {function:?} declares: {message} (at {path:?})"
    )
}
