//! Which sequence has which pages. Owns: pool and line together, as who holds pages stands elsewhere in the line than
//! who does not. Knows no step: who is to have pages is decided in `scheduler`.

use crate::batch::BlockId;
use crate::block_manager::{BlockManager, chain_hash, root_hash};
use crate::call::{Call, Calls, Place, ProgramKey};
use crate::config::{Config, Preemption};
use crate::line::Line;
use crate::sequence::{Parent, Sequence, Stage};

/// Whether a sequence got its pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fit {
    Yes,
    /// Sequences behind it have lost some of theirs.
    ByDisplacing,
    /// They cannot be had; nothing has changed for it.
    No,
}

/// Pool and line.
#[derive(Debug)]
pub(crate) struct Paging {
    pub(crate) blocks: BlockManager,
    pub(crate) line: Line,
    prefix_cache: bool,
    preemption: Preemption,
}

impl Paging {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            blocks: BlockManager::new(config.kv_blocks, config.block_tokens),
            line: Line::default(),
            prefix_cache: config.prefix_cache,
            preemption: config.preemption,
        }
    }

    /// Gets a sequence the pages for all its known tokens.
    pub(crate) fn fit(&mut self, calls: &mut Calls, place: Place) -> Fit {
        let call = calls
            .get_mut(&place.arrival)
            .expect("a sequence's call is open");
        let (program, salt) = (call.program, call.salt);
        let sequence = call.sequence_mut(place.choice);
        let held = sequence.blocks.len();
        let total = sequence.tokens.len().div_ceil(self.blocks.block_tokens());
        if held >= total {
            return Fit::Yes;
        }
        if self.prefix_cache && sequence.stage != Stage::Running {
            share_cached(&mut self.blocks, sequence, salt, program);
        }
        let need = total - sequence.blocks.len();
        let displaces = need > self.blocks.available();
        if displaces && !self.make_room(calls, place, need) {
            self.shrink(sequence_mut(calls, place), held);
            return Fit::No;
        }
        let sequence = sequence_mut(calls, place);
        for _ in 0..need {
            sequence.blocks.push(self.blocks.take(program));
        }
        if displaces {
            Fit::ByDisplacing
        } else {
            Fit::Yes
        }
    }

    /// Makes sequences behind `place` give back pages until `need` are available; false, and nothing changed, when
    /// all of theirs are too few.
    fn make_room(&mut self, calls: &mut Calls, place: Place, need: usize) -> bool {
        let missing = need - self.blocks.available();
        let behind = self
            .line
            .resident()
            .iter()
            .rev()
            .take_while(|other| **other > place);
        let held = behind.flat_map(|other| &sequence(calls, *other).blocks);
        let mut freed = 0;
        for &block in held.clone() {
            freed += usize::from(self.blocks.probe(block));
        }
        for &block in held {
            self.blocks.unprobe(block);
        }
        if freed < missing {
            return false;
        }
        while self.blocks.available() < need {
            let victim = *self.line.resident().last().expect("the probe found pages");
            self.evict_one(calls, victim);
        }
        true
    }

    /// The victim loses its last page, or all of them where preempted sequences keep none.
    fn evict_one(&mut self, calls: &mut Calls, victim: Place) {
        let sequence = sequence_mut(calls, victim);
        if sequence.stage == Stage::Running {
            sequence.stage = Stage::Preempted;
        }
        let keep = match self.preemption {
            Preemption::Keep => sequence.blocks.len() - 1,
            Preemption::Recompute => 0,
        };
        self.shrink(sequence, keep);
        if keep == 0 {
            self.line.unsettle(victim);
        }
    }

    /// The step computed `len` more tokens of a choice: pages that are full now can be found from here on.
    pub(crate) fn advance(&mut self, call: &mut Call, choice: u32, len: usize) {
        let (salt, prefix_cache) = (call.salt, self.prefix_cache);
        let sequence = call.sequence_mut(choice);
        let block_tokens = self.blocks.block_tokens();
        let full_before = sequence.computed / block_tokens;
        sequence.computed += len;
        if !prefix_cache {
            return;
        }
        for index in full_before..sequence.computed / block_tokens {
            let hash = page_hash(sequence, index, block_tokens, salt);
            let parent = sequence.parent(index, salt);
            let tokens = &sequence.tokens[index * block_tokens..(index + 1) * block_tokens];
            let identity = self
                .blocks
                .store(sequence.blocks[index], hash, parent, tokens);
            sequence.identities.truncate(index);
            sequence.identities.push(identity);
        }
    }

    /// Gives back all pages but the first `keep`, from the tail.
    pub(crate) fn shrink(&mut self, sequence: &mut Sequence, keep: usize) {
        while sequence.blocks.len() > keep {
            self.blocks
                .give_back(sequence.blocks.pop().expect("it has more than it keeps"));
        }
        sequence.computed = sequence.computed.min(keep * self.blocks.block_tokens());
    }

    /// A sequence ends by a defect: what no other sequence refers to of its pages is found by nobody again. Whatever
    /// spoiled the numbers may stand there, and a page that is served again would spoil the next call too.
    pub(crate) fn disown(&mut self, sequence: &Sequence) {
        for block in &sequence.blocks {
            self.blocks.disown(*block);
        }
    }

    /// A sequence that ran leaves the batch.
    pub(crate) fn preempt(&mut self, call: &mut Call, choice: u32) {
        let place = call.place(choice);
        let sequence = call.sequence_mut(choice);
        sequence.stage = Stage::Preempted;
        if self.preemption == Preemption::Recompute {
            self.shrink(sequence, 0);
            self.line.unsettle(place);
        }
    }
}

