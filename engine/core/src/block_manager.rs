//! Pages of KV: who refers to them, what they hold, which goes first. Owns: the pool. Knows no sequence.
//!
//! **When a page is found again.** A full page is found by the chained 64-bit hash of all tokens up to its end,
//! salted per tenant. The hash is only the key: a hit also compares the page's tokens and the [`Identity`] of what
//! stands before it, so that by induction the whole prefix is equal. No strength of the hash is relied on: a forged
//! or unlucky collision is a miss, never another tenant's page. (A 128-bit hash would need a secret key to promise
//! as much; comparing costs 4 bytes a token of memory and is exact.) An identity dies with its page: pages that
//! followed an evicted one are reached no more and age out. That is rare, as a chain is evicted from its tail.
//!
//! **Which page goes first**: see [`EvictionRank`].
//!
//! Pages do not give themselves back on drop: that would need shared ownership of the pool by every sequence.
//! `integrity` compares the reference counts with the owners instead.

use std::collections::{BTreeMap, HashMap};

use crate::batch::BlockId;
use crate::call::ProgramKey;
use crate::request::TokenId;
use crate::sequence::{Identity, Parent};

/// Which of the unreferenced pages is evicted first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct EvictionRank {
    /// Pages of ended programs go first: nobody is known to come back for them.
    wanted: bool,
    /// Then the least recently used. Unique; a sequence gives its pages back from the tail, so that of one chain the
    /// end goes before the beginning.
    unreferenced_at: u64,
}

/// Who used a page since it was filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    Nobody,
    One(ProgramKey),
    /// Several programs: a common prefix, which outlives each of them.
    Several,
    /// One, and it has ended.
    Released,
}

/// What a page can be found by.
#[derive(Debug, Clone, Copy)]
struct Content {
    hash: u64,
    parent: Parent,
    identity: Identity,
}

#[derive(Debug, Clone)]
struct Page {
    references: u32,
    /// References that [`BlockManager::probe`] took away in thought.
    probed: u32,
    content: Option<Content>,
    user: User,
    /// Its key among the evictable pages.
    rank: Option<EvictionRank>,
}

/// What happened to a hash since it was last reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    Stored,
    Evicted,
}

/// Pages of the prefix cache that came or went since the last time, by chained hash.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KvEvents {
    /// Hashes now held.
    pub stored: Vec<u64>,
    /// Hashes no longer held.
    pub evicted: Vec<u64>,
}

/// The pool.
#[derive(Debug)]
pub(crate) struct BlockManager {
    block_tokens: usize,
    pages: Vec<Page>,
    /// Tokens of the pages that have content, `block_tokens` a page.
    tokens: Vec<TokenId>,
    by_hash: HashMap<u64, BlockId>,
    /// Unreferenced and empty; the last is taken first.
    free: Vec<BlockId>,
    /// Unreferenced with content; the first is evicted first.
    evictable: BTreeMap<EvictionRank, BlockId>,
    tick: u64,
    identity_next: u64,
    /// Net changes since they were last taken. At most two a page: what was there then and is gone, and what is
    /// there now and was not then.
    changes: BTreeMap<u64, Change>,
}

impl BlockManager {
    pub(crate) fn new(kv_blocks: u32, block_tokens: u32) -> Self {
        let page = Page {
            references: 0,
            probed: 0,
            content: None,
            user: User::Nobody,
            rank: None,
        };
        Self {
            block_tokens: block_tokens as usize,
            pages: vec![page; kv_blocks as usize],
            tokens: vec![0; kv_blocks as usize * block_tokens as usize],
            by_hash: HashMap::new(),
            free: (0..kv_blocks).rev().collect(),
            evictable: BTreeMap::new(),
            tick: 0,
            identity_next: 0,
            changes: BTreeMap::new(),
        }
    }

    pub(crate) fn block_tokens(&self) -> usize {
        self.block_tokens
    }

    /// Pages that hold nothing.
    pub(crate) fn free(&self) -> usize {
        self.free.len()
    }

    /// Unreferenced pages that can be found again.
    pub(crate) fn cached(&self) -> usize {
        self.evictable.len()
    }

    /// Pages that [`take`](Self::take) can give.
    pub(crate) fn available(&self) -> usize {
        self.free() + self.cached()
    }

