//! What prompts consist of. Owns: which call's prompt and answer a prompt goes on from, and which tokens that makes: so
//! the load generator and the simulator share and continue alike.

use std::hash::Hasher;
use std::sync::Arc;

use super::dice::Dice;
use super::{CallSpec, ProgramSpec, Workload};

/// The call whose prompt and answer this one goes on from: its thread's, else, on a new thread, its first parent.
pub(crate) fn before(program: &ProgramSpec, call: usize) -> Option<usize> {
    let spec = &program.calls[call];
    let same = |parent: &&usize| program.calls[**parent].thread == spec.thread;
    let parents = || spec.parents.iter();
    parents().find(same).or_else(|| parents().next()).copied()
}

/// The same, unless it is dropped: where it is longer than the whole prompt is to be.
pub(crate) fn kept_before(program: &ProgramSpec, call: usize) -> Option<usize> {
    let prompt = program.calls[call].prompt.0;
    before(program, call).filter(|earlier| whole(&program.calls[*earlier]) <= prompt)
}

/// Tokens that stand together: of a class's beginning, or of what one call asks and is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Which ones; those of different calls and classes differ.
    pub(crate) id: u64,
    /// How many of them.
    pub(crate) tokens: u32,
    /// Of them, those that were asked; the others were answered.
    pub(crate) asked: u32,
}

/// A prompt, part after part, at least one. The answer will be more tokens of the last part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Content(Arc<[Part]>);

impl Content {
    /// Of a call of the workload.
    pub(crate) fn of(workload: &Workload, (program, call): (usize, usize)) -> Self {
        let spec = &workload.programs[program];
        let mut parts = Vec::new();
        let (mut at, mut is_ancestor) = (call, false);
        loop {
            let this = &spec.calls[at];
            let earlier = kept_before(spec, at);
            let begins = match earlier {
                Some(earlier) => whole(&spec.calls[earlier]),
                None => this.shared_prefix.0.min(this.prompt.0),
            };
            // An ancestor's part ends with its answer, the call's own with its question.
            let answer = if is_ancestor { this.output.0 } else { 0 };
            let asked = this.prompt.0 - begins;
            parts.push(Part {
                id: id(&[b"call", &program.to_le_bytes(), &at.to_le_bytes()]),
                tokens: asked + answer,
                asked,
            });
            is_ancestor = true;
            match earlier {
                Some(earlier) => at = earlier,
                None => {
                    parts.push(Part {
                        id: id(&[b"class", spec.class.as_str().as_bytes()]),
                        tokens: begins,
                        asked: begins,
                    });
                    break;
                }
            }
        }
        parts.reverse();
        Self(parts.into())
    }

    /// The parts, from the beginning.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.0
    }

    /// Tokens of the prompt.
    pub(crate) fn tokens(&self) -> u32 {
        self.0.iter().map(|part| part.tokens).sum()
    }

    /// The part that grows by the answer.
    pub(crate) fn last(&self) -> Part {
        *self.0.last().expect("a call's own part")
    }

    /// Token ids of the prompt.
    pub(crate) fn ids(&self) -> Vec<u32> {
        let of = |part: &Part| {
            let Part { id, tokens, asked } = *part;
            let asks = (0..asked).map(move |place| token(id, place));
            asks.chain((0..tokens - asked).map(move |place| answer(id, place)))
        };
        self.0.iter().flat_map(of).collect()
    }
}

/// A token id of the answer to the call with this part.
pub(crate) fn answer(part: u64, place: u32) -> u32 {
    token(!part, place)
}

/// Tokens of a prompt and its answer.
fn whole(call: &CallSpec) -> u32 {
    call.prompt.0.saturating_add(call.output.0)
}

fn token(part: u64, place: u32) -> u32 {
    Dice::new(part ^ u64::from(place)).between(0, u32::MAX - 1)
}

fn id(words: &[&[u8]]) -> u64 {
    let mut hash = Fnv::new(0);
    words.iter().for_each(|word| hash.write(word));
    hash.finish()
}

/// Fowler, Noll and Vo's hash (FNV-1a): the same everywhere, as the standard library's is not.
pub(crate) struct Fnv(u64);

impl Fnv {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(0xcbf2_9ce4_8422_2325 ^ seed)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}
