//! Tests of the SDK's guarantees for orchestrations, on the simulated host.

use std::cell::RefCell;
use std::rc::Rc;

use windlass_sdk::futures::stream::FuturesUnordered;
use windlass_sdk::prelude::*;
use windlass_sdk::testing::{Attempt, CalledKind, End, World};

#[activity(name = "WorkActivity")]
fn work(id: u32) -> Result<u32> {
    Ok(id)
}

#[activity(retry = Retry::exponential(secs(1)).max_attempts(4), attempt_timeout = secs(10))]
fn flaky(ctx: Activity) -> Result<u32> {
    if ctx.attempt() < 3 {
        Err(Failure::new("NotYet", "try again"))
    } else {
        Ok(ctx.attempt())
    }
}

/// A world in which a call of `work` takes as many seconds as its input.
fn world() -> World {
    World::new().activity(work, |call| {
        call.takes(secs(u64::from(call.input)));
        Ok(call.input)
    })
}

#[test]
fn calls_started_in_a_loop_and_awaited_afterwards_run_in_parallel() {
    #[orchestrator]
    async fn parallel(ctx: Orchestration) -> Result<Vec<u32>> {
        let calls: Vec<_> = [3, 1, 2]
            .iter()
            .map(|seconds| ctx.call(work, seconds).start())
            .collect();
        let mut outputs = Vec::new();
        for call in calls {
            outputs.push(call.await?);
        }
        Ok(outputs)
    }
    let run = world().run(parallel, &());
    assert_eq!(run.output(), &[3, 1, 2]);
    assert_eq!(run.elapsed(), secs(3));
    assert_eq!(run.inputs_of(work), [3, 1, 2]);
}

#[test]
fn an_attempt_that_sends_no_heartbeat_in_time_fails_and_the_next_one_knows_the_last_one() {
    #[orchestrator]
    async fn copies(ctx: Orchestration) -> Result<u32> {
        let call = ctx.call(work, &100).heartbeat_timeout(secs(10));
        call.retry(Retry::fixed(secs(1)).max_attempts(3)).await
    }
    let seen = Rc::new(RefCell::new(Vec::new()));
    let noted = seen.clone();
    let run = World::new()
        .activity(work, move |call: &Attempt<u32>| {
            noted.borrow_mut().push(call.heartbeat_details::<u32>());
            call.takes(secs(25));
            call.heartbeat_after(secs(8), &1);
            match call.attempt {
                // Ends at 18 seconds. The heartbeat after that does not count.
                1 => call.heartbeat_after(secs(19), &2),
                // Is alive until its own end.
                _ => call.heartbeat_after(secs(16), &3),
            }
            Ok(call.input)
        })
        .run(copies, &());
    assert_eq!(run.output(), &100);
    assert_eq!(*seen.borrow(), [None, Some(1)]);
    assert_eq!(run.elapsed(), secs(18 + 1 + 25));
}

#[test]
fn a_call_without_heartbeats_fails_with_the_type_of_the_host() {
    #[orchestrator]
    async fn silent(ctx: Orchestration) -> Result<u32> {
        ctx.call(work, &3).heartbeat_timeout(secs(2)).await
    }
    let run = world().run(silent, &());
    assert!(run.failure().is("windlass.heartbeat-timeout"), "{:?}", run.failure());
    assert_eq!(run.elapsed(), secs(2));
    // The end of an attempt is as good as a heartbeat.
    #[orchestrator]
    async fn quick(ctx: Orchestration) -> Result<u32> {
        ctx.call(work, &2).heartbeat_timeout(secs(2)).await
    }
    assert_eq!(world().run(quick, &()).output(), &2);
}

#[test]
fn a_call_that_is_started_but_never_awaited_is_made() {
    #[orchestrator]
    async fn careless(ctx: Orchestration) -> Result<()> {
        drop(ctx.call(work, &1).start());
        Ok(())
    }
    let run = world().run(careless, &());
    assert_eq!(run.called_names(), ["WorkActivity"]);
}

