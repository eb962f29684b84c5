//! Metrics as text: Prometheus' own format, and OpenMetrics 1.0 for a client that asks for it. prometheus-client writes
//! both.
//!
//! Every value is read at the moment of a scrape, so that a registry of counters would be a second place for the same
//! numbers.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

/// How it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What a client that sends this `Accept` wants.
    pub fn accepted(accept: &str) -> Format {
        if accept.contains("application/openmetrics-text") { Format::OpenMetrics } else { Format::Text }
    }

    /// Its name in HTTP.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::Text => prometheus_text::CONTENT_TYPE,
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// An empty distribution of durations, in seconds.
pub fn durations() -> Histogram {
    Histogram::new([0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0])
}

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

/// What stands in one line, or in those of one distribution.
#[derive(Debug)]
pub enum Value {
    /// A whole number that goes up and down.
    Whole(u64),
    /// Another number that goes up and down.
    Number(f64),
    /// A number that only goes up.
    Counter(u64),
    /// A distribution.
    Histogram(Histogram),
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Whole(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Value {
        Value::Number(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Value {
        Value::Whole(u64::from(yes))
    }
}

impl Value {
    fn kind(&self) -> MetricType {
        match self {
            Value::Whole(_) | Value::Number(_) => MetricType::Gauge,
            Value::Counter(_) => MetricType::Counter,
            Value::Histogram(_) => MetricType::Histogram,
        }
    }

    fn encode(&self, encoder: MetricEncoder<'_>) -> fmt::Result {
        match self {
            Value::Whole(number) => ConstGauge::new(*number).encode(encoder),
            Value::Number(number) => ConstGauge::new(*number).encode(encoder),
            Value::Counter(number) => ConstCounter::new(*number).encode(encoder),
            Value::Histogram(histogram) => histogram.encode(encoder),
        }
    }
}

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Page {
    families: Vec<Family>,
}

#[derive(Debug)]
struct Family {
    name: &'static str,
    help: &'static str,
    samples: Vec<(Labels, Value)>,
}

impl Page {
    /// A value that goes up and down; nothing if there is none.
    pub fn gauge<V: Into<Value>>(&mut self, name: &'static str, help: &'static str, value: Option<V>) {
        self.gauges(name, help, value.map(|value| (vec![], value)));
    }

    /// The same with labels.
    pub fn gauges<V: Into<Value>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, V)>,
    ) {
        self.family(name, help, samples.into_iter().map(|(labels, value)| (labels, value.into())));
    }

    /// A value that only goes up; nothing if there is none. `_total` is written behind its name.
    pub fn counter(&mut self, name: &'static str, help: &'static str, value: Option<u64>) {
        self.counters(name, help, value.map(|value| (vec![], value)));
    }

    /// The same with labels.
    pub fn counters(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) {
        self.family(name, help, samples.into_iter().map(|(labels, value)| (labels, Value::Counter(value))));
    }

    /// Distributions, each with its labels.
    pub fn histograms<'a>(
        &mut self,
        name: &'static str,
        help: &'static str,
        histograms: impl IntoIterator<Item = (Labels, &'a Histogram)>,
    ) {
        let value = |histogram: &Histogram| Value::Histogram(histogram.clone());
        self.family(name, help, histograms.into_iter().map(|(labels, histogram)| (labels, value(histogram))));
    }

    fn family(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl Iterator<Item = (Labels, Value)>,
    ) {
        self.families.push(Family { name, help, samples: samples.collect() });
    }

    /// The whole page.
    ///
    /// # Errors
    ///
    /// If a value cannot be written in the format: a whole number from 2^63 on.
    pub fn encode(self, format: Format) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut page = String::new();
        match format {
            Format::Text => prometheus_text::encode(&mut page, &registry)?,
            Format::OpenMetrics => text::encode(&mut page, &registry)?,
        }
        Ok(page)
    }
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.families {
            let Some((_, first)) = family.samples.first() else { continue };
            let mut encoder = encoder.encode_descriptor(family.name, family.help, None, first.kind())?;
            for (labels, value) in &family.samples {
                value.encode(encoder.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(format: Format) -> String {
        let mut page = Page::default();
        page.gauge("x_a", "A.", Some(1.5));
        page.gauge("x_yes", "Yes.", Some(true));
        page.gauge("x_none", "None.", None::<f64>);
        page.counters("x_b", "B.", [(vec![("l", "q\"\\\nz".to_owned()), ("m", String::new())], 3)]);
        let histogram = durations();
        [0.001, 0.2, 100.0].iter().for_each(|seconds| histogram.observe(*seconds));
        page.histograms("x_c_seconds", "C.", [(vec![("p", "1".to_owned())], &histogram)]);
        page.encode(format).unwrap()
    }

    #[test]
    fn both_formats_are_written_as_they_are_defined() {
        let text = page(Format::Text);
        let lines = |lines: &[&str]| {
            let all: Vec<&str> = text.lines().collect();
            assert!(all.windows(lines.len()).any(|some| some == lines), "{lines:?} in {text}");
        };
        lines(&["# HELP x_a A.", "# TYPE x_a gauge", "x_a 1.5", "# HELP x_yes Yes."]);
        lines(&["x_yes 1", "# HELP x_b_total B.", "# TYPE x_b_total counter"]);
        lines(&[
            "x_b_total{l=\"q\\\"\\\\\\nz\",m=\"\"} 3",
            "# HELP x_c_seconds C.",
            "# TYPE x_c_seconds histogram",
        ]);
        lines(&["x_c_seconds_sum{p=\"1\"} 100.201", "x_c_seconds_count{p=\"1\"} 3"]);
        for bucket in ["{p=\"1\",le=\"0.001\"} 1", "{p=\"1\",le=\"60\"} 2", "{p=\"1\",le=\"+Inf\"} 3"] {
            lines(&[&format!("x_c_seconds_bucket{bucket}")]);
        }
        assert!(!text.contains("x_none"), "{text}");
        let open = page(Format::OpenMetrics);
        assert!(open.contains("# TYPE x_b counter\nx_b_total{"), "{open}");
        assert!(open.ends_with("\n# EOF\n"), "{open}");
    }
}
