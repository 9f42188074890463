//! What changes, for who watches it. Owns: turning the table's notes of a turn into the plain values of `view`.

use super::State;
use super::view::{Change, TenantCall};
use crate::process_table::{Known, Note};

impl State {
    /// From now on changes are kept for [`Self::changes`], or are not: nobody watches.
    pub fn watch(&mut self, is_watched: bool) {
        self.table.keep_notes(is_watched);
    }

    /// What changed since this was last asked, as it stands now.
    pub fn changes(&mut self) -> Vec<Change> {
        let notes = self.table.take_notes();
        let changes = notes.into_iter().filter_map(|note| self.change(note));
        changes.collect()
    }

    fn change(&self, note: Note) -> Option<Change> {
        let row = |id| self.table.row(id);
        Some(match note {
            Note::Began(id) => Change::Began(self.summary(row(id)?)),
            Note::Ended(id) => Change::Ended(self.summary(row(id)?)),
            Note::Moved(id, key) => {
                let row = row(id)?;
                let call = match self.table.known(row, key)? {
                    Known::Open(call) => self.call_view(call, row),
                    Known::Ended(call) => self.ended_view(call, row),
                };
                let tenant = row.key.tenant.clone();
                Change::Call(TenantCall { tenant, call })
            }
        })
    }
}
