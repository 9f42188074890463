//! Products with packed weights: `out = x · weightᵀ + bias`. Owns: how the work is cut.
#![expect(unsafe_code, reason = "the innermost loops")]

use std::marker::PhantomData;
use std::ops::Range;

use crate::element::{Element, Numbers, NumbersMut};
use crate::level::{Available, Work};
use crate::rounding::rounded;
use crate::simd::{Simd, ask_for};
use crate::threads::{Threads, Writable};
use crate::tile::{self, OnRows, Rows};
use crate::weight::{PANEL, Packed, Weight};

/// Bytes of `x` that are multiplied before the next columns are read: they stay in the cache of one processor, of which
/// few have less than 512 KiB.
const BYTES_AT_ONCE: usize = 400 << 10;
/// A multiple of the rows of every tile: only the last rows of all are multiplied by fewer.
const TILE_ROWS: usize = 24;
/// Parts for each thread, so that one that is held up leaves most of its share to the others.
const PARTS_PER_THREAD: usize = 8;

/// What a product is made from.
#[derive(Debug, Clone, Copy)]
pub struct Product<'a> {
    /// What multiplies with it.
    pub weight: &'a Weight,
    /// `[rows, inputs]`.
    pub x: Numbers<'a>,
    /// `[outputs]`.
    pub bias: Option<&'a [f32]>,
}

impl Product<'_> {
    /// Computes it into `out`, `[rows, outputs]`: of the type of `x`, or of 32 bits.
    ///
    /// # Panics
    /// When a length does not fit, or a type: `x` is of the type from which the weight was packed, unless that was
    /// rounded to 8 bits.
    pub fn compute(&self, level: Available, threads: &mut Threads, out: NumbersMut<'_>) {
        match (self.x, out) {
            (Numbers::Float(x), NumbersMut::Float(out)) => self.of(level, threads, x, out),
            (Numbers::Half(x), NumbersMut::Float(out)) => self.of(level, threads, x, out),
            (Numbers::Half(x), NumbersMut::Half(out)) => self.of(level, threads, x, out),
            (Numbers::Float(_), NumbersMut::Half(_)) => {
                panic!("nothing is rounded that was not asked to be")
            }
        }
    }

    fn of<E: Element, O: Element>(
        &self,
        level: Available,
        threads: &mut Threads,
        x: &[E],
        out: &mut [O],
    ) {
        let Weight {
            outputs, inputs, ..
        } = *self.weight;
        let rows = x.len() / inputs.max(1);
        assert_eq!(x.len(), rows * inputs, "rows of {inputs} numbers");
        assert_eq!(
            out.len(),
            rows * outputs,
            "{rows} rows of {outputs} numbers"
        );
        assert!(
            self.bias.is_none_or(|bias| bias.len() == outputs),
            "a bias for each output"
        );
        let cut = Cut::new(rows, outputs, inputs * size_of::<E>(), threads.count());
        let numbers_in_all = rows.saturating_mul(outputs).saturating_mul(inputs);
        let out = Writable::new(out);
        let Self { weight, bias, .. } = *self;
        match &weight.packed {
            Packed::Byte { numbers, .. } => {
                let (integers, scales) = rounded(level, threads, x, inputs);
                let x = Rows::new(&integers, weight.units());
                threads.run(cut.parts(), numbers_in_all, |part| {
                    let place = cut.place(part);
                    level.run(Integers(Part {
                        weight,
                        numbers,
                        x,
                        scales: &scales,
                        bias,
                        out,
                        place,
                    }));
                });
            }
            Packed::Float(numbers) | Packed::Half(numbers) => {
                let fits = matches!(
                    (&weight.packed, E::PER_UNIT),
                    (Packed::Float(_), 1) | (Packed::Half(_), 2)
                );
                assert!(
                    fits,
                    "the weight is of another type than what is multiplied with it"
                );
                let padded = padded(x, inputs);
                let x = Rows::new(padded.as_deref().unwrap_or(x), weight.units());
                threads.run(cut.parts(), numbers_in_all, |part| {
                    let place = cut.place(part);
                    let part = Part {
                        weight,
                        numbers,
                        x,
                        scales: &[],
                        bias,
                        out,
                        place,
                    };
                    level.run(Floats {
                        part,
                        of: PhantomData::<E>,
                    });
                });
            }
        }
    }
}

