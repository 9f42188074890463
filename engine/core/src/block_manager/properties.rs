//! Random operations on the pool, beside one that is so plain that it cannot be wrong: a list of pages, searched from
//! end to end.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;

const PAGES: u32 = 6;
const PAGE_TOKENS: u32 = 2;
/// At least; a run makes about a fifth more.
const OPERATIONS_MIN: u64 = 100_000;

/// Something that is done to a pool. Pages are meant by number, modulo those that can be meant.
#[derive(Debug, Clone)]
enum Operation {
    Take(u64),
    /// A text, and who looks for it.
    Find(Text, u64),
    GiveBack(usize),
    Store(usize, Text),
    Release(u64),
    Report,
}

/// What stands in a page: few hashes for more tokens, so that they collide.
#[derive(Debug, Clone, Copy)]
struct Text {
    hash: u64,
    token: TokenId,
    /// Behind which of the texts stored so far, if any.
    behind: Option<usize>,
}

fn text() -> impl Strategy<Value = Text> {
    (0..4_u64, 0..3_u32, prop::option::of(0..8_usize)).prop_map(|(hash, token, behind)| Text {
        hash,
        token,
        behind,
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        4 => (0..3_u64).prop_map(Operation::Take),
        3 => (text(), 0..3_u64).prop_map(|(text, program)| Operation::Find(text, program)),
        4 => (0..64_usize).prop_map(Operation::GiveBack),
        4 => (0..64_usize, text()).prop_map(|(page, text)| Operation::Store(page, text)),
        1 => (0..3_u64).prop_map(Operation::Release),
        1 => Just(Operation::Report),
    ]
}

/// What a page that can be found holds.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Held {
    hash: u64,
    parent: Parent,
    token: TokenId,
    identity: Identity,
}

/// A page of the plain pool.
#[derive(Debug, Clone, Default)]
struct PlainPage {
    references: u32,
    held: Option<Held>,
    /// Programs that used it since it was taken and have not ended.
    users: BTreeSet<u64>,
    /// Several used it: it outlives each of them.
    is_common: bool,
    /// When its last reference went.
    unreferenced_at: usize,
}

impl PlainPage {
    fn is_wanted(&self) -> bool {
        self.is_common || !self.users.is_empty()
    }
}

struct Run {
    pool: BlockManager,
    pages: Vec<PlainPage>,
    /// A page for each reference.
    references: Vec<BlockId>,
    /// Of the pages that were stored, oldest first.
    identities: Vec<Identity>,
    /// Hashes as a reader of the reports knows them.
    reported: HashSet<u64>,
    turn: usize,
}

impl Run {
    fn new() -> Self {
        Self {
            pool: BlockManager::new(PAGES, PAGE_TOKENS),
            pages: vec![PlainPage::default(); PAGES as usize],
            references: Vec::new(),
            identities: Vec::new(),
            reported: HashSet::new(),
            turn: 0,
        }
    }

    fn perform(&mut self, operation: Operation) {
        self.turn += 1;
        match operation {
            Operation::Take(program) => self.take(program),
            Operation::Find(text, program) => self.find(text, program),
            Operation::GiveBack(index) => self.give_back(index),
            Operation::Store(index, text) => self.store(index, text),
            Operation::Release(program) => self.release(program),
            Operation::Report => self.report(),
        }
        let owners: Vec<u32> = self.pages.iter().map(|page| page.references).collect();
        self.pool.check_integrity(&owners);
        let unreferenced = self.pages.iter().filter(|page| page.references == 0);
        assert_eq!(self.pool.available(), unreferenced.clone().count());
        let cached = unreferenced.filter(|page| page.held.is_some()).count();
        assert_eq!(self.pool.cached(), cached);
    }

    fn take(&mut self, program: u64) {
        let unreferenced = |page: &&PlainPage| page.references == 0;
        if self.pages.iter().filter(unreferenced).count() == 0 {
            assert_eq!(self.pool.available(), 0);
            return;
        }
        let has_empty = self
            .pages
            .iter()
            .filter(unreferenced)
            .any(|page| page.held.is_none());
        let first = self
            .pages
            .iter()
            .filter(unreferenced)
            .map(|page| (page.is_wanted(), page.unreferenced_at))
            .min();
        let block = self.pool.take(ProgramKey(program));
        let page = &mut self.pages[block as usize];
        assert_eq!(page.references, 0, "page {block} is in use");
        if has_empty {
            assert_eq!(page.held, None, "a page with content goes after empty ones");
        } else {
            let rank = (page.is_wanted(), page.unreferenced_at);
            assert_eq!(Some(rank), first, "page {block} goes out of turn");
        }
        *page = PlainPage {
            references: 1,
            users: BTreeSet::from([program]),
            ..PlainPage::default()
        };
        self.references.push(block);
    }

