//! Rules that say how long ended instances are kept, and what they decide. Pure.
//!
//! A rule has a scope: one orchestration function or all, and one final status or all. For each ended instance the rule
//! with the narrowest scope decides; an instance that no rule is for is kept. The instances of one function that the same
//! rule decides about are a group: the rule's count is counted within it.

use std::time::Duration;

use super::{FunctionName, InstanceNumber, InstanceStatus, Timestamp};

/// The maximum number of rules of a tenant. The host reads all of them for each piece of work.
pub const MAX_RETENTION_RULES: u32 = 100;

/// The maximum number of instances that a rule keeps by count. To find the first surplus instance, the host walks over
/// the others in an index, about a million in a quarter of a second.
pub const MAX_KEPT_COUNT: u32 = 1_000_000;

/// The minimum age. Clients that wait for the end of an instance must be able to read its outcome.
pub const MIN_KEPT_AGE: Duration = Duration::from_secs(1);

/// The maximum age, 100 years.
pub const MAX_KEPT_AGE: Duration = Duration::from_secs(36_500 * 24 * 60 * 60);

/// Which ended instances a rule is for. A tenant has one rule per scope.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct RetentionScope {
    /// The orchestration function; `None` means all functions, each counted by itself.
    pub function: Option<FunctionName>,
    /// The final status; `None` means all, counted together.
    pub status: Option<InstanceStatus>,
}

/// How long instances are kept. Each limit deletes by itself. Without any, instances are kept for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Kept {
    /// An instance is deleted this long after its end.
    pub age: Option<Duration>,
    /// Only this many instances are kept: those that ended last.
    pub count: Option<u32>,
}

/// A rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionRule {
    /// Which instances it is for.
    pub scope: RetentionScope,
    /// How long they are kept.
    pub kept: Kept,
}

/// Why a rule is invalid. The text follows the name of the limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RetentionRuleError {
    /// The status is not final.
    #[error("status {0} is not final: it must be Completed, Failed, Terminated or Canceled")]
    NotEnded(InstanceStatus),
    /// The age is out of range.
    #[error("maxAge must be 1s to 36500d")]
    Age,
    /// The count is out of range.
    #[error("maxCount must be 1 to {MAX_KEPT_COUNT}")]
    Count,
}

impl RetentionRule {
    /// Checks the limits and the status.
    ///
    /// # Errors
    /// If the rule is invalid.
    pub fn check(&self) -> Result<(), RetentionRuleError> {
        if let Some(status) = self.scope.status.filter(|status| !status.has_ended()) {
            return Err(RetentionRuleError::NotEnded(status));
        }
        if self
            .kept
            .age
            .is_some_and(|age| !(MIN_KEPT_AGE..=MAX_KEPT_AGE).contains(&age))
        {
            return Err(RetentionRuleError::Age);
        }
        if self
            .kept
            .count
            .is_some_and(|count| !(1..=MAX_KEPT_COUNT).contains(&count))
        {
            return Err(RetentionRuleError::Count);
        }
        Ok(())
    }
}

/// A place in the order of ends: by time, then by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EndPosition {
    /// When the instance ended.
    pub ended_at: Timestamp,
    /// The instance.
    pub instance: InstanceNumber,
}

/// The ended instances of one function that one rule decides about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionGroup {
    /// The scope of the rule.
    pub scope: RetentionScope,
    /// The final statuses of the instances.
    pub statuses: Vec<InstanceStatus>,
    /// How long they are kept.
    pub kept: Kept,
}

impl RetentionGroup {
    /// The groups of a function, without instances that are kept for ever.
    pub fn of(rules: &[RetentionRule], function: &FunctionName) -> Vec<Self> {
        let mut groups: Vec<Self> = Vec::new();
        for status in InstanceStatus::ALL.into_iter().filter(|status| status.has_ended()) {
            let Some(rule) = rule_for(rules, function, status) else {
                continue;
            };
            match groups.iter_mut().find(|group| group.scope == rule.scope) {
                Some(group) => group.statuses.push(status),
                None => groups.push(Self {
                    scope: rule.scope.clone(),
                    statuses: vec![status],
                    kept: rule.kept,
                }),
            }
        }
        groups.retain(|group| group.kept != Kept::default());
        groups
    }

