//! The operations in libtorch's own operators: any device, any type. Owns: being right; the oracle in tests of every
//! other implementation. Follows Hugging Face transformers' order of roundings, so that 32-bit texts are equal.

use tch::{TchError, Tensor};

use crate::kernels::Kernels;
use crate::kernels::pages::{Decodes, LayerPages, Prefill, Reads};

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

impl Kernels for Reference {
    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor, TchError> {
        let last = x.size().last().copied().unwrap_or(0);
        x.f_rms_norm([last], Some(weight), epsilon)
    }

    fn rotate(&self, x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor, TchError> {
        let half = x.size().last().copied().unwrap_or(0) / 2;
        let mut turned = x.f_mul(cos)?;
        turned.f_addcmul_(&x.f_roll([half], [-1])?, sin)
    }

    fn gate(&self, gate_up: &Tensor) -> Result<Tensor, TchError> {
        let width = gate_up.size().last().copied().unwrap_or(0) / 2;
        let mut gate = gate_up.f_narrow(-1, 0, width)?.f_silu()?;
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
    ) -> Result<Tensor, TchError> {
        if let ([decodes @ Decodes { rows: None, .. }], []) =
            (&reads.decodes[..], &reads.prefills[..])
        {
            return decode(query, pages, decodes);
        }
        let (_, heads, head_dim) = query.size3()?;
        let options = (query.kind(), query.device());
        let mut out = Tensor::f_empty([reads.tokens, heads * head_dim], options)?;
        for part in &reads.decodes {
            if let Some(rows) = &part.rows {
                let attended = decode(&query.f_index_select(0, rows)?, pages, part)?;
                let _ = out.f_index_copy_(0, rows, &attended)?;
            }
        }
        for part in &reads.prefills {
            let attended = prefill(&query.f_narrow(0, part.row, part.len)?, pages, part)?;
            out.f_narrow(0, part.row, part.len)?.f_copy_(&attended)?;
        }
        Ok(out)
    }
}

/// The query heads that share a key-value head stand in the place of query tokens: nothing is repeated.
fn decode(query: &Tensor, pages: &LayerPages, part: &Decodes) -> Result<Tensor, TchError> {
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
    Tensor::f_scaled_dot_product_attention(&query, &keys, &values, mask, 0.0, false, None, false)?
        .f_reshape([part.count, heads * head_dim])
}

fn prefill(query: &Tensor, pages: &LayerPages, part: &Prefill) -> Result<Tensor, TchError> {
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
    let shared = heads != pages.kv_heads;
    let causal = mask.is_none();
    Tensor::f_scaled_dot_product_attention(&query, &keys, &values, mask, 0.0, causal, None, shared)?
        .f_squeeze_dim(0)?
        .f_transpose(0, 1)?
        .f_reshape([part.len, heads * head_dim])
}