    fn parent(&self, text: Text) -> Parent {
        let behind = text.behind.filter(|_| !self.identities.is_empty());
        behind.map_or(Parent::Root(7), |behind| {
            Parent::Page(self.identities[behind % self.identities.len()])
        })
    }

    fn find(&mut self, text: Text, program: u64) {
        let parent = self.parent(text);
        let found = self.pool.find(text.hash, parent, &[text.token; 2]);
        let holds = |held: &Held| {
            (held.parent, held.token) == (parent, text.token) && held.hash == text.hash
        };
        let expected = self
            .pages
            .iter()
            .position(|page| page.held.as_ref().is_some_and(holds));
        assert_eq!(found.map(|block| block as usize), expected, "{text:?}");
        let Some(block) = found else {
            return;
        };
        let identity = self.pool.share(block, ProgramKey(program));
        let page = &mut self.pages[block as usize];
        assert_eq!(page.held.map(|held| held.identity), Some(identity));
        page.references += 1;
        page.users.insert(program);
        page.is_common |= page.users.len() > 1;
        self.references.push(block);
    }

    fn give_back(&mut self, index: usize) {
        if self.references.is_empty() {
            return;
        }
        let block = self.references.swap_remove(index % self.references.len());
        self.pool.give_back(block);
        let page = &mut self.pages[block as usize];
        page.references -= 1;
        page.unreferenced_at = self.turn;
    }

    fn store(&mut self, index: usize, text: Text) {
        // As its owner does it: a page is filled once, by the only one who holds it.
        let empty = |block: &&BlockId| self.pages[**block as usize].held.is_none();
        let candidates: Vec<BlockId> = self.references.iter().filter(empty).copied().collect();
        if candidates.is_empty() {
            return;
        }
        let block = candidates[index % candidates.len()];
        let parent = self.parent(text);
        let identity = self.pool.store(block, text.hash, parent, &[text.token; 2]);
        let named = |page: &PlainPage| page.held.is_some_and(|held| held.hash == text.hash);
        if let Some(other) = self.pages.iter_mut().find(|page| named(page)) {
            let held = other.held.expect("it was found by it");
            if (held.parent, held.token) == (parent, text.token) {
                assert_eq!(identity, held.identity, "equal content, equal identity");
                return;
            }
            if other.references == 0 {
                other.held = None;
            } else {
                self.learn(identity);
                return;
            }
        }
        self.learn(identity);
        self.pages[block as usize].held = Some(Held {
            hash: text.hash,
            parent,
            token: text.token,
            identity,
        });
    }

    fn learn(&mut self, identity: Identity) {
        assert!(
            !self.identities.contains(&identity),
            "an identity is given once"
        );
        self.identities.push(identity);
    }

    fn release(&mut self, program: u64) {
        self.pool.release(ProgramKey(program));
        for page in self.pages.iter_mut().filter(|page| !page.is_common) {
            page.users.remove(&program);
        }
    }

    fn report(&mut self) {
        let events = self.pool.take_events();
        for hash in events.evicted {
            assert!(self.reported.remove(&hash), "{hash} was not there");
        }
        for hash in events.stored {
            assert!(self.reported.insert(hash), "{hash} was there");
        }
        let held = self.pages.iter().filter_map(|page| page.held);
        let held: HashSet<u64> = held.map(|held| held.hash).collect();
        assert_eq!(self.reported, held, "what a reader knows");
    }
}

#[test]
fn whatever_is_done_the_pool_is_what_the_plain_one_is() {
    let config = ProptestConfig {
        cases: ProptestConfig::default().cases.max(2_000),
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let made = Cell::new(0);
    let ran =
        TestRunner::new(config).run(&prop::collection::vec(operation(), 20..100), |operations| {
            made.set(made.get() + operations.len() as u64);
            let mut run = Run::new();
            operations
                .into_iter()
                .for_each(|operation| run.perform(operation));
            Ok(())
        });
    if let Err(failure) = ran {
        panic!("{failure}");
    }
    assert!(made.get() >= OPERATIONS_MIN, "{} operations", made.get());
}
