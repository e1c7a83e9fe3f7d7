//! Retention: its rules, and the instances that it finds.

use std::time::Duration;

use super::*;
use crate::model::{EndPosition, Kept, MAX_RETENTION_RULES, RetentionRule, RetentionScope};

over_every_backend! {
    with_module:
    a_rule_replaces_the_one_of_the_same_scope,
    a_tenant_has_a_bounded_number_of_rules,
    the_rules_of_a_deleted_tenant_are_gone,
    ended_instances_are_found_by_function_and_status_in_the_order_of_their_ends,
    entities_and_instances_of_other_tenants_are_not_found,
    a_child_is_found_by_its_parent_until_the_parent_is_gone,
    only_ended_instances_of_the_tenant_are_expired,
}

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

fn row(tenant: TenantId, scope: RetentionScope, count: Option<u32>) -> RetentionRow {
    let kept = Kept {
        age: Some(Duration::from_millis(90_000)),
        count,
    };
    RetentionRow {
        tenant,
        rule: RetentionRule { scope, kept },
        updated_at: NOW,
    }
}

async fn put(store: &TestStore, row: RetentionRow) -> Changed {
    store.administer(Change::PutRetentionRule(row)).await.unwrap()
}

async fn delete(store: &TestStore, scope: RetentionScope) -> Changed {
    let change = Change::DeleteRetentionRule { tenant: TENANT, scope };
    store.administer(change).await.unwrap()
}

async fn other_tenant(store: &TestStore) -> TenantId {
    let change = Change::CreateTenant {
        name: "second".parse().unwrap(),
        quotas: "{}".into(),
        at: NOW,
    };
    match store.administer(change).await.unwrap() {
        Changed::Done(Some(tenant)) => tenant,
        other => panic!("{other:?}"),
    }
}

async fn a_rule_replaces_the_one_of_the_same_scope(store: TestStore) {
    assert_eq!(store.next_tenant_with_retention(None).await.unwrap(), None);
    let failed = Some(InstanceStatus::Failed);
    let scopes = [
        scope(None, None),
        scope(None, failed),
        scope(Some("Audit"), None),
        scope(Some("Order"), failed),
    ];
    for scope in scopes.iter().rev() {
        assert_eq!(put(&store, row(TENANT, scope.clone(), None)).await, Changed::Done(None));
    }
    let replaced = RetentionRow {
        updated_at: Timestamp(NOW.0 + 1),
        ..row(TENANT, scope(Some("Audit"), None), Some(7))
    };
    assert_eq!(put(&store, replaced.clone()).await, Changed::Done(None));
    let mut expected: Vec<_> = scopes.iter().map(|scope| row(TENANT, scope.clone(), None)).collect();
    expected[2] = replaced;
    let store = store.reopen().await;
    assert_eq!(store.retention_rules(TENANT).await.unwrap(), expected);
    assert_eq!(store.next_tenant_with_retention(None).await.unwrap(), Some(TENANT));
    assert_eq!(store.next_tenant_with_retention(Some(TENANT)).await.unwrap(), None);

    assert_eq!(delete(&store, scope(Some("Order"), None)).await, Changed::Unknown);
    for scope in scopes {
        assert_eq!(delete(&store, scope).await, Changed::Done(None));
    }
    assert_eq!(store.retention_rules(TENANT).await.unwrap(), []);
    assert_eq!(store.rows("retention_rules").await, 0);
    store.assert_sound().await;
}

async fn a_tenant_has_a_bounded_number_of_rules(store: TestStore) {
    for number in 0..MAX_RETENTION_RULES {
        let rule = row(TENANT, scope(Some(&format!("F{number}")), None), None);
        assert_eq!(put(&store, rule).await, Changed::Done(None));
    }
    let another = row(TENANT, scope(None, None), None);
    assert_eq!(put(&store, another.clone()).await, Changed::TooMany);
    let replaced = row(TENANT, scope(Some("F3"), None), Some(1));
    assert_eq!(put(&store, replaced).await, Changed::Done(None));
    delete(&store, scope(Some("F3"), None)).await;
    assert_eq!(put(&store, another).await, Changed::Done(None));
    let other = other_tenant(&store).await;
    assert_eq!(
        put(&store, row(other, scope(None, None), None)).await,
        Changed::Done(None)
    );
}

async fn the_rules_of_a_deleted_tenant_are_gone(store: TestStore) {
    let other = other_tenant(&store).await;
    put(&store, row(other, scope(None, None), None)).await;
    assert_eq!(
        store.next_tenant_with_retention(Some(TENANT)).await.unwrap(),
        Some(other)
    );
    store.administer(Change::DeleteTenant(other)).await.unwrap();
    assert_eq!(store.next_tenant_with_retention(None).await.unwrap(), None);
    assert_eq!(put(&store, row(other, scope(None, None), None)).await, Changed::Unknown);
    assert_eq!(store.rows("retention_rules").await, 0);
}

/// Starts an instance.
async fn started(store: &TestStore, new: NewInstance) -> InstanceNumber {
    match store.start(new, None).await.unwrap() {
        StartOutcome::Created(number) => number,
        other => panic!("{other:?}"),
    }
}

