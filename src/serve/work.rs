//! Where work is done: on threads that may block, so many at a time, and so many that wait; whoever comes then is told to come again.

use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// Threads for work.
#[derive(Clone)]
pub struct Work {
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    threads: usize,
    most: usize,
}

/// Counts one that waits, until it does no longer.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether an error says that there is no room for the moment.
pub fn is_crowded(error: &Error) -> bool {
    matches!(error, Error::Run { remedy, .. } if remedy == AGAIN)
}

/// The remedy where there is no room.
pub const AGAIN: &str = "call again in a moment";

impl Work {
    /// Work of `threads` at a time, while `most` may wait.
    pub fn new(threads: usize, most: usize) -> Work {
        let threads = threads.max(1);
        Work { permits: Arc::new(Semaphore::new(threads)), waiting: Arc::default(), threads, most }
    }

    /// Does it, when its turn comes.
    ///
    /// # Errors
    /// Too many that wait, and work that broke off.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let crowded = |n: usize| Error::Run { message: format!("{n} calls wait already"), remedy: AGAIN.into() };
        let n = self.waiting.fetch_add(1, Ordering::Relaxed);
        let waiting = Waiting(self.waiting.clone());
        if n >= self.most {
            return Err(crowded(n));
        }
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| crowded(n))?;
        drop(waiting);
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        done.await.map_err(|e| Error::Run { message: format!("the call broke off: {e}"), remedy: "report this".into() })
    }

    /// Returns when nothing is done and nothing waits.
    pub async fn rest(&self) {
        while self.waiting() > 0 || self.permits.available_permits() < self.threads {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }

    /// Calls that wait for a thread.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_finds_the_queue_full_is_told_so() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let work = Work::new(1, 1);
            let slow =
                |work: Work| tokio::spawn(async move { work.run(|| std::thread::sleep(Duration::from_millis(300))).await });
            let first = slow(work.clone());
            tokio::time::sleep(Duration::from_millis(50)).await;
            let second = slow(work.clone());
            tokio::time::sleep(Duration::from_millis(50)).await;
            assert_eq!(work.waiting(), 1);
            let error = work.run(|| ()).await.unwrap_err();
            assert!(is_crowded(&error), "{error}");
            assert!(first.await.unwrap().is_ok() && second.await.unwrap().is_ok());
            assert_eq!(work.run(|| 7).await.unwrap(), 7);
        });
    }
}
