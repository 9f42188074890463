//! The operations in libtorch's own operators: any device, any type. Owns: being right; the oracle in tests of every
//! other implementation. Follows Hugging Face transformers' order of roundings, so that 32-bit texts are equal.

use tch::{Kind, TchError, Tensor};

use crate::kernels::pages::{Decodes, LayerPages, Prefill, Reads};
use crate::kernels::{Activation, Kernels, Scores};

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

impl Kernels for Reference {
    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor, TchError> {
        let last = x.size().last().copied().unwrap_or(0);
        let norm = |x: &Tensor| x.f_rms_norm([last], Some(weight), epsilon);
        if weight.kind() == x.kind() {
            return norm(x);
        }
        // Libtorch's fused operator takes no two types.
        norm(&x.f_to_kind(weight.kind())?)?.f_to_kind(x.kind())
    }

    fn rotate(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor, TchError> {
        let width = |x: &Tensor| x.size().last().copied().unwrap_or(0);
        let (all, rotated) = (width(x), width(cos));
        let turn = |x: &Tensor| {
            let mut turned = x.f_mul(cos)?;
            turned.f_addcmul_(&x.f_roll([rotated / 2], [-1])?, sin)
        };
        if rotated == all {
            return turn(x);
        }
        let turned = turn(&x.f_narrow(-1, 0, rotated)?)?;
        let rest = x.f_narrow(-1, rotated, all - rotated)?;
        Tensor::f_cat(&[turned, rest], -1)
    }

    fn gate(&self, gate_up: &Tensor, activation: Activation) -> Result<Tensor, TchError> {
        let width = gate_up.size().last().copied().unwrap_or(0) / 2;
        let mut gate = activation.apply(&gate_up.f_narrow(-1, 0, width)?)?;
        gate.f_mul_(&gate_up.f_narrow(-1, width, width)?)
    }

    fn store(
        &self,
        pages: &mut LayerPages,
        key: &Tensor,
        value: &Tensor,
        slots: &Tensor,
    ) -> Result<(), TchError> {
        let _ = pages.keys.f_index_copy_(0, slots, &key.f_flatten(1, -1)?)?;
        let _ = pages
            .values
            .f_index_copy_(0, slots, &value.f_flatten(1, -1)?)?;
        Ok(())
    }

    fn attend(
        &self,
        query: &Tensor,
        pages: &LayerPages,
        reads: &Reads,
        scores: Scores,
    ) -> Result<Tensor, TchError> {
        if let ([decodes @ Decodes { rows: None, .. }], []) =
            (&reads.decodes[..], &reads.prefills[..])
        {
            return decode(query, pages, decodes, scores);
        }
        let (_, heads, head_dim) = query.size3()?;
        let options = (query.kind(), query.device());
        let mut out = Tensor::f_empty([reads.tokens, heads * head_dim], options)?;
        for part in &reads.decodes {
            if let Some(rows) = &part.rows {
                let attended = decode(&query.f_index_select(0, rows)?, pages, part, scores)?;
                let _ = out.f_index_copy_(0, rows, &attended)?;
            }
        }
        for part in &reads.prefills {
            let query = query.f_narrow(0, part.row, part.len)?;
            let attended = prefill(&query, pages, part, scores)?;
            out.f_narrow(0, part.row, part.len)?.f_copy_(&attended)?;
        }
        Ok(out)
    }
}

/// The query heads that share a key-value head stand in the place of query tokens: nothing is repeated.
fn decode(
    query: &Tensor,
    pages: &LayerPages,
    part: &Decodes,
    scores: Scores,
) -> Result<Tensor, TchError> {
    let (_, heads, head_dim) = query.size3()?;
    let kv_heads = pages.kv_heads;
    let query = query.f_reshape([part.count, kv_heads, heads / kv_heads, head_dim])?;
    let gather = |pool: &Tensor| {
        pool.f_index_select(0, &part.slots)?
            .f_view([part.count, part.len, kv_heads, head_dim])?
            .f_transpose(1, 2)
    };
    let (keys, values) = (gather(&pages.keys)?, gather(&pages.values)?);
    let mask = part.mask.as_ref();
    let attended = if scores.cap.is_some() {
        capped([&query, &keys, &values], mask, scores)?
    } else {
        let scale = scores.scale;
        Tensor::f_scaled_dot_product_attention(
            &query, &keys, &values, mask, 0.0, false, scale, false,
        )?
    };
    attended.f_reshape([part.count, heads * head_dim])
}

fn prefill(
    query: &Tensor,
    pages: &LayerPages,
    part: &Prefill,
    scores: Scores,
) -> Result<Tensor, TchError> {
    let (_, heads, head_dim) = query.size3()?;
    let by_head = |x: &Tensor| x.f_transpose(0, 1)?.f_unsqueeze(0);
    let gather = |pool: &Tensor| {
        let tokens = pool.f_index_select(0, &part.slots)?;
        by_head(&tokens.f_view([-1, pages.kv_heads, head_dim])?)
    };
    let (query, keys, values) = (
        by_head(query)?,
        gather(&pages.keys)?,
        gather(&pages.values)?,
    );
    let mask = part.mask.as_ref();
    let causal = mask.is_none();
    let attended = if scores.cap.is_some() {
        // Again the query heads of a key-value head stand together, and it is repeated by broadcast alone.
        let kv_heads = pages.kv_heads;
        let query = query.f_reshape([kv_heads, heads / kv_heads, part.len, head_dim])?;
        let (keys, values) = (keys.f_transpose(0, 1)?, values.f_transpose(0, 1)?);
        let own = if causal {
            Some(causal_mask(&query, part.len)?)
        } else {
            None
        };
        capped([&query, &keys, &values], own.as_ref().or(mask), scores)?
            .f_reshape([1, heads, part.len, head_dim])?
    } else {
        let (scale, shared) = (scores.scale, heads != pages.kv_heads);
        Tensor::f_scaled_dot_product_attention(
            &query, &keys, &values, mask, 0.0, causal, scale, shared,
        )?
    };
    attended
        .f_squeeze_dim(0)?
        .f_transpose(0, 1)?
        .f_reshape([part.len, heads * head_dim])
}

fn causal_mask(like: &Tensor, len: i64) -> Result<Tensor, TchError> {
    let options = (like.kind(), like.device());
    Tensor::f_full([len, len], f64::NEG_INFINITY, options)?.f_triu(1)
}

/// Attention with capped scores, which libtorch's own has not: step by step, as transformers computes it.
fn capped(
    [query, keys, values]: [&Tensor; 3],
    mask: Option<&Tensor>,
    scores: Scores,
) -> Result<Tensor, TchError> {
    let mut products = query.f_matmul(&keys.f_transpose(-2, -1)?)?;
    let mut bent = products.f_mul_scalar_(scores.scale)?;
    if let Some(cap) = scores.cap {
        bent = bent.f_div_scalar_(cap)?.f_tanh_()?.f_mul_scalar_(cap)?;
    }
    if let Some(mask) = mask {
        bent = bent.f_add_(mask)?;
    }
    bent.f_softmax(-1, Kind::Float)?
        .f_to_kind(query.kind())?
        .f_matmul(values)
}
