//! One frame. Owns: where what stands on a terminal of any size, and what is coloured. Pure.

use std::ops::Range;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;
use ratatui::widgets::{Paragraph, Widget, Wrap};
use serde_json::Value;

use super::columns;
use super::snapshot::{Known, Name, Sort};
use super::view::View;
use crate::console::plain;
use crate::show::{self, Column};

/// Columns between two cells.
const GAP: u16 = 2;
/// A cell is cut to a third of the line, but not to less than this.
const CELL_MIN: u16 = 16;
/// Lines from which on tables are set apart.
const ROOMY: u16 = 24;
/// Lines of a text that is longer than one.
const TEXT_LINES: u16 = 3;

const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
const DIM: Style = Style::new().add_modifier(Modifier::DIM);
const CHOSEN: Style = Style::new().add_modifier(Modifier::REVERSED);

/// What is drawn.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) view: &'a View,
    pub(super) known: &'a Known,
    pub(super) has_colour: bool,
}

impl Widget for Frame<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let problem = self.known.problem.as_deref();
        let [head, told, body, foot] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Length(problem.map_or(0, |_| TEXT_LINES)),
            Constraint::Min(0),
            Constraint::Length(1),
        ])
        .areas(area);
        self.head(head, buffer);
        if let Some(problem) = problem {
            paragraph(&plain(problem), told, buffer);
        }
        let keys = match &self.view.ask.program {
            Some(program) => {
                self.program(program, body, buffer);
                "↑↓ choose  Esc back  q quit"
            }
            None => {
                self.overview(body, buffer);
                "↑↓ choose  Enter calls  s sort  e ended  q quit"
            }
        };
        Cell::new(keys, DIM).render(foot, buffer);
    }
}

impl Frame<'_> {
    fn head(&self, area: Rect, buffer: &mut Buffer) {
        let [name, state] =
            Layout::horizontal([Constraint::Length(7 + GAP), Constraint::Min(0)]).areas(area);
        Cell::new("lps top", BOLD).render(name, buffer);
        let (told, style) = match (&self.known.problem, &self.known.last) {
            (Some(_), None) => ("the router does not answer".to_owned(), Some(Color::Red)),
            (Some(_), Some(_)) => (
                "the router does not answer; this is what it said last".to_owned(),
                Some(Color::Red),
            ),
            (None, None) => ("waiting for the router".to_owned(), None),
            (None, Some(last)) => (self.listed(last.programs.len(), last.has_more), None),
        };
        let text = format!("{told}  {}", self.known.url);
        Cell::new(&text, self.tint(style)).render(state, buffer);
    }

    /// How many programs are listed, and in which order.
    fn listed(&self, programs: usize, has_more: bool) -> String {
        let more = if has_more { "more than " } else { "" };
        let ended = if self.view.ask.with_ended {
            ", ended ones too"
        } else {
            ""
        };
        let order = match self.view.ask.sort {
            Sort::Wait => "most wait first",
            Sort::Service => "most service first",
            Sort::CriticalPath => "longest critical path first",
            Sort::Arrival => "oldest first",
        };
        format!("{more}{programs} programs{ended}, {order}")
    }

    /// Models and engines have a quarter of the lines each, at most; programs have the rest.
    fn overview(&self, area: Rect, buffer: &mut Buffer) {
        let Some(last) = &self.known.last else {
            return;
        };
        let most = (area.height / 4).max(2);
        let lines = |items: &[Value]| {
            let lines = u16::try_from(items.len().max(1) + 1).unwrap_or(u16::MAX);
            Constraint::Length(lines.min(most))
        };
        let [models, engines, programs] = Layout::vertical([
            lines(&last.models),
            lines(&last.engines),
            Constraint::Min(0),
        ])
        .spacing(u16::from(area.height >= ROOMY))
        .areas(area);
        let table = |columns, items, empty| Table {
            columns,
            items,
            chosen: None,
            empty,
            frame: *self,
        };
        table(&columns::MODEL, last.models.iter().collect(), "no models").render(models, buffer);
        table(
            &columns::ENGINE,
            last.engines.iter().collect(),
            "no engines yet",
        )
        .render(engines, buffer);
        let chosen = Some(self.view.chosen(last.programs.iter()));
        let items = last.programs.iter().collect();
        Table {
            chosen,
            ..table(&columns::PROGRAM, items, "no programs")
        }
        .render(programs, buffer);
    }

    /// A program's row, its calls, and why the chosen one waits.
    fn program(&self, name: &Name, area: Rect, buffer: &mut Buffer) {
        let Some(whole) = self.known.program(name) else {
            let text = format!("nothing is known of {}", plain(&name.id));
            Cell::new(&text, DIM).render(area, buffer);
            return;
        };
        let [row, calls_area, explained] = Layout::vertical([
            Constraint::Length(2),
            Constraint::Min(0),
            Constraint::Length(TEXT_LINES),
        ])
        .spacing(u16::from(area.height >= ROOMY))
        .areas(area);
        let calls = self.known.calls(name);
        let chosen = self.view.chosen(calls.iter().copied());
        let call = calls.get(chosen).copied();
        Table {
            columns: &columns::PROGRAM,
            items: vec![whole],
            chosen: None,
            empty: "",
            frame: *self,
        }
        .render(row, buffer);
        Table {
            columns: &columns::CALL,
            items: calls,
            chosen: Some(chosen),
            empty: "no calls",
            frame: *self,
        }
        .render(calls_area, buffer);
        if let Some(call) = call {
            paragraph(&columns::explained(call), explained, buffer);
        }
    }

    fn tint(&self, colour: Option<Color>) -> Style {
        match colour.filter(|_| self.has_colour) {
            Some(colour) => Style::new().fg(colour),
            None => Style::new(),
        }
    }

    /// Waits and what is wrong have a colour; what is over steps back.
    fn style(&self, (_, at, _): &Column, text: &str) -> Style {
        match (*at, text) {
            (_, "-") => DIM,
            ("/state", "failed") => self.tint(Some(Color::Red)),
            ("/state", "ended" | "expired" | "completed" | "cancelled") => DIM,
            ("/draining", "true") => self.tint(Some(Color::Yellow)),
            (at, _) if at.ends_with("reason") => self.tint(Some(Color::Yellow)),
            _ => Style::new(),
        }
    }
}

