//! A workflow of many steps that shows how far it is.

use patterns_api::*;
use windlass_sdk::prelude::*;

#[payload]
#[serde(rename_all = "camelCase")]
pub struct PrimeSearch {
    pub below: u64,
    #[serde(default = "ten")]
    pub steps: u64,
    /// A rest between two steps.
    #[serde(default)]
    pub pause_seconds: u64,
}

fn ten() -> u64 {
    10
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

/// Counts the primes below a number, in steps, and reports its progress.
#[orchestrator(name = "LongWorkflow")]
pub async fn long_workflow(ctx: Orchestration, search: PrimeSearch) -> Result<Progress> {
    let of = search.steps.max(1);
    let mut progress = Progress {
        step: 0,
        of,
        percent: 0,
        primes_so_far: 0,
    };
    for step in 1..=of {
        let range = Range {
            from: search.below * (step - 1) / of,
            to: search.below * step / of,
        };
        progress.primes_so_far += ctx.call(count_primes, &range).await?;
        progress = Progress {
            step,
            percent: 100 * step / of,
            ..progress
        };
        ctx.set_custom_status(&progress);
        if step < of && search.pause_seconds > 0 {
            ctx.sleep(secs(search.pause_seconds)).await;
        }
    }
    Ok(progress)
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn the_steps_cover_everything_below_the_number_once_and_show_their_progress() {
        let run = World::new()
            .activity(count_primes, |call| Ok(call.input.to - call.input.from))
            .run(
                long_workflow,
                &PrimeSearch {
                    below: 1003,
                    steps: 7,
                    pause_seconds: 10,
                },
            );
        assert_eq!(run.output().primes_so_far, 1003);
        assert_eq!(run.elapsed(), secs(60));
        let percents: Vec<_> = run
            .custom_statuses()
            .iter()
            .map(|status| status["percent"].as_u64().unwrap())
            .collect();
        assert_eq!(percents, [14, 28, 42, 57, 71, 85, 100]);
    }
}
