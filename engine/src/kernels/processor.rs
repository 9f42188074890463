//! Our own kernels, on tensors. Owns: views of tensors as plain numbers, and the threads.
#![expect(unsafe_code, reason = "the border to libtorch's memory")]

use std::cell::RefCell;
use std::num::NonZeroUsize;

use half::bf16;
use lps_engine_kernels::attention::{Attention, Sequence};
use lps_engine_kernels::element::{Numbers, NumbersMut};
use lps_engine_kernels::level::Available;
use lps_engine_kernels::product::Product;
use lps_engine_kernels::rows;
use lps_engine_kernels::threads::Threads;
use tch::{Device, Kind, TchError, Tensor};

use crate::kernels::linear::{Linear, Weight};
use crate::kernels::pages::{LayerPages, Read, Reads};
use crate::kernels::reference::Reference;
use crate::kernels::{Activation, Heads, Kernels, Scores};

/// See the module.
#[derive(Debug)]
pub struct Processor {
    level: Available,
    threads: RefCell<Threads>,
}

impl Processor {
    /// Runs with the instructions of `level`, on so many threads, of which the caller is one.
    pub fn new(level: Available, threads: NonZeroUsize) -> Self {
        Self {
            level,
            threads: RefCell::new(Threads::new(threads)),
        }
    }
}

impl Kernels for Processor {
    fn multiply(&self, x: &Tensor, linear: &Linear) -> Result<Tensor, TchError> {
        let Weight::Own(weight) = &linear.weight else {
            return Err(of_others());
        };
        let x = rows_of(x, weight.inputs())?;
        let kind = if linear.wide { Kind::Float } else { x.kind() };
        let mut out = Tensor::f_empty(
            [
                count(&x) / signed(weight.inputs()),
                signed(weight.outputs()),
            ],
            (kind, Device::Cpu),
        )?;
        let product = Product {
            weight,
            x: numbers(&x)?,
            bias: linear.bias.as_ref().map(floats).transpose()?,
        };
        product.compute(
            self.level,
            &mut self.threads.borrow_mut(),
            numbers_mut(&mut out)?,
        );
        Ok(out)
    }

    fn rms_norm(&self, x: &Tensor, weight: &Tensor, epsilon: f64) -> Result<Tensor, TchError> {
        let x = rows_of(x, weight.numel())?;
        let mut out = x.f_empty_like()?;
        rows::rms_norm(
            (self.level, &mut self.threads.borrow_mut()),
            numbers(&x)?,
            (floats(weight)?, epsilon as f32),
            numbers_mut(&mut out)?,
        );
        Ok(out)
    }

    fn activate(
        &self,
        x: &Tensor,
        activation: Activation,
        gated: bool,
    ) -> Result<Tensor, TchError> {
        let own = match activation {
            Activation::Silu => rows::Activation::Silu,
            Activation::GeluTanh => rows::Activation::GeluTanh,
            // No family of decoders has it.
            Activation::Gelu => return Reference.activate(x, activation, gated),
        };
        let x = x.f_contiguous()?;
        let (tokens, mut width) = x.size2()?;
        if gated {
            width /= 2;
        }
        let mut out = Tensor::f_empty([tokens, width], (x.kind(), Device::Cpu))?;
        rows::activate(
            (self.level, &mut self.threads.borrow_mut()),
            numbers(&x)?,
            (own, width.unsigned_abs() as usize),
            numbers_mut(&mut out)?,
        );
        Ok(out)
    }

    fn heads(&self, pages: &mut LayerPages, heads: &Heads<'_>) -> Result<Tensor, TchError> {
        let LayerPages::Own(pool) = pages else {
            return Err(of_others());
        };
        let qkv = heads.qkv.f_contiguous()?;
        let (tokens, _) = qkv.size2()?;
        let size = [tokens, heads.heads, heads.head_dim];
        let mut out = Tensor::f_empty(size, (qkv.kind(), Device::Cpu))?;
        let norms = match heads.norms {
            None => None,
            Some(norms) => Some((floats(&norms.weights)?, norms.epsilon as f32)),
        };
        let angles = match heads.angles {
            None => None,
            Some(angles) => Some(rows::Angles {
                cos: floats(&angles.cos)?,
                sin: floats(&angles.sin)?,
                turned: angles
                    .cos
                    .size()
                    .last()
                    .map_or(0, |n| n.unsigned_abs() as usize),
            }),
        };
        let all = rows::Heads {
            qkv: numbers(&qkv)?,
            heads: heads.heads.unsigned_abs() as usize,
            norms,
            angles,
            slots: &heads.slots.places,
        };
        all.compute(
            self.level,
            &mut self.threads.borrow_mut(),
            pool,
            numbers_mut(&mut out)?,
        );
        Ok(out)
    }

