//! External events, which the orchestrations send to themselves. Events of one sender arrive in order.

use conformance_api::*;
use windlass_sdk::futures::stream::FuturesUnordered;
use windlass_sdk::prelude::*;

use crate::transcript::Transcript;

/// Waits until all events that were sent before have arrived.
async fn all_arrived(ctx: &Orchestration) -> Result<()> {
    ctx.send_event(ctx.instance_id(), "all arrived", &());
    ctx.event("all arrived").await
}

fn send(ctx: &Orchestration, numbers: &[u32]) {
    for number in numbers {
        ctx.send_event(ctx.instance_id(), tick, number);
    }
}

#[orchestrator(name = "ConformanceEarlyEvents")]
pub async fn early_events(ctx: Orchestration) -> Result<Vec<String>> {
    let mut seen = Transcript::new(&ctx);

    send(&ctx, &[1, 2, 3]);
    all_arrived(&ctx).await?;
    let mut ticks = Vec::new();
    for _ in 0..3 {
        ticks.push(ctx.event(tick).await?);
    }
    seen.saw("sent before the waits, received in order", ticks);

    send(&ctx, &[4]);
    all_arrived(&ctx).await?;
    seen.ended("a name in other letter case", ctx.event::<u32>("tIcK").await);

    ctx.send_event(ctx.instance_id(), "b", &1);
    ctx.send_event(ctx.instance_id(), "a", &2);
    ctx.send_event(ctx.instance_id(), "B", &3);
    all_arrived(&ctx).await?;
    let three = ["a", "b", "b"].map(|name| ctx.event::<u32>(name));
    let order: Vec<_> = three.into_iter().collect::<FuturesUnordered<_>>().collect().await;
    seen.saw("the oldest event first, regardless of its name", order);

    ctx.send_event(ctx.instance_id(), "tick", "five");
    send(&ctx, &[6]);
    all_arrived(&ctx).await?;
    seen.ended("an event of the wrong type", ctx.event(tick).await);
    seen.ended("the event after it", ctx.event(tick).await);

    send(&ctx, &[7]);
    all_arrived(&ctx).await?;
    let won = select! {
        number = ctx.event(tick) => number,
        () = ctx.sleep(secs(30)) => Ok(0),
    };
    seen.ended("an event raced with a timer", won);
    Ok(seen.lines())
}

#[orchestrator(name = "ConformanceWaits")]
pub async fn waits(ctx: Orchestration) -> Result<Vec<String>> {
    let mut seen = Transcript::new(&ctx);

    let (first, second) = (ctx.event(tick), ctx.event(tick));
    send(&ctx, &[1, 2]);
    let (second, first) = try_join!(second, first)?;
    seen.saw("waits receive events in the order of their creation", (first, second));

    let (first, dropped, last) = (ctx.event(tick), ctx.event(tick), ctx.event(tick));
    drop(dropped);
    send(&ctx, &[3, 4]);
    seen.saw("a dropped wait receives no event", try_join!(first, last)?);

    let never_polled = ctx.event(tick);
    send(&ctx, &[5, 6]);
    all_arrived(&ctx).await?;
    drop(never_polled);
    let (first, second) = (ctx.event(tick).await?, ctx.event(tick).await?);
    seen.saw("an event that was not taken is received first", (first, second));

    let (first, second) = (ctx.event(tick), ctx.event(tick));
    send(&ctx, &[7, 8]);
    all_arrived(&ctx).await?;
    drop(second);
    drop(first);
    let (first, second) = (ctx.event(tick).await?, ctx.event(tick).await?);
    seen.saw("two events that were not taken keep their order", (first, second));

    let (first, second) = (ctx.event(tick), ctx.event(tick));
    send(&ctx, &[9]);
    all_arrived(&ctx).await?;
    drop(first);
    seen.ended("an event that was not taken goes to the next wait", second.await);

    let mut timers = 0;
    let number = loop {
        select! {
            number = ctx.event(tick) => break number?,
            () = ctx.sleep(millis(20)) => {
                timers += 1;
                if timers == 3 {
                    send(&ctx, &[10]);
                    all_arrived(&ctx).await?;
                }
            }
        }
    };
    seen.saw("dropped waits take no event", (number, timers));

    let (mut first, mut second) = (ctx.event(tick), ctx.event::<u32>("other"));
    ctx.send_event(ctx.instance_id(), "other", &11);
    send(&ctx, &[12]);
    let won = select! {
        number = first => number,
        number = second => number,
    };
    seen.ended("the first event of two names", won);
    seen.ended("the other event", first.await);
    Ok(seen.lines())
}

/// Returns the first `Tick` that it receives.
#[orchestrator(name = "ConformanceListener", events(tick))]
pub async fn listener(ctx: Orchestration, starter: InstanceId) -> Result<u32> {
    ctx.send_event(&starter, "listens", &());
    ctx.event(tick).await
}

#[orchestrator(name = "ConformanceDeclaredEvents")]
pub async fn declared_events(ctx: Orchestration) -> Result<Vec<String>> {
    let mut seen = Transcript::new(&ctx);
    let id = InstanceId::from(format!("{}-listener", ctx.instance_id()));

    let task = ctx.sub_orchestration(listener, ctx.instance_id()).id(&id).start();
    seen.ended("the listener has started", ctx.event::<()>("listens").await);
    ctx.send_event(&id, "tick", "one");
    ctx.send_event(&id, tick, &2);
    seen.ended("an event of the wrong type is dropped", task.await);

    ctx.send_event(&id, tick, &3);
    ctx.send_event("nobody", tick, &3);
    seen.saw("events to an instance that has ended, and to an unknown one", ());

    let task = ctx.sub_orchestration(listener, ctx.instance_id()).id(&id).start();
    ctx.send_event(&id, tick, &4);
    seen.ended("an event sent in the turn that starts the receiver", task.await);
    Ok(seen.lines())
}