/// Ends an instance that has not run a turn.
async fn end(store: &TestStore, tenant: TenantId, number: InstanceNumber, status: InstanceStatus, at: u64) {
    let mut commit = last_turn(number, 1);
    commit.tenant = tenant;
    commit.summary.status = status;
    commit.summary.updated_at = Timestamp(at);
    store.commit(commit).await.unwrap();
}

fn of_function(name: &str, function: &str) -> NewInstance {
    NewInstance {
        started: super::started(function, None),
        ..instance(name)
    }
}

async fn ended(store: &TestStore, name: &str, function: &str, status: InstanceStatus, at: u64) -> InstanceNumber {
    let number = started(store, of_function(name, function)).await;
    end(store, TENANT, number, status, at).await;
    number
}

/// The functions of a tenant with ended instances.
async fn functions(store: &TestStore, tenant: TenantId) -> Vec<EndedFunction> {
    let mut found: Vec<EndedFunction> = Vec::new();
    loop {
        let after = found.last().map(|function| function.number);
        let next = store.next_ended_function(tenant, after).await.unwrap();
        assert_eq!(store.tenant(tenant).next_ended_function(after).await.unwrap(), next);
        match next {
            Some(function) => found.push(function),
            None => return found,
        }
    }
}

const LAST: EndPosition = EndPosition {
    ended_at: Timestamp::MAX,
    instance: InstanceNumber(i64::MAX as u64),
};

/// The ids of the ended instances of a function with one of these statuses.
async fn ids(store: &TestStore, function: u64, statuses: &[InstanceStatus]) -> Vec<String> {
    let of = EndedInstances {
        tenant: TENANT,
        function,
        statuses,
    };
    let found = store.ended_between(of, None, LAST, 100).await.unwrap();
    assert!(found.is_sorted_by_key(|instance| instance.position));
    assert!(found.iter().all(|instance| statuses.contains(&instance.status)));
    let counted = store.tenant(TENANT).count_ended(of, LAST, 100).await.unwrap();
    assert_eq!(counted, found.len() as u64);
    // The same piece by piece.
    let (mut pieces, mut after) = (Vec::new(), None);
    loop {
        let piece = store.tenant(TENANT).ended_between(of, after, LAST, 2).await.unwrap();
        let Some(last) = piece.last() else { break };
        after = Some(last.position);
        pieces.extend(piece);
    }
    assert_eq!(pieces, found);
    for (newer, instance) in found.iter().rev().enumerate() {
        let surplus = store.first_surplus(of, u32::try_from(newer).unwrap()).await.unwrap();
        assert_eq!(surplus, Some(instance.position));
        let before = store.ended_between(of, None, instance.position, 100).await.unwrap();
        assert_eq!(before, found[..found.len() - newer - 1]);
        let counted = store
            .tenant(TENANT)
            .count_ended(of, instance.position, 3)
            .await
            .unwrap();
        assert_eq!(counted, (before.len() as u64).min(3));
    }
    let all = u32::try_from(found.len()).unwrap();
    assert_eq!(store.tenant(TENANT).first_surplus(of, all).await.unwrap(), None);
    found.iter().map(|instance| instance.id.to_string()).collect()
}

async fn ended_instances_are_found_by_function_and_status_in_the_order_of_their_ends(store: TestStore) {
    use InstanceStatus::{Canceled, Completed, Failed, Terminated};
    // Two ended at the same time.
    ended(&store, "third", "Order", Completed, 5_000).await;
    ended(&store, "first", "Order", Failed, 1_000).await;
    ended(&store, "second", "Order", Terminated, 4_999).await;
    ended(&store, "fourth", "Order", Completed, 5_000).await;
    ended(&store, "fifth", "Order", Canceled, 9_000).await;
    ended(&store, "child", "Child", Completed, 2_000).await;
    store.running("running").await;
    let found = functions(&store, TENANT).await;
    let mut names: Vec<_> = found.iter().map(|function| function.name.to_string()).collect();
    names.sort();
    assert_eq!(names, ["Child", "Order"]);
    let number = |name: &str| {
        found
            .iter()
            .find(|function| function.name.as_str() == name)
            .unwrap()
            .number
    };
    let (order, child) = (number("Order"), number("Child"));
    assert_eq!(
        ids(&store, order, &ENDED).await,
        ["first", "second", "third", "fourth", "fifth"]
    );
    assert_eq!(ids(&store, order, &[Completed]).await, ["third", "fourth"]);
    assert_eq!(ids(&store, order, &[Failed, Canceled]).await, ["first", "fifth"]);
    assert_eq!(ids(&store, child, &ENDED).await, ["child"]);
    assert_eq!(ids(&store, child, &[Failed]).await, [""; 0]);
    assert_eq!(ids(&store, order + child, &ENDED).await, [""; 0]);

    // A failed instance that runs again is not ended.
    let rewind = append("first", InboxItem::Rewind { reason: "try".into() });
    store.append(rewind, None).await.unwrap();
    assert_eq!(ids(&store, order, &[Failed, Canceled]).await, ["fifth"]);
    store.purge(TENANT, id("fifth")).await.unwrap();
    assert_eq!(ids(&store, order, &ENDED).await, ["second", "third", "fourth"]);
}

