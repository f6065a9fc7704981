//! Charts as SVG: a group of bars at each place, with a whisker from the lowest
//! to the highest round.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::Chart;

const WIDTH: u32 = 900;
const HEIGHT: u32 = 420;
/// Of a group of bars, the space to the next one not counted.
const GROUP: f64 = 0.8;

/// Draws it into a file.
pub fn draw(chart: &Chart, path: &Path) -> Result<()> {
    // The error holds a borrow of the backend.
    try_draw(chart, path).map_err(|error| anyhow!("failed to draw {}: {error}", path.display()))
}

fn try_draw(chart: &Chart, path: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let root = SVGBackend::new(path, (WIDTH, HEIGHT)).into_drawing_area();
    root.fill(&WHITE)?;
    let points = chart.lines.iter().flat_map(|line| &line.points);
    let highest = points.map(|point| point[2]).fold(0.0, f64::max);
    let places = chart.places.len();
    let mut plot = ChartBuilder::on(&root)
        .caption(&chart.title, ("sans-serif", 18))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            0.0..places as f64,
            0.0..highest.max(f64::MIN_POSITIVE) * 1.1,
        )?;
    let name = |x: &f64| {
        // A label stands in the middle of its group.
        let at = (x - 0.5).round();
        let is_middle = (x - 0.5 - at).abs() < 0.01 && at >= 0.0;
        let place = is_middle.then(|| chart.places.get(at as usize)).flatten();
        place.cloned().unwrap_or_default()
    };
    plot.configure_mesh()
        .disable_x_mesh()
        .x_labels(2 * places + 1)
        .x_label_formatter(&name)
        .y_desc(&chart.unit)
        .draw()?;
    let width = GROUP / chart.lines.len().max(1) as f64;
    for (number, line) in chart.lines.iter().enumerate() {
        let colour = Palette99::pick(number);
        let left = (1.0 - GROUP) / 2.0 + number as f64 * width;
        let style = colour.filled();
        let bars = line.points.iter().enumerate().map(|(at, point)| {
            let x = at as f64 + left;
            Rectangle::new([(x, 0.0), (x + width * 0.95, point[1])], style)
        });
        plot.draw_series(bars)?
            .label(&line.name)
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 10, y + 5)], style));
        plot.draw_series(line.points.iter().enumerate().map(|(at, point)| {
            let x = at as f64 + left + width * 0.475;
            PathElement::new([(x, point[0]), (x, point[2])], BLACK)
        }))?;
    }
    if chart.lines.len() > 1 {
        plot.configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK)
            .draw()?;
    }
    root.present()?;
    Ok(())
}
