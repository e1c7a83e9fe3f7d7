//! Tags of instances.

use super::*;
use crate::model::Tag;

over_every_backend! {
    with_module:
    tags_are_shown_and_found_until_the_purge,
    a_list_by_tags_is_paged_newest_first_and_sees_one_tenant,
    tags_are_counted_until_the_purge_and_survive_continue_as_new_and_a_crash,
    a_new_instance_under_the_id_has_only_its_own_tags,
    a_refused_creation_stores_no_tags,
}

fn tags(texts: &[&str]) -> Tags {
    Tags::new(texts.iter().map(|text| text.parse().unwrap())).unwrap()
}

async fn start_with(store: &TestStore, instance: NewInstance, texts: &[&str]) -> TurnReceipt {
    let number = store.new_number(instance.tenant, &instance.id);
    let creation = Creation {
        instance,
        key: None,
        tags: tags(texts),
    };
    store.commit(TurnCommit::of_creation(number, creation)).await.unwrap()
}

fn with(texts: &[&str]) -> ListFilter {
    let tags = texts.iter().map(|text| text.parse::<Tag>().unwrap());
    ListFilter {
        tags: tags.collect(),
        ..ListFilter::default()
    }
}

async fn found(store: &TestStore, filter: ListFilter) -> Vec<String> {
    let page = store.tenant(TENANT).list(&filter, None, 100).await.unwrap();
    assert_eq!(page.next, None);
    page.instances.iter().map(|instance| instance.id.to_string()).collect()
}

async fn tags_are_shown_and_found_until_the_purge(store: TestStore) {
    start_with(&store, instance("a"), &["customer:ada", "quote:\"é\\", "empty:"]).await;
    start_with(&store, instance("b"), &["customer:ada"]).await;
    start_with(&store, instance("c"), &["customer:Ada"]).await;
    store.started("none").await;
    let shown = store.details("a").await.unwrap().summary.tags;
    assert_eq!(shown, tags(&["customer:ada", "quote:\"é\\", "empty:"]));
    let summary = store.tenant(TENANT).summary(&id("a")).await.unwrap().unwrap();
    assert_eq!(summary.tags, shown);
    assert!(store.details("none").await.unwrap().summary.tags.is_empty());

    assert_eq!(found(&store, with(&["customer:ada"])).await, ["b", "a"]);
    assert_eq!(found(&store, with(&["customer:ada", "quote:\"é\\"])).await, ["a"]);
    assert_eq!(found(&store, with(&["quote:\"é\\", "customer:ada"])).await, ["a"]);
    assert_eq!(found(&store, with(&["empty:"])).await, ["a"]);
    for none in [&["customer:ad"][..], &["customer:"], &["customer:ada", "customer:Ada"]] {
        assert_eq!(found(&store, with(none)).await, Vec::<String>::new(), "{none:?}");
    }
    let of_status = ListFilter {
        statuses: vec![InstanceStatus::Completed],
        ..with(&["customer:ada"])
    };
    assert_eq!(found(&store, of_status.clone()).await, Vec::<String>::new());

    let number = store.tenant(TENANT).number(&id("a")).await.unwrap().unwrap();
    store
        .commit(first_turn(number, store.inbox(number).await))
        .await
        .unwrap();
    store.commit(last_turn(number, 2)).await.unwrap();
    assert_eq!(found(&store, of_status).await, ["a"]);
    store.purge(TENANT, id("a")).await.unwrap();
    // Even before the sweep.
    assert_eq!(found(&store, with(&["customer:ada"])).await, ["b"]);
    assert_eq!(store.rows("tags").await, 5);
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("tags").await, 2);
    store.assert_sound().await;
}

