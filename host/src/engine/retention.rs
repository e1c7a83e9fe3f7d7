//! Deletes ended instances that the rules of their tenant no longer keep.
//!
//! A pass goes through the functions of a tenant and deletes, oldest first, what is before the bound of each
//! [group](RetentionGroup), with the sub-orchestrations below. It works in pieces of bounded size, one of each tenant after
//! the other, with pauses in which the writer serves others; the rows of the deleted instances in other tables are left to
//! the sweeper. A pass derives everything from the store, so a host that starts again begins a new one. Rules are read
//! again for each piece: once a change of a rule is answered, no later deletion follows the old rule.

mod preview;
#[cfg(test)]
mod tests;
mod trees;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use self::trees::{Tree, Walked};
use super::Engine;
use super::retention_state::RetentionRun;
use super::shared::Shared;
use crate::model::{
    EndPosition, InstanceNumber, MAX_RETENTION_RULES, RetentionGroup, RetentionRule, RetentionScope, TenantId,
    Timestamp,
};
use crate::store::{
    Change, Changed, EndedFunction, EndedInstance, EndedInstances, Error as StoreError, RetentionRow, Store,
};

pub use self::preview::{RetentionPreview, RetentionPreviewGroup};

/// The maximum number of instances that one piece deletes.
const PIECE: usize = 200;

/// The maximum bytes of their rows in the table of instances, beside the last one.
const PIECE_BYTES: u64 = 1 << 20;

/// The maximum number of queries of one piece. A tree of sub-orchestrations takes at least two.
const PIECE_READS: u32 = 50;

/// How many instances one query reads.
const PAGE: u32 = 200;

/// The pause between two pieces, in which the writer serves others.
const BREATH: Duration = Duration::from_millis(5);

/// How many pieces of a tenant are worked off until the other tenants are looked at again.
const ROUNDS: u32 = 1_000;

/// The pause after all passes have ended.
const PAUSE: Duration = Duration::from_secs(30);

/// The pause before the next attempt if the store fails.
const TROUBLE_PAUSE: Duration = Duration::from_secs(5);

/// Why a rule was not changed.
#[derive(Debug, thiserror::Error)]
pub enum RetentionError {
    /// The tenant has as many rules as it may have.
    #[error("the tenant has {0} retention rules, the maximum")]
    TooMany(u32),
    /// There is no rule with this scope.
    #[error("there is no such retention rule")]
    Unknown,
    /// The tenant was deleted.
    #[error("the tenant was deleted")]
    TenantGone,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Sets a rule, or replaces the one with the same scope. Takes effect at once.
    ///
    /// # Errors
    /// If the tenant has too many rules or was deleted, or the store fails.
    pub async fn put_retention_rule(&self, tenant: TenantId, rule: RetentionRule) -> Result<(), RetentionError> {
        let row = RetentionRow {
            tenant,
            rule,
            updated_at: self.0.shared.clock.now(),
        };
        match self.change_retention(Change::PutRetentionRule(row)).await? {
            Changed::Done(_) => Ok(()),
            Changed::TooMany => Err(RetentionError::TooMany(MAX_RETENTION_RULES)),
            _ => Err(RetentionError::TenantGone),
        }
    }

    /// Deletes the rule with this scope. When this returns, nothing more is deleted because of it.
    ///
    /// # Errors
    /// If there is no such rule, or the store fails.
    pub async fn delete_retention_rule(&self, tenant: TenantId, scope: RetentionScope) -> Result<(), RetentionError> {
        match self
            .change_retention(Change::DeleteRetentionRule { tenant, scope })
            .await?
        {
            Changed::Done(_) => Ok(()),
            _ => Err(RetentionError::Unknown),
        }
    }

    /// The rules of a tenant, by function and status, and what was deleted because of them.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn retention(&self, tenant: TenantId) -> Result<(Vec<RetentionRow>, RetentionRun), StoreError> {
        let rules = self.0.shared.store.retention_rules(tenant).await?;
        Ok((rules, self.0.shared.retention.run(tenant)))
    }

    /// Changes a rule between two pieces.
    async fn change_retention(&self, change: Change) -> Result<Changed, StoreError> {
        let shared = &self.0.shared;
        let gate = shared.retention.gate.lock().await;
        let changed = shared.store.administer(change).await;
        drop(gate);
        shared.retention.changed.notify_one();
        changed
    }
}

