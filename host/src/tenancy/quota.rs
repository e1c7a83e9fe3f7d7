//! The quotas of a tenant. Where a quota is not set, only the limit of the host applies.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::signature::from_hex;
use crate::config::{ByteSize, Span};
use crate::grants::EgressRule;
use crate::model::{self, FunctionName};
use crate::store::MAX_WAITING;

macro_rules! quotas {
    ($($(#[doc = $doc:literal])+ $field:ident $variant:ident: $type:ty = $name:literal;)+) => {
        /// The quotas of a tenant.
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        pub struct Quotas {
            $(
                $(#[doc = $doc])+
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )+
        }

        /// One quota.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Quota {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Quota {
            /// All quotas.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The name over HTTP, on the command line and in error messages.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

quotas! {
    /// The tenant's share of the host when other tenants compete for it, from 1 to 1000; 100 if it is not set
    weight Weight: u32 = "weight";
    /// Modules that have a name
    max_modules MaxModules: u64 = "maxModules";
    /// Bytes of all stored versions of modules together
    max_module_bytes MaxModuleBytes: ByteSize = "maxModuleBytes";
    /// Schedules; 100 if it is not set
    max_schedules MaxSchedules: u64 = "maxSchedules";
    /// Tags of one instance; 16 if it is not set
    max_tags MaxTags: u32 = "maxTags";
    /// Orchestrations started per second by clients and schedules; up to the same number may start at once
    starts_per_second StartsPerSecond: u64 = "startsPerSecond";
    /// Events raised per second by clients; up to the same number may be raised at once
    events_per_second EventsPerSecond: u64 = "eventsPerSecond";
    /// Activities that run at the same time; further ones wait
    max_activities MaxActivities: u32 = "maxActivities";
    /// Limits on single activities by name: `maxActivities` that run at the same time, `perSecond` that start
    activities Activities: BTreeMap<FunctionName, ActivityQuota> = "activities";
    /// Fuel of one attempt of an activity
    activity_fuel ActivityFuel: u64 = "activityFuel";
    /// Fuel of all turns and attempts per minute; when it is used up, starts are refused and activities wait
    fuel_per_minute FuelPerMinute: u64 = "fuelPerMinute";
    /// Memory of one attempt of an activity
    activity_memory ActivityMemory: ByteSize = "activityMemory";
    /// Duration of one attempt of an activity
    activity_timeout ActivityTimeout: Span = "activityTimeout";
    /// Size of an input, output or event
    max_payload MaxPayload: ByteSize = "maxPayload";
    /// Turns in the history of one execution
    max_turns MaxTurns: u32 = "maxTurns";
    /// Bytes of the history of one execution and of the messages sent to it
    max_history MaxHistory: ByteSize = "maxHistory";
    /// Bytes of the state of one entity
    max_entity_state MaxEntityState: ByteSize = "maxEntityState";
    /// Entities that one critical section locks; 32 if it is not set
    max_locked_entities MaxLockedEntities: u32 = "maxLockedEntities";
    /// Messages that wait for one entity
    max_waiting_operations MaxWaitingOperations: u64 = "maxWaitingOperations";
    /// Bytes of all instances (histories, messages, tags and logs), of compiled code and descriptions of modules, of
    /// schedules, and of idempotency keys
    max_stored_bytes MaxStoredBytes: ByteSize = "maxStoredBytes";
    /// Bytes of the log of one execution
    max_instance_log MaxInstanceLog: ByteSize = "maxInstanceLog";
    /// Bytes that one attempt may write to its log
    max_log MaxLog: ByteSize = "maxLog";
    /// Outgoing requests of one attempt at the same time
    max_open_requests MaxOpenRequests: u32 = "maxOpenRequests";
    /// Outgoing requests of all its activities at the same time
    max_tenant_requests MaxTenantRequests: u32 = "maxTenantRequests";
    /// Bytes of all responses that one attempt may receive
    max_response_bytes MaxResponseBytes: ByteSize = "maxResponseBytes";
    /// Where its activities may send requests, in addition to what the operator allows for all tenants: rules by
    /// module, `*` for all
    allowed_hosts AllowedHosts: BTreeMap<String, Vec<String>> = "allowedHosts";
    /// Ed25519 public keys, one of which must have signed each module (64 hexadecimal digits each)
    module_signers ModuleSigners: Vec<String> = "moduleSigners";
}

/// Limits on one activity function.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ActivityQuota {
    /// Attempts that run at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_activities: Option<u32>,
    /// Attempts that start per second; may be less than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub per_second: Option<f64>,
}

/// A quota was reached.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the quota {} of the tenant is reached: {limit}", .quota.name())]
pub struct Exceeded {
    /// The quota that was reached.
    pub quota: Quota,
    /// Its value.
    pub limit: u64,
    /// When to retry, if waiting helps.
    pub retry_after: Option<Duration>,
}

impl Exceeded {
    /// For a quota on a size or number.
    pub fn of_size(quota: Quota, limit: u64) -> Self {
        Self {
            quota,
            limit,
            retry_after: None,
        }
    }

    /// For a quota on a rate; `wait` is the time until the next try can succeed.
    pub fn of_rate(quota: Quota, limit: Option<u64>, wait: Duration) -> Self {
        Self {
            quota,
            limit: limit.unwrap_or_default(),
            retry_after: Some(wait),
        }
    }
}

/// The quota of schedules unless another one is set.
const MAX_SCHEDULES: u64 = 100;

/// The quota of tags unless another one is set.
const MAX_TAGS: u32 = 16;

/// The largest quota of entities that one critical section locks. Each gets the list of those that follow it.
const MOST_LOCKED_ENTITIES: u32 = 256;

impl Quotas {
    /// The weight of a tenant for which none is set.
    pub const DEFAULT_WEIGHT: u32 = 100;

    /// The tenant's share of the host when other tenants compete for it.
    pub fn weight(&self) -> u32 {
        self.weight.unwrap_or(Self::DEFAULT_WEIGHT)
    }

    /// How many tags an instance may have.
    pub fn max_tags(&self) -> u32 {
        self.max_tags.unwrap_or(MAX_TAGS)
    }

    /// How many schedules the tenant may have.
    pub fn max_schedules(&self) -> u64 {
        self.max_schedules.unwrap_or(MAX_SCHEDULES)
    }

    /// Parses what [`Self::stored`] wrote.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut quotas: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        // Older versions stored an empty list, which accepted every module.
        quotas.module_signers = quotas.module_signers.filter(|signers| !signers.is_empty());
        quotas.check()?;
        Ok(quotas)
    }

    /// Serializes the quotas for the database.
    pub fn stored(&self) -> String {
        serde_json::to_string(self).expect("numbers and texts can be written as JSON")
    }

    /// Returns these quotas with changes: `null` removes a quota; quotas that are not mentioned stay.
    ///
    /// # Errors
    /// Which quota is invalid, and why.
    pub fn with(&self, changes: Map<String, Value>) -> Result<Self, String> {
        let mut members = match serde_json::to_value(self) {
            Ok(Value::Object(members)) => members,
            other => return Err(format!("quotas must be an object, not {other:?}")),
        };
        members.extend(changes);
        let changed = serde_json::from_value(Value::Object(members));
        let changed: Self = changed.map_err(|error| format!("in the quotas, {error}"))?;
        changed.check()?;
        Ok(changed)
    }

    /// Checks that all quotas are valid.
    ///
    /// # Errors
    /// Which quota is invalid, and why.
    pub fn check(&self) -> Result<(), String> {
        if self.weight.is_some_and(|weight| !(1..=1_000).contains(&weight)) {
            return Err("weight must be from 1 to 1000".into());
        }
        for rule in self.allowed_hosts.iter().flat_map(BTreeMap::values).flatten() {
            let read: Result<EgressRule, _> = rule.parse();
            read.map_err(|error| format!("the rule {rule:?} of allowedHosts {error}"))?;
        }
        for (name, quota) in self.activities.iter().flatten() {
            let rate_fits = quota.per_second.is_none_or(|rate| (1e-4..=1e6).contains(&rate));
            if quota.max_activities == Some(0) || !rate_fits {
                return Err(format!(
                    "of the activity {:?}, maxActivities must be at least 1 and perSecond from 0.0001 to 1000000",
                    name.as_str()
                ));
            }
        }
        if self.module_signers.as_ref().is_some_and(Vec::is_empty) {
            return Err(
                "moduleSigners must name a key; use null (on the command line: none) to require no signature".into(),
            );
        }
        let signers = self.module_signers.iter().flatten();
        if let Some(wrong) = signers
            .map(String::as_str)
            .find(|signer| from_hex::<32>(signer).is_none())
        {
            return Err(format!(
                "{wrong:?} of moduleSigners is not a public key of 64 hexadecimal digits"
            ));
        }
        let ranges = [
            (Quota::MaxTags, self.max_tags.map(u64::from), 0..=model::MAX_TAGS as u64),
            (
                Quota::MaxLockedEntities,
                self.max_locked_entities.map(u64::from),
                1..=u64::from(MOST_LOCKED_ENTITIES),
            ),
            (
                Quota::MaxWaitingOperations,
                self.max_waiting_operations,
                1..=MAX_WAITING,
            ),
        ];
        for (quota, value, range) in ranges {
            if value.is_some_and(|value| !range.contains(&value)) {
                let (name, least, most) = (quota.name(), range.start(), range.end());
                return Err(format!("{name} must be from {least} to {most}"));
            }
        }
        let zeros = [
            (Quota::ActivityFuel, self.activity_fuel == Some(0)),
            (Quota::FuelPerMinute, self.fuel_per_minute == Some(0)),
            (Quota::ActivityMemory, self.activity_memory == Some(ByteSize(0))),
            (
                Quota::ActivityTimeout,
                self.activity_timeout == Some(Span(Duration::ZERO)),
            ),
            (Quota::MaxPayload, self.max_payload == Some(ByteSize(0))),
            (Quota::MaxTurns, self.max_turns == Some(0)),
            (Quota::MaxHistory, self.max_history == Some(ByteSize(0))),
            (Quota::MaxEntityState, self.max_entity_state == Some(ByteSize(0))),
            (Quota::MaxStoredBytes, self.max_stored_bytes == Some(ByteSize(0))),
            (Quota::StartsPerSecond, self.starts_per_second == Some(0)),
            (Quota::EventsPerSecond, self.events_per_second == Some(0)),
            (Quota::MaxActivities, self.max_activities == Some(0)),
        ];
        match zeros.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((quota, _)) => Err(format!("{} must not be 0; disable the tenant instead", quota.name())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotas_read_back_what_they_write_and_refuse_unknown_or_invalid_ones() {
        let text = r#"{"startsPerSecond":5,"activityTimeout":"30s","maxPayload":"64KiB"}"#;
        let quotas = Quotas::read(text).unwrap();
        assert_eq!(quotas.max_payload, Some(ByteSize(64 << 10)));
        assert_eq!(quotas.stored(), text);
        assert_eq!(Quotas::read("{}"), Ok(Quotas::default()));
        for bad in [
            r#"{"startPerSecond":5}"#,
            r#"{"weight":0}"#,
            r#"{"maxTurns":0}"#,
            r#"{"allowedHosts":{"*":["x y"]}}"#,
            "",
        ] {
            assert!(Quotas::read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_quota_has_the_name_of_its_member() {
        for quota in Quota::ALL {
            let read = |value: &str| Quotas::read(&format!("{{\"{}\":{value}}}", quota.name()));
            let read = read("1")
                .or_else(|_| read("\"1s\""))
                .or_else(|_| read("{}"))
                .or_else(|_| read("[]"));
            assert!(read.is_ok(), "{}", quota.name());
        }
        let page = include_str!("../../../docs/security.md");
        let missing: Vec<_> = Quota::ALL
            .iter()
            .filter(|quota| !page.contains(&format!("| `{}` |", quota.name())))
            .collect();
        assert!(missing.is_empty(), "docs/security.md does not list {missing:?}");
    }
}
