//! Work beside Python: it goes on a thread of its own, while the caller's thread lets other Python threads run, hears Ctrl-C, and calls
//! back with what the work tells. Promises that a callback runs on the caller's thread, and that what it raises ends the work.

use crate::error::{raise, refuse};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use sharpwave::error::{Error, Result};
use sharpwave::run::Progress;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

/// Between two looks at Ctrl-C, and two tellings of progress.
const TICK: Duration = Duration::from_millis(100);
/// Stack of the thread that works: what a program's first thread has.
const STACK: usize = 8 << 20;

/// Ends, when it is set, all work that was given it.
#[pyclass(frozen, module = "sharpwave._sharpwave")]
pub struct Stop(Arc<AtomicBool>);

#[pymethods]
impl Stop {
    #[new]
    fn new() -> Stop {
        Stop(Arc::default())
    }

    /// Ends the work.
    fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What the work tells.
pub enum Event {
    /// How much is done, 0 to 1, and in words.
    Part(f64, String),
    /// A piece of text, or an object in JSON; the work waits for whether it goes on.
    Said(String, SyncSender<bool>),
}

/// Where the work tells it.
pub struct Post {
    sender: Sender<Event>,
    told: Mutex<Instant>,
}

impl Post {
    /// So much is done; told now and then.
    pub fn part(&self, done: f64, text: impl FnOnce() -> String) {
        if let Ok(mut told) = self.told.try_lock()
            && told.elapsed() >= TICK
        {
            *told = Instant::now();
            let _ = self.sender.send(Event::Part(done, text()));
        }
    }

    /// Hands a text over; whether to go on.
    pub fn say(&self, text: &str) -> bool {
        let (answer, heard) = sync_channel(1);
        self.sender.send(Event::Said(text.into(), answer)).is_ok() && heard.recv().unwrap_or(false)
    }
}

impl Progress for Post {
    fn phase(&self, name: &str, done: f64) {
        self.part(done, || name.to_string());
    }

    fn simulated(&self, now: f64, total: f64, real_time_factor: f64) {
        self.part(now / total, || format!("{:.2} of {:.2} s, x{real_time_factor:.2}", now * 1e-3, total * 1e-3));
    }
}

/// Whom the work calls: `progress(done, text)`, `said(text)`, which may return False to end it, and what else may end it.
#[derive(Default)]
pub struct Ears<'a, 'py> {
    pub progress: Option<&'a Bound<'py, PyAny>>,
    pub said: Option<&'a Bound<'py, PyAny>>,
    pub stop: Option<&'a Stop>,
}

impl Ears<'_, '_> {
    fn hear(&self, event: Event) -> PyResult<()> {
        match (event, self.progress, self.said) {
            (Event::Part(done, text), Some(progress), _) => progress.call1((done, text)).map(drop),
            (Event::Said(text, answer), _, Some(said)) => {
                let enough = said.call1((text,))?;
                let _ = answer.send(!enough.is(pyo3::types::PyBool::new(enough.py(), false)));
                Ok(())
            }
            (Event::Said(_, answer), _, None) => {
                let _ = answer.send(true);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Whether this process was forked from one that has used the library: threads that were started before are missing in it.
pub fn forked() -> bool {
    static FIRST: OnceLock<u32> = OnceLock::new();
    let own = std::process::id();
    *FIRST.get_or_init(|| own) != own
}

/// Refuses work that would wait for threads that a fork left behind.
pub fn same_process(py: Python<'_>) -> PyResult<()> {
    if !forked() {
        return Ok(());
    }
    Err(refuse(
        py,
        "this process was forked from one that has used sharpwave, whose threads it lacks",
        "use sharpwave.map, or start processes with multiprocessing.get_context(\"spawn\")",
    ))
}

/// What one caller at a time may use.
///
/// # Errors
/// Somebody uses it: another thread, or whoever called back from it.
pub fn lock<'a, T>(py: Python<'_>, mutex: &'a Mutex<T>, what: &str) -> PyResult<MutexGuard<'a, T>> {
    match mutex.try_lock() {
        Ok(guard) => Ok(guard),
        Err(TryLockError::Poisoned(_)) => Err(refuse(py, format!("this {what} failed earlier"), "open it again")),
        Err(TryLockError::WouldBlock) => Err(refuse(
            py,
            format!("this {what} is at work"),
            "wait until the call before is done; callbacks cannot use it either",
        )),
    }
}

/// Does work that takes a while. A stop asked for, by Ctrl-C, by what a callback raises or by `ears.stop`, is set in what the work is
/// given; the exception comes once the work has come to its end.
pub fn watched<T: Send>(
    py: Python<'_>,
    ears: &Ears<'_, '_>,
    work: impl FnOnce(&Post, &AtomicBool) -> Result<T> + Send,
) -> PyResult<T> {
    same_process(py)?;
    let stop = AtomicBool::new(false);
    let (sender, receiver) = channel();
    let receiver = Mutex::new(receiver);
    let mut raised = None;
    let done = thread::scope(|scope| -> PyResult<Result<T>> {
        let halt = &stop;
        let post = Post { sender, told: Mutex::new(Instant::now()) };
        let builder = thread::Builder::new().name("sharpwave".into()).stack_size(STACK);
        let worker = builder.spawn_scoped(scope, move || work(&post, halt))?;
        loop {
            let event = py.detach(|| receiver.lock().ok().map(|receiver| receiver.recv_timeout(TICK)));
            let heard = match event {
                Some(Ok(event)) if raised.is_none() => ears.hear(event),
                // Unheard, a text is answered by no one: the work is to end.
                Some(Ok(_)) | Some(Err(RecvTimeoutError::Timeout)) => Ok(()),
                Some(Err(RecvTimeoutError::Disconnected)) | None => break,
            };
            let asked = ears.stop.is_some_and(|stop| stop.0.load(Ordering::Relaxed));
            let asked = if asked { Err(PyKeyboardInterrupt::new_err("stopped")) } else { Ok(()) };
            if let Err(error) = heard.and_then(|()| py.check_signals()).and(asked)
                && raised.is_none()
            {
                raised = Some(error);
                stop.store(true, Ordering::Relaxed);
            }
        }
        match py.detach(|| worker.join()) {
            Ok(done) => Ok(done),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    match (raised, done) {
        (Some(error), _) => Err(error),
        (None, Ok(done)) => Ok(done),
        (None, Err(error)) => Err(raise(py, error)),
    }
}

/// An object as JSON.
pub fn json(value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|e| Error::Run { message: e.to_string(), remedy: "report this".into() })
}
