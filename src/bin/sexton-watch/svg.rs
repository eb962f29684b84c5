//! What the pictures in the pages share: a field with a grid, and lines in it. Pure.
//!
//! Drawn by hand and not with plotters: its SVG backend writes colours into each element, and these pictures take theirs
//! from the page's style sheet, which has light and dark ones.

use maud::{Markup, html};

/// Where the field lies, in the picture's own units.
pub struct Field {
    pub left: f64,
    pub right: f64,
    pub top: f64,
    pub bottom: f64,
}

impl Field {
    /// Where a part of the width is, from 0 to 1.
    pub fn x(&self, part: f64) -> f64 {
        self.left + (self.right - self.left) * part
    }

    /// Where a part of the height is, from 0 to 1, from below.
    pub fn y(&self, part: f64) -> f64 {
        self.bottom - (self.bottom - self.top) * part
    }

    /// A line of the grid with its label, at a part of the height.
    pub fn grid_line(&self, part: f64, label: &str) -> Markup {
        let at = self.y(part);
        html! {
            (level("grid", self, at))
            (text(self.left - 6.0, at + 3.5, "end", label))
        }
    }
}

/// A line from the left to the right.
pub fn level(class: &str, field: &Field, at: f64) -> Markup {
    html! { line class=(class) x1=(field.left) y1=(place(at)) x2=(field.right) y2=(place(at)) {} }
}

/// A label. `anchor` is the end of the text that stands at this place: `start`, `middle` or `end`.
pub fn text(x: f64, y: f64, anchor: &str, label: &str) -> Markup {
    html! { text class="axis" x=(place(x)) y=(place(y)) text-anchor=(anchor) { (label) } }
}

/// A curve through these points.
pub fn curve(class: &str, points: impl Iterator<Item = (f64, f64)>) -> Markup {
    let points: Vec<String> = points.map(|(x, y)| format!("{},{}", place(x), place(y))).collect();
    html! { polyline class=(class) points=(points.join(" ")) {} }
}

/// A point.
pub fn dot(class: &str, (x, y): (f64, f64)) -> Markup {
    html! { circle class=(class) cx=(place(x)) cy=(place(y)) r="3" {} }
}

/// How high a value from one upwards stands on a logarithmic scale that ends at `top`: 2 ms and 40 s have to be seen in
/// one picture.
pub fn logarithmic(value: f64, top: f64) -> f64 {
    value.max(1.0).log10() / top.log10()
}

/// The powers of ten up to `top`.
pub fn powers(top: f64) -> impl Iterator<Item = f64> {
    std::iter::successors(Some(1.0), |tick| Some(tick * 10.0)).take_while(move |tick| *tick <= top * 1.01)
}

fn place(at: f64) -> String {
    format!("{at:.1}")
}
