//! Retention in a simulated world: whatever ends the host, at the end nothing is left that the rules do not keep.

use std::collections::BTreeMap;
use std::time::Duration;

use super::checkers::Watch;
use super::programs::Program;
use super::rng::Rng;
use crate::engine::{Engine, RetentionError};
use crate::model::retention::reference::{self, Ended};
use crate::model::{
    EndPosition, EntityId, InstanceNumber, InstanceStatus, Kept, RetentionRule, RetentionScope, TenantId, Timestamp,
};
use crate::store::Error as StoreError;
use crate::store::simulated::{Content, InstanceRow};

/// How long a client waits before it retries.
const ASK_AGAIN: Duration = Duration::from_millis(300);

/// Longer than the pause between two passes.
pub(super) const TIME_TO_DELETE: Duration = Duration::from_secs(100);

/// The rules of the first tenant.
pub(super) struct Retention(Vec<RetentionRule>);

impl Retention {
    /// The rules of a seed. Most seeds have none, so that ended instances stay and are looked at.
    pub(super) fn of(seed: u64, programs: &[Program]) -> Self {
        let mut rng = Rng::new(seed, "retention");
        let count = if rng.per_mille(300) { rng.between(1, 3) } else { 0 };
        let mut rules = BTreeMap::new();
        for _ in 0..count {
            let scope = RetentionScope {
                function: rng.per_mille(500).then(|| rng.pick(programs).name.clone()),
                status: rng.per_mille(300).then_some(InstanceStatus::Failed),
            };
            let kept = Kept {
                age: rng.per_mille(600).then(|| Duration::from_secs(rng.between(1, 60))),
                count: rng
                    .per_mille(600)
                    .then(|| u32::try_from(rng.between(1, 4)).expect("few")),
            };
            rules.insert(scope, kept);
        }
        let rules = rules.into_iter().map(|(scope, kept)| RetentionRule { scope, kept });
        Self(rules.collect())
    }

    /// None.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    /// Whether there are no rules.
    pub(super) fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Sets the rules, as often as it takes.
    pub(super) async fn set(&self, engine: &Engine, watch: &Watch) {
        for rule in &self.0 {
            loop {
                match engine.put_retention_rule(TenantId::DEFAULT, rule.clone()).await {
                    Ok(()) | Err(RetentionError::Store(StoreError::Closed)) => break,
                    Err(RetentionError::Store(StoreError::Database(_))) => tokio::time::sleep(ASK_AGAIN).await,
                    Err(other) => {
                        watch.violation(format!("{rule:?} was answered with {other:?}"));
                        break;
                    }
                }
            }
        }
    }

    /// Checks that nothing is left that had expired before this time, except trees in which something has not ended.
    pub(super) fn check(&self, content: &Content, now: Timestamp, watch: &Watch) {
        let is_candidate = |row: &InstanceRow| row.tenant == TenantId::DEFAULT && EntityId::of(&row.id).is_none();
        let rows: BTreeMap<InstanceNumber, &InstanceRow> = content
            .existing()
            .filter(|(_, row, _)| is_candidate(row))
            .map(|(number, row, _)| (number, row))
            .collect();
        let parent_of = |row: &InstanceRow| {
            let parent = row.parent.as_ref().map(|parent| parent.instance);
            parent.filter(|parent| rows.contains_key(parent))
        };
        let roots = rows
            .iter()
            .filter(|(_, row)| row.status.has_ended() && parent_of(row).is_none());
        let roots: Vec<Ended> = roots
            .map(|(number, row)| Ended {
                function: row.function.clone(),
                status: row.status,
                position: EndPosition {
                    ended_at: row.updated_at,
                    instance: *number,
                },
            })
            .collect();
        for root in reference::deleted(&self.0, now, &roots) {
            let is_below = |row: &InstanceRow| {
                let mut above = parent_of(row);
                while let Some(parent) = above.filter(|parent| *parent != root) {
                    above = parent_of(rows[&parent]);
                }
                above == Some(root)
            };
            if !rows.values().any(|row| !row.status.has_ended() && is_below(row)) {
                watch.violation(format!(
                    "instance {root} has expired and is not deleted: {:?}",
                    rows[&root]
                ));
            }
        }
    }
}