#[test]
fn calls_are_made_in_the_order_of_their_starts() {
    #[orchestrator]
    async fn ordered(ctx: Orchestration) -> Result<()> {
        let first = ctx.call(work, &1).retry(Retry::fixed(secs(1)));
        let last = ctx.call(work, &3);
        let second = ctx.sub_orchestration_named::<()>("Child", &2).id("child").start();
        let (last, second, first) = join!(first, second, last);
        last?;
        second?;
        first?;
        Ok(())
    }
    let script = |call: &Attempt<u32>| (call.input == 2).then_some(()).or_fail("WrongInput");
    let run = world().sub_orchestration_named("Child", script).run(ordered, &());
    run.output();
    assert_eq!(run.called_names(), ["Child", "WorkActivity", "WorkActivity"]);
    assert_eq!(run.inputs_of(work), [1, 3]);
}

#[test]
fn a_call_that_is_never_started_is_never_made() {
    #[orchestrator]
    async fn forgetful(ctx: Orchestration) -> Result<()> {
        drop(ctx.call(work, &1));
        Ok(())
    }
    assert!(world().run(forgetful, &()).calls().is_empty());
}

#[test]
fn every_join_starts_all_its_calls_first() {
    #[orchestrator]
    async fn joins(ctx: Orchestration) -> Result<Vec<u64>> {
        let mut took = Vec::new();
        let mut begun = ctx.now();
        let mut lap = || {
            took.push((ctx.now() - begun).as_secs());
            begun = ctx.now();
        };
        try_join_all([3, 1, 2].iter().map(|seconds| ctx.call(work, seconds))).await?;
        lap();
        join_all([2, 4].iter().map(|seconds| ctx.call(work, seconds))).await;
        lap();
        try_join!(ctx.call(work, &5), ctx.call(work, &1))?;
        lap();
        let _ = join!(ctx.sleep(secs(6)), ctx.call(work, &1), async { 7 });
        lap();
        Ok(took)
    }
    assert_eq!(world().run(joins, &()).output(), &[3, 4, 5, 6]);
}

#[test]
fn futures_unordered_returns_results_as_they_arrive() {
    #[orchestrator]
    async fn as_they_come(ctx: Orchestration) -> Result<Vec<u32>> {
        let calls = [3, 1, 2].iter().map(|seconds| ctx.call(work, seconds).start());
        let mut calls: FuturesUnordered<_> = calls.collect();
        let mut outputs = Vec::new();
        while let Some(output) = calls.next().await {
            outputs.push(output?);
        }
        Ok(outputs)
    }
    assert_eq!(world().run(as_they_come, &()).output(), &[1, 2, 3]);
}

#[test]
fn a_wide_fan_out_completes() {
    #[orchestrator]
    async fn wide(ctx: Orchestration, width: u32) -> Result<u32> {
        Ok(try_join_all((0..width).map(|_| ctx.call(work, &1))).await?.iter().sum())
    }
    assert_eq!(world().run(wide, &2_000).output(), &2_000);
}

#[test]
fn the_first_of_a_select_wins_and_the_loser_continues() {
    #[orchestrator]
    async fn race(ctx: Orchestration) -> Result<u32> {
        let mut slow = ctx.call(work, &9).start();
        select! {
            _ = slow => Ok(9),
            _ = ctx.sleep(secs(5)) => {
                ctx.set_custom_status("slow");
                slow.await
            }
        }
    }
    let run = world().run(race, &());
    assert_eq!(run.output(), &9);
    assert_eq!(run.custom_statuses(), ["slow"]);
    assert_eq!(run.elapsed(), secs(9));
}

#[test]
fn an_event_that_was_delivered_but_not_taken_is_given_back() {
    #[orchestrator]
    async fn give_back(ctx: Orchestration) -> Result<Vec<u32>> {
        let mut seen = Vec::new();
        let never_polled = ctx.event::<u32>("tick");
        ctx.sleep(secs(3)).await;
        drop(never_polled);
        seen.push(ctx.event("TICK").await?);
        seen.push(ctx.event("tick").await?);
        Ok(seen)
    }
    let run = World::new()
        .event(secs(2), "Tick", &2)
        .event(secs(1), "tick", &1)
        .run(give_back, &());
    assert_eq!(run.output(), &[1, 2]);
}

