//! Orchestrations that wait for long activities.

use long_calls_api::*;
use windlass_sdk::prelude::*;

windlass_sdk::export!(orchestrators: [import_with_heartbeats, ask_somebody]);

#[payload]
#[serde(rename_all = "camelCase")]
pub struct ImportRequest {
    pub import: Import,
    #[serde(default = "five")]
    pub heartbeat_seconds: u64,
    #[serde(default = "hour")]
    pub attempt_seconds: u64,
}

fn five() -> u64 {
    5
}

fn hour() -> u64 {
    3_600
}

/// Imports rows, and stops at the event `Stop`. An attempt that hangs is noticed because it sends no heartbeat.
#[orchestrator(name = "ImportWithHeartbeats", events(stop))]
async fn import_with_heartbeats(ctx: Orchestration, request: ImportRequest) -> Result<Imported> {
    let mut importing = ctx
        .call(import_rows, &request.import)
        .heartbeat_timeout(secs(request.heartbeat_seconds))
        .attempt_timeout(secs(request.attempt_seconds))
        .retry(Retry::fixed(millis(100)).max_attempts(5))
        .start();
    select! {
        imported = &mut importing => imported,
        reason = ctx.event(stop) => {
            importing.cancel();
            Err(importing.await.err().unwrap_or_else(|| Failure::new("Stopped", reason.unwrap_or_default())))
        }
    }
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct AskRequest {
    pub question: Question,
    /// How long one person has to answer.
    #[serde(default = "hour")]
    pub answer_seconds: u64,
    /// How often the question is asked.
    #[serde(default = "two")]
    pub attempts: u32,
}

fn two() -> u32 {
    2
}

/// Asks a person, who answers with the token of the call. Without an answer in time, asks again. The event `Stop` withdraws
/// the question, and a second one says how it was decided instead.
#[orchestrator(name = "AskSomebody", events(stop))]
async fn ask_somebody(ctx: Orchestration, request: AskRequest) -> Result<String> {
    let mut asking = ctx
        .call(ask, &request.question)
        .attempt_timeout(secs(request.answer_seconds))
        .retry(Retry::fixed(millis(100)).max_attempts(request.attempts))
        .start();
    select! {
        answer = &mut asking => answer,
        _ = ctx.event(stop) => {
            asking.cancel();
            ctx.event(stop).await
        }
    }
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn a_hanging_attempt_is_repeated() {
        let request = ImportRequest {
            import: Import {
                rows: 3,
                row_ms: 0,
                fails_after: None,
                hangs_after: None,
                stubborn: false,
            },
            heartbeat_seconds: 5,
            attempt_seconds: 60,
        };
        let run = World::new()
            .activity(import_rows, |call| match call.attempt {
                1 => Err(Failure::new(failure_types::HEARTBEAT_TIMEOUT, "no heartbeat")),
                attempt => Ok(Imported {
                    rows: call.input.rows,
                    resumed_after: 2,
                    attempt,
                }),
            })
            .run(import_with_heartbeats, &request);
        assert_eq!(run.output().attempt, 2);
    }
}
