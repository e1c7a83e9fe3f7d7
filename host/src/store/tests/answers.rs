//! Answers to clients: bounded in bytes, with at least one item, and complete over all pages.

use super::*;
use crate::model::LogLevel;

over_every_backend! {
    with_module:
    a_list_of_large_statuses_comes_in_pages,
    a_history_of_large_turns_comes_in_pages,
    a_log_of_long_lines_comes_in_pages,
    modules_with_large_descriptions_come_in_pages,
    the_input_is_found_in_a_large_first_turn,
    the_outcome_is_found_in_a_large_last_turn,
    usage_comes_in_pages_with_the_total_of_all,
}

/// Most items of one page are shorter than this, in bytes.
const ITEM_BYTES: usize = 1 << 20;

/// A payload of about that many bytes.
fn large(bytes: usize) -> Payload {
    payload(&format!("\"{}\"", "x".repeat(bytes)))
}

async fn a_list_of_large_statuses_comes_in_pages(store: TestStore) {
    for n in 0..11 {
        let number = store.running(&format!("i{n}")).await;
        let mut commit = turn(number, 2, vec![], vec![]);
        // One of them is larger than a page.
        let bytes = if n == 5 { ANSWER_BYTES * 2 } else { ITEM_BYTES };
        commit.summary.custom_status = Some(Some(large(bytes)));
        store.commit(commit).await.unwrap();
    }
    for filter in [
        ListFilter::default(),
        ListFilter {
            id_prefix: Some("i".into()),
            ..ListFilter::default()
        },
    ] {
        let (mut found, mut sizes, mut from) = (Vec::new(), Vec::new(), None);
        loop {
            let page = store.tenant(TENANT).list(&filter, from.as_ref(), 100).await.unwrap();
            sizes.push(page.instances.len());
            found.extend(page.instances.into_iter().map(|instance| instance.id.to_string()));
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(found, (0..11).rev().map(|n| format!("i{n}")).collect::<Vec<_>>());
        assert_eq!(sizes, [4, 2, 4, 1], "{filter:?}");
    }
}

async fn a_history_of_large_turns_comes_in_pages(store: TestStore) {
    let number = store.running("a").await;
    for n in 2..=7 {
        let arrival = task_ended(n, Ok(large(ITEM_BYTES)));
        store.commit(turn(number, n, vec![arrival], vec![])).await.unwrap();
    }
    let (mut sizes, mut from) = (Vec::new(), HistoryFrom::Turn(TurnNumber::NONE));
    loop {
        let page = queries::history_page(&store, "a", from, 100).await;
        sizes.push(page.turns.len());
        match page.next {
            Some(next) => from = HistoryFrom::Cursor(next),
            None => break,
        }
    }
    assert_eq!(sizes, [5, 2]);
    let whole = store
        .history(number, ExecutionNumber::FIRST, TurnNumber::NONE, 100)
        .await;
    assert_eq!(whole.unwrap().len(), 7, "a replay reads larger pages");
}

async fn a_log_of_long_lines_comes_in_pages(store: TestStore) {
    let number = store.running("a").await;
    let mut commit = turn(number, 2, vec![], vec![]);
    // A control character is six bytes long in JSON.
    let line = |n: usize| LogLine {
        at: NOW,
        execution: ExecutionNumber::FIRST,
        task: None,
        attempt: None,
        level: LogLevel::Info,
        message: format!("{n}{}", "\u{1}".repeat(ITEM_BYTES / 6)),
    };
    commit.logs = (0..6).map(line).collect();
    store.commit(commit).await.unwrap();
    let (mut sizes, mut after) = (Vec::new(), None);
    loop {
        let filter = LogFilter {
            at_least: LogLevel::Trace,
            after,
            limit: 100,
        };
        let lines = store.tenant(TENANT).logs(&id("a"), &filter).await.unwrap().unwrap();
        let Some(last) = lines.last() else { break };
        after = Some(last.seq);
        sizes.push(lines.len());
    }
    assert_eq!(sizes, [4, 2]);
}

async fn modules_with_large_descriptions_come_in_pages(store: TestStore) {
    let names = ["a", "b", "c", "d", "e", "f"];
    for (n, name) in (2..).zip(names) {
        let mut put = put_module(name, n, &[name]);
        put.description.functions[0].doc = "x".repeat(ITEM_BYTES);
        store.put_module(put).await.unwrap();
    }
    let tenant = store.tenant(TENANT);
    let page = async |after: Option<&str>, limit| {
        let page = tenant.modules(after, limit).await.unwrap();
        let names: Vec<_> = page.modules.into_iter().map(|module| module.name).collect();
        (names.concat(), page.next)
    };
    assert_eq!(page(None, 100).await, ("abcd".into(), Some("d".into())));
    assert_eq!(page(Some("d"), 100).await, ("eforders".into(), None));
    assert_eq!(page(Some("d"), 2).await, ("ef".into(), Some("f".into())));
    assert_eq!(page(Some("x"), 100).await, (String::new(), None));
}

async fn the_input_is_found_in_a_large_first_turn(store: TestStore) {
    let number = store.started("a").await;
    let inbox = store.inbox(number).await;
    let mut commit = first_turn(number, inbox);
    let calls = (1..=4).map(|task| Decision::CallActivity {
        task: TaskId(task),
        function: "Charge".parse().unwrap(),
        input: large(ITEM_BYTES),
        options: Default::default(),
        module: ModuleNumber(1),
    });
    commit.turn.as_mut().unwrap().decisions.extend(calls);
    store.commit(commit).await.unwrap();
    let details = store.details("a").await.unwrap();
    assert_eq!(details.input, Some(started("Order", None).input));
}

async fn usage_comes_in_pages_with_the_total_of_all(store: TestStore) {
    let number = store.running("a").await;
    let mut commit = turn(number, 2, vec![], vec![]);
    let used = |kind, function: &str| Used {
        tenant: TENANT,
        kind,
        function: function.parse().unwrap(),
        at: NOW,
        amount: Amount {
            count: 1,
            fuel: 10,
            ..Amount::default()
        },
    };
    let (orchestration, activity) = (FunctionKind::Orchestration, FunctionKind::Activity);
    commit.usage = vec![
        used(activity, "A"),
        used(activity, "B"),
        used(orchestration, "B"),
        used(orchestration, "C"),
        used(activity, "B"),
    ];
    store.commit(commit).await.unwrap();
    let all = Days::between(None, None);
    let (mut found, mut after) = (Vec::new(), None::<UsageCursor>);
    loop {
        let page = store.tenant(TENANT).usage(all, after.as_ref(), 2).await.unwrap();
        assert_eq!((page.total.count, page.total.fuel), (5, 50));
        let functions = page.functions.into_iter();
        found.extend(functions.map(|one| (one.kind, one.function.to_string(), one.amount.count)));
        match page.next {
            Some(next) => after = Some(next.to_string().parse().unwrap()),
            None => break,
        }
    }
    let expected = [
        (orchestration, "B", 1),
        (orchestration, "C", 1),
        (activity, "A", 1),
        (activity, "B", 2),
    ];
    assert_eq!(
        found,
        expected.map(|(kind, name, count)| (kind, name.to_owned(), count))
    );
    let nothing = store.tenant(TenantId(9)).usage(all, None, 2).await.unwrap();
    assert_eq!(
        (nothing.total, nothing.functions, nothing.next),
        (Amount::default(), vec![], None)
    );
    for text in ["", "1", "10", "13A", "0A"] {
        assert_eq!(text.parse::<UsageCursor>(), Err(CursorError), "{text:?}");
    }
}

async fn the_outcome_is_found_in_a_large_last_turn(store: TestStore) {
    let event = || {
        Arrival::EventRaised(Event {
            name: "large".parse().unwrap(),
            payload: large(ITEM_BYTES),
        })
    };
    let completed = store.running("completed").await;
    let mut commit = last_turn(completed, 2);
    let arrivals = &mut commit.turn.as_mut().unwrap().arrivals;
    arrivals.extend([event(), event()]);
    store.commit(commit).await.unwrap();
    let details = store.details("completed").await.unwrap();
    assert_eq!(
        (details.outcome, details.terminated),
        (Some(Ok(payload("\"done\""))), None)
    );

    let terminated = store.running("terminated").await;
    let end = Arrival::Terminated {
        reason: "enough".into(),
    };
    let mut commit = turn(terminated, 2, vec![event(), end], vec![]);
    commit.summary.status = InstanceStatus::Terminated;
    store.commit(commit).await.unwrap();
    let details = store.details("terminated").await.unwrap();
    assert_eq!((details.outcome, details.terminated), (None, Some("enough".into())));
}
