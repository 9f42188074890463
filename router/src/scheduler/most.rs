//! What no engine of a group exceeds, in a tree over all engines: whether any of them could take a call is read at its
//! root, and which ones by going down only where one could. It must not know what an engine is.

use lps_api::quantity::{Micros, Order};

/// Before all others.
pub(super) const FIRST: Order = Order {
    queue: 0,
    rank: i64::MIN,
};

/// What no engine of a group exceeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Most {
    /// Whoever stands before this could displace a call.
    pub(super) victims: Order,
    /// The largest call that could have a slot without displacing anyone; `None`: none could.
    pub(super) room: Option<u64>,
    /// Where calls may wait: the largest that could, and the first place behind which they have to stand.
    pub(super) behind: Option<(u64, Option<Order>)>,
    /// What a program could take that is to be admitted; `None`: nothing.
    pub(super) to_admit: Option<u64>,
    /// When the next lease is over.
    pub(super) next_lease: Option<Micros>,
    /// Room is kept somewhere, or will be.
    pub(super) keeps: bool,
    /// It is kept from now on.
    pub(super) binds: bool,
}

impl Most {
    /// Of no engine.
    pub(super) const NONE: Self = Self {
        victims: FIRST,
        room: None,
        behind: None,
        to_admit: None,
        next_lease: None,
        keeps: false,
        binds: false,
    };

    fn join(self, other: Self) -> Self {
        let behind = match (self.behind, other.behind) {
            (Some((room, worst)), Some((other, other_worst))) => {
                Some((room.max(other), worst.min(other_worst)))
            }
            (one, other) => one.or(other),
        };
        let leases = self.next_lease.into_iter().chain(other.next_lease);
        Self {
            victims: self.victims.max(other.victims),
            room: self.room.max(other.room),
            behind,
            to_admit: self.to_admit.max(other.to_admit),
            next_lease: leases.min(),
            keeps: self.keeps || other.keeps,
            binds: self.binds || other.binds,
        }
    }

    /// Whether a call of this place and size could fit. Of one engine it is so; in a group it may be so.
    pub(super) fn is_open_at(&self, order: Order, size: u64) -> bool {
        order < self.victims
            || self.room.is_some_and(|room| size <= room)
            || self.behind.is_some_and(|(room, worst)| {
                size <= room && worst.is_none_or(|worst| worst < order)
            })
    }

    /// Whether a call of this place could have a slot or wait for one, whatever its size.
    pub(super) fn has_seat(&self, order: Order) -> bool {
        self.is_open_at(order, 0)
    }
}

/// A tree of engines, by index.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Tree {
    /// The root is 1, and below each n are 2n and 2n + 1; the last half are the engines, and empty places.
    nodes: Vec<Most>,
}

impl Tree {
    pub(super) fn of(engines: impl ExactSizeIterator<Item = Most>) -> Self {
        let leaves = engines.len().next_power_of_two();
        let mut nodes = vec![Most::NONE; leaves];
        nodes.extend(engines);
        nodes.resize(2 * leaves, Most::NONE);
        for node in (1..leaves).rev() {
            nodes[node] = nodes[2 * node].join(nodes[2 * node + 1]);
        }
        Self { nodes }
    }

    /// An engine is as told from now on.
    pub(super) fn set(&mut self, engine: usize, most: Most) {
        let mut node = self.nodes.len() / 2 + engine;
        self.nodes[node] = most;
        while node > 1 {
            node /= 2;
            self.nodes[node] = self.nodes[2 * node].join(self.nodes[2 * node + 1]);
        }
    }

    /// Of all engines.
    pub(super) fn all(&self) -> Most {
        self.nodes[1]
    }

    /// The engines for which the test holds, in order. A group for which it does not hold has none for which it does.
    pub(super) fn find(&self, test: impl Fn(&Most) -> bool) -> impl Iterator<Item = usize> {
        let leaves = self.nodes.len() / 2;
        let mut node = 1;
        std::iter::from_fn(move || {
            while node > 0 {
                let here = node;
                let holds = test(&self.nodes[here]);
                if holds && here < leaves {
                    node = 2 * here;
                    continue;
                }
                node = behind(here);
                if holds {
                    return Some(here - leaves);
                }
            }
            None
        })
    }
}

/// The node that comes after all below one; 0: there is none.
const fn behind(node: usize) -> usize {
    // Whoever is a right child is its parent's last.
    let first_left = node >> node.trailing_ones();
    if first_left == 0 { 0 } else { first_left + 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn most() -> impl Strategy<Value = Most> {
        let order = (0_u8..3, -3_i64..3).prop_map(|(queue, rank)| Order { queue, rank });
        let behind = proptest::option::of((0_u64..9, proptest::option::of(order.clone())));
        let lease = proptest::option::of((0_u64..9).prop_map(Micros));
        let room = proptest::option::of(0_u64..9);
        (order, room, behind, lease, any::<(bool, bool)>()).prop_map(
            |(victims, room, behind, next_lease, (keeps, binds))| Most {
                victims,
                room,
                behind,
                to_admit: room,
                next_lease,
                keeps,
                binds,
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_found_is_what_asking_each_finds(
            engines in proptest::collection::vec(most(), 0..20),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), most()), 0..9),
            (queue, rank, size) in (0_u8..4, -4_i64..4, 0_u64..10),
        ) {
            let mut engines = engines;
            let mut tree = Tree::of(engines.iter().copied());
            for (which, most) in changes {
                if !engines.is_empty() {
                    let which = which.index(engines.len());
                    engines[which] = most;
                    tree.set(which, most);
                }
            }
            let order = Order { queue, rank };
            let tests: [&dyn Fn(&Most) -> bool; 4] = [
                &|most| most.is_open_at(order, size),
                &|most| most.has_seat(order),
                &|most| most.keeps,
                &|most| most.next_lease.is_some_and(|end| end < Micros(size)),
            ];
            for test in tests {
                let each = engines.iter().enumerate().filter(|(_, most)| test(most));
                let each: Vec<usize> = each.map(|(index, _)| index).collect();
                prop_assert_eq!(tree.find(test).collect::<Vec<_>>(), each);
            }
            let all = engines.iter().fold(Most::NONE, |all, most| all.join(*most));
            prop_assert_eq!(tree.all(), all);
        }
    }
}