async fn entities_and_instances_of_other_tenants_are_not_found(store: TestStore) {
    let other = other_tenant(&store).await;
    let new = NewInstance {
        tenant: other,
        ..of_function("a", "Order")
    };
    let number = started(&store, new).await;
    end(&store, other, number, InstanceStatus::Completed, 1_000).await;
    let entity = NewInstance {
        id: crate::model::FromStored::from_stored("@counter@a").unwrap(),
        ..of_function("a", "counter")
    };
    let number = started(&store, entity).await;
    end(&store, TENANT, number, InstanceStatus::Completed, 1_000).await;
    assert_eq!(functions(&store, TENANT).await, []);
    let found = functions(&store, other).await;
    assert_eq!(found.len(), 1);
    let of = EndedInstances {
        tenant: TENANT,
        function: found[0].number,
        statuses: &ENDED,
    };
    assert_eq!(store.ended_between(of, None, LAST, 10).await.unwrap(), []);
    // The handle of a tenant does not look at another one, whatever it is asked.
    let of = EndedInstances { tenant: other, ..of };
    assert_eq!(store.ended_between(of, None, LAST, 10).await.unwrap().len(), 1);
    let tenant = store.tenant(TENANT);
    assert_eq!(tenant.ended_between(of, None, LAST, 10).await.unwrap(), []);
    assert_eq!(tenant.count_ended(of, LAST, 10).await.unwrap(), 0);
    assert_eq!(tenant.first_surplus(of, 0).await.unwrap(), None);
}

async fn a_child_is_found_by_its_parent_until_the_parent_is_gone(store: TestStore) {
    let parent = ended(&store, "parent", "Order", InstanceStatus::Completed, 1_000).await;
    let mut children = Vec::new();
    for name in ["c1", "c2", "c3", "c4", "c5"] {
        children.push(started(&store, child_of(parent, name)).await);
    }
    for child in &children[..4] {
        end(&store, TENANT, *child, InstanceStatus::Completed, 2_000).await;
    }
    let grandchild = started(&store, child_of(children[1], "grandchild")).await;
    let below = |parent, after, limit| {
        let store = store.store.clone();
        async move {
            let found = store.descendants(parent, after, limit).await.unwrap();
            let found = found.into_iter();
            let shown = found.map(|child| (child.instance, child.status.has_ended(), child.has_children));
            shown.collect::<Vec<_>>()
        }
    };
    let expected: Vec<_> = children
        .iter()
        .enumerate()
        .map(|(n, child)| (*child, n < 4, n == 1))
        .collect();
    assert_eq!(below(parent, None, 10).await, expected);
    assert_eq!(below(parent, Some(children[1]), 2).await, expected[2..4]);
    assert_eq!(below(children[1], None, 10).await, [(grandchild, false, false)]);
    assert_eq!(below(grandchild, None, 10).await, []);
    let names = async || {
        let mut found = Vec::new();
        for function in functions(&store, TENANT).await {
            found.extend(ids(&store, function.number, &ENDED).await);
        }
        found
    };
    assert_eq!(names().await, ["parent"]);

    store.purge(TENANT, id("parent")).await.unwrap();
    assert_eq!(names().await, [""; 0], "the sweep finds the children");
    // In pieces: two rows for the turn of the parent and its tags, then one for each child.
    let mut found = 0;
    loop {
        let more = store.sweep(NOW, 2).await.unwrap();
        let now = names().await.len();
        assert!(now >= found && now <= found + 2, "{now} after {found}");
        found = now;
        if !more {
            break;
        }
    }
    assert_eq!(names().await, ["c1", "c2", "c3", "c4"]);
    assert_eq!(below(parent, None, 10).await, []);
    // The last child ends, and is found, too. It still has the id of its parent.
    end(&store, TENANT, children[4], InstanceStatus::Failed, 3_000).await;
    assert_eq!(names().await, ["c1", "c2", "c3", "c4", "c5"]);
    let (tenant, filter) = (store.tenant(TENANT), ListFilter::default());
    let page = tenant
        .list_children(&id("parent"), filter, None, 10)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(page.instances.len(), 5);
    store.assert_sound().await;
}

async fn only_ended_instances_of_the_tenant_are_expired(store: TestStore) {
    let first = ended(&store, "first", "Order", InstanceStatus::Completed, 1_000).await;
    let second = ended(&store, "second", "Order", InstanceStatus::Failed, 1_000).await;
    let running = store.running("running").await;
    let all = vec![first, running, InstanceNumber(999), second];
    assert_eq!(store.expire(TenantId(9), all.clone()).await.unwrap(), 0);
    assert_eq!(store.expire(TENANT, all.clone()).await.unwrap(), 2);
    assert_eq!(store.expire(TENANT, all).await.unwrap(), 0);
    assert_eq!(store.rows("instances").await, 1);
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("history").await, 1);
    store.assert_sound().await;
}
