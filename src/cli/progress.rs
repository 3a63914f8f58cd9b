//! What goes on, on standard error. On a terminal as bars: phases of construction, then model time with real-time factor and time left;
//! bytes of a download with their rate and the time left. Elsewhere, as in a log, a line now and then of what takes long.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use sharpwave::run::Progress;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Between two looks at the clock of a bar, which moves where nothing else does.
const TICK: Duration = Duration::from_millis(250);
/// Before the first line where there is no terminal, and between two.
const FIRST: Duration = Duration::from_secs(3);
const NEXT: Duration = Duration::from_secs(20);

pub struct Bar {
    bar: ProgressBar,
    phase: Mutex<String>,
    /// When the next line is due, where there is no terminal.
    due: Option<Mutex<Instant>>,
}

impl Bar {
    /// Says nothing when `quiet`.
    pub fn new(quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
        let bar = ProgressBar::with_draw_target(Some(1000), target);
        bar.set_style(
            ProgressStyle::with_template("{msg:40} [{bar:24}] {percent:>3} % {elapsed:>4}")
                .expect("a fixed template")
                .progress_chars("=> "),
        );
        if !bar.is_hidden() {
            bar.enable_steady_tick(TICK);
        }
        let due = (!quiet && !std::io::stderr().is_terminal()).then(|| Mutex::new(Instant::now() + FIRST));
        Bar { bar, phase: Mutex::new(String::new()), due }
    }

    /// A line above the bar.
    pub fn line(&self, text: &str) {
        self.bar.suspend(|| note!("{text}"));
    }

    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// A line where there is no terminal, when it is time for one.
    fn log(&self, text: impl FnOnce() -> String) {
        let Some(Ok(mut due)) = self.due.as_ref().map(Mutex::try_lock) else { return };
        if Instant::now() >= *due {
            *due = Instant::now() + NEXT;
            note!("{} ...", text());
        }
    }
}

impl Progress for Bar {
    fn phase(&self, name: &str, done: f64) {
        if let Ok(mut phase) = self.phase.try_lock() {
            if *phase != name {
                name.clone_into(&mut phase);
                self.bar.set_message(name.to_string());
            }
            self.bar.set_position((done * 1000.0) as u64);
        }
        self.log(|| format!("{name}, {:.0} %", 100.0 * done));
    }

    fn simulated(&self, now: f64, total: f64, real_time_factor: f64) {
        let left = (total - now) * 1e-3 * real_time_factor;
        let left = if left < 90.0 { format!("{left:.0} s") } else { format!("{:.0} min", left / 60.0) };
        let text = format!("{:.2} s simulated, x{real_time_factor:.2}, {left} left", now * 1e-3);
        self.log(|| text.clone());
        self.bar.set_message(text);
        self.bar.set_position((now / total * 1000.0) as u64);
    }
}

/// Bytes that come over a network.
pub struct Download(ProgressBar);

impl Download {
    /// Hidden when `quiet`, or when standard error is not a terminal.
    pub fn new(quiet: bool) -> Self {
        let target = if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(10) };
        let bar = ProgressBar::with_draw_target(None, target);
        const LINE: &str = "{msg:32!} [{bar:24}] {binary_bytes:>10} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left";
        bar.set_style(ProgressStyle::with_template(LINE).expect("a fixed template").progress_chars("=> "));
        Download(bar)
    }

    /// Of `file`; `done` of `total` bytes of all files are there.
    pub fn show(&self, file: &str, done: u64, total: u64) {
        let started = self.0.length().is_some();
        self.0.set_length(total);
        self.0.set_position(done);
        if self.0.message() != file {
            self.0.set_message(file.to_string());
        }
        if !started {
            // What an earlier download left was not fetched now.
            self.0.reset_eta();
        }
    }

    pub fn clear(&self) {
        self.0.finish_and_clear();
    }
}