pub(crate) fn sequence(calls: &Calls, place: Place) -> &Sequence {
    calls[&place.arrival].sequence(place.choice)
}

fn sequence_mut(calls: &mut Calls, place: Place) -> &mut Sequence {
    calls
        .get_mut(&place.arrival)
        .expect("a sequence's call is open")
        .sequence_mut(place.choice)
}

/// Chained hash of a sequence's page `index`; remembers it and those before.
fn page_hash(sequence: &mut Sequence, index: usize, block_tokens: usize, salt: u64) -> u64 {
    while sequence.hashes.len() <= index {
        let before = sequence
            .hashes
            .last()
            .copied()
            .unwrap_or_else(|| root_hash(salt));
        let start = sequence.hashes.len() * block_tokens;
        let hash = chain_hash(before, &sequence.tokens[start..start + block_tokens]);
        sequence.hashes.push(hash);
    }
    sequence.hashes[index]
}

/// Appends cached pages to a sequence whose pages are all computed, as far as the cache goes. The last known token is
/// left out in any case: its logits are wanted.
fn share_cached(
    blocks: &mut BlockManager,
    sequence: &mut Sequence,
    salt: u64,
    program: ProgramKey,
) {
    let block_tokens = blocks.block_tokens();
    let first = sequence.blocks.len();
    if sequence.computed != first * block_tokens {
        return;
    }
    for index in first..(sequence.tokens.len() - 1) / block_tokens {
        let hash = page_hash(sequence, index, block_tokens, salt);
        let parent = sequence.parent(index, salt);
        let tokens = &sequence.tokens[index * block_tokens..(index + 1) * block_tokens];
        let Some(block) = blocks.find(hash, parent, tokens) else {
            return;
        };
        let identity = blocks.share(block, program);
        sequence.identities.truncate(index);
        sequence.identities.push(identity);
        sequence.blocks.push(block);
        sequence.computed += block_tokens;
    }
}

/// The pages that a sequence which left the batch would find in the cache; for checks.
pub(crate) fn cached_blocks(paging: &Paging, call: &Call, choice: u32) -> Vec<BlockId> {
    let sequence = call.sequence(choice);
    let block_tokens = paging.blocks.block_tokens();
    let first = sequence.blocks.len();
    let mut found = Vec::new();
    if !paging.prefix_cache || sequence.computed != first * block_tokens {
        return found;
    }
    let mut hash = root_hash(call.salt);
    let mut parent = sequence.parent(first, call.salt);
    for index in 0..(sequence.tokens.len() - 1) / block_tokens {
        let tokens = &sequence.tokens[index * block_tokens..(index + 1) * block_tokens];
        hash = chain_hash(hash, tokens);
        if index < first {
            continue;
        }
        let Some(block) = paging.blocks.find(hash, parent, tokens) else {
            break;
        };
        parent = Parent::Page(paging.blocks.identity(block));
        found.push(block);
    }
    found
}