    /// An empty page, referenced once. There must be one [`available`](Self::available).
    pub(crate) fn take(&mut self, program: ProgramKey) -> BlockId {
        let block = self.free.pop().unwrap_or_else(|| {
            let (_, block) = self.evictable.pop_first().expect("a page is available");
            self.pages[block as usize].rank = None;
            self.forget(block);
            block
        });
        let page = &mut self.pages[block as usize];
        page.references = 1;
        page.user = User::One(program);
        block
    }

    /// The page that holds `tokens` behind `parent`.
    pub(crate) fn find(&self, hash: u64, parent: Parent, tokens: &[TokenId]) -> Option<BlockId> {
        let block = *self.by_hash.get(&hash)?;
        self.holds(block, parent, tokens).then_some(block)
    }

    /// What a page that [`find`](Self::find) gave holds.
    pub(crate) fn identity(&self, block: BlockId) -> Identity {
        self.pages[block as usize]
            .content
            .expect("it was found by its content")
            .identity
    }

    /// One more reference to a page that [`find`](Self::find) gave.
    pub(crate) fn share(&mut self, block: BlockId, program: ProgramKey) -> Identity {
        let page = &mut self.pages[block as usize];
        if let Some(rank) = page.rank.take() {
            self.evictable.remove(&rank);
        }
        page.references += 1;
        page.user = match page.user {
            User::Nobody | User::Released => User::One(program),
            User::One(other) if other == program => User::One(program),
            User::One(_) | User::Several => User::Several,
        };
        page.content.expect("only full pages are shared").identity
    }

    /// One reference less.
    pub(crate) fn give_back(&mut self, block: BlockId) {
        let page = &mut self.pages[block as usize];
        assert!(
            page.references > 0,
            "page {block} is given back once too often"
        );
        page.references -= 1;
        if page.references > 0 {
            return;
        }
        if page.content.is_some() {
            self.tick += 1;
            let rank = EvictionRank {
                wanted: page.user != User::Released,
                unreferenced_at: self.tick,
            };
            page.rank = Some(rank);
            self.evictable.insert(rank, block);
        } else {
            page.user = User::Nobody;
            self.free.push(block);
        }
    }

    /// A referenced page can be found no more, unless others refer to it as well.
    pub(crate) fn disown(&mut self, block: BlockId) {
        if self.pages[block as usize].references == 1 {
            self.forget(block);
        }
    }

    /// A referenced page is full now: from here on it can be found, unless an equal one can be already.
    pub(crate) fn store(
        &mut self,
        block: BlockId,
        hash: u64,
        parent: Parent,
        tokens: &[TokenId],
    ) -> Identity {
        let identity = Identity(self.identity_next);
        if let Some(&other) = self.by_hash.get(&hash) {
            if self.holds(other, parent, tokens) {
                return self.pages[other as usize]
                    .content
                    .expect("it holds the tokens")
                    .identity;
            }
            // Another content under the same hash: a collision, or an heir of an evicted page, which nobody can
            // reach any more. The newer one is worth more, but a page in use is not robbed of its name.
            self.identity_next += 1;
            let Some(rank) = self.pages[other as usize].rank.take() else {
                return identity;
            };
            self.evictable.remove(&rank);
            self.forget(other);
            self.free.push(other);
        } else {
            self.identity_next += 1;
        }
        let page = &mut self.pages[block as usize];
        assert!(
            page.references == 1 && page.content.is_none(),
            "page {block} is filled twice"
        );
        page.content = Some(Content {
            hash,
            parent,
            identity,
        });
        let start = block as usize * self.block_tokens;
        self.tokens[start..start + self.block_tokens].copy_from_slice(tokens);
        self.by_hash.insert(hash, block);
        self.note(hash, Change::Stored);
        identity
    }

    /// The program has ended: what only it used goes first, unless a program asks for it again.
    pub(crate) fn release(&mut self, program: ProgramKey) {
        for (block, page) in (0..).zip(&mut self.pages) {
            if page.user != User::One(program) {
                continue;
            }
            page.user = User::Released;
            if let Some(rank) = &mut page.rank {
                self.evictable.remove(rank);
                rank.wanted = false;
                self.evictable.insert(*rank, block);
            }
        }
    }

    /// Takes away one reference in thought; whether it was the last.
    pub(crate) fn probe(&mut self, block: BlockId) -> bool {
        let page = &mut self.pages[block as usize];
        page.probed += 1;
        page.probed == page.references
    }

