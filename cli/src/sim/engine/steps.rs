//! Steps that are out, one after another. Owns: when each of them ends.

use lps_api::quantity::Micros;

/// Steps with the same calls; each takes a little longer than the one before, as contexts grow.
#[derive(Debug, Clone, Copy)]
pub(super) struct Steps {
    began: Micros,
    /// Of the first that is out, in µs, and how much longer each next one takes.
    first_us: f64,
    more_us: f64,
    count: u32,
}

impl Steps {
    /// As many as there may be, but no more than end at or just after `period`.
    pub(super) fn new(
        began: Micros,
        (first_us, more_us): (f64, f64),
        most: u32,
        period: Micros,
    ) -> Self {
        let mut steps = Self {
            began,
            first_us: first_us.max(1.0),
            more_us,
            count: most,
        };
        if most > 1 {
            steps.count = (steps.ended_by(began + period) + 1).min(most);
        }
        steps
    }

    /// When the last of them ends.
    pub(super) fn end(&self) -> Micros {
        self.end_of(self.count)
    }

    fn end_of(&self, count: u32) -> Micros {
        let n = f64::from(count);
        let us = n * self.first_us + self.more_us * n * (n - 1.0) / 2.0;
        self.began + Micros(us.round() as u64)
    }

    /// Leaves only the first.
    pub(super) fn cut(&mut self) {
        self.count = self.count.min(1);
    }

    /// How many have ended at a time.
    fn ended_by(&self, now: Micros) -> u32 {
        let (mut least, mut most) = (0, self.count);
        while least < most {
            let middle = least + (most - least).div_ceil(2);
            if self.end_of(middle) <= now {
                least = middle;
            } else {
                most = middle - 1;
            }
        }
        least
    }

    /// Takes away those that have ended: how many, and how long they took.
    pub(super) fn end_before(&mut self, now: Micros) -> (u32, Micros) {
        let ended = self.ended_by(now);
        if ended == 0 {
            return (0, Micros::ZERO);
        }
        let end = self.end_of(ended);
        let time = end - self.began;
        self.began = end;
        self.first_us += self.more_us * f64::from(ended);
        self.count -= ended;
        (ended, time)
    }
}
