//! What people ask about.

use super::*;
use crate::store::list::{self as lists, MAX_EXAMINED};

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

#[tokio::test]
async fn a_list_shows_the_newest_first_and_one_tenant_only() {
    let store = TestStore::new().await;
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

#[tokio::test]
async fn a_list_is_narrowed_by_every_filter() {
    let store = TestStore::new().await;
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

#[tokio::test]
async fn pages_neither_repeat_nor_skip_when_instances_come_and_go() {
    let store = TestStore::new().await;
    for n in 0..7 {
        store.ended(&format!("i{n}")).await;
    }
    let all = ListFilter::default();
    let (first, next) = page(&store, &all, None, 3).await;
    assert_eq!(first, ["i6", "i5", "i4"]);
    store.started("new").await;
    store.purge(TENANT, id("i4")).await.unwrap();
    store.purge(TENANT, id("i3")).await.unwrap();
    let cursor: Cursor = next.unwrap().to_string().parse().unwrap();
    let (second, next) = page(&store, &all, Some(&cursor), 3).await;
    assert_eq!((second, next), (vec!["i2".into(), "i1".into(), "i0".into()], None));
    let (_, next) = page(&store, &all, None, 6).await;
    assert_eq!(next, None, "a page that is just full is the last one");
}

#[tokio::test]
async fn states_are_counted() {
    let store = TestStore::new().await;
    store.started("a").await;
    store.started("b").await;
    store.ended("c").await;
    let counts = store.tenant(TENANT).counts().await.unwrap();
    assert_eq!(counts, [(InstanceStatus::Pending, 2), (InstanceStatus::Completed, 1)]);
    assert_eq!(store.tenant(TenantId(2)).counts().await.unwrap(), []);
}

async fn found_history(store: &TestStore, name: &str, from: HistoryFrom, limit: u32) -> FoundHistory {
    let filter = HistoryFilter { from, limit };
    let found = store.tenant(TENANT).instance_with_history(&id(name), &filter).await;
    found.unwrap().expect("the instance exists").1
}

pub(super) async fn history_page(store: &TestStore, name: &str, from: HistoryFrom, limit: u32) -> HistoryPage {
    match found_history(store, name, from, limit).await {
        FoundHistory::Page(page) => page,
        FoundHistory::Over => panic!("the execution is over"),
    }
}

#[tokio::test]
async fn pages_of_a_history_are_of_one_execution() {
    let store = TestStore::new().await;
    let number = store.running("a").await;
    for n in 2..=4 {
        store.commit(turn(number, n, vec![], vec![])).await.unwrap();
    }
    let first = history_page(&store, "a", HistoryFrom::Turn(TurnNumber::NONE), 2).await;
    let cursor: HistoryCursor = first.next.unwrap().to_string().parse().unwrap();
    // Turns that are added meanwhile come at the end.
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
    assert_eq!(found, FoundHistory::Over, "it continued as new");

    store.ended("b").await;
    let first = history_page(&store, "b", HistoryFrom::Turn(TurnNumber::NONE), 1).await;
    let cursor = first.next.unwrap();
    store.purge(TENANT, id("b")).await.unwrap();
    store.ended("b").await;
    let found = found_history(&store, "b", HistoryFrom::Cursor(cursor), 10).await;
    assert_eq!(found, FoundHistory::Over, "another instance has the id");
}

#[tokio::test]
async fn a_list_that_finds_little_answers_with_short_pages() {
    let store = TestStore::new().await;
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
    assert_eq!(first, Vec::<String>::new(), "it is too far away for this page");
    let next = next.expect("not everything was looked at");
    assert_eq!(
        page(&store, &filter, Some(&next), 10).await,
        (vec!["ended".into()], None)
    );
    // What is found before is on the page, and nothing comes twice.
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

#[tokio::test]
async fn a_query_that_takes_too_long_is_interrupted_and_the_next_one_is_answered() {
    let store = TestStore::empty(|options| options.query_time = Duration::ZERO).await;
    store
        .put_module(put_module("orders", 1, &["Order", "Child"]))
        .await
        .unwrap();
    let names: Vec<_> = (0..2_000).map(|n| format!("i{n}")).collect();
    futures::future::join_all(names.iter().map(|name| store.start(instance(name), None))).await;
    let tenant = store.tenant(TENANT);
    for _ in 0..10 {
        assert!(matches!(tenant.counts().await, Err(Error::QueryTimedOut)));
        // Too short for a look at the clock.
        assert!(tenant.instance(&id("i1")).await.unwrap().is_some());
    }
    assert!(
        store.load(InstanceNumber(1)).await.is_ok(),
        "the engine's queries have no such limit"
    );
}

#[tokio::test]
async fn a_history_comes_in_pages() {
    let store = TestStore::new().await;
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

#[tokio::test]
async fn a_damaged_or_missing_turn_is_named() {
    let store = TestStore::new().await;
    let number = store.running("a").await;
    for n in 2..=4 {
        store.commit(turn(number, n, vec![], vec![])).await.unwrap();
    }
    let read = async || match store
        .history(number, ExecutionNumber::FIRST, TurnNumber::NONE, 10)
        .await
    {
        Err(Error::Damaged(what)) => what,
        other => panic!("not damaged: {other:?}"),
    };
    store.damage("UPDATE history SET body = x'7f00' WHERE turn = 3").await;
    let what = read().await;
    assert!(
        what.starts_with(&format!("turn 3 of execution 1 of instance {number}: ")),
        "{what}"
    );
    store.damage("DELETE FROM history WHERE turn = 2").await;
    let what = read().await;
    assert!(what.ends_with("turn 2 should come before it"), "{what}");
    let other = store.running("b").await;
    assert!(
        store
            .history(other, ExecutionNumber::FIRST, TurnNumber::NONE, 10)
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn frequent_queries_are_answered_from_an_index() {
    let store = TestStore::new().await;
    let everything = ListFilter {
        statuses: vec![InstanceStatus::Failed],
        function: Some("Order".parse().unwrap()),
        id_prefix: Some("a".into()),
        created_from: Some(NOW),
        created_to: Some(NOW),
        parent: None,
        orphans_of: None,
    };
    let of_parent = ListFilter {
        parent: Some(InstanceNumber(1)),
        ..everything.clone()
    };
    let list = |filter: &ListFilter, from| lists::query(TENANT, filter, from, None, 10).into_string();
    let above = |filter: &ListFilter, from| {
        let floor = Some(InstanceNumber(3));
        lists::query(TENANT, filter, from, floor, 10).into_string()
    };
    let floor = |filter: &ListFilter, from| lists::floor_query(TENANT, filter, from).into_string();
    let cursor = Cursor::below(InstanceNumber(9));
    let lists = [
        (
            list(&ListFilter::default(), None),
            "instances_by_tenant (partition=? AND tenant=?)",
        ),
        (
            list(&ListFilter::default(), Some(&cursor)),
            "instances_by_tenant (partition=? AND tenant=? AND instance<?)",
        ),
        (
            list(&everything, Some(&cursor)),
            "instances_by_tenant (partition=? AND tenant=? AND instance<?)",
        ),
        (list(&of_parent, None), "instances_by_parent (partition=? AND parent=?)"),
        (
            list(&of_parent, Some(&cursor)),
            "instances_by_parent (partition=? AND parent=? AND instance<?)",
        ),
        (
            above(&everything, Some(&cursor)),
            "instances_by_tenant (partition=? AND tenant=? AND instance>? AND instance<?)",
        ),
        (
            floor(&everything, Some(&cursor)),
            "COVERING INDEX instances_by_tenant (partition=? AND tenant=? AND instance<?)",
        ),
        (
            floor(&of_parent, Some(&cursor)),
            "COVERING INDEX instances_by_parent (partition=? AND parent=? AND instance<?)",
        ),
    ];
    let others = [
        (
            "SELECT * FROM instances AS i WHERE i.partition = 0 AND i.tenant = 1 AND i.id = 'a'",
            "instances_by_id",
        ),
        (
            "SELECT wake_at_ms, instance FROM instances WHERE partition = 0 AND wake_at_ms <= 9
             ORDER BY wake_at_ms, instance LIMIT 9",
            "COVERING INDEX instances_by_wake",
        ),
        (
            "SELECT min(wake_at_ms) FROM instances WHERE partition = 0 AND wake_at_ms > 9",
            "instances_by_wake",
        ),
        (
            "SELECT key FROM idempotency_keys WHERE expires_at_ms < 9 ORDER BY expires_at_ms",
            "idempotency_keys_by_expiry",
        ),
    ];
    let others = others.map(|(statement, index)| (statement.to_owned(), index));
    for (statement, index) in lists.into_iter().chain(others) {
        let plan = plan(&store, &statement).await;
        assert!(plan.contains(index), "{statement}: {plan}");
        assert!(
            !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
            "{statement}: {plan}"
        );
    }
}

#[tokio::test]
async fn statements_over_rows_look_each_row_up() {
    use crate::store::{attempts, garbage, idempotency, inbox, instances};
    let store = TestStore::new().await;
    let statements = [
        &instances::CHANGE,
        &instances::DELETE,
        &instances::HEADS_BY_NUMBER,
        &instances::HEADS_BY_ID,
        &inbox::CONSUME,
        &attempts::MEASURE,
        &attempts::DELETE,
        &attempts::FORGET_TO_PRUNE,
        &garbage::NOTE,
        &idempotency::FIND,
    ];
    for (statement, size) in statements
        .into_iter()
        .flat_map(|statement| (0..4).map(move |size| (statement, size)))
    {
        let plan = plan(&store, statement.text(size)).await;
        let tables = [
            "instances",
            "inbox",
            "garbage",
            "idempotency_keys",
            "attempts",
            "attempts_to_prune",
            "a",
            "i",
            "k",
        ];
        let searches = tables.iter().any(|table| plan.contains(&format!("SEARCH {table} ")));
        let scans = tables
            .iter()
            .any(|table| plan.split("; ").any(|line| line.starts_with(&format!("SCAN {table}"))));
        assert!(searches && !scans, "{plan}");
    }
}

async fn plan(store: &TestStore, statement: &str) -> String {
    let text = format!("EXPLAIN QUERY PLAN {statement}");
    let rows = sqlx::query(sqlx::AssertSqlSafe(text))
        .fetch_all(store.store.readers.sqlite())
        .await
        .unwrap();
    let lines: Vec<String> = rows.iter().map(|row| sqlx::Row::get(row, 3)).collect();
    lines.join("; ")
}

#[tokio::test]
async fn a_list_of_a_hundred_thousand_is_paged_from_end_to_end() {
    let store = TestStore::new().await;
    let count = 100_000_usize;
    for start in (0..count).step_by(10_000) {
        let names: Vec<_> = (start..start + 10_000).map(|n| format!("i{n}")).collect();
        futures::future::join_all(names.iter().map(|name| store.start(instance(name), None))).await;
    }
    let (mut seen, mut from) = (0, None);
    loop {
        let page = store
            .tenant(TENANT)
            .list(&ListFilter::default(), from.as_ref(), 5_000)
            .await
            .unwrap();
        assert!(page.instances.is_sorted_by(|a, b| a.number > b.number));
        seen += page.instances.len();
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert_eq!(seen, count);
}
