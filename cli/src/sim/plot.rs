//! Pictures. Owns: how completion times are drawn: the share of programs that are done within a time, one line a policy.

use std::path::Path;

use plotters::prelude::SeriesLabelPosition;

use super::report::Summary;
use crate::plot::{Chart, Series, distribution};

/// Draws the distribution of completion times.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn compare(path: &Path, summaries: &[Summary]) -> anyhow::Result<()> {
    let of = |(colour, summary): (usize, &Summary)| Series {
        label: summary.policy.clone(),
        colour,
        points: distribution(summary.completions_s.clone(), summary.completions_s.len()),
        has_marks: false,
        bars: Vec::new(),
    };
    let series: Vec<Series> = summaries.iter().enumerate().map(of).collect();
    let chart = Chart {
        x: "completion time of a program (s)",
        y: "share of programs done",
        is_log_x: false,
        y_max: Some(1.0),
        legend: SeriesLabelPosition::LowerRight,
        series: &series,
    };
    std::fs::write(path, chart.svg()?)?;
    Ok(())
}
