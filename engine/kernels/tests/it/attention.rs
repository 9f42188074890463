//! Attention over pages.

use half::bf16;
use lps_engine_kernels::attention::{Attention, Sequence};
use lps_engine_kernels::element::{Numbers, NumbersMut};
use lps_engine_kernels::level::Available;
use lps_engine_kernels::pages::{PAGE_TOKENS, Pool, PoolShape};

use crate::support::{assert_near, halves, levels, random, threads, widened};

/// Heads, key-value heads, numbers of a head.
const SHAPES: [[usize; 3]; 7] = [
    [4, 2, 32],
    [3, 1, 16],
    [6, 2, 80],
    [2, 2, 6],
    [14, 2, 64],
    [9, 3, 256],
    [3, 3, 15],
];

/// One sequence: its keys, values and queries at every place.
struct Subject {
    heads: usize,
    kv_heads: usize,
    width: usize,
    keys: Vec<f32>,
    values: Vec<f32>,
    queries: Vec<f32>,
    scale: f32,
    cap: Option<f32>,
    window: Option<usize>,
}

impl Subject {
    fn new([heads, kv_heads, width]: [usize; 3], len: usize) -> Self {
        // Rounded to 16 bits, so that both types hold the same numbers.
        let numbers = |seed, count| widened(&halves(&random(seed, count)));
        Self {
            heads,
            kv_heads,
            width,
            keys: numbers(1, len * kv_heads * width),
            values: numbers(2, len * kv_heads * width),
            queries: numbers(3, len * heads * width),
            scale: 3.0 / (width as f32).sqrt(),
            cap: None,
            window: None,
        }
    }

    fn len(&self) -> usize {
        self.keys.len() / self.kv_heads / self.width
    }

    fn exact(&self, place: usize) -> Vec<f64> {
        let kv = |all: &[f32], place: usize, head: usize| -> Vec<f64> {
            let row = &all[(place * self.kv_heads + head) * self.width..][..self.width];
            row.iter().map(|x| f64::from(*x)).collect()
        };
        let from = self
            .window
            .map_or(0, |window| (place + 1).saturating_sub(window));
        let mut out = Vec::new();
        for head in 0..self.heads {
            let kv_head = head / (self.heads / self.kv_heads);
            let query = &self.queries[(place * self.heads + head) * self.width..][..self.width];
            let score = |other: usize| -> f64 {
                let keys = kv(&self.keys, other, kv_head);
                let dot: f64 = query.iter().zip(keys).map(|(q, k)| f64::from(*q) * k).sum();
                let score = dot * f64::from(self.scale);
                self.cap.map_or(score, |cap| {
                    f64::from(cap) * (score / f64::from(cap)).tanh()
                })
            };
            let scores: Vec<f64> = (from..=place).map(score).collect();
            let most = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|score| (score - most).exp()).collect();
            let total: f64 = weights.iter().sum();
            let mut sum = vec![0.0; self.width];
            for (other, weight) in (from..=place).zip(&weights) {
                for (sum, value) in sum.iter_mut().zip(kv(&self.values, other, kv_head)) {
                    *sum += weight / total * value;
                }
            }
            out.extend(sum);
        }
        out
    }

    /// A pool whose unused places hold no numbers, as an earlier user may have left them, and the pages in odd order.
    fn pool(&self, half: bool) -> (Pool, Vec<u32>) {
        let pages = self.len().div_ceil(PAGE_TOKENS);
        let shape = PoolShape {
            pages: 2 * pages,
            kv_heads: self.kv_heads,
            head_dim: self.width,
            half,
        };
        let mut pool = Pool::new(shape).expect("there is memory");
        let mut put = |slot: usize, key: &[f32], value: &[f32]| {
            if half {
                pool.put(
                    slot,
                    Numbers::Half(&halves(key)),
                    Numbers::Half(&halves(value)),
                );
            } else {
                pool.put(slot, Numbers::Float(key), Numbers::Float(value));
            }
        };
        let row = self.kv_heads * self.width;
        let none = vec![f32::NAN; row];
        for slot in 0..2 * pages * PAGE_TOKENS {
            put(slot, &none, &none);
        }
        let table: Vec<u32> = (0..pages as u32).rev().map(|page| 2 * page).collect();
        for place in 0..self.len() {
            let slot = table[place / PAGE_TOKENS] as usize * PAGE_TOKENS + place % PAGE_TOKENS;
            put(
                slot,
                &self.keys[place * row..][..row],
                &self.values[place * row..][..row],
            );
        }
        (pool, table)
    }

    /// Results of the places in `chunks`, each computed in one go, all in one call.
    fn attend(&self, level: Available, half: bool, chunks: &[std::ops::Range<usize>]) -> Vec<f32> {
        let (pool, table) = self.pool(half);
        let row = self.heads * self.width;
        let mut query = Vec::new();
        let mut sequences = Vec::new();
        for chunk in chunks {
            sequences.push(Sequence {
                row: query.len() / row,
                len: chunk.len(),
                computed: chunk.start,
                pages: &table[..chunk.end.div_ceil(PAGE_TOKENS)],
            });
            query.extend_from_slice(&self.queries[chunk.start * row..chunk.end * row]);
        }
        let half_query = halves(&query);
        let attention = Attention {
            query: if half {
                Numbers::Half(&half_query)
            } else {
                Numbers::Float(&query)
            },
            heads: self.heads,
            pool: &pool,
            sequences: &sequences,
            scale: self.scale,
            cap: self.cap,
            window: self.window,
        };
        // Chunks on three threads, a whole on one.
        let mut threads = threads(if chunks.len() > 1 { 3 } else { 1 });
        if half {
            let mut out = vec![bf16::ZERO; query.len()];
            attention.compute(level, &mut threads, NumbersMut::Half(&mut out));
            widened(&out)
        } else {
            let mut out = vec![0.0; query.len()];
            attention.compute(level, &mut threads, NumbersMut::Float(&mut out));
            out
        }
    }
}

