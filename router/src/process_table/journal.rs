//! What changed in the table, for who watches. Owns: notes of one turn, which are taken only while somebody wants them.

use super::row::RowId;
use crate::message::CallKey;

/// Something that changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Note {
    /// A program began.
    Began(RowId),
    /// A call stands elsewhere: it came, runs, waits again, or ended.
    Moved(RowId, CallKey),
    /// A program ended.
    Ended(RowId),
}

/// Notes.
#[derive(Debug, Default)]
pub(super) struct Journal {
    notes: Vec<Note>,
    is_kept: bool,
}

impl Journal {
    /// From now on changes are noted, or are not.
    pub(super) fn keep(&mut self, is_kept: bool) {
        self.is_kept = is_kept;
    }

    pub(super) fn note(&mut self, note: Note) {
        if self.is_kept {
            self.notes.push(note);
        }
    }

    /// What was noted since this was last asked.
    pub(super) fn take(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }
}
