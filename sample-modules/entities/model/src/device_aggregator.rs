//! Many signals, one state: readings of devices are summed up per window of time, which the entity closes itself with a
//! delayed signal.

use std::collections::BTreeMap;

use windlass_sdk::prelude::*;

use crate::overheat_alarm;

/// Windows that are kept. Older ones are dropped, so that the state does not grow.
const KEPT_WINDOWS: usize = 24;

/// Devices of one window. Readings of further ones are counted and dropped.
const MAX_DEVICES: usize = 200;

/// Sums up the readings of the devices of one site, window by window.
#[entity(name = "DeviceAggregator")]
#[payload]
#[derive(Default)]
pub struct DeviceAggregator {
    configuration: Configuration,
    /// The number of the open window; 0 before the first reading.
    window: u64,
    /// When the open window began, if one is open.
    opened: Option<Timestamp>,
    devices: BTreeMap<String, Summary>,
    dropped: u64,
    closed: Vec<Window>,
}

/// How an aggregator works.
#[payload]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// The length of a window in seconds.
    #[schemars(range(min = 1, max = 86_400))]
    pub window_seconds: u64,
    /// A window whose mean is above this starts the orchestration `OverheatAlarm`.
    pub alarm_above: Option<f64>,
}

impl Default for Configuration {
    fn default() -> Self {
        Self {
            window_seconds: 60,
            alarm_above: None,
        }
    }
}

/// One reading of a device.
#[payload]
pub struct Reading {
    pub device: String,
    pub value: f64,
}

/// The readings of one device, or of all devices, in a window.
#[payload]
#[derive(Default, PartialEq)]
pub struct Summary {
    pub count: u64,
    pub sum: f64,
    pub min: f64,
    pub max: f64,
}

/// A window that is closed.
#[payload]
#[derive(PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Window {
    pub site: String,
    pub number: u64,
    pub opened: Timestamp,
    pub closed: Timestamp,
    pub devices: u64,
    /// Readings of devices beyond the maximum.
    pub dropped: u64,
    pub total: Summary,
}

#[operations]
impl DeviceAggregator {
    /// Changes the configuration, from the next window on.
    fn configure(&mut self, configuration: Configuration) {
        self.configuration = configuration;
    }

    /// Takes a reading. The first one of a window opens it.
    fn report(&mut self, ctx: &Entity, reading: Reading) {
        if self.opened.is_none() {
            self.window += 1;
            self.opened = Some(ctx.now());
            let after = secs(self.configuration.window_seconds.clamp(1, 86_400));
            ctx.entity(Self::at(ctx.key()))
                .signal()
                .after(after)
                .close(&self.window);
        }
        if self.devices.len() >= MAX_DEVICES && !self.devices.contains_key(&reading.device) {
            self.dropped += 1;
            return;
        }
        self.devices.entry(reading.device).or_default().add(reading.value);
    }

    /// Closes the window with that number, if it is still open. The aggregator signals this to itself.
    fn close(&mut self, ctx: &Entity, number: u64) {
        if number != self.window {
            return;
        }
        let Some(opened) = self.opened.take() else { return };
        let devices = std::mem::take(&mut self.devices);
        let window = Window {
            site: ctx.key().into(),
            number,
            opened,
            closed: ctx.now(),
            devices: devices.len() as u64,
            dropped: std::mem::take(&mut self.dropped),
            total: devices.values().fold(Summary::default(), Summary::merged),
        };
        if self
            .configuration
            .alarm_above
            .is_some_and(|limit| window.total.mean() > limit)
        {
            let id = format!("overheat-{}-{number}", ctx.key());
            ctx.start(overheat_alarm, &window).id(id).send();
        }
        self.closed.push(window);
        let surplus = self.closed.len().saturating_sub(KEPT_WINDOWS);
        self.closed.drain(..surplus);
    }

    /// Returns the windows that were closed last, at most 24, oldest first.
    fn windows(&self) -> Vec<Window> {
        self.closed.clone()
    }
}

impl Summary {
    fn add(&mut self, value: f64) {
        let one = Self {
            count: 1,
            sum: value,
            min: value,
            max: value,
        };
        *self = std::mem::take(self).merged(&one);
    }

