//! A workflow with several steps that reports its progress.

use patterns_api::*;
use windlass_sdk::prelude::*;

#[payload]
#[serde(rename_all = "camelCase")]
pub struct PrimeSearch {
    pub below: u64,
    /// The pause between two steps.
    #[serde(default)]
    pub pause_seconds: u64,
}

/// The custom status: a structure, for programs as well as for people.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    pub step: u64,
    pub of: u64,
    pub percent: u64,
    pub primes_so_far: u64,
}

/// Counts the primes below a number in three steps, and reports its progress after each.
#[orchestrator(name = "LongWorkflow")]
pub async fn long_workflow(ctx: Orchestration, search: PrimeSearch) -> Result<Progress> {
    const STEPS: u64 = 3;
    let part = |step: u64| Range {
        from: search.below * (step - 1) / STEPS,
        to: search.below * step / STEPS,
    };
    let report = |step: u64, primes_so_far: u64| {
        let progress = Progress {
            step,
            of: STEPS,
            percent: 100 * step / STEPS,
            primes_so_far,
        };
        ctx.set_custom_status(&progress);
        progress
    };

    let mut primes = ctx.call(step_1, &part(1)).await?;
    report(1, primes);
    ctx.sleep(secs(search.pause_seconds)).await;

    primes += ctx.call(step_2, &part(2)).await?;
    report(2, primes);
    ctx.sleep(secs(search.pause_seconds)).await;

    primes += ctx.call(step_3, &part(3)).await?;
    Ok(report(3, primes))
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn the_steps_cover_all_numbers_once_and_report_progress() {
        let run = World::new()
            .activity(step_1, |call| Ok(call.input.to - call.input.from))
            .activity(step_2, |call| Ok(call.input.to - call.input.from))
            .activity(step_3, |call| Ok(call.input.to - call.input.from))
            .run(
                long_workflow,
                &PrimeSearch {
                    below: 1003,
                    pause_seconds: 10,
                },
            );
        assert_eq!(run.output().primes_so_far, 1003);
        assert_eq!(run.elapsed(), secs(20));
        let percents: Vec<_> = run
            .custom_statuses()
            .iter()
            .map(|status| status["percent"].as_u64().unwrap())
            .collect();
        assert_eq!(percents, [33, 66, 100]);
    }
}