fn paragraph(text: &str, area: Rect, buffer: &mut Buffer) {
    let paragraph = Paragraph::new(text).wrap(Wrap { trim: true });
    paragraph.render(area, buffer);
}

/// Things and what is shown of each: as many columns as there is room for, and the rows around the chosen one.
struct Table<'a> {
    columns: &'a [Column],
    items: Vec<&'a Value>,
    /// The row that is chosen, where one can be.
    chosen: Option<usize>,
    /// What is said where there are no items.
    empty: &'a str,
    frame: Frame<'a>,
}

impl Widget for Table<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let mut lines = area.rows();
        let Some(header) = lines.next() else {
            return;
        };
        let (shown, left_out) = self.shown(usize::from(area.height) - 1);
        let row = |item: &&Value| -> Vec<String> {
            let cells = self.columns.iter().map(|column| show::cell(item, column));
            cells.collect()
        };
        let rows: Vec<_> = self.items[shown.clone()].iter().map(row).collect();
        let widths = widths(self.columns, &rows, area.width);
        let titles = self.columns.iter().map(|(title, ..)| (*title, BOLD));
        draw(titles, &widths, (header, &mut *buffer));
        for ((place, cells), line) in shown.zip(&rows).zip(lines.by_ref()) {
            let cells = self.columns.iter().zip(cells);
            let cells = cells.map(|(column, text)| (text.as_str(), self.frame.style(column, text)));
            draw(cells, &widths, (line, &mut *buffer));
            if self.chosen == Some(place) {
                buffer.set_style(line, CHOSEN);
            }
        }
        let last = match left_out {
            0 if self.items.is_empty() => self.empty.to_owned(),
            0 => return,
            left_out => format!("… {left_out} more"),
        };
        if let Some(line) = lines.next() {
            Cell::new(&last, DIM).render(line, buffer);
        }
    }
}

impl Table<'_> {
    /// The rows that there is room for, and how many are left out where no key would show them.
    fn shown(&self, room: usize) -> (Range<usize>, usize) {
        let all = self.items.len();
        match self.chosen {
            None if all > room => {
                let shown = room.saturating_sub(1);
                (0..shown, all - shown)
            }
            None => (0..all, 0),
            Some(chosen) => {
                let first = chosen.saturating_sub(room / 2);
                let first = first.min(all.saturating_sub(room));
                (first..all.min(first + room), 0)
            }
        }
    }
}

/// How wide the columns are that there is room for: as wide as what is in them, within bounds.
fn widths(columns: &[Column], rows: &[Vec<String>], room: u16) -> Vec<u16> {
    let most = CELL_MIN.max(room / 3).min(room);
    let mut left = room + GAP;
    let wanted = columns.iter().enumerate().map(|(place, (title, ..))| {
        let cells = rows.iter().map(|row| width(&row[place]));
        cells.fold(width(title), u16::max).min(most)
    });
    let fitting = wanted.take_while(|width| {
        let rest = left.checked_sub(width + GAP);
        left = rest.unwrap_or(0);
        rest.is_some()
    });
    fitting.collect()
}

fn width(text: &str) -> u16 {
    u16::try_from(Span::raw(text).width()).unwrap_or(u16::MAX)
}

/// Draws a line of cells.
fn draw<'a>(
    cells: impl Iterator<Item = (&'a str, Style)>,
    widths: &[u16],
    (line, buffer): (Rect, &mut Buffer),
) {
    let mut x = line.x;
    for ((text, style), width) in cells.zip(widths) {
        let area = Rect {
            x,
            width: *width,
            ..line
        };
        Cell::new(text, style).render(area, buffer);
        x += width + GAP;
    }
}

/// A text in one line, which shows where it is cut.
struct Cell<'a> {
    text: &'a str,
    style: Style,
}

impl<'a> Cell<'a> {
    fn new(text: &'a str, style: Style) -> Self {
        Self { text, style }
    }
}

impl Widget for Cell<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        if area.is_empty() {
            return;
        }
        let is_cut = width(self.text) > area.width;
        let room = usize::from(area.width - u16::from(is_cut));
        let (end, _) = buffer.set_stringn(area.x, area.y, self.text, room, self.style);
        if is_cut {
            buffer.set_stringn(end, area.y, "…", 1, self.style);
        }
    }
}