    /// Undoes all [`probe`](Self::probe)s of a page.
    pub(crate) fn unprobe(&mut self, block: BlockId) {
        self.pages[block as usize].probed = 0;
    }

    /// What came and went since the last time.
    pub(crate) fn take_events(&mut self) -> KvEvents {
        let mut events = KvEvents::default();
        for (hash, change) in std::mem::take(&mut self.changes) {
            match change {
                Change::Stored => events.stored.push(hash),
                Change::Evicted => events.evicted.push(hash),
            }
        }
        events
    }

    /// All hashes that can be found now, ascending.
    pub(crate) fn stored_hashes(&self) -> Vec<u64> {
        let mut hashes: Vec<u64> = self
            .pages
            .iter()
            .filter_map(|page| page.content)
            .map(|content| content.hash)
            .collect();
        hashes.sort_unstable();
        hashes
    }

    fn holds(&self, block: BlockId, parent: Parent, tokens: &[TokenId]) -> bool {
        let start = block as usize * self.block_tokens;
        self.pages[block as usize]
            .content
            .is_some_and(|content| content.parent == parent)
            && self.tokens[start..start + self.block_tokens] == *tokens
    }

    /// The page can be found no more.
    fn forget(&mut self, block: BlockId) {
        let page = &mut self.pages[block as usize];
        page.user = User::Nobody;
        if let Some(content) = page.content.take() {
            self.by_hash.remove(&content.hash);
            self.note(content.hash, Change::Evicted);
        }
    }

    fn note(&mut self, hash: u64, change: Change) {
        match self.changes.get(&hash) {
            // Came and went, or went and came: as if nothing had happened.
            Some(before) if *before != change => {
                self.changes.remove(&hash);
            }
            _ => {
                self.changes.insert(hash, change);
            }
        }
    }

    /// Panics where the pool contradicts itself or `owners`, the number of sequences that hold each page.
    pub(crate) fn check_integrity(&self, owners: &[u32]) {
        let mut named = 0;
        for (block, page) in (0..).zip(&self.pages) {
            let owned = owners[block as usize];
            assert_eq!(
                page.references, owned,
                "page {block}: references and owners"
            );
            assert_eq!(page.probed, 0, "page {block}: a probe is left");
            assert!(
                owned < 2 || page.content.is_some(),
                "page {block}: two may write it"
            );
            let evictable = owned == 0 && page.content.is_some();
            assert_eq!(
                page.rank.is_some(),
                evictable,
                "page {block}: evictable or not"
            );
            if let Some(rank) = page.rank {
                assert_eq!(
                    self.evictable.get(&rank),
                    Some(&block),
                    "page {block}: its rank"
                );
                assert_eq!(
                    rank.wanted,
                    page.user != User::Released,
                    "page {block}: released"
                );
            }
            if let Some(content) = page.content {
                named += 1;
                assert_eq!(
                    self.by_hash.get(&content.hash),
                    Some(&block),
                    "page {block}: its hash"
                );
                assert!(
                    content.identity.0 < self.identity_next,
                    "page {block}: its identity"
                );
            }
        }
        assert_eq!(named, self.by_hash.len(), "a hash without a page");
        let mut free = self.free.clone();
        free.sort_unstable();
        free.dedup();
        assert_eq!(free.len(), self.free.len(), "a page is free twice");
        for block in free {
            let page = &self.pages[block as usize];
            assert!(
                page.references == 0 && page.content.is_none(),
                "free page {block} is used"
            );
        }
        let referenced = self.pages.iter().filter(|page| page.references > 0).count();
        let total = self.pages.len();
        assert_eq!(
            self.available() + referenced,
            total,
            "free + cached + referenced"
        );
        assert!(
            self.changes.len() <= 2 * total,
            "more changes than pages could have"
        );
    }
}

/// Chained hash of a full page behind a page of hash `before` (for the first one: [`root_hash`]). Equal on every
/// engine and in every version, for routers compare them.
pub(crate) fn chain_hash(before: u64, tokens: &[TokenId]) -> u64 {
    tokens
        .iter()
        .fold(mix(before ^ 0x6c70_732d_6b76_0001), |hash, &token| {
            mix(hash ^ u64::from(token))
        })
}

/// What the first page of a name space is chained to.
pub(crate) fn root_hash(salt: u64) -> u64 {
    mix(salt)
}

/// The finaliser of splitmix64: a bijection in which every input bit moves every output bit.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
