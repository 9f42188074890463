//! Pictures. Owns: how completion times are drawn: the share of programs that are done within a time, one line a policy.

use std::path::Path;

use plotters::prelude::*;

use super::report::Summary;

const COLOURS: [RGBColor; 6] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(140, 86, 75),
];

/// Draws the distribution of completion times.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn compare(path: &Path, summaries: &[Summary]) -> anyhow::Result<()> {
    let slowest = summaries
        .iter()
        .filter_map(|summary| summary.completions_s.last());
    let slowest = slowest.copied().fold(f64::MIN_POSITIVE, f64::max);
    let area = SVGBackend::new(path, (800, 500)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(44)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..slowest * 1.02, 0.0..1.0)?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("completion time of a program (s)")
        .y_desc("share of programs done")
        .draw()?;
    for (summary, colour) in summaries.iter().zip(COLOURS.iter().cycle()) {
        let line = LineSeries::new(steps(&summary.completions_s), colour.stroke_width(2));
        let key = move |(x, y)| PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2));
        chart
            .draw_series(line)?
            .label(summary.policy.clone())
            .legend(key);
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}

/// The corners of the distribution of ascending values.
fn steps(values: &[f64]) -> Vec<(f64, f64)> {
    let share = |count: usize| count as f64 / values.len() as f64;
    let corners = values.iter().enumerate();
    corners
        .flat_map(|(index, value)| [(*value, share(index)), (*value, share(index + 1))])
        .collect()
}
