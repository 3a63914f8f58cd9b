//! Where an engine's time goes: a stopwatch over the phases of the schedule. Promises that it costs one comparison a phase while it is
//! off, which it is unless asked for, and that it changes no result.

use std::time::Instant;

/// Seconds by phase, all threads together.
pub type Phases = Vec<(&'static str, f64)>;

/// Time since the last lap goes to the phase that a lap names.
#[derive(Clone, Debug)]
pub struct Stopwatch {
    names: &'static [&'static str],
    seconds: Vec<f64>,
    /// Of the last lap; None while off.
    last: Option<Instant>,
}

impl Stopwatch {
    /// Off.
    pub fn new(names: &'static [&'static str]) -> Self {
        Stopwatch { names, seconds: vec![0.0; names.len()], last: None }
    }

    /// Switching on starts from nothing.
    pub fn switch(&mut self, on: bool) {
        self.last = on.then(Instant::now);
        if on {
            self.seconds.fill(0.0);
        }
    }

    /// Whether laps are timed.
    pub fn is_on(&self) -> bool {
        self.last.is_some()
    }

    /// What passed since the last lap is nobody's.
    #[inline]
    pub fn start(&mut self) {
        if let Some(last) = &mut self.last {
            *last = Instant::now();
        }
    }

    /// The phase (an index of `names`) that ends here.
    #[inline]
    pub fn lap(&mut self, phase: usize) {
        if let Some(last) = &mut self.last {
            let now = Instant::now();
            self.seconds[phase] += (now - *last).as_secs_f64();
            *last = now;
        }
    }

    /// Time that something else measured.
    pub fn add(&mut self, phase: usize, seconds: f64) {
        self.seconds[phase] += seconds;
    }

    /// Empty while off.
    pub fn phases(&self) -> Phases {
        match self.last {
            Some(_) => self.names.iter().copied().zip(self.seconds.iter().copied()).collect(),
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn laps_add_up_to_the_time_since_the_start() {
        let mut watch = Stopwatch::new(&["a", "b"]);
        watch.lap(0);
        assert_eq!((watch.is_on(), watch.phases()), (false, vec![]));
        watch.switch(true);
        let begin = Instant::now();
        watch.start();
        for phase in [0, 1, 0] {
            std::thread::sleep(std::time::Duration::from_millis(2));
            watch.lap(phase);
        }
        let (all, phases) = (begin.elapsed().as_secs_f64(), watch.phases());
        let sum: f64 = phases.iter().map(|p| p.1).sum();
        assert!(phases[0].1 >= 4e-3 && phases[1].1 >= 2e-3 && sum <= all, "{phases:?} of {all}");
        watch.switch(true);
        assert_eq!(watch.phases(), vec![("a", 0.0), ("b", 0.0)]);
    }
}