    /// The place before which all instances of the group are deleted; `None` if all are kept. `first_surplus` is the
    /// instance that follows as many newer ones as the rule keeps by count, if there is one.
    pub fn deleted_before(&self, now: Timestamp, first_surplus: Option<EndPosition>) -> Option<EndPosition> {
        let too_old = self.kept.age.and_then(|age| {
            let age = u64::try_from(age.as_millis()).ok()?;
            let last = now.0.checked_sub(age)?;
            Some(EndPosition {
                ended_at: Timestamp(last.saturating_add(1)),
                instance: InstanceNumber(0),
            })
        });
        let surplus = first_surplus
            .filter(|_| self.kept.count.is_some())
            .map(|last| EndPosition {
                instance: InstanceNumber(last.instance.0.saturating_add(1)),
                ..last
            });
        too_old.max(surplus)
    }
}

/// The rule with the narrowest scope for an instance: a function is narrower than a status.
fn rule_for<'a>(
    rules: &'a [RetentionRule],
    function: &FunctionName,
    status: InstanceStatus,
) -> Option<&'a RetentionRule> {
    let fits = |rule: &&RetentionRule| {
        let RetentionScope {
            function: of_function,
            status: of_status,
        } = &rule.scope;
        of_function.as_ref().is_none_or(|of| of == function) && of_status.is_none_or(|of| of == status)
    };
    let narrowness = |rule: &&RetentionRule| (rule.scope.function.is_some(), rule.scope.status.is_some());
    rules.iter().filter(fits).max_by_key(narrowness)
}

/// What the rules decide, computed without indexes or pieces. Tests compare the host with it.
#[cfg(test)]
pub(crate) mod reference {
    use super::*;

