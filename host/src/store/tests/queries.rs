//! Queries of clients.

use super::*;
use crate::store::list::MAX_EXAMINED;

over_every_backend! {
    with_module:
    a_list_shows_the_instances_of_one_tenant_newest_first,
    a_list_is_narrowed_by_every_filter,
    pages_neither_repeat_nor_skip_when_instances_are_created_and_deleted,
    instances_are_counted,
    pages_of_a_history_belong_to_one_execution,
    a_list_with_few_matches_returns_short_pages,
    a_history_comes_in_pages,
}

async fn page(
    store: &TestStore,
    filter: &ListFilter,
    from: Option<&Cursor>,
    limit: u32,
) -> (Vec<String>, Option<Cursor>) {
    let page = store.tenant(TENANT).list(filter, from, limit).await.unwrap();
    (
        page.instances.iter().map(|instance| instance.id.to_string()).collect(),
        page.next,
    )
}

async fn list(store: &TestStore, filter: ListFilter) -> Vec<String> {
    page(store, &filter, None, 100).await.0
}

async fn a_list_shows_the_instances_of_one_tenant_newest_first(store: TestStore) {
    for name in ["a", "b", "c"] {
        store.started(name).await;
    }
    store
        .start(
            NewInstance {
                tenant: TenantId(2),
                ..instance("other")
            },
            None,
        )
        .await
        .unwrap();
    assert_eq!(list(&store, ListFilter::default()).await, ["c", "b", "a"]);
    assert_eq!(store.tenant(TenantId(2)).instance(&id("a")).await.unwrap(), None);
    assert_eq!(store.tenant(TENANT).instance(&id("other")).await.unwrap(), None);
}

async fn a_list_is_narrowed_by_every_filter(store: TestStore) {
    let parent = store.running("parent").await;
    store.ended("order-1").await;
    store
        .start(
            NewInstance {
                created_at: Timestamp(NOW.0 + 9),
                ..instance("order-2")
            },
            None,
        )
        .await
        .unwrap();
    let mut commit = turn(parent, 2, vec![], vec![]);
    commit.children = vec![child_of(parent, "child")];
    store.commit(commit).await.unwrap();
    let any = ListFilter::default;
    use InstanceStatus::{Completed, Failed, Pending, Running};
    let cases = [
        (
            ListFilter {
                statuses: vec![Running, Completed],
                ..any()
            },
            vec!["order-1", "parent"],
        ),
        (
            ListFilter {
                statuses: vec![Failed],
                ..any()
            },
            vec![],
        ),
        (
            ListFilter {
                function: Some("Child".parse().unwrap()),
                ..any()
            },
            vec!["child"],
        ),
        (
            ListFilter {
                function: Some("Nothing".parse().unwrap()),
                ..any()
            },
            vec![],
        ),
        (
            ListFilter {
                id_prefix: Some("order-".into()),
                ..any()
            },
            vec!["order-2", "order-1"],
        ),
        (
            ListFilter {
                id_prefix: Some("%".into()),
                ..any()
            },
            vec![],
        ),
        (
            ListFilter {
                created_from: Some(Timestamp(NOW.0 + 9)),
                ..any()
            },
            vec!["order-2"],
        ),
        (
            ListFilter {
                created_to: Some(Timestamp(NOW.0 + 9)),
                ..any()
            },
            vec!["child", "order-1", "parent"],
        ),
        (
            ListFilter {
                parent: Some(parent),
                ..any()
            },
            vec!["child"],
        ),
        (
            ListFilter {
                parent: Some(parent),
                statuses: vec![Pending],
                ..any()
            },
            vec!["child"],
        ),
        (
            ListFilter {
                parent: Some(parent),
                id_prefix: Some("x".into()),
                ..any()
            },
            vec![],
        ),
    ];
    for (filter, expected) in cases {
        assert_eq!(list(&store, filter.clone()).await, expected, "{filter:?}");
    }
    let child = store.details("child").await.unwrap();
    assert_eq!(child.summary.parent_id, Some(id("parent")));
}

async fn pages_neither_repeat_nor_skip_when_instances_are_created_and_deleted(store: TestStore) {
    for n in 0..7 {
        store.ended(&format!("i{n}")).await;
    }
    let all = ListFilter::default();
    let (first, next) = page(&store, &all, None, 3).await;
    assert_eq!(first, ["i6", "i5", "i4"]);
    store.started("new").await;
    store.purge(TENANT, id("i4")).await.unwrap();
    store.purge(TENANT, id("i3")).await.unwrap();
    let cursor = next.unwrap();
    let (second, next) = page(&store, &all, Some(&cursor), 3).await;
    assert_eq!((second, next), (vec!["i2".into(), "i1".into(), "i0".into()], None));
    let (_, next) = page(&store, &all, None, 6).await;
    assert_eq!(next, None, "a full page without successor has no cursor");
}

