//! Readings for a `DeviceAggregator`, and the alarm that it starts.

use entities_model::{DeviceAggregator, Reading, Window};
use windlass_sdk::prelude::*;

/// The input.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct Readings {
    pub site: String,
    #[schemars(range(min = 1, max = 100))]
    pub devices: u32,
    /// Readings of each device.
    #[schemars(range(min = 1, max = 100))]
    pub readings: u32,
    /// The length of a window, and the time for which to wait.
    #[schemars(range(min = 1, max = 3_600))]
    pub window_seconds: u64,
    /// The mean above which the aggregator starts the alarm.
    #[serde(default)]
    pub alarm_above: Option<f64>,
}

/// Signals readings of many devices, waits until their window is closed, and returns it.
#[orchestrator(name = "SendReadings")]
pub async fn send_readings(ctx: Orchestration, input: Readings) -> Result<Window> {
    let site = ctx.entity(DeviceAggregator::at(&input.site));
    let configuration = entities_model::Configuration {
        window_seconds: input.window_seconds,
        alarm_above: input.alarm_above,
    };
    site.configure(&configuration).await?;
    for reading in 1..=input.readings {
        for device in 1..=input.devices {
            site.signal().report(&Reading {
                device: format!("device-{device}"),
                value: f64::from(reading),
            });
        }
    }
    let sent = ctx.now();
    loop {
        ctx.sleep(secs(input.window_seconds)).await;
        let windows = site.windows().await?;
        if let Some(window) = windows.into_iter().find(|window| window.closed > sent) {
            return Ok(window);
        }
        info!("the window is still open");
    }
}

/// Says that a site is too hot. An aggregator starts it.
#[orchestrator(signature = entities_model::overheat_alarm)]
pub async fn overheat_alarm(ctx: Orchestration, window: Window) -> Result<String> {
    let line = format!(
        "{} is at {:.1} in window {}",
        window.site,
        window.total.mean(),
        window.number
    );
    ctx.set_custom_status(&line);
    error!("{line}");
    Ok(line)
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    #[test]
    fn readings_end_up_in_one_window() {
        let input = Readings {
            site: "north".into(),
            devices: 3,
            readings: 4,
            window_seconds: 60,
            alarm_above: Some(2.0),
        };
        let world = World::new().entity::<DeviceAggregator>().orchestration(overheat_alarm);
        let run = world.run(send_readings, &input);
        let window = run.output();
        assert_eq!((window.devices, window.total.count, window.total.sum), (3, 12, 30.0));
        assert_eq!(run.elapsed(), mins(1));
        let alarm = "north is at 2.5 in window 1";
        assert!(
            run.logs()
                .iter()
                .any(|line| line.instance_id == "overheat-north-1" && line.message == alarm)
        );
    }
}
