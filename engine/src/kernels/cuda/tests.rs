//! The CUDA kernels on a processor, thread by thread: against sums of 64 bits, against libtorch's operators, and against
//! themselves in other company and another order.

use tch::{Device, Kind, Tensor};

use crate::kernels::cuda::Cuda;
use crate::kernels::cuda::cases::{Shape, Step, difference, numbers};
use crate::kernels::cuda::library::emulated;
use crate::kernels::pages::{LayerPages, Reads, TensorPages};
use crate::kernels::reference::{self, Reference};

const PLAIN: Shape = Shape {
    heads: 4,
    kv_heads: 2,
    head_dim: 64,
    kind: Kind::Float,
    window: None,
    cap: None,
};

fn step(shape: Shape, sequences: &[(usize, usize)]) -> Step {
    Step::new(shape, sequences, Device::Cpu).unwrap()
}

fn emulated(step: &Step, in_order: bool) -> Tensor {
    let kernels = Cuda::new(emulated::library(in_order));
    step.attend(&kernels).unwrap()
}

fn assert_exact(shape: Shape, before: &[usize]) {
    let step = step(shape, &decodes(before));
    let kernels = Cuda::new(emulated::library(true));
    let (worst, most) = step.error(&kernels).unwrap();
    assert!(worst < most, "{shape:?}: {worst}");
}

/// Single tokens after so many others.
fn decodes(before: &[usize]) -> Vec<(usize, usize)> {
    before.iter().map(|before| (*before, 1)).collect()
}

#[test]
fn all_shapes_of_heads_are_exact() {
    for kind in [Kind::Float, Kind::BFloat16] {
        for head_dim in [8, 40, 64, 96, 128, 256] {
            for shared in [1, 2, 3, 4, 7, 8, 12] {
                let shape = Shape {
                    heads: 2 * shared,
                    kv_heads: 2,
                    head_dim,
                    kind,
                    ..PLAIN
                };
                assert_exact(shape, &[37]);
            }
        }
    }
}

#[test]
fn all_lengths_are_exact() {
    // One token; around a page, a part, two parts, and where parts grow.
    let before = [
        0, 1, 14, 15, 16, 254, 255, 256, 511, 512, 8190, 8191, 8192, 9000,
    ];
    for kind in [Kind::Float, Kind::BFloat16] {
        assert_exact(Shape { kind, ..PLAIN }, &before);
    }
}

#[test]
fn windows_and_caps_are_exact() {
    for window in [None, Some(1), Some(5), Some(16), Some(300)] {
        for cap in [None, Some(0.5), Some(50.0)] {
            let shape = Shape {
                window,
                cap,
                ..PLAIN
            };
            assert_exact(shape, &[0, 4, 5, 299, 300, 700]);
        }
    }
}

/// Every sum is in the same order whoever else is there, and in whatever order blocks and threads run: what one leaves for
/// another in memory is waited for.
#[test]
fn company_and_order_change_no_bit() {
    // So many that a block reads several parts of the long one.
    let mut before = vec![3, 700, 40, 8300];
    before.extend(1..70);
    for kind in [Kind::Float, Kind::BFloat16] {
        let all = step(Shape { kind, ..PLAIN }, &decodes(&before));
        let pages = reference::tensors(&all.pages).unwrap();
        let together = emulated(&all, true);
        assert_eq!(together, emulated(&all, false));
        for (row, read) in all.reads.sequences.iter().enumerate().take(4) {
            let mut reads = Reads::new(None, all.reads.block_tokens, all.reads.options);
            reads.push(1, read.computed, &all.reads.table[read.pages.clone()]);
            let alone = Step {
                reads,
                query: all.query.narrow(0, row as i64, 1),
                shape: all.shape,
                pages: LayerPages::Tensors(TensorPages {
                    keys: pages.keys.shallow_clone(),
                    values: pages.values.shallow_clone(),
                    kv_heads: pages.kv_heads,
                }),
            };
            assert_eq!(emulated(&alone, true), together.narrow(0, row as i64, 1));
        }
    }
}

/// Steps that mix prompts and single tokens, as libtorch's operators compute them.
#[test]
fn mixed_steps_are_as_the_operators_have_them() {
    let sequences = [(20, 1), (0, 7), (300, 1), (33, 5), (0, 1)];
    for (window, cap) in [(None, None), (Some(6), None), (None, Some(2.0))] {
        let shape = Shape {
            window,
            cap,
            ..PLAIN
        };
        let mut step = step(shape, &sequences);
        // As queries come from the operators: a part of something wider.
        let wide = numbers(&[15, 6, 64], 4.0, step.reads.options).unwrap();
        step.query = wide.narrow(1, 0, 4);
        let operators = step.attend(&Reference).unwrap();
        let worst = difference(&emulated(&step, true), &operators).unwrap();
        assert!(worst < 2e-6, "{shape:?}: {worst}");
    }
}

#[test]
fn heads_that_no_kernel_has_are_the_operators() {
    let shape = Shape {
        head_dim: 20,
        ..PLAIN
    };
    let step = step(shape, &decodes(&[9]));
    assert_eq!(emulated(&step, true), step.attend(&Reference).unwrap());
}

#[test]
fn what_does_not_fit_together_is_refused() {
    let mut step = step(PLAIN, &decodes(&[9]));
    step.query = step.query.to_kind(Kind::BFloat16);
    let kernels = Cuda::new(emulated::library(true));
    let error = step.attend(&kernels).unwrap_err().to_string();
    assert!(error.contains("do not fit together"), "{error}");
}
