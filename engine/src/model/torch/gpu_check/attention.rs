//! Attention of single tokens: against sums of 64 bits, and how fast it reads. Owns: the shapes.

use tch::{Kind, TchError, Tensor};

use crate::kernels::cuda::Cuda;
use crate::kernels::cuda::cases::{Shape, Step, difference, numbers};
use crate::kernels::reference::Reference;
use crate::model::torch::gpu_check::timing::ms_of;
use crate::model::torch::gpu_check::{Check, Rate, Target};

/// How far it goes.
#[derive(Debug)]
pub(super) struct Sweep {
    heads: &'static [Heads],
    /// Tokens before the new one, of the sequences of a check.
    before: &'static [usize],
    /// Bytes of a copy.
    copy_bytes: i64,
    /// Sequences, and tokens of each, whose keys and values are read.
    read: &'static [(usize, usize)],
    runs: usize,
}

impl Sweep {
    pub(super) fn whole() -> Self {
        Self {
            heads: &HEADS,
            before: &[
                0, 14, 15, 16, 254, 255, 256, 1000, 5000, 8190, 8191, 8192, 40_000,
            ],
            copy_bytes: 1 << 30,
            read: &[
                (1, 1024),
                (1, 8192),
                (1, 65_536),
                (8, 1024),
                (8, 8192),
                (64, 1024),
                (64, 4096),
                (256, 1024),
            ],
            runs: 20,
        }
    }

    #[cfg(test)]
    pub(super) fn small() -> Self {
        Self {
            heads: &HEADS[4..],
            before: &[0, 16, 300],
            copy_bytes: 1 << 10,
            read: &[(2, 40)],
            runs: 1,
        }
    }
}

/// Heads as models have them.
#[derive(Debug)]
struct Heads {
    of: &'static str,
    heads: i64,
    kv_heads: i64,
    head_dim: i64,
    /// Not as large as theirs, so that it is felt.
    window: Option<usize>,
    cap: Option<f64>,
}

const fn heads(of: &'static str, [heads, kv_heads, head_dim]: [i64; 3]) -> Heads {
    Heads {
        of,
        heads,
        kv_heads,
        head_dim,
        window: None,
        cap: None,
    }
}

static HEADS: [Heads; 6] = [
    heads("Llama 3.1 8B", [32, 8, 128]),
    heads("Qwen2.5 0.5B", [14, 2, 64]),
    heads("Qwen3 0.6B", [16, 8, 128]),
    heads("Phi-3 mini", [32, 32, 96]),
    Heads {
        cap: Some(50.0),
        ..heads("Gemma 2 2B", [8, 4, 256])
    },
    Heads {
        cap: Some(50.0),
        window: Some(300),
        ..heads("Gemma 2 2B with a window", [8, 4, 256])
    },
];

/// What keys, values and steps are timed with.
const TIMED: Shape = Shape {
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
    kind: Kind::BFloat16,
    window: None,
    cap: None,
};

/// Against sums of 64 bits; and, with prompts between them, against libtorch's operators.
pub(super) fn checks(target: Target, sweep: &Sweep) -> Result<Vec<Check>, TchError> {
    let kernels = Cuda::new(target.library);
    let decodes: Vec<_> = sweep.before.iter().map(|before| (*before, 1)).collect();
    let mixed = [(20, 1), (0, 40), (300, 1), (33, 5), (0, 1)];
    let mut checks = Vec::new();
    for heads in sweep.heads {
        for kind in [Kind::Float, Kind::BFloat16] {
            let shape = Shape {
                heads: heads.heads,
                kv_heads: heads.kv_heads,
                head_dim: heads.head_dim,
                kind,
                window: heads.window,
                cap: heads.cap,
            };
            let what = |step: &str| format!("attention, {step}, {}, {kind:?}", heads.of);
            let step = Step::new(shape, &decodes, target.device)?;
            let (worst, most) = step.error(&kernels)?;
            checks.push(Check::new(what("single tokens"), (worst, most)));
            // In 16 bits libtorch's own rounding of capped scores would be all that is seen.
            if kind == Kind::Float {
                let step = Step::new(shape, &mixed, target.device)?;
                let worst = difference(&step.attend(&kernels)?, &step.attend(&Reference)?)?;
                checks.push(Check::new(what("a mixed step"), (worst, 2.0 * most)));
            }
        }
    }
    Ok(checks)
}

/// A copy, which is what the device can do, then attention; each key and value is read once.
pub(super) fn rates(target: Target, sweep: &Sweep) -> Result<Vec<Rate>, TchError> {
    let options = (Kind::Float, target.device);
    let from = numbers(&[sweep.copy_bytes / 4], 1.0, options)?;
    let mut to = Tensor::f_empty([sweep.copy_bytes / 4], options)?;
    let ms = ms_of(target.library, sweep.runs, || to.f_copy_(&from))?;
    drop((from, to));
    let mut rates = vec![Rate::new(
        "copy, bytes read and written".to_owned(),
        2 * sweep.copy_bytes.unsigned_abs(),
        ms,
    )];
    let kernels = Cuda::new(target.library);
    for (sequences, tokens) in sweep.read {
        let step = Step::new(TIMED, &vec![(tokens - 1, 1); *sequences], target.device)?;
        let ms = ms_of(target.library, sweep.runs, || {
            step.attend(&kernels).map(drop)
        })?;
        let numbers = 2 * sequences * tokens * (TIMED.kv_heads * TIMED.head_dim) as usize;
        let what = format!("attention, {sequences} sequences of {tokens} tokens, bfloat16");
        rates.push(Rate::new(what, 2 * numbers as u64, ms));
    }
    Ok(rates)
}
