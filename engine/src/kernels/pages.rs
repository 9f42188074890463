//! What one step reads and writes in the KV pool. Owns: the pool's layout; knows no sequence, only places.

use tch::{Device, Kind, TchError, Tensor};

/// Shape of the pool, the same for every layer.
#[derive(Debug, Clone, Copy)]
pub struct PoolShape {
    /// Pages.
    pub blocks: i64,
    /// Tokens of a page.
    pub block_tokens: i64,
    /// Key-value heads.
    pub kv_heads: i64,
    /// Numbers of a head.
    pub head_dim: i64,
    /// Their type.
    pub kind: Kind,
    /// Where they are.
    pub device: Device,
}

impl PoolShape {
    /// Bytes of one page in one layer, keys and values.
    pub fn block_bytes(&self) -> u64 {
        let numbers = 2 * self.block_tokens * self.kv_heads * self.head_dim;
        numbers.unsigned_abs() * self.kind.elt_size_in_bytes() as u64
    }
}

/// Keys and values of one layer: `[blocks * block_tokens, kv_heads * head_dim]` each. A token's place is its *slot*,
/// `block * block_tokens + offset`.
#[derive(Debug)]
pub struct LayerPages {
    /// Keys, rotated.
    pub keys: Tensor,
    /// Values.
    pub values: Tensor,
    /// Key-value heads.
    pub kv_heads: i64,
}

impl LayerPages {
    /// Makes them. The system gives the memory when a page is first written.
    ///
    /// # Errors
    /// When there is not that much memory.
    pub fn new(shape: &PoolShape) -> Result<Self, TchError> {
        let size = [
            shape.blocks * shape.block_tokens,
            shape.kv_heads * shape.head_dim,
        ];
        Ok(Self {
            keys: Tensor::f_empty(size, (shape.kind, shape.device))?,
            values: Tensor::f_empty(size, (shape.kind, shape.device))?,
            kv_heads: shape.kv_heads,
        })
    }
}

/// Whose keys and values each token of a step attends to, in layers with the same window. Every token is in exactly one
/// member.
#[derive(Debug)]
pub struct Reads {
    /// Sequences with one new token, in groups of similar length.
    pub decodes: Vec<Decodes>,
    /// Sequences with several new tokens.
    pub prefills: Vec<Prefill>,
    /// Tokens of the step.
    pub tokens: i64,
}

/// Sequences with one new token each, padded to the longest.
#[derive(Debug)]
pub struct Decodes {
    /// Their tokens' rows in the step; `None` when they are all its rows, in order.
    pub rows: Option<Tensor>,
    /// How many.
    pub count: i64,
    /// Tokens that the longest sees, the new one included.
    pub len: i64,
    /// `[count * len]`: the slots that each sees; beyond its end its first slot again, so that only numbers of its own
    /// are read.
    pub slots: Tensor,
    /// `[count, 1, 1, len]`, 0 where there is a token and minus infinity where not; `None` when all are equally long.
    pub mask: Option<Tensor>,
}

/// One sequence's new tokens.
#[derive(Debug)]
pub struct Prefill {
    /// Row of the first; the others follow.
    pub row: i64,
    /// How many are new.
    pub len: i64,
    /// `[seen]`: slots of all that any of them sees, themselves included.
    pub slots: Tensor,
    /// `[len, seen]`, 0 where a token sees another or itself and minus infinity elsewhere; `None` when nothing was
    /// computed before and no window cuts, where a plain causal mask does.
    pub mask: Option<Tensor>,
}
