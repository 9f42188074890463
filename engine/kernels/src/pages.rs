//! The pool of keys and values of one layer, and writing to it. Owns: the layout of a page, which is that in which
//! attention reads it: no number is moved when it is used.
//!
//! A page has [`PAGE_TOKENS`] tokens of each key-value head. Keys: for each unit of a head the units of all tokens, so
//! that a vector holds one unit of each token and a product with it is one step of as many scores. Values: for each unit
//! of *tokens* (one token of 32 bits, two of 16) those of all numbers of a head, so that a vector holds neighbouring
//! numbers of the sum.
#![expect(
    unsafe_code,
    reason = "numbers that several threads write, each its own"
)]

use std::io;

use half::bf16;

use crate::element::{Element, Numbers};
use crate::memory::Mapped;
use crate::simd::MOST_LANES;
use crate::threads::Writable;

/// Tokens of a page.
pub const PAGE_TOKENS: usize = 16;

/// Shape of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolShape {
    /// Pages.
    pub pages: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Numbers of a head.
    pub head_dim: usize,
    /// Whether they are of 16 bits, else of 32.
    pub half: bool,
}

impl PoolShape {
    fn per_unit(&self) -> usize {
        if self.half {
            bf16::PER_UNIT
        } else {
            f32::PER_UNIT
        }
    }

    /// Numbers of a head, with those that fill the last vector of values.
    pub(crate) fn value_columns(&self) -> usize {
        self.head_dim.next_multiple_of(MOST_LANES)
    }

    /// Numbers of a head, with the zero that fills the last unit of keys.
    pub(crate) fn key_columns(&self) -> usize {
        self.head_dim.next_multiple_of(self.per_unit())
    }

    /// Units of the keys of a head in a page.
    fn key_units(&self) -> usize {
        self.key_columns() / self.per_unit() * PAGE_TOKENS
    }

    /// Units of the values of a head in a page.
    fn value_units(&self) -> usize {
        PAGE_TOKENS / self.per_unit() * self.value_columns()
    }

    /// Bytes of a page.
    pub fn page_bytes(&self) -> usize {
        self.kv_heads * (self.key_units() + self.value_units()) * size_of::<u32>()
    }
}

/// Keys and values of one layer. The system gives the memory when a page is first written.
#[derive(Debug)]
pub struct Pool {
    shape: PoolShape,
    keys: Mapped<u32>,
    values: Mapped<u32>,
}

impl Pool {
    /// Makes it, all zeros.
    ///
    /// # Errors
    /// When there is not that much memory.
    pub fn new(shape: PoolShape) -> io::Result<Self> {
        let heads = shape.pages.checked_mul(shape.kv_heads);
        let units = |of_head: usize| {
            let units = heads.and_then(|heads| heads.checked_mul(of_head));
            units.ok_or(io::Error::from(io::ErrorKind::OutOfMemory))
        };
        Ok(Self {
            shape,
            keys: Mapped::zeros(units(shape.key_units())?)?,
            values: Mapped::zeros(units(shape.value_units())?)?,
        })
    }

    /// Its shape.
    pub fn shape(&self) -> PoolShape {
        self.shape
    }

    /// The keys of a head in a page.
    pub(crate) fn keys(&self, page: usize, head: usize) -> &[u32] {
        let units = self.shape.key_units();
        &self.keys[(page * self.shape.kv_heads + head) * units..][..units]
    }

    /// The values of a head in a page.
    pub(crate) fn values(&self, page: usize, head: usize) -> &[u32] {
        let units = self.shape.value_units();
        &self.values[(page * self.shape.kv_heads + head) * units..][..units]
    }

    /// Puts keys and values of a token, `[kv_heads, head_dim]` each, in their place: `slot` is page times
    /// [`PAGE_TOKENS`] plus the place in it. Tokens of a page are put in their order.
    ///
    /// # Panics
    /// When the numbers are of another type or not as many, or the slot is beyond the pool.
    pub fn put(&mut self, slot: usize, key: Numbers<'_>, value: Numbers<'_>) {
        match (key, value) {
            (Numbers::Float(key), Numbers::Float(value)) => self.put_all(slot, key, value),
            (Numbers::Half(key), Numbers::Half(value)) => self.put_all(slot, key, value),
            _ => panic!("keys and values are of one type"),
        }
    }

    fn put_all<E: Element>(&mut self, slot: usize, key: &[E], value: &[E]) {
        let width = self.shape.head_dim;
        let all = self.shape.kv_heads * width;
        assert!(
            key.len() == all && value.len() == all,
            "{all} numbers of a token"
        );
        let writer = self.writer::<E>();
        let heads = key.chunks_exact(width).zip(value.chunks_exact(width));
        for (head, (key, value)) in heads.enumerate() {
            // SAFETY: the pool is borrowed alone.
            unsafe { writer.put(slot, head, key, value) };
        }
    }

    /// To write from several threads.
    pub(crate) fn writer<E: Element>(&mut self) -> Writer {
        assert_eq!(
            self.shape.per_unit(),
            E::PER_UNIT,
            "the pool holds numbers of another type"
        );
        Writer {
            shape: self.shape,
            keys: Writable::new(&mut self.keys),
            values: Writable::new(&mut self.values),
        }
    }
}

/// Writes to a pool.
#[derive(Clone, Copy)]
pub(crate) struct Writer {
    shape: PoolShape,
    keys: Writable<u32>,
    values: Writable<u32>,
}

impl Writer {
    /// Puts key and value of one head in their place. The tokens after it that share its unit are zero from then on: what
    /// an earlier user of the page left there is multiplied with zero, which must not be no number.
    ///
    /// # Safety
    /// Nobody else writes or reads this head at the same time.
    ///
    /// # Panics
    /// When the numbers are not as many, or the place is beyond the pool.
    #[inline(always)]
    pub(crate) unsafe fn put<E: Element>(self, slot: usize, head: usize, key: &[E], value: &[E]) {
        let shape = self.shape;
        let (page, token) = (slot / PAGE_TOKENS, slot % PAGE_TOKENS);
        assert!(
            page < shape.pages && head < shape.kv_heads,
            "slot {slot}, head {head}"
        );
        assert!(
            key.len() == shape.head_dim && value.len() == shape.head_dim,
            "numbers of a head"
        );
        let index = page * shape.kv_heads + head;
        // SAFETY: page and head are in the pool, asserted above, and so are the units of them.
        unsafe {
            let keys = self.keys.at(index * shape.key_units() + token);
            for (unit, numbers) in key.chunks(E::PER_UNIT).enumerate() {
                *keys.add(unit * PAGE_TOKENS) = E::unit(numbers);
            }
            let row = token / E::PER_UNIT * shape.value_columns();
            let values = self.values.at(index * shape.value_units() + row);
            let place = token % E::PER_UNIT;
            for (column, number) in value.iter().enumerate() {
                let mut unit = [E::default(); 2];
                if place == 1 {
                    unit[0] = E::first(*values.add(column));
                }
                unit[place] = *number;
                *values.add(column) = E::unit(&unit);
            }
        }
    }
}
