//! Norms, turning and activations.

use lps_engine_kernels::attention::{Attention, Sequence};
use lps_engine_kernels::element::{Numbers, NumbersMut};
use lps_engine_kernels::level::Available;
use lps_engine_kernels::pages::{Pool, PoolShape};
use lps_engine_kernels::rows::{Activation, Angles, Heads, activate, rms_norm};

use crate::support::{assert_near, halves, levels, random, threads, widened};

#[test]
fn norms_are_right_on_every_level() {
    for (rows, width) in [(1, 64), (3, 100), (700, 48), (2, 7)] {
        let (x, weight) = (random(1, rows * width), random(2, width));
        let expected: Vec<f64> = x
            .chunks_exact(width)
            .flat_map(|row| {
                let mean = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
                let factor = 1.0 / (mean + 1e-5).sqrt();
                row.iter()
                    .zip(&weight)
                    .map(move |(x, w)| f64::from(*x) * factor * f64::from(*w))
                    .collect::<Vec<_>>()
            })
            .collect();
        for level in levels() {
            let mut out = vec![0.0; x.len()];
            rms_norm(
                (level, &mut threads(2)),
                Numbers::Float(&x),
                (&weight, 1e-5),
                NumbersMut::Float(&mut out),
            );
            assert_near(level.level().name(), &out, &expected, 2e-6);
        }
    }
}

#[test]
fn gates_are_right_on_every_level() {
    let gelu = |x: f64| {
        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
    };
    let silu = |x: f64| x / (1.0 + (-x).exp());
    for (rows, width) in [(1, 64), (3, 50), (600, 32)] {
        let x: Vec<f32> = random(3, rows * 2 * width)
            .iter()
            .map(|x| x * 20.0)
            .collect();
        for (kind, exact) in [
            (Activation::Silu, &silu as &dyn Fn(f64) -> f64),
            (Activation::GeluTanh, &gelu),
        ] {
            let row = |row: &[f32]| -> Vec<f64> {
                let (gates, ups) = row.split_at(width);
                gates
                    .iter()
                    .zip(ups)
                    .map(|(gate, up)| exact(f64::from(*gate)) * f64::from(*up))
                    .collect()
            };
            let expected: Vec<f64> = x.chunks_exact(2 * width).flat_map(row).collect();
            for level in levels() {
                let mut out = vec![0.0; rows * width];
                activate(
                    (level, &mut threads(2)),
                    Numbers::Float(&x),
                    (kind, width),
                    NumbersMut::Float(&mut out),
                );
                assert_near(
                    &format!("{kind:?}, {}", level.level()),
                    &out,
                    &expected,
                    1e-4,
                );
            }
        }
    }
}

#[test]
fn a_gate_of_what_is_no_number_is_none() {
    for level in levels() {
        let x = [
            f32::NAN,
            f32::INFINITY,
            -f32::INFINITY,
            -1e30,
            1.0,
            1.0,
            1.0,
            1.0,
        ];
        let mut out = [0.0; 4];
        activate(
            (level, &mut threads(1)),
            Numbers::Float(&x),
            (Activation::Silu, 4),
            NumbersMut::Float(&mut out),
        );
        assert!(out[0].is_nan(), "{}: {out:?}", level.level());
        assert!(
            out[1] == f32::INFINITY && out[3].abs() < 1e-3,
            "{}: {out:?}",
            level.level()
        );
    }
}

const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const WIDTH: usize = 12;
const TURNED: usize = 8;
const TOKENS: usize = 3;

