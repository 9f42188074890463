//! Weights in the order in which a product reads them. Owns: that order, and rounding to 8 bits.

use std::io;

use crate::element::{Element, Numbers};
use crate::memory::Pages;

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
    Float(Pages<u32>),
    /// `[panel][pair of inputs][column][2]`.
    Half(Pages<u32>),
    /// The same of 8-bit integers, and what each column is to be multiplied with.
    Byte {
        numbers: Pages<i8>,
        scales: Vec<f32>,
    },
}

impl Weight {
    /// Packs `rows`, `outputs` of them with `inputs` numbers each.
    ///
    /// # Errors
    /// When there is not that much memory.
    ///
    /// # Panics
    /// When the numbers are not as many.
    pub fn pack(rows: Numbers<'_>, outputs: usize, inputs: usize) -> io::Result<Self> {
        let packed = match rows {
            Numbers::Float(rows) => Packed::Float(units(rows, outputs, inputs)?),
            Numbers::Half(rows) => Packed::Half(units(rows, outputs, inputs)?),
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
    pub fn pack_bytes(rows: Numbers<'_>, outputs: usize, inputs: usize) -> io::Result<Self> {
        let packed = match rows {
            Numbers::Float(rows) => bytes(rows, outputs, inputs)?,
            Numbers::Half(rows) => bytes(rows, outputs, inputs)?,
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

fn units<E: Element>(rows: &[E], outputs: usize, inputs: usize) -> io::Result<Pages<u32>> {
    assert_eq!(
        rows.len(),
        outputs * inputs,
        "a matrix of {outputs} by {inputs}"
    );
    let units = inputs.div_ceil(E::PER_UNIT);
    let mut packed = Pages::zeros(outputs.div_ceil(PANEL) * units * PANEL)?;
    for (output, row) in rows.chunks_exact(inputs.max(1)).enumerate() {
        // The tail of the last panel stays zero.
        let panel = &mut packed[output / PANEL * PANEL * units..];
        for (unit, numbers) in row.chunks(E::PER_UNIT).enumerate() {
            panel[unit * PANEL + output % PANEL] = E::unit(numbers);
        }
    }
    Ok(packed)
}

fn bytes<E: Element>(rows: &[E], outputs: usize, inputs: usize) -> io::Result<Packed> {
    assert_eq!(
        rows.len(),
        outputs * inputs,
        "a matrix of {outputs} by {inputs}"
    );
    let row_bytes = inputs.next_multiple_of(2);
    let mut numbers = Pages::zeros(outputs.div_ceil(PANEL) * row_bytes * PANEL)?;
    let mut scales = vec![0.0; outputs.next_multiple_of(PANEL)];
    for (output, row) in rows.chunks_exact(inputs.max(1)).enumerate() {
        let most = row
            .iter()
            .map(|number| number.to_f32().abs())
            .fold(0.0, f32::max);
        let scale = most / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        scales[output] = scale;
        let panel = &mut numbers[output / PANEL * PANEL * row_bytes..];
        for (input, number) in row.iter().enumerate() {
            let place = (input / 2 * PANEL + output % PANEL) * 2 + input % 2;
            panel[place] = (number.to_f32() * inverse).round() as i8;
        }
    }
    Ok(Packed::Byte { numbers, scales })
}
