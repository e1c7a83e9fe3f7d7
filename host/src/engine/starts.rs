//! What must hold before an instance starts, for starts of clients and of schedules.

use super::activities::Load;
use super::api::StartError;
use super::shared::Shared;
use crate::config::ByteSize;
use crate::entropy::Entropy;
use crate::model::{
    ExecutionNumber, FunctionName, InstanceId, ObservableLimits, Payload, Started, TenantId, Timestamp,
};
use crate::store::NewInstance;
use crate::tenancy::{Exceeded, Quota};

/// The size limit for the inputs of running and waiting activity calls, in bytes; beyond it, starts are refused.
const MAX_QUEUED_BYTES: u64 = 512 << 20;

/// An instance to start.
pub(super) struct Wanted {
    pub tenant: TenantId,
    pub function: FunctionName,
    pub input: Payload,
    /// Its id; generated if `None`.
    pub id: Option<InstanceId>,
    /// When its first turn runs, if that is delayed.
    pub not_before: Option<Timestamp>,
}

/// Admits an instance, and counts it against the quota of starts. If it is not created after all, the caller gives the
/// start [back](crate::tenancy::Tenancy::return_start).
///
/// # Errors
/// If the start is refused; then nothing was counted.
pub(super) async fn admit(shared: &Shared, wanted: Wanted) -> Result<NewInstance, StartError> {
    let Wanted {
        tenant,
        function,
        input,
        id,
        not_before,
    } = wanted;
    let max = Load {
        calls: shared.options.max_queued,
        bytes: MAX_QUEUED_BYTES,
    };
    if shared.activities.are_too_many(tenant, max) {
        return Err(StartError::Overloaded);
    }
    let limits = limits_of(shared, tenant, &input)?;
    shared.tenancy.check_stored_bytes(tenant)?;
    // Before the input is checked, which is expensive.
    shared.tenancy.take_start(tenant)?;
    let found = shared.guests.to_start(tenant, &function, &input).await;
    let module = found.inspect_err(|_| shared.tenancy.return_start(tenant))?;
    let id = match id {
        Some(id) => id,
        None => drawn_id(shared.clock.now(), &*shared.entropy),
    };
    Ok(NewInstance {
        tenant,
        id,
        module,
        started: Started {
            execution: ExecutionNumber::FIRST,
            function,
            input,
            seed: shared.entropy.seed(),
            limits,
            parent: None,
            events: Vec::new(),
            not_before,
        },
        created_at: shared.clock.now(),
    })
}

/// The limits that a new execution of a tenant can observe, if the payload is within them.
pub(super) fn limits_of(shared: &Shared, tenant: TenantId, payload: &Payload) -> Result<ObservableLimits, Exceeded> {
    let observable = shared.options.observable;
    let quota = shared
        .tenancy
        .tenant(tenant)
        .and_then(|tenant| tenant.quotas.max_payload);
    let Some(ByteSize(quota)) = quota.filter(|quota| quota.0 < observable.payload_bytes) else {
        return Ok(observable);
    };
    if payload.as_str().len() as u64 > quota {
        return Err(Exceeded::of_size(Quota::MaxPayload, quota));
    }
    Ok(ObservableLimits {
        payload_bytes: quota,
        ..observable
    })
}

/// Generates an instance id: a UUID of version 7 (RFC 9562). It begins with the time, so that successive ids are
/// neighbours in the index and share its pages.
pub(super) fn drawn_id(now: Timestamp, entropy: &dyn Entropy) -> InstanceId {
    let mut bytes = [0; 10];
    entropy.fill(&mut bytes);
    let uuid = uuid::Builder::from_unix_timestamp_millis(now.0, &bytes).into_uuid();
    let id = uuid.simple().to_string();
    id.parse().expect("a UUID is a valid instance id")
}
