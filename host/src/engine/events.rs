//! Events against what their recipients declare: refused where they are raised, before anything of them is stored.
//!
//! A recipient is checked by the version that it is pinned to. An event that is stored already is not checked again:
//! what continues as new on another version takes over the events of the one before.

use std::collections::BTreeMap;

use super::guests::Guests;
use crate::model::{Event, FunctionName, InboxItem, InstanceId, LogLevel, LogLine, ModuleNumber};
use crate::schema::Violation;
use crate::store::{self, OutboundMessage, Recipient, Store, TurnCommit};

/// An event that does not fit what its recipient declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnfitEvent {
    /// The orchestration that declares it.
    pub function: FunctionName,
    /// Where and how it does not fit.
    pub violation: Violation,
}

/// The code that an instance runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Code {
    module: ModuleNumber,
    function: FunctionName,
}

/// Checks an event for an instance that runs such code.
///
/// # Errors
/// When the store fails.
pub(super) async fn check(
    guests: &dyn Guests,
    module: ModuleNumber,
    function: &FunctionName,
    event: &Event,
) -> Result<Result<(), UnfitEvent>, store::Error> {
    let declared = guests.events(module).await?;
    Ok(declared.check(function, event).map_err(|violation| UnfitEvent {
        function: function.clone(),
        violation,
    }))
}

/// Drops the events of a turn that do not fit what their recipients declare, with a line in the log of the sender.
///
/// # Errors
/// When the store fails.
pub(super) async fn drop_unfit(
    guests: &dyn Guests,
    store: &Store,
    commit: &mut TurnCommit,
) -> Result<(), store::Error> {
    if !commit.messages.iter().any(|message| as_event(message).is_some()) || !guests.declare_events(commit.tenant) {
        return Ok(());
    }
    // A turn may send many events to few.
    let mut known: BTreeMap<InstanceId, Option<Code>> = BTreeMap::new();
    let mut kept = Vec::with_capacity(commit.messages.len());
    for message in std::mem::take(&mut commit.messages) {
        let Some((id, event)) = as_event(&message) else {
            kept.push(message);
            continue;
        };
        if !known.contains_key(id) {
            let code = code_of(store, commit, id).await?;
            known.insert(id.clone(), code);
        }
        let checked = match known.get(id) {
            Some(Some(code)) => check(guests, code.module, &code.function, event).await?,
            _ => Ok(()),
        };
        match checked {
            Ok(()) => kept.push(message),
            Err(unfit) => {
                let text = line(id, event, &unfit);
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

/// What an instance runs that is stored, or that the commit is about to create.
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

fn line(id: &InstanceId, event: &Event, unfit: &UnfitEvent) -> String {
    let UnfitEvent {
        function,
        violation: Violation { path, message },
    } = unfit;
    let (name, id, function) = (event.name.as_str(), id.as_str(), function.as_str());
    format!(
        "the event {name:?} for {id:?} was dropped: it does not fit what {function:?} declares: {message} (at {path:?})"
    )
}