async fn instances_are_counted(store: TestStore) {
    store.started("a").await;
    store.started("b").await;
    store.ended("c").await;
    let held = async |tenant| {
        let holdings = store.tenant(tenant).holdings().await.unwrap();
        (holdings.instances, holdings.live_instances)
    };
    assert_eq!(held(TENANT).await, (3, 2));
    assert_eq!(held(TenantId(2)).await, (0, 0));
}

async fn found_history(store: &TestStore, name: &str, from: HistoryFrom, limit: u32) -> FoundHistory {
    let filter = HistoryFilter { from, limit };
    let found = store.tenant(TENANT).instance_with_history(&id(name), &filter).await;
    found.unwrap().expect("the instance exists").1
}

pub(in crate::store) async fn history_page(
    store: &TestStore,
    name: &str,
    from: HistoryFrom,
    limit: u32,
) -> HistoryPage {
    match found_history(store, name, from, limit).await {
        FoundHistory::Page(page) => page,
        FoundHistory::Over => panic!("the cursor belongs to an old execution"),
    }
}

async fn pages_of_a_history_belong_to_one_execution(store: TestStore) {
    let number = store.running("a").await;
    for n in 2..=4 {
        store.commit(turn(number, n, vec![], vec![])).await.unwrap();
    }
    let first = history_page(&store, "a", HistoryFrom::Turn(TurnNumber::NONE), 2).await;
    let cursor = first.next.unwrap();
    // Turns that are added between two pages come at the end.
    store.commit(turn(number, 5, vec![], vec![])).await.unwrap();
    let second = history_page(&store, "a", HistoryFrom::Cursor(cursor), 10).await;
    let turns: Vec<_> = second.turns.iter().map(|turn| turn.number.0).collect();
    assert_eq!((turns, second.next), (vec![3, 4, 5], None));

    let mut commit = turn(number, 6, vec![], vec![]);
    commit.next_execution = Some(Started {
        execution: ExecutionNumber(2),
        ..started("Order", None)
    });
    commit.summary.execution = ExecutionNumber(2);
    commit.summary.last_turn = TurnNumber::NONE;
    store.commit(commit).await.unwrap();
    let found = found_history(&store, "a", HistoryFrom::Cursor(cursor), 10).await;
    assert_eq!(found, FoundHistory::Over, "the instance continued as new");

    store.ended("b").await;
    let first = history_page(&store, "b", HistoryFrom::Turn(TurnNumber::NONE), 1).await;
    let cursor = first.next.unwrap();
    store.purge(TENANT, id("b")).await.unwrap();
    store.ended("b").await;
    let found = found_history(&store, "b", HistoryFrom::Cursor(cursor), 10).await;
    assert_eq!(found, FoundHistory::Over, "another instance has the id");
}

async fn a_list_with_few_matches_returns_short_pages(store: TestStore) {
    let count = MAX_EXAMINED as usize + 2_000;
    store.ended("ended").await;
    for start in (0..count).step_by(1_000) {
        let names: Vec<_> = (start..start + 1_000).map(|n| format!("i{n}")).collect();
        futures::future::join_all(names.iter().map(|name| store.start(instance(name), None))).await;
    }
    let filter = ListFilter {
        statuses: vec![InstanceStatus::Completed],
        ..ListFilter::default()
    };
    let (first, next) = page(&store, &filter, None, 10).await;
    assert_eq!(
        first,
        Vec::<String>::new(),
        "the match is beyond the limit of this page"
    );
    let next = next.expect("not all instances were examined");
    assert_eq!(
        page(&store, &filter, Some(&next), 10).await,
        (vec!["ended".into()], None)
    );
    // The page has what was found before its limit, and nothing appears twice.
    let filter = ListFilter {
        id_prefix: Some("i119".into()),
        ..ListFilter::default()
    };
    let (mut found, mut from, mut pages) = (Vec::new(), None, 0);
    loop {
        let (names, next) = page(&store, &filter, from.as_ref(), 100).await;
        (found, pages, from) = ([found, names].concat(), pages + 1, next);
        if from.is_none() {
            break;
        }
    }
    found.sort_unstable();
    found.dedup();
    assert_eq!((found.len(), pages), (111, 2));
}

async fn a_history_comes_in_pages(store: TestStore) {
    let number = store.running("a").await;
    for n in 2..=5 {
        store.commit(turn(number, n, vec![], vec![])).await.unwrap();
    }
    let read = async |after, limit| {
        let page = history_page(&store, "a", HistoryFrom::Turn(TurnNumber(after)), limit).await;
        let turns: Vec<_> = page.turns.iter().map(|turn| turn.number.0).collect();
        (turns, page.next.is_some())
    };
    assert_eq!(read(0, 3).await, (vec![1, 2, 3], true));
    assert_eq!(read(3, 3).await, (vec![4, 5], false));
    assert_eq!(read(5, 3).await, (vec![], false));
    assert_eq!(read(0, 5).await, (vec![1, 2, 3, 4, 5], false));
    let whole = HistoryFilter {
        from: HistoryFrom::Turn(TurnNumber::NONE),
        limit: 3,
    };
    let nobody = store.tenant(TENANT).instance_with_history(&id("nobody"), &whole).await;
    assert_eq!(nobody.unwrap(), None);
}
