//! Raises events for all instances that a filter selects.
//!
//! A request stores a broadcast; the task here works off what is stored, one piece of one broadcast of each tenant after
//! the other, until nothing is left. Each piece is one commit, which also moves the broadcast on, so a crash neither
//! repeats nor loses an event. It needs no other state, and goes on after a restart.

use std::sync::Arc;
use std::time::Duration;

use super::api::{BroadcastAnswer, BroadcastError, BroadcastRequest, MessageError};
use super::mail::Mail;
use super::owners::Owners;
use super::shared::Shared;
use super::{Engine, events, starts};
use crate::model::{Event, InstanceStatus, TenantId};
use crate::store::{
    Broadcast, BroadcastEnd, BroadcastOutcome, BroadcastPiece, BroadcastSummary, EndBroadcast, EndOfBroadcast,
    Error as StoreError, IdempotencyKey, InstanceSummary, NewBroadcast, NextBroadcast,
};

/// The states of instances that get events.
pub const LIVE: [InstanceStatus; 4] = [
    InstanceStatus::Pending,
    InstanceStatus::Running,
    InstanceStatus::Suspended,
    InstanceStatus::Stuck,
];

/// How many instances one piece reaches at most.
const PIECE: u64 = 200;

/// How much one piece writes at most, in bytes; one event may be larger.
const PIECE_BYTES: u64 = 1 << 20;

/// The size of an event besides its payload, in bytes.
const EVENT_BYTES: u64 = 256;

/// The pause between two rounds, in which the writer serves others.
const BREATH: Duration = Duration::from_millis(5);

/// The pause after a round in which no broadcast could go on: quotas are used up, or the store fails.
const HELD_PAUSE: Duration = Duration::from_millis(500);

/// The pause when there are no broadcasts.
const PAUSE: Duration = Duration::from_secs(60);

/// How long a finished broadcast can be asked for.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Engine {
    /// Accepts a broadcast: its event is raised for each instance that exists now, has not ended, and matches the filter
    /// when the broadcast reaches it. It is durable when this returns, and goes on by itself. A repeated request returns
    /// the broadcast of the first.
    ///
    /// # Errors
    /// If it is refused; then nothing was stored.
    pub async fn broadcast(&self, request: BroadcastRequest) -> Result<BroadcastAnswer, BroadcastError> {
        let BroadcastRequest {
            tenant,
            event,
            mut filter,
            idempotency,
        } = request;
        let shared = &self.0.shared;
        self.limits_of(tenant, &event.payload)?;
        shared.tenancy.check_stored_bytes(tenant)?;
        if filter.statuses.is_empty() {
            filter.statuses = LIVE.to_vec();
        }
        let now = shared.clock.now();
        let key = idempotency.unwrap_or_else(|| {
            let mut drawn = [0; 32];
            shared.entropy.fill(&mut drawn);
            IdempotencyKey {
                key: starts::drawn_id(now, &*shared.entropy).to_string(),
                fingerprint: drawn,
                earlier_fingerprint: drawn,
                expires_at: now,
            }
        });
        let id = key.key.clone();
        let new = NewBroadcast {
            tenant,
            key,
            event,
            filter,
            at: now,
        };
        match shared.store.create_broadcast(new).await? {
            BroadcastOutcome::Created => shared.stats.broadcasts.accepted.increment(),
            BroadcastOutcome::Repeated => {}
            BroadcastOutcome::KeyReused => return Err(BroadcastError::KeyReused),
            BroadcastOutcome::TooMany(most) => return Err(BroadcastError::TooMany(most)),
            BroadcastOutcome::TenantGone => return Err(BroadcastError::TenantGone),
        }
        shared.broadcasts.notify_one();
        let stored = shared.store.tenant(tenant).broadcast_summary(&id).await?;
        // Only if it was finished and forgotten in between.
        let broadcast = stored.ok_or(StoreError::Closed)?;
        Ok(BroadcastAnswer { broadcast })
    }

    /// Cancels a broadcast: the events that it has raised stay raised, and it raises no more. Returns it, and whether it is
    /// cancelled: it may have ended before. `None` if the tenant has no such broadcast.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn cancel_broadcast(
        &self,
        tenant: TenantId,
        id: &str,
    ) -> Result<Option<(BroadcastSummary, bool)>, StoreError> {
        let shared = &self.0.shared;
        let end = EndBroadcast {
            tenant,
            id: id.to_owned(),
            end: BroadcastEnd::Cancelled,
            at: shared.clock.now(),
        };
        if shared.store.end_broadcast(end).await? == EndOfBroadcast::Ended {
            shared.stats.broadcasts.cancelled.increment();
        }
        let found = shared.store.tenant(tenant).broadcast_summary(id).await?;
        Ok(found.map(|summary| {
            let is_cancelled = matches!(summary.ended, Some((_, BroadcastEnd::Cancelled)));
            (summary, is_cancelled)
        }))
    }
}

