//! Line plots as SVG text. Owns: axes, colours, legends. It must not know what is drawn.

use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint};
use plotters::prelude::*;

const COLOURS: [RGBColor; 8] = [
    RGBColor(31, 119, 180),
    RGBColor(214, 39, 40),
    RGBColor(44, 160, 44),
    RGBColor(148, 103, 189),
    RGBColor(255, 127, 14),
    RGBColor(140, 86, 75),
    RGBColor(23, 190, 207),
    RGBColor(127, 127, 127),
];

/// A colour as CSS writes it.
pub fn css_colour(index: usize) -> String {
    let RGBColor(red, green, blue) = COLOURS[index % COLOURS.len()];
    format!("#{red:02x}{green:02x}{blue:02x}")
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// What the legend calls it.
    pub label: String,
    /// Which colour; they repeat after eight.
    pub colour: usize,
    /// In order of x.
    pub points: Vec<(f64, f64)>,
    /// Whether each point has a mark.
    pub has_marks: bool,
    /// Vertical bars: x, lower end, upper end.
    pub bars: Vec<(f64, f64, f64)>,
}

/// A plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart<'a> {
    /// What x is, with its unit.
    pub x: &'a str,
    /// What y is, with its unit.
    pub y: &'a str,
    /// Whether x is drawn by its logarithm; values below a thousandth of the largest stand at the left edge.
    pub is_log_x: bool,
    /// The top of y, where it is known.
    pub y_max: Option<f64>,
    /// Where the legend stands.
    pub legend: SeriesLabelPosition,
    /// What is drawn.
    pub series: &'a [Series],
}

impl Chart<'_> {
    /// Draws it.
    ///
    /// # Errors
    /// When it cannot be drawn.
    pub fn svg(&self) -> anyhow::Result<String> {
        let (left, right) = self.x_range();
        let top = self.y_top();
        let mut svg = String::new();
        {
            let area = SVGBackend::with_string(&mut svg, (800, 420)).into_drawing_area();
            area.fill(&WHITE)?;
            let mut chart = ChartBuilder::on(&area)
                .margin(14)
                .x_label_area_size(46)
                .y_label_area_size(64)
                .build_cartesian_2d(
                    Axis {
                        left,
                        right,
                        ticks: self.ticks(left, right),
                    },
                    0.0..top,
                )?;
            let label = |x: &f64| number(if self.is_log_x { 10_f64.powf(*x) } else { *x });
            chart
                .configure_mesh()
                .light_line_style(WHITE)
                .bold_line_style(RGBColor(225, 225, 225))
                .label_style(("sans-serif", 14))
                .axis_desc_style(("sans-serif", 15))
                .x_label_formatter(&label)
                .y_label_formatter(&|y| number(*y))
                .x_labels(12)
                .y_labels(7)
                .x_desc(self.x)
                .y_desc(self.y)
                .draw()?;
            for series in self.series {
                let colour = COLOURS[series.colour % COLOURS.len()];
                let place = |x: f64| self.place(x).max(left);
                let points: Vec<_> = series.points.iter().map(|(x, y)| (place(*x), *y)).collect();
                let key = move |(x, y)| {
                    PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(3))
                };
                chart
                    .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))?
                    .label(series.label.clone())
                    .legend(key);
                if series.has_marks {
                    let marks = points.iter().map(|at| Circle::new(*at, 4, colour.filled()));
                    chart.draw_series(marks)?;
                }
                let bars = series.bars.iter().map(|(x, low, high)| {
                    let x = place(*x);
                    PathElement::new(vec![(x, *low), (x, *high)], colour.stroke_width(1))
                });
                chart.draw_series(bars)?;
            }
            chart
                .configure_series_labels()
                .position(self.legend.clone())
                .label_font(("sans-serif", 14))
                .background_style(WHITE.mix(0.85))
                .border_style(RGBColor(180, 180, 180))
                .draw()?;
            area.present()?;
        }
        Ok(svg)
    }

    /// Where x is labelled: round figures, by their logarithm where that is drawn.
    fn ticks(&self, left: f64, right: f64) -> Vec<f64> {
        if self.is_log_x {
            let decades = left.floor() as i32..=right.ceil() as i32;
            let round = decades.flat_map(|decade| {
                [1.0, 2.0, 5.0].map(|digit: f64| digit.log10() + f64::from(decade))
            });
            return round.filter(|tick| (left..=right).contains(tick)).collect();
        }
        let decade = 10_f64.powf(((right - left) / 8.0).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0].map(|step| step * decade);
        let fits = steps.into_iter().find(|step| (right - left) / step <= 10.0);
        let step = fits.unwrap_or(right - left);
        let count = ((right - left) / step + 1e-9).floor() as u32;
        (0..=count)
            .map(|tick| left + f64::from(tick) * step)
            .collect()
    }

    fn place(&self, x: f64) -> f64 {
        if self.is_log_x {
            x.max(1e-9).log10()
        } else {
            x
        }
    }

    fn x_range(&self) -> (f64, f64) {
        let all = || self.series.iter().flat_map(|series| &series.points);
        let most = all().map(|(x, _)| *x).fold(0.0, f64::max).max(1e-9);
        if !self.is_log_x {
            return (0.0, most * 1.03);
        }
        let above = all().map(|(x, _)| *x).filter(|x| *x > most / 1_000.0);
        let least = above.fold(most, f64::min) / 1.1;
        (least.log10(), (most * 1.1).log10())
    }

    fn y_top(&self) -> f64 {
        let points = self.series.iter().flat_map(|series| &series.points);
        let bars = self.series.iter().flat_map(|series| &series.bars);
        let ys = points
            .map(|(_, y)| *y)
            .chain(bars.map(|(_, _, high)| *high));
        let most = ys.fold(0.0, f64::max).max(1e-9);
        self.y_max.unwrap_or(most * 1.06)
    }
}

