//! Broadcasts in a simulated world: whatever ends the host, each instance that exists when one is accepted gets its event
//! once, and none after it was cancelled. [`checkers`](super::checkers) observes the events.

use std::time::Duration;

use super::checkers::Watch;
use super::programs::{EVENTS, NOISE};
use super::rng::Rng;
use crate::engine::Engine;
use crate::engine::api::{BroadcastError, BroadcastRequest};
use crate::model::{Event, Payload, TenantId, Timestamp};
use crate::store::simulated::Content;
use crate::store::{Error as StoreError, IdempotencyKey, ListFilter};

/// What the payloads of broadcasts begin with, so that checkers recognize their events.
pub(super) const MARK: &str = "\"broadcast ";

/// How long a client waits before it retries.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// The broadcasts of a world.
pub(super) struct Broadcasts(Vec<Planned>);

struct Planned {
    id: String,
    tenant: TenantId,
    event: Event,
    /// When it is sent, after the start of a host. Each host gets it again.
    at: Duration,
    /// When it is cancelled afterwards, if it is.
    cancelled_after: Option<Duration>,
}

impl Broadcasts {
    /// The broadcasts of a seed, for some of this many tenants, within this time.
    pub(super) fn of(seed: u64, tenants: u32, within_ms: u64) -> Self {
        let mut rng = Rng::new(seed, "broadcasts");
        let count = rng.below(3);
        let planned = (0..count).map(|number| {
            let name = *rng.pick(&[EVENTS[0], EVENTS[1], EVENTS[2], NOISE[0]]);
            let tenant = TenantId::DEFAULT.0 + u32::try_from(rng.below(tenants.into())).expect("few");
            Planned {
                id: format!("broadcast-{number}"),
                tenant: TenantId(tenant),
                event: Event {
                    name: name.parse().expect("a name"),
                    payload: Payload::of(&format!("broadcast {number}")),
                },
                at: Duration::from_millis(rng.below(within_ms)),
                cancelled_after: rng.per_mille(300).then(|| Duration::from_millis(rng.below(50))),
            }
        });
        Self(planned.collect())
    }

    /// None.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Sends all broadcasts, as often as it takes.
    pub(super) async fn send(&self, engine: &Engine, watch: &Watch) {
        let sent = self.0.iter().map(|planned| async move {
            tokio::time::sleep(planned.at).await;
            let request = || BroadcastRequest {
                tenant: planned.tenant,
                event: planned.event.clone(),
                filter: ListFilter::default(),
                idempotency: Some(IdempotencyKey {
                    key: planned.id.clone(),
                    fingerprint: [7; 32],
                    earlier_fingerprint: [7; 32],
                    expires_at: Timestamp(u64::MAX >> 1),
                }),
            };
            while !is_settled(engine.broadcast(request()).await.map(drop), watch) {
                tokio::time::sleep(ASK_AGAIN).await;
            }
            let Some(after) = planned.cancelled_after else { return };
            tokio::time::sleep(after).await;
            let cancel = || engine.cancel_broadcast(planned.tenant, &planned.id);
            while !is_settled(cancel().await.map(drop).map_err(BroadcastError::Store), watch) {
                tokio::time::sleep(ASK_AGAIN).await;
            }
        });
        futures::future::join_all(sent).await;
    }

    /// Whether all that were accepted have ended.
    pub(super) fn have_ended(content: &Content) -> bool {
        content.broadcasts().all(|row| row.broadcast().finished_at.is_some())
    }
}

/// Whether a request need not be sent again.
fn is_settled(answer: Result<(), BroadcastError>, watch: &Watch) -> bool {
    match answer {
        Ok(()) | Err(BroadcastError::TenantGone | BroadcastError::Store(StoreError::Closed)) => true,
        Err(BroadcastError::Store(StoreError::Database(_))) => false,
        Err(other) => {
            watch.violation(format!("a broadcast was answered with {other:?}"));
            true
        }
    }
}