/// Queries, keys and values of some tokens, and what is done to them.
struct Subject {
    qkv: Vec<f32>,
    norms: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Subject {
    fn new() -> Self {
        Self {
            qkv: random(4, TOKENS * (HEADS + 2 * KV_HEADS) * WIDTH),
            norms: random(5, (HEADS + KV_HEADS) * WIDTH),
            cos: random(6, TOKENS * TURNED),
            sin: random(7, TOKENS * TURNED),
        }
    }

    fn row(&self, token: usize, head: usize) -> &[f32] {
        &self.qkv[(token * (HEADS + 2 * KV_HEADS) + head) * WIDTH..][..WIDTH]
    }

    /// A head, normed and turned.
    fn exact(&self, token: usize, head: usize) -> Vec<f64> {
        let x = self.row(token, head);
        let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / WIDTH as f64;
        let factor = 1.0 / (mean + 1e-6).sqrt();
        let weights = &self.norms[head * WIDTH..];
        let normed = x.iter().zip(weights);
        let normed: Vec<f64> = normed
            .map(|(x, w)| f64::from(*x) * factor * f64::from(*w))
            .collect();
        let number = |place: usize| {
            if place >= TURNED {
                return normed[place];
            }
            let other = normed[(place + TURNED / 2) % TURNED];
            let at = token * TURNED + place;
            normed[place] * f64::from(self.cos[at]) + other * f64::from(self.sin[at])
        };
        (0..WIDTH).map(number).collect()
    }

    /// The queries; keys and values are in the pool then, each token alone in a page.
    fn compute(&self, level: Available, pool: &mut Pool) -> Vec<f32> {
        let mut out = vec![0.0; TOKENS * HEADS * WIDTH];
        let angles = Angles {
            cos: &self.cos,
            sin: &self.sin,
            turned: TURNED,
        };
        let heads = Heads {
            qkv: Numbers::Float(&self.qkv),
            heads: HEADS,
            norms: Some((&self.norms, 1e-6)),
            angles: Some(angles),
            slots: &[16, 32, 48],
        };
        heads.compute(level, &mut threads(2), pool, NumbersMut::Float(&mut out));
        out
    }
}

fn pool() -> Pool {
    let shape = PoolShape {
        pages: 4,
        kv_heads: KV_HEADS,
        head_dim: WIDTH,
        half: false,
    };
    Pool::new(shape).expect("there is memory")
}

#[test]
fn heads_are_normed_and_turned() {
    let subject = Subject::new();
    let places = (0..TOKENS).flat_map(|token| (0..HEADS).map(move |head| (token, head)));
    let expected: Vec<f64> = places
        .flat_map(|(token, head)| subject.exact(token, head))
        .collect();
    for level in levels() {
        let found = subject.compute(level, &mut pool());
        assert_near(level.level().name(), &found, &expected, 1e-5);
    }
}

/// A token that sees only itself gets its own value.
#[test]
fn values_are_where_attention_reads_them() {
    let subject = Subject::new();
    for level in levels() {
        let mut pool = pool();
        let query = subject.compute(level, &mut pool);
        let pages = [[1_u32], [2], [3]];
        let sequence = |row: usize| Sequence {
            row,
            len: 1,
            computed: 0,
            pages: &pages[row],
        };
        let attention = Attention {
            query: Numbers::Float(&query),
            heads: HEADS,
            pool: &pool,
            sequences: &(0..TOKENS).map(sequence).collect::<Vec<_>>(),
            scale: 1.0,
            cap: None,
            window: None,
        };
        let mut attended = vec![0.0; query.len()];
        attention.compute(level, &mut threads(2), NumbersMut::Float(&mut attended));
        for (index, found) in attended.chunks_exact(WIDTH).enumerate() {
            let (token, head) = (index / HEADS, index % HEADS);
            let value = HEADS + KV_HEADS + head / (HEADS / KV_HEADS);
            assert_eq!(
                found,
                subject.row(token, value),
                "{}: {token}, {head}",
                level.level()
            );
        }
    }
}

#[test]
fn activations_without_a_gate_are_those_with_a_gate_of_one() {
    let (rows, width) = (3, 33);
    let x = random(10, rows * width);
    let gated: Vec<f32> = x
        .chunks_exact(width)
        .flat_map(|row| row.iter().copied().chain(vec![1.0; width]))
        .collect();
    for level in levels() {
        let run = |x: &[f32]| {
            let mut out = vec![0.0; rows * width];
            let what = (Activation::GeluTanh, width);
            activate(
                (level, &mut threads(1)),
                Numbers::Float(x),
                what,
                NumbersMut::Float(&mut out),
            );
            out
        };
        assert_eq!(run(&x), run(&gated), "{}", level.level());
    }
}

#[test]
fn sixteen_bits_round_once() {
    let (rows, width) = (5, 96);
    let (x, weight) = (halves(&random(8, rows * width)), random(9, width));
    for level in levels() {
        let mut wide = vec![0.0; x.len()];
        let own = widened(&x);
        rms_norm(
            (level, &mut threads(1)),
            Numbers::Float(&own),
            (&weight, 1e-5),
            NumbersMut::Float(&mut wide),
        );
        let mut out = vec![half::bf16::ZERO; x.len()];
        rms_norm(
            (level, &mut threads(1)),
            Numbers::Half(&x),
            (&weight, 1e-5),
            NumbersMut::Half(&mut out),
        );
        assert_eq!(out, halves(&wide), "{}", level.level());
    }
}