/// An axis with labels of its own choice.
struct Axis {
    left: f64,
    right: f64,
    ticks: Vec<f64>,
}

impl Ranged for Axis {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (from, to): (i32, i32)) -> i32 {
        let share = (value - self.left) / (self.right - self.left);
        from + (share * f64::from(to - from)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        self.ticks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.left..self.right
    }
}

/// The corners of the distribution of values: the share of them that is at most x.
pub fn distribution(mut values: Vec<f64>, of: usize) -> Vec<(f64, f64)> {
    values.sort_by(f64::total_cmp);
    let share = |count: usize| count as f64 / of.max(1) as f64;
    let corners = values.iter().enumerate();
    corners
        .flat_map(|(index, value)| [(*value, share(index)), (*value, share(index + 1))])
        .collect()
}

/// As steps: each value holds until the next one.
pub fn steps(points: impl Iterator<Item = (f64, f64)>) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::new();
    for (x, y) in points {
        if let Some((_, before)) = corners.last().copied() {
            corners.push((x, before));
        }
        corners.push((x, y));
    }
    corners
}

/// Short, and plain to the eye.
fn number(value: f64) -> String {
    let size = value.abs();
    let text = match size {
        0.0 => "0".to_owned(),
        size if size >= 99.5 => format!("{value:.0}"),
        size if size >= 9.95 => format!("{value:.1}"),
        size if size >= 0.0995 => format!("{value:.2}"),
        size if size >= 0.001 => format!("{value:.4}"),
        _ => format!("{value:.1e}"),
    };
    if text.contains('.') && !text.contains('e') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(series: &[Series], is_log_x: bool) -> Chart<'_> {
        Chart {
            x: "time (s)",
            y: "share",
            is_log_x,
            y_max: None,
            legend: SeriesLabelPosition::UpperLeft,
            series,
        }
    }

    #[test]
    fn a_plot_has_its_axes_and_legend_and_no_markup_from_outside() {
        let series = [Series {
            label: "<script>".to_owned(),
            colour: 9,
            points: vec![(0.0, 1.0), (5.0, 2.0)],
            has_marks: true,
            bars: vec![(5.0, 1.0, 3.0)],
        }];
        for is_log_x in [false, true] {
            let svg = chart(&series, is_log_x).svg().expect("memory");
            assert!(svg.contains("time (s)") && svg.contains("<circle"), "{svg}");
            assert!(!svg.contains("<script>"), "{svg}");
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
        chart(&[], true).svg().expect("an empty plot is one too");
    }

    #[test]
    fn labels_are_round_figures() {
        let log = chart(&[], true).ticks(0.5_f64.log10(), 30_f64.log10());
        let log: Vec<_> = log.iter().map(|tick| number(10_f64.powf(*tick))).collect();
        assert_eq!(log, ["0.5", "1", "2", "5", "10", "20"]);
        let linear = chart(&[], false).ticks(0.0, 1.4);
        let linear: Vec<_> = linear.iter().map(|tick| number(*tick)).collect();
        assert_eq!(linear, ["0", "0.2", "0.4", "0.6", "0.8", "1", "1.2", "1.4"]);
    }

    #[test]
    fn what_did_not_end_keeps_the_distribution_below_one() {
        let corners = distribution(vec![2.0, 1.0], 4);
        assert_eq!(corners, [(1.0, 0.0), (1.0, 0.25), (2.0, 0.25), (2.0, 0.5)]);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (2.0, "2"),
            (12.5, "12.5"),
            (300.0, "300"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