/// Works off the broadcasts until shutdown.
pub(super) async fn run(shared: Arc<Shared>, owners: Owners) {
    let work = async {
        loop {
            let pause = match round(&shared, &owners).await {
                Ok(Round::WentOn) => BREATH,
                Ok(Round::Held) => HELD_PAUSE,
                Ok(Round::Empty) => PAUSE,
                Err(StoreError::Closed | StoreError::NotOwner) => return,
                Err(error) => {
                    tracing::warn!(%error, "a broadcast could not go on; trying again");
                    HELD_PAUSE
                }
            };
            if pause == BREATH {
                tokio::time::sleep(BREATH).await;
            } else {
                let _ = tokio::time::timeout(pause, shared.broadcasts.notified()).await;
            }
        }
    };
    shared.shutdown.run_until_cancelled(work).await;
}

/// The result of a round.
enum Round {
    /// At least one broadcast went on.
    WentOn,
    /// There are broadcasts, but none could go on.
    Held,
    /// There are none.
    Empty,
}

/// One piece of the oldest broadcast of each tenant.
async fn round(shared: &Arc<Shared>, owners: &Owners) -> Result<Round, StoreError> {
    let (mut after, mut round) = (None, Round::Empty);
    while let Some(next) = shared.store.next_broadcast(after).await? {
        after = Some(next.tenant());
        let gone_on = match next {
            NextBroadcast::Readable(broadcast) => piece(shared, owners, *broadcast).await,
            NextBroadcast::Unreadable { tenant, id, error } => set_aside(shared, tenant, id, &error).await,
        };
        match gone_on {
            Ok(true) => round = Round::WentOn,
            Ok(false) if matches!(round, Round::Empty) => round = Round::Held,
            Ok(false) => {}
            Err(error @ (StoreError::Closed | StoreError::NotOwner)) => return Err(error),
            // The broadcasts of other tenants go on.
            Err(error) => {
                tracing::warn!(%error, "a piece of a broadcast failed; trying again");
                if matches!(round, Round::Empty) {
                    round = Round::Held;
                }
            }
        }
    }
    // Not only if nothing is left to do: the broadcast of one tenant may be held for long.
    if !matches!(round, Round::WentOn) {
        let before = shared.clock.now().before(KEPT);
        while shared.store.forget_broadcasts(before).await? > 0 {}
    }
    Ok(round)
}

/// Ends a broadcast whose row cannot be read, so that it does not hold up those that follow. Clients see why.
async fn set_aside(shared: &Shared, tenant: TenantId, id: String, error: &StoreError) -> Result<bool, StoreError> {
    tracing::error!(%tenant, broadcast = %id, %error, "a broadcast cannot be read, so it raises no more events");
    let end = EndBroadcast {
        tenant,
        id,
        end: BroadcastEnd::Unreadable(error.to_string()),
        at: shared.clock.now(),
    };
    if shared.store.end_broadcast(end).await? == EndOfBroadcast::Ended {
        shared.stats.broadcasts.unreadable.increment();
    }
    Ok(true)
}

