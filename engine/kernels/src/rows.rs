//! What stands between products: norms, turning and activations. Owns: their arithmetic, in 32 bits, rounded once at the end.
//! Rows are independent of each other.
#![expect(unsafe_code, reason = "the innermost loops")]

use std::ops::Range;

use crate::element::{Element, Numbers, NumbersMut};
use crate::level::{Available, Work};
use crate::pages::{Pool, Writer};
use crate::simd::{Simd, sigmoid, tanh};
use crate::threads::{Threads, Writable};
use crate::tile::{load_some, store_some};

/// Numbers of a part.
const NUMBERS_PER_PART: usize = 16_384;

/// What is between two products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x * sigmoid(x)`.
    Silu,
    /// `x * Φ(x)` by way of tanh.
    GeluTanh,
}

/// Rows in parts that are worth a thread.
fn parts(rows: usize, width: usize) -> (usize, impl Fn(usize) -> Range<usize>) {
    let count = (rows * width)
        .div_ceil(NUMBERS_PER_PART)
        .clamp(1, rows.max(1));
    (count, move |part| {
        part * rows / count..(part + 1) * rows / count
    })
}

/// Root-mean-square norm (Zhang and Sennrich, arXiv 1910.07467) of each row of `x`, `[rows, weight.len()]`, times
/// `weight`.
///
/// # Panics
/// When lengths or types differ.
pub fn rms_norm(
    (level, threads): (Available, &mut Threads),
    x: Numbers<'_>,
    (weight, epsilon): (&[f32], f32),
    out: NumbersMut<'_>,
) {
    match (x, out) {
        (Numbers::Float(x), NumbersMut::Float(out)) => {
            norm_all((level, threads), x, (weight, epsilon), out)
        }
        (Numbers::Half(x), NumbersMut::Half(out)) => {
            norm_all((level, threads), x, (weight, epsilon), out)
        }
        _ => panic!("a norm keeps its type"),
    }
}

fn norm_all<E: Element>(
    (level, threads): (Available, &mut Threads),
    x: &[E],
    (weight, epsilon): (&[f32], f32),
    out: &mut [E],
) {
    let width = weight.len();
    assert_eq!(x.len(), out.len(), "a norm keeps its shape");
    assert_eq!(x.len() % width.max(1), 0, "rows of {width} numbers");
    let (count, rows) = parts(x.len() / width.max(1), width);
    let numbers = x.len();
    let out = Writable::new(out);
    threads.run(count, numbers, |part| {
        level.run(NormPart {
            x,
            weight,
            epsilon,
            out,
            rows: rows(part),
        });
    });
}

struct NormPart<'a, E> {
    x: &'a [E],
    weight: &'a [f32],
    epsilon: f32,
    out: Writable<E>,
    rows: Range<usize>,
}

impl<E: Element> Work for NormPart<'_, E> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.weight.len();
        for row in self.rows {
            let x = &self.x[row * width..][..width];
            // SAFETY: the caller has the level; a row is as wide as the weight, and written by nobody else.
            unsafe {
                let factor = S::splat(scale_of::<S, E>(x, self.epsilon));
                for place in (0..width).step_by(S::LANES) {
                    let left = width - place;
                    let normed = S::mul(load_some::<S, E>(x.as_ptr().add(place), left), factor);
                    let weight = load_some::<S, f32>(self.weight.as_ptr().add(place), left);
                    store_some::<S, E>(
                        self.out.at(row * width + place),
                        S::mul(normed, weight),
                        left,
                    );
                }
            }
        }
    }
}

/// One over the root of the mean of squares.
///
/// # Safety
/// The processor has the level of `S`.
#[inline(always)]
unsafe fn scale_of<S: Simd, E: Element>(x: &[E], epsilon: f32) -> f32 {
    // SAFETY: what the caller promised; loads stay in the slice.
    unsafe {
        let mut squares = S::zero();
        for place in (0..x.len()).step_by(S::LANES) {
            let numbers = load_some::<S, E>(x.as_ptr().add(place), x.len() - place);
            squares = S::fma(numbers, numbers, squares);
        }
        1.0 / (S::sum(squares) / x.len() as f32 + epsilon).sqrt()
    }
}

/// Activations of rows: `activation(x)` of `[rows, width]` where there are as many numbers as results, and
/// `activation(x[.., ..width]) * x[.., width..]` of `[rows, 2 * width]` where there are twice as many.
///
/// # Panics
/// When lengths or types differ.
pub fn activate(
    (level, threads): (Available, &mut Threads),
    x: Numbers<'_>,
    (activation, width): (Activation, usize),
    out: NumbersMut<'_>,
) {
    let what = (activation, width);
    match (x, out) {
        (Numbers::Float(x), NumbersMut::Float(out)) => activate_all((level, threads), x, what, out),
        (Numbers::Half(x), NumbersMut::Half(out)) => activate_all((level, threads), x, what, out),
        _ => panic!("an activation keeps its type"),
    }
}

