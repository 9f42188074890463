//! Threads that share the work of one product. Owns: the threads; work is cut into parts that are taken one by one, so
//! that a thread which the system holds up takes fewer of them.
//!
//! A thread without work looks for some for some tens of microseconds, then sleeps: steps come one after the other, but beside
//! a busy neighbour or under a quota every turn of a waiting thread is one that a working thread lacks.
#![expect(
    unsafe_code,
    reason = "work that is borrowed for as long as it is shared"
)]

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle, Thread};

/// How often a thread looks before it sleeps: some tens of microseconds.
const LOOKS: usize = 2_000;
/// Multiplications for which a further thread is worth waking.
const NUMBERS_PER_THREAD: usize = 16_384;

/// Some threads, of which the caller is one.
#[derive(Debug)]
pub struct Threads {
    shared: Arc<Shared>,
    others: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    /// Counts the jobs' beginnings and ends: odd while there is one.
    job: AtomicU64,
    /// The work of the job, valid while the caller waits for it: a pointer to a fat pointer.
    work: AtomicUsize,
    parts: AtomicUsize,
    /// The next part that nobody has taken.
    next: AtomicUsize,
    /// Workers that may touch the job. One that wakes up late is not waited for: it adds itself here before it asks
    /// whether there still is a job.
    active: AtomicUsize,
    /// Whether a part's work panicked.
    broken: AtomicBool,
    ended: AtomicBool,
}

type Job<'a> = dyn Fn(usize) + Sync + 'a;

impl Threads {
    /// So many, the caller included. Fewer where the system gives no more.
    pub fn new(count: NonZeroUsize) -> Self {
        let shared = Arc::new(Shared {
            job: AtomicU64::new(0),
            work: AtomicUsize::new(0),
            parts: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            active: AtomicUsize::new(0),
            broken: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let others = (1..count.get())
            .map_while(|number| {
                let shared = Arc::clone(&shared);
                let spawned = thread::Builder::new()
                    .name(format!("kernels-{number}"))
                    .spawn(move || shared.serve());
                spawned
                    .inspect_err(
                        |error| tracing::warn!(%error, threads = number, "fewer threads compute"),
                    )
                    .ok()
            })
            .collect();
        Self { shared, others }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.others.len() + 1
    }

    /// Runs `work` for each of `0..parts`, each once; returns when all are done. Of the threads it wakes as many as `numbers`
    /// multiplications are worth. One job runs at a time: `&mut` is what makes it so.
    ///
    /// # Panics
    /// When `work` does.
    pub(crate) fn run(&mut self, parts: usize, numbers: usize, work: impl Fn(usize) + Sync) {
        let worth = (numbers / NUMBERS_PER_THREAD).min(parts.saturating_sub(1));
        if self.others.is_empty() || worth == 0 {
            (0..parts).for_each(work);
            return;
        }
        let shared = &*self.shared;
        let work: &Job<'_> = &work;
        let place: *const &Job<'_> = &raw const work;
        shared
            .work
            .store(place.expose_provenance(), Ordering::Relaxed);
        shared.parts.store(parts, Ordering::Relaxed);
        shared.next.store(0, Ordering::Relaxed);
        shared.job.fetch_add(1, Ordering::SeqCst);
        for other in self.others.iter().take(worth) {
            other.thread().unpark();
        }
        let own =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| shared.take_parts(work)));
        shared.job.fetch_add(1, Ordering::SeqCst);
        // Nothing that was borrowed may end before the last worker is done with it.
        let mut looks = 0_usize;
        while shared.active.load(Ordering::SeqCst) > 0 {
            looks += 1;
            if looks < LOOKS {
                std::hint::spin_loop();
            } else {
                thread::yield_now();
            }
        }
        let broken = shared.broken.swap(false, Ordering::Relaxed);
        if let Err(panic) = own {
            std::panic::resume_unwind(panic);
        }
        assert!(!broken, "a kernel's thread panicked");
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Release);
        for other in self.others.drain(..) {
            let thread: Thread = other.thread().clone();
            thread.unpark();
            // It has panicked only if a kernel did, and said so then.
            let _ = other.join();
        }
    }
}

