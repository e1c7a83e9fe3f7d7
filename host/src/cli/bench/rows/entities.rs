//! Entities: signals to one, calls to one and to many, and what those cost that nobody uses.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::ms_since;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::load::Connection;
use crate::cli::bench::target::{Reading, Target};
use crate::cli::error::CliError;

/// Signals of one orchestration, all in one turn.
const SIGNALS: u32 = 1_000;

/// How long the host is idle before its memory is read: pages return to the system a moment after they are freed.
const SETTLE: Duration = Duration::from_secs(2);

/// The input of an orchestration that sends operations to `counters` counters, beginning with the one numbered `first`.
fn operations(operations: u32, counters: u32, first: u32) -> Bytes {
    format!("{{\"operations\":{operations},\"counters\":{counters},\"first\":{first}}}").into()
}

/// Measures `signals` to one counter, until all are applied. Orchestrations send them, `in_flight` at a time.
pub(in crate::cli::bench) async fn signals(target: &Target, signals: u32, in_flight: u32) -> Result<Figures, CliError> {
    let (senders, each) = (signals.div_ceil(SIGNALS), SIGNALS.min(signals));
    let mut connection = target.load().connect().await?;
    let earlier = target.read().await?.operations;
    connection.run("BenchSignals", operations(1, 1, 0), "1").await?;
    let before = target
        .once("the first signal to be applied", |now| now.operations > earlier)
        .await?;
    let count = counted(&mut connection, 0).await?;
    let started_at = Instant::now();
    target
        .load()
        .spread(in_flight, senders, async |connection, _| {
            let input = operations(each, 1, 0);
            connection.run("BenchSignals", input, &each.to_string()).await
        })
        .await?;
    let all = u64::from(senders) * u64::from(each);
    let is_applied = |now: &Reading| now.operations - before.operations >= all;
    let after = target.once("all signals to be applied", is_applied).await?;
    let wall_s = started_at.elapsed().as_secs_f64();
    expect_more(&mut connection, 0, count, all).await?;
    Ok(Figures::new("signals", wall_s).operations(all).used(&before, &after))
}

/// Measures `calls`, spread over `counters` counters. `callers` orchestrations make them, each one call at a time.
pub(in crate::cli::bench) async fn calls(
    target: &Target,
    calls: u32,
    callers: u32,
    counters: u32,
) -> Result<Figures, CliError> {
    let callers = callers.max(1);
    let each = (calls / callers).max(1);
    let run = async |calls: u32| -> Result<Vec<f64>, CliError> {
        target
            .load()
            .spread(callers, callers, async |connection, number| {
                let started_at = Instant::now();
                let input = operations(calls, counters, number.wrapping_mul(counters / callers));
                connection.run("BenchCalls", input, &calls.to_string()).await?;
                Ok(ms_since(started_at) / f64::from(calls))
            })
            .await
    };
    run(1).await?;
    let before = target.read().await?;
    let mut connection = target.load().connect().await?;
    let count = counted(&mut connection, 0).await?;
    let started_at = Instant::now();
    let times = run(each).await?;
    let wall_s = started_at.elapsed().as_secs_f64();
    let after = target.read().await?;
    let all = u64::from(callers) * u64::from(each);
    if counters == 1 {
        expect_more(&mut connection, 0, count, all).await?;
    }
    let mut figures = Figures::new("calls", wall_s).operations(all).times_ms(times);
    figures.entities = Some(counters.into());
    figures.callers = Some(callers.into());
    Ok(figures.used(&before, &after))
}

/// Measures what `entities` that nobody uses any more cost on disk and in memory.
pub(in crate::cli::bench) async fn idle(
    target: &mut Target,
    entities: u32,
    in_flight: u32,
) -> Result<Figures, CliError> {
    let signal = async |connection: &mut Connection, number: u32| {
        let path = format!("/v1/entities/BenchCounter/{number}/signals/add");
        let answer = connection.send(Method::POST, &path, Bytes::new()).await?;
        answer.expect(StatusCode::ACCEPTED).map(|_| ())
    };
    let warm_up = target.load().spread(in_flight, in_flight, async |connection, number| {
        signal(connection, entities + number).await
    });
    warm_up.await?;
    target.once("the host to become idle", |now| now.active == 0).await?;
    target.restart().await?;
    let bytes = target.own().database_bytes()?;
    let before = target.read().await?;
    let started_at = Instant::now();
    target.load().spread(in_flight, entities, signal).await?;
    let is_applied = |now: &Reading| now.operations - before.operations >= u64::from(entities);
    target.once("all signals to be applied", is_applied).await?;
    let wall_s = started_at.elapsed().as_secs_f64();
    target.once("all entities to be idle", |now| now.active == 0).await?;
    tokio::time::sleep(SETTLE).await;
    let after = target.read().await?;
    let mut connection = target.load().connect().await?;
    expect_more(&mut connection, 0, 0, 1).await?;
    drop(connection);
    target.restart().await?;
    let grown = target.own().database_bytes()?.saturating_sub(bytes);

    let mut figures = Figures::new("idle-entities", wall_s).operations(entities.into());
    figures.entities = Some(entities.into());
    figures.bytes_per_entity = Some(grown as f64 / f64::from(entities));
    figures.rss_growth_bytes = Some(after.rss_bytes.saturating_sub(before.rss_bytes));
    Ok(figures.used(&before, &after))
}

/// How many operations a counter has applied.
async fn counted(connection: &mut Connection, key: u32) -> Result<u64, CliError> {
    #[derive(Deserialize)]
    struct Entity {
        state: Counter,
    }
    #[derive(Deserialize)]
    struct Counter {
        count: u64,
    }
    let answer = connection.get(&format!("/v1/entities/BenchCounter/{key}")).await?;
    Ok(answer.expect(StatusCode::OK)?.read::<Entity>()?.state.count)
}

/// Returns an error unless a counter that had applied `before` operations has applied so many more.
async fn expect_more(connection: &mut Connection, key: u32, before: u64, more: u64) -> Result<(), CliError> {
    let applied = counted(connection, key).await? - before;
    match applied == more {
        true => Ok(()),
        false => Err(CliError::failed(format!(
            "counter {key} applied {applied} operations instead of {more}"
        ))),
    }
}