fn activate_all<E: Element>(
    (level, threads): (Available, &mut Threads),
    x: &[E],
    (activation, width): (Activation, usize),
    out: &mut [E],
) {
    let gated = x.len() != out.len();
    assert!(
        !gated || x.len() == 2 * out.len(),
        "as many numbers as results, or twice as many"
    );
    assert_eq!(out.len() % width.max(1), 0, "rows of {width} numbers");
    let (count, rows) = parts(out.len() / width.max(1), width);
    let numbers = out.len();
    let out = Writable::new(out);
    threads.run(count, numbers, |part| {
        level.run(ActivationPart {
            x,
            activation,
            width,
            gated,
            out,
            rows: rows(part),
        });
    });
}

struct ActivationPart<'a, E> {
    x: &'a [E],
    activation: Activation,
    width: usize,
    gated: bool,
    out: Writable<E>,
    rows: Range<usize>,
}

impl<E: Element> Work for ActivationPart<'_, E> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let width = self.width;
        let row_width = if self.gated { 2 * width } else { width };
        for row in self.rows {
            let x = &self.x[row * row_width..][..row_width];
            for place in (0..width).step_by(S::LANES) {
                let left = width - place;
                // SAFETY: the caller has the level; the row is as wide, and its result written by nobody else.
                unsafe {
                    let number = load_some::<S, E>(x.as_ptr().add(place), left);
                    let mut active = match self.activation {
                        Activation::Silu => S::mul(number, sigmoid::<S>(number)),
                        Activation::GeluTanh => gelu::<S>(number),
                    };
                    if self.gated {
                        let up = load_some::<S, E>(x.as_ptr().add(width + place), left);
                        active = S::mul(active, up);
                    }
                    store_some::<S, E>(self.out.at(row * width + place), active, left);
                }
            }
        }
    }
}

/// # Safety
/// The processor has the level of `S`.
#[inline(always)]
unsafe fn gelu<S: Simd>(x: S::Floats) -> S::Floats {
    // The root of 2 / π.
    const ROOT: f32 = 0.797_884_6;
    // SAFETY: what the caller promised.
    unsafe {
        let cube = S::mul(S::mul(x, x), x);
        let inner = S::mul(S::splat(ROOT), S::fma(S::splat(0.044_715), cube, x));
        let half = S::mul(S::splat(0.5), x);
        S::fma(half, tanh::<S>(inner), half)
    }
}

/// Queries, keys and values of a step on their way from one product to attention: heads are normed, turned by the angles
/// of their places (Su et al., arXiv 2104.09864), and keys and values put into their pages.
#[derive(Debug, Clone, Copy)]
pub struct Heads<'a> {
    /// `[tokens, (heads + 2 * kv_heads) * head_dim]`: queries, keys, values.
    pub qkv: Numbers<'a>,
    /// Query heads.
    pub heads: usize,
    /// `[heads + kv_heads, head_dim]`: weights of the norms of single heads, queries first; and their epsilon.
    pub norms: Option<(&'a [f32], f32)>,
    /// Where places are not turned: `None`.
    pub angles: Option<Angles<'a>>,
    /// Where each token's keys and values go; those of one page in their order.
    pub slots: &'a [usize],
}

/// Cosines and sines of the step's tokens, `[tokens, turned]` each; the first half of the sines negated.
#[derive(Debug, Clone, Copy)]
pub struct Angles<'a> {
    /// Cosines.
    pub cos: &'a [f32],
    /// Sines.
    pub sin: &'a [f32],
    /// Numbers of a head that are turned, the first ones.
    pub turned: usize,
}

