//! An endless orchestration. Each round is a new execution, so that the history does not grow.

use patterns_api::*;
use windlass_sdk::prelude::*;

/// The input of a round: the settings, and the results of the rounds before.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct CleanupState {
    pub older_than_days: u32,
    #[serde(default = "ten")]
    pub limit: u32,
    #[serde(default = "an_hour")]
    pub every_seconds: u64,
    /// The number of rounds; endless if not set.
    #[serde(default)]
    pub rounds: Option<u32>,
    #[serde(default)]
    pub rounds_done: u32,
    #[serde(default)]
    pub deleted: usize,
    #[serde(default)]
    pub backend: Backend,
}

fn ten() -> u32 {
    10
}

fn an_hour() -> u64 {
    3600
}

#[payload]
#[serde(rename_all = "camelCase")]
pub struct CleanupReport {
    pub rounds: u32,
    pub deleted: usize,
}

/// Deletes old records periodically.
#[orchestrator(name = "PeriodicCleanup")]
pub async fn periodic_cleanup(ctx: Orchestration, mut state: CleanupState) -> Result<CleanupReport> {
    let cleanup = Cleanup {
        older_than_days: state.older_than_days,
        limit: state.limit,
        backend: state.backend.clone(),
    };
    let cleaned = ctx
        .call(delete_old_records, &cleanup)
        .retry(Retry::exponential(secs(5)).max_attempts(10))
        .await?;
    state.rounds_done += 1;
    state.deleted += cleaned.deleted.len();

    let report = CleanupReport {
        rounds: state.rounds_done,
        deleted: state.deleted,
    };
    ctx.set_custom_status(&report);
    if state.rounds.is_some_and(|rounds| state.rounds_done >= rounds) {
        return Ok(report);
    }
    ctx.sleep(secs(state.every_seconds)).await;
    ctx.continue_as_new(&state)
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn each_round_is_an_execution_with_the_results_of_the_rounds_before() {
        let state = CleanupState {
            older_than_days: 30,
            limit: 10,
            every_seconds: 3600,
            rounds: Some(3),
            rounds_done: 0,
            deleted: 0,
            backend: Backend::default(),
        };
        let run = World::new()
            .activity(delete_old_records, |_| {
                Ok(Cleaned {
                    deleted: vec!["a".into(), "b".into()],
                    remaining: 0,
                })
            })
            .run(periodic_cleanup, &state);
        assert_eq!((run.output().rounds, run.output().deleted), (3, 6));
        assert_eq!((run.executions(), run.elapsed()), (3, hours(2)));
    }
}
