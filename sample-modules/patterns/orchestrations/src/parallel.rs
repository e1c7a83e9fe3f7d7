//! Different activities at the same time.

use patterns_api::*;
use windlass_sdk::prelude::*;

/// What three services know of a customer.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct CustomerView {
    pub profile: Profile,
    pub credit: CreditRating,
    pub recommendations: Recommendations,
}

/// Asks three services at once and puts their answers together.
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
