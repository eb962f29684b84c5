//! The report as one page with its curves, which needs nothing but itself. Pure.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::metric::Unit;
use super::record::Record;
use super::report::Report;
use crate::svg::{self, Field};

/// A curve's size, in its own units.
const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 300.0;
const FIELD: Field = Field { left: 70.0, right: WIDTH - 12.0, top: 12.0, bottom: HEIGHT - 40.0 };

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
    let latency =
        |record: &Record| record.points.iter().map(|point| (point.at_ms / 1000.0, point.took_ms)).collect();
    #[allow(clippy::cast_precision_loss, reason = "memory is shown in MiB")]
    let memory = |record: &Record| {
        let mib = |rss: u64| rss as f64 / f64::from(1 << 20);
        record.looks.iter().map(|look| (look.at_ms / 1000.0, mib(look.rss))).collect()
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width,initial-scale=1";
                title { "sexton measure" }
                style { (PreEscaped(STYLE)) }
            }
            body { main {
                h1 { "sexton measure" }
                p { span.base { "base" } " " code { (report.commands.0) } }
                @if let Some(command) = &report.commands.1 {
                    p { span.candidate { "candidate" } " " code { (command) } }
                }
                h2 { "Health latency since the launch, " (report.base.len()) " runs each" }
                (draw("Latency", Scale::Logarithmic, Unit::Milliseconds, &lines(report, &latency)))
                h2 { "Resident memory of the whole tree since the launch" }
                (draw("Memory", Scale::Linear, Unit::Mebibytes, &lines(report, &memory)))
                h2 { "In numbers" }
                @if report.candidate.is_some() {
                    (table(["metric", "base", "candidate", "ratio", "candidate is"], &report.cells()))
                } @else {
                    (table(["metric", "median", "least", "most"], &report.lone_cells()))
                }
                ul { @for note in report.notes() { li { (note) } } }
                footer { "sexton " (env!("CARGO_PKG_VERSION")) }
            } }
        }
    };
    page.into_string() + "\n"
}

fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> Markup {
    html! {
        table {
            tr { @for heading in headings { th { (heading) } } }
            @for row in rows { tr { @for cell in row { td { (cell) } } } }
        }
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
    /// From one upwards.
    Logarithmic,
}

fn draw(name: &str, scale: Scale, unit: Unit, lines: &[Line]) -> Markup {
    let all = || lines.iter().flat_map(|line| &line.points);
    let span = all().map(|point| point.0).fold(1.0, f64::max);
    let most = all().map(|point| point.1).fold(1.0, f64::max);
    let (ticks, top) = ticks(scale, most);
    let height = |value: f64| match scale {
        Scale::Linear => value / top,
        Scale::Logarithmic => svg::logarithmic(value, top),
    };
    let place = |(seconds, value): &(f64, f64)| (FIELD.x(seconds / span), FIELD.y(height(*value)));
    let step = step(span);
    let digits = usize::from(step < 1.0);
    let seconds = std::iter::successors(Some(0.0), |second| Some(second + step)).take_while(|at| *at <= span);
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label=(name) {
            @for tick in ticks { (FIELD.grid_line(height(tick), &unit.show(tick))) }
            @for second in seconds {
                (svg::text(FIELD.x(second / span), FIELD.bottom + 20.0, "middle", &format!("{second:.digits$} s")))
            }
            @for line in lines {
                (svg::curve(line.class, line.points.iter().map(place)))
                // A point alone would not be seen as a line.
                @if let [point] = line.points.as_slice() { (svg::dot(line.class, place(point))) }
            }
        }
    }
}

/// Where the lines of the grid are, and where the axis ends.
fn ticks(scale: Scale, most: f64) -> (Vec<f64>, f64) {
    match scale {
        Scale::Logarithmic => {
            let top = 10_f64.powf(most.log10().ceil().max(1.0));
            (svg::powers(top).collect(), top)
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
            assert!(
                (FIELD.left..=FIELD.right).contains(&x) && (FIELD.top..=FIELD.bottom).contains(&y),
                "{pair}"
            );
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
