//! What is drawn. Owns: which runs make which lines. Runs that differ in their seed only are one point, with a bar from the
//! least to the most.

use std::collections::BTreeMap;

use plotters::prelude::SeriesLabelPosition;

use super::read::{Batch, Look, Run};
use crate::plot::{Chart, Series, distribution, steps};

/// All labels, in order; a label has the same colour everywhere.
pub(super) fn labels<'a>(labels: impl Iterator<Item = &'a String>) -> Vec<&'a str> {
    let mut labels: Vec<&str> = labels.map(String::as_str).collect();
    labels.sort_unstable();
    labels.dedup();
    labels
}

/// A figure against the rate, a line for each label.
pub(super) fn against_rate(
    runs: &[Run],
    labels: &[&str],
    (at, y): (&str, &str),
) -> anyhow::Result<String> {
    let mut series = Vec::new();
    for (colour, label) in labels.iter().enumerate() {
        // By workload: rates and figures of all seeds.
        let mut points: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
        for run in runs.iter().filter(|run| run.label == *label) {
            if let Some(figure) = run.figure(at) {
                let point = points.entry(point_name(run)).or_default();
                point.push((run.rate, figure));
            }
        }
        let mut spread: Vec<_> = points
            .into_values()
            .map(|seeds| over_seeds(&seeds))
            .collect();
        spread.sort_by(|a, b| a.0.total_cmp(&b.0));
        series.push(Series {
            label: (*label).to_owned(),
            colour,
            points: spread.iter().map(|(x, y, ..)| (*x, *y)).collect(),
            has_marks: true,
            bars: spread
                .iter()
                .map(|(x, _, low, high)| (*x, *low, *high))
                .collect(),
        });
    }
    let chart = Chart {
        x: "rate at which programs began (programs a second)",
        y,
        is_log_x: false,
        y_max: None,
        legend: SeriesLabelPosition::UpperLeft,
        series: &series,
    };
    chart.svg()
}

/// Simulated runs do not say their workload: each is a point of its own.
fn point_name(run: &Run) -> &str {
    if run.summary["workload"].is_string() {
        &run.workload
    } else {
        &run.folder
    }
}

/// Mean rate, mean figure, least and most.
fn over_seeds(seeds: &[(f64, f64)]) -> (f64, f64, f64, f64) {
    let count = seeds.len() as f64;
    let x = seeds.iter().map(|(x, _)| x).sum::<f64>() / count;
    let y = seeds.iter().map(|(_, y)| y).sum::<f64>() / count;
    let low = seeds.iter().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
    let high = seeds.iter().map(|(_, y)| *y).fold(0.0, f64::max);
    (x, y, low, high)
}

/// The share of programs that are done within a time, a line for each label, all seeds together.
pub(super) fn completions(runs: &[&Run], labels: &[&str]) -> anyhow::Result<String> {
    let mut series = Vec::new();
    for (colour, label) in labels.iter().enumerate() {
        let of_label = || runs.iter().filter(|run| run.label == *label);
        let times: Vec<f64> = of_label()
            .flat_map(|run| run.completions_s.clone())
            .collect();
        let measured = of_label().map(|run| run.measured).sum();
        if measured > 0 {
            series.push(Series {
                label: (*label).to_owned(),
                colour,
                points: distribution(times, measured),
                has_marks: false,
                bars: Vec::new(),
            });
        }
    }
    let chart = Chart {
        x: "completion time of a program (s, logarithmic)",
        y: "share of programs done",
        is_log_x: true,
        y_max: Some(1.0),
        legend: SeriesLabelPosition::UpperLeft,
        series: &series,
    };
    chart.svg()
}

/// Calls in the engines over time: those that run, and those that wait there.
pub(super) fn timeline(looks: &[Look]) -> anyhow::Result<String> {
    let engines = labels(looks.iter().map(|look| &look.engine));
    let mut series = Vec::new();
    for (index, engine) in engines.iter().enumerate() {
        let of_engine = || looks.iter().filter(|look| look.engine == *engine);
        let mut line = |what: &str, colour: usize, value: fn(&Look) -> f64| {
            let points = of_engine().map(|look| (look.time_s, value(look)));
            series.push(Series {
                label: format!("engine {}: {what}", index + 1),
                colour,
                points: steps(points),
                has_marks: false,
                bars: Vec::new(),
            });
        };
        line("running", 2 * index, |look| look.running);
        line("waiting in it", 2 * index + 1, |look| look.waiting);
    }
    let most = looks.iter().map(|look| look.running.max(look.waiting));
    let most = most.fold(0.0, f64::max);
    let chart = Chart {
        x: "time since the start (s)",
        y: "calls",
        is_log_x: false,
        // Room for the legend.
        y_max: Some((1.5 * most).max(1.0)),
        legend: SeriesLabelPosition::UpperRight,
        series: &series,
    };
    chart.svg()
}

/// A figure of batch studies against concurrency.
pub(super) fn batches(batches: &[Batch], what: Figure) -> anyhow::Result<String> {
    let labels = labels(batches.iter().map(|batch| &batch.label));
    let mut series = Vec::new();
    for batch in batches {
        let colour = labels.iter().position(|label| *label == batch.label);
        let mut points: Vec<(f64, f64, f64)> = batch
            .levels
            .iter()
            .map(|level| match what {
                Figure::Speed => {
                    let speed = level.output_tokens_per_s;
                    (level.concurrency, speed.mean, speed.deviation)
                }
                Figure::Latency => (level.concurrency, level.latency_s.mean, 0.0),
            })
            .collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        series.push(Series {
            label: batch.label.clone(),
            colour: colour.unwrap_or_default(),
            points: points.iter().map(|(x, y, _)| (*x, *y)).collect(),
            has_marks: true,
            bars: points
                .iter()
                .map(|(x, y, sd)| (*x, (y - sd).max(0.0), y + sd))
                .collect(),
        });
    }
    let chart = Chart {
        x: "calls at once",
        y: match what {
            Figure::Speed => "output tokens a second, all calls",
            Figure::Latency => "mean time of a call (s)",
        },
        is_log_x: false,
        y_max: None,
        legend: SeriesLabelPosition::UpperLeft,
        series: &series,
    };
    chart.svg()
}

/// What is drawn of batch studies.
#[derive(Debug, Clone, Copy)]
pub(super) enum Figure {
    Speed,
    Latency,
}
