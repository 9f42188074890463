//! Which ended programs are kept to be looked at. Owns: the bounds, in programs and in calls.

use std::collections::VecDeque;

use super::row::RowId;

/// Ended programs that are kept.
const ROWS_MAX: usize = 1_000;
/// Calls of ended programs that are kept.
const CALLS_MAX: usize = 16_384;

/// Ended programs, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    rows: VecDeque<(RowId, usize)>,
    calls: usize,
}

impl Kept {
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn add(&mut self, row: RowId, calls: usize) {
        self.rows.push_back((row, calls));
        self.calls += calls;
    }

    /// It is not over.
    pub(super) fn remove(&mut self, row: RowId) {
        let place = self.rows.iter().rposition(|(kept, _)| *kept == row);
        if let Some((_, calls)) = place.and_then(|place| self.rows.remove(place)) {
            self.calls -= calls;
        }
    }

    /// The oldest, if there are too many.
    pub(super) fn evict(&mut self) -> Option<RowId> {
        if self.rows.len() <= ROWS_MAX && (self.calls <= CALLS_MAX || self.rows.len() <= 1) {
            return None;
        }
        let (row, calls) = self.rows.pop_front()?;
        self.calls -= calls;
        Some(row)
    }
}
