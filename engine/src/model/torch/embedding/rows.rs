//! From texts to rows: all tokens one after the other, texts sorted by length. Owns: which rows are whose.

use lps_engine_core::batch::Texts;
use tch::{Device, TchError, Tensor};

use crate::model::torch::layers::text_attention::Span;

/// The texts of a step as rows.
#[derive(Debug)]
pub(super) struct Rows {
    /// Token ids.
    pub(super) tokens: Tensor,
    /// Each token's place in its text.
    pub(super) positions: Tensor,
    /// Texts of equal length, shortest first.
    pub(super) spans: Vec<Span>,
    /// For each text in the order of its rows, its place in the step.
    pub(super) places: Vec<usize>,
}

impl Rows {
    pub(super) fn new(texts: &Texts<'_>, device: Device) -> Result<Self, TchError> {
        let mut places: Vec<usize> = (0..texts.tokens.len()).collect();
        places.sort_by_key(|place| texts.tokens[*place].len());
        let (mut tokens, mut positions) = (Vec::new(), Vec::new());
        let mut spans: Vec<Span> = Vec::new();
        for place in &places {
            let text = texts.tokens[*place];
            let len = text.len() as i64;
            match spans.last_mut().filter(|span| span.len == len) {
                Some(span) => span.texts += 1,
                None => spans.push(Span {
                    row: tokens.len() as i64,
                    texts: 1,
                    len,
                }),
            }
            tokens.extend(text.iter().map(|token| i64::from(*token)));
            positions.extend(0..len);
        }
        Ok(Self {
            tokens: Tensor::f_from_slice(&tokens)?.f_to_device(device)?,
            positions: Tensor::f_from_slice(&positions)?.f_to_device(device)?,
            spans,
            places,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_equal_length_stand_together() {
        let texts = Texts {
            step: 1,
            tokens: vec![&[1, 2, 3], &[4], &[5, 6, 7], &[8, 9]],
        };
        let rows = Rows::new(&texts, Device::Cpu).unwrap();
        assert_eq!(rows.places, [1, 3, 0, 2]);
        let span = |row, texts, len| Span { row, texts, len };
        assert_eq!(rows.spans, [span(0, 1, 1), span(1, 1, 2), span(3, 2, 3)]);
        let numbers = |tensor: &Tensor| Vec::<i64>::try_from(tensor).unwrap();
        assert_eq!(numbers(&rows.tokens), [4, 8, 9, 1, 2, 3, 5, 6, 7]);
        assert_eq!(numbers(&rows.positions), [0, 0, 1, 0, 1, 2, 0, 1, 2]);
    }
}
