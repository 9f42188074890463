//! From a batch to what the layers read: token ids, positions, places in the pool, and who sees what. Owns: the
//! arithmetic of rows.

use lps_engine_core::batch::{Batch, BatchSequence};
use tch::{Device, Kind, TchError, Tensor};

use crate::kernels::pages::{Reads, Slots};

/// One step as the layers see it.
#[derive(Debug)]
pub struct Inputs {
    /// `[tokens]`.
    pub tokens: Tensor,
    /// `[tokens]`.
    pub positions: Tensor,
    /// Where their keys and values go.
    pub slots: Slots,
    /// Which rows get logits; `None` when all, in order.
    pub sampled: Option<Tensor>,
    /// Whose keys and values are read, for each of [`StepShape::windows`].
    pub reads: Vec<Reads>,
}

/// The same in numbers.
#[derive(Debug)]
pub struct Rows {
    /// A token each.
    pub tokens: Vec<i64>,
    /// Where it stands in its sequence.
    pub positions: Vec<i64>,
    /// Where its keys and values go.
    pub slots: Vec<usize>,
    /// Which rows get logits.
    sampled: Vec<i64>,
    /// As in [`Inputs`].
    pub reads: Vec<Reads>,
}

/// What tensors of a step are made for.
#[derive(Debug, Clone)]
pub struct StepShape {
    /// Tokens of a page.
    pub block_tokens: usize,
    /// Type of masks.
    pub kind: Kind,
    /// Where tensors go.
    pub device: Device,
    /// How many tokens a token sees, itself included, in layers of each kind; `None`: all.
    pub windows: Vec<Option<usize>>,
}

impl StepShape {
    /// Turns a batch into tensors.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn inputs(&self, batch: &Batch<'_>) -> Result<Inputs, TchError> {
        let rows = self.rows(batch);
        let all_sampled = rows.sampled.len() == rows.tokens.len();
        Ok(Inputs {
            tokens: self.tensor(&rows.tokens)?,
            positions: self.tensor(&rows.positions)?,
            slots: Slots::new(rows.slots, self.device),
            sampled: if all_sampled {
                None
            } else {
                Some(self.tensor(&rows.sampled)?)
            },
            reads: rows.reads,
        })
    }

    /// Turns a batch into numbers.
    pub fn rows(&self, batch: &Batch<'_>) -> Rows {
        let options = (self.kind, self.device);
        let reads = |window: &Option<usize>| Reads::new(*window, self.block_tokens, options);
        let mut rows = Rows {
            tokens: Vec::new(),
            positions: Vec::new(),
            slots: Vec::new(),
            sampled: Vec::new(),
            reads: self.windows.iter().map(reads).collect(),
        };
        for sequence in &batch.sequences {
            let all = sequence.computed..sequence.computed + sequence.len;
            let tokens = sequence.new_tokens().iter();
            rows.tokens.extend(tokens.map(|token| i64::from(*token)));
            rows.positions
                .extend(all.clone().map(|position| position as i64));
            rows.slots
                .extend(all.map(|position| self.slot(sequence, position)));
            for reads in &mut rows.reads {
                reads.push(sequence.len, sequence.computed, sequence.blocks);
            }
            if sequence.sample.is_some() {
                rows.sampled.push(rows.tokens.len() as i64 - 1);
            }
        }
        rows
    }

    fn slot(&self, sequence: &BatchSequence<'_>, position: usize) -> usize {
        let block = sequence.blocks[position / self.block_tokens] as usize;
        block * self.block_tokens + position % self.block_tokens
    }

    fn tensor(&self, values: &[i64]) -> Result<Tensor, TchError> {
        Tensor::f_from_slice(values)?.f_to_device(self.device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lps_engine_core::batch::SequenceId;

    fn sequence<'a>(tokens: &'a [u32], computed: usize, blocks: &'a [u32]) -> BatchSequence<'a> {
        BatchSequence {
            id: SequenceId(blocks[0].into()),
            tokens,
            prompt_len: tokens.len(),
            computed,
            len: tokens.len() - computed,
            blocks,
            sample: None,
        }
    }

    #[test]
    fn places_follow_the_pages() {
        let tokens: Vec<u32> = (10..20).collect();
        let sequences = vec![
            sequence(&tokens[..6], 3, &[7, 2]),
            sequence(&tokens[..1], 0, &[5]),
        ];
        let shape = StepShape {
            block_tokens: 4,
            kind: Kind::Float,
            device: Device::Cpu,
            windows: vec![None, Some(3)],
        };
        let inputs = shape.inputs(&Batch { step: 1, sequences }).unwrap();
        let numbers = |tensor: &Tensor| -> Vec<i64> { Vec::try_from(tensor).unwrap() };
        assert_eq!(numbers(&inputs.tokens), [13, 14, 15, 10]);
        assert_eq!(numbers(&inputs.positions), [3, 4, 5, 0]);
        assert_eq!(inputs.slots.places, [31, 8, 9, 20]);
        assert_eq!(numbers(&inputs.sampled.unwrap()), [] as [i64; 0]);
        let [all, windowed] = &inputs.reads[..] else {
            panic!("reads for each window")
        };
        assert_eq!((all.window, windowed.window), (None, Some(3)));
        assert_eq!(all.table, [7, 2, 5]);
        let read = &all.sequences[1];
        assert_eq!((read.row, read.len, read.computed), (3, 1, 0));
        assert_eq!(read.pages, 2..3);
    }
}