async fn a_list_by_tags_is_paged_newest_first_and_sees_one_tenant(store: TestStore) {
    for n in 0..5 {
        start_with(&store, instance(&format!("a{n}")), &["kind:x", "all:"]).await;
        start_with(&store, instance(&format!("b{n}")), &["all:"]).await;
    }
    let other = NewInstance {
        tenant: TenantId(2),
        ..instance("other")
    };
    start_with(&store, other, &["kind:x"]).await;
    let (mut cursor, mut pages) = (None, Vec::new());
    loop {
        let filter = with(&["all:", "kind:x"]);
        let page = store.tenant(TENANT).list(&filter, cursor.as_ref(), 2).await.unwrap();
        pages.push(page.instances.iter().map(|one| one.id.to_string()).collect::<Vec<_>>());
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    assert_eq!(pages, [vec!["a4", "a3"], vec!["a2", "a1"], vec!["a0"]]);
    // Of the children of an instance, too.
    let parent = store.tenant(TENANT).number(&id("a0")).await.unwrap().unwrap();
    let mut commit = first_turn(parent, store.inbox(parent).await);
    commit.children = vec![child_of(parent, "child")];
    store.commit(commit).await.unwrap();
    let tenant = store.tenant(TENANT);
    let children = tenant.list_children(&id("a0"), with(&["kind:x"]), None, 10).await;
    assert_eq!(children.unwrap().unwrap().instances, []);
}

async fn tags_are_counted_until_the_purge_and_survive_continue_as_new_and_a_crash(store: TestStore) {
    let empty = store.stored_bytes(TENANT);
    start_with(&store, instance("plain"), &[]).await;
    let plain = store.stored_bytes(TENANT) - empty;
    start_with(&store, instance("tagged"), &["key:value", "é:"]).await;
    let counted = store.stored_bytes(TENANT) - empty - 2 * plain;
    // Both ids have about the same length.
    assert_eq!(counted, 8 + 2 + 2 * 32);
    let store = store.crash().await;
    assert_eq!(store.stored_bytes(TENANT), empty + 2 * plain + counted);

    let number = store.tenant(TENANT).number(&id("tagged")).await.unwrap().unwrap();
    let again = Decision::ContinueAsNew {
        input: payload("1"),
        events: vec![],
    };
    let mut commit = turn(number, 1, vec![], vec![again]);
    consume(&mut commit, &store.inbox(number).await);
    commit.next_execution = Some(Started {
        execution: ExecutionNumber(2),
        ..started("Order", None)
    });
    (commit.summary.execution, commit.summary.last_turn) = (ExecutionNumber(2), TurnNumber::NONE);
    store.commit(commit).await.unwrap();
    store.sweep_all(NOW).await;
    assert_eq!(store.stored_bytes(TENANT), empty + 2 * plain + counted);
    assert_eq!(found(&store, with(&["key:value"])).await, ["tagged"]);
    store.assert_sound().await;

    let mut end = last_turn(number, 1);
    (end.execution, end.summary.execution) = (ExecutionNumber(2), ExecutionNumber(2));
    store.commit(end).await.unwrap();
    store.purge(TENANT, id("tagged")).await.unwrap();
    assert_eq!(store.stored_bytes(TENANT), empty + plain);
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("tags").await, 0);
    store.assert_sound().await;
}

async fn a_new_instance_under_the_id_has_only_its_own_tags(store: TestStore) {
    let first = store.running("a").await;
    store.commit(last_turn(first, 2)).await.unwrap();
    for texts in [&["old:1", "both:1"][..], &["new:2", "both:2"]] {
        start_with(&store, instance("a"), texts).await;
        assert_eq!(store.details("a").await.unwrap().summary.tags, tags(texts));
        let number = store.tenant(TENANT).number(&id("a")).await.unwrap().unwrap();
        store
            .commit(first_turn(number, store.inbox(number).await))
            .await
            .unwrap();
        store.commit(last_turn(number, 2)).await.unwrap();
    }
    assert_eq!(found(&store, with(&["old:1"])).await, Vec::<String>::new());
    assert_eq!(found(&store, with(&["both:1"])).await, Vec::<String>::new());
    assert_eq!(found(&store, with(&["both:2"])).await, ["a"]);
    store.sweep_all(NOW).await;
    assert_eq!(store.rows("tags").await, 2);
    store.assert_sound().await;
}

async fn a_refused_creation_stores_no_tags(store: TestStore) {
    store.running("a").await;
    let refused = start_with(&store, instance("a"), &["key:value"]).await;
    assert!(refused.refused.is_some());
    assert_eq!(store.rows("tags").await, 0);
    store.assert_sound().await;
}