#[test]
fn waits_of_one_name_are_served_in_the_order_they_were_made() {
    #[orchestrator]
    async fn in_order(ctx: Orchestration) -> Result<Vec<u32>> {
        let first = ctx.event::<u32>("tick");
        let second = ctx.event::<u32>("tick");
        drop(ctx.event::<u32>("tick"));
        let (second, first) = try_join!(second, first)?;
        Ok(vec![first, second])
    }
    let run = World::new()
        .event(secs(1), "tick", &1)
        .event(secs(2), "tick", &2)
        .run(in_order, &());
    assert_eq!(run.output(), &[1, 2]);
}

#[test]
fn a_dropped_wait_in_a_loop_loses_no_event() {
    #[orchestrator]
    async fn reminders(ctx: Orchestration) -> Result<(u32, bool)> {
        let mut reminders = 0;
        loop {
            select! {
                approved = ctx.event::<bool>("approval") => return Ok((reminders, approved?)),
                _ = ctx.sleep(hours(24)) => reminders += 1,
            }
        }
    }
    let run = World::new().event(hours(60), "approval", &true).run(reminders, &());
    assert_eq!(run.output(), &(2, true));
    assert_eq!(run.elapsed(), hours(60));
}

#[test]
fn an_event_that_never_comes_leaves_the_instance_waiting() {
    #[orchestrator]
    async fn patient(ctx: Orchestration) -> Result<()> {
        ctx.event("Approval").await
    }
    assert_eq!(World::new().run(patient, &()).waits_for(), ["event approval"]);
}

#[test]
fn waiting_for_nothing_is_a_failure() {
    #[orchestrator]
    async fn lost(_ctx: Orchestration) -> Result<()> {
        std::future::pending::<()>().await;
        Ok(())
    }
    assert!(
        World::new()
            .run(lost, &())
            .failure()
            .is(failure_types::WAITS_FOR_NOTHING)
    );
}

#[test]
fn an_event_of_another_type_fails_only_the_wait() {
    #[orchestrator]
    async fn shapes(ctx: Orchestration) -> Result<u32> {
        let wrong = ctx.event::<u32>("number").await;
        assert!(wrong.unwrap_err().is(failure_types::INVALID_PAYLOAD));
        ctx.event("number").await
    }
    let run = World::new()
        .event(secs(1), "number", "one")
        .event(secs(2), "number", &1)
        .run(shapes, &());
    assert_eq!(run.output(), &1);
}

#[test]
fn declared_retries_apply_to_a_call_without_its_own() {
    #[orchestrator]
    async fn tries(ctx: Orchestration) -> Result<u32> {
        ctx.call(flaky, &()).await
    }
    let run = World::new().real_activity(flaky).run(tries, &());
    assert_eq!(run.output(), &3);
    assert_eq!(run.attempts_of(flaky), 3);
    assert_eq!(run.elapsed(), secs(1 + 2));
}

#[test]
fn real_activities_read_the_settings_and_secrets_of_the_world() {
    #[activity]
    fn sign(ctx: Activity) -> Result<String> {
        let key = ctx.secret("key")?;
        assert_eq!(format!("{key:?}"), "***");
        Ok(format!(
            "{} signed with {} bytes",
            ctx.config("name")?,
            key.expose().len()
        ))
    }
    #[orchestrator]
    async fn signs(ctx: Orchestration) -> Result<String> {
        ctx.call(sign, &()).retry(Retry::fixed(secs(1)).max_attempts(5)).await
    }
    let world = || World::new().real_activity(sign);
    let run = world()
        .config("name", "ada")
        .secret("key", "0123456789")
        .run(signs, &());
    assert_eq!(run.output(), "ada signed with 10 bytes");
    let run = world().run(signs, &());
    assert!(run.failure().is(failure_types::MISSING_SECRET), "{:?}", run.failure());
    assert!(run.failure().message().contains("`key`"));
    assert_eq!(run.attempts_of(sign), 1, "another attempt would not find it either");
    let run = world().secret("key", "0123456789").run(signs, &());
    assert!(run.failure().is(failure_types::MISSING_CONFIG));
}

