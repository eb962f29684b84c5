#!/bin/bash
# prometheus-client 0.26.0 (Rust): the bounds of a histogram's buckets have other labels in its two formats.
#
# A bound that is a whole number is le="1" in the text format 0.0.4 and le="1.0" in OpenMetrics, as each format wants it.
# What is scraped over the one and then over the other (Accept decides) has two series for one bucket.
# Seen: le="1" and le="1.0" for the bound 1.0; le="0.5" in both.
set -euo pipefail
dir=$(mktemp --directory)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cargo init --quiet --name labels --vcs none
cargo add --quiet prometheus-client@=0.26.0
cat >src/main.rs <<'END'
use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

fn main() {
    let histogram = Histogram::new([0.5, 1.0]);
    histogram.observe(0.7);
    let mut registry = Registry::default();
    registry.register("took_seconds", "How long it took", histogram);
    let (mut classic, mut open) = (String::new(), String::new());
    prometheus_text::encode(&mut classic, &registry).unwrap();
    text::encode(&mut open, &registry).unwrap();
    print!("text 0.0.4:\n{classic}OpenMetrics:\n{open}");
}
END
cargo run --quiet | grep 'format\|text\|Open\|bucket' | tee out
grep --quiet 'le="1"' out
grep --quiet 'le="1.0"' out
[[ $(grep --count 'le="0.5"' out) == 2 ]]