/// Deletes until shutdown.
pub(super) async fn run(shared: Arc<Shared>) {
    let work = async {
        let mut passes = BTreeMap::new();
        loop {
            let worked = match begin_passes(&shared, &mut passes).await {
                Ok(()) => work_off(&shared, &mut passes).await,
                Err(error) => Err(error),
            };
            let pause = match worked {
                Ok(Worked::Some) => continue,
                Ok(Worked::Off) => PAUSE,
                Ok(Worked::Failed) => TROUBLE_PAUSE,
                Err(StoreError::Closed | StoreError::NotOwner) => return,
                Err(error) => {
                    note_trouble(&shared, &error);
                    TROUBLE_PAUSE
                }
            };
            let _ = tokio::time::timeout(pause, shared.retention.changed.notified()).await;
        }
    };
    shared.shutdown.run_until_cancelled(work).await;
}

fn note_trouble(shared: &Shared, error: &StoreError) {
    shared.stats.retention.failures.increment();
    tracing::warn!(%error, "expired instances could not be deleted; trying again");
}

/// Begins a pass for each tenant with rules that has none.
async fn begin_passes(shared: &Shared, passes: &mut BTreeMap<TenantId, Pass>) -> Result<(), StoreError> {
    let (mut after, mut with_rules) = (None, BTreeMap::new());
    while let Some(tenant) = shared.store.next_tenant_with_retention(after).await? {
        after = Some(tenant);
        with_rules.insert(tenant, passes.remove(&tenant).unwrap_or_default());
    }
    *passes = with_rules;
    shared.retention.keep_only(|tenant| passes.contains_key(&tenant));
    Ok(())
}

/// What is left of the passes.
enum Worked {
    /// All have ended.
    Off,
    /// Some have not ended, but it is time to look for others, or a rule was changed.
    Some,
    /// Some have ended with an error.
    Failed,
}

/// Works off the passes, a piece of each tenant after the other: some pieces, or all.
///
/// # Errors
/// If the store is closed.
async fn work_off(shared: &Shared, passes: &mut BTreeMap<TenantId, Pass>) -> Result<Worked, StoreError> {
    let (mut has_failed, mut has_changed) = (false, false);
    for _ in 0..ROUNDS {
        for tenant in passes.keys().copied().collect::<Vec<_>>() {
            let Some(pass) = passes.get_mut(&tenant) else { continue };
            match piece(shared, tenant, pass).await {
                Ok(true) => drop(passes.remove(&tenant)),
                Ok(false) => {}
                Err(error @ (StoreError::Closed | StoreError::NotOwner)) => return Err(error),
                // The pass may have skipped what was not deleted.
                Err(error) => {
                    note_trouble(shared, &error);
                    passes.remove(&tenant);
                    has_failed = true;
                }
            }
            // Each tenant is served all the same: one that changes its rules all the time delays nobody.
            let changed = tokio::time::timeout(BREATH, shared.retention.changed.notified()).await;
            has_changed |= changed.is_ok();
        }
        if passes.is_empty() {
            break;
        }
    }
    if has_failed {
        return Ok(Worked::Failed);
    }
    if has_changed || !passes.is_empty() {
        return Ok(Worked::Some);
    }
    shared.stats.retention.finished(shared.clock.now());
    Ok(Worked::Off)
}

/// Does the next piece of a pass. Returns whether the pass has ended.
async fn piece(shared: &Shared, tenant: TenantId, pass: &mut Pass) -> Result<bool, StoreError> {
    // What a disabled tenant has stays as it is, until somebody enables or deletes the tenant.
    if shared.tenancy.tenant(tenant).is_some_and(|tenant| tenant.disabled) {
        return Ok(true);
    }
    let _gate = shared.retention.gate.lock().await;
    let rows = shared.store.retention_rules(tenant).await?;
    let rules: Vec<_> = rows.into_iter().map(|row| row.rule).collect();
    if rules != pass.rules {
        *pass = Pass {
            rules,
            ..Pass::default()
        };
    }
    let mut piece = Piece::of(PIECE);
    let now = shared.clock.now();
    let has_ended = pass.fill(&shared.store, tenant, now, &mut piece).await?;
    let mut deleted = 0;
    if !piece.instances.is_empty() {
        deleted = shared.store.expire(tenant, piece.instances).await?;
        shared.tenancy.count_expired(tenant, deleted);
        tracing::debug!(%tenant, deleted, "deleted expired instances");
    }
    shared.retention.note(tenant, deleted, has_ended.then_some(now));
    Ok(has_ended)
}