#[test]
fn a_call_can_turn_off_declared_retries() {
    #[orchestrator]
    async fn tries_once(ctx: Orchestration) -> Result<u32> {
        ctx.call(flaky, &()).retry(Retry::never()).await
    }
    let run = World::new().real_activity(flaky).run(tries_once, &());
    assert!(run.failure().is("NotYet"));
    assert_eq!(run.attempts_of(flaky), 1);
}

#[test]
fn attempt_timeouts_are_retried_and_the_overall_timeout_is_final() {
    #[orchestrator]
    async fn limits(ctx: Orchestration, overall: u64) -> Result<u32> {
        let retry = Retry::fixed(secs(1)).max_attempts(100);
        ctx.call(work, &1_000)
            .retry(retry)
            .attempt_timeout(secs(9))
            .timeout(secs(overall))
            .await
    }
    let run = world().run(limits, &25);
    assert!(run.failure().is(failure_types::TIMEOUT));
    assert_eq!(run.attempts_of(work), 3);
    assert_eq!(run.elapsed(), secs(25));
    let run = world().run(limits, &20);
    assert_eq!(run.attempts_of(work), 2);
    assert_eq!(
        run.elapsed(),
        secs(19),
        "a third attempt could not start before the end"
    );
}

#[test]
fn a_cancelled_activity_fails_and_a_dropped_one_continues() {
    #[orchestrator]
    async fn cancels(ctx: Orchestration) -> Result<()> {
        let call = ctx.call(work, &50).start();
        drop(ctx.call(work, &3).start());
        ctx.sleep(secs(5)).await;
        call.cancel();
        let failure = call.await.unwrap_err();
        assert!(failure.is(failure_types::CANCELLED));
        Ok(())
    }
    let run = world().run(cancels, &());
    run.output();
    assert_eq!(run.elapsed(), secs(5));
    assert_eq!(run.calls()[1].outcome, Some(Ok(3.into())));
}

#[orchestrator(name = "Child")]
async fn child(ctx: Orchestration, seconds: u64) -> Result<String> {
    ctx.set_custom_status("hidden from the parent");
    ctx.sleep(secs(seconds)).await;
    if seconds == 7 {
        return Err(Failure::new("Seven", "the child does not like it"));
    }
    let parent = ctx.parent_instance_id().expect("a parent");
    Ok(format!("{} of {parent}", ctx.instance_id()))
}

#[test]
fn real_sub_orchestrations_run_concurrently() {
    #[orchestrator]
    async fn parent(ctx: Orchestration) -> Result<Vec<String>> {
        let named = ctx.sub_orchestration(child, &5).id("kid");
        let other = ctx.sub_orchestration(child, &3);
        try_join_all([named, other]).await
    }
    let run = World::new().orchestration(child).instance_id("mum").run(parent, &());
    assert_eq!(run.output(), &["kid of mum", "mum/1/2/1 of mum"]);
    assert_eq!(run.elapsed(), secs(5));
    assert_eq!(run.sub_inputs_of(child), [5, 3]);
    assert!(run.custom_statuses().is_empty());
}

#[test]
fn a_failed_child_is_retried_and_a_slow_one_is_terminated() {
    #[orchestrator]
    async fn strict(ctx: Orchestration) -> Result<(String, String)> {
        let failed = ctx
            .sub_orchestration(child, &7)
            .retry(Retry::fixed(secs(1)).max_attempts(2))
            .await;
        let slow = ctx.sub_orchestration(child, &100).timeout(secs(10)).await;
        Ok((
            failed.unwrap_err().error_type().into(),
            slow.unwrap_err().error_type().into(),
        ))
    }
    let run = World::new().orchestration(child).run(strict, &());
    assert_eq!(run.output(), &("Seven".into(), failure_types::TIMEOUT.into()));
    assert_eq!(run.elapsed(), secs(7 + 1 + 7 + 10));
    assert_eq!(run.calls()[0].attempts, 2);
}

