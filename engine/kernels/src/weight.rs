//! Weights in the order in which a product reads them. Owns: that order, and rounding to 8 bits.

use std::io;
use std::iter::Zip;
use std::num::NonZeroUsize;
use std::slice::{ChunksExactMut, ChunksMut};

use half::bf16;

use crate::element::{Element, Numbers};
use crate::memory::Mapped;
use crate::rounding::{inverse_of, largest};

/// Columns that stand together: a whole number of vectors on every level.
pub(crate) const PANEL: usize = 32;

/// A matrix `[outputs, inputs]`, packed.
#[derive(Debug)]
pub struct Weight {
    pub(crate) outputs: usize,
    pub(crate) inputs: usize,
    pub(crate) packed: Packed,
}

#[derive(Debug)]
pub(crate) enum Packed {
    /// `[panel][input][column]`.
    Float(Mapped<u32>),
    /// `[panel][pair of inputs][column][2]`.
    Half(Mapped<u32>),
    /// The same of 8-bit integers, and what each column is to be multiplied with.
    Byte {
        numbers: Mapped<i8>,
        scales: Vec<f32>,
    },
}

impl Weight {
    /// Packs `outputs` rows of `inputs` numbers each, on so many threads. They may come in parts that follow each other,
    /// all of one type: what is multiplied as one need not lie together.
    ///
    /// # Errors
    /// When there is not that much memory.
    ///
    /// # Panics
    /// When the numbers are not as many, or not of one type.
    pub fn pack(
        parts: &[Numbers<'_>],
        [outputs, inputs]: [usize; 2],
        threads: NonZeroUsize,
    ) -> io::Result<Self> {
        let packed = match parts.first() {
            Some(Numbers::Half(_)) => {
                let rows = rows_of::<bf16>(parts, [outputs, inputs]);
                Packed::Half(units(&rows, inputs, threads)?)
            }
            Some(Numbers::Float(_)) | None => {
                let rows = rows_of::<f32>(parts, [outputs, inputs]);
                Packed::Float(units(&rows, inputs, threads)?)
            }
        };
        Ok(Self {
            outputs,
            inputs,
            packed,
        })
    }

    /// Rounds each row to 8 bits of its own scale, and packs.
    ///
    /// # Errors
    /// When there is not that much memory.
    ///
    /// # Panics
    /// As [`Weight::pack`].
    pub fn pack_bytes(
        parts: &[Numbers<'_>],
        [outputs, inputs]: [usize; 2],
        threads: NonZeroUsize,
    ) -> io::Result<Self> {
        let packed = match parts.first() {
            Some(Numbers::Half(_)) => {
                let rows = rows_of::<bf16>(parts, [outputs, inputs]);
                bytes(&rows, inputs, threads)?
            }
            Some(Numbers::Float(_)) | None => {
                let rows = rows_of::<f32>(parts, [outputs, inputs]);
                bytes(&rows, inputs, threads)?
            }
        };
        Ok(Self {
            outputs,
            inputs,
            packed,
        })
    }

    /// Units of a row, the last of which may be padded with zero; pairs where weights are of 8 bits.
    pub(crate) fn units(&self) -> usize {
        match self.packed {
            Packed::Float(_) => self.inputs,
            Packed::Half(_) | Packed::Byte { .. } => self.inputs.div_ceil(2),
        }
    }

    /// Outputs of the product.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Inputs of the product.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Bytes that are read for a product.
    pub fn bytes(&self) -> usize {
        match &self.packed {
            Packed::Float(units) | Packed::Half(units) => units.len() * 4,
            Packed::Byte { numbers, scales } => numbers.len() + scales.len() * 4,
        }
    }
}

/// Rows of panel after panel, each with its place, shared by threads: a panel and what belongs to it is written by one.
fn by_panel<T: Send, U: Send>(
    panels: Zip<ChunksExactMut<'_, T>, ChunksMut<'_, U>>,
    threads: NonZeroUsize,
    pack: impl Fn(usize, &mut [T], &mut [U]) + Sync,
) {
    let mut shares: Vec<Vec<_>> = (0..threads.get()).map(|_| Vec::new()).collect();
    for (panel, parts) in panels.enumerate() {
        shares[panel % threads].push((panel, parts));
    }
    let pack = &pack;
    std::thread::scope(|scope| {
        for share in shares {
            scope.spawn(move || {
                for (panel, (numbers, rest)) in share {
                    pack(panel, numbers, rest);
                }
            });
        }
    });
}

/// Each row of the parts.
fn rows_of<'a, E: Element>(parts: &[Numbers<'a>], [outputs, inputs]: [usize; 2]) -> Vec<&'a [E]> {
    let parts: Vec<&[E]> = parts
        .iter()
        .map(|part| E::of(*part).expect("parts of a matrix are of one type"))
        .collect();
    assert_eq!(
        Some(parts.iter().map(|part| part.len()).sum()),
        outputs.checked_mul(inputs),
        "a matrix of {outputs} by {inputs}"
    );
    let rows = parts.iter().flat_map(|part| {
        assert!(
            part.len().is_multiple_of(inputs.max(1)),
            "a part ends with a row"
        );
        part.chunks_exact(inputs.max(1))
    });
    rows.collect()
}

fn units<E: Element>(
    rows: &[&[E]],
    inputs: usize,
    threads: NonZeroUsize,
) -> io::Result<Mapped<u32>> {
    let units = inputs.div_ceil(E::PER_UNIT);
    let panels = rows.len().div_ceil(PANEL);
    let mut packed = Mapped::large_zeros(panels * units * PANEL)?;
    let mut nothing = vec![(); panels];
    let parts = packed
        .chunks_exact_mut((units * PANEL).max(1))
        .zip(nothing.chunks_mut(1));
    by_panel(parts, threads, |panel, packed, _| {
        let rows = panel_of(rows, panel);
        // Written in its order, read in as many as there are columns; the tail of the last panel stays zero.
        for (unit, packed) in packed.chunks_exact_mut(PANEL).enumerate() {
            let start = unit * E::PER_UNIT;
            let end = inputs.min(start + E::PER_UNIT);
            for (packed, row) in packed.iter_mut().zip(rows) {
                *packed = E::unit(&row[start..end]);
            }
        }
    });
    Ok(packed)
}

/// The rows of a panel.
fn panel_of<'a, E>(rows: &'a [&'a [E]], panel: usize) -> &'a [&'a [E]] {
    let start = panel * PANEL;
    &rows[start..rows.len().min(start + PANEL)]
}

fn bytes<E: Element>(rows: &[&[E]], inputs: usize, threads: NonZeroUsize) -> io::Result<Packed> {
    let columns = rows.len().next_multiple_of(PANEL);
    let pairs = inputs.div_ceil(2);
    let mut numbers = Mapped::large_zeros(columns * 2 * pairs)?;
    let mut scales = vec![0.0; columns];
    let parts = numbers
        .chunks_exact_mut((2 * pairs * PANEL).max(1))
        .zip(scales.chunks_mut(PANEL));
    by_panel(parts, threads, |panel, packed, scales| {
        for (column, row) in panel_of(rows, panel).iter().enumerate() {
            let most = largest(row);
            let scale = most / 127.0;
            let inverse = inverse_of(scale);
            scales[column] = scale;
            for (input, number) in row.iter().enumerate() {
                let place = (input / 2 * PANEL + column) * 2 + input % 2;
                packed[place] = (number.to_f32() * inverse).round() as i8;
            }
        }
    });
    Ok(Packed::Byte { numbers, scales })
}
