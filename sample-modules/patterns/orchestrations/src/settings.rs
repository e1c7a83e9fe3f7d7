//! What activities are given beside their input. An orchestration has no settings and no secrets: its activities do.

use patterns_api::*;
use windlass_sdk::prelude::*;

/// Shows settings, and how long secrets are.
#[orchestrator(name = "ShowSettings")]
pub async fn show_settings(ctx: Orchestration, wanted: WantedSettings) -> Result<FoundSettings> {
    ctx.call(read_settings, &wanted).await
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn what_the_activity_finds_is_the_result() {
        let found = FoundSettings {
            config: "eu-west".into(),
            secret_bytes: 10,
        };
        let wanted = WantedSettings {
            config: "region".into(),
            secret: "token".into(),
        };
        let answer = found.clone();
        let run = World::new()
            .activity(read_settings, move |_| Ok(answer.clone()))
            .run(show_settings, &wanted);
        assert_eq!(run.output(), &found);
    }
}
