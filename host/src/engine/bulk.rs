//! Control of many instances that a filter selects, in requests of bounded size.
//!
//! A request walks through the list of instances, newest first, and says where it ended. Instances that are created
//! meanwhile are newer than the cursor, so repeating the request until it is at the end reaches each instance that
//! existed at its beginning once, and no other. What a request did is durable when it is answered; if the host crashes
//! in between, the same request does the rest, because it finds only instances that are not in the wanted state yet. (A
//! cancelled instance may go on for long; another request for its cancellation changes nothing.)

use futures::{StreamExt as _, stream};

use super::Engine;
use super::api::{BulkDone, BulkRequest, ControlAction};
use super::mail::Mail;
use crate::model::{InboxItem, InstanceNumber, InstanceStatus, TenantId};
use crate::store::{Cursor, Error as StoreError, InstanceSummary, ListFilter};

/// How many instances one request controls at most.
const MAX_CONTROLLED: u32 = 1_000;

/// How many pages of the list one request reads at most. Each examines a bounded number of instances.
const MAX_PAGES: u32 = 10;

/// Instances on one page of the list.
const PAGE: u32 = 1_000;

/// How many messages are on their way to the writer at the same time: enough for one commit to take many.
const MESSAGES_AT_ONCE: usize = 64;

impl ControlAction {
    /// The states in which the action changes something.
    pub fn changes(self) -> &'static [InstanceStatus] {
        use InstanceStatus::{Failed, Pending, Running, Stuck, Suspended};
        match self {
            Self::Terminate | Self::Cancel => &[Pending, Running, Suspended, Stuck],
            Self::Suspend => &[Pending, Running],
            Self::Resume => &[Suspended, Stuck],
            Self::Rewind => &[Failed],
        }
    }

    /// Whether the action can change an instance in one of these states.
    fn reaches(self, instance: &InstanceSummary) -> bool {
        self != Self::Rewind || !instance.rewinds.is_full()
    }

    fn message(self, reason: String) -> InboxItem {
        match self {
            Self::Terminate => InboxItem::Terminate { reason },
            Self::Cancel => InboxItem::Cancel { reason },
            Self::Suspend => InboxItem::Suspend { reason },
            Self::Resume => InboxItem::Resume { reason },
            Self::Rewind => InboxItem::Rewind { reason },
        }
    }
}

impl Engine {
    /// Terminates, cancels, suspends, resumes or rewinds instances that a filter selects, or only counts them. Of the states in the
    /// filter, only those count in which the action [changes](ControlAction::changes) something.
    ///
    /// # Errors
    /// If the store fails. Messages that were sent until then take effect; the same request sends the others.
    pub async fn control_many(&self, request: BulkRequest) -> Result<BulkDone, StoreError> {
        let BulkRequest {
            tenant,
            action,
            reason,
            mut filter,
            from,
            dry_run,
        } = request;
        if !narrow(&mut filter.statuses, action.changes()) {
            return Ok(BulkDone {
                instances: 0,
                next: None,
            });
        }
        if dry_run {
            return self.count(tenant, &filter, from).await;
        }
        let (mut done, mut from) = (0, from);
        for _ in 0..MAX_PAGES {
            let limit = MAX_CONTROLLED - done;
            let page = self.0.shared.store.tenant(tenant);
            let page = page.list(&filter, from.as_ref(), limit).await?;
            let reached = page.instances.iter().filter(|instance| action.reaches(instance));
            let numbers: Vec<_> = reached.map(|instance| instance.number).collect();
            let sent = self.send_to_all(tenant, numbers, action.message(reason.clone()));
            done += sent.await?;
            from = page.next;
            if from.is_none() || done >= MAX_CONTROLLED {
                break;
            }
        }
        if action == ControlAction::Rewind {
            self.0.shared.tenancy.note_starts(tenant, done.into());
        }
        Ok(BulkDone {
            instances: done.into(),
            next: from,
        })
    }

    /// Counts instances that a filter selects, in a bounded part of the list.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn count(
        &self,
        tenant: TenantId,
        filter: &ListFilter,
        mut from: Option<Cursor>,
    ) -> Result<BulkDone, StoreError> {
        let mut instances = 0;
        for _ in 0..MAX_PAGES {
            let page = self.0.shared.store.tenant(tenant);
            let page = page.list(filter, from.as_ref(), PAGE).await?;
            instances += page.instances.len() as u64;
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        Ok(BulkDone { instances, next: from })
    }

    /// Sends a control message to each of these instances that still takes it. Returns how many got it. They are
    /// addressed by their numbers, so that no new instance under the same id gets one. In a separate task: if the
    /// client disconnects in between, the owners must still learn of stored messages.
    async fn send_to_all(
        &self,
        tenant: TenantId,
        instances: Vec<InstanceNumber>,
        message: InboxItem,
    ) -> Result<u32, StoreError> {
        let (store, owners) = (self.0.shared.store.clone(), self.0.owners.clone());
        let sent = self.0.shared.tracker.spawn(async move {
            let send = |number: InstanceNumber| {
                let (store, owners, message) = (&store, &owners, message.clone());
                async move {
                    let row = store.deliver(number, message).await?;
                    let row = row.map(|row| owners.deliver(tenant, number, Mail::Inbox(row)));
                    Ok::<_, StoreError>(u32::from(row.is_some()))
                }
            };
            let mut sent = stream::iter(instances).map(send).buffered(MESSAGES_AT_ONCE);
            let mut count = 0;
            while let Some(one) = sent.next().await {
                count += one?;
            }
            Ok(count)
        });
        sent.await.unwrap_or(Err(StoreError::Closed))
    }
}

/// Narrows the states of a filter, where none means all. Returns whether any are left.
fn narrow(statuses: &mut Vec<InstanceStatus>, to: &[InstanceStatus]) -> bool {
    if statuses.is_empty() {
        statuses.extend_from_slice(to);
    } else {
        statuses.retain(|status| to.contains(status));
    }
    !statuses.is_empty()
}