impl Shared {
    fn take_parts(&self, work: &Job<'_>) {
        let parts = self.parts.load(Ordering::Relaxed);
        loop {
            let part = self.next.fetch_add(1, Ordering::Relaxed);
            if part >= parts {
                return;
            }
            work(part);
        }
    }

    fn serve(&self) {
        let mut last = 0;
        while self.wait(last) {
            self.active.fetch_add(1, Ordering::SeqCst);
            let job = self.job.load(Ordering::SeqCst);
            if job % 2 == 1 {
                last = job;
                let place = self.work.load(Ordering::Relaxed);
                let place = std::ptr::with_exposed_provenance::<&Job<'static>>(place);
                // SAFETY: written by `run` before it began this job, and alive until `run` has ended it and then has
                // seen that no worker is active, which this one is.
                let work: &Job<'_> = unsafe { *place };
                let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    self.take_parts(work)
                }));
                if done.is_err() {
                    self.broken.store(true, Ordering::Relaxed);
                }
            }
            self.active.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Whether there is another job than the last; false when there will be none.
    fn wait(&self, last: u64) -> bool {
        let mut looks = 0;
        loop {
            let job = self.job.load(Ordering::Acquire);
            if job % 2 == 1 && job != last {
                return true;
            }
            if self.ended.load(Ordering::Acquire) {
                return false;
            }
            looks += 1;
            if looks < LOOKS {
                std::hint::spin_loop();
            } else {
                // Who begins a job unparks afterwards, so one that comes between the look and the sleep is not missed.
                thread::park();
            }
        }
    }
}

/// Where threads write, each to places of its own.
#[derive(Debug)]
pub(crate) struct Writable<T>(*mut T);

impl<T> Clone for Writable<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Writable<T> {}

// SAFETY: it is only a place; who writes there promises that no other does.
unsafe impl<T: Send> Send for Writable<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Writable<T> {}

impl<T> Writable<T> {
    pub(crate) fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// A place.
    ///
    /// # Safety
    /// It is in the slice.
    #[inline(always)]
    pub(crate) unsafe fn at(self, index: usize) -> *mut T {
        // SAFETY: the caller's promise.
        unsafe { self.0.add(index) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn threads(count: usize) -> Threads {
        Threads::new(NonZeroUsize::new(count).unwrap())
    }

    #[test]
    fn each_part_runs_once_however_many_threads() {
        for count in [1, 2, 3, 8] {
            let mut threads = threads(count);
            for parts in [0, 1, 2, 7, 1000] {
                let ran: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                threads.run(parts, usize::MAX, |part| {
                    ran[part].fetch_add(1, Ordering::Relaxed);
                });
                assert!(
                    ran.iter().all(|ran| ran.load(Ordering::Relaxed) == 1),
                    "{count} threads, {parts} parts"
                );
            }
        }
    }

    #[test]
    fn many_jobs_follow_each_other() {
        let mut threads = threads(3);
        let sum = AtomicUsize::new(0);
        for _ in 0..20_000 {
            threads.run(4, usize::MAX, |part| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
        }
        assert_eq!(sum.load(Ordering::Relaxed), 20_000 * 6);
    }

    #[test]
    fn a_panic_is_the_callers_and_the_threads_live_on() {
        let mut threads = threads(2);
        for bad in [0..1, 1..2, 2..3, 3..4, 0..4] {
            let ran = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                threads.run(4, usize::MAX, |part| assert!(!bad.contains(&part)));
            }));
            assert!(ran.is_err());
        }
        threads.run(4, usize::MAX, |_| {});
        assert_eq!(threads.count(), 2);
    }
}
