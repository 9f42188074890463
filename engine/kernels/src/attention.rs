//! Attention over pages, of one new token or of many. Owns: the order of the sums, which follows the places of a sequence
//! and nothing else: a token's result is equal to the last bit in whichever chunk or batch it is computed, as long as all
//! are numbers. What is none makes more than its own token none; it never reaches another sequence.
//!
//! Places are read in tiles of [`TILE`] that begin at the sequence's first place: scores of a tile, then a running
//! maximum and sum (online softmax, Milakov and Gimelshein 2018; FlashAttention, Dao 2022), then the weighted values.
//! Query heads that share a key-value head, and neighbouring tokens, share each read of a page.
#![expect(unsafe_code, reason = "the innermost loops")]

use std::cmp::Reverse;
use std::marker::PhantomData;
use std::ops::Range;

use crate::element::{Element, Numbers, NumbersMut};
use crate::level::{Available, Work};
use crate::pages::{PAGE_TOKENS, Pool};
use crate::simd::{Simd, ask_for, exp, tanh};
use crate::threads::{Threads, Writable};
use crate::tile::{self, OnRows, Rows};

/// Places whose scores are held at once: a whole number of pages, and of vectors on every level.
const TILE: usize = 64;
const TILE_PAGES: usize = TILE / PAGE_TOKENS;
/// Rows (a token's query head each) that share the reading of a tile.
const ROWS_AT_ONCE: usize = 48;

/// One sequence's new tokens.
#[derive(Debug, Clone)]
pub struct Sequence<'a> {
    /// Row of the first in `query` and `out`; the others follow, and then the next sequence's.
    pub row: usize,
    /// How many.
    pub len: usize,
    /// Its tokens before them.
    pub computed: usize,
    /// Its pages, as many as its tokens need.
    pub pages: &'a [u32],
}

/// What attends to what.
#[derive(Debug, Clone, Copy)]
pub struct Attention<'a> {
    /// `[tokens, heads, head_dim]`.
    pub query: Numbers<'a>,
    /// Query heads.
    pub heads: usize,
    /// Keys and values, those of the new tokens among them.
    pub pool: &'a Pool,
    /// Whose tokens there are.
    pub sequences: &'a [Sequence<'a>],
    /// Products are multiplied with this.
    pub scale: f32,
    /// Then `cap * tanh(score / cap)`.
    pub cap: Option<f32>,
    /// How many places a token sees, its own included; `None`: all.
    pub window: Option<usize>,
}

impl Attention<'_> {
    /// Computes it into `out`, shaped and typed like `query`.
    ///
    /// # Panics
    /// When a length or a type does not fit.
    pub fn compute(&self, level: Available, threads: &mut Threads, out: NumbersMut<'_>) {
        match (self.query, out) {
            (Numbers::Float(query), NumbersMut::Float(out)) => self.of(level, threads, query, out),
            (Numbers::Half(query), NumbersMut::Half(out)) => self.of(level, threads, query, out),
            _ => panic!("queries and results are of one type"),
        }
    }

    fn of<E: Element>(&self, level: Available, threads: &mut Threads, query: &[E], out: &mut [E]) {
        let shape = self.pool.shape();
        let width = self.heads * shape.head_dim;
        assert_eq!(
            shape.half,
            E::PER_UNIT == 2,
            "the pool holds numbers of another type"
        );
        assert_eq!(
            self.heads % shape.kv_heads,
            0,
            "{} heads share {}",
            self.heads,
            shape.kv_heads
        );
        assert_eq!(query.len(), out.len(), "queries and results");
        let group = self.heads / shape.kv_heads;
        let tokens_at_once = (ROWS_AT_ONCE / group).max(1);
        let mut blocks = Vec::new();
        let mut rows = 0;
        for sequence in self.sequences {
            let pages = (sequence.computed + sequence.len).div_ceil(PAGE_TOKENS);
            assert!(
                sequence.pages.len() >= pages,
                "{} pages for {pages}",
                sequence.pages.len()
            );
            assert!(
                sequence.pages[..pages]
                    .iter()
                    .all(|page| (*page as usize) < shape.pages),
                "a page of the pool"
            );
            assert_eq!(sequence.row, rows, "sequences stand one after the other");
            rows += sequence.len;
            for first in (0..sequence.len).step_by(tokens_at_once) {
                let tokens = first..sequence.len.min(first + tokens_at_once);
                blocks.extend((0..shape.kv_heads).map(|head| Block {
                    sequence,
                    tokens: tokens.clone(),
                    head,
                }));
            }
        }
        assert_eq!(rows * width, query.len(), "{rows} rows of {width} numbers");
        // The longest first, so that no thread begins one when the others are done.
        blocks.sort_by_key(|block| Reverse(block.places()));
        let places: usize = blocks.iter().map(Block::places).sum();
        let numbers = places * group * shape.head_dim;
        let out = Writable::new(out);
        threads.run(blocks.len(), numbers, |part| {
            level.run(Part {
                attention: self,
                query,
                out,
                block: &blocks[part],
                group,
            });
        });
    }
}

