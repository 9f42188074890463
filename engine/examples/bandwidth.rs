//! Memory bandwidth as this machine has it now, the line beside `make bench-engine`. Owns: how it is measured. Knows no
//! model.
//!
//! `read` sums 1 GiB that no cache holds, which is what a decode step does to weights; `triad` is STREAM's
//! `a[i] = b[i] + s * c[i]` over three arrays of 256 MiB, counted as STREAM counts it (two reads and one write). Each
//! thread has a part of its own. As in STREAM, the best of five passes counts. Prints one line of JSON.
//!
//!     cargo run --release -p lps-engine --example bandwidth -- [THREADS]

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use anyhow::Context;

const READ_WORDS: usize = (1 << 30) / size_of::<u64>();
const TRIAD_NUMBERS: usize = (256 << 20) / size_of::<f64>();
const PASSES: usize = 5;
/// Sums that are kept apart, so that they fill vector registers and none waits for another.
const LANES: usize = 32;

fn main() -> anyhow::Result<()> {
    let threads = match std::env::args().nth(1) {
        Some(given) => given.parse().context("usage: bandwidth [THREADS]")?,
        None => thread::available_parallelism()?.get(),
    };
    let read = read(threads);
    let triad = triad(threads);
    let result = serde_json::json!({"threads": threads, "read_gb_s": read, "triad_gb_s": triad});
    #[expect(clippy::print_stdout, reason = "the result of the program")]
    {
        println!("{result}");
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn now() -> Instant {
    Instant::now()
}

/// GB/s of the best pass.
fn best(bytes: usize, mut pass: impl FnMut()) -> f64 {
    let timed = (0..PASSES).map(|_| {
        let start = now();
        pass();
        bytes as f64 / start.elapsed().as_secs_f64() / 1e9
    });
    (timed.fold(0.0, f64::max) * 10.0).round() / 10.0
}

fn read(threads: usize) -> f64 {
    // Not zero: pages of zeros that were never written are all the same page.
    let words = vec![1_u64; READ_WORDS];
    best(size_of_val(words.as_slice()), || {
        thread::scope(|scope| {
            for part in words.chunks(READ_WORDS.div_ceil(threads)) {
                scope.spawn(move || black_box(sum(part)));
            }
        });
    })
}

fn sum(words: &[u64]) -> u64 {
    let mut sums = [0_u64; LANES];
    for line in words.chunks_exact(LANES) {
        for (sum, word) in sums.iter_mut().zip(line) {
            *sum = sum.wrapping_add(*word);
        }
    }
    sums.iter().fold(0, |all, sum| all.wrapping_add(*sum))
}

fn triad(threads: usize) -> f64 {
    let (b, c) = (vec![1.0_f64; TRIAD_NUMBERS], vec![2.0_f64; TRIAD_NUMBERS]);
    let mut a = vec![1.0_f64; TRIAD_NUMBERS];
    let size = TRIAD_NUMBERS.div_ceil(threads);
    best(3 * size_of_val(b.as_slice()), || {
        thread::scope(|scope| {
            let sources = b.chunks(size).zip(c.chunks(size));
            for (a, (b, c)) in a.chunks_mut(size).zip(sources) {
                scope.spawn(move || {
                    for ((a, b), c) in a.iter_mut().zip(b).zip(c) {
                        *a = b + 3.0 * c;
                    }
                    black_box(a);
                });
            }
        });
    })
}