#[test]
fn attention_is_right_on_every_level() {
    for shape in SHAPES {
        for (len, cap, window) in [
            (1, None, None),
            (70, None, None),
            (150, Some(2.0), None),
            (201, None, Some(37)),
        ] {
            let mut subject = Subject::new(shape, len);
            (subject.cap, subject.window) = (cap, window);
            let expected: Vec<f64> = (0..len).flat_map(|place| subject.exact(place)).collect();
            for level in levels() {
                let what = format!("{shape:?}, {len} places, {}", level.level());
                let whole = 0..len;
                let found = subject.attend(level, false, std::slice::from_ref(&whole));
                assert_near(&what, &found, &expected, 2e-5);
                // Weights are rounded to 8 bits, and so is the result.
                let found = subject.attend(level, true, &[whole]);
                assert_near(&what, &found, &expected, 0.012);
            }
        }
    }
}

#[test]
fn a_token_is_the_same_in_whatever_chunk() {
    for (shape, window) in [
        ([4, 2, 32], None),
        ([6, 2, 80], Some(40)),
        ([14, 2, 64], None),
    ] {
        let mut subject = Subject::new(shape, 150);
        subject.window = window;
        let row = subject.heads * subject.width;
        for (level, half) in levels()
            .into_iter()
            .flat_map(|level| [(level, false), (level, true)])
        {
            let whole = 0..150;
            let whole = subject.attend(level, half, &[whole]);
            let single: Vec<_> = (0..150).map(|place| place..place + 1).collect();
            for chunks in [single, vec![0..1, 1..16, 16..33, 33..64, 64..149, 149..150]] {
                let found = subject.attend(level, half, &chunks);
                for (place, (found, expected)) in
                    found.chunks(row).zip(whole.chunks(row)).enumerate()
                {
                    assert_eq!(found, expected, "{}, place {place}", level.level());
                }
            }
        }
    }
}

#[test]
fn a_query_that_is_no_number_spoils_its_own_result_only() {
    let mut subject = Subject::new([4, 2, 32], 20);
    let row = subject.heads * subject.width;
    subject.queries[7 * row] = f32::NAN;
    for cap in [None, Some(2.0)] {
        subject.cap = cap;
        for level in levels() {
            let whole = 0..20;
            let found = subject.attend(level, false, &[whole]);
            for (head, found) in found.chunks_exact(subject.width).enumerate() {
                let none = head == 7 * subject.heads;
                assert!(
                    found.iter().all(|x| x.is_nan() == none),
                    "{level:?}, head {head}"
                );
            }
        }
    }
}
