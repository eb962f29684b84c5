//! The latency curve, as an SVG image in the page. Pure.

use std::fmt::Write;
use std::time::Duration;

use sexton::types::MonoTime;

use super::state::Point;

/// The drawing's size, in its own units.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 190.0;
/// Where the curve's field begins and ends.
const LEFT: f64 = 46.0;
const RIGHT: f64 = WIDTH - 8.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = HEIGHT - 22.0;
/// The least that is told apart, and the least that the axis reaches to, in milliseconds.
const FLOOR: f64 = 1.0;
const CEILING: f64 = 1000.0;

/// The curve of one probe: logarithmic, because 2 ms and 40 s have to be seen in one picture. `limit` is the
/// latency that is allowed.
pub fn draw(name: &str, points: &[Point], limit: Duration, now: MonoTime) -> String {
    let ms = |latency: Duration| (latency.as_secs_f64() * 1000.0).max(FLOOR);
    let most = points.iter().map(|point| ms(point.latency)).fold(ms(limit), f64::max).max(CEILING);
    let top = 10_f64.powf(most.log10().ceil());
    let oldest = points.first().map_or(now, |point| point.asked);
    let span = now.since(oldest).as_secs_f64().max(1.0);
    let x = |at: MonoTime| LEFT + (RIGHT - LEFT) * at.since(oldest).as_secs_f64() / span;
    let y = |ms: f64| BOTTOM - (BOTTOM - TOP) * (ms / FLOOR).log10() / (top / FLOOR).log10();

    let mut svg = format!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"Latency of {}\">",
        crate::html::escape(name)
    );
    // Writing to a string cannot fail.
    let mut line = FLOOR;
    while line <= top {
        let at = y(line);
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\"/>\
             <text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            at + 3.5,
            label(line)
        );
        line *= 10.0;
    }
    let at = y(ms(limit));
    let _ = write!(
        svg,
        "<line class=\"limit\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{RIGHT}\" y2=\"{at:.1}\"/>\
         <text class=\"axis\" x=\"{LEFT}\" y=\"{:.1}\">{}</text>\
         <text class=\"axis\" x=\"{RIGHT}\" y=\"{:.1}\" text-anchor=\"end\">now</text>",
        HEIGHT - 6.0,
        ago(span),
        HEIGHT - 6.0
    );
    if points.len() > 1 {
        svg.push_str("<polyline class=\"curve\" points=\"");
        for point in points {
            let _ = write!(svg, "{:.1},{:.1} ", x(point.asked), y(ms(point.latency)));
        }
        svg.push_str("\"/>");
    }
    for (place, point) in points.iter().enumerate() {
        if !point.good || place + 1 == points.len() {
            let class = if point.good { "last" } else { "miss" };
            let (x, y) = (x(point.asked), y(ms(point.latency)));
            let _ = write!(svg, "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>");
        }
    }
    svg.push_str("</svg>");
    svg
}

fn label(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.0} ms") } else { format!("{:.0} s", ms / 1000.0) }
}

fn ago(seconds: f64) -> String {
    if seconds < 120.0 { format!("{seconds:.0} s ago") } else { format!("{:.0} min ago", seconds / 60.0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn point(second: u64, ms: u64, good: bool) -> Point {
        Point { asked: MonoTime(Duration::from_secs(second)), latency: Duration::from_millis(ms), good }
    }

    #[test]
    fn every_point_lies_in_the_picture() {
        let points = [point(0, 0, true), point(10, 2, true), point(20, 60_000, false), point(30, 3, true)];
        let now = MonoTime(Duration::from_secs(30));
        let svg = draw("<a>", &points, Duration::from_millis(500), now);
        assert!(svg.contains("Latency of &lt;a&gt;") && !svg.contains("NaN"), "{svg}");
        let list = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let places: Vec<Vec<f64>> = list
            .split_whitespace()
            .map(|pair| pair.split(',').map(|n| n.parse().unwrap()).collect())
            .collect();
        assert_eq!(places.len(), 4);
        for place in &places {
            assert!((LEFT..=RIGHT).contains(&place[0]) && (TOP..=BOTTOM).contains(&place[1]), "{places:?}");
        }
        assert_eq!([places[0][0], places[3][0]], [LEFT, RIGHT]);
        assert_eq!(svg.matches("class=\"miss\"").count(), 1);
        // 60 s is above the line of 10 s.
        assert!(svg.contains(">100 s<") && svg.contains("30 s ago"), "{svg}");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let svg = draw("a", &[], Duration::from_millis(500), MonoTime(Duration::ZERO));
        assert!(!svg.contains("polyline") && !svg.contains("NaN"), "{svg}");
        let one = draw("a", &[point(0, 5, true)], Duration::ZERO, MonoTime(Duration::ZERO));
        assert!(one.contains("class=\"last\"") && !one.contains("NaN"), "{one}");
    }
}