/// How a product is cut: chunks of rows, and in each groups of panels.
#[derive(Clone, Copy)]
struct Cut {
    rows: usize,
    rows_at_once: usize,
    panels: usize,
    groups: usize,
}

impl Cut {
    fn new(rows: usize, outputs: usize, row_bytes: usize, threads: usize) -> Self {
        let tiles = BYTES_AT_ONCE / (TILE_ROWS * row_bytes.max(1));
        let panels = outputs.div_ceil(PANEL);
        let groups = panels.min(PARTS_PER_THREAD * threads).max(1);
        Self {
            rows,
            rows_at_once: TILE_ROWS * tiles.max(1),
            panels,
            groups,
        }
    }

    fn parts(self) -> usize {
        self.rows.div_ceil(self.rows_at_once) * self.groups
    }

    fn place(self, part: usize) -> Place {
        let Self {
            rows,
            rows_at_once,
            panels,
            groups,
        } = self;
        let (chunk, group) = (part / groups, part % groups);
        let row = chunk * rows_at_once;
        Place {
            row,
            rows: (rows - row).min(rows_at_once),
            panels: group * panels / groups..(group + 1) * panels / groups,
        }
    }
}

/// Which rows and panels.
struct Place {
    row: usize,
    rows: usize,
    panels: Range<usize>,
}

/// Some rows times some panels, of which the numbers are `N`.
struct Part<'a, N, O> {
    weight: &'a Weight,
    numbers: &'a [N],
    x: Rows,
    /// What each row of integers is to be multiplied with.
    scales: &'a [f32],
    bias: Option<&'a [f32]>,
    out: Writable<O>,
    place: Place,
}

/// A part with weights that are floats.
struct Floats<'a, E, O> {
    part: Part<'a, u32, O>,
    of: PhantomData<E>,
}

/// A part with weights of 8 bits.
struct Integers<'a, O>(Part<'a, i8, O>);

/// `C` vectors of columns of a panel.
struct Columns<'a, K, N, O, const C: usize> {
    part: &'a Part<'a, N, O>,
    /// The first, of all.
    column: usize,
    kind: PhantomData<K>,
}

impl<E: Element, O: Element> Work for Floats<'_, E, O> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: what the caller promised; parts lie within the product.
        unsafe { self.part.each_column::<S, E>() }
    }
}

impl<O: Element> Work for Integers<'_, O> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: what the caller promised; parts lie within the product.
        unsafe { self.0.each_column::<S, i8>() }
    }
}

impl<N, O> Part<'_, N, O> {
    #[inline(always)]
    unsafe fn each_column<'a, S: Simd, K>(&'a self)
    where
        Columns<'a, K, N, O, 2>: OnRows,
        Columns<'a, K, N, O, 4>: OnRows,
    {
        // Few rows have too few sums in two vectors: each would wait for its last addition. Where vectors are short a panel
        // has more of them, and is read once.
        let four = 4 * S::LANES <= PANEL && self.place.rows <= tile::most_rows::<S>(4);
        for panel in self.place.panels.clone() {
            let columns = panel * PANEL..(panel + 1) * PANEL;
            // SAFETY: what the caller promised.
            unsafe {
                if four {
                    self.each::<S, K, 4>(columns);
                } else {
                    self.each::<S, K, 2>(columns);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn each<'a, S: Simd, K, const C: usize>(&'a self, columns: Range<usize>)
    where
        Columns<'a, K, N, O, C>: OnRows,
    {
        for column in columns.step_by(C * S::LANES) {
            let mut columns = Columns {
                part: self,
                column,
                kind: PhantomData,
            };
            // SAFETY: what the caller promised.
            unsafe { tile::by_rows::<S, _>(self.place.rows, &mut columns) };
        }
    }
}

impl<E: Element, O: Element, const C: usize> OnRows for Columns<'_, E, u32, O, C> {
    const VECTORS: usize = C;

    #[inline(always)]
    unsafe fn on<S: Simd, const R: usize>(&mut self, row: usize) {
        let part = self.part;
        let units = part.weight.units();
        let start = self.column / PANEL * PANEL * units + self.column % PANEL;
        let first = part.numbers[start..].as_ptr();
        let columns = std::array::from_fn(|vector| first.wrapping_add(vector * S::LANES));
        // The first rows wait for the columns. The second find them in a cache and have time to ask for the next.
        let asks = 0 < row && row <= tile::most_rows::<S>(C);
        // SAFETY: the caller has the level; rows, columns and outputs are within what was asserted.
        unsafe {
            let mut sums = tile::zero::<S, R, C>();
            let row = part.place.row + row;
            let x = part.x.from(row, 0);
            if asks {
                let next = self.next::<S>(first);
                tile::add_and::<S, E, R, C>(&mut sums, x, columns, [PANEL, units], |come| {
                    for vector in 0..C {
                        ask_for(next.wrapping_add(come + vector * S::LANES));
                    }
                });
            } else {
                tile::add::<S, E, R, C>(&mut sums, x, columns, PANEL, units);
            }
            for (index, sums) in sums.into_iter().enumerate() {
                part.write::<S, C>(row + index, self.column, sums);
            }
        }
    }
}

impl<E: Element, O: Element, const C: usize> Columns<'_, E, u32, O, C> {
    /// Where the columns begin that are read after these, which begin at `first`. Behind the last there may be nothing.
    #[inline(always)]
    fn next<S: Simd>(&self, first: *const u32) -> *const u32 {
        let (width, within) = (C * S::LANES, self.column % PANEL);
        first.wrapping_add(if within + width < PANEL {
            width
        } else {
            PANEL * self.part.weight.units() - within
        })
    }
}