#[test]
fn instances_send_each_other_events() {
    #[orchestrator]
    async fn pong(ctx: Orchestration) -> Result<()> {
        let from: InstanceId = ctx.event("ping").await?;
        ctx.send_event(from, "pong", ctx.instance_id());
        Ok(())
    }
    #[orchestrator]
    async fn ping(ctx: Orchestration) -> Result<InstanceId> {
        let other = ctx.start(pong, &()).id("other").send();
        assert_eq!(other, "other");
        ctx.send_event(&other, "ping", ctx.instance_id());
        ctx.event("pong").await
    }
    let run = World::new().orchestration(pong).run(ping, &());
    assert_eq!(*run.output(), "other");
    assert_eq!(run.calls()[0].kind, CalledKind::Start);
    assert_eq!(run.sent_events()[1].instance_id, "test");
}

#[test]
fn only_send_starts_an_independent_orchestration() {
    #[orchestrator]
    async fn starter(ctx: Orchestration) -> Result<(InstanceId, InstanceId)> {
        drop(ctx.start(child, &1).id("forgotten"));
        let made_up = ctx.start(child, &2).send();
        Ok((made_up, ctx.start_named("Unknown", "input").id("chosen").send()))
    }
    let run = World::new().orchestration(child).run(starter, &());
    assert_eq!(run.output().1, "chosen");
    assert_eq!(run.called_names(), ["Child", "Unknown"]);
    assert_eq!(run.sub_inputs_of(child), [2]);
}

#[test]
fn continue_as_new_keeps_events() {
    #[orchestrator]
    async fn counter(ctx: Orchestration, count: u32) -> Result<u32> {
        assert_eq!(ctx.execution(), count + 1);
        let _never_taken = ctx.event::<u32>("add");
        if count == 2 {
            drop(_never_taken);
            return ctx.event("add").await;
        }
        ctx.sleep(secs(1)).await;
        ctx.continue_as_new(&(count + 1))
    }
    let run = World::new().event(millis(500), "add", &41).run(counter, &0);
    assert_eq!(run.output(), &41);
    assert_eq!(run.executions(), 3);

    #[orchestrator]
    async fn eternal(ctx: Orchestration, count: u32) -> Result<()> {
        ctx.sleep(hours(1)).await;
        ctx.continue_as_new(&(count + 1))
    }
    let run = World::new().max_executions(5).run(eternal, &0);
    assert!(matches!(run.end(), End::ContinuedAsNew(input) if input == 5));
    assert_eq!(run.elapsed(), hours(5));
}

#[test]
fn both_logging_facades_write_to_the_log() {
    #[activity]
    fn chatty() -> Result<()> {
        warn!("from the activity");
        Ok(())
    }
    #[orchestrator]
    async fn talk(ctx: Orchestration) -> Result<()> {
        info!(order = 7, "hello {}", "there");
        log::error!("old style");
        ctx.log(Level::Trace, "directly");
        ctx.call(chatty, &()).await
    }
    let run = World::new().real_activity(chatty).run(talk, &());
    let lines: Vec<_> = run
        .logs()
        .iter()
        .map(|line| (line.level, line.message.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            (Level::Info, "hello there order=7"),
            (Level::Error, "old style"),
            (Level::Trace, "directly"),
            (Level::Warn, "from the activity"),
        ]
    );
}

#[test]
fn time_and_uuids_are_virtual() {
    #[orchestrator]
    async fn clocked(ctx: Orchestration) -> Result<(Timestamp, Timestamp, bool)> {
        let start = ctx.now();
        assert_eq!(start, ctx.started_at());
        ctx.sleep_until(start + days(30)).await;
        ctx.sleep_until(start).await;
        Ok((start, ctx.now(), ctx.new_uuid() != ctx.new_uuid()))
    }
    let start: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    let run = World::new().starting_at(start).run(clocked, &());
    assert_eq!(run.output(), &(start, start + days(30), true));
}

#[test]
fn a_timeout_drops_the_future() {
    #[orchestrator]
    async fn limited(ctx: Orchestration) -> Result<(bool, u32)> {
        let too_slow = ctx.timeout(secs(1), ctx.call(work, &5)).await.is_err();
        let in_time = ctx.timeout(secs(10), async { ctx.call(work, &4).await }).await??;
        Ok((too_slow, in_time))
    }
    let run = world().run(limited, &());
    assert_eq!(run.output(), &(true, 4));
    assert_eq!(run.elapsed(), secs(5));
}

