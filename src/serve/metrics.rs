//! What is counted, as Prometheus reads it: calls by name and result, with the time they took. No user's name and no word of theirs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histogram's buckets, s.
const BOUNDS: [f64; 10] = [0.001, 0.002, 0.005, 0.01, 0.03, 0.1, 0.3, 1.0, 5.0, 30.0];

#[derive(Clone, Default)]
struct Calls {
    done: u64,
    failed: u64,
    seconds: f64,
    buckets: [u64; BOUNDS.len()],
}

/// Counts since the start.
#[derive(Default)]
pub struct Metrics {
    calls: Mutex<BTreeMap<String, Calls>>,
}

impl Metrics {
    /// Counts a call.
    pub fn count(&self, name: &str, done: bool, time: Duration) {
        let mut all = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = all.entry(name.to_string()).or_default();
        let seconds = time.as_secs_f64();
        if done {
            calls.done += 1;
        } else {
            calls.failed += 1;
        }
        calls.seconds += seconds;
        BOUNDS.iter().zip(&mut calls.buckets).filter(|(bound, _)| seconds <= **bound).for_each(|(_, n)| *n += 1);
    }

    /// All of it as text, with what is the case now.
    pub fn text(&self, gauges: &[(&str, &str, usize)]) -> String {
        let mut text = String::new();
        let mut line = |args: std::fmt::Arguments| {
            let _ = text.write_fmt(args);
            text.push('\n');
        };
        for (name, help, value) in gauges {
            line(format_args!("# HELP sharpwave_{name} {help}\n# TYPE sharpwave_{name} gauge\nsharpwave_{name} {value}"));
        }
        let all = self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone();
        line(format_args!("# HELP sharpwave_calls_total Calls by name and result.\n# TYPE sharpwave_calls_total counter"));
        for (name, calls) in &all {
            line(format_args!("sharpwave_calls_total{{call=\"{name}\",result=\"done\"}} {}", calls.done));
            line(format_args!("sharpwave_calls_total{{call=\"{name}\",result=\"failed\"}} {}", calls.failed));
        }
        line(format_args!("# HELP sharpwave_call_seconds Time of calls.\n# TYPE sharpwave_call_seconds histogram"));
        for (name, calls) in &all {
            for (bound, n) in BOUNDS.iter().zip(calls.buckets) {
                line(format_args!("sharpwave_call_seconds_bucket{{call=\"{name}\",le=\"{bound}\"}} {n}"));
            }
            let count = calls.done + calls.failed;
            line(format_args!("sharpwave_call_seconds_bucket{{call=\"{name}\",le=\"+Inf\"}} {count}"));
            line(format_args!("sharpwave_call_seconds_sum{{call=\"{name}\"}} {}", calls.seconds));
            line(format_args!("sharpwave_call_seconds_count{{call=\"{name}\"}} {count}"));
        }
        text
    }
}
