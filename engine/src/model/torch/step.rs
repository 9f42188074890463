//! From a batch to what the layers read: token ids, positions, places in the pool, groups and masks. Owns: the
//! arithmetic of pages; numbers first, tensors last.

use std::ops::Range;

use lps_engine_core::batch::{Batch, BatchSequence};
use tch::{Device, Kind, TchError, Tensor};

use crate::kernels::pages::{Decodes, Prefill, Reads};

/// One step as the layers see it.
#[derive(Debug)]
pub struct Inputs {
    /// `[tokens]`.
    pub tokens: Tensor,
    /// `[tokens]`.
    pub positions: Tensor,
    /// `[tokens]`: where their keys and values go.
    pub slots: Tensor,
    /// Which rows get logits; `None` when all, in order.
    pub sampled: Option<Tensor>,
    /// Whose keys and values are read, for each of [`StepShape::windows`].
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

/// A sequence and the row of its first new token.
#[derive(Clone, Copy)]
struct Placed<'a, 'b> {
    sequence: &'b BatchSequence<'a>,
    row: i64,
}

impl Placed<'_, '_> {
    /// Tokens once the step is done.
    fn len(&self) -> usize {
        self.sequence.computed + self.sequence.len
    }

    /// Positions that its new tokens see: those before the first one's window are read by none.
    fn seen(&self, window: Option<usize>) -> Range<usize> {
        let start = window.map_or(0, |window| {
            (self.sequence.computed + 1).saturating_sub(window)
        });
        start..self.len()
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
            reads: self
                .windows
                .iter()
                .map(|window| self.reads(&placed, row, *window))
                .collect::<Result<_, _>>()?,
        })
    }

    fn reads(
        &self,
        placed: &[Placed<'_, '_>],
        tokens: i64,
        window: Option<usize>,
    ) -> Result<Reads, TchError> {
        let (decoding, prefilling): (Vec<Placed<'_, '_>>, Vec<_>) =
            placed.iter().partition(|placed| placed.sequence.len == 1);
        let seen = decoding.iter().map(|placed| Seen {
            sequence: placed.sequence,
            row: placed.row,
            positions: placed.seen(window),
        });
        let decodes = groups(seen.collect())
            .iter()
            .map(|group| self.decodes(group, tokens))
            .collect::<Result<_, _>>()?;
        let prefills = prefilling
            .iter()
            .map(|placed| self.prefill(placed, window))
            .collect::<Result<_, _>>()?;
        Ok(Reads {
            decodes,
            prefills,
            tokens,
        })
    }

    fn decodes(&self, group: &[Seen<'_, '_>], tokens: i64) -> Result<Decodes, TchError> {
        let len = group.iter().map(Seen::len).max().unwrap_or(0);
        let mut slots = Vec::with_capacity(group.len() * len);
        let mut mask = Vec::with_capacity(group.len() * len);
        for seen in group {
            let own = seen.len();
            let slot = |position| self.slot(seen.sequence, position);
            slots.extend(seen.positions.clone().map(slot));
            slots.extend(std::iter::repeat_n(slot(seen.positions.start), len - own));
            mask.extend((0..len).map(|position| {
                if position < own {
                    0.0
                } else {
                    f32::NEG_INFINITY
                }
            }));
        }
        let count = group.len() as i64;
        let in_order = group.iter().zip(0..).all(|(seen, row)| seen.row == row);
        let rows: Vec<i64> = group.iter().map(|seen| seen.row).collect();
        let equal = group.iter().all(|seen| seen.len() == len);
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

    fn prefill(&self, placed: &Placed<'_, '_>, window: Option<usize>) -> Result<Prefill, TchError> {
        let sequence = placed.sequence;
        let len = placed.len();
        let seen = placed.seen(window);
        let slots: Vec<i64> = seen
            .clone()
            .map(|position| self.slot(sequence, position))
            .collect();
        let within = |row: usize, column: usize| {
            column <= row && window.is_none_or(|window| column + window > row)
        };
        let mask = if sequence.computed == 0 && window.is_none_or(|window| len <= window) {
            None
        } else {
            let value = |visible| if visible { 0.0 } else { f32::NEG_INFINITY };
            let values: Vec<f32> = (sequence.computed..len)
                .flat_map(|row| seen.clone().map(move |column| value(within(row, column))))
                .collect();
            Some(self.mask(&values, &[sequence.len as i64, seen.len() as i64])?)
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

/// A sequence with one new token, its row, and what that sees.
struct Seen<'a, 'b> {
    sequence: &'b BatchSequence<'a>,
    row: i64,
    positions: Range<usize>,
}

impl Seen<'_, '_> {
    fn len(&self) -> usize {
        self.positions.len()
    }
}

/// Sequences are padded to the longest of their group, so a group holds none of less than half its length: at most half
/// of what is read is padding. Sequences of one group keep the order of the step.
fn groups<'a, 'b>(mut seen: Vec<Seen<'a, 'b>>) -> Vec<Vec<Seen<'a, 'b>>> {
    seen.sort_by_key(|seen| (std::cmp::Reverse(seen.len()), seen.row));
    let mut groups: Vec<Vec<Seen<'a, 'b>>> = Vec::new();
    for one in seen {
        match groups.last_mut() {
            Some(group) if 2 * one.len() >= group[0].len() => group.push(one),
            _ => groups.push(vec![one]),
        }
    }
    for group in &mut groups {
        group.sort_by_key(|seen| seen.row);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use lps_engine_core::batch::SequenceId;

    fn inputs(sequences: Vec<BatchSequence<'_>>, windows: &[Option<usize>]) -> Inputs {
        let shape = StepShape {
            block_tokens: 4,
            kind: Kind::Float,
            device: Device::Cpu,
            windows: windows.to_vec(),
        };
        shape.inputs(&Batch { step: 1, sequences }).unwrap()
    }

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

    /// How many tokens each new one sees.
    fn visible(prefill: &Prefill) -> Vec<i64> {
        let mask = prefill.mask.as_ref().unwrap();
        numbers(&mask.eq(0.0).sum_dim_intlist(-1, false, Kind::Int64))
    }

    #[test]
    fn places_follow_the_pages() {
        let tokens: Vec<u32> = (10..20).collect();
        let sequences = vec![
            sequence(&tokens[..6], 3, &[7, 2]),
            sequence(&tokens[..1], 0, &[5]),
        ];
        let inputs = inputs(sequences, &[None]);
        assert_eq!(numbers(&inputs.tokens), [13, 14, 15, 10]);
        assert_eq!(numbers(&inputs.positions), [3, 4, 5, 0]);
        assert_eq!(numbers(&inputs.slots), [31, 8, 9, 20]);
        assert_eq!(numbers(&inputs.sampled.unwrap()), [] as [i64; 0]);
        let prefill = &inputs.reads[0].prefills[0];
        assert_eq!(numbers(&prefill.slots), [28, 29, 30, 31, 8, 9]);
        assert_eq!(visible(prefill), [4, 5, 6]);
        assert_eq!(
            numbers(inputs.reads[0].decodes[0].rows.as_ref().unwrap()),
            [3]
        );
    }

    #[test]
    fn decodes_are_grouped_by_length_and_padded_with_their_own() {
        let tokens: Vec<u32> = (0..9).collect();
        let sequences = vec![
            sequence(&tokens[..3], 2, &[1]),
            sequence(&tokens[..8], 7, &[2, 3]),
            sequence(&tokens[..5], 4, &[4, 5]),
        ];
        let inputs = inputs(sequences, &[None]);
        let [long, short] = &inputs.reads[0].decodes[..] else {
            panic!("two groups")
        };
        assert_eq!(numbers(long.rows.as_ref().unwrap()), [1, 2]);
        assert_eq!((long.count, long.len), (2, 8));
        assert_eq!(numbers(&long.slots)[8..], [16, 17, 18, 19, 20, 16, 16, 16]);
        assert!(long.mask.is_some() && short.mask.is_none());
        assert_eq!(numbers(&short.slots), [4, 5, 6]);
    }

    #[test]
    fn a_window_is_read_and_nothing_before_it() {
        let tokens: Vec<u32> = (0..9).collect();
        let sequences = vec![
            sequence(&tokens[..9], 8, &[1, 2, 3]),
            sequence(&tokens[..2], 1, &[4]),
            sequence(&tokens[..8], 5, &[5, 6]),
            sequence(&tokens[..3], 0, &[7]),
        ];
        let inputs = inputs(sequences, &[None, Some(3)]);
        let [all, windowed] = &inputs.reads[..] else {
            panic!("reads for each window")
        };
        // Position 8 sees 6, 7 and 8; the sequence that is shorter than the window is in the same group.
        let [group] = &windowed.decodes[..] else {
            panic!("one group")
        };
        assert_eq!((group.count, group.len), (2, 3));
        assert_eq!(numbers(&group.slots), [10, 11, 12, 16, 17, 16]);
        assert_eq!(all.decodes.len(), 2);
        // New tokens 5, 6 and 7 see 3 to 7.
        let [later, first] = &windowed.prefills[..] else {
            panic!("two prefills")
        };
        assert_eq!(numbers(&later.slots), [23, 24, 25, 26, 27]);
        assert_eq!(visible(later), [3, 3, 3]);
        assert_eq!(visible(&all.prefills[0]), [6, 7, 8]);
        assert!(first.mask.is_none(), "it is no longer than the window");
    }

    #[test]
    fn a_first_chunk_longer_than_the_window_has_a_mask() {
        let tokens: Vec<u32> = (0..5).collect();
        let inputs = inputs(vec![sequence(&tokens, 0, &[0, 1])], &[Some(2)]);
        assert_eq!(visible(&inputs.reads[0].prefills[0]), [1, 2, 2, 2, 2]);
    }
}
