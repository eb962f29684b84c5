//! Metrics as text: Prometheus' own format, and OpenMetrics 1.0 for whoever asks for it.
//!
//! Every value is read at the moment of a scrape, so that a registry of counters would be a second place for the same
//! numbers.

use std::fmt::Write;

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
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// A distribution of durations.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    /// How many fell below each of [`BOUNDS`], and no lower one.
    buckets: [u64; BOUNDS.len()],
    sum: f64,
    count: u64,
}

/// The upper bounds of the buckets, in seconds.
const BOUNDS: [f64; 12] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0];

impl Histogram {
    /// Adds one, in seconds.
    pub fn add(&mut self, seconds: f64) {
        if let Some((_, bucket)) = BOUNDS.iter().zip(&mut self.buckets).find(|(bound, _)| seconds <= **bound)
        {
            *bucket += 1;
        }
        self.sum += seconds;
        self.count += 1;
    }
}

/// A page of metrics.
pub struct Page {
    format: Format,
    text: String,
}

impl Page {
    /// An empty page.
    pub fn new(format: Format) -> Page {
        Page { format, text: String::new() }
    }

    /// The whole page.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    /// A value that goes up and down; nothing if there is none.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Into<Option<f64>>) {
        if let Some(value) = value.into() {
            self.gauges(name, help, [(vec![], value)]);
        }
    }

    /// The same with labels.
    pub fn gauges<'a>(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = Sample<'a>>) {
        self.family(name, "gauge", help, samples);
    }

    /// A value that only goes up; its name ends in `_total`.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Into<Option<u64>>) {
        if let Some(value) = value.into() {
            self.counters(name, help, [(vec![], value)]);
        }
    }

    /// The same with labels.
    pub fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (Labels<'a>, u64)>,
    ) {
        #[expect(clippy::cast_precision_loss, reason = "both formats know only floating point")]
        self.family(name, "counter", help, samples.into_iter().map(|(labels, value)| (labels, value as f64)));
    }

    /// Distributions, each with its labels.
    pub fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        histograms: impl IntoIterator<Item = (Labels<'a>, &'a Histogram)>,
    ) {
        self.head(name, "histogram", help);
        for (labels, histogram) in histograms {
            let mut below = 0;
            for (bound, bucket) in BOUNDS.iter().zip(histogram.buckets) {
                below += bucket;
                let bound = bound.to_string();
                let labels: Labels<'_> = labels.iter().copied().chain([("le", bound.as_str())]).collect();
                self.sample(&format!("{name}_bucket"), &labels, &below.to_string());
            }
            let all: Labels<'_> = labels.iter().copied().chain([("le", "+Inf")]).collect();
            self.sample(&format!("{name}_bucket"), &all, &histogram.count.to_string());
            self.sample(&format!("{name}_sum"), &labels, &histogram.sum.to_string());
            self.sample(&format!("{name}_count"), &labels, &histogram.count.to_string());
        }
    }

    fn family<'a>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = Sample<'a>>,
    ) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        self.head(name, kind, help);
        for (labels, value) in samples {
            self.sample(name, &labels, &value.to_string());
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        // OpenMetrics has a counter's family named without the ending that its sample has.
        let name = match self.format {
            Format::OpenMetrics => name.strip_suffix("_total").unwrap_or(name),
            Format::Text => name,
        };
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: &Labels<'_>, value: &str) {
        self.text.push_str(name);
        for (place, (label, value)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{label}=\"{}\"", escaped(value));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.text, "{after} {value}");
    }
}

/// Names and values of labels.
pub type Labels<'a> = Vec<(&'a str, &'a str)>;
/// One line.
pub type Sample<'a> = (Labels<'a>, f64);

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(format: Format) -> String {
        let mut page = Page::new(format);
        page.gauge("x_a", "A.", 1.5);
        page.gauge("x_none", "None.", None);
        page.counters("x_b_total", "B.", [(vec![("l", "q\"\\\nz"), ("m", "")], 3)]);
        let mut histogram = Histogram::default();
        [0.001, 0.2, 100.0].iter().for_each(|seconds| histogram.add(*seconds));
        page.histograms("x_c_seconds", "C.", [(vec![("p", "1")], &histogram)]);
        page.finish()
    }

    #[test]
    fn both_formats_are_written_as_they_are_defined() {
        let text = page(Format::Text);
        assert!(
            text.starts_with(
                "# HELP x_a A.\n# TYPE x_a gauge\nx_a 1.5\n# HELP x_b_total B.\n# TYPE x_b_total counter\n\
             x_b_total{l=\"q\\\"\\\\\\nz\",m=\"\"} 3\n# HELP x_c_seconds C.\n# TYPE x_c_seconds histogram\n\
             x_c_seconds_bucket{p=\"1\",le=\"0.001\"} 1\n"
            ),
            "{text}"
        );
        assert!(
            text.ends_with(
                "x_c_seconds_bucket{p=\"1\",le=\"60\"} 2\nx_c_seconds_bucket{p=\"1\",le=\"+Inf\"} 3\n\
             x_c_seconds_sum{p=\"1\"} 100.201\nx_c_seconds_count{p=\"1\"} 3\n"
            ),
            "{text}"
        );
        let open = page(Format::OpenMetrics);
        assert!(open.contains("# TYPE x_b counter\nx_b_total{"), "{open}");
        assert!(open.ends_with("\n# EOF\n"), "{open}");
    }
}
