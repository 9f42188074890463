//! The innermost loops: some rows of `x` times some vectors of columns, in registers. Owns: the order in which a sum is
//! formed, which is the order of the units, whatever the number of rows; that is why a row's result does not depend on
//! its neighbours.
#![expect(unsafe_code, reason = "the innermost loops")]

use crate::element::Element;
use crate::simd::{MOST_LANES, Simd};
use crate::weight::PANEL;

/// So few sums that each would wait for its last addition: every other pair of integers has sums of its own, which are
/// added in the end. Integers give the same in any order.
const FEW_SUMS: usize = 4;

/// Rows of units.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rows {
    /// The first unit of the first row. Need not be aligned.
    pub(crate) first: *const u32,
    /// Units from row to row.
    pub(crate) stride: usize,
}

// SAFETY: it is only a place; who reads there promises that nobody writes.
unsafe impl Send for Rows {}
// SAFETY: as above.
unsafe impl Sync for Rows {}

impl Rows {
    /// All of a slice, whose rows have so many units.
    pub(crate) fn new<T>(rows: &[T], stride: usize) -> Self {
        Self {
            first: rows.as_ptr().cast(),
            stride,
        }
    }

    /// A unit.
    ///
    /// # Safety
    /// It is there.
    #[inline(always)]
    unsafe fn unit(self, row: usize, unit: usize) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { self.first.add(row * self.stride + unit).read_unaligned() }
    }

    /// From a later row and unit on.
    ///
    /// # Safety
    /// They are there.
    #[inline(always)]
    pub(crate) unsafe fn from(self, row: usize, unit: usize) -> Self {
        // SAFETY: the caller's promise.
        let first = unsafe { self.first.add(row * self.stride + unit) };
        Self { first, ..self }
    }
}

/// Sums of `R` rows in `C` vectors of columns.
pub(crate) type Sums<S, const R: usize, const C: usize> = [[<S as Simd>::Floats; C]; R];

/// Nothing yet.
///
/// # Safety
/// The processor has the level of `S`.
#[inline(always)]
pub(crate) unsafe fn zero<S: Simd, const R: usize, const C: usize>() -> Sums<S, R, C> {
    // SAFETY: what the caller promised.
    unsafe { [[S::zero(); C]; R] }
}

/// Adds `units` of each row times as many units of the columns: `columns` points at the first unit of each vector, and
/// from unit to unit it is `stride` further.
///
/// # Safety
/// The processor has the level of `S`; rows and columns are there.
#[inline(always)]
pub(crate) unsafe fn add<S: Simd, E: Element, const R: usize, const C: usize>(
    sums: &mut Sums<S, R, C>,
    x: Rows,
    columns: [*const u32; C],
    stride: usize,
    units: usize,
) {
    // SAFETY: what the caller promised.
    unsafe { add_and::<S, E, R, C>(sums, x, columns, [stride, units], |_| {}) }
}

/// The same, and `meanwhile` for each unit: it is told how far the columns have come.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn add_and<S: Simd, E: Element, const R: usize, const C: usize>(
    sums: &mut Sums<S, R, C>,
    x: Rows,
    columns: [*const u32; C],
    [stride, units]: [usize; 2],
    meanwhile: impl Fn(usize),
) {
    for unit in 0..units {
        let come = unit * stride;
        // SAFETY: what the caller promised.
        unsafe {
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = x.unit(row, unit);
                for (sum, column) in sums.iter_mut().zip(columns) {
                    *sum = E::dot::<S>(*sum, x, column.wrapping_add(come));
                }
            }
        }
        meanwhile(come);
    }
}

/// Work on some rows at once, whose number the compiler knows.
pub(crate) trait OnRows {
    /// Vectors of columns that it has of each row.
    const VECTORS: usize;

    /// Does it for `R` rows from `row` on.
    ///
    /// # Safety
    /// The processor has the level of `S`, and what the work itself asks for.
    unsafe fn on<S: Simd, const R: usize>(&mut self, row: usize);
}

/// Rows whose sums fit into registers: as [`Simd::ROWS`] says of two vectors of columns.
pub(crate) const fn most_rows<S: Simd>(vectors: usize) -> usize {
    2 * S::ROWS / vectors
}