    /// An instance that has ended.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct Ended {
        pub(crate) function: FunctionName,
        pub(crate) status: InstanceStatus,
        pub(crate) position: EndPosition,
    }

    /// The numbers of the instances that are deleted now, in ascending order.
    pub(crate) fn deleted(rules: &[RetentionRule], now: Timestamp, instances: &[Ended]) -> Vec<InstanceNumber> {
        let scope_of = |instance: &Ended| rule_for(rules, &instance.function, instance.status).map(|rule| &rule.scope);
        let is_deleted = |instance: &&Ended| {
            let Some(rule) = rule_for(rules, &instance.function, instance.status) else {
                return false;
            };
            let newer = instances.iter().filter(|other| {
                other.function == instance.function
                    && other.position > instance.position
                    && scope_of(other) == Some(&rule.scope)
            });
            let age = now.0.checked_sub(instance.position.ended_at.0);
            let age = age.map_or(Duration::ZERO, Duration::from_millis);
            let is_old = age >= rule.kept.age.unwrap_or(Duration::MAX);
            let is_surplus = rule.kept.count.is_some_and(|count| newer.count() >= count as usize);
            is_old || is_surplus
        };
        let deleted = instances.iter().filter(is_deleted);
        let mut deleted: Vec<_> = deleted.map(|instance| instance.position.instance).collect();
        deleted.sort_unstable();
        deleted
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::reference::{Ended, deleted};
    use super::*;

    const ENDED: [InstanceStatus; 4] = [
        InstanceStatus::Completed,
        InstanceStatus::Failed,
        InstanceStatus::Terminated,
        InstanceStatus::Canceled,
    ];

    fn scope(function: Option<&str>, status: Option<InstanceStatus>) -> RetentionScope {
        RetentionScope {
            function: function.map(|name| name.parse().unwrap()),
            status,
        }
    }

    fn rule(scope: RetentionScope, age_s: Option<u64>, count: Option<u32>) -> RetentionRule {
        let kept = Kept {
            age: age_s.map(Duration::from_secs),
            count,
        };
        RetentionRule { scope, kept }
    }

    fn position(ended_at: u64, instance: u64) -> EndPosition {
        EndPosition {
            ended_at: Timestamp(ended_at),
            instance: InstanceNumber(instance),
        }
    }

    fn statuses(rules: &[RetentionRule], function: &str) -> Vec<(RetentionScope, Vec<InstanceStatus>)> {
        let groups = RetentionGroup::of(rules, &function.parse().unwrap());
        groups.into_iter().map(|group| (group.scope, group.statuses)).collect()
    }

    #[test]
    fn without_a_rule_nothing_is_deleted() {
        assert_eq!(statuses(&[], "Order"), []);
        let other = rule(scope(Some("Audit"), None), Some(1), Some(1));
        assert_eq!(statuses(&[other], "Order"), []);
    }

    #[test]
    fn the_rule_with_the_narrowest_scope_decides() {
        use InstanceStatus::{Canceled, Completed, Failed, Terminated};
        let rules = [
            rule(scope(None, None), Some(10), None),
            rule(scope(None, Some(Failed)), Some(20), None),
            rule(scope(Some("Order"), None), Some(30), None),
            rule(scope(Some("Order"), Some(Terminated)), Some(40), None),
        ];
        assert_eq!(
            statuses(&rules, "Order"),
            [
                (scope(Some("Order"), None), vec![Completed, Failed, Canceled]),
                (scope(Some("Order"), Some(Terminated)), vec![Terminated]),
            ]
        );
        assert_eq!(
            statuses(&rules, "Other"),
            [
                (scope(None, None), vec![Completed, Terminated, Canceled]),
                (scope(None, Some(Failed)), vec![Failed]),
            ]
        );
    }

    #[test]
    fn a_rule_without_limits_is_an_exception_from_a_wider_one() {
        use InstanceStatus::{Canceled, Completed, Terminated};
        let rules = [
            rule(scope(None, None), Some(10), None),
            rule(scope(Some("Audit"), None), None, None),
            rule(scope(None, Some(InstanceStatus::Failed)), None, None),
        ];
        assert_eq!(statuses(&rules, "Audit"), []);
        assert_eq!(
            statuses(&rules, "Order"),
            [(scope(None, None), vec![Completed, Terminated, Canceled])]
        );
    }

    #[test]
    fn an_instance_is_deleted_when_it_has_the_age() {
        let group = |age_s| {
            let rules = [rule(scope(None, None), Some(age_s), None)];
            RetentionGroup::of(&rules, &"Order".parse().unwrap()).remove(0)
        };
        let bound = group(10).deleted_before(Timestamp(25_000), None);
        assert_eq!(bound, Some(position(15_001, 0)));
        assert!(position(15_000, u64::MAX) < bound.unwrap());
        // The clock is at a time before that age is possible.
        assert_eq!(group(26).deleted_before(Timestamp(25_000), None), None);
        let surplus = Some(position(20_000, 3));
        assert_eq!(
            group(10).deleted_before(Timestamp(25_000), surplus),
            bound,
            "the rule has no count"
        );
    }

    #[test]
    fn each_limit_deletes_by_itself() {
        let rules = [rule(scope(None, None), Some(10), Some(5))];
        let group = RetentionGroup::of(&rules, &"Order".parse().unwrap()).remove(0);
        let bound = |surplus| group.deleted_before(Timestamp(25_000), surplus);
        assert_eq!(bound(None), Some(position(15_001, 0)));
        assert_eq!(bound(Some(position(9_000, 3))), Some(position(15_001, 0)));
        assert_eq!(bound(Some(position(20_000, 3))), Some(position(20_000, 4)));
    }

    #[test]
    fn limits_are_checked() {
        let check = |age_s, count| rule(scope(None, None), age_s, count).check();
        assert_eq!(check(None, None), Ok(()));
        assert_eq!(check(Some(1), Some(1)), Ok(()));
        assert_eq!(check(Some(MAX_KEPT_AGE.as_secs()), Some(MAX_KEPT_COUNT)), Ok(()));
        assert_eq!(check(Some(0), None), Err(RetentionRuleError::Age));
        assert_eq!(
            check(Some(MAX_KEPT_AGE.as_secs() + 1), None),
            Err(RetentionRuleError::Age)
        );
        assert_eq!(check(None, Some(0)), Err(RetentionRuleError::Count));
        assert_eq!(check(None, Some(MAX_KEPT_COUNT + 1)), Err(RetentionRuleError::Count));
        let live = rule(scope(None, Some(InstanceStatus::Stuck)), Some(1), None);
        assert_eq!(live.check(), Err(RetentionRuleError::NotEnded(InstanceStatus::Stuck)));
    }

    fn any_scope() -> impl Strategy<Value = RetentionScope> {
        let functions = prop_oneof![Just(None), Just(Some("A")), Just(Some("B"))];
        let statuses = proptest::option::of(prop::sample::select(ENDED.to_vec()));
        (functions, statuses).prop_map(|(function, status)| scope(function, status))
    }

    fn any_rules() -> impl Strategy<Value = Vec<RetentionRule>> {
        let limits = (proptest::option::of(1..40u64), proptest::option::of(1..6u32));
        prop::collection::btree_map(any_scope(), limits, 0..6).prop_map(|rules| {
            let rules = rules.into_iter();
            rules.map(|(scope, (age, count))| rule(scope, age, count)).collect()
        })
    }

    fn any_instances() -> impl Strategy<Value = Vec<Ended>> {
        let one = (
            prop::sample::select(vec!["A", "B", "C"]),
            prop::sample::select(ENDED.to_vec()),
            0..50_000u64,
        );
        prop::collection::vec(one, 0..40).prop_map(|all| {
            let numbered = all.into_iter().zip(1..);
            numbered
                .map(|((function, status, ended_at), number)| Ended {
                    function: function.parse().unwrap(),
                    status,
                    position: position(ended_at, number),
                })
                .collect()
        })
    }

    /// What the host deletes: everything before the bound of each group.
    fn deleted_by_groups(rules: &[RetentionRule], now: Timestamp, instances: &[Ended]) -> Vec<InstanceNumber> {
        let mut deleted = Vec::new();
        let names: std::collections::BTreeSet<_> = instances.iter().map(|instance| &instance.function).collect();
        for function in names {
            for group in RetentionGroup::of(rules, function) {
                let members = instances
                    .iter()
                    .filter(|instance| instance.function == *function && group.statuses.contains(&instance.status));
                let mut members: Vec<_> = members.map(|instance| instance.position).collect();
                members.sort_unstable_by(|a, b| b.cmp(a));
                let surplus = group.kept.count.and_then(|count| members.get(count as usize).copied());
                if let Some(bound) = group.deleted_before(now, surplus) {
                    deleted.extend(
                        members
                            .iter()
                            .filter(|member| **member < bound)
                            .map(|member| member.instance),
                    );
                }
            }
        }
        deleted.sort_unstable();
        deleted
    }

    proptest! {
        #[test]
        fn groups_delete_what_the_rules_decide(rules in any_rules(), instances in any_instances(), now in 0..60_000u64) {
            let now = Timestamp(now);
            prop_assert_eq!(deleted_by_groups(&rules, now, &instances), deleted(&rules, now, &instances));
        }

        #[test]
        fn each_status_of_a_function_is_in_at_most_one_group(rules in any_rules(), function in "[ABC]") {
            let mut seen = BTreeMap::new();
            for group in RetentionGroup::of(&rules, &function.parse().unwrap()) {
                prop_assert!(!group.statuses.is_empty());
                for status in group.statuses {
                    prop_assert!(status.has_ended());
                    prop_assert_eq!(seen.insert(status, ()), None);
                }
            }
        }

        #[test]
        fn the_newest_are_kept_and_later_nothing_comes_back(rules in any_rules(), instances in any_instances()) {
            let early = deleted(&rules, Timestamp(30_000), &instances);
            let late = deleted(&rules, Timestamp(60_000), &instances);
            prop_assert!(early.iter().all(|number| late.contains(number)));
            // Once they are gone, the same rules delete nothing more.
            let rest: Vec<_> = instances.iter().filter(|one| !early.contains(&one.position.instance)).cloned().collect();
            prop_assert_eq!(deleted(&rules, Timestamp(30_000), &rest), Vec::new());
            for rule in rules.iter().filter(|rule| rule.kept.age.is_none()) {
                let Some(count) = rule.kept.count else { continue };
                for function in ["A", "B", "C"].map(|name| name.parse::<FunctionName>().unwrap()) {
                    let group = |all: &[Ended]| {
                        let own = all.iter().filter(|one| one.function == function);
                        own.filter(|one| rule_for(&rules, &function, one.status) == Some(rule)).count()
                    };
                    prop_assert_eq!(group(&rest), group(&instances).min(count as usize));
                }
            }
        }
    }
}
