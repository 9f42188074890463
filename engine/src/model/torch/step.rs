//! From a batch to what the layers read: token ids, positions, places in the pool, groups and masks. Owns: the
//! arithmetic of pages; numbers first, tensors last.

use lps_engine_core::batch::{Batch, BatchSequence};
use tch::{Device, Kind, TchError, Tensor};

use crate::kernels::pages::{Decodes, Prefill, Reads};
use crate::model::torch::decoder::Inputs;

/// What tensors of a step are made for.
#[derive(Debug, Clone, Copy)]
pub struct StepShape {
    /// Tokens of a page.
    pub block_tokens: usize,
    /// Type of masks.
    pub kind: Kind,
    /// Where tensors go.
    pub device: Device,
}

/// A sequence and the row of its first new token.
struct Placed<'a, 'b> {
    sequence: &'b BatchSequence<'a>,
    row: i64,
}

impl Placed<'_, '_> {
    /// Tokens once the step is done.
    fn len(&self) -> usize {
        self.sequence.computed + self.sequence.len
    }
}

impl StepShape {
    /// Turns a batch into tensors.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn inputs(&self, batch: &Batch<'_>) -> Result<Inputs, TchError> {
        let mut placed = Vec::with_capacity(batch.sequences.len());
        let mut row = 0;
        let (mut tokens, mut positions, mut slots) = (Vec::new(), Vec::new(), Vec::new());
        let mut sampled = Vec::new();
        for sequence in &batch.sequences {
            placed.push(Placed { sequence, row });
            let all = sequence.computed..sequence.computed + sequence.len;
            tokens.extend(sequence.new_tokens().iter().map(|token| i64::from(*token)));
            positions.extend(all.clone().map(|position| position as i64));
            slots.extend(all.map(|position| self.slot(sequence, position)));
            row += sequence.len as i64;
            if sequence.sample.is_some() {
                sampled.push(row - 1);
            }
        }
        let all_sampled = sampled.len() as i64 == row;
        Ok(Inputs {
            tokens: self.tensor(&tokens)?,
            positions: self.tensor(&positions)?,
            slots: self.tensor(&slots)?,
            sampled: if all_sampled {
                None
            } else {
                Some(self.tensor(&sampled)?)
            },
            reads: self.reads(placed, row)?,
        })
    }

    fn reads(&self, placed: Vec<Placed<'_, '_>>, tokens: i64) -> Result<Reads, TchError> {
        let (decoding, prefilling): (Vec<_>, Vec<_>) = placed
            .into_iter()
            .partition(|placed| placed.sequence.len == 1);
        let groups = groups(decoding);
        let decodes = groups
            .iter()
            .map(|group| self.decodes(group, tokens))
            .collect::<Result<_, _>>()?;
        let prefills = prefilling
            .iter()
            .map(|placed| self.prefill(placed))
            .collect::<Result<_, _>>()?;
        Ok(Reads {
            decodes,
            prefills,
            tokens,
        })
    }

    fn decodes(&self, group: &[Placed<'_, '_>], tokens: i64) -> Result<Decodes, TchError> {
        let len = group.iter().map(Placed::len).max().unwrap_or(0);
        let mut slots = Vec::with_capacity(group.len() * len);
        let mut mask = Vec::with_capacity(group.len() * len);
        for placed in group {
            let own = placed.len();
            slots.extend((0..own).map(|position| self.slot(placed.sequence, position)));
            slots.extend(std::iter::repeat_n(
                self.slot(placed.sequence, 0),
                len - own,
            ));
            mask.extend((0..len).map(|position| {
                if position < own {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            }));
        }
        let count = group.len() as i64;
        let in_order = group.iter().zip(0..).all(|(placed, row)| placed.row == row);
        let rows: Vec<i64> = group.iter().map(|placed| placed.row).collect();
        let equal = group.iter().all(|placed| placed.len() == len);
        Ok(Decodes {
            rows: if in_order && count == tokens {
                None
            } else {
                Some(self.tensor(&rows)?)
            },
            count,
            len: len as i64,
            slots: self.tensor(&slots)?,
            mask: if equal {
                None
            } else {
                Some(self.mask(&mask, &[count, 1, 1, len as i64])?)
            },
        })
    }

    fn prefill(&self, placed: &Placed<'_, '_>) -> Result<Prefill, TchError> {
        let sequence = placed.sequence;
        let len = placed.len();
        let slots: Vec<i64> = (0..len)
            .map(|position| self.slot(sequence, position))
            .collect();
        let mask = if sequence.computed == 0 {
            None
        } else {
            let values: Vec<f32> = (sequence.computed..len)
                .flat_map(|row| {
                    (0..len).map(move |column| {
                        if column <= row {
                            0.0
                        } else {
                            f32::NEG_INFINITY
                        }
                    })
                })
                .collect();
            Some(self.mask(&values, &[sequence.len as i64, len as i64])?)
        };
        Ok(Prefill {
            row: placed.row,
            len: sequence.len as i64,
            slots: self.tensor(&slots)?,
            mask,
        })
    }

    fn slot(&self, sequence: &BatchSequence<'_>, position: usize) -> i64 {
        let block = sequence.blocks[position / self.block_tokens] as usize;
        (block * self.block_tokens + position % self.block_tokens) as i64
    }

    fn tensor(&self, values: &[i64]) -> Result<Tensor, TchError> {
        Tensor::f_from_slice(values)?.f_to_device(self.device)
    }

    fn mask(&self, values: &[f32], shape: &[i64]) -> Result<Tensor, TchError> {
        Tensor::f_from_slice(values)?
            .f_view(shape)?
            .f_to_kind(self.kind)?
            .f_to_device(self.device)
    }
}

