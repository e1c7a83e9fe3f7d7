//! Numbers, times and bytes as input, output and custom status. Invalid values are refused, never changed.

use patterns_api::*;
use windlass_sdk::prelude::*;

/// Sets the value of a reading as custom status, and divides it in an activity.
#[orchestrator(name = "ScaleMeasurement")]
pub async fn scale_measurement(ctx: Orchestration, reading: Reading) -> Result<Reading> {
    ctx.set_custom_status(reading.value);
    ctx.call(scale_reading, &reading).await
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    fn reading(value: f64, divisor: f64) -> Reading {
        Reading {
            value,
            divisor,
            count: 1,
            taken: Timestamp::from_millis(-1),
            scan: Bytes::default(),
        }
    }

    fn world() -> World {
        World::new().activity(scale_reading, |call| {
            let value = call.input.value / call.input.divisor;
            Ok(Reading {
                value,
                ..call.input.clone()
            })
        })
    }

    #[test]
    fn a_reading_round_trips() {
        let run = world().run(scale_measurement, &reading(117.63331139400017, 1.0));
        assert_eq!(run.output().value, 117.63331139400017);
        assert_eq!(run.output().taken.to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(run.custom_statuses(), [117.63331139400017]);
    }

    #[test]
    fn an_output_that_is_not_a_number_fails_with_its_place() {
        let run = world().run(scale_measurement, &reading(1.0, 0.0));
        assert_eq!(
            run.failure().to_string(),
            r#"InvalidPayload: the output cannot be written: JSON has no number inf (at "/value")"#
        );
    }
}
