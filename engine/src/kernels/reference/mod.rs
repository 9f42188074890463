//! The operations in libtorch's own operators: any device, any type. Owns: being right; the oracle in tests of every
//! other implementation. Follows Hugging Face transformers' order of roundings, so that 32-bit texts are equal.

pub(super) mod gather;

use tch::{Kind, TchError, Tensor};

pub use crate::kernels::reference::gather::{Decodes, Prefill};

use crate::kernels::linear::Linear;
use crate::kernels::pages::{LayerPages, Reads, Slots, TensorPages, once};
use crate::kernels::{Activation, Heads, Kernels, Scores};

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

impl Kernels for Reference {
    fn multiply(&self, x: &Tensor, linear: &Linear) -> Result<Tensor, TchError> {
        linear.in_operators(x)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor, TchError> {
        let last = x.size().last().copied().unwrap_or(0);
        let norm = |x: &Tensor| x.f_rms_norm([last], Some(weight), epsilon);
        if weight.kind() == x.kind() {
            return norm(x);
        }
        // Libtorch's fused operator takes no two types.
        norm(&x.f_to_kind(weight.kind())?)?.f_to_kind(x.kind())
    }

    fn activate(
        &self,
        x: &Tensor,
        activation: Activation,
        gated: bool,
    ) -> Result<Tensor, TchError> {
        let apply = |x: &Tensor| match activation {
            Activation::Silu => x.f_silu(),
            Activation::GeluTanh => x.f_gelu("tanh"),
            Activation::Gelu => x.f_gelu("none"),
        };
        if !gated {
            return apply(x);
        }
        let width = x.size().last().copied().unwrap_or(0) / 2;
        let mut gate = apply(&x.f_narrow(-1, 0, width)?)?;
        gate.f_mul_(&x.f_narrow(-1, width, width)?)
    }

    fn heads(&self, pages: &mut LayerPages, heads: &Heads<'_>) -> Result<Tensor, TchError> {
        let pages = tensors_mut(pages)?;
        let turned = heads.heads + pages.kv_heads;
        let all = heads
            .qkv
            .f_view([-1, turned + pages.kv_heads, heads.head_dim])?;
        let mut qk = all.f_narrow(1, 0, turned)?;
        let value = all.f_narrow(1, turned, pages.kv_heads)?;
        if let Some(norms) = heads.norms {
            // Where weights are of 32 bits, what they multiply is not rounded before.
            let wide = qk.f_to_kind(norms.weights.kind())?;
            let ones = Tensor::f_ones([heads.head_dim], (wide.kind(), wide.device()))?;
            let mut normed = self.rms_norm(&wide, &ones, norms.epsilon)?;
            qk = normed.f_mul_(&norms.weights)?.f_to_kind(qk.kind())?;
        }
        if let Some(angles) = heads.angles {
            qk = rotate(&qk, &angles.cos, &angles.sin)?;
        }
        let key = qk.f_narrow(1, heads.heads, pages.kv_heads)?;
        store(pages, &key, &value, heads.slots)?;
        qk.f_narrow(1, 0, heads.heads)
    }

    fn attend(
        &self,
        query: &Tensor,
        pages: &LayerPages,
        reads: &Reads,
        scores: Scores,
    ) -> Result<Tensor, TchError> {
        let pages = tensors(pages)?;
        let (decodes, prefills) = (gather::decodes(reads)?, gather::prefills(reads)?);
        if let ([decodes @ Decodes { rows: None, .. }], []) = (decodes, prefills) {
            return decode(query, pages, decodes, scores);
        }
        let (tokens, heads, head_dim) = query.size3()?;
        let options = (query.kind(), query.device());
        let mut out = Tensor::f_empty([tokens, heads * head_dim], options)?;
        for part in decodes {
            if let Some(rows) = &part.rows {
                let attended = decode(&query.f_index_select(0, rows)?, pages, part, scores)?;
                let _ = out.f_index_copy_(0, rows, &attended)?;
            }
        }
        attend_prefills(query, pages, (reads, scores), &mut out)?;
        Ok(out)
    }
}

/// Attention of sequences with several new tokens, into their rows of `out`.
pub(super) fn attend_prefills(
    query: &Tensor,
    pages: &TensorPages,
    (reads, scores): (&Reads, Scores),
    out: &mut Tensor,
) -> Result<(), TchError> {
    for part in gather::prefills(reads)? {
        let query = query.f_narrow(0, part.row, part.len)?;
        let attended = prefill(&query, pages, part, scores)?;
        out.f_narrow(0, part.row, part.len)?.f_copy_(&attended)?;
    }
    Ok(())
}

/// Pages are made by the same choice as the kernels.
fn of_others() -> TchError {
    TchError::Kind("these pages are of other kernels".to_owned())
}

/// The pages, if they are of this kind.
pub(super) fn tensors(pages: &LayerPages) -> Result<&TensorPages, TchError> {
    match pages {
        LayerPages::Tensors(pages) => Ok(pages),
        LayerPages::Own(_) => Err(of_others()),
    }
}

fn tensors_mut(pages: &mut LayerPages) -> Result<&mut TensorPages, TchError> {
    match pages {
        LayerPages::Tensors(pages) => Ok(pages),
        LayerPages::Own(_) => Err(of_others()),
    }
}

/// Turns each head of `x` `[tokens, heads, head_dim]` by its token's angles; what is beyond `rotated` stays.
///
/// # Errors
/// What libtorch says.
pub fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor, TchError> {
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

/// Puts `key` and `value` `[tokens, kv_heads, head_dim]` into their pages.
fn store(
    pages: &mut TensorPages,
    key: &Tensor,
    value: &Tensor,
    slots: &Slots,
) -> Result<(), TchError> {
    let slots = once(&slots.tensor, || {
        let places: Vec<i64> = slots.places.iter().map(|slot| *slot as i64).collect();
        Tensor::f_from_slice(&places)?.f_to_device(slots.device)
    })?;
    let _ = pages.keys.f_index_copy_(0, slots, &key.f_flatten(1, -1)?)?;
    let _ = pages
        .values
        .f_index_copy_(0, slots, &value.f_flatten(1, -1)?)?;
    Ok(())
}

/// The query heads that share a key-value head stand in the place of query tokens: nothing is repeated.
fn decode(
    query: &Tensor,
    pages: &TensorPages,
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
    pages: &TensorPages,
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
