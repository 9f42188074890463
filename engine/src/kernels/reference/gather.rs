//! What libtorch's operators read by: tensors of slots, groups of sequences, masks. Owns: padding and grouping; made once
//! a step, for all layers with the same window.

use tch::{Device, Kind, TchError, Tensor};

use crate::kernels::pages::{Read, Reads, once};

/// Sequences with one new token each, padded to the longest.
#[derive(Debug)]
pub struct Decodes {
    /// Their tokens' rows in the step; `None` when they are all its rows, in order.
    pub(super) rows: Option<Tensor>,
    /// How many.
    pub(super) count: i64,
    /// Tokens that the longest sees, the new one included.
    pub(super) len: i64,
    /// `[count * len]`: the slots that each sees; beyond its end its first slot again, so that only numbers of its own
    /// are read.
    pub(super) slots: Tensor,
    /// `[count, 1, 1, len]`, 0 where there is a token and minus infinity where not; `None` when all are equally long.
    pub(super) mask: Option<Tensor>,
}

/// One sequence's new tokens.
#[derive(Debug)]
pub struct Prefill {
    /// Row of the first; the others follow.
    pub(super) row: i64,
    /// How many are new.
    pub(super) len: i64,
    /// `[seen]`: slots of all that any of them sees, themselves included.
    pub(super) slots: Tensor,
    /// `[len, seen]`, 0 where a token sees another or itself and minus infinity elsewhere; `None` when nothing was
    /// computed before and no window cuts, where a plain causal mask does.
    pub(super) mask: Option<Tensor>,
}

/// Sequences with one new token, in groups of similar length.
///
/// # Errors
/// What libtorch says.
pub(in crate::kernels) fn decodes(reads: &Reads) -> Result<&[Decodes], TchError> {
    let made = once(&reads.decodes, || {
        let decoding = reads.sequences.iter().filter(|read| read.len == 1);
        let groups = groups(reads, decoding.collect());
        groups
            .iter()
            .map(|group| Decodes::new(reads, group))
            .collect()
    })?;
    Ok(made)
}

/// Sequences with several new tokens.
///
/// # Errors
/// What libtorch says.
pub(in crate::kernels) fn prefills(reads: &Reads) -> Result<&[Prefill], TchError> {
    let made = once(&reads.prefills, || {
        let prefilling = reads.sequences.iter().filter(|read| read.len > 1);
        prefilling.map(|read| Prefill::new(reads, read)).collect()
    })?;
    Ok(made)
}

impl Decodes {
    fn new(reads: &Reads, group: &[&Read]) -> Result<Self, TchError> {
        let seen = |read: &Read| reads.seen(read).len();
        let len = group.iter().map(|read| seen(read)).max().unwrap_or(0);
        let mut slots = Vec::with_capacity(group.len() * len);
        let mut mask = Vec::with_capacity(group.len() * len);
        for read in group {
            let places = reads.seen(read);
            let own = places.len();
            let first = reads.slot(read, places.start);
            slots.extend(places.map(|place| reads.slot(read, place)));
            slots.extend(std::iter::repeat_n(first, len - own));
            let value = |place| if place < own { 0.0 } else { f32::NEG_INFINITY };
            mask.extend((0..len).map(value));
        }
        let count = group.len() as i64;
        let in_order = group.iter().enumerate().all(|(row, read)| read.row == row);
        let rows: Vec<i64> = group.iter().map(|read| read.row as i64).collect();
        let equal = group.iter().all(|read| seen(read) == len);
        Ok(Self {
            rows: if in_order && group.len() == reads.tokens() {
                None
            } else {
                Some(indices(&rows, reads.options.1)?)
            },
            count,
            len: len as i64,
            slots: indices(&slots, reads.options.1)?,
            mask: if equal {
                None
            } else {
                Some(masks(&mask, &[count, 1, 1, len as i64], reads.options)?)
            },
        })
    }
}

