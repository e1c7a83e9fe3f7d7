//! Settings and secrets of activities. Orchestrations have none.

use patterns_api::*;
use windlass_sdk::prelude::*;

/// Returns a setting, and the length of a secret.
#[orchestrator(name = "ShowSettings")]
pub async fn show_settings(ctx: Orchestration, wanted: WantedSettings) -> Result<FoundSettings> {
    ctx.call(read_settings, &wanted).await
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn the_result_is_that_of_the_activity() {
        let found = FoundSettings {
            config: "eu-west".into(),
            secret_bytes: 10,
        };
        let wanted = WantedSettings {
            config: "region".into(),
            secret: "token".into(),
        };
        let output = found.clone();
        let run = World::new()
            .activity(read_settings, move |_| Ok(output.clone()))
            .run(show_settings, &wanted);
        assert_eq!(run.output(), &found);
    }
}
