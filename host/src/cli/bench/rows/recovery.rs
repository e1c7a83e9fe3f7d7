//! SIGKILL under load, and the time until everything that was in flight is done.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;

use super::TEXT;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::target::Target;
use crate::cli::error::CliError;

/// How many chains, approximately, each connection has completed when the host is killed.
const ROUNDS: usize = 10;

/// What is known about the chains, by number.
#[derive(Default)]
struct Ledger {
    next: u32,
    /// Requested; not known to be accepted.
    asked: BTreeSet<u32>,
    /// Accepted; not known to have ended.
    accepted: BTreeSet<u32>,
    /// Known to have completed.
    completed: BTreeSet<u32>,
}

fn id(number: u32) -> String {
    format!("chain-{number}")
}

/// Kills the host `kills` times with `in_flight` chains in flight. Returns the times of the slowest recovery.
pub(in crate::cli::bench) async fn recovery(
    target: &mut Target,
    kills: u32,
    in_flight: u32,
) -> Result<Figures, CliError> {
    let ledger = RefCell::new(Ledger::default());
    let (mut slowest_s, mut ready_s) = (0.0_f64, 0.0_f64);
    for _ in 0..kills {
        kill_under_load(target, &ledger, in_flight).await?;
        let started_at = Instant::now();
        ready_s = ready_s.max(target.resume().await?);
        let accepted: Vec<u32> = ledger.borrow().accepted.iter().copied().collect();
        all_completed(target, &accepted, in_flight).await?;
        slowest_s = slowest_s.max(started_at.elapsed().as_secs_f64());
        let mut ledger = ledger.borrow_mut();
        ledger.accepted.clear();
        ledger.completed.extend(accepted);
    }
    let ledger = ledger.into_inner();
    let completed: Vec<u32> = ledger.completed.into_iter().collect();
    all_completed(target, &completed, in_flight).await?;
    let asked: Vec<u32> = ledger.asked.into_iter().collect();
    let count = u32::try_from(asked.len()).unwrap_or(u32::MAX);
    target
        .load()
        .spread(in_flight, count, async |connection, number| {
            let id = id(asked[number as usize]);
            match connection.get(&format!("/v1/instances/{id}")).await?.status {
                StatusCode::NOT_FOUND => Ok(()),
                _ => connection.complete(&id, TEXT).await,
            }
        })
        .await?;
    let mut figures = Figures::new("recovery", slowest_s);
    figures.instances = Some(completed.len() as u64);
    figures.ready_s = Some(ready_s);
    Ok(figures)
}

/// Starts chains and waits for their ends, `in_flight` at a time, and kills the host meanwhile.
async fn kill_under_load(target: &mut Target, ledger: &RefCell<Ledger>, in_flight: u32) -> Result<(), CliError> {
    let enough = ledger.borrow().completed.len() + ROUNDS * in_flight as usize;
    let (killed, failed) = (Cell::new(false), Cell::new(false));
    let load = target.load().clone();
    let work = load.spread(in_flight, u32::MAX, async |connection, _| {
        let number = {
            let mut ledger = ledger.borrow_mut();
            ledger.next += 1;
            let number = ledger.next;
            ledger.asked.insert(number);
            number
        };
        let body = Bytes::from_static(TEXT.as_bytes());
        connection.start("BenchChain", &id(number), body).await?;
        {
            let mut ledger = ledger.borrow_mut();
            ledger.asked.remove(&number);
            ledger.accepted.insert(number);
        }
        connection.complete(&id(number), TEXT).await?;
        let mut ledger = ledger.borrow_mut();
        ledger.accepted.remove(&number);
        ledger.completed.insert(number);
        Ok(())
    });
    let work = async {
        // The first request that fails ends all of them.
        let ended = work.await;
        failed.set(true);
        ended
    };
    let kill = async {
        while ledger.borrow().completed.len() < enough && !failed.get() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        killed.set(!failed.get());
        target.own().kill().await;
    };
    match tokio::join!(work, kill).0 {
        Err(CliError::Unreachable { .. }) if killed.get() => Ok(()),
        Err(other) => Err(other),
        Ok(_) => Err(CliError::failed("the load ended before the host was killed")),
    }
}

async fn all_completed(target: &Target, numbers: &[u32], in_flight: u32) -> Result<(), CliError> {
    let count = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
    let check = target.load().spread(in_flight, count, async |connection, number| {
        connection.complete(&id(numbers[number as usize]), TEXT).await
    });
    check.await.map(|_| ())
}
