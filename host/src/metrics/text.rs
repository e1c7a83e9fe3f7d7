//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

use super::Distribution;

/// The type of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, except across restarts.
    Counter,
    /// A current value.
    Gauge,
    /// Counts by ranges.
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// The text under construction. Names and explanations are the host's own; the values of labels may be arbitrary.
#[derive(Debug, Default)]
pub struct Text(String);

/// A metric that samples are added to.
#[derive(Debug)]
pub struct Metric<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Text {
    /// The value of the header `Content-Type`.
    pub const MEDIA_TYPE: &'static str = "text/plain; version=0.0.4; charset=utf-8";

    /// Begins a metric.
    pub fn metric(&mut self, kind: Kind, name: &'static str, help: &str) -> Metric<'_> {
        debug_assert!(!help.contains(['\n', '\\']), "{name}: an explanation is one plain line");
        let text = &mut self.0;
        write(
            text,
            format_args!("# HELP {name} {help}\n# TYPE {name} {}\n", kind.name()),
        );
        Metric { text, name }
    }

    /// Adds a metric of one number without labels.
    pub fn number(&mut self, kind: Kind, name: &'static str, help: &str, value: impl Display) {
        self.metric(kind, name, help).sample(&[], value);
    }

    /// Adds a histogram; its values are divided by `scale` to get the unit in the metric's name.
    pub fn histogram(&mut self, name: &'static str, help: &str, counted: &Distribution, scale: f64) {
        let Metric { text, name } = self.metric(Kind::Histogram, name, help);
        for (bound, count) in &counted.ranges {
            let bound = *bound as f64 / scale;
            write(text, format_args!("{name}_bucket{{le=\"{bound}\"}} {count}\n"));
        }
        let (count, sum) = (counted.count, counted.sum as f64 / scale);
        write(text, format_args!("{name}_bucket{{le=\"+Inf\"}} {count}\n"));
        write(text, format_args!("{name}_sum {sum}\n{name}_count {count}\n"));
    }

    /// Returns the text.
    pub fn finish(self) -> String {
        self.0
    }
}

impl Metric<'_> {
    /// Adds a sample with these labels.
    pub fn sample(self, labels: &[(&str, &str)], value: impl Display) -> Self {
        let Self { text, name } = self;
        text.push_str(name);
        for (index, (label, what)) in labels.iter().enumerate() {
            let before = if index == 0 { '{' } else { ',' };
            write(text, format_args!("{before}{label}=\""));
            escape(text, what);
            text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        write(text, format_args!("{end} {value}\n"));
        Self { text, name }
    }
}

/// Adds the value of a label, in which three characters are escaped.
fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            plain => text.push(plain),
        }
    }
}

fn write(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    text.write_fmt(arguments).expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::metrics::Histogram;

    #[test]
    fn the_text_is_as_prometheus_wants_it() {
        let mut text = Text::default();
        text.number(Kind::Gauge, "things", "How many things there are.", 3);
        text.metric(Kind::Counter, "ends_total", "Ends by kind.")
            .sample(&[("kind", "good"), ("tenant", "default")], 7)
            .sample(&[("kind", "bad"), ("tenant", "default")], 0)
            .sample(&[("kind", "a \"\\\" in\ntwo lines, é")], 1);
        let histogram = Histogram::new([250, 1_000_000, 2_500_000]);
        for micros in [3, 250, 900_000, 9_000_000] {
            histogram.record(micros);
        }
        text.histogram("took_seconds", "How long it took.", &histogram.read(), 1e6);
        expect![[r#"
            # HELP things How many things there are.
            # TYPE things gauge
            things 3
            # HELP ends_total Ends by kind.
            # TYPE ends_total counter
            ends_total{kind="good",tenant="default"} 7
            ends_total{kind="bad",tenant="default"} 0
            ends_total{kind="a \"\\\" in\ntwo lines, é"} 1
            # HELP took_seconds How long it took.
            # TYPE took_seconds histogram
            took_seconds_bucket{le="0.00025"} 2
            took_seconds_bucket{le="1"} 3
            took_seconds_bucket{le="2.5"} 3
            took_seconds_bucket{le="+Inf"} 4
            took_seconds_sum 9.900253
            took_seconds_count 4
        "#]]
        .assert_eq(&text.finish());
    }
}