impl Prefill {
    fn new(reads: &Reads, read: &Read) -> Result<Self, TchError> {
        let (window, seen) = (reads.window, reads.seen(read));
        let slots: Vec<i64> = seen.clone().map(|place| reads.slot(read, place)).collect();
        let within = |row: usize, column: usize| {
            column <= row && window.is_none_or(|window| column + window > row)
        };
        let mask = if read.computed == 0 && window.is_none_or(|window| read.len <= window) {
            None
        } else {
            let value = |visible| if visible { 0.0 } else { f32::NEG_INFINITY };
            let values: Vec<f32> = (read.computed..seen.end)
                .flat_map(|row| seen.clone().map(move |column| value(within(row, column))))
                .collect();
            let shape = [read.len as i64, seen.len() as i64];
            Some(masks(&values, &shape, reads.options)?)
        };
        Ok(Self {
            row: read.row as i64,
            len: read.len as i64,
            slots: indices(&slots, reads.options.1)?,
            mask,
        })
    }
}

fn indices(values: &[i64], device: Device) -> Result<Tensor, TchError> {
    Tensor::f_from_slice(values)?.f_to_device(device)
}

fn masks(
    values: &[f32],
    shape: &[i64],
    (kind, device): (Kind, Device),
) -> Result<Tensor, TchError> {
    Tensor::f_from_slice(values)?
        .f_view(shape)?
        .f_to_kind(kind)?
        .f_to_device(device)
}

/// Sequences are padded to the longest of their group, so a group holds none of less than half its length: at most half
/// of what is read is padding. Sequences of one group keep the order of the step.
fn groups<'a>(reads: &Reads, mut decoding: Vec<&'a Read>) -> Vec<Vec<&'a Read>> {
    let len = |read: &Read| reads.seen(read).len();
    decoding.sort_by_key(|read| (std::cmp::Reverse(len(read)), read.row));
    let mut groups: Vec<Vec<&Read>> = Vec::new();
    for read in decoding {
        match groups.last_mut() {
            Some(group) if 2 * len(read) >= len(group[0]) => group.push(read),
            _ => groups.push(vec![read]),
        }
    }
    for group in &mut groups {
        group.sort_by_key(|read| read.row);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequences as tokens before, new tokens, pages of four.
    fn reads(sequences: &[(usize, usize, &[u32])], window: Option<usize>) -> Reads {
        let mut reads = Reads::new(window, 4, (Kind::Float, Device::Cpu));
        for (computed, len, blocks) in sequences {
            reads.push(*len, *computed, blocks);
        }
        reads
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
        let reads = reads(&[(3, 3, &[7, 2]), (0, 1, &[5])], None);
        let prefill = &prefills(&reads).unwrap()[0];
        assert_eq!(numbers(&prefill.slots), [28, 29, 30, 31, 8, 9]);
        assert_eq!(visible(prefill), [4, 5, 6]);
        let [decode] = decodes(&reads).unwrap() else {
            panic!("one group")
        };
        assert_eq!(numbers(decode.rows.as_ref().unwrap()), [3]);
    }

    #[test]
    fn decodes_are_grouped_by_length_and_padded_with_their_own() {
        let reads = reads(&[(2, 1, &[1]), (7, 1, &[2, 3]), (4, 1, &[4, 5])], None);
        let [long, short] = decodes(&reads).unwrap() else {
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
        let sequences: [(usize, usize, &[u32]); 4] = [
            (8, 1, &[1, 2, 3]),
            (1, 1, &[4]),
            (5, 3, &[5, 6]),
            (0, 3, &[7]),
        ];
        let (all, windowed) = (reads(&sequences, None), reads(&sequences, Some(3)));
        // Position 8 sees 6, 7 and 8; the sequence that is shorter than the window is in the same group.
        let [group] = decodes(&windowed).unwrap() else {
            panic!("one group")
        };
        assert_eq!((group.count, group.len), (2, 3));
        assert_eq!(numbers(&group.slots), [10, 11, 12, 16, 17, 16]);
        assert_eq!(decodes(&all).unwrap().len(), 2);
        // New tokens 5, 6 and 7 see 3 to 7.
        let [later, first] = prefills(&windowed).unwrap() else {
            panic!("two prefills")
        };
        assert_eq!(numbers(&later.slots), [23, 24, 25, 26, 27]);
        assert_eq!(visible(later), [3, 3, 3]);
        assert_eq!(visible(&prefills(&all).unwrap()[0]), [6, 7, 8]);
        assert!(first.mask.is_none(), "it is no longer than the window");
    }

    #[test]
    fn a_first_chunk_longer_than_the_window_has_a_mask() {
        let reads = reads(&[(0, 5, &[0, 1])], Some(2));
        assert_eq!(visible(&prefills(&reads).unwrap()[0]), [1, 2, 2, 2, 2]);
    }
}
