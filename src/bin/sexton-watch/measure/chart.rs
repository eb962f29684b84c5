//! The report as one page with its curves, which needs nothing but itself. Pure.

use std::fmt::Write;

use super::metric::Unit;
use super::record::Record;
use super::report::Report;
use crate::html::escape;

/// A curve's size, in its own units.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = HEIGHT - 40.0;

const STYLE: &str = "\
:root{--ink:#1f2328;--soft:#656d76;--grid:#d8dee4;--ground:#fff;--base:#0969da;--candidate:#bc4c00}\
@media(prefers-color-scheme:dark){:root{--ink:#e6edf3;--soft:#8d96a0;--grid:#30363d;--ground:#0d1117;--base:#58a6ff;--candidate:#f0883e}}\
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif}\
main{max-width:880px;margin:0 auto;padding:24px 16px}h1{font-size:22px}h2{font-size:16px;margin:28px 0 6px}\
code{font-size:13px;overflow-wrap:anywhere}.base{color:var(--base)}.candidate{color:var(--candidate)}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}td,th{padding:4px 8px;text-align:right;\
border-bottom:1px solid var(--grid)}td:first-child,th:first-child,td:last-child,th:last-child{text-align:left}\
svg{width:100%;height:auto;display:block}line{stroke:var(--grid)}text{fill:var(--soft);font-size:12px}\
polyline{fill:none;stroke-width:1.5;stroke-opacity:.55}polyline.base{stroke:var(--base)}polyline.candidate{stroke:var(--candidate)}\
circle.base{fill:var(--base)}circle.candidate{fill:var(--candidate)}li,footer{color:var(--soft)}";

/// The page.
pub fn page(report: &Report) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><title>sexton measure</title>\
         <style>{STYLE}</style></head><body><main><h1>sexton measure</h1>\
         <p><span class=\"base\">base</span> <code>{}</code></p>",
        escape(&report.commands.0)
    );
    // Writing to a string cannot fail.
    if let Some(command) = &report.commands.1 {
        let _ = write!(
            html,
            "<p><span class=\"candidate\">candidate</span> <code>{}</code></p>",
            escape(command)
        );
    }
    let runs = report.base.len();
    let _ = write!(html, "<h2>Health latency since the launch, {runs} runs each</h2>");
    html.push_str(&draw(
        "Latency",
        Scale::Logarithmic,
        Unit::Milliseconds,
        &lines(report, &|record: &Record| {
            record.points.iter().map(|point| (point.at_ms / 1000.0, point.took_ms)).collect()
        }),
    ));
    html.push_str("<h2>Resident memory of the whole tree since the launch</h2>");
    #[allow(clippy::cast_precision_loss, reason = "memory is shown in MiB")]
    let memory = |record: &Record| {
        let mib = |rss: u64| rss as f64 / f64::from(1 << 20);
        record.looks.iter().map(|look| (look.at_ms / 1000.0, mib(look.rss))).collect()
    };
    html.push_str(&draw("Memory", Scale::Linear, Unit::Mebibytes, &lines(report, &memory)));
    html.push_str("<h2>In numbers</h2><table>");
    if report.candidate.is_some() {
        let headings = ["metric", "base", "candidate", "ratio", "candidate is"];
        table(&mut html, &headings.map(str::to_owned), &report.cells());
    } else {
        let headings = ["metric", "median", "least", "most"];
        table(&mut html, &headings.map(str::to_owned), &report.lone_cells());
    }
    html.push_str("</table><ul>");
    for note in report.notes() {
        let _ = write!(html, "<li>{}</li>", escape(&note));
    }
    let _ = writeln!(html, "</ul><footer>sexton {}</footer></main></body></html>", env!("CARGO_PKG_VERSION"));
    html
}

fn table<const N: usize>(html: &mut String, headings: &[String; N], rows: &[[String; N]]) {
    let cells = |row: &[String; N], tag: &str| -> String {
        row.iter().map(|cell| format!("<{tag}>{}</{tag}>", escape(cell))).collect()
    };
    let _ = write!(html, "<tr>{}</tr>", cells(headings, "th"));
    for row in rows {
        let _ = write!(html, "<tr>{}</tr>", cells(row, "td"));
    }
}

/// The curve of one run: whose it is, and its points.
struct Line {
    class: &'static str,
    points: Vec<(f64, f64)>,
}

fn lines(report: &Report, points: &dyn Fn(&Record) -> Vec<(f64, f64)>) -> Vec<Line> {
    let of = |class, records: &[Record]| -> Vec<Line> {
        records.iter().map(|record| Line { class, points: points(record) }).collect()
    };
    let mut all = of("base", &report.base);
    all.extend(report.candidate.iter().flat_map(|records| of("candidate", records)));
    all
}

#[derive(Clone, Copy, PartialEq)]
enum Scale {
    Linear,
    /// From one upwards: 2 ms and 40 s have to be seen in one picture.
    Logarithmic,
}