/// Sequences are padded to the longest of their group, so a group holds none of less than half its length: at most half
/// of what is read is padding. Sequences of one group keep the order of the step.
fn groups<'a, 'b>(mut placed: Vec<Placed<'a, 'b>>) -> Vec<Vec<Placed<'a, 'b>>> {
    placed.sort_by_key(|placed| (std::cmp::Reverse(placed.len()), placed.row));
    let mut groups: Vec<Vec<Placed<'a, 'b>>> = Vec::new();
    for one in placed {
        match groups.last_mut() {
            Some(group) if 2 * one.len() >= group[0].len() => group.push(one),
            _ => groups.push(vec![one]),
        }
    }
    for group in &mut groups {
        group.sort_by_key(|placed| placed.row);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use lps_engine_core::batch::SequenceId;

    const SHAPE: StepShape = StepShape {
        block_tokens: 4,
        kind: Kind::Float,
        device: Device::Cpu,
    };

    fn sequence<'a>(tokens: &'a [u32], computed: usize, blocks: &'a [u32]) -> BatchSequence<'a> {
        let (id, prompt_len, len) = (
            SequenceId(blocks[0].into()),
            tokens.len(),
            tokens.len() - computed,
        );
        BatchSequence {
            id,
            tokens,
            prompt_len,
            computed,
            len,
            blocks,
            sample: None,
        }
    }

    fn numbers(tensor: &Tensor) -> Vec<i64> {
        Vec::try_from(tensor).unwrap()
    }

    #[test]
    fn places_follow_the_pages() {
        let tokens: Vec<u32> = (10..20).collect();
        let sequences = vec![
            sequence(&tokens[..6], 3, &[7, 2]),
            sequence(&tokens[..1], 0, &[5]),
        ];
        let inputs = SHAPE.inputs(&Batch { step: 1, sequences }).unwrap();
        assert_eq!(numbers(&inputs.tokens), [13, 14, 15, 10]);
        assert_eq!(numbers(&inputs.positions), [3, 4, 5, 0]);
        assert_eq!(numbers(&inputs.slots), [31, 8, 9, 20]);
        assert_eq!(numbers(&inputs.sampled.unwrap()), [] as [i64; 0]);
        let prefill = &inputs.reads.prefills[0];
        assert_eq!(numbers(&prefill.slots), [28, 29, 30, 31, 8, 9]);
        let mask = prefill.mask.as_ref().unwrap();
        let seen: Vec<i64> =
            Vec::try_from(&mask.eq(0.0).sum_dim_intlist(-1, false, Kind::Int64)).unwrap();
        assert_eq!(seen, [4, 5, 6]);
        assert_eq!(numbers(inputs.reads.decodes[0].rows.as_ref().unwrap()), [3]);
    }

    #[test]
    fn decodes_are_grouped_by_length_and_padded_with_their_own() {
        let tokens: Vec<u32> = (0..9).collect();
        let sequences = vec![
            sequence(&tokens[..3], 2, &[1]),
            sequence(&tokens[..8], 7, &[2, 3]),
            sequence(&tokens[..5], 4, &[4, 5]),
        ];
        let inputs = SHAPE.inputs(&Batch { step: 1, sequences }).unwrap();
        let [long, short] = &inputs.reads.decodes[..] else {
            panic!("two groups")
        };
        assert_eq!(numbers(long.rows.as_ref().unwrap()), [1, 2]);
        assert_eq!((long.count, long.len), (2, 8));
        assert_eq!(numbers(&long.slots)[8..], [16, 17, 18, 19, 20, 16, 16, 16]);
        assert!(long.mask.is_some() && short.mask.is_none());
        assert_eq!(numbers(&short.slots), [4, 5, 6]);
    }
}
