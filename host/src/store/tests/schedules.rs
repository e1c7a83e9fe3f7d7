//! Schedules: changes name the revision that they continue, and a start is one change with its schedule.

use std::time::Duration;

use super::*;
use crate::model::{
    Overlap, Schedule, ScheduleState,
    schedule::{LastStart, Spec},
};

over_every_backend! {
    with_module:
    a_schedule_is_created_shown_changed_and_deleted,
    a_change_of_an_older_revision_is_refused,
    a_start_and_its_schedule_are_written_together_or_not_at_all,
    the_number_of_schedules_of_a_tenant_is_limited,
    due_schedules_are_found_in_the_order_of_time,
    pages_of_schedules_are_bounded_and_see_one_tenant,
    schedules_are_counted_and_survive_a_crash,
    a_deleted_tenant_leaves_no_schedules,
}

const MAX: u64 = 100;

fn schedule(seconds: u64) -> Schedule {
    Schedule {
        function: "Order".parse().unwrap(),
        input: payload(r#"{"order": 1.0}"#),
        tags: Tags::new(["customer:ada".parse().unwrap()]).unwrap(),
        spec: Spec::interval(Duration::from_secs(seconds), Duration::ZERO).unwrap(),
        overlap: Overlap::Skip,
        catch_up: Duration::from_secs(60),
        jitter: Duration::ZERO,
    }
}

fn name(text: &str) -> ScheduleName {
    text.parse().unwrap()
}

fn after_now(seconds: u64) -> Timestamp {
    NOW.after(Duration::from_secs(seconds))
}

async fn put(store: &Store, tenant: TenantId, text: &str, seconds: u64) -> ScheduleChanged {
    let state = ScheduleState::new(NOW);
    let key = (tenant, name(text));
    let change = ScheduleChange::put(key, None, (&schedule(seconds), &state), NOW, MAX);
    store.change_schedule(change).await.unwrap()
}

async fn row(store: &Store, text: &str) -> ScheduleRow {
    let found = store.schedule(TENANT, &name(text)).await.unwrap();
    found.expect("the schedule exists")
}

async fn delete(store: &Store, text: &str) -> ScheduleChanged {
    let change = ScheduleChange {
        tenant: TENANT,
        name: name(text),
        expected: None,
        write: ScheduleWrite::Delete,
    };
    store.change_schedule(change).await.unwrap()
}

/// Starts the instance of a time, with the state after it.
async fn start(store: &Store, row: &ScheduleRow, nominal: Timestamp) -> (InstanceNumber, ScheduleChanged) {
    let id = row.name.instance_at(nominal);
    let number = store.new_number(TENANT, &id);
    let last = LastStart { id: id.clone(), number };
    let state = row.state.started(nominal, last, nominal);
    let creation = Creation {
        instance: instance(id.as_str()),
        key: None,
        tags: row.schedule.tags.clone(),
    };
    let change = ScheduleChange::advance(row, &state, nominal);
    (number, store.start_by_schedule(change, number, creation).await.unwrap())
}

async fn a_schedule_is_created_shown_changed_and_deleted(store: TestStore) {
    assert!(matches!(
        put(&store, TENANT, "report", 10).await,
        ScheduleChanged::Done { .. }
    ));
    assert_eq!(put(&store, TENANT, "report", 20).await, ScheduleChanged::Conflict);
    let created = row(&store, "report").await;
    assert_eq!(
        (&created.schedule, created.next_at),
        (&schedule(10), Some(after_now(10)))
    );
    assert_eq!((created.created_at, created.updated_at), (NOW, NOW));
    let shown = store.tenant(TENANT).schedule(&name("report")).await.unwrap();
    assert_eq!(shown.as_ref(), Some(&created));

    let key = (TENANT, created.name.clone());
    let state = created.state.paused("because");
    let definition = (&schedule(20), &state);
    let replace = ScheduleChange::put(key, Some(created.revision), definition, after_now(1), MAX);
    assert!(matches!(
        store.change_schedule(replace).await.unwrap(),
        ScheduleChanged::Done { .. }
    ));
    let replaced = row(&store, "report").await;
    assert_eq!((&replaced.schedule, &replaced.state), (&schedule(20), &state));
    assert_eq!(
        (replaced.next_at, replaced.created_at, replaced.updated_at),
        (None, NOW, after_now(1))
    );
    assert!(replaced.revision > created.revision);

    assert!(matches!(delete(&store, "report").await, ScheduleChanged::Done { .. }));
    assert_eq!(delete(&store, "report").await, ScheduleChanged::Conflict);
    assert_eq!(store.schedule(TENANT, &name("report")).await.unwrap(), None);
    assert_eq!(
        store.rows("schedules").await + store.rows("schedule_definitions").await,
        0
    );
    store.assert_sound().await;
}

async fn a_change_of_an_older_revision_is_refused(store: TestStore) {
    put(&store, TENANT, "report", 10).await;
    let old = row(&store, "report").await;
    let pause = ScheduleChange::advance(&old, &old.state.paused(""), NOW);
    assert!(matches!(
        store.change_schedule(pause).await.unwrap(),
        ScheduleChanged::Done { .. }
    ));
    let (_, refused) = start(&store, &old, after_now(10)).await;
    assert_eq!(refused, ScheduleChanged::Conflict);
    assert_eq!(store.rows("instances").await, 0);

    // Nor is a schedule the same that was deleted and created again.
    let paused = row(&store, "report").await;
    delete(&store, "report").await;
    put(&store, TENANT, "report", 10).await;
    for stale in [&old, &paused] {
        assert_eq!(start(&store, stale, after_now(10)).await.1, ScheduleChanged::Conflict);
    }
    assert_eq!(row(&store, "report").await.state, ScheduleState::new(NOW));
}

async fn a_start_and_its_schedule_are_written_together_or_not_at_all(store: TestStore) {
    put(&store, TENANT, "report", 10).await;
    let before = row(&store, "report").await;
    let nominal = after_now(10);
    let (number, done) = start(&store, &before, nominal).await;
    assert!(matches!(done, ScheduleChanged::Done { .. }));
    let after = row(&store, "report").await;
    assert_eq!((after.state.decided, after.next_at), (nominal, Some(after_now(20))));
    let id = after.name.instance_at(nominal);
    assert_eq!(after.state.last, Some(LastStart { id: id.clone(), number }));
    let created = store.details(id.as_str()).await.unwrap();
    assert_eq!(
        (created.summary.number, &created.summary.tags),
        (number, &after.schedule.tags)
    );
    assert_eq!(store.inbox(number).await.len(), 1);

    // The same decision again, as after a crash between the commit and its answer.
    assert_eq!(start(&store, &before, nominal).await.1, ScheduleChanged::Conflict);
    // The id of the next one belongs to another instance, so neither is written.
    store.started(after.name.instance_at(after_now(20)).as_str()).await;
    let (_, refused) = start(&store, &after, after_now(20)).await;
    let exists = StartOutcome::AlreadyExists(InstanceStatus::Pending);
    assert_eq!(refused, ScheduleChanged::NotStarted(exists));
    assert_eq!(row(&store, "report").await, after);
    assert_eq!(store.rows("instances").await, 2);
    store.assert_sound().await;
}

async fn the_number_of_schedules_of_a_tenant_is_limited(store: TestStore) {
    let put_at_most = async |text: &str, max: u64| {
        let (definition, state) = (schedule(10), ScheduleState::new(NOW));
        let change = ScheduleChange::put((TENANT, name(text)), None, (&definition, &state), NOW, max);
        store.change_schedule(change).await.unwrap()
    };
    assert!(matches!(put_at_most("a", 2).await, ScheduleChanged::Done { .. }));
    assert!(matches!(put_at_most("b", 2).await, ScheduleChanged::Done { .. }));
    assert_eq!(put_at_most("c", 2).await, ScheduleChanged::TooMany);
    assert_eq!(store.rows("schedules").await, 2);
    delete(&store, "a").await;
    assert!(matches!(put_at_most("c", 2).await, ScheduleChanged::Done { .. }));
    assert_eq!(put(&store, TenantId(99), "a", 10).await, ScheduleChanged::TenantGone);
}

async fn due_schedules_are_found_in_the_order_of_time(store: TestStore) {
    for (text, seconds) in [("c", 10), ("a", 10), ("b", 5), ("later", 1_000)] {
        put(&store, TENANT, text, seconds).await;
    }
    let other = other_tenant(&store).await;
    put(&store, other, "b", 100).await;
    let due = async |seconds, limit| {
        let found = store.due_schedules(TENANT, after_now(seconds), limit).await.unwrap();
        found.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(due(4, 10).await, Vec::<String>::new());
    assert_eq!(due(10, 10).await, ["b", "a", "c"]);
    assert_eq!(due(10, 2).await, ["b", "a"]);
    let first = store.first_due_schedules().await.unwrap();
    assert_eq!(first, [(TENANT, after_now(5)), (other, after_now(100))]);
    assert_eq!(store.first_due_schedule_of(other).await.unwrap(), Some(after_now(100)));
    let paused = row(&store, "b").await;
    let pause = ScheduleChange::advance(&paused, &paused.state.paused(""), NOW);
    store.change_schedule(pause).await.unwrap();
    assert_eq!(due(10, 10).await, ["a", "c"]);
    assert_eq!(store.first_due_schedule_of(TENANT).await.unwrap(), Some(after_now(10)));
    assert_eq!(store.first_due_schedule_of(TenantId(77)).await.unwrap(), None);
}

async fn other_tenant(store: &Store) -> TenantId {
    let change = Change::CreateTenant {
        name: "other".parse().unwrap(),
        quotas: "{}".into(),
        at: NOW,
    };
    match store.administer(change).await.unwrap() {
        Changed::Done(Some(tenant)) => tenant,
        other => panic!("not created: {other:?}"),
    }
}

async fn pages_of_schedules_are_bounded_and_see_one_tenant(store: TestStore) {
    let other = other_tenant(&store).await;
    put(&store, other, "z", 10).await;
    for text in ["c", "a", "b"] {
        put(&store, TENANT, text, 10).await;
    }
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let page = store.tenant(TENANT).schedules(after.as_ref(), 2).await.unwrap();
        assert!(page.schedules.len() <= 2);
        names.extend(page.schedules.iter().map(|row| row.name.to_string()));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "c"]);
    let empty = store.tenant(TenantId(77)).schedules(None, 10).await.unwrap();
    assert_eq!(empty.schedules, []);
}

