//! Numbers, times and bytes as input, output and custom status: what is no number or time is refused, never changed.

use patterns_api::*;
use windlass_sdk::prelude::*;

/// Has an activity divide a reading, and shows the value as it came.
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
    fn a_reading_comes_back_as_it_was() {
        let run = world().run(scale_measurement, &reading(117.63331139400017, 1.0));
        assert_eq!(run.output().value, 117.63331139400017);
        assert_eq!(run.output().taken.to_string(), "1969-12-31T23:59:59.999Z");
        assert_eq!(run.custom_statuses(), [117.63331139400017]);
    }

    #[test]
    fn what_is_no_number_fails_by_its_place() {
        let run = world().run(scale_measurement, &reading(1.0, 0.0));
        assert_eq!(
            run.failure().to_string(),
            r#"InvalidPayload: the output cannot be written: JSON has no number inf (at "/value")"#
        );
    }
}
