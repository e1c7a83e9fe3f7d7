//! Different activities in parallel.

use patterns_api::*;
use windlass_sdk::prelude::*;

/// The data of three services about a customer.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct CustomerView {
    pub profile: Profile,
    pub credit: CreditRating,
    pub recommendations: Recommendations,
}

/// Calls three services in parallel and combines their results.
#[orchestrator(name = "ParallelExecution")]
pub async fn parallel_execution(ctx: Orchestration, customer: Customer) -> Result<CustomerView> {
    let (profile, credit, recommendations) = try_join!(
        ctx.call(get_customer_profile, &customer),
        ctx.call(get_credit_rating, &customer),
        ctx.call(get_recommendations, &customer),
    )?;
    Ok(CustomerView {
        profile,
        credit,
        recommendations,
    })
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn the_three_calls_take_as_long_as_the_slowest() {
        let run = World::new()
            .activity(get_customer_profile, |call| {
                call.takes(secs(2));
                Ok(Profile {
                    name: "Ada".into(),
                    city: "London".into(),
                })
            })
            .activity(get_credit_rating, |call| {
                call.takes(secs(3));
                Ok(CreditRating {
                    limit_cents: 100,
                    score: 700,
                })
            })
            .activity(get_recommendations, |call| {
                call.takes(secs(1));
                Ok(Recommendations {
                    skus: vec!["rope-12".into()],
                })
            })
            .run(
                parallel_execution,
                &Customer {
                    customer_id: "cust-ada".into(),
                    backend: Backend::default(),
                },
            );
        assert_eq!(run.output().credit.score, 700);
        assert_eq!(run.elapsed(), secs(3));
    }
}
