//! The figures that matter most as a picture: a panel each, a bar for each program.

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::Result;
use crate::subjects::SEXTON;
use crate::table::{Row, Table};

/// The rows that are shown, and their titles.
const PANELS: [(&str, &str); 12] = [
    ("startup.outside.command", "start, as a wrapper"),
    ("startup.pid1.command", "start, as PID 1"),
    ("startup.pid1.command.sweep", "start, 100 sessions swept first"),
    ("blind.window", "a TERM is lost, as PID 1"),
    ("forwarding", "a signal passed on"),
    ("stopping.pid1", "from TERM to gone, as PID 1"),
    ("reaping.streamed.cpu", "CPU per reap, one after another"),
    ("reaping.burst.cpu", "CPU per reap, 10,000 at once"),
    ("idle.wakeups", "wake-ups in 10 s, idle"),
    ("idle.rss", "memory, idle: resident"),
    ("idle.private-dirty", "memory, idle: private dirty"),
    ("size", "the file"),
];
const COLUMNS: usize = 3;
const PANEL: (u32, u32) = (330, 165);
/// Room for the machine's description below the panels.
const FOOT: u32 = 40;

const INK: RGBColor = RGBColor(51, 51, 51);
const OURS: RGBColor = RGBColor(178, 34, 52);
const THEIRS: RGBColor = RGBColor(160, 170, 180);

/// The picture as SVG. Rows that were not measured leave their panels out.
pub fn svg(table: &Table) -> Result<String> {
    let panels: Vec<(&Row, &str)> =
        PANELS.iter().filter_map(|(key, title)| Some((table.row(key)?, *title))).collect();
    let lines = panels.len().div_ceil(COLUMNS);
    let size = (PANEL.0 * COLUMNS as u32, PANEL.1 * lines as u32 + FOOT);
    let mut text = String::new();
    {
        let root = SVGBackend::with_string(&mut text, size).into_drawing_area();
        root.fill(&WHITE)?;
        let (above, foot) = root.split_vertically(size.1 - FOOT);
        for (area, (row, title)) in above.split_evenly((lines.max(1), COLUMNS)).iter().zip(panels) {
            panel(area, &table.names(), row, title)?;
        }
        let small = ("sans-serif", 11).into_font().color(&INK);
        foot.draw(&Text::new(table.machine().to_owned(), (12, 4), small.clone()))?;
        let how = format!("medians of {} rounds, interleaved; shorter is better", table.rounds());
        foot.draw(&Text::new(how, (12, 20), small))?;
        root.present()?;
    }
    Ok(text)
}

fn panel<B: DrawingBackend>(
    area: &DrawingArea<B, plotters::coord::Shift>,
    names: &[&str],
    row: &Row,
    title: &str,
) -> Result<()>
where
    B::ErrorType: 'static,
{
    const TOP: i32 = 30;
    const BAR: i32 = 16;
    const STEP: i32 = 24;
    const LEFT: i32 = 84;
    const LONGEST: f64 = 160.0;
    let text = ("sans-serif", 12).into_font().color(&INK);
    let right = text.pos(Pos::new(HPos::Right, VPos::Center));
    let left = text.pos(Pos::new(HPos::Left, VPos::Center));
    area.draw(&Text::new(title.to_owned(), (12, 8), ("sans-serif", 14).into_font().color(&INK)))?;
    let most = row.values().iter().flatten().copied().fold(f64::MIN_POSITIVE, f64::max);
    for ((name, value), index) in names.iter().zip(row.values()).zip(0..) {
        let (top, middle) = (TOP + index * STEP, TOP + index * STEP + BAR / 2);
        area.draw(&Text::new((*name).to_owned(), (LEFT - 6, middle), right.clone()))?;
        let Some(value) = value else { continue };
        // A startup overhead is a difference, and within the noise it can come out below nothing.
        let end = LEFT + (value.max(0.0) / most * LONGEST).round() as i32;
        let color = if *name == SEXTON { OURS } else { THEIRS };
        area.draw(&Rectangle::new([(LEFT, top), (end.max(LEFT + 1), top + BAR)], color.filled()))?;
        area.draw(&Text::new(row.show(*value), (end + 6, middle), left.clone()))?;
    }
    Ok(())
}
