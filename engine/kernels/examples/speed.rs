//! Speed of products: gigabytes and operations a second.
use half::bf16;
use lps_engine_kernels::element::{Numbers, NumbersMut};
use lps_engine_kernels::level::{Available, Level};
use lps_engine_kernels::product::Product;
use lps_engine_kernels::threads::Threads;
use lps_engine_kernels::weight::Weight;
use std::time::Instant;

/// Seconds of this thread on a processor.
fn cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace()
        .next()
        .unwrap()
        .parse::<f64>()
        .unwrap()
        / 1e9
}

fn main() {
    let mut threads = Threads::new(
        std::num::NonZeroUsize::new(
            std::env::args()
                .nth(1)
                .and_then(|a| a.parse().ok())
                .unwrap_or(2),
        )
        .unwrap(),
    );
    // read bandwidth
    let big = vec![1u64; 1 << 27];
    for _ in 0..3 {
        let t = Instant::now();
        let parts = 64;
        let n = big.len() / parts;
        let sum = std::sync::atomic::AtomicU64::new(0);
        threads.run(parts, |p| {
            let s: u64 = big[p * n..(p + 1) * n]
                .iter()
                .fold(0u64, |a, b| a.wrapping_add(*b));
            sum.fetch_add(s, std::sync::atomic::Ordering::Relaxed);
        });
        println!(
            "read {:.1} GB/s {}",
            big.len() as f64 * 8.0 / t.elapsed().as_secs_f64() / 1e9,
            sum.load(std::sync::atomic::Ordering::Relaxed) % 7
        );
    }
    drop(big);
    let (outputs, inputs) = (6144, 1024);
    let copies = 24;
    let w: Vec<bf16> = (0..outputs * inputs)
        .map(|i| bf16::from_f32((i % 17) as f32 / 17.0))
        .collect();
    let weights: Vec<Weight> = (0..copies)
        .map(|_| Weight::pack(Numbers::Half(&w), outputs, inputs).unwrap())
        .collect();
    let bytes: Vec<Weight> = (0..copies)
        .map(|_| Weight::pack_bytes(Numbers::Half(&w), outputs, inputs).unwrap())
        .collect();
    for level in [
        Level::Avx512Bf16,
        Level::Avx512,
        Level::Avx2,
        Level::Portable,
    ] {
        let Ok(level) = Available::of(level) else {
            continue;
        };
        for (name, set) in [("half", &weights), ("byte", &bytes)] {
            for rows in [1, 2, 4, 8, 12, 32, 64, 256, 512] {
                if level.level() < Level::Avx512 && rows > 12 {
                    continue;
                }
                let x = vec![bf16::from_f32(0.5); rows * inputs];
                let mut out = vec![bf16::ZERO; rows * outputs];
                let mut best = f64::MAX;
                for _ in 0..3 {
                    let t = cpu();
                    let n = if rows > 32 { 6 } else { copies };
                    for w in &set[..n] {
                        Product {
                            weight: w,
                            x: Numbers::Half(&x),
                            bias: None,
                        }
                        .compute(
                            level,
                            &mut threads,
                            NumbersMut::Half(&mut out),
                        );
                    }
                    best = best.min((cpu() - t) / n as f64);
                }
                println!(
                    "{} {name} rows {rows}: {:.3} ms, {:.1} GB/s, {:.0} GF/s",
                    level.level(),
                    best * 1e3,
                    set[0].bytes() as f64 / best / 1e9,
                    2.0 * rows as f64 * (outputs * inputs) as f64 / best / 1e9
                );
            }
        }
    }
}