    fn attend(
        &self,
        query: &Tensor,
        pages: &LayerPages,
        reads: &Reads,
        scores: Scores,
    ) -> Result<Tensor, TchError> {
        let LayerPages::Own(pool) = pages else {
            return Err(of_others());
        };
        let query = query.f_contiguous()?;
        let (tokens, heads, head_dim) = query.size3()?;
        let mut out = Tensor::f_empty([tokens, heads * head_dim], (query.kind(), Device::Cpu))?;
        let sequence = |read: &Read| Sequence {
            row: read.row,
            len: read.len,
            computed: read.computed,
            pages: &reads.table[read.pages.clone()],
        };
        let sequences: Vec<_> = reads.sequences.iter().map(sequence).collect();
        let attention = Attention {
            query: numbers(&query)?,
            heads: heads.unsigned_abs() as usize,
            pool,
            sequences: &sequences,
            scale: scores.scale as f32,
            cap: scores.cap.map(|cap| cap as f32),
            window: reads.window,
        };
        attention.compute(
            self.level,
            &mut self.threads.borrow_mut(),
            numbers_mut(&mut out)?,
        );
        Ok(out)
    }
}

/// Weights and pages are made by the same choice as the kernels.
fn of_others() -> TchError {
    TchError::Kind("these weights or pages are of other kernels".to_owned())
}

/// Rows of so many numbers, one after the other.
fn rows_of(x: &Tensor, width: usize) -> Result<Tensor, TchError> {
    if x.size().last() != Some(&signed(width)) {
        let size = x.size();
        return Err(TchError::Shape(format!(
            "rows of {width} numbers are wanted, not {size:?}"
        )));
    }
    x.f_contiguous()
}

fn count(x: &Tensor) -> i64 {
    signed(x.numel())
}

fn signed(number: usize) -> i64 {
    number as i64
}

/// Where a tensor's numbers are, if they stand one after the other in the processor's memory.
fn place(x: &Tensor) -> Result<(*mut std::ffi::c_void, usize), TchError> {
    if x.device() != Device::Cpu || !x.is_contiguous() {
        return Err(TchError::Shape(format!(
            "numbers of shape {:?} do not stand together in memory",
            x.size()
        )));
    }
    Ok((x.data_ptr(), x.numel()))
}

fn of_no_use(x: &Tensor) -> TchError {
    TchError::Kind(format!("our own kernels have no {:?}", x.kind()))
}

/// The numbers of a tensor that is whole in the processor's memory.
pub(super) fn numbers(x: &Tensor) -> Result<Numbers<'_>, TchError> {
    let (data, count) = place(x)?;
    // SAFETY: the tensor holds as many numbers of its kind, one after the other, and lives while the slice is borrowed.
    // Nobody writes to them meanwhile: all tensors belong to one thread, which waits for the kernel.
    unsafe {
        match x.kind() {
            // An empty tensor may be nowhere.
            Kind::Float if count == 0 => Ok(Numbers::Float(&[])),
            Kind::BFloat16 if count == 0 => Ok(Numbers::Half(&[])),
            Kind::Float => Ok(Numbers::Float(std::slice::from_raw_parts(
                data.cast(),
                count,
            ))),
            Kind::BFloat16 => {
                let data = data.cast::<bf16>();
                Ok(Numbers::Half(std::slice::from_raw_parts(data, count)))
            }
            _ => Err(of_no_use(x)),
        }
    }
}

fn numbers_mut(x: &mut Tensor) -> Result<NumbersMut<'_>, TchError> {
    let (data, count) = place(x)?;
    // SAFETY: as in `numbers`; callers made the tensor, so no other has its memory. What is in it is not read, and any bits are
    // a number of these kinds.
    unsafe {
        match x.kind() {
            Kind::Float if count == 0 => Ok(NumbersMut::Float(&mut [])),
            Kind::BFloat16 if count == 0 => Ok(NumbersMut::Half(&mut [])),
            Kind::Float => Ok(NumbersMut::Float(std::slice::from_raw_parts_mut(
                data.cast(),
                count,
            ))),
            Kind::BFloat16 => {
                let data = data.cast::<bf16>();
                Ok(NumbersMut::Half(std::slice::from_raw_parts_mut(
                    data, count,
                )))
            }
            _ => Err(of_no_use(x)),
        }
    }
}

/// The numbers of a tensor of 32 bits that is whole in the processor's memory, and nobody else's.
///
/// # Errors
/// When it is of another type or elsewhere.
pub fn floats_mut(x: &mut Tensor) -> Result<&mut [f32], TchError> {
    if x.kind() != Kind::Float {
        return Err(of_no_use(x));
    }
    match numbers_mut(x)? {
        NumbersMut::Float(numbers) => Ok(numbers),
        NumbersMut::Half(_) => Ok(&mut []),
    }
}

fn floats(x: &Tensor) -> Result<&[f32], TchError> {
    match numbers(x)? {
        Numbers::Float(numbers) => Ok(numbers),
        Numbers::Half(_) => Err(of_no_use(x)),
    }
}
