//! Steps to try the kernels on. Owns: their numbers, and what comes out of them in 64 bits.

use tch::{Device, Kind, TchError, Tensor};

use crate::kernels::pages::{LayerPages, Reads, TensorPages};
use crate::kernels::reference;
use crate::kernels::{Kernels, Scores};

/// Tokens of a page.
const BLOCK_TOKENS: usize = 16;

/// What attends.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Query heads.
    pub heads: i64,
    /// Key-value heads.
    pub kv_heads: i64,
    /// Numbers of a head.
    pub head_dim: i64,
    /// Their type.
    pub kind: Kind,
    /// How many tokens a token sees; `None`: all.
    pub window: Option<usize>,
    /// Of scores.
    pub cap: Option<f64>,
}

/// A step over pages full of numbers, in no order.
#[derive(Debug)]
pub struct Step {
    /// What attends.
    pub shape: Shape,
    /// Keys and values.
    pub pages: LayerPages,
    /// Queries.
    pub query: Tensor,
    /// Who sees what.
    pub reads: Reads,
}

/// Numbers between -2 and 2 that look like drawn ones, the same each time.
///
/// # Errors
/// What libtorch says.
pub fn numbers(size: &[i64], seed: f64, options: (Kind, Device)) -> Result<Tensor, TchError> {
    let (kind, device) = options;
    let places = Tensor::f_arange(size.iter().product::<i64>(), (Kind::Double, device))?;
    let angles = places.f_add_scalar(seed * 77.7)?.f_mul_scalar(12.9898)?;
    let fractions = angles.f_sin()?.f_mul_scalar(43758.5453)?.f_frac()?;
    fractions.f_mul_scalar(2.0)?.f_view(size)?.f_to_kind(kind)
}

/// The largest difference.
///
/// # Errors
/// What libtorch says.
pub fn difference(one: &Tensor, other: &Tensor) -> Result<f64, TchError> {
    let other = other.f_to_kind(Kind::Double)?;
    let differences = one.f_to_kind(Kind::Double)?.f_sub(&other)?.f_abs()?;
    differences.f_max()?.f_double_value(&[])
}

impl Step {
    /// Of sequences as (tokens before, new tokens).
    ///
    /// # Errors
    /// What libtorch says.
    pub fn new(
        shape: Shape,
        sequences: &[(usize, usize)],
        device: Device,
    ) -> Result<Self, TchError> {
        let options = (shape.kind, device);
        let mut reads = Reads::new(shape.window, BLOCK_TOKENS, options);
        let pages_of = |(computed, len): &(usize, usize)| (computed + len).div_ceil(BLOCK_TOKENS);
        let count: usize = sequences.iter().map(pages_of).sum();
        // A prime that does not divide their count steps through all pages: neighbours in a sequence are none in the pool.
        let stride = if count.is_multiple_of(7919) {
            7907
        } else {
            7919
        };
        let place = |page: usize| ((page * stride + 3) % count) as u32;
        let mut used = 0;
        for sequence in sequences {
            let own: Vec<u32> = (used..used + pages_of(sequence)).map(place).collect();
            used += own.len();
            reads.push(sequence.1, sequence.0, &own);
        }
        let slots = (count * BLOCK_TOKENS) as i64;
        let width = shape.kv_heads * shape.head_dim;
        let tokens = reads.tokens() as i64;
        Ok(Self {
            shape,
            pages: LayerPages::Tensors(TensorPages {
                keys: numbers(&[slots, width], 1.0, options)?,
                values: numbers(&[slots, width], 2.0, options)?,
                kv_heads: shape.kv_heads,
            }),
            query: numbers(&[tokens, shape.heads, shape.head_dim], 3.0, options)?,
            reads,
        })
    }

    /// From products to scores.
    pub fn scores(&self) -> Scores {
        Scores {
            cap: self.shape.cap,
            ..Scores::of_head(self.shape.head_dim)
        }
    }

    /// What kernels make of it.
    ///
    /// # Errors
    /// What they say.
    pub fn attend(&self, kernels: &dyn Kernels) -> Result<Tensor, TchError> {
        kernels.attend(&self.query, &self.pages, &self.reads, self.scores())
    }

    /// Row by row in 64 bits; of single tokens only.
    ///
    /// # Errors
    /// What libtorch says.
    pub fn exact(&self) -> Result<Tensor, TchError> {
        let pages = reference::tensors(&self.pages)?;
        let Shape {
            heads,
            kv_heads,
            head_dim,
            ..
        } = self.shape;
        let pool = |x: &Tensor| x.f_to_kind(Kind::Double)?.f_view([-1, kv_heads, head_dim]);
        let (keys, values) = (pool(&pages.keys)?, pool(&pages.values)?);
        let rows = self.reads.sequences.iter().map(|read| {
            let seen = self.reads.seen(read);
            let slots: Vec<i64> = seen.map(|place| self.reads.slot(read, place)).collect();
            let slots = Tensor::f_from_slice(&slots)?.f_to_device(keys.device())?;
            let shared = |x: &Tensor| {
                let own = x.f_index_select(0, &slots)?.f_transpose(0, 1)?;
                own.f_repeat_interleave_self_int(heads / kv_heads, 0, None)
            };
            let query = self.query.f_narrow(0, read.row as i64, 1)?;
            let query = query.f_to_kind(Kind::Double)?.f_transpose(0, 1)?;
            let mut scores = query
                .f_matmul(&shared(&keys)?.f_transpose(1, 2)?)?
                .f_mul_scalar(self.scores().scale)?;
            if let Some(cap) = self.shape.cap {
                scores = scores.f_div_scalar(cap)?.f_tanh()?.f_mul_scalar(cap)?;
            }
            let weights = scores.f_softmax(-1, Kind::Double)?;
            weights
                .f_matmul(&shared(&values)?)?
                .f_reshape([heads * head_dim])
        });
        Tensor::f_stack(&rows.collect::<Result<Vec<_>, TchError>>()?, 0)
    }

    /// How far what kernels make of it is from the truth, and how far it may be: values are below 2, and of bfloat16 the
    /// last of 8 bits is rounded.
    ///
    /// # Errors
    /// What they say.
    pub fn error(&self, kernels: &dyn Kernels) -> Result<(f64, f64), TchError> {
        let most = match self.shape.kind {
            Kind::Float => 4e-6,
            _ => 1.0 / 128.0,
        };
        Ok((difference(&self.attend(kernels)?, &self.exact()?)?, most))
    }
}
