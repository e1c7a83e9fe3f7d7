//! Sub-orchestrations, and independent orchestrations.

use windlass_sdk::prelude::*;

use crate::transcript::Transcript;

/// What a child does.
#[payload]
pub enum Wish {
    /// Returns the number.
    Echo(u32),
    /// Sleeps for that many milliseconds.
    Sleep(u64),
    /// Fails with this type, details and a cause.
    Fail(String),
    /// Sends an event to its starter, then fails. The flag makes the failure non-retryable.
    TellAndFail(InstanceId, bool),
}

#[orchestrator(name = "ConformanceChild")]
pub async fn child(ctx: Orchestration, wish: Wish) -> Result<u32> {
    match wish {
        Wish::Echo(number) => Ok(number),
        Wish::Sleep(ms) => {
            ctx.sleep(millis(ms)).await;
            Ok(0)
        }
        Wish::Fail(error_type) => Err(Failure::new(error_type, "as requested")
            .details(&[1.5, 2.0])
            .caused_by(Failure::new("Inner", "the inner failure").details("why"))),
        Wish::TellAndFail(starter, for_good) => {
            ctx.send_event(&starter, "began", ctx.instance_id());
            let failure = Failure::new("Told", "as requested");
            Err(if for_good { failure.non_retryable() } else { failure })
        }
    }
}

/// Counts down with one execution for each number, and returns the number of executions.
#[orchestrator(name = "ConformanceCountdown")]
pub async fn countdown(ctx: Orchestration, left: u32) -> Result<u32> {
    match left {
        0 => Ok(ctx.execution()),
        _ => ctx.continue_as_new(&(left - 1)),
    }
}

/// Reports to its starter whether it has a parent, then waits for nothing. The event of the failed turn is not sent.
#[orchestrator(name = "ConformanceIdle")]
pub async fn idle(ctx: Orchestration, starter: InstanceId) -> Result<()> {
    ctx.send_event(&starter, "has parent", &ctx.parent_instance_id().cloned());
    ctx.sleep(millis(1)).await;
    ctx.send_event(&starter, "from the failed turn", &());
    std::future::pending().await
}

#[orchestrator(name = "ConformanceChildren")]
pub async fn children(ctx: Orchestration) -> Result<Vec<String>> {
    let mut seen = Transcript::new(&ctx);

    seen.ended(
        "a child that succeeds",
        ctx.sub_orchestration(child, &Wish::Echo(7)).await,
    );
    let fails = Wish::Fail("Wished".into());
    seen.ended("a child that fails", ctx.sub_orchestration(child, &fails).await);
    seen.ended(
        "a child that continues as new",
        ctx.sub_orchestration(countdown, &3).await,
    );

    let outcome = ctx.sub_orchestration(idle, ctx.instance_id()).await;
    seen.ended("a child that waits for nothing", outcome);
    let parent = ctx.event::<Option<InstanceId>>("has parent").await?;
    seen.saw("the parent of a child", parent.as_ref() == Some(ctx.instance_id()));

    let id = InstanceId::from(format!("{}-started", ctx.instance_id()));
    let started = ctx.start(idle, ctx.instance_id()).id(&id).send();
    seen.saw("started with the requested id", started == id);
    let parent = ctx.event::<Option<InstanceId>>("has parent").await?;
    seen.saw("the parent of a started instance", parent);
    let made_up = ctx.start_named("ConformanceIdle", ctx.instance_id()).send();
    seen.saw("started with a generated id", made_up != id);
    ctx.event::<Option<InstanceId>>("has parent").await?;

    let own_id = ctx.sub_orchestration(child, &Wish::Echo(1)).id(ctx.instance_id()).await;
    seen.ended("the id of a running instance", own_id);
    let id = format!("{}-again", ctx.instance_id());
    for number in [1, 2] {
        let outcome = ctx.sub_orchestration(child, &Wish::Echo(number)).id(&id).await;
        seen.ended("the id of an instance that has ended", outcome);
    }
    let broken = ctx.event::<()>("from the failed turn");
    seen.saw("an event from the failed turn", ctx.timeout(millis(100), broken).await);
    let both = try_join_all([1, 2].map(|number| ctx.sub_orchestration(child, &Wish::Echo(number)))).await;
    seen.ended("two children in parallel", both);
    Ok(seen.lines())
}

#[orchestrator(name = "ConformanceChildAttempts")]
pub async fn child_attempts(ctx: Orchestration) -> Result<Vec<String>> {
    let mut seen = Transcript::new(&ctx);

    let fails = Wish::TellAndFail(ctx.instance_id().clone(), false);
    let retry = Retry::fixed(millis(20)).max_attempts(3);
    let outcome = ctx.sub_orchestration(child, &fails).retry(retry.clone()).await;
    seen.ended_within("three attempts", millis(40), secs(20), outcome);
    let ids = began(&ctx).await?;
    seen.saw(
        "each attempt has its own id",
        ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2],
    );

    let id = InstanceId::from(format!("{}-child", ctx.instance_id()));
    let outcome = ctx.sub_orchestration(child, &fails).id(&id).retry(retry).await;
    seen.ended("three attempts with one id", outcome);
    seen.saw(
        "each attempt has this id",
        began(&ctx).await? == [&id; 3].map(Clone::clone),
    );

    let retry = Retry::fixed(millis(1)).non_retryable("Told");
    let outcome = ctx.sub_orchestration(child, &fails).retry(retry).await;
    seen.ended("a failure type that is not retried", outcome);
    ctx.event::<InstanceId>("began").await?;

    let fails = Wish::TellAndFail(ctx.instance_id().clone(), true);
    let outcome = ctx
        .sub_orchestration(child, &fails)
        .retry(Retry::fixed(millis(1)))
        .await;
    seen.ended("a non-retryable failure", outcome);
    ctx.event::<InstanceId>("began").await?;

    let more = ctx.timeout(millis(100), ctx.event::<InstanceId>("began")).await;
    seen.saw("no further attempt", more.is_err());
    Ok(seen.lines())
}

/// Receives the ids of three children that began.
async fn began(ctx: &Orchestration) -> Result<Vec<InstanceId>> {
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(ctx.event("began").await?);
    }
    Ok(ids)
}