impl<O: Element, const C: usize> OnRows for Columns<'_, i8, i8, O, C> {
    const VECTORS: usize = C;

    #[inline(always)]
    unsafe fn on<S: Simd, const R: usize>(&mut self, row: usize) {
        let part = self.part;
        let pairs = part.weight.units();
        let start = 2 * (self.column / PANEL * PANEL * pairs + self.column % PANEL);
        let first = part.numbers[start..].as_ptr();
        let columns = std::array::from_fn(|vector| first.wrapping_add(2 * vector * S::LANES));
        let Packed::Byte { scales, .. } = &part.weight.packed else {
            unreachable!("integers are multiplied with integers")
        };
        // SAFETY: the caller has the level; rows, columns and outputs are within what was asserted, and there is a
        // scale for each column of the last panel.
        unsafe {
            let row = part.place.row + row;
            let mut ints = [[S::zero_ints(); C]; R];
            tile::add_ints::<S, R, C>(&mut ints, part.x.from(row, 0), columns, pairs);
            for (index, ints) in ints.into_iter().enumerate() {
                let row = row + index;
                let of_row = S::splat(part.scales[row]);
                let mut sums = [S::zero(); C];
                for (vector, (sum, ints)) in sums.iter_mut().zip(ints).enumerate() {
                    let of_column = scales[self.column + vector * S::LANES..].as_ptr();
                    *sum = S::mul(S::mul(S::floats(ints), of_row), S::load(of_column));
                }
                part.write::<S, C>(row, self.column, sums);
            }
        }
    }
}

impl<N, O: Element> Part<'_, N, O> {
    /// Adds the bias and writes what is not beyond the last column.
    #[inline(always)]
    unsafe fn write<S: Simd, const C: usize>(
        &self,
        row: usize,
        column: usize,
        sums: [S::Floats; C],
    ) {
        let outputs = self.weight.outputs;
        for (index, sum) in sums.into_iter().enumerate() {
            let column = column + index * S::LANES;
            if column >= outputs {
                return;
            }
            let width = S::LANES.min(outputs - column);
            // SAFETY: the caller has the level; `width` numbers from the column on are in the row, and nobody else
            // writes them.
            unsafe {
                let bias = match self.bias {
                    None => S::zero(),
                    Some(bias) => tile::load_some::<S, f32>(bias[column..].as_ptr(), width),
                };
                let to = self.out.at(row * outputs + column);
                tile::store_some::<S, O>(to, S::add(sum, bias), width);
            }
        }
    }
}

/// Rows that end in the middle of a unit, with a zero after them.
fn padded<E: Element>(x: &[E], inputs: usize) -> Option<Vec<E>> {
    let width = inputs.next_multiple_of(E::PER_UNIT);
    if width == inputs {
        return None;
    }
    let mut padded = vec![E::default(); x.len() / inputs * width];
    for (to, from) in padded.chunks_exact_mut(width).zip(x.chunks_exact(inputs)) {
        to[..inputs].copy_from_slice(from);
    }
    Some(padded)
}