/// Some tokens of a sequence and one key-value head.
struct Block<'a> {
    sequence: &'a Sequence<'a>,
    tokens: Range<usize>,
    head: usize,
}

impl Block<'_> {
    /// Places that its last token may see.
    fn places(&self) -> usize {
        self.sequence.computed + self.tokens.end
    }
}

struct Part<'a, E> {
    attention: &'a Attention<'a>,
    query: &'a [E],
    out: Writable<E>,
    block: &'a Block<'a>,
    /// Query heads of a key-value head.
    group: usize,
}

/// What is held of a block while its tiles pass; rows are tokens, and in them query heads.
struct State<E> {
    /// `[rows, key_columns]`.
    query: Vec<E>,
    /// `[rows, TILE]`.
    scores: Vec<f32>,
    /// `[rows, TILE]`: the exponentials, as they are multiplied with values.
    weights: Vec<E>,
    /// `[rows, value_columns]`.
    sums: Vec<f32>,
    /// Of each row, the largest score so far.
    largest: Vec<f32>,
    /// Of each row, the sum of exponentials so far.
    total: Vec<f32>,
    rows: usize,
}

impl<E: Element> Work for Part<'_, E> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Attention { pool, window, .. } = *self.attention;
        let mut state = self.state();
        let end = self.place(state.rows - 1) + 1;
        let start = window.map_or(0, |window| (self.place(0) + 1).saturating_sub(window));
        for first in (start / TILE * TILE..end).step_by(TILE) {
            let places = (end - first).min(TILE);
            let pages = |first: usize| -> [usize; TILE_PAGES] {
                std::array::from_fn(|page| {
                    // Beyond the end the last page again: its scores are masked.
                    let page = (first / PAGE_TOKENS + page).min((end - 1) / PAGE_TOKENS);
                    self.block.sequence.pages[page] as usize
                })
            };
            let keys = |page: usize| pool.keys(page, self.block.head).as_ptr();
            let values = |page: usize| pool.values(page, self.block.head).as_ptr();
            // Pages lie anywhere, so the processor does not foresee them: each reading asks for what is read next.
            let (now, next) = (pages(first), pages(first + TILE));
            let (keys, values, next_keys) = (now.map(keys), now.map(values), next.map(keys));
            // SAFETY: the caller has the level; pages are in the pool, asserted at the beginning.
            unsafe {
                self.score::<S>(&mut state, [keys, values], places);
                for row in 0..state.rows {
                    self.soften::<S>(&mut state, row, first, places);
                }
                self.weigh::<S>(&mut state, [values, next_keys], places);
            }
        }
        // SAFETY: the caller has the level.
        unsafe { self.finish::<S>(&state) };
    }
}