    fn merged(self, other: &Self) -> Self {
        if self.count == 0 {
            return other.clone();
        }
        Self {
            count: self.count + other.count,
            // The sum of finite numbers may overflow, and a payload cannot hold an infinity.
            sum: (self.sum + other.sum).clamp(f64::MIN, f64::MAX),
            min: self.min.min(other.min),
            max: self.max.max(other.max),
        }
    }

    /// The mean of the readings; 0 without any.
    pub fn mean(&self) -> f64 {
        match self.count {
            0 => 0.0,
            count => self.sum / count as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use windlass_sdk::testing::World;

    use super::*;

    fn site() -> windlass_sdk::EntityRef<DeviceAggregator> {
        DeviceAggregator::at("north")
    }

    fn report(world: World, after: u64, device: &str, value: f64) -> World {
        let reading = Reading {
            device: device.into(),
            value,
        };
        world.signal(secs(after), site(), |site| site.report(&reading))
    }

    #[test]
    fn an_aggregator_closes_its_windows_itself() {
        let mut world = World::new().entity::<DeviceAggregator>();
        for (after, device, value) in [
            (5, "a", 1.0),
            (10, "b", -3.0),
            (64, "a", 2.0),
            (66, "a", 9.0),
            (200, "b", 4.0),
        ] {
            world = report(world, after, device, value);
        }
        let run = world.run_entities(secs(300));
        let state = run.state_of(site()).unwrap();
        let windows: Vec<_> = state
            .closed
            .iter()
            .map(|window| {
                (
                    window.number,
                    window.devices,
                    window.total.count,
                    window.total.sum,
                    window.closed - window.opened,
                )
            })
            .collect();
        assert_eq!(
            windows,
            [
                (1, 2, 3, 0.0, mins(1)),
                (2, 1, 1, 9.0, mins(1)),
                (3, 1, 1, 4.0, mins(1))
            ]
        );
        assert_eq!((state.closed[0].total.min, state.closed[0].total.max), (-3.0, 2.0));
        assert!(state.opened.is_none() && state.devices.is_empty());
        assert_eq!(run.sent_signals().len(), 3);
    }

    #[test]
    fn a_hot_window_starts_an_alarm_once() {
        let configuration = Configuration {
            window_seconds: 10,
            alarm_above: Some(50.0),
        };
        let mut world = World::new()
            .entity::<DeviceAggregator>()
            .signal(secs(0), site(), |site| site.configure(&configuration));
        for (after, value) in [(1, 40.0), (2, 59.0), (20, 70.0), (21, 80.0)] {
            world = report(world, after, "a", value);
        }
        let run = world
            .signal(secs(40), site(), |site| site.close(&2)) // too late
            .run_entities(secs(60));
        assert_eq!(run.called_names(), ["OverheatAlarm"]);
        assert_eq!(run.calls()[0].input["number"], 2);
        assert_eq!(run.calls()[0].input["total"]["sum"], 150.0);
    }

    #[test]
    fn only_the_last_windows_are_kept() {
        let configuration = Configuration {
            window_seconds: 1,
            alarm_above: None,
        };
        let mut world = World::new()
            .entity::<DeviceAggregator>()
            .signal(secs(0), site(), |site| site.configure(&configuration));
        for window in 1..=30 {
            world = report(world, window * 2, "a", 1.0);
        }
        let state = world.run_entities(secs(100)).state_of(site()).unwrap();
        assert_eq!(state.closed.len(), KEPT_WINDOWS);
        assert_eq!((state.closed[0].number, state.closed[23].number), (7, 30));
    }

    #[test]
    fn readings_of_too_many_devices_are_counted() {
        let mut world = World::new().entity::<DeviceAggregator>();
        for device in 0..MAX_DEVICES + 5 {
            world = report(world, 0, &device.to_string(), f64::MAX);
        }
        world = report(world, 1, "7", f64::MAX);
        let state = world.run_entities(secs(100)).state_of(site()).unwrap();
        let window = &state.closed[0];
        assert_eq!((window.devices, window.dropped, window.total.count), (200, 5, 201));
        assert_eq!(window.total.sum, f64::MAX);
    }
}
