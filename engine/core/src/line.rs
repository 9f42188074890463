//! Where every sequence stands, in order of preference. Owns: three sorted lists, whose union is every sequence
//! that could run. Knows places only: neither tokens nor pages.

use std::collections::BTreeSet;
use std::ops::Bound::{Excluded, Unbounded};

use crate::call::{Call, Place};

/// Where every sequence stands.
#[derive(Debug, Default)]
pub(crate) struct Line {
    /// Those that hold pages, running or preempted. A sorted vector: it is walked at every step, changes seldom, and
    /// is no longer than the pool has pages.
    resident: Vec<Place>,
    /// Those that hold none and may enter the batch.
    waiting: BTreeSet<Place>,
    /// Places of calls (choice 0) that wait for a batch to be formed.
    gathering: BTreeSet<Place>,
}

impl Line {
    pub(crate) fn resident(&self) -> &[Place] {
        &self.resident
    }

    pub(crate) fn waiting(&self) -> &BTreeSet<Place> {
        &self.waiting
    }

    pub(crate) fn gathering(&self) -> &BTreeSet<Place> {
        &self.gathering
    }

    /// The best that waits behind `passed`.
    pub(crate) fn first_waiting_after(&self, passed: Option<Place>) -> Option<Place> {
        match passed {
            None => self.waiting.first().copied(),
            Some(place) => self
                .waiting
                .range((Excluded(place), Unbounded))
                .next()
                .copied(),
        }
    }

    pub(crate) fn gather(&mut self, place: Place) {
        assert!(self.gathering.insert(place), "{place:?} gathers twice");
    }

    pub(crate) fn first_gathering(&self) -> Option<Place> {
        self.gathering.first().copied()
    }

    pub(crate) fn remove_gathering(&mut self, place: Place) {
        assert!(self.gathering.remove(&place), "{place:?} does not gather");
    }

    pub(crate) fn wait(&mut self, place: Place) {
        assert!(self.waiting.insert(place), "{place:?} waits twice");
    }

    /// A waiting sequence got its first page.
    pub(crate) fn settle(&mut self, place: Place) {
        assert!(self.waiting.remove(&place), "{place:?} does not wait");
        self.insert_resident(place);
    }

    /// A resident sequence gave back its last page, and waits again.
    pub(crate) fn unsettle(&mut self, place: Place) {
        self.remove_resident(place);
        self.wait(place);
    }

    /// Takes one choice out of wherever it stands.
    pub(crate) fn remove(&mut self, call: &Call, choice: u32) {
        let place = call.place(choice);
        if !call.sequence(choice).blocks.is_empty() {
            self.remove_resident(place);
        } else if call.gathered {
            assert!(self.waiting.remove(&place), "{place:?} does not wait");
        }
    }

    /// Puts one choice where it belongs.
    pub(crate) fn insert(&mut self, call: &Call, choice: u32) {
        let place = call.place(choice);
        if !call.sequence(choice).blocks.is_empty() {
            self.insert_resident(place);
        } else if call.gathered {
            self.wait(place);
        }
    }

    fn insert_resident(&mut self, place: Place) {
        let at = self
            .resident
            .binary_search(&place)
            .expect_err("a place is unique");
        self.resident.insert(at, place);
    }

    fn remove_resident(&mut self, place: Place) {
        // The worst leaves first, nearly always.
        if self.resident.last() == Some(&place) {
            self.resident.pop();
            return;
        }
        let at = self
            .resident
            .binary_search(&place)
            .expect("a sequence with pages is resident");
        self.resident.remove(at);
    }
}
