//! Planning a batch: which steps make a window, which spikes of sources are uploaded, when states are sampled. Promises windows
//! that fit the list of spikes one by one; plain data, no device.

use super::reflect::mirrored;
use crate::engine::probes::Sampling;
use crate::stimulus::emit::SourceEmitter;
use std::ops::Range;

mirrored! {
    /// What the kernels know of a window.
    pub struct WindowWords = "window" Window {
        number: u32,
        steps: u32,
        first: u32,
        slot: u32,
        step_low: u32,
        step_high: u32,
        most_spikes: u32,
        batch_steps: u32,
        given_first: u32,
        given_count: u32,
        pending: u32,
    }
}

#[cfg(test)]
pub const MIRRORS: &[super::reflect::Mirror] = &[WindowWords::MIRROR];

/// A state probe: when, and the words a sample takes.
#[derive(Clone, Copy, Debug)]
pub struct SampleSize {
    pub sampling: Sampling,
    pub words: u32,
}

/// What bounds a batch.
#[derive(Clone, Debug)]
pub struct Planner {
    /// Steps of a window at most.
    pub window_steps: u32,
    /// Elements of all Poisson sources, neurons.
    pub sources_per_step: u32,
    pub neurons: u32,
    pub ring_slots: u32,
    /// A window of no steps ends every batch: neurons that are owned gather what the last one's spikes bring.
    pub closes: bool,
    pub most_windows: usize,
    pub most_steps: u64,
    /// Entries of the list of spikes.
    pub capacity: u32,
    /// Words of the buffer of samples.
    pub sample_words: u64,
    pub sizes: Vec<SampleSize>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Window {
    pub number: u32,
    /// First step, and steps.
    pub step: u64,
    pub steps: u32,
    pub slot: u32,
    /// Entries of the list it can need.
    pub most_spikes: u32,
    /// Its part of `Batch::given`.
    pub given: Range<usize>,
}

/// A sample at the end of a window; `probe` counts through `Planner::sizes`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample {
    pub window: usize,
    pub probe: usize,
    pub first: u32,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub first: u64,
    pub steps: u32,
    pub windows: Vec<Window>,
    /// (step in the batch | multiplicity << 16, global id)
    pub given: Vec<[u32; 2]>,
    pub samples: Vec<Sample>,
    pub sample_words: u64,
}

impl Window {
    /// Steps done after it.
    pub fn end(&self) -> u64 {
        self.step + u64::from(self.steps)
    }

    /// As the kernels of its batch know it.
    pub fn words(&self, batch: &Batch) -> WindowWords {
        let first = (self.step - batch.first) as u32;
        WindowWords {
            number: self.number,
            steps: self.steps,
            first,
            slot: self.slot,
            step_low: self.step as u32,
            step_high: (self.step >> 32) as u32,
            most_spikes: self.most_spikes,
            batch_steps: batch.steps,
            given_first: self.given.start as u32,
            given_count: self.given.len() as u32,
            pending: first + self.steps,
        }
    }
}

impl Planner {
    /// The next window of a batch, from step `at` on, with what was given from `given` on.
    fn window(&self, batch: &Batch, at: u64, steps: u32, given: usize) -> Window {
        Window {
            number: batch.windows.len() as u32,
            step: at,
            steps,
            slot: (at % u64::from(self.ring_slots)) as u32,
            most_spikes: (self.neurons + self.sources_per_step) * steps + (batch.given.len() - given) as u32,
            given: given..batch.given.len(),
        }
    }

    /// The windows from step `first` on, not beyond step `end`; at least one when `first < end`.
    pub fn plan(&self, first: u64, end: u64, windows: usize, emitters: &mut [(u32, SourceEmitter)]) -> Batch {
        let mut batch = Batch { first, ..Default::default() };
        let mut at = first;
        let mut local = Vec::new();
        while at < end && batch.windows.len() < windows.clamp(1, self.most_windows) && at - first < self.most_steps {
            let next_sample = self.sizes.iter().map(|s| s.sampling.next(at)).min().unwrap_or(u64::MAX);
            let fits = (self.capacity / (self.neurons + self.sources_per_step).max(1)).max(1);
            let longest = u64::from(self.window_steps.min(fits));
            let until = end.min(next_sample).min(at + longest).min(first + self.most_steps);
            let given = batch.given.len();
            let mut stop = at;
            while stop < until {
                let before = batch.given.len();
                for (first_id, emitter) in emitters.iter_mut() {
                    local.clear();
                    emitter.emit(stop, &mut local);
                    enter(&local, *first_id, (stop - first) as u32, &mut batch.given);
                }
                stop += 1;
                let most = u64::from(self.neurons + self.sources_per_step) * (stop - at) + (batch.given.len() - given) as u64;
                if most > u64::from(self.capacity) && stop - at > 1 {
                    batch.given.truncate(before);
                    stop -= 1;
                    break;
                }
            }
            let due: Vec<usize> = (0..self.sizes.len()).filter(|&k| self.sizes[k].sampling.due(stop)).collect();
            let words: u64 = due.iter().map(|&k| u64::from(self.sizes[k].words)).sum();
            let too_many = batch.samples.len() + due.len() > self.most_windows;
            if !batch.windows.is_empty() && (batch.sample_words + words > self.sample_words || too_many) {
                batch.given.truncate(given);
                break;
            }
            for k in due {
                batch.samples.push(Sample { window: batch.windows.len(), probe: k, first: batch.sample_words as u32 });
                batch.sample_words += u64::from(self.sizes[k].words);
            }
            batch.windows.push(self.window(&batch, at, (stop - at) as u32, given));
            at = stop;
        }
        batch.steps = (at - first) as u32;
        if self.closes {
            batch.windows.push(self.window(&batch, at, 0, batch.given.len()));
        }
        batch
    }
}

/// Spikes of one step, ascending and repeated where they coincide, as entries of the list.
pub fn enter(local: &[u32], first_id: u32, step: u32, entries: &mut Vec<[u32; 2]>) {
    for same in local.chunk_by(|a, b| a == b) {
        for part in same.chunks(0xffff) {
            entries.push([step | (part.len() as u32) << 16, first_id + part[0]]);
        }
    }
}

impl Batch {
    /// How many windows the device carried out, and the entries they left in the list.
    pub fn completed(&self, marks: &[u32], capacity: u32) -> (usize, u64) {
        let mut total = 0;
        for (i, (window, mark)) in self.windows.iter().zip(marks.chunks_exact(super::MARK_WORDS)).enumerate() {
            if total + u64::from(window.most_spikes) > u64::from(capacity) {
                return (i, total);
            }
            total += u64::from(mark[1]);
        }
        (self.windows.len(), total)
    }
}
