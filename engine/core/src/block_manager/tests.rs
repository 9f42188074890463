//! What a hash alone cannot promise: collisions and heirs of evicted pages, which no text of reasonable length
//! produces by chance.

use super::*;

const PROGRAM: ProgramKey = ProgramKey(1);
const HASH: u64 = 42;

/// Fills a page behind `parent` and stores it.
fn store(
    pool: &mut BlockManager,
    hash: u64,
    parent: Parent,
    token: TokenId,
) -> (BlockId, Identity) {
    let block = pool.take(PROGRAM);
    let identity = pool.store(block, hash, parent, &[token; 2]);
    (block, identity)
}

#[test]
fn a_collision_is_a_miss() {
    let mut pool = BlockManager::new(4, 2);
    let (block, identity) = store(&mut pool, HASH, Parent::Root(1), 7);
    assert_eq!(pool.find(HASH, Parent::Root(1), &[7, 7]), Some(block));
    for (parent, tokens) in [
        (Parent::Root(1), [7, 8]),
        (Parent::Root(2), [7, 7]),
        (Parent::Page(identity), [7, 7]),
    ] {
        assert_eq!(
            pool.find(HASH, parent, &tokens),
            None,
            "{parent:?} {tokens:?}"
        );
    }
}

#[test]
fn a_collision_takes_the_name_of_an_unreferenced_page_only() {
    let mut pool = BlockManager::new(4, 2);
    let (old, _) = store(&mut pool, HASH, Parent::Root(1), 7);
    let (unnamed, _) = store(&mut pool, HASH, Parent::Root(1), 8);
    assert_eq!(pool.find(HASH, Parent::Root(1), &[7, 7]), Some(old));
    pool.check_integrity(&owners(&[old, unnamed]));
    pool.give_back(unnamed);
    assert_eq!(
        (pool.free(), pool.cached()),
        (3, 0),
        "what cannot be found is free"
    );
    pool.give_back(old);
    let (new, _) = store(&mut pool, HASH, Parent::Root(1), 9);
    assert_eq!(pool.find(HASH, Parent::Root(1), &[9, 9]), Some(new));
    assert_eq!((pool.free(), pool.cached()), (3, 0));
    pool.check_integrity(&owners(&[new]));
    assert_eq!(
        pool.take_events(),
        KvEvents {
            stored: vec![HASH],
            evicted: vec![]
        }
    );
}

#[test]
fn an_heir_of_an_evicted_page_is_replaced() {
    let mut pool = BlockManager::new(3, 2);
    let (parent, first) = store(&mut pool, 1, Parent::Root(1), 7);
    let (child, _) = store(&mut pool, 2, Parent::Page(first), 8);
    // The parent goes although the child stays.
    pool.give_back(parent);
    let others = [pool.take(PROGRAM), pool.take(PROGRAM)];
    for other in others {
        pool.give_back(other);
    }
    let (again, second) = store(&mut pool, 1, Parent::Root(1), 7);
    assert_ne!(first, second, "an identity is never given twice");
    assert_eq!(pool.find(2, Parent::Page(second), &[8, 8]), None);
    pool.give_back(child);
    let (heir, _) = store(&mut pool, 2, Parent::Page(second), 8);
    assert_eq!(pool.find(2, Parent::Page(second), &[8, 8]), Some(heir));
    pool.check_integrity(&owners_of(3, &[again, heir]));
}

fn owners(held: &[BlockId]) -> Vec<u32> {
    owners_of(4, held)
}

fn owners_of(total: BlockId, held: &[BlockId]) -> Vec<u32> {
    (0..total)
        .map(|block| u32::from(held.contains(&block)))
        .collect()
}
