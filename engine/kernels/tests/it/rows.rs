//! Norms, turning and activations.

use lps_engine_kernels::attention::{Attention, Sequence};
use lps_engine_kernels::element::{Numbers, NumbersMut};
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

/// Heads as they come out, and what attention to the single token itself gives, which is its value.
#[test]
fn heads_are_normed_turned_and_stored() {
    let (heads, kv_heads, width, turned, tokens) = (4, 2, 12, 8, 3);
    let qkv = random(4, tokens * (heads + 2 * kv_heads) * width);
    let norms = random(5, (heads + kv_heads) * width);
    let (cos, sin) = (random(6, tokens * turned), random(7, tokens * turned));
    let exact = |token: usize, head: usize| -> Vec<f64> {
        let x = &qkv[(token * (heads + 2 * kv_heads) + head) * width..][..width];
        let mean = x.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / width as f64;
        let factor = 1.0 / (mean + 1e-6).sqrt();
        let weights = &norms[head * width..];
        let normed: Vec<f64> = x
            .iter()
            .zip(weights)
            .map(|(x, w)| f64::from(*x) * factor * f64::from(*w))
            .collect();
        (0..width)
            .map(|place| {
                if place >= turned {
                    return normed[place];
                }
                let other = normed[(place + turned / 2) % turned];
                let at = token * turned + place;
                normed[place] * f64::from(cos[at]) + other * f64::from(sin[at])
            })
            .collect()
    };
    let expected: Vec<f64> = (0..tokens)
        .flat_map(|token| (0..heads).flat_map(move |head| exact(token, head)))
        .collect();
    for level in levels() {
        let mut threads = threads(2);
        let shape = PoolShape {
            pages: 4,
            kv_heads,
            head_dim: width,
            half: false,
        };
        let mut pool = Pool::new(shape).unwrap();
        let mut out = vec![0.0; tokens * heads * width];
        let all = Heads {
            qkv: Numbers::Float(&qkv),
            heads,
            norms: Some((&norms, 1e-6)),
            angles: Some(Angles {
                cos: &cos,
                sin: &sin,
                turned,
            }),
            slots: &[16, 32, 48],
        };
        all.compute(level, &mut threads, &mut pool, NumbersMut::Float(&mut out));
        assert_near(level.level().name(), &out, &expected, 1e-5);
        // Each token is alone in a page of its own, so it attends to itself only.
        let pages = [[1_u32], [2], [3]];
        let sequences: Vec<_> = (0..tokens)
            .map(|row| Sequence {
                row,
                len: 1,
                computed: 0,
                pages: &pages[row],
            })
            .collect();
        let attention = Attention {
            query: Numbers::Float(&out),
            heads,
            pool: &pool,
            sequences: &sequences,
            scale: 1.0,
            cap: None,
            window: None,
        };
        let mut attended = vec![0.0; out.len()];
        attention.compute(level, &mut threads, NumbersMut::Float(&mut attended));
        for (place, found) in attended.iter().enumerate() {
            let (token, head, column) = (
                place / (heads * width),
                place / width % heads,
                place % width,
            );
            let kv_head = head / (heads / kv_heads);
            let value =
                qkv[(token * (heads + 2 * kv_heads) + heads + kv_heads + kv_head) * width + column];
            assert_eq!(
                *found,
                value,
                "{}: token {token}, head {head}",
                level.level()
            );
        }
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