impl Heads<'_> {
    /// Does it; queries go to `out`, `[tokens, heads, head_dim]`.
    ///
    /// # Panics
    /// When lengths or types differ, or a slot is beyond the pool.
    pub fn compute(
        &self,
        level: Available,
        threads: &mut Threads,
        pool: &mut Pool,
        out: NumbersMut<'_>,
    ) {
        match (self.qkv, out) {
            (Numbers::Float(qkv), NumbersMut::Float(out)) => {
                self.of((level, threads), pool, qkv, out)
            }
            (Numbers::Half(qkv), NumbersMut::Half(out)) => {
                self.of((level, threads), pool, qkv, out)
            }
            _ => panic!("queries keep their type"),
        }
    }

    fn of<E: Element>(
        &self,
        (level, threads): (Available, &mut Threads),
        pool: &mut Pool,
        qkv: &[E],
        out: &mut [E],
    ) {
        let shape = pool.shape();
        let (tokens, width) = (self.slots.len(), shape.head_dim);
        let all = self.heads + 2 * shape.kv_heads;
        assert_eq!(
            qkv.len(),
            tokens * all * width,
            "{tokens} rows of {all} heads of {width}"
        );
        assert_eq!(
            out.len(),
            tokens * self.heads * width,
            "{tokens} rows of {} heads of {width}",
            self.heads
        );
        if let Some((weights, _)) = self.norms {
            assert_eq!(
                weights.len(),
                (self.heads + shape.kv_heads) * width,
                "a weight for each head"
            );
        }
        if let Some(Angles { cos, sin, turned }) = self.angles {
            assert!(
                turned <= width && turned.is_multiple_of(2),
                "{turned} numbers of {width} are turned"
            );
            assert!(
                cos.len() == tokens * turned && sin.len() == cos.len(),
                "angles of each token"
            );
        }
        let writer = pool.writer::<E>();
        let out = Writable::new(out);
        // A head is worked on by one thread: tokens of a page share units of values.
        let (count, heads) = parts(self.heads + shape.kv_heads, tokens * width);
        threads.run(count, qkv.len(), |part| {
            level.run(HeadsPart {
                all: self,
                qkv,
                out,
                writer,
                heads: heads(part),
                kv_heads: shape.kv_heads,
                width,
            });
        });
    }
}

struct HeadsPart<'a, E> {
    all: &'a Heads<'a>,
    qkv: &'a [E],
    out: Writable<E>,
    writer: Writer,
    /// Which of queries and keys.
    heads: Range<usize>,
    kv_heads: usize,
    width: usize,
}

impl<E: Element> Work for HeadsPart<'_, E> {
    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let (width, heads) = (self.width, self.all.heads);
        let row = (heads + 2 * self.kv_heads) * width;
        let mut wide = vec![0.0; width];
        let mut turned = vec![0.0; width];
        let mut key = vec![E::default(); width];
        for head in self.heads.clone() {
            for (token, slot) in self.all.slots.iter().enumerate() {
                let x = &self.qkv[token * row + head * width..][..width];
                // SAFETY: the caller has the level; this head's results are written by nobody else.
                unsafe {
                    self.norm::<S>(head, x, &mut wide);
                    self.turn(token, &wide, &mut turned);
                    if head < heads {
                        let to = self.out.at((token * heads + head) * width);
                        narrow::<S, E>(&turned, to);
                    } else {
                        narrow::<S, E>(&turned, key.as_mut_ptr());
                        let value =
                            &self.qkv[token * row + (head + self.kv_heads) * width..][..width];
                        self.writer.put(*slot, head - heads, &key, value);
                    }
                }
            }
        }
    }
}

impl<E: Element> HeadsPart<'_, E> {
    #[inline(always)]
    unsafe fn norm<S: Simd>(&self, head: usize, x: &[E], wide: &mut [f32]) {
        // SAFETY: the caller has the level; loads and stores stay in the slices.
        unsafe {
            let factor = match self.all.norms {
                None => 1.0,
                Some((_, epsilon)) => scale_of::<S, E>(x, epsilon),
            };
            for place in (0..x.len()).step_by(S::LANES) {
                let left = x.len() - place;
                let mut number = load_some::<S, E>(x.as_ptr().add(place), left);
                if let Some((weights, _)) = self.all.norms {
                    let weight = weights.as_ptr().add(head * self.width + place);
                    number = S::mul(
                        S::mul(number, S::splat(factor)),
                        load_some::<S, f32>(weight, left),
                    );
                }
                store_some::<S, f32>(wide.as_mut_ptr().add(place), number, left);
            }
        }
    }

    #[inline(always)]
    fn turn(&self, token: usize, wide: &[f32], turned: &mut [f32]) {
        let Some(Angles {
            cos,
            sin,
            turned: count,
        }) = self.all.angles
        else {
            turned.copy_from_slice(wide);
            return;
        };
        let half = count / 2;
        let (cos, sin) = (
            &cos[token * count..][..count],
            &sin[token * count..][..count],
        );
        let (low, rest) = wide.split_at(half);
        let (high, beyond) = rest.split_at(half);
        for place in 0..half {
            turned[place] = low[place] * cos[place] + high[place] * sin[place];
            turned[half + place] = high[place] * cos[half + place] + low[place] * sin[half + place];
        }
        turned[count..].copy_from_slice(beyond);
    }
}

/// # Safety
/// The processor has the level of `S`; there is room for as many.
#[inline(always)]
unsafe fn narrow<S: Simd, E: Element>(from: &[f32], to: *mut E) {
    for place in (0..from.len()).step_by(S::LANES) {
        let left = from.len() - place;
        // SAFETY: what the caller promised; loads stay in the slice.
        unsafe {
            let number = load_some::<S, f32>(from.as_ptr().add(place), left);
            store_some::<S, E>(to.add(place), number, left);
        }
    }
}
