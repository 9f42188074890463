//! Where a program stays, model by model. Owns: the engines that hold its context, and what its engines were made from.
//! It must not know which engines there are.

use lps_api::ids::{EngineId, ModelName, Revision};

/// What is known of one model.
#[derive(Debug, Clone)]
struct Stay {
    model: ModelName,
    home: Option<EngineId>,
    revision: Option<Revision>,
}

/// Where one program stays, by the models' names.
#[derive(Debug, Clone, Default)]
pub struct Stays {
    of: Vec<Stay>,
}

impl Stays {
    /// The engine that holds its context for a model.
    pub fn home(&self, model: &ModelName) -> Option<&EngineId> {
        self.get(model)?.home.as_ref()
    }

    /// All engines that hold its context, each with the model.
    pub fn homes(&self) -> impl Iterator<Item = (&ModelName, &EngineId)> {
        let homes = self.of.iter();
        homes.filter_map(|stay| Some((&stay.model, stay.home.as_ref()?)))
    }

    /// The revision that its calls for a model stay with.
    pub fn revision(&self, model: &ModelName) -> Option<Revision> {
        self.get(model)?.revision
    }

    /// This engine holds its context for a model from now on.
    pub(crate) fn settle(&mut self, model: &ModelName, engine: EngineId) {
        self.entry(model).home = Some(engine);
    }

    /// Its calls for a model go to engines of this revision from now on.
    pub(crate) fn pin(&mut self, model: &ModelName, revision: Revision) {
        self.entry(model).revision = Some(revision);
    }

    fn place(&self, model: &ModelName) -> Result<usize, usize> {
        self.of.binary_search_by(|stay| stay.model.cmp(model))
    }

    fn get(&self, model: &ModelName) -> Option<&Stay> {
        self.place(model).ok().map(|place| &self.of[place])
    }

    fn entry(&mut self, model: &ModelName) -> &mut Stay {
        let place = self.place(model).unwrap_or_else(|place| {
            let stay = Stay {
                model: model.clone(),
                home: None,
                revision: None,
            };
            // Nearly every program calls one model: room for more would be wasted in each row.
            self.of.reserve_exact(1);
            self.of.insert(place, stay);
            place
        });
        &mut self.of[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn homes_and_revisions_are_kept_apart_and_in_the_order_of_models() {
        let [a, b, c] = ["a", "b", "c"].map(|name| ModelName::parse(name).expect("a name"));
        let engine = |name: &str| EngineId::parse(name).expect("a name");
        let mut stays = Stays::default();
        stays.settle(&b, engine("1"));
        stays.pin(&a, Revision(7));
        stays.settle(&c, engine("2"));
        stays.settle(&b, engine("3"));
        assert_eq!(
            (stays.home(&a), stays.revision(&a)),
            (None, Some(Revision(7)))
        );
        assert_eq!(
            (stays.home(&b), stays.revision(&b)),
            (Some(&engine("3")), None)
        );
        let homes: Vec<_> = stays.homes().collect();
        assert_eq!(homes, [(&b, &engine("3")), (&c, &engine("2"))]);
    }
}