impl<E: Element> Part<'_, E> {
    fn state(&self) -> State<E> {
        let shape = self.attention.pool.shape();
        let rows = self.block.tokens.len() * self.group;
        let (width, columns) = (shape.head_dim, shape.key_columns());
        let mut query = vec![E::default(); rows * columns];
        for (index, row) in query.chunks_exact_mut(columns).enumerate() {
            let (token, head) = (self.token(index), self.head(index));
            let from = (token * self.attention.heads + head) * width;
            row[..width].copy_from_slice(&self.query[from..][..width]);
        }
        State {
            query,
            scores: vec![0.0; rows * TILE],
            weights: vec![E::default(); rows * TILE],
            sums: vec![0.0; rows * shape.value_columns()],
            largest: vec![f32::NEG_INFINITY; rows],
            total: vec![0.0; rows],
            rows,
        }
    }

    /// Row of a row's token in the step.
    #[inline(always)]
    fn token(&self, row: usize) -> usize {
        self.block.sequence.row + self.block.tokens.start + row / self.group
    }

    /// Query head of a row.
    #[inline(always)]
    fn head(&self, row: usize) -> usize {
        self.block.head * self.group + row % self.group
    }

    /// The place of a row's token in its sequence.
    #[inline(always)]
    fn place(&self, row: usize) -> usize {
        self.block.sequence.computed + self.block.tokens.start + row / self.group
    }

    /// Products of all rows with the keys of a tile; asks for what comes next.
    #[inline(always)]
    unsafe fn score<S: Simd>(
        &self,
        state: &mut State<E>,
        [keys, next]: [[*const u32; TILE_PAGES]; 2],
        places: usize,
    ) {
        let units = self.attention.pool.shape().key_columns() / E::PER_UNIT;
        let x = Rows::new(&state.query, units);
        let out = state.scores.as_mut_ptr();
        for first in (0..places).step_by(2 * S::LANES) {
            // Both vectors may be of one page, or each of its own.
            let vector = |pages: [*const u32; TILE_PAGES], place: usize| {
                pages[place / PAGE_TOKENS].wrapping_add(place % PAGE_TOKENS)
            };
            let both = |pages| [vector(pages, first), vector(pages, first + S::LANES)];
            let mut scores = Scores {
                x,
                columns: both(keys),
                next: both(next),
                units,
                out: out.wrapping_add(first),
                of: PhantomData::<E>,
            };
            // SAFETY: what the caller promised; a row of scores has room for a tile.
            unsafe { tile::by_rows::<S, _>(state.rows, &mut scores) };
        }
    }

    /// Scores of a row to exponentials, and what came before to the new maximum.
    #[inline(always)]
    unsafe fn soften<S: Simd>(
        &self,
        state: &mut State<E>,
        row: usize,
        first: usize,
        places: usize,
    ) {
        let Attention {
            scale, cap, window, ..
        } = *self.attention;
        let vectors = places.div_ceil(S::LANES) * S::LANES;
        let last = self.place(row);
        // What the row sees of this tile; nothing when it is all before its window or after it.
        let to = (last + 1).saturating_sub(first).min(places);
        let from = window
            .map_or(0, |window| {
                (last + 1).saturating_sub(window).saturating_sub(first)
            })
            .min(to);
        let scores = &mut state.scores[row * TILE..][..vectors];
        let weights = &mut state.weights[row * TILE..][..TILE];
        // SAFETY: the caller has the level; all slices are whole vectors long.
        unsafe {
            for place in (0..vectors).step_by(S::LANES) {
                let at = scores.as_mut_ptr().add(place);
                let mut score = S::mul(S::load(at), S::splat(scale));
                if let Some(cap) = cap {
                    score = S::mul(tanh::<S>(S::mul(score, S::splat(1.0 / cap))), S::splat(cap));
                }
                S::store(at, score);
            }
            scores[..from].fill(f32::NEG_INFINITY);
            scores[to..].fill(f32::NEG_INFINITY);
            let mut largest = S::splat(state.largest[row]);
            for place in (0..vectors).step_by(S::LANES) {
                largest = S::max(S::load(scores.as_ptr().add(place)), largest);
            }
            let largest = S::largest(largest);
            if largest == f32::NEG_INFINITY {
                weights[..vectors].fill(E::default());
                return;
            }
            let mut total = S::zero();
            for place in (0..vectors).step_by(S::LANES) {
                let weight = exp::<S>(S::sub(
                    S::load(scores.as_ptr().add(place)),
                    S::splat(largest),
                ));
                total = S::add(total, weight);
                E::store::<S>(weights.as_mut_ptr().add(place), weight);
            }
            let before = state.largest[row];
            if before != largest {
                // Nothing came before the first tile, and its sums are zero.
                let factor = if before == f32::NEG_INFINITY {
                    0.0
                } else {
                    (before - largest).exp()
                };
                let columns = state.sums.len() / state.rows;
                state.total[row] *= factor;
                for sum in &mut state.sums[row * columns..][..columns] {
                    *sum *= factor;
                }
                state.largest[row] = largest;
            }
            state.total[row] += S::sum(total);
        }
    }

    /// Adds the values of a tile, each with its weight; asks for what comes next.
    #[inline(always)]
    unsafe fn weigh<S: Simd>(
        &self,
        state: &mut State<E>,
        [values, next]: [[*const u32; TILE_PAGES]; 2],
        places: usize,
    ) {
        let columns = self.attention.pool.shape().value_columns();
        let x = Rows::new(&state.weights, TILE / E::PER_UNIT);
        for column in (0..columns).step_by(2 * S::LANES) {
            let mut weighted = Weighted {
                x,
                values,
                next,
                // The last vector may be alone: then it is computed twice.
                columns: [column, (column + S::LANES).min(columns - S::LANES)],
                row_columns: columns,
                units: places.div_ceil(E::PER_UNIT),
                sums: state.sums.as_mut_ptr(),
                of: PhantomData::<E>,
            };
            // SAFETY: what the caller promised; a row of sums has room for all columns.
            unsafe { tile::by_rows::<S, _>(state.rows, &mut weighted) };
        }
    }

    #[inline(always)]
    unsafe fn finish<S: Simd>(&self, state: &State<E>) {
        let shape = self.attention.pool.shape();
        let (width, columns) = (shape.head_dim, shape.value_columns());
        for row in 0..state.rows {
            let (token, head) = (self.token(row), self.head(row));
            let sums = &state.sums[row * columns..][..columns];
            for column in (0..width).step_by(S::LANES) {
                // SAFETY: the caller has the level; sums are whole vectors, and nobody else writes this head's row.
                unsafe {
                    let mean = S::div(
                        S::load(sums.as_ptr().add(column)),
                        S::splat(state.total[row]),
                    );
                    let to = self
                        .out
                        .at((token * self.attention.heads + head) * width + column);
                    tile::store_some::<S, E>(to, mean, width - column);
                }
            }
        }
    }
}

