//! What one step reads and writes in the KV pool. Owns: which tokens see which places; knows no sequence, only places.

use std::cell::OnceCell;
use std::ops::Range;

use lps_engine_kernels::pages as own;
use tch::{Device, Kind, TchError, Tensor};

use crate::kernels::cuda::paged::Paged;
use crate::kernels::reference::{Decodes, Prefill};

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
    /// For our own kernels.
    pub(super) fn own(&self) -> own::PoolShape {
        let count = |number: i64| number.unsigned_abs() as usize;
        own::PoolShape {
            pages: count(self.blocks),
            kv_heads: count(self.kv_heads),
            head_dim: count(self.head_dim),
            half: self.kind == Kind::BFloat16,
        }
    }
}

/// Keys and values of one layer, in the layout that the kernels want.
#[derive(Debug)]
pub enum LayerPages {
    /// Of libtorch's operators.
    Tensors(TensorPages),
    /// Of our own kernels.
    Own(own::Pool),
}

/// Keys and values of one layer: `[blocks * block_tokens, kv_heads * head_dim]` each. A token's place is its *slot*,
/// `block * block_tokens + offset`.
#[derive(Debug)]
pub struct TensorPages {
    /// Keys, rotated.
    pub keys: Tensor,
    /// Values.
    pub values: Tensor,
    /// Key-value heads.
    pub kv_heads: i64,
}

impl TensorPages {
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

/// Where keys and values of a step's tokens go.
#[derive(Debug)]
pub struct Slots {
    /// The slot of each token.
    pub places: Vec<usize>,
    /// The same, where libtorch's operators are.
    pub(super) tensor: OnceCell<Tensor>,
    /// Where they are.
    pub(super) device: Device,
}

impl Slots {
    /// Of tokens in the order of the step.
    pub fn new(places: Vec<usize>, device: Device) -> Self {
        Self {
            places,
            tensor: OnceCell::new(),
            device,
        }
    }

    /// Of tokens whose slots come later, in this tensor.
    pub fn of_tensor(tensor: Tensor) -> Self {
        Self {
            places: Vec::new(),
            device: tensor.device(),
            tensor: OnceCell::from(tensor),
        }
    }
}

/// What is in the cell; made when it is empty.
pub(super) fn once<T>(
    cell: &OnceCell<T>,
    make: impl FnOnce() -> Result<T, TchError>,
) -> Result<&T, TchError> {
    match cell.get() {
        Some(made) => Ok(made),
        None => {
            let made = make()?;
            Ok(cell.get_or_init(|| made))
        }
    }
}

/// Whose keys and values each token of a step attends to, in layers with the same window.
#[derive(Debug)]
pub struct Reads {
    /// Whose tokens the step has, in the order of their rows.
    pub sequences: Vec<Read>,
    /// The pages of all sequences.
    pub table: Vec<u32>,
    /// How many tokens a token sees, itself included; `None`: all.
    pub window: Option<usize>,
    /// Tokens of a page.
    pub block_tokens: usize,
    /// Type and place of what attends.
    pub options: (Kind, Device),
    /// What libtorch's operators read by, sequences with one new token. This and what follows is made when the first layer
    /// asks for it.
    pub(super) decodes: OnceCell<Vec<Decodes>>,
    /// Those with several.
    pub(super) prefills: OnceCell<Vec<Prefill>>,
    /// What the CUDA kernel reads by.
    pub(super) paged: OnceCell<Paged>,
}

/// One sequence's new tokens.
#[derive(Debug, Clone)]
pub struct Read {
    /// Row of the first; the others follow.
    pub row: usize,
    /// How many are new.
    pub len: usize,
    /// Tokens before them.
    pub computed: usize,
    /// Where in [`Reads::table`] its pages are.
    pub pages: Range<usize>,
}

impl Reads {
    /// Nothing yet.
    pub fn new(window: Option<usize>, block_tokens: usize, options: (Kind, Device)) -> Self {
        Self {
            sequences: Vec::new(),
            table: Vec::new(),
            window,
            block_tokens,
            options,
            decodes: OnceCell::new(),
            prefills: OnceCell::new(),
            paged: OnceCell::new(),
        }
    }

    /// Of sequences with one new token each that the CUDA kernel finds in tensors whose numbers come later.
    pub fn of_paged(
        window: Option<usize>,
        block_tokens: usize,
        options: (Kind, Device),
        paged: Paged,
    ) -> Self {
        Self {
            paged: OnceCell::from(paged),
            ..Self::new(window, block_tokens, options)
        }
    }

    /// Adds a sequence after those that are there.
    pub fn push(&mut self, len: usize, computed: usize, blocks: &[u32]) {
        let start = self.table.len();
        self.table.extend_from_slice(blocks);
        self.sequences.push(Read {
            row: self.tokens(),
            len,
            computed,
            pages: start..self.table.len(),
        });
    }

    /// Tokens of the step.
    pub fn tokens(&self) -> usize {
        self.sequences.last().map_or(0, |read| read.row + read.len)
    }

    /// The slot of a place of a sequence.
    pub(super) fn slot(&self, read: &Read, place: usize) -> i64 {
        let block = self.table[read.pages.clone()][place / self.block_tokens] as usize;
        (block * self.block_tokens + place % self.block_tokens) as i64
    }

    /// Places that a sequence's new tokens see: those before the first one's window are read by none.
    pub(super) fn seen(&self, read: &Read) -> Range<usize> {
        let start = self
            .window
            .map_or(0, |window| (read.computed + 1).saturating_sub(window));
        start..read.computed + read.len
    }
}