/// Cuts `rows` into groups of at most [`most_rows`].
///
/// # Safety
/// As [`OnRows::on`].
#[inline(always)]
pub(crate) unsafe fn by_rows<S: Simd, W: OnRows>(rows: usize, work: &mut W) {
    let mut row = 0;
    while row < rows {
        let left = (rows - row).min(most_rows::<S>(W::VECTORS));
        // SAFETY: what the caller promised.
        let did = unsafe {
            match left {
                12.. => on::<S, W, 12>(work, row),
                8..=11 => on::<S, W, 8>(work, row),
                6 | 7 => on::<S, W, 6>(work, row),
                4 | 5 => on::<S, W, 4>(work, row),
                3 => on::<S, W, 3>(work, row),
                2 => on::<S, W, 2>(work, row),
                _ => on::<S, W, 1>(work, row),
            }
        };
        row += did;
    }
}

#[inline(always)]
unsafe fn on<S: Simd, W: OnRows, const R: usize>(work: &mut W, row: usize) -> usize {
    // More rows than registers are never asked for: nothing is compiled for them.
    if R <= most_rows::<S>(W::VECTORS) {
        // SAFETY: what the caller promised.
        unsafe { work.on::<S, R>(row) };
    }
    R
}

/// As [`add`] of pairs of integers; columns of one unit are [`PANEL`] pairs.
///
/// # Safety
/// As [`add`].
#[inline(always)]
pub(crate) unsafe fn add_ints<S: Simd, const R: usize, const C: usize>(
    sums: &mut [[S::Ints; C]; R],
    x: Rows,
    columns: [*const i8; C],
    pairs: usize,
) {
    // SAFETY: what the caller promised.
    unsafe {
        if R * C > FEW_SUMS {
            for pair in 0..pairs {
                dot_pair::<S, R, C>(sums, x, columns, pair);
            }
            return;
        }
        let mut others = [[S::zero_ints(); C]; R];
        for pair in (0..pairs / 2 * 2).step_by(2) {
            dot_pair::<S, R, C>(sums, x, columns, pair);
            dot_pair::<S, R, C>(&mut others, x, columns, pair + 1);
        }
        if pairs % 2 == 1 {
            dot_pair::<S, R, C>(sums, x, columns, pairs - 1);
        }
        for (sums, others) in sums.iter_mut().zip(others) {
            for (sum, other) in sums.iter_mut().zip(others) {
                *sum = S::add_ints(*sum, other);
            }
        }
    }
}

/// Adds one pair of each row times one of the columns.
///
/// # Safety
/// As [`add`].
#[inline(always)]
unsafe fn dot_pair<S: Simd, const R: usize, const C: usize>(
    sums: &mut [[S::Ints; C]; R],
    x: Rows,
    columns: [*const i8; C],
    pair: usize,
) {
    for (row, sums) in sums.iter_mut().enumerate() {
        for (sum, column) in sums.iter_mut().zip(columns) {
            // SAFETY: what the caller promised.
            unsafe {
                let w = column.wrapping_add(2 * PANEL * pair);
                *sum = S::dot_ints(*sum, x.unit(row, pair), w);
            }
        }
    }
}

/// `count` numbers, at most a vector; zeros after them.
///
/// # Safety
/// The processor has the level of `S`; the numbers are there.
#[inline(always)]
pub(crate) unsafe fn load_some<S: Simd, E: Element>(from: *const E, count: usize) -> S::Floats {
    // SAFETY: what the caller promised; the array has room for a vector.
    unsafe {
        if count >= S::LANES {
            return E::load::<S>(from);
        }
        let mut numbers = [E::default(); MOST_LANES];
        std::ptr::copy_nonoverlapping(from, numbers.as_mut_ptr(), count);
        E::load::<S>(numbers.as_ptr())
    }
}

/// The first `count` numbers of a vector.
///
/// # Safety
/// The processor has the level of `S`; there is room for them.
#[inline(always)]
pub(crate) unsafe fn store_some<S: Simd, E: Element>(to: *mut E, x: S::Floats, count: usize) {
    // SAFETY: what the caller promised; the array has room for a vector.
    unsafe {
        if count >= S::LANES {
            return E::store::<S>(to, x);
        }
        let mut numbers = [E::default(); MOST_LANES];
        E::store::<S>(numbers.as_mut_ptr(), x);
        std::ptr::copy_nonoverlapping(numbers.as_ptr(), to, count);
    }
}
