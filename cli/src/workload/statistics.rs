//! What is in a workload. Owns: its figures by class, and how often programs arrive.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{ProgramSpec, Workload, published};

/// What is measured of a class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Quantity {
    /// Calls a program.
    Calls,
    /// Prompt tokens a call.
    Prompt,
    /// Output tokens a call.
    Output,
    /// Prompt and output tokens a program.
    ProgramTokens,
    /// Seconds between a call's last parent and it.
    Gap,
    /// Calls of a program that wait for the same calls, at most.
    Width,
}

impl Quantity {
    const ALL: [Self; 6] = [
        Self::Calls,
        Self::Width,
        Self::Prompt,
        Self::Output,
        Self::ProgramTokens,
        Self::Gap,
    ];

    const fn title(self) -> &'static str {
        match self {
            Self::Calls => "calls a program",
            Self::Prompt => "prompt tokens a call",
            Self::Output => "output tokens a call",
            Self::ProgramTokens => "tokens a program",
            Self::Gap => "gap (s)",
            Self::Width => "calls side by side",
        }
    }
}

/// Mean, standard deviation and quantiles (by nearest rank).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Spread {
    /// How many values.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// Their median.
    pub p50: f64,
    /// 90 % are at most this.
    pub p90: f64,
    /// 95 % are at most this.
    pub p95: f64,
    /// 99 % are at most this.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of values in any order; of none, zeros.
    pub fn of(mut values: Vec<f64>) -> Self {
        if values.is_empty() {
            return Self::default();
        }
        values.sort_by(f64::total_cmp);
        let count = values.len();
        let at = |share: f64| {
            let rank = (share * count as f64).ceil() as usize;
            rounded(values[rank.clamp(1, count) - 1])
        };
        let mean = values.iter().sum::<f64>() / count as f64;
        let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
        Self {
            count,
            mean: rounded(mean),
            deviation: rounded((squares / count as f64).sqrt()),
            p50: at(0.5),
            p90: at(0.9),
            p95: at(0.95),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

/// A quantity of a class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Line {
    class: String,
    quantity: Quantity,
    #[serde(flatten)]
    pub(super) spread: Spread,
    published: Option<&'static str>,
    source: Option<&'static str>,
}

/// The figures of a workload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Statistics {
    pub(super) programs: usize,
    pub(super) calls: usize,
    /// Seconds from the first arrival to the last.
    span_s: f64,
    /// Programs a second.
    rate: f64,
    /// Coefficient of variation of the times between arrivals: 1 where they are Poisson.
    pub(super) arrivals_cv: f64,
    pub(super) lines: Vec<Line>,
}

/// Columns of the table for people.
pub(super) const HEADER: [&str; 9] = [
    "CLASS",
    "QUANTITY",
    "MEAN",
    "SD",
    "P50",
    "P90",
    "P99",
    "MAX",
    "PUBLISHED",
];

impl Statistics {
    pub(super) fn of(workload: &Workload) -> Self {
        let programs = &workload.programs;
        let mut classes: BTreeMap<&str, Vec<&ProgramSpec>> = BTreeMap::new();
        for program in programs {
            let class = classes.entry(program.class.as_str()).or_default();
            class.push(program);
        }
        let apart: Vec<f64> = programs
            .windows(2)
            .map(|pair| (pair[1].arrival - pair[0].arrival).as_secs_f64())
            .collect();
        // From zero, since a sum of nothing is minus zero.
        let span_s = apart.iter().fold(0.0, |sum, gap| sum + gap);
        let between = Spread::of(apart);
        let per = |value: f64| if value > 0.0 { value.recip() } else { 0.0 };
        Self {
            programs: programs.len(),
            calls: programs.iter().map(|program| program.calls.len()).sum(),
            span_s: rounded(span_s),
            rate: rounded(per(between.mean)),
            arrivals_cv: rounded(between.deviation * per(between.mean)),
            lines: classes
                .iter()
                .flat_map(|(class, programs)| {
                    Quantity::ALL.map(|quantity| Line::of(class, quantity, programs))
                })
                .collect(),
        }
    }

    /// What is said above the table.
    pub(super) fn heading(&self) -> String {
        format!(
            "{} programs, {} calls, arriving over {:.1} s ({:.4} a second, coefficient of variation {:.2})",
            self.programs, self.calls, self.span_s, self.rate, self.arrivals_cv
        )
    }

    pub(super) fn rows(&self) -> Vec<Vec<String>> {
        self.lines.iter().map(Line::row).collect()
    }

    /// The sources of the published figures, each once.
    pub(super) fn sources(&self) -> Vec<String> {
        let named = self
            .lines
            .iter()
            .filter_map(|line| Some((&line.class, line.source?)));
        let mut sources: Vec<String> = named
            .map(|(class, source)| format!("{class}: {source}"))
            .collect();
        sources.dedup();
        sources
    }
}

impl Line {
    fn of(class: &str, quantity: Quantity, programs: &[&ProgramSpec]) -> Self {
        let calls = || programs.iter().flat_map(|program| &program.calls);
        let values: Vec<f64> = match quantity {
            Quantity::Calls => programs.iter().map(|p| p.calls.len() as f64).collect(),
            Quantity::Prompt => calls().map(|call| f64::from(call.prompt.0)).collect(),
            Quantity::Output => calls().map(|call| f64::from(call.output.0)).collect(),
            Quantity::ProgramTokens => programs.iter().map(|program| tokens(program)).collect(),
            Quantity::Gap => calls()
                .filter(|call| !call.parents.is_empty())
                .map(|call| call.gap.as_secs_f64())
                .collect(),
            Quantity::Width => programs.iter().map(|program| width(program)).collect(),
        };
        let published = published::of(class, quantity);
        Self {
            class: class.to_owned(),
            quantity,
            spread: Spread::of(values),
            published: published.map(|published| published.figure),
            source: published.map(|published| published.source),
        }
    }

    fn row(&self) -> Vec<String> {
        let spread = &self.spread;
        let figures = [
            spread.mean,
            spread.deviation,
            spread.p50,
            spread.p90,
            spread.p99,
            spread.max,
        ];
        let mut row = vec![self.class.clone(), self.quantity.title().to_owned()];
        row.extend(figures.map(figure));
        row.push(self.published.unwrap_or("-").to_owned());
        row
    }
}

fn tokens(program: &ProgramSpec) -> f64 {
    let of_calls = program.calls.iter();
    of_calls
        .map(|call| f64::from(call.prompt.0) + f64::from(call.output.0))
        .sum()
}

fn width(program: &ProgramSpec) -> f64 {
    let mut counts: BTreeMap<&[usize], u32> = BTreeMap::new();
    for call in &program.calls {
        *counts.entry(&call.parents).or_default() += 1;
    }
    f64::from(counts.into_values().max().unwrap_or_default())
}

/// Three digits that matter.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
