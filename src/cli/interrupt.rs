//! Ctrl-C, and the signals that end programs: the first asks for an orderly end, a later one ends at once. What comes within half a
//! second of the first is part of it: `timeout` and some shells signal a program and its process group, which is twice.

use sharpwave::error::{Error, Result};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// As shells tell of a program that Ctrl-C ended: 128 and the number of SIGINT.
const CODE: u8 = 130;

/// Signals this close are one.
const ONE: Duration = Duration::from_millis(500);

static STOP: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// What Ctrl-C sets from now on, saying `said`.
pub fn watch(said: &'static str) -> Result<Arc<AtomicBool>> {
    let stop = STOP.get_or_init(Arc::default).clone();
    let (set, first) = (stop.clone(), Mutex::new(None::<Instant>));
    ctrlc::set_handler(move || {
        let mut first = first.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        match *first {
            None => {
                *first = Some(Instant::now());
                set.store(true, Ordering::Relaxed);
                note!("\n{said} (once more to stop at once) ...");
            }
            Some(at) if at.elapsed() < ONE => {}
            Some(_) => std::process::exit(CODE.into()),
        }
    })
    .map_err(|e| Error::Run { message: format!("cannot watch for Ctrl-C: {e}"), remedy: "report this".into() })?;
    Ok(stop)
}

/// How a program ends that was interrupted.
pub fn code() -> ExitCode {
    ExitCode::from(CODE)
}

/// Whether it was.
pub fn asked() -> bool {
    STOP.get().is_some_and(|stop| stop.load(Ordering::Relaxed))
}
