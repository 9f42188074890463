//! What passes with time. Owns: ending what waited too long and programs that nobody called, what is learned of programs that
//! ended, and telling which those are.

use super::State;
use super::view::ProgramView;
use crate::message::{Action, CallKey, Refusal};

impl State {
    /// Ends what waited too long, and programs that nobody called.
    pub(super) fn pass_time(&mut self, out: &mut Vec<Action>) {
        let now = self.now;
        let given_up: Vec<CallKey> = self
            .pools
            .values()
            .flat_map(|pool| pool.given_up(now))
            .collect();
        for call in given_up {
            self.refuse(call, Refusal::NoEngine, out);
        }
        self.table.expire(now);
        for over in self.table.take_over() {
            self.ended.push(over.row);
            let mut engines = over.homes.clone();
            for (model, pool) in &mut self.pools {
                if self.table.had_called(&over, model) {
                    pool.learn(&over);
                }
                let kept = pool.program_over(over.row);
                if !kept.is_empty() {
                    pool.changed();
                }
                // A message for each plain call would cost more than its pages are worth.
                if !over.is_single {
                    engines.extend(kept);
                }
            }
            out.extend(engines.into_iter().map(|engine| Action::Release {
                program: over.program.clone(),
                engine,
            }));
        }
    }

    /// The programs that the last events ended, each with at most so many of its calls, the last ones. They are known at least
    /// until the next events.
    pub fn ended_programs(&self, most: usize) -> impl Iterator<Item = ProgramView> {
        let rows = self.ended.iter().filter_map(|row| self.table.row(*row));
        rows.map(move |row| self.program_view(row, most))
    }
}
