//! Where open calls are kept. Owns: storage that neither moves calls nor gives memory back and forth while they come and
//! go, since a table of large nodes holds a third of them empty. It must not know what a call is.

use super::call::Call;
use super::numbered::ByNumber;
use crate::message::CallKey;

/// Calls that are kept side by side.
const BLOCK: usize = 64;

/// Open calls by key. Takes as much as the most that were open at once.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Blocks of places, full but for the last.
    blocks: Vec<Vec<Option<Call>>>,
    /// Places that are free again.
    free: Vec<u32>,
    places: ByNumber<CallKey, u32>,
}

impl Calls {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, key: CallKey) -> Option<&Call> {
        let place = *self.places.get(&key)? as usize;
        self.blocks[place / BLOCK][place % BLOCK].as_ref()
    }

    pub(super) fn get_mut(&mut self, key: CallKey) -> Option<&mut Call> {
        let place = *self.places.get(&key)?;
        self.at(place).as_mut()
    }

    /// Takes a call in.
    ///
    /// # Panics
    /// When its key is in use.
    pub(super) fn insert(&mut self, call: Call) {
        let key = call.key;
        let place = self.free.pop().unwrap_or_else(|| self.grow());
        let earlier = self.places.insert(key, place);
        assert!(earlier.is_none(), "a call's key is used once");
        *self.at(place) = Some(call);
    }

    pub(super) fn remove(&mut self, key: CallKey) -> Option<Call> {
        let place = self.places.remove(&key)?;
        self.free.push(place);
        self.at(place).take()
    }

    fn at(&mut self, place: u32) -> &mut Option<Call> {
        let place = place as usize;
        &mut self.blocks[place / BLOCK][place % BLOCK]
    }

    /// A place that was never used.
    fn grow(&mut self) -> u32 {
        if self.blocks.last().is_none_or(|last| last.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let full = (self.blocks.len() - 1) * BLOCK;
        let last = self.blocks.last_mut().expect("one was made");
        last.push(None);
        (full + last.len() - 1) as u32
    }

    /// Whether every place is either a call's or free.
    ///
    /// # Panics
    /// When one is not.
    pub(super) fn check_integrity(&self) {
        let kept = self.blocks.iter().flatten().flatten().count();
        assert_eq!(kept, self.places.len(), "open calls by place and by key");
        let places: usize = self.blocks.iter().map(Vec::len).sum();
        assert_eq!(places, kept + self.free.len(), "places for open calls");
    }
}

#[cfg(test)]
mod tests {
    use lps_api::ids::{CallId, ClassName, ModelName, ProgramId, TenantId, ThreadId};
    use lps_api::quantity::{Micros, Tokens};

    use super::super::row::RowId;
    use super::*;
    use crate::message::{IdentitySource, NewCall, Parents, ProgramKey};

    fn call(key: u64) -> Call {
        let new = NewCall {
            key: CallKey(key),
            id: CallId::parse("c").expect("a name"),
            program: ProgramKey {
                tenant: TenantId::anonymous(),
                program: ProgramId::parse("p").expect("a name"),
            },
            class: ClassName::unnamed(),
            thread: ThreadId::main(),
            parents: Parents::Unsaid,
            model: ModelName::parse("m").expect("a name"),
            source: IdentitySource::Body,
            prompt_tokens: Tokens(1),
            expected_output_tokens: Tokens(1),
            expected_service: None,
        };
        Call::new(new, RowId(key), Micros(key))
    }

    #[test]
    fn places_are_used_again_and_calls_are_found_by_key() {
        let mut calls = Calls::default();
        (0..200).for_each(|key| calls.insert(call(key)));
        for round in 1..5 {
            for key in (round - 1) * 200..(round - 1) * 200 + 200 {
                assert_eq!(
                    calls.remove(CallKey(key)).map(|it| it.key),
                    Some(CallKey(key))
                );
                calls.insert(call(key + 200));
                calls.check_integrity();
            }
        }
        assert_eq!((calls.len(), calls.blocks.len()), (200, 4));
        assert!(calls.get(CallKey(799)).is_none() && calls.remove(CallKey(0)).is_none());
        for key in 800..1_000 {
            assert_eq!(calls.get(CallKey(key)).map(|it| it.row), Some(RowId(key)));
        }
    }

    #[test]
    #[should_panic(expected = "used once")]
    fn a_key_is_used_once() {
        let mut calls = Calls::default();
        (0..2).for_each(|_| calls.insert(call(1)));
    }
}
