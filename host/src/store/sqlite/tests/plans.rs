//! Query plans: SQLite looks rows up in an index.

use super::*;
use crate::store::garbage::Garbage;
use crate::store::sqlite::{
    attempts, completions, events, garbage, heartbeats, idempotency, inbox, instances, list, retention, schedules,
    sizes, takeover,
};

#[tokio::test]
async fn frequent_queries_are_answered_from_an_index() {
    let store = TestStore::new().await;
    let everything = ListFilter {
        statuses: vec![InstanceStatus::Failed],
        function: Some("Order".parse().unwrap()),
        id_prefix: Some("a".into()),
        created_from: Some(NOW),
        created_to: Some(NOW),
        updated_from: Some(NOW),
        updated_to: Some(NOW),
        tags: Vec::new(),
        parent: None,
        orphans_of: None,
    };
    let of_parent = ListFilter {
        parent: Some(InstanceNumber(1)),
        ..everything.clone()
    };
    let tagged = ListFilter {
        tags: vec!["a:1".parse().unwrap(), "b:2".parse().unwrap()],
        ..everything.clone()
    };
    let children_tagged = ListFilter {
        parent: Some(InstanceNumber(1)),
        ..tagged.clone()
    };
    let from = |filter: &ListFilter, from| list::query(TENANT, filter, from, None, 10).into_string();
    let above = |filter: &ListFilter, from| {
        let floor = Some(InstanceNumber(3));
        list::query(TENANT, filter, from, floor, 10).into_string()
    };
    let floor = |filter: &ListFilter, from| list::floor_query(TENANT, filter, from).into_string();
    let cursor = Cursor::below(InstanceNumber(9));
    let lists = [
        (
            from(&ListFilter::default(), None),
            "instances_by_tenant (partition=? AND tenant=?)",
        ),
        (
            from(&ListFilter::default(), Some(&cursor)),
            "instances_by_tenant (partition=? AND tenant=? AND rowid<?)",
        ),
        (
            from(&everything, Some(&cursor)),
            "instances_by_tenant (partition=? AND tenant=? AND rowid<?)",
        ),
        (from(&of_parent, None), "instances_by_parent (partition=? AND parent=?)"),
        (
            from(&of_parent, Some(&cursor)),
            "instances_by_parent (partition=? AND parent=? AND rowid<?)",
        ),
        (
            above(&everything, Some(&cursor)),
            "instances_by_tenant (partition=? AND tenant=? AND rowid>? AND rowid<?)",
        ),
        (
            floor(&everything, Some(&cursor)),
            "COVERING INDEX instances_by_tenant (partition=? AND tenant=? AND rowid<?)",
        ),
        (
            floor(&of_parent, Some(&cursor)),
            "COVERING INDEX instances_by_parent (partition=? AND parent=? AND rowid<?)",
        ),
        (
            from(&tagged, None),
            "COVERING INDEX tags_by_value (partition=? AND tenant=? AND key=? AND value=?)",
        ),
        (
            above(&tagged, Some(&cursor)),
            "COVERING INDEX tags_by_value (partition=? AND tenant=? AND key=? AND value=? AND instance>? AND instance<?)",
        ),
        (
            floor(&tagged, Some(&cursor)),
            "COVERING INDEX tags_by_value (partition=? AND tenant=? AND key=? AND value=? AND instance<?)",
        ),
        (
            from(&children_tagged, None),
            "instances_by_parent (partition=? AND parent=?)",
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
        let plan = store.plan(&statement).await;
        assert!(plan.contains(index), "{statement}: {plan}");
        assert!(
            !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
            "{statement}: {plan}"
        );
    }
}

#[tokio::test]
async fn an_instance_is_read_without_sorting_its_rows() {
    let store = TestStore::new().await;
    let mut reads = 0;
    for statement in takeover::STATEMENTS.split(';') {
        let plan = store.plan(statement).await;
        assert!(
            !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
            "{statement}: {plan}"
        );
        reads += usize::from(plan.contains("inbox"));
    }
    assert_eq!(reads, 3, "control messages come first, and delayed ones last");
}

#[tokio::test]
async fn row_statements_look_up_each_row() {
    let store = TestStore::new().await;
    let statements = [
        &instances::CHANGE,
        &instances::REVIVE,
        &sizes::SET,
        &events::TAKE,
        &idempotency::ANSWER,
        &instances::DELETE,
        &instances::HEADS_BY_NUMBER,
        &instances::HEADS_BY_ID,
        &inbox::CONSUME,
        &inbox::COUNT,
        &attempts::MEASURE,
        &attempts::DELETE,
        &heartbeats::MEASURE,
        &completions::FIND,
        &attempts::FORGET_TO_PRUNE,
        &garbage::NOTE,
        &idempotency::FIND,
    ];
    for (statement, size) in statements
        .into_iter()
        .flat_map(|statement| (0..4).map(move |size| (statement, size)))
    {
        let plan = store.plan(statement.text(size)).await;
        let tables = [
            "instances",
            "inbox",
            "garbage",
            "idempotency_keys",
            "attempts",
            "attempts_to_prune",
            "a",
            "e",
            "h",
            "c",
            "i",
            "k",
        ];
        let searches = tables.iter().any(|table| plan.contains(&format!("SEARCH {table} ")));
        let scans = tables
            .iter()
            .any(|table| plan.split("; ").any(|line| line.starts_with(&format!("SCAN {table}"))));
        assert!(searches && !scans && !plan.contains("(partition=?)"), "{plan}");
    }
    // SQLite would not use the name if the instance came before it in a list of columns.
    for size in 0..4 {
        let plan = store.plan(events::TAKE.text(size)).await;
        assert!(plan.contains("name=? AND seq=?"), "{plan}");
    }
}

#[tokio::test]
async fn each_piece_of_garbage_is_found_by_an_index() {
    let store = TestStore::new().await;
    for (table, ..) in garbage::pieces(Garbage::Instance(InstanceNumber(1))) {
        for statement in [table.measure, table.delete] {
            let plan = store.plan(statement).await;
            assert!(
                !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
                "{statement}: {plan}"
            );
            assert!(!plan.contains("(partition=?)"), "{statement}: {plan}");
        }
        // The rows are deleted by their whole key.
        let plan = store.plan(table.delete).await;
        let by_key = ["(rowid=?)", "key=?)", "task=?)"].map(|key| plan.split("; ").next().unwrap().contains(key));
        assert!(by_key.contains(&true), "{plan}");
    }
}

#[tokio::test]
async fn no_search_reads_long_rows_that_it_passes() {
    /// Tables whose searches compare whole rows. Their rows are short, or no commit searches them.
    const SHORT: [&str; 13] = [
        "api_keys",
        "attempts_to_prune",
        "completions",
        "counters",
        "functions",
        "garbage",
        "host_keys",
        "module_names",
        "retention_rules",
        "schedules",
        "settings",
        "tags",
        "usage",
    ];
    let store = TestStore::new().await;
    let text = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND wr ORDER BY name";
    let tables: Vec<String> = sqlx::query_scalar(text).fetch_all(store.pool()).await.unwrap();
    assert_eq!(tables, SHORT);
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

#[tokio::test]
async fn due_schedules_are_found_by_an_index_of_their_tenant() {
    let store = TestStore::new().await;
    for (query, expected) in [
        (
            schedules::DUE,
            "schedules_by_time (partition=? AND tenant=? AND next_at_ms<?)",
        ),
        (
            schedules::FIRST_DUE_OF,
            "schedules_by_time (partition=? AND tenant=? AND next_at_ms>?)",
        ),
    ] {
        let plan = store.plan(query).await;
        assert!(plan.contains(expected) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}

#[tokio::test]
async fn expired_instances_are_found_by_an_index_without_sorting() {
    use InstanceStatus::{Canceled, Completed, Failed, Terminated};
    let store = TestStore::new().await;
    let all = [Completed, Failed, Terminated, Canceled];
    let of_status = "instances_to_expire (partition=? AND tenant=? AND function=? AND <expr>=?";
    for statuses in [&all[..], &all[1..2]] {
        let range = |range: &str| format!("COVERING INDEX {of_status} AND {range})");
        let queries = [
            (
                retention::first_surplus_query(statuses),
                format!("COVERING INDEX {of_status})"),
            ),
            (
                retention::between_query(statuses),
                range("updated_at_ms>? AND updated_at_ms<?"),
            ),
            (retention::count_query(statuses), range("updated_at_ms<?")),
        ];
        for (query, expected) in queries {
            let plan = store.plan(&query).await;
            assert_eq!(plan.matches(&expected).count(), statuses.len(), "{query}: {plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{query}: {plan}");
            assert!(!plan.contains("SCAN instances"), "{query}: {plan}");
        }
    }
    let others = [
        (
            retention::next_function_query(),
            "COVERING INDEX instances_to_expire (partition=? AND tenant=? AND function>?)",
        ),
        (
            retention::descendants_query(),
            "instances_by_parent (partition=? AND parent=? AND rowid>?)",
        ),
    ];
    for (query, expected) in others {
        let plan = store.plan(&query).await;
        assert!(plan.contains(expected) && !plan.contains("TEMP B-TREE"), "{plan}");
    }
}