/// Events that were counted against the quota of a tenant. Those that are not used are given back.
struct Granted<'a> {
    shared: &'a Shared,
    tenant: TenantId,
    left: u64,
}

impl<'a> Granted<'a> {
    /// Takes as many events as the quota has left, at most `most`.
    fn take(shared: &'a Shared, tenant: TenantId, most: u64) -> Self {
        let mut left = 0;
        while left < most && shared.tenancy.take_event(tenant).is_ok() {
            left += 1;
        }
        Self { shared, tenant, left }
    }

    fn used(&mut self, events: usize) {
        self.left -= events as u64;
    }
}

impl Drop for Granted<'_> {
    fn drop(&mut self) {
        (0..self.left).for_each(|_| self.shared.tenancy.return_event(self.tenant));
    }
}

/// Does the next piece of a broadcast. Returns false if quotas or a full host do not allow it now.
async fn piece(shared: &Arc<Shared>, owners: &Owners, broadcast: Broadcast) -> Result<bool, StoreError> {
    let Broadcast {
        tenant,
        id,
        event,
        filter,
        from,
        ..
    } = broadcast;
    if shared.tenancy.check_stored_bytes(tenant).is_err() {
        return Ok(false);
    }
    let most = (PIECE_BYTES / (event.payload.bytes() + EVENT_BYTES)).clamp(1, PIECE);
    let mut granted = Granted::take(shared, tenant, most);
    let Some(limit) = u32::try_from(granted.left).ok().filter(|limit| *limit > 0) else {
        return Ok(false);
    };
    let page = shared.store.tenant(tenant).list(&filter, Some(&from), limit).await?;
    let found = page.instances.len();
    let mut instances = Vec::with_capacity(found);
    let declared = shared.guests.declare_events(tenant);
    for instance in page.instances {
        let accepted = match declared {
            true => accepts(shared, tenant, &instance, &event).await,
            false => Ok(true),
        };
        match accepted {
            Ok(true) => instances.push(instance.number),
            Ok(false) => {}
            Err(MessageError::Store(error)) => return Err(error),
            Err(error) => {
                tracing::debug!(%error, "a broadcast waits for a check of its event");
                return Ok(false);
            }
        }
    }
    let piece = BroadcastPiece {
        tenant,
        id,
        event,
        from,
        refused: (found - instances.len()) as u64,
        instances,
        max_bytes: shared.max_history_bytes(tenant),
        next: page.next,
        at: shared.clock.now(),
    };
    let is_last = piece.next.is_none();
    // `None` if it was cancelled in between.
    let Some(raised) = shared.store.broadcast(piece).await? else {
        return Ok(true);
    };
    granted.used(found);
    let stats = &shared.stats.broadcasts;
    stats.raised.add(raised.len() as u64);
    stats.skipped.add((found - raised.len()) as u64);
    if is_last {
        stats.finished.increment();
    }
    for event in raised.into_iter().filter(|event| !event.is_at_rest) {
        owners.deliver(tenant, event.instance, Mail::Inbox(event.row));
    }
    Ok(true)
}

/// Whether an instance accepts the event by its declaration.
async fn accepts(
    shared: &Shared,
    tenant: TenantId,
    instance: &InstanceSummary,
    event: &Event,
) -> Result<bool, MessageError> {
    let addressee = shared.store.tenant(tenant).addressee(&instance.id).await?;
    let Some(addressee) = addressee.filter(|addressee| addressee.number == instance.number) else {
        return Ok(false);
    };
    match events::check(&*shared.guests, addressee.module, addressee.function, event).await {
        Ok(()) => Ok(true),
        Err(MessageError::InvalidEvent { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}
