//! Timers and cancellation.

use conformance_api::*;
use windlass_sdk::futures::stream::FuturesUnordered;
use windlass_sdk::prelude::*;

use crate::children::{Wish, child};
use crate::transcript::{Transcript, plan};

#[orchestrator(name = "ConformanceTimers")]
pub async fn timers(ctx: Orchestration) -> Result<Vec<String>> {
    let mut seen = Transcript::new(&ctx);

    let four = [60, 20, 40, 20].map(|ms| ctx.sleep(millis(ms)).map(move |()| ms));
    let order: Vec<u64> = four.into_iter().collect::<FuturesUnordered<_>>().collect().await;
    seen.saw("timers fire in order", order);

    let before = ctx.now();
    ctx.sleep_until(before - days(1)).await;
    ctx.sleep(millis(0)).await;
    seen.saw("a timer in the past fires", ctx.now() >= before);

    let due = ctx.now() + millis(30);
    ctx.sleep_until(due).await;
    seen.saw("a timer is not early", ctx.now() >= due);
    seen.saw("the time does not change within a turn", ctx.now() == ctx.now());

    let first = select! {
        () = ctx.sleep(secs(30)) => "long",
        () = ctx.sleep(millis(10)) => "short",
    };
    seen.saw("the first of two timers wins", first);

    let first = select! {
        () = ctx.sleep(secs(30)) => Ok(0),
        attempt = ctx.call(step, &plan([Act::Succeed])).start() => attempt,
    };
    seen.ended("an activity is faster than a timer", first);

    let unused = ctx.sleep(millis(1));
    ctx.sleep(millis(30)).await;
    drop(unused);
    seen.saw("a timer that fired and was dropped", ());
    Ok(seen.lines())
}

#[orchestrator(name = "ConformanceCancels")]
pub async fn cancels(ctx: Orchestration) -> Result<Vec<String>> {
    let mut seen = Transcript::new(&ctx);

    let task = ctx.call(step, &plan([Act::Hang])).start();
    task.cancel();
    seen.ended("an activity, cancelled immediately", task.await);

    let task = ctx.call(step, &plan([Act::Hang])).start();
    ctx.sleep(millis(50)).await;
    task.cancel();
    task.cancel();
    seen.ended_within("an activity that is running", millis(50), secs(20), task.await);

    let call = ctx.call(step, &plan([Act::Fail("Busy".into())]));
    let task = call.retry(Retry::fixed(secs(25))).start();
    ctx.sleep(millis(50)).await;
    task.cancel();
    seen.ended_within("an activity between two attempts", millis(50), secs(20), task.await);

    let mut task = ctx.call(step, &plan([Act::Succeed])).start();
    let outcome = (&mut task).await;
    task.cancel();
    seen.ended("an activity that has ended", outcome);

    let task = ctx.sub_orchestration(child, &Wish::Sleep(30_000)).start();
    task.cancel();
    seen.ended("a child, cancelled immediately", task.await);

    let task = ctx.sub_orchestration(child, &Wish::Sleep(30_000)).start();
    ctx.sleep(millis(50)).await;
    task.cancel();
    seen.ended_within("a child that is running", millis(50), secs(20), task.await);

    let task = ctx.sub_orchestration(child, &Wish::Echo(7)).start();
    drop(ctx.call(step, &plan([Act::Hang])).start());
    seen.ended("a child is not affected by another cancellation", task.await);
    Ok(seen.lines())
}
