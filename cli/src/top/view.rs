//! What is looked at. Owns: which program and call are chosen, and what a key changes. Pure.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::Value;

use super::snapshot::{Ask, Known, Name};

/// Rows that a page key goes.
const PAGE: isize = 10;

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct View {
    /// What the router is asked for; with a program, its calls are looked at.
    pub(super) ask: Ask,
    program: Option<Name>,
    call: Option<String>,
}

/// What follows from a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Nothing but another frame.
    Draw,
    /// The router is to be asked anew, at once.
    Read,
    /// The end.
    Quit,
}

impl View {
    pub(super) fn new(ask: Ask) -> Self {
        Self {
            ask,
            ..Self::default()
        }
    }

    /// The place of the chosen one among those that are there: the first one, where it has gone.
    pub(super) fn chosen<'a>(&self, mut items: impl Iterator<Item = &'a Value>) -> usize {
        let place = if self.ask.program.is_some() {
            let call = self.call.as_ref();
            call.and_then(|call| items.position(|item| item["id"] == *call))
        } else {
            let program = self.program.as_ref();
            program.and_then(|program| items.position(|item| program.is_of(item)))
        };
        place.unwrap_or(0)
    }

    /// Does what a key says.
    pub(super) fn on(&mut self, key: KeyEvent, known: &Known) -> Next {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c') if is_control => return Next::Quit,
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Esc if self.ask.program.is_none() => return Next::Quit,
            KeyCode::Esc => self.ask.program = None,
            KeyCode::Up | KeyCode::Char('k') => self.go(-1, known),
            KeyCode::Down | KeyCode::Char('j') => self.go(1, known),
            KeyCode::PageUp => self.go(-PAGE, known),
            KeyCode::PageDown => self.go(PAGE, known),
            KeyCode::Home | KeyCode::Char('g') => self.go(isize::MIN, known),
            KeyCode::End | KeyCode::Char('G') => self.go(isize::MAX, known),
            _ if self.ask.program.is_some() => {}
            KeyCode::Enter => return self.open(known),
            KeyCode::Char('s') => {
                self.ask.sort = self.ask.sort.next();
                return Next::Read;
            }
            KeyCode::Char('e') => {
                self.ask.with_ended = !self.ask.with_ended;
                return Next::Read;
            }
            _ => {}
        }
        Next::Draw
    }

    fn go(&mut self, rows: isize, known: &Known) {
        let items = self.items(known);
        let place = self.chosen(items.iter().copied());
        let place = place
            .saturating_add_signed(rows)
            .min(items.len().saturating_sub(1));
        let item = items.get(place);
        if self.ask.program.is_some() {
            let id = item.and_then(|call| call["id"].as_str());
            self.call = id.map(str::to_owned);
        } else {
            self.program = item.and_then(|row| Name::of(row));
        }
    }

    fn items<'a>(&self, known: &'a Known) -> Vec<&'a Value> {
        match &self.ask.program {
            Some(program) => known.calls(program),
            None => known.programs().iter().collect(),
        }
    }

    /// Looks at the calls of the chosen program.
    fn open(&mut self, known: &Known) -> Next {
        self.go(0, known);
        self.ask.program.clone_from(&self.program);
        self.call = None;
        Next::Read
    }
}