#[test]
fn scripts_keep_state_and_see_the_attempt() {
    #[orchestrator]
    async fn twice(ctx: Orchestration) -> Result<()> {
        ctx.call(work, &1)
            .retry(Retry::fixed(mins(1)).non_retryable("Fatal"))
            .await
            .ok();
        ctx.call(work, &2)
            .retry(Retry::fixed(mins(1)).non_retryable("Fatal"))
            .await
            .ok();
        Ok(())
    }
    let keys = Rc::new(RefCell::new(Vec::new()));
    let seen = keys.clone();
    let run = World::new()
        .activity(work, move |call| {
            seen.borrow_mut().push((call.idempotency_key.clone(), call.attempt));
            Err(Failure::new(if call.input == 1 { "Flaky" } else { "Fatal" }, "no"))
        })
        .run(twice, &());
    run.output();
    let keys = keys.borrow();
    assert_eq!(
        keys.iter().map(|(_, attempt)| *attempt).collect::<Vec<_>>(),
        [1, 2, 3, 1]
    );
    assert!(keys[0].0 == keys[2].0 && keys[2].0 != keys[3].0);
}

#[test]
fn the_types_of_the_api_can_be_printed() {
    #[orchestrator]
    async fn prints(ctx: Orchestration) -> Result<Vec<String>> {
        let call = ctx.call(work, &1).timeout(secs(5));
        let mut lines = vec![format!("{ctx:?}"), format!("{call:?}")];
        let task = call.start();
        let held = format!("{task:?} {:?} {:?}", ctx.event::<bool>("go"), ctx.sleep(secs(1)));
        task.await?;
        lines.extend([held, format!("{:?}", ctx.start(child, &7).id("next"))]);
        lines.push(format!("{0} {0:?}", ctx.new_uuid()));
        Ok(lines)
    }
    let world = world();
    let shown = format!("{world:?}");
    assert!(shown.starts_with(r#"World { instance_id: "test", "#) && shown.contains("WorkActivity"));
    assert_eq!(
        world.run(prints, &()).output(),
        &[
            r#"Orchestration { function: "prints", instance_id: "test", execution: 1, .. }"#,
            r#"Call { name: "WorkActivity", input: Ok("1"), options: ActivityOptions { retry: None, attempt_timeout: None, timeout: Some(5s), heartbeat_timeout: None }, .. }"#,
            "Task(Outstanding(1)) EventWait { task: Some(2), .. } Sleep { task: Some(3), .. }",
            r#"Start { name: "Child", input: Ok("7"), id: Some("next"), .. }"#,
            "00000000-0000-4000-8000-000000000001 00000000-0000-4000-8000-000000000001",
        ]
    );
    let activity = r#"Activity { function: "test", instance_id: "test", execution: 1, attempt: 2, .. }"#;
    assert_eq!(format!("{:?}", windlass_sdk::testing::activity(2)), activity);
}

#[test]
fn activities_can_be_called_directly() {
    assert_eq!(work(7).unwrap(), 7);
    assert!(flaky(windlass_sdk::testing::activity(1)).is_err());
}

#[test]
#[should_panic(expected = "the orchestration calls the activity `WorkActivity`, which this test does not script")]
fn an_activity_without_a_script_panics() {
    #[orchestrator]
    async fn unscripted(ctx: Orchestration) -> Result<()> {
        ctx.call(work, &1).await.ok();
        Ok(())
    }
    World::new().run(unscripted, &()).output();
}

mod shared {
    use windlass_sdk::prelude::*;

    windlass_sdk::signatures! {
        /// Adds.
        #[activity(name = "AddActivity")]
        pub fn add(numbers: (u64, u64)) -> Result<u64>;
        #[orchestrator(name = "SumOrchestration")]
        pub async fn sum(numbers: Vec<u64>) -> Result<u64>;
        #[activity]
        pub fn ping();
    }
}

#[test]
fn a_caller_needs_only_signatures_and_bodies_take_their_names() {
    #[activity(signature = shared::add)]
    fn add(numbers: (u64, u64)) -> Result<u64> {
        Ok(numbers.0 + numbers.1)
    }
    #[orchestrator(signature = shared::sum)]
    async fn sum(ctx: Orchestration, numbers: Vec<u64>) -> Result<u64> {
        let mut sum = 0;
        for number in numbers {
            sum = ctx.call(shared::add, &(sum, number)).await?;
        }
        ctx.call(shared::ping, &()).await?;
        Ok(sum)
    }
    #[orchestrator]
    async fn caller(ctx: Orchestration) -> Result<u64> {
        ctx.sub_orchestration(shared::sum, &vec![1, 2, 3]).await
    }
    let world = World::new()
        .real_activity(add)
        .orchestration(sum)
        .activity(shared::ping, |_| Ok(()));
    let run = world.run(caller, &());
    assert_eq!(run.output(), &6);
    assert_eq!(run.called_names()[..2], ["SumOrchestration", "AddActivity"]);
}

#[orchestrator(events(payment: u32, "Close the account": ()))]
async fn account(ctx: Orchestration) -> Result<u32> {
    let mut total = 0;
    loop {
        select! {
            payment = ctx.event::<u32>("Payment") => total += payment?,
            _ = ctx.event::<()>("close the account") => return Ok(total),
        }
    }
}

#[test]
fn declared_events_can_be_awaited_by_name() {
    let run = World::new()
        .event(secs(1), "payment", &7)
        .event(secs(2), "PAYMENT", &8)
        .event(secs(3), "Close the account", &())
        .run(account, &());
    assert_eq!(run.output(), &15);
}

#[test]
#[should_panic(expected = "the event `payment` for `test` is refused")]
fn an_event_of_the_test_that_the_host_would_reject_panics() {
    let _ = World::new().event(secs(1), "payment", &"7").run(account, &());
}

#[test]
fn an_invalid_event_of_another_instance_is_dropped() {
    #[orchestrator]
    async fn owner(ctx: Orchestration) -> Result<()> {
        let id = ctx.start(account, &()).id("account").send();
        ctx.send_event(&id, "payment", &"much");
        ctx.sleep(secs(1)).await;
        Ok(())
    }
    let run = World::new().orchestration(account).run(owner, &());
    run.output();
    let [line] = run.logs() else { panic!("{:?}", run.logs()) };
    assert_eq!(line.instance_id, "test");
    assert!(
        line.message.starts_with("the event `payment` for `account` is refused"),
        "{line:?}"
    );
}

#[test]
fn awaiting_a_declared_event_as_another_type_fails() {
    #[orchestrator(events(payment: u32))]
    async fn confused(ctx: Orchestration) -> Result<u64> {
        ctx.event::<u64>("Payment").await
    }
    let run = World::new().run(confused, &());
    assert_eq!(
        run.failure().to_string(),
        "EventTypeMismatch: the event `payment` is declared as `u32` and awaited as `u64`"
    );
}

#[test]
fn events_can_be_declared_with_the_signature() {
    mod api {
        use windlass_sdk::prelude::*;

        windlass_sdk::signatures! {
            #[orchestrator(name = "Collector", events(item: u32))]
            pub fn collector() -> Result<u32>;
        }
    }
    #[orchestrator(signature = api::collector)]
    async fn collector(ctx: Orchestration) -> Result<u32> {
        ctx.event("item").await
    }
    use windlass_sdk::OrchestrationSignature;
    assert_eq!(<collector as OrchestrationSignature>::EVENTS[0].name(), "item");
    assert_eq!(World::new().event(secs(1), "item", &3).run(collector, &()).output(), &3);
}

mod doors {
    use windlass_sdk::prelude::*;

    windlass_sdk::signatures! {
        /// Someone knocks.
        #[event(name = "Knock")]
        pub fn knock(times: u32);
        #[event]
        pub fn leave();
        #[orchestrator(events(knock, leave, shout: String))]
        pub fn door() -> Result<u32>;
    }
}

#[test]
fn sender_and_recipient_share_the_declaration_of_an_event() {
    use windlass_sdk::OrchestrationSignature;

    #[orchestrator(signature = doors::door)]
    async fn door(ctx: Orchestration) -> Result<u32> {
        let mut times = 0;
        loop {
            select! {
                knock = ctx.event(doors::knock) => times += knock?,
                shout = ctx.event::<String>("shout") => times += u32::try_from(shout?.len())?,
                left = ctx.event(doors::leave) => return left.map(|()| times),
            }
        }
    }
    #[orchestrator]
    async fn visitor(ctx: Orchestration) -> Result<u32> {
        let opened = ctx.sub_orchestration(doors::door, &()).id("door").start();
        ctx.send_event("door", doors::knock, &3);
        ctx.send_event("door", "knock", &2);
        ctx.send_event("door", "knock", "twice");
        ctx.send_event("door", doors::leave, &());
        opened.await
    }
    let names: Vec<_> = doors::door::EVENTS.iter().map(|event| event.name()).collect();
    assert_eq!(names, ["Knock", "leave", "shout"]);
    let run = World::new().orchestration(door).run(visitor, &());
    assert_eq!(run.output(), &5);
    assert_eq!(run.logs().len(), 1, "the third is refused: {:?}", run.logs());
    let world = World::new()
        .event(secs(1), doors::knock, &7)
        .event(secs(1), "shout", "hey");
    let run = world.event(secs(2), doors::leave, &()).run(door, &());
    assert_eq!(run.output(), &10);
}

#[test]
fn values_that_json_cannot_represent_fail_wherever_they_are_written() {
    #[orchestrator]
    async fn returns() -> Result<Option<f64>> {
        Ok(Some(f64::NAN))
    }
    #[orchestrator]
    async fn shows(ctx: Orchestration) -> Result<()> {
        ctx.set_custom_status(f64::INFINITY);
        Ok(())
    }
    #[orchestrator]
    async fn sends(ctx: Orchestration) -> Result<()> {
        ctx.send_event("other", "number", &[f32::NAN]);
        Ok(())
    }
    #[orchestrator]
    async fn asks(ctx: Orchestration) -> Result<()> {
        ctx.call_named("Work", &f64::NEG_INFINITY).await
    }
    #[orchestrator]
    async fn starts(ctx: Orchestration) -> Result<()> {
        ctx.start_named("Other", &f64::NAN).send();
        Ok(())
    }
    #[orchestrator]
    async fn goes_on(ctx: Orchestration) -> Result<()> {
        ctx.continue_as_new(&f64::NAN)
    }
    let failures = [
        World::new().run(returns, &()).failure().to_string(),
        World::new().run(shows, &()).failure().to_string(),
        World::new().run(sends, &()).failure().to_string(),
        World::new().run(asks, &()).failure().to_string(),
        World::new().run(starts, &()).failure().to_string(),
        World::new().run(goes_on, &()).failure().to_string(),
    ];
    assert_eq!(
        failures,
        [
            r#"InvalidPayload: the output cannot be written: JSON has no number NaN (at "")"#,
            r#"InvalidPayload: the custom status cannot be written: JSON has no number inf (at "")"#,
            r#"InvalidPayload: the event cannot be written: JSON has no number NaN (at "/0")"#,
            r#"InvalidPayload: the input cannot be written: JSON has no number -inf (at "")"#,
            r#"InvalidPayload: the input cannot be written: JSON has no number NaN (at "")"#,
            r#"InvalidPayload: the input cannot be written: JSON has no number NaN (at "")"#,
        ]
    );
}

#[test]
fn timers_reach_from_the_past_to_the_end_of_the_year_9999() {
    #[orchestrator]
    async fn sleeper(ctx: Orchestration, until: Timestamp) -> Result<Timestamp> {
        ctx.sleep_until(until).await;
        Ok(ctx.now())
    }
    #[orchestrator]
    async fn long_sleeper(ctx: Orchestration) -> Result<Timestamp> {
        ctx.sleep(days(4_000_000)).await;
        Ok(ctx.now())
    }
    let before = Timestamp::from_millis(-86_400_000);
    assert_eq!(World::new().run(sleeper, &before).elapsed(), secs(0));
    assert_eq!(World::new().run(long_sleeper, &()).output(), &Timestamp::LAST_WRITABLE);
}
