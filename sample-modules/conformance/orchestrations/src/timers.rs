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
    seen.saw("in the order in which they are due", order);

    let before = ctx.now();
    ctx.sleep_until(before - days(1)).await;
    ctx.sleep(millis(0)).await;
    seen.saw("one in the past fires", ctx.now() >= before);

    let due = ctx.now() + millis(30);
    ctx.sleep_until(due).await;
    seen.saw("it is not early", ctx.now() >= due);
    seen.saw("time stands still", ctx.now() == ctx.now());

    let first = select! {
        () = ctx.sleep(secs(30)) => "long",
        () = ctx.sleep(millis(10)) => "short",
    };
    seen.saw("the first wins", first);

    let first = select! {
        () = ctx.sleep(secs(30)) => Ok(0),
        attempt = ctx.call(step, &plan([Act::Succeed])).start() => attempt,
    };
    seen.ended("an activity is faster", first);

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
    seen.ended("at once", task.await);

    let task = ctx.call(step, &plan([Act::Hang])).start();
    ctx.sleep(millis(50)).await;
    task.cancel();
    task.cancel();
    seen.ended_within("an activity that runs", millis(50), secs(20), task.await);

    let call = ctx.call(step, &plan([Act::Fail("Busy".into())]));
    let task = call.retry(Retry::fixed(secs(25))).start();
    ctx.sleep(millis(50)).await;
    task.cancel();
    seen.ended_within("between two attempts", millis(50), secs(20), task.await);

    let mut task = ctx.call(step, &plan([Act::Succeed])).start();
    let outcome = (&mut task).await;
    task.cancel();
    seen.ended("after its end", outcome);

    let task = ctx.sub_orchestration(child, &Wish::Sleep(30_000)).start();
    task.cancel();
    seen.ended("a child at once", task.await);

    let task = ctx.sub_orchestration(child, &Wish::Sleep(30_000)).start();
    ctx.sleep(millis(50)).await;
    task.cancel();
    seen.ended_within("a child that runs", millis(50), secs(20), task.await);

    let task = ctx.sub_orchestration(child, &Wish::Echo(7)).start();
    drop(ctx.call(step, &plan([Act::Hang])).start());
    seen.ended("another one goes on", task.await);
    Ok(seen.lines())
}
