//! Which models programs have called. Owns: how many live programs each model has, kept as it changes, so that asking
//! costs nothing; a program's models are one word in its row.

use lps_api::ids::ModelName;

/// Models that are told apart. Those beyond share the last place, and count each other's programs.
const MODELS_MAX: usize = 64;

/// Models, by the order of their first calls.
#[derive(Debug)]
pub(super) struct Models {
    names: Vec<ModelName>,
    live: [u32; MODELS_MAX],
}

impl Default for Models {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            live: [0; MODELS_MAX],
        }
    }
}

impl Models {
    fn place(&self, model: &ModelName) -> Option<usize> {
        let known = self.names.iter().position(|name| name == model);
        known.or_else(|| (self.names.len() + 1 >= MODELS_MAX).then_some(MODELS_MAX - 1))
    }

    /// The bit of a model; 0 when no program has called it.
    pub(super) fn bit(&self, model: &ModelName) -> u64 {
        self.place(model).map_or(0, |place| 1 << place)
    }

    /// A live program that has called `models` calls this one. Gives back what it has called now, and the name as it is
    /// kept here, so that each call need not keep its own.
    pub(super) fn called(&mut self, models: u64, model: ModelName) -> (u64, ModelName) {
        let place = self.place(&model).unwrap_or_else(|| {
            self.names.push(model.clone());
            self.names.len() - 1
        });
        if models & (1 << place) == 0 {
            self.live[place] += 1;
        }
        let known = self.names.get(place).filter(|known| **known == model);
        let name = known.cloned().unwrap_or(model);
        (models | (1 << place), name)
    }

    /// A program that has called `models` ended.
    pub(super) fn ended(&mut self, models: u64) {
        for (place, live) in self.live.iter_mut().enumerate() {
            *live -= u32::from(models & (1 << place) != 0);
        }
    }

    /// A program that had ended, and had called `models`, goes on.
    pub(super) fn again(&mut self, models: u64) {
        for (place, live) in self.live.iter_mut().enumerate() {
            *live += u32::from(models & (1 << place) != 0);
        }
    }

    /// Live programs that have called a model.
    pub(super) fn live(&self, model: &ModelName) -> u32 {
        self.place(model).map_or(0, |place| self.live[place])
    }

    /// Whether the counts are those of these live programs.
    ///
    /// # Panics
    /// When they are not.
    pub(super) fn check_integrity(&self, live: impl Iterator<Item = u64>) {
        let mut counts = [0; MODELS_MAX];
        for models in live {
            for (place, count) in counts.iter_mut().enumerate() {
                *count += u32::from(models & (1 << place) != 0);
            }
        }
        assert_eq!(counts, self.live, "live programs by model");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_beyond_the_bound_share_a_place() {
        let mut models = Models::default();
        let name = |index: usize| ModelName::parse(&format!("m{index}")).unwrap();
        assert_eq!((models.bit(&name(0)), models.live(&name(0))), (0, 0));
        let rows: Vec<u64> = (0..100).map(|n| models.called(0, name(n)).0).collect();
        let again = models.called(rows[7], name(7));
        assert_eq!(again, (rows[7], name(7)), "counted once");
        assert_eq!(models.live(&name(7)), 1);
        assert_eq!(models.live(&name(80)), 37);
        assert_eq!(models.live(&name(99)), 37);
        models.check_integrity(rows.iter().copied());
        rows.iter().for_each(|row| models.ended(*row));
        models.check_integrity(std::iter::empty());
    }
}
