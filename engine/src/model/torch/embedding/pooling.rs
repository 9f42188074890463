//! From a text's tokens to its vector, as sentence-transformers does it. Owns: the sums, in 32 bits.

use tch::{Kind, TchError, Tensor};

use crate::model::embedding::Pool;
use crate::model::torch::layers::text_attention::Span;

/// `[texts, pools * hidden]` of the span's rows of `tokens` `[all tokens, hidden]`.
pub(super) fn pool(pools: &[Pool], tokens: &Tensor, span: Span) -> Result<Tensor, TchError> {
    let hidden = tokens.size().last().copied().unwrap_or(0);
    let rows = tokens
        .f_narrow(0, span.row, span.texts * span.len)?
        .f_to_kind(Kind::Float)?
        .f_view([span.texts, span.len, hidden])?;
    let vectors = pools
        .iter()
        .map(|pool| one(*pool, &rows, span.len))
        .collect::<Result<Vec<_>, _>>()?;
    Tensor::f_cat(&vectors, 1)
}

fn one(pool: Pool, rows: &Tensor, len: i64) -> Result<Tensor, TchError> {
    let sum = |rows: &Tensor| rows.f_sum_dim_intlist([1_i64].as_slice(), false, Kind::Float);
    match pool {
        Pool::First => rows.f_select(1, 0),
        Pool::Last => rows.f_select(1, len - 1),
        Pool::Max => rows.f_amax([1_i64].as_slice(), false),
        Pool::Mean => sum(rows)?.f_div_scalar(len),
        Pool::MeanSqrt => sum(rows)?.f_div_scalar((len as f64).sqrt()),
        Pool::WeightedMean => {
            let options = (Kind::Float, rows.device());
            let weights = Tensor::f_arange_start(1, len + 1, options)?.f_view([1, len, 1])?;
            sum(&rows.f_mul(&weights)?)?.f_div_scalar(len * (len + 1) / 2)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pool_sees_the_rows_of_its_text_alone() {
        // A text of another span, then two texts of three tokens.
        let numbers = [
            9.0_f32, 9.0, 1.0, 2.0, 3.0, -4.0, 5.0, 0.0, 6.0, 6.0, 0.0, 3.0, 0.0, 0.0,
        ];
        let tokens = Tensor::from_slice(&numbers).view([7, 2]);
        let span = Span {
            row: 1,
            texts: 2,
            len: 3,
        };
        let root = 3.0_f32.sqrt();
        for (pool_of, expected) in [
            (Pool::First, [1.0, 2.0, 6.0, 6.0]),
            (Pool::Last, [5.0, 0.0, 0.0, 0.0]),
            (Pool::Max, [5.0, 2.0, 6.0, 6.0]),
            (Pool::Mean, [3.0, -2.0 / 3.0, 2.0, 3.0]),
            (
                Pool::MeanSqrt,
                [9.0 / root, -2.0 / root, 6.0 / root, 9.0 / root],
            ),
            (Pool::WeightedMean, [22.0 / 6.0, -1.0, 1.0, 2.0]),
        ] {
            let found = pool(&[pool_of], &tokens, span).unwrap();
            let found = Vec::<f32>::try_from(found.flatten(0, -1)).unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-6,
                    "{pool_of:?}: {found} for {expected}"
                );
            }
        }
        let both = pool(&[Pool::First, Pool::Mean], &tokens, span).unwrap();
        assert_eq!(both.size(), [2, 4]);
    }
}
