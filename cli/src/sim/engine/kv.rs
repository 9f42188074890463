//! The KV pool of a roofline engine: which tokens of which parts of prompts it holds. Owns: what is found again, and
//! what goes first. As the real pool does, but in tokens of parts where that has pages: a part is found where all before
//! it is, and goes from its tail on, those of ended programs first, then the least recently used.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lps_router::message::ProgramKey;

use crate::workload::content::Content;

/// Tokens of one part.
#[derive(Debug, Default)]
struct Node {
    parent: Option<u64>,
    /// Tokens that are held.
    held: u32,
    /// Tokens that running calls need.
    needed: u32,
    /// Running calls.
    pins: u32,
    /// Parts behind it that hold tokens or are needed.
    children: u32,
    /// When a call that needed it stopped last.
    used: u64,
    /// Its key among those that may go.
    rank: Option<Rank>,
    is_released: bool,
    owner: Option<Arc<ProgramKey>>,
}

/// Whether its program lives, when it was last used.
type Rank = (bool, u64);

/// The pool.
#[derive(Debug)]
pub(super) struct KvPool {
    capacity: u64,
    held: u64,
    needed: u64,
    nodes: HashMap<u64, Node>,
    leaving: BTreeSet<(Rank, u64)>,
    /// Parts of each program.
    programs: HashMap<Arc<ProgramKey>, Vec<u64>>,
    tick: u64,
}

impl KvPool {
    pub(super) fn new(capacity: u64) -> Self {
        Self {
            capacity,
            held: 0,
            needed: 0,
            nodes: HashMap::new(),
            leaving: BTreeSet::new(),
            programs: HashMap::new(),
            tick: 0,
        }
    }

    /// Tokens that are needed by nobody who runs.
    pub(super) fn room(&self) -> u64 {
        self.capacity - self.needed
    }

    /// Tokens from the beginning of a prompt, and of an answer so far, that are held.
    pub(super) fn found(&self, content: &Content, answered: u32) -> u32 {
        let mut found = 0;
        for (id, tokens) in wanted(content, answered) {
            let held = self.nodes.get(&id).map_or(0, |node| node.held.min(tokens));
            found += held;
            if held < tokens {
                break;
            }
        }
        found
    }

    /// What [`KvPool::pin`] would take from the room.
    pub(super) fn lack(&self, content: &Content, answered: u32) -> u64 {
        let lacks = wanted(content, answered).map(|(id, tokens)| match self.nodes.get(&id) {
            Some(node) => tokens.max(node.held).saturating_sub(node.needed),
            None => tokens,
        });
        lacks.map(u64::from).sum()
    }

    /// A call runs: all of its prompt and its answer so far are needed.
    pub(super) fn pin(&mut self, content: &Content, answered: u32, program: &Arc<ProgramKey>) {
        let mut parent = None;
        let first = content.parts()[0].id;
        for (id, tokens) in wanted(content, answered) {
            if !self.nodes.contains_key(&id) {
                if let Some(node) = parent.and_then(|parent| self.nodes.get_mut(&parent)) {
                    node.children += 1;
                }
                let node = Node {
                    parent,
                    ..Node::default()
                };
                self.nodes.insert(id, node);
            }
            let node = self.nodes.get_mut(&id).expect("it is there now");
            // What a class begins with is nobody's own.
            if id != first && (node.is_released || node.owner.is_none()) {
                node.is_released = false;
                node.owner = Some(Arc::clone(program));
                let parts = self.programs.entry(Arc::clone(program)).or_default();
                parts.push(id);
            }
            if let Some(rank) = node.rank.take() {
                self.leaving.remove(&(rank, id));
            }
            let needed = tokens.max(node.held).max(node.needed);
            self.needed += u64::from(needed - node.needed);
            node.needed = needed;
            node.pins += 1;
            parent = Some(id);
        }
    }

    /// It runs no longer.
    pub(super) fn unpin(&mut self, content: &Content) {
        self.tick += 1;
        for part in content.parts().iter().rev() {
            let Some(node) = self.nodes.get_mut(&part.id) else {
                continue;
            };
            node.pins -= 1;
            if node.pins == 0 {
                self.needed -= u64::from(node.needed);
                node.needed = 0;
                node.used = self.tick;
                self.offer(part.id);
            }
        }
    }

    /// So many tokens from the beginning of a running call are computed.
    pub(super) fn fill(&mut self, content: &Content, answered: u32, computed: u32) {
        let mut left = computed;
        for (id, tokens) in wanted(content, answered) {
            let tokens = tokens.min(left);
            let held = self.nodes[&id].held;
            if tokens > held {
                self.grow(id, tokens - held);
            }
            left -= tokens;
            if left == 0 {
                break;
            }
        }
    }

    /// The answer of a running call has grown.
    pub(super) fn grow(&mut self, last: u64, tokens: u32) {
        self.make_room(u64::from(tokens));
        let node = self.nodes.get_mut(&last).expect("a running call's part");
        node.held += tokens;
        self.held += u64::from(tokens);
        if node.held > node.needed {
            self.needed += u64::from(node.held - node.needed);
            node.needed = node.held;
        }
        assert!(
            self.needed <= self.capacity && self.held <= self.capacity,
            "the KV pool holds more than it can"
        );
    }

    /// The program's parts go first.
    pub(super) fn release(&mut self, program: &ProgramKey) {
        for id in self.programs.remove(program).unwrap_or_default() {
            let Some(node) = self.nodes.get_mut(&id) else {
                continue;
            };
            node.is_released = true;
            if let Some(rank) = &mut node.rank {
                self.leaving.remove(&(*rank, id));
                rank.0 = false;
                self.leaving.insert((*rank, id));
            }
        }
    }

    fn make_room(&mut self, tokens: u64) {
        while self.held + tokens > self.capacity {
            let &(_, id) = self.leaving.first().expect("what nobody needs may go");
            let node = self.nodes.get_mut(&id).expect("it is held");
            let lacking = (self.held + tokens - self.capacity) as u32;
            let gone = lacking.min(node.held);
            node.held -= gone;
            self.held -= u64::from(gone);
            if node.held == 0 {
                self.offer(id);
            }
        }
    }

    /// A part that nobody needs, and behind which nothing is held, may go; one that holds nothing is forgotten.
    fn offer(&mut self, id: u64) {
        let mut next = Some(id);
        while let Some(id) = next.take() {
            let Some(node) = self.nodes.get_mut(&id) else {
                return;
            };
            if node.pins > 0 || node.children > 0 {
                return;
            }
            if node.held > 0 {
                let rank = *node.rank.get_or_insert((!node.is_released, node.used));
                self.leaving.insert((rank, id));
                return;
            }
            let node = self.nodes.remove(&id).expect("it was just there");
            if let Some(rank) = node.rank {
                self.leaving.remove(&(rank, id));
            }
            if let Some(parent) = node.parent {
                if let Some(node) = self.nodes.get_mut(&parent) {
                    node.children -= 1;
                }
                next = Some(parent);
            }
        }
    }
}

/// Parts and their tokens, the answer so far with the last.
fn wanted(content: &Content, answered: u32) -> impl Iterator<Item = (u64, u32)> + '_ {
    let last = content.parts().len() - 1;
    let parts = content.parts().iter().enumerate();
    parts.map(move |(index, part)| {
        let more = if index == last { answered } else { 0 };
        (part.id, part.tokens + more)
    })
}