async fn schedules_are_counted_and_survive_a_crash(store: TestStore) {
    let before = store.stored_bytes(TENANT);
    put(&store, TENANT, "report", 10).await;
    let created = store.stored_bytes(TENANT) - before;
    assert!((64..400).contains(&created), "{created}");
    let (_, done) = start(&store, &row(&store, "report").await, after_now(10)).await;
    assert!(matches!(done, ScheduleChanged::Done { .. }));
    assert!(store.stored_bytes(TENANT) > before + created);
    let stored = row(&store, "report").await;
    let counted = store.stored_bytes(TENANT);
    store.assert_sound().await;

    let store = store.crash().await;
    assert_eq!(row(&store, "report").await, stored);
    assert_eq!(store.stored_bytes(TENANT), counted);
    let of_schedule = counted - before;
    delete(&store, "report").await;
    let instances = store.stored_bytes(TENANT) - before;
    assert!(instances < of_schedule && instances > 0, "{instances}");
    store.assert_sound().await;
}

async fn a_deleted_tenant_leaves_no_schedules(store: TestStore) {
    let other = other_tenant(&store).await;
    put(&store, other, "z", 10).await;
    put(&store, TENANT, "a", 10).await;
    store.administer(Change::DeleteTenant(other)).await.unwrap();
    assert_eq!(
        (store.rows("schedules").await, store.rows("schedule_definitions").await),
        (1, 1)
    );
    assert_eq!(put(&store, other, "z", 10).await, ScheduleChanged::TenantGone);
    assert_eq!(store.first_due_schedules().await.unwrap(), [(TENANT, after_now(10))]);
}
