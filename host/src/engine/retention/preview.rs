//! What retention would delete now.

use crate::engine::Engine;
use crate::model::{RetentionGroup, RetentionRule, TenantId};
use crate::store::{EndedInstance, Error};

/// How many functions one request looks at.
const FUNCTIONS: usize = 50;

/// How many instances are counted of each group.
const MAX_COUNTED: u32 = 10_000;

/// How many instances of each group are listed.
const LISTED: u32 = 5;

/// What would be deleted now.
#[derive(Debug, Clone, PartialEq)]
pub struct RetentionPreview {
    /// Groups with at least one instance, by function.
    pub groups: Vec<RetentionPreviewGroup>,
    /// If there may be more: the number of the last function that was looked at.
    pub next: Option<u64>,
}

/// What would be deleted of one function because of one rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RetentionPreviewGroup {
    /// The name of the function.
    pub function: crate::model::FunctionName,
    /// The rule, and the statuses that it decides about.
    pub group: RetentionGroup,
    /// The number of instances, without the sub-orchestrations below them.
    pub instances: u64,
    /// Whether there are more, which were not counted.
    pub more: bool,
    /// Those that are deleted first.
    pub first: Vec<EndedInstance>,
}

impl Engine {
    /// What the rules would delete now, if another one were set too. Continues after a function.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn preview_retention(
        &self,
        tenant: TenantId,
        another: Option<RetentionRule>,
        mut after: Option<u64>,
    ) -> Result<RetentionPreview, Error> {
        let shared = &self.0.shared;
        let rows = shared.store.retention_rules(tenant).await?;
        let mut rules: Vec<_> = rows.into_iter().map(|row| row.rule).collect();
        if let Some(another) = another {
            rules.retain(|rule| rule.scope != another.scope);
            rules.push(another);
        }
        let (store, now) = (shared.store.tenant(tenant), shared.clock.now());
        let mut groups = Vec::new();
        for _ in 0..FUNCTIONS {
            let Some(function) = store.next_ended_function(after).await? else {
                return Ok(RetentionPreview { groups, next: None });
            };
            after = Some(function.number);
            for group in RetentionGroup::of(&rules, &function.name) {
                let of = group.instances(tenant, function.number);
                let surplus = match group.kept.count {
                    Some(count) => store.first_surplus(of, count).await?,
                    None => None,
                };
                let Some(before) = group.deleted_before(now, surplus) else {
                    continue;
                };
                let first = store.ended_between(of, None, before, LISTED).await?;
                if first.is_empty() {
                    continue;
                }
                let counted = store.count_ended(of, before, MAX_COUNTED + 1).await?;
                groups.push(RetentionPreviewGroup {
                    function: function.name.clone(),
                    instances: counted.min(MAX_COUNTED.into()),
                    more: counted > MAX_COUNTED.into(),
                    first,
                    group,
                });
            }
        }
        Ok(RetentionPreview { groups, next: after })
    }
}
