//! Attention within whole texts: every token is there at once, and no key or value is kept. Owns: its weights; what sees
//! what. Knows no pages.
//!
//! Texts of equal length are attended to together, and no text is padded: so there is no mask, nothing is computed that
//! is not asked for, and a text sees nothing of its neighbours.

use tch::{TchError, Tensor};

use crate::kernels::linear::Linear;
use crate::kernels::reference::rotate;
use crate::kernels::{Angles, Kernels, Scores};
use crate::model::Error;
use crate::model::torch::layers::loader::Loader;
use crate::model::torch::layers::norm;

/// Texts of equal length, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// The first one's first row.
    pub row: i64,
    /// How many.
    pub texts: i64,
    /// Tokens of each.
    pub len: i64,
}

/// See the module.
#[derive(Debug)]
pub struct TextAttention {
    /// Queries, keys and values in one product.
    qkv: Linear,
    /// Weights of the norms of single heads: of queries and of keys.
    head_norms: Option<[Tensor; 2]>,
    epsilon: f64,
    out: Linear,
    heads: i64,
    kv_heads: i64,
    head_dim: i64,
    scores: Scores,
    /// Whether a token sees only itself and those before it.
    causal: bool,
}

impl TextAttention {
    /// Loads that of a layer.
    ///
    /// # Errors
    /// When a weight is missing or does not fit.
    pub fn load(loader: &Loader<'_>, layer: usize, causal: bool) -> Result<Self, Error> {
        let a = loader.architecture;
        let (qkv, out) = loader.attention(layer)?;
        let head_norm = |part| norm::weight(loader, &loader.name(layer, part), a.head_dim);
        let head_norms = match a.names.head_norms {
            None => None,
            Some([query, key]) => Some([head_norm(query)?, head_norm(key)?]),
        };
        Ok(Self {
            qkv,
            head_norms,
            epsilon: a.epsilon,
            out,
            heads: a.heads,
            kv_heads: a.kv_heads,
            head_dim: a.head_dim,
            scores: a.scores,
            causal,
        })
    }

    /// Runs it on `[tokens, hidden]`, which `spans` cover from first to last. `angles` are those of all tokens.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn forward(
        &self,
        kernels: &dyn Kernels,
        x: &Tensor,
        (angles, spans): (Option<&Angles>, &[Span]),
    ) -> Result<Tensor, TchError> {
        let turned = self.heads + self.kv_heads;
        let all = kernels.multiply(x, &self.qkv)?;
        let all = all.f_view([-1, turned + self.kv_heads, self.head_dim])?;
        let mut query = all.f_narrow(1, 0, self.heads)?;
        let mut key = all.f_narrow(1, self.heads, self.kv_heads)?;
        let value = all.f_narrow(1, turned, self.kv_heads)?;
        if let Some([of_query, of_key]) = &self.head_norms {
            query = kernels.rms_norm(&query, of_query, self.epsilon)?;
            key = kernels.rms_norm(&key, of_key, self.epsilon)?;
        }
        if let Some(angles) = angles {
            query = rotate(&query, &angles.cos, &angles.sin)?;
            key = rotate(&key, &angles.cos, &angles.sin)?;
        }
        let attended = spans
            .iter()
            .map(|span| self.attend([&query, &key, &value], *span))
            .collect::<Result<Vec<_>, _>>()?;
        match &attended[..] {
            [one] => kernels.multiply(one, &self.out),
            several => kernels.multiply(&Tensor::f_cat(several, 0)?, &self.out),
        }
    }

    fn attend(&self, parts: [&Tensor; 3], span: Span) -> Result<Tensor, TchError> {
        let rows = span.texts * span.len;
        let by_head = |x: &Tensor, heads: i64| {
            x.f_narrow(0, span.row, rows)?
                .f_reshape([span.texts, span.len, heads, self.head_dim])?
                .f_transpose(1, 2)
        };
        let [query, key, value] = parts;
        let attended = Tensor::f_scaled_dot_product_attention(
            &by_head(query, self.heads)?,
            &by_head(key, self.kv_heads)?,
            &by_head(value, self.kv_heads)?,
            None::<&Tensor>,
            0.0,
            self.causal,
            self.scores.scale,
            self.heads != self.kv_heads,
        )?;
        attended
            .f_transpose(1, 2)?
            .f_reshape([rows, self.heads * self.head_dim])
    }
}
