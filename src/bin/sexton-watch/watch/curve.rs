//! The latency curve, as an SVG image in the page. Pure.

use std::time::Duration;

use maud::{Markup, html};
use sexton::types::MonoTime;

use super::state::Point;
use crate::svg::{self, Field};

/// The drawing's size, in its own units.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 190.0;
const FIELD: Field = Field { left: 46.0, right: WIDTH - 8.0, top: 10.0, bottom: HEIGHT - 22.0 };
/// The least that the axis reaches to, in milliseconds.
const CEILING: f64 = 1000.0;

/// The curve of one probe, logarithmic. `limit` is the latency that is allowed.
pub fn draw(name: &str, points: &[Point], limit: Duration, now: MonoTime) -> Markup {
    let ms = |latency: Duration| (latency.as_secs_f64() * 1000.0).max(1.0);
    let most = points.iter().map(|point| ms(point.latency)).fold(ms(limit), f64::max).max(CEILING);
    let top = 10_f64.powf(most.log10().ceil());
    let oldest = points.first().map_or(now, |point| point.asked);
    let span = now.since(oldest).as_secs_f64().max(1.0);
    let place = |point: &Point| {
        let part = point.asked.since(oldest).as_secs_f64() / span;
        (FIELD.x(part), FIELD.y(svg::logarithmic(ms(point.latency), top)))
    };
    let marked = points.iter().enumerate().filter_map(|(number, point)| match point.good {
        false => Some(("miss", place(point))),
        true => (number + 1 == points.len()).then(|| ("last", place(point))),
    });
    let below = HEIGHT - 6.0;
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } role="img" aria-label={ "Latency of " (name) } {
            @for line in svg::powers(top) { (FIELD.grid_line(svg::logarithmic(line, top), &label(line))) }
            (svg::level("limit", &FIELD, FIELD.y(svg::logarithmic(ms(limit), top))))
            (svg::text(FIELD.left, below, "start", &ago(span)))
            (svg::text(FIELD.right, below, "end", "now"))
            @if points.len() > 1 { (svg::curve("curve", points.iter().map(place))) }
            @for (class, at) in marked { (svg::dot(class, at)) }
        }
    }
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
        let svg = draw("<a>", &points, Duration::from_millis(500), now).into_string();
        assert!(svg.contains("Latency of &lt;a&gt;") && !svg.contains("NaN"), "{svg}");
        let list = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        let places: Vec<Vec<f64>> = list
            .split_whitespace()
            .map(|pair| pair.split(',').map(|n| n.parse().unwrap()).collect())
            .collect();
        assert_eq!(places.len(), 4);
        for place in &places {
            assert!(
                (FIELD.left..=FIELD.right).contains(&place[0])
                    && (FIELD.top..=FIELD.bottom).contains(&place[1]),
                "{places:?}"
            );
        }
        assert_eq!([places[0][0], places[3][0]], [FIELD.left, FIELD.right]);
        assert_eq!(svg.matches("class=\"miss\"").count(), 1);
        // 60 s is above the line of 10 s.
        assert!(svg.contains(">100 s<") && svg.contains("30 s ago"), "{svg}");
    }

    #[test]
    fn nothing_is_drawn_of_nothing() {
        let svg = draw("a", &[], Duration::from_millis(500), MonoTime(Duration::ZERO)).into_string();
        assert!(!svg.contains("polyline") && !svg.contains("NaN"), "{svg}");
        let one = draw("a", &[point(0, 5, true)], Duration::ZERO, MonoTime(Duration::ZERO)).into_string();
        assert!(one.contains("class=\"last\"") && !one.contains("NaN"), "{one}");
    }
}
