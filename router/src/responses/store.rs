//! Which responses are kept. Owns: the bounds in number, bytes and age; the oldest goes first. Pure.

use std::sync::Arc;

use indexmap::IndexMap;
use lps_api::ids::TenantId;
use lps_api::quantity::Micros;

/// Most responses that are kept.
const COUNT_MAX: usize = 4_096;
/// Longest time that one is kept.
const AGE_MAX: Micros = Micros::from_secs(24 * 3_600);

/// Whose response, and its id.
pub type Key = (TenantId, String);

/// A response that is kept, as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// The response.
    pub response: Arc<str>,
    /// The list of all items that it was an answer to.
    pub input: Arc<str>,
}

impl Kept {
    /// How large it is.
    pub fn bytes(&self) -> usize {
        self.response.len() + self.input.len()
    }
}

/// Responses by their keys, the oldest first.
#[derive(Debug)]
pub struct Store {
    kept: IndexMap<Key, (Micros, Kept)>,
    bytes: usize,
    bytes_max: usize,
}

impl Store {
    /// Of at most so many bytes.
    pub fn new(bytes_max: usize) -> Self {
        Self {
            kept: IndexMap::new(),
            bytes: 0,
            bytes_max,
        }
    }

    /// Keeps one, if it has room at all.
    pub fn add(&mut self, key: Key, kept: Kept, now: Micros) {
        self.remove(&key);
        if kept.bytes() <= self.bytes_max {
            self.bytes += kept.bytes();
            self.kept.insert(key, (now, kept));
        }
        self.evict(now);
    }

    /// Keeps another response at the place of one that is still kept.
    pub fn update(&mut self, key: &Key, response: Arc<str>, now: Micros) {
        let Some((_, kept)) = self.kept.get_mut(key) else {
            return;
        };
        self.bytes -= kept.bytes();
        kept.response = response;
        self.bytes += kept.bytes();
        self.evict(now);
    }

    /// One that is kept.
    pub fn get(&mut self, key: &Key, now: Micros) -> Option<&Kept> {
        self.evict(now);
        self.kept.get(key).map(|(_, kept)| kept)
    }

    /// Forgets one; whether it was kept.
    pub fn remove(&mut self, key: &Key) -> bool {
        let removed = self.kept.shift_remove(key);
        self.bytes -= removed.as_ref().map_or(0, |(_, kept)| kept.bytes());
        removed.is_some()
    }

    fn evict(&mut self, now: Micros) {
        while let Some((_, (since, oldest))) = self.kept.first() {
            let is_old = now.saturating_sub(*since) > AGE_MAX;
            if !is_old && self.kept.len() <= COUNT_MAX && self.bytes <= self.bytes_max {
                return;
            }
            self.bytes -= oldest.bytes();
            self.kept.shift_remove_index(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Micros = Micros::from_secs(9);

    fn key(id: usize) -> Key {
        (TenantId::anonymous(), format!("resp_{id}"))
    }

    fn kept(bytes: usize) -> Kept {
        let (response, input) = (
            "r".repeat(bytes / 2).into(),
            "i".repeat(bytes.div_ceil(2)).into(),
        );
        Kept { response, input }
    }

    fn holds(store: &mut Store, ids: &[usize], now: Micros) -> Vec<bool> {
        ids.iter()
            .map(|id| store.get(&key(*id), now).is_some())
            .collect()
    }

    #[test]
    fn the_oldest_goes_when_the_bytes_are_full() {
        let mut store = Store::new(100);
        for id in 1..=3 {
            store.add(key(id), kept(40), NOW);
        }
        assert_eq!(holds(&mut store, &[1, 2, 3], NOW), [false, true, true]);
        // One that grows beyond the bound pushes out what is older.
        store.update(&key(3), kept(100).response, NOW);
        assert_eq!(holds(&mut store, &[2, 3], NOW), [false, true]);
        assert_eq!(store.bytes, 50 + 20);
    }

    #[test]
    fn what_has_no_room_at_all_takes_no_others() {
        let mut store = Store::new(100);
        store.add(key(1), kept(40), NOW);
        store.add(key(2), kept(101), NOW);
        assert_eq!(holds(&mut store, &[1, 2], NOW), [true, false]);
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many_and_all_when_they_are_old() {
        let mut store = Store::new(usize::MAX);
        for id in 0..=COUNT_MAX {
            store.add(key(id), kept(1), NOW);
        }
        assert_eq!(
            holds(&mut store, &[0, 1, COUNT_MAX], NOW),
            [false, true, true]
        );
        let later = NOW.saturating_add(AGE_MAX).saturating_add(Micros(1));
        assert_eq!(holds(&mut store, &[1, COUNT_MAX], later), [false, false]);
        assert_eq!(store.bytes, 0);
    }

    #[test]
    fn another_tenants_is_not_there_and_what_is_removed_is_not_updated() {
        let mut store = Store::new(100);
        store.add(key(1), kept(4), NOW);
        let other = (TenantId::parse("other").unwrap(), "resp_1".to_owned());
        assert_eq!(store.get(&other, NOW), None);
        assert!(!store.remove(&other) && store.remove(&key(1)) && !store.remove(&key(1)));
        store.update(&key(1), kept(4).response, NOW);
        assert_eq!(store.get(&key(1), NOW), None);
        assert_eq!(store.bytes, 0);
    }
}