/// Asks for what is read next; the first rows do it for all.
#[inline(always)]
fn ask_once(row: usize, next: [*const u32; 2], come: usize) {
    if row == 0 {
        for next in next {
            ask_for(next.wrapping_add(come));
        }
    }
}

/// Scores of some rows for two vectors of places.
struct Scores<E> {
    x: Rows,
    columns: [*const u32; 2],
    /// What is asked for meanwhile.
    next: [*const u32; 2],
    units: usize,
    out: *mut f32,
    of: PhantomData<E>,
}

impl<E: Element> OnRows for Scores<E> {
    const VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn on<S: Simd, const R: usize>(&mut self, row: usize) {
        // SAFETY: what the caller promised.
        unsafe {
            let mut sums = tile::zero::<S, R, 2>();
            let x = self.x.from(row, 0);
            let sizes = [PAGE_TOKENS, self.units];
            tile::add_and::<S, E, R, 2>(&mut sums, x, self.columns, sizes, |come| {
                ask_once(row, self.next, come);
            });
            for (index, [left, right]) in sums.into_iter().enumerate() {
                let out = self.out.add((row + index) * TILE);
                S::store(out, left);
                S::store(out.add(S::LANES), right);
            }
        }
    }
}

/// Sums of some rows in two vectors of columns.
struct Weighted<E> {
    x: Rows,
    values: [*const u32; TILE_PAGES],
    /// What is asked for meanwhile.
    next: [*const u32; TILE_PAGES],
    columns: [usize; 2],
    row_columns: usize,
    /// Units of places, in all pages.
    units: usize,
    sums: *mut f32,
    of: PhantomData<E>,
}

impl<E: Element> OnRows for Weighted<E> {
    const VECTORS: usize = 2;

    #[inline(always)]
    unsafe fn on<S: Simd, const R: usize>(&mut self, row: usize) {
        let page_units = PAGE_TOKENS / E::PER_UNIT;
        let at = |index: usize| self.sums.wrapping_add((row + index) * self.row_columns);
        let [left, right] = self.columns;
        // SAFETY: what the caller promised.
        unsafe {
            let mut sums = tile::zero::<S, R, 2>();
            for (index, sums) in sums.iter_mut().enumerate() {
                *sums = [S::load(at(index).add(left)), S::load(at(index).add(right))];
            }
            for (page, (values, next)) in self.values.iter().zip(self.next).enumerate() {
                let done = page * page_units;
                if done >= self.units {
                    break;
                }
                let x = self.x.from(row, done);
                let columns = [values.add(left), values.add(right)];
                let next = [next.wrapping_add(left), next.wrapping_add(right)];
                let sizes = [self.row_columns, (self.units - done).min(page_units)];
                tile::add_and::<S, E, R, 2>(&mut sums, x, columns, sizes, |come| {
                    ask_once(row, next, come);
                });
            }
            for (index, sums) in sums.into_iter().enumerate() {
                S::store(at(index).add(right), sums[1]);
                S::store(at(index).add(left), sums[0]);
            }
        }
    }
}
