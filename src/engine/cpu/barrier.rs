//! A spinning barrier for threads that meet every few microseconds. Promises that a panic of one thread ends the others'
//! wait instead of hanging them. Yields after a while, so that more threads than cores still make progress.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

pub struct Barrier {
    threads: usize,
    arrived: AtomicUsize,
    generation: AtomicUsize,
    broken: AtomicBool,
}

impl Barrier {
    pub fn new(threads: usize) -> Self {
        Barrier { threads, arrived: AtomicUsize::new(0), generation: AtomicUsize::new(0), broken: AtomicBool::new(false) }
    }

    /// Everything written before `wait` by any thread is seen after it by all.
    pub fn wait(&self) {
        if self.threads == 1 {
            return;
        }
        let generation = self.generation.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == self.threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.generation.store(generation.wrapping_add(1), Ordering::Release);
            return;
        }
        let mut spins = 0u32;
        while self.generation.load(Ordering::Acquire) == generation {
            assert!(!self.broken.load(Ordering::Relaxed), "another simulation thread failed");
            spins += 1;
            if spins < 2_000 {
                std::hint::spin_loop();
            } else {
                std::thread::yield_now();
            }
        }
    }

    /// Marks the barrier broken when the holder's thread unwinds.
    pub fn guard(&self) -> Guard<'_> {
        Guard(self)
    }
}

pub struct Guard<'a>(&'a Barrier);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
        }
    }
}

/// Seconds that one meeting of so many threads takes, over `meetings`.
pub fn barrier_wait(threads: usize, meetings: usize) -> f64 {
    let barrier = Barrier::new(threads);
    let meet = || (0..meetings).for_each(|_| barrier.wait());
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(meet);
        }
        let begin = std::time::Instant::now();
        meet();
        begin.elapsed().as_secs_f64() / meetings as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_passes_before_all_have_arrived() {
        let (threads, rounds) = (3, 500);
        let barrier = Barrier::new(threads);
        let counter = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    for round in 0..rounds {
                        counter.fetch_add(1, Ordering::Relaxed);
                        barrier.wait();
                        assert!(counter.load(Ordering::Relaxed) >= (round + 1) * threads);
                        barrier.wait();
                    }
                });
            }
        });
    }

    #[test]
    fn a_panic_releases_the_others() {
        let barrier = Barrier::new(2);
        let outcome = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                let _guard = barrier.guard();
                barrier.wait();
            });
            let failing = scope.spawn(|| {
                let _guard = barrier.guard();
                panic!("on purpose");
            });
            (waiting.join().is_err(), failing.join().is_err())
        });
        assert_eq!(outcome, (true, true));
    }
}
