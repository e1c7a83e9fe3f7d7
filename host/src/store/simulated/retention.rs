//! The rules of retention, and the queries for what it deletes.

use super::super::{
    Changed, Descendant, EndedFunction, EndedInstance, EndedInstances, Error, RetentionRow, retention::INSTANCE_BYTES,
};
use super::{Content, Disk, InstanceRow, catalogue::Catalogue};
use crate::model::{EndPosition, EntityId, InstanceNumber, MAX_RETENTION_RULES, RetentionScope, TenantId};

impl Catalogue {
    pub(super) fn put_retention_rule(&mut self, row: &RetentionRow) -> Changed {
        if !self.has_tenant(row.tenant) {
            return Changed::Unknown;
        }
        let key = (row.tenant, row.rule.scope.clone());
        let others = self
            .retention
            .keys()
            .filter(|other| other.0 == row.tenant && **other != key);
        if others.count() >= MAX_RETENTION_RULES as usize {
            return Changed::TooMany;
        }
        self.retention.insert(key, row.clone());
        Changed::Done(None)
    }

    pub(super) fn delete_retention_rule(&mut self, tenant: TenantId, scope: &RetentionScope) -> bool {
        self.retention.remove(&(tenant, scope.clone())).is_some()
    }
}

/// Whether SQLite's index has the instance.
fn is_candidate(row: &InstanceRow) -> bool {
    let has_no_parent = row.parent.is_none() || row.parent_is_gone;
    row.status.has_ended() && has_no_parent && EntityId::of(&row.id).is_none()
}

/// The instances, those first that ended first.
fn ended<'a>(content: &'a Content, of: EndedInstances<'a>) -> Vec<(EndPosition, &'a InstanceRow)> {
    let name = content
        .functions
        .iter()
        .find(|((tenant, _), number)| (*tenant, **number) == (of.tenant, of.function));
    let name = name.map(|((_, name), _)| name);
    let mut found: Vec<_> = content
        .existing()
        .filter(|(_, row, _)| row.tenant == of.tenant && is_candidate(row) && of.statuses.contains(&row.status))
        .filter(|(_, row, _)| Some(&row.function) == name)
        .map(|(instance, row, _)| {
            let position = EndPosition {
                ended_at: row.updated_at,
                instance,
            };
            (position, row)
        })
        .collect();
    found.sort_unstable_by_key(|(position, _)| *position);
    found
}

fn has_children(content: &Content, parent: InstanceNumber) -> bool {
    children(content, parent).next().is_some()
}

fn children(content: &Content, parent: InstanceNumber) -> impl Iterator<Item = (InstanceNumber, &InstanceRow)> {
    let all = content.existing().map(|(number, row, _)| (number, row));
    all.filter(move |(_, row)| !row.parent_is_gone && row.parent.as_ref().is_some_and(|link| link.instance == parent))
}

fn bytes(row: &InstanceRow) -> u64 {
    row.custom_status.as_ref().map_or(0, |status| status.len() as u64) + INSTANCE_BYTES
}

/// The same queries for the engine and for clients.
impl Disk {
    pub(in crate::store) async fn next_tenant_with_retention(
        &self,
        after: Option<TenantId>,
    ) -> Result<Option<TenantId>, Error> {
        self.read(|content| {
            let mut tenants = content.catalogue.retention.keys().map(|(tenant, _)| *tenant);
            Ok(tenants.find(|tenant| Some(*tenant) > after))
        })
        .await
    }

    pub(in crate::store) async fn retention_rules(&self, tenant: TenantId) -> Result<Vec<RetentionRow>, Error> {
        self.read(|content| {
            let rules = content.catalogue.retention.values();
            Ok(rules.filter(|row| row.tenant == tenant).cloned().collect())
        })
        .await
    }

    pub(in crate::store) async fn next_ended_function(
        &self,
        tenant: TenantId,
        after: Option<u64>,
    ) -> Result<Option<EndedFunction>, Error> {
        self.read(|content| {
            let candidates = content
                .existing()
                .filter(|(_, row, _)| row.tenant == tenant && is_candidate(row));
            let functions = candidates.map(|(_, row, _)| EndedFunction {
                number: content.functions[&(tenant, row.function.clone())],
                name: row.function.clone(),
            });
            let later = functions.filter(|function| Some(function.number) > after);
            Ok(later.min_by_key(|function| function.number))
        })
        .await
    }

    pub(in crate::store) async fn first_surplus(
        &self,
        of: EndedInstances<'_>,
        count: u32,
    ) -> Result<Option<EndPosition>, Error> {
        self.read(|content| {
            let newest_first = ended(content, of).into_iter().rev();
            Ok(newest_first.map(|(position, _)| position).nth(count as usize))
        })
        .await
    }

    pub(in crate::store) async fn ended_between(
        &self,
        of: EndedInstances<'_>,
        after: Option<EndPosition>,
        before: EndPosition,
        limit: u32,
    ) -> Result<Vec<EndedInstance>, Error> {
        self.read(|content| {
            let all = ended(content, of).into_iter();
            let between = all.filter(|(position, _)| Some(*position) > after && *position < before);
            let found = between.take(limit as usize).map(|(position, row)| EndedInstance {
                position,
                id: row.id.clone(),
                status: row.status,
                has_children: has_children(content, position.instance),
                bytes: bytes(row),
            });
            Ok(found.collect())
        })
        .await
    }

    pub(in crate::store) async fn count_ended(
        &self,
        of: EndedInstances<'_>,
        before: EndPosition,
        limit: u32,
    ) -> Result<u64, Error> {
        self.read(|content| {
            let all = ended(content, of).into_iter();
            let count = all
                .filter(|(position, _)| *position < before)
                .take(limit as usize)
                .count();
            Ok(count as u64)
        })
        .await
    }

    pub(in crate::store) async fn descendants(
        &self,
        parent: InstanceNumber,
        after: Option<InstanceNumber>,
        limit: u32,
    ) -> Result<Vec<Descendant>, Error> {
        self.read(|content| {
            let later = children(content, parent).filter(|(number, _)| Some(*number) > after);
            let found = later.take(limit as usize).map(|(instance, row)| Descendant {
                instance,
                status: row.status,
                has_children: has_children(content, instance),
                bytes: bytes(row),
            });
            Ok(found.collect())
        })
        .await
    }
}