/// The instances that one transaction deletes.
struct Piece {
    /// The maximum number of instances.
    most: usize,
    instances: Vec<InstanceNumber>,
    bytes: u64,
    reads: u32,
}

impl Piece {
    fn of(most: usize) -> Self {
        Self {
            most,
            instances: Vec::new(),
            bytes: 0,
            reads: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.instances.len() >= self.most || self.bytes >= PIECE_BYTES || self.reads >= PIECE_READS
    }

    fn add(&mut self, instance: InstanceNumber, bytes: u64) {
        self.instances.push(instance);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    fn count_read(&mut self) {
        self.reads += 1;
    }
}

/// A pass through the functions of a tenant, and how far it is.
#[derive(Default)]
struct Pass {
    /// The rules that it follows.
    rules: Vec<RetentionRule>,
    /// The function where it is.
    function: Option<EndedFunction>,
    /// The groups of this function that are left.
    groups: VecDeque<RetentionGroup>,
    /// The group where it is.
    current: Option<Current>,
}

/// A group of which instances are being deleted.
struct Current {
    group: RetentionGroup,
    /// Everything before this place is deleted.
    before: EndPosition,
    /// The last instance that was looked at.
    after: Option<EndPosition>,
    /// Instances that were read for the present piece, and not looked at.
    page: VecDeque<EndedInstance>,
    /// The instance whose sub-orchestrations are being deleted.
    tree: Option<Tree>,
}

impl Pass {
    /// Fills a piece. Returns whether the pass has ended.
    async fn fill(
        &mut self,
        store: &Store,
        tenant: TenantId,
        now: Timestamp,
        piece: &mut Piece,
    ) -> Result<bool, StoreError> {
        // Since the last piece, some may have been rewound.
        if let Some(current) = &mut self.current {
            current.page.clear();
        }
        while !piece.is_full() {
            match (&mut self.current, &self.function) {
                (Some(current), Some(function)) => {
                    if current.go_on(store, (tenant, function.number), piece).await? {
                        self.current = None;
                    }
                }
                _ => {
                    piece.count_read();
                    if self.enter_next(store, tenant, now).await? {
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }

    /// Goes to the next group, or the next function. Returns whether there is none.
    async fn enter_next(&mut self, store: &Store, tenant: TenantId, now: Timestamp) -> Result<bool, StoreError> {
        if let (Some(group), Some(function)) = (self.groups.pop_front(), &self.function) {
            let of = group.instances(tenant, function.number);
            let surplus = match group.kept.count {
                Some(count) => store.first_surplus(of, count).await?,
                None => None,
            };
            self.current = group.deleted_before(now, surplus).map(|before| Current {
                group,
                before,
                after: None,
                page: VecDeque::new(),
                tree: None,
            });
            return Ok(false);
        }
        let last = self.function.as_ref().map(|function| function.number);
        self.function = store.next_ended_function(tenant, last).await?;
        match &self.function {
            Some(function) => self.groups = RetentionGroup::of(&self.rules, &function.name).into(),
            None => return Ok(true),
        }
        Ok(false)
    }
}

impl RetentionGroup {
    /// The instances of the group, for queries.
    fn instances(&self, tenant: TenantId, function: u64) -> EndedInstances<'_> {
        EndedInstances {
            tenant,
            function,
            statuses: &self.statuses,
        }
    }
}

impl Current {
    /// Adds the next instances to a piece, after at most one query. Returns whether none are left.
    async fn go_on(
        &mut self,
        store: &Store,
        (tenant, function): (TenantId, u64),
        piece: &mut Piece,
    ) -> Result<bool, StoreError> {
        if let Some(tree) = &mut self.tree {
            if tree.step(store, piece).await? != Walked::More {
                self.tree = None;
            }
            return Ok(false);
        }
        if self.page.is_empty() {
            piece.count_read();
            let of = self.group.instances(tenant, function);
            let page = store.ended_between(of, self.after, self.before, PAGE).await?;
            self.page = page.into();
            if self.page.is_empty() {
                return Ok(true);
            }
        }
        while !piece.is_full()
            && self.tree.is_none()
            && let Some(instance) = self.page.pop_front()
        {
            let number = instance.position.instance;
            self.after = Some(instance.position);
            match instance.has_children {
                true => self.tree = Some(Tree::new(number, instance.bytes)),
                false => piece.add(number, instance.bytes),
            }
        }
        Ok(false)
    }
}