fn draw(name: &str, scale: Scale, unit: Unit, lines: &[Line]) -> String {
    let all = || lines.iter().flat_map(|line| &line.points);
    let span = all().map(|point| point.0).fold(1.0, f64::max);
    let most = all().map(|point| point.1).fold(1.0, f64::max);
    let (ticks, top) = ticks(scale, most);
    let x = |seconds: f64| LEFT + (RIGHT - LEFT) * seconds / span;
    let y = |value: f64| match scale {
        Scale::Linear => BOTTOM - (BOTTOM - TOP) * value / top,
        Scale::Logarithmic => BOTTOM - (BOTTOM - TOP) * value.max(1.0).log10() / top.log10(),
    };
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{name}\">");
    for tick in ticks {
        let at = y(tick);
        let _ = write!(
            svg,
            "<line x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 8.0,
            at + 4.0,
            unit.show(tick)
        );
    }
    let step = step(span);
    let digits = usize::from(step < 1.0);
    for second in std::iter::successors(Some(0.0), |second| Some(second + step)).take_while(|at| *at <= span)
    {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{second:.digits$} s</text>",
            x(second),
            BOTTOM + 20.0
        );
    }
    for line in lines {
        let _ = write!(svg, "<polyline class=\"{}\" points=\"", line.class);
        for (seconds, value) in &line.points {
            let _ = write!(svg, "{:.1},{:.1} ", x(*seconds), y(*value));
        }
        svg.push_str("\"/>");
        // A point alone would not be seen as a line.
        if let [(seconds, value)] = line.points.as_slice() {
            let _ = write!(
                svg,
                "<circle class=\"{}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"/>",
                line.class,
                x(*seconds),
                y(*value)
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// Where the lines of the grid are, and where the axis ends.
fn ticks(scale: Scale, most: f64) -> (Vec<f64>, f64) {
    match scale {
        Scale::Logarithmic => {
            let powers = most.log10().ceil().max(1.0);
            let ticks = std::iter::successors(Some(1.0), |tick| Some(tick * 10.0));
            let top = 10_f64.powf(powers);
            (ticks.take_while(|tick| *tick <= top * 1.01).collect(), top)
        }
        Scale::Linear => {
            // Labels have no digits behind the point.
            let step = step(most).max(1.0);
            let top = (most / step).ceil() * step;
            let ticks = std::iter::successors(Some(0.0), |tick| Some(tick + step));
            (ticks.take_while(|tick| *tick <= top * 1.01).collect(), top)
        }
    }
}

/// A round number of which five to ten fit into the length.
fn step(length: f64) -> f64 {
    let magnitude = 10_f64.powf((length / 5.0).log10().floor());
    [5.0, 2.0, 1.0]
        .map(|times| times * magnitude)
        .into_iter()
        .find(|step| length / step >= 5.0)
        .unwrap_or(magnitude)
}

#[cfg(test)]
mod tests {
    use super::super::record::{LockScan, Point};
    use super::*;

    fn report() -> Report {
        let record = |latency: f64| Record {
            start_ms: Some(1.0),
            pause_ms: 100.0,
            points: (0..50)
                .map(|n| Point { at_ms: f64::from(n) * 100.0, took_ms: latency + f64::from(n), good: true })
                .collect(),
            looks: (0..20)
                .map(|n: u32| LockScan {
                    at_ms: f64::from(n) * 250.0,
                    rss: u64::from(n) << 24,
                    processes: 1,
                    zombies: 0,
                })
                .collect(),
            ..Record::default()
        };
        let commands = ("<old>".to_owned(), Some("new".to_owned()));
        Report::of(vec![record(2.0)], Some(vec![record(40_000.0)]), commands, &[])
    }

    #[test]
    fn every_point_lies_in_the_picture() {
        let page = page(&report());
        assert!(page.contains("&lt;old&gt;") && !page.contains("NaN") && !page.contains("inf"), "{page}");
        assert!(!page.contains("http://") && !page.contains("<script"), "it needs nothing but itself");
        let curves: Vec<&str> =
            page.split("points=\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
        assert_eq!(curves.len(), 4);
        for pair in curves.iter().flat_map(|curve| curve.split_whitespace()) {
            let (x, y) = pair.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=RIGHT).contains(&x) && (TOP..=BOTTOM).contains(&y), "{pair}");
        }
        assert!(page.contains(">100.0 s<"), "the axis reaches above 40 s");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let nothing = Report::of(vec![Record::default()], None, ("x".into(), None), &[]);
        let page = page(&nothing);
        assert!(!page.contains("NaN") && !page.contains("inf"), "{page}");
    }

    #[test]
    fn steps_are_round() {
        assert_eq!([1.0, 4.9, 10.0, 70.0, 600.0].map(step), [0.2, 0.5, 2.0, 10.0, 100.0]);
        assert_eq!(ticks(Scale::Logarithmic, 41_400.0).1.round(), 100_000.0);
        assert_eq!(ticks(Scale::Linear, 870.0), ((0..=9).map(|n| f64::from(n) * 100.0).collect(), 900.0));
    }
}
