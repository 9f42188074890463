//! Memory bandwidth as this machine has it now, the line beside `make bench-engine`. Owns: how it is measured. Knows no
//! model.
//!
//! `read` sums 1 GiB that no cache holds, which is what a decode step does to weights; `triad` is STREAM's
//! `a[i] = b[i] + s * c[i]` over three arrays of 256 MiB, counted as STREAM counts it (two reads and one write). Each
//! thread has a part of its own. As in STREAM, the best of five passes counts. What is read lies in large pages where the
//! system has them, as the engine's weights do. Prints one line of JSON.
//!
//!     cargo run --release -p lps-engine --example bandwidth -- [THREADS]

use std::hint::black_box;
use std::thread;
use std::time::Instant;

use anyhow::Context;
#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::MmapMut;

const READ_BYTES: usize = 1 << 30;
const WORD_BYTES: usize = size_of::<u64>();
const TRIAD_NUMBERS: usize = (256 << 20) / size_of::<f64>();
const PASSES: usize = 5;
/// Sums that are kept apart, so that they fill vector registers and none waits for another.
const LANES: usize = 32;

fn main() -> anyhow::Result<()> {
    let threads = match std::env::args().nth(1) {
        Some(given) => given.parse().context("usage: bandwidth [THREADS]")?,
        None => thread::available_parallelism()?.get(),
    };
    let read = read(threads).context("1 GiB to read")?;
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

fn read(threads: usize) -> std::io::Result<f64> {
    let mut bytes = MmapMut::map_anon(READ_BYTES)?;
    // Where it is refused, pages are small.
    #[cfg(target_os = "linux")]
    bytes.advise(Advice::HugePage).ok();
    // Not zero: pages of zeros that were never written are all the same page.
    bytes.fill(1);
    let size = (READ_BYTES / WORD_BYTES).div_ceil(threads) * WORD_BYTES;
    Ok(best(READ_BYTES, || {
        thread::scope(|scope| {
            for part in bytes.chunks(size) {
                scope.spawn(move || black_box(sum(part)));
            }
        });
    }))
}

fn sum(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<WORD_BYTES>();
    let (lines, _) = words.as_chunks::<LANES>();
    let mut sums = [0_u64; LANES];
    for line in lines {
        for (sum, word) in sums.iter_mut().zip(line) {
            *sum = sum.wrapping_add(u64::from_ne_bytes(*word));
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
