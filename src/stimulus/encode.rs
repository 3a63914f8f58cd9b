//! Images and vectors to spikes: rate and latency encoding, presentation schedules. Promises a schedule that is plain data, fixed
//! before the run; spikes come from it by [`crate::stimulus::emit::SourceEmitter`]. Knows no network and no engine.

use crate::dataset::idx::Images;
use crate::error::{Error, Result};
pub use crate::network::inputs::{Coding, Presentation};
use crate::rng::{self, Purpose, Stream};
use crate::stimulus::active_steps;
use crate::stimulus::poisson::{self, Table};
use std::sync::Arc;

/// In what order samples are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As in the file, from the start again when more are asked for than there are.
    Sequential,
    /// Every pass through the samples in a new random order (Fisher & Yates) of this seed.
    Shuffled {
        /// Of the orders.
        seed: u64,
    },
}

/// One presentation, for the record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shown {
    /// ms
    pub onset: f64,
    /// Index of the image.
    pub sample: u32,
    /// Its class; None where the images have no labels.
    pub label: Option<u8>,
}

impl Presentation {
    /// A schedule of `count` presentations (each sample once when None), starting at 0 ms.
    ///
    /// # Errors
    /// Times or rates that are not finite or not positive, a latency window longer than the presentation.
    pub fn new(images: Arc<Images>, coding: Coding, present: f64, rest: f64, order: Order, count: Option<usize>) -> Result<Self> {
        let check = |what: &str, x: f64, zero: bool| match x.is_finite() && (x > 0.0 || (zero && x == 0.0)) {
            true => Ok(()),
            false => Err(Error::input(format!("{what} of a presentation is {x}"), "give a finite, positive number")),
        };
        check("the time shown (ms)", present, false)?;
        check("the rest (ms)", rest, true)?;
        match coding {
            Coding::Rate { max_rate } => check("max_rate (Hz)", max_rate, true)?,
            Coding::Latency { window } => {
                check("the window (ms)", window, false)?;
                if window > present {
                    let message = format!("a latency window of {window} ms does not fit in {present} ms of presentation");
                    return Err(Error::input(message, "shorten the window or show the samples for longer"));
                }
            }
        }
        let (n, count) = (images.count, count.unwrap_or(images.count));
        if n == 0 || count > u32::MAX as usize {
            return Err(Error::input(
                format!("{count} presentations of {n} samples"),
                "give at least one sample, at most 2^32 presentations",
            ));
        }
        let order = match order {
            Order::Sequential => (0..count).map(|i| (i % n) as u32).collect(),
            Order::Shuffled { seed } => shuffled(n as u32, count, seed),
        };
        Ok(Presentation { images, coding, order, start: 0.0, present, rest })
    }

    /// Sources needed: one a pixel.
    pub fn n(&self) -> u32 {
        self.images.size() as u32
    }

    /// ms
    pub fn onset(&self, i: usize) -> f64 {
        self.start + i as f64 * (self.present + self.rest)
    }

    /// When the last presentation and its rest are over, ms.
    pub fn end(&self) -> f64 {
        self.onset(self.order.len())
    }

    /// Pixels of presentation `i`.
    pub fn pixels(&self, i: usize) -> &[u8] {
        self.images.image(self.order[i] as usize)
    }

    /// The presentation whose sample is shown in a step, none during rest, before the first and after the last.
    pub fn shown_in(&self, step: u64, dt: f64) -> Option<usize> {
        let near = ((step as f64 * dt - self.start) / (self.present + self.rest)).floor();
        let first = (near - 1.0).max(0.0) as usize;
        (first..self.order.len().min(first + 3))
            .find(|&i| active_steps(self.onset(i), self.onset(i) + self.present, dt).contains(&step))
    }

    /// Thresholds of rate coding, row p for pixel p; the words are those of a Poisson source population.
    pub fn table(&self, dt: f64) -> Result<Table> {
        let means = (0..256).map(|p| poisson::mean(self.rate(p as u8), dt)).collect::<Result<Vec<_>>>()?;
        Ok(Table::of_means(&means))
    }

    /// Hz; 0 under latency coding.
    pub fn rate(&self, pixel: u8) -> f64 {
        match self.coding {
            Coding::Rate { max_rate } => max_rate * pixel as f64 / 255.0,
            Coding::Latency { .. } => 0.0,
        }
    }

    /// ms after the onset; None for a silent pixel and under rate coding.
    pub fn latency(&self, pixel: u8) -> Option<f64> {
        match self.coding {
            Coding::Latency { window } if pixel > 0 => Some(window * (256 - pixel as u32) as f64 / 256.0),
            _ => None,
        }
    }

    /// Spikes of presentation `i` under latency coding: (ms, source), sorted.
    pub fn latency_spikes(&self, i: usize) -> Vec<(f64, u32)> {
        let at = |(source, &p): (usize, &u8)| Some((self.onset(i) + self.latency(p)?, source as u32));
        let mut spikes: Vec<(f64, u32)> = self.pixels(i).iter().enumerate().filter_map(at).collect();
        spikes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        spikes
    }

    /// Every presentation in order of time: what a recording keeps beside the spikes.
    pub fn onsets_and_labels(&self) -> Vec<Shown> {
        let label = |sample: u32| self.images.labels.as_ref().map(|l| l[sample as usize]);
        self.order.iter().enumerate().map(|(i, &sample)| Shown { onset: self.onset(i), sample, label: label(sample) }).collect()
    }
}

/// `count` indices below `n`, every pass through all of them in a new order.
fn shuffled(n: u32, count: usize, seed: u64) -> Vec<u32> {
    let mut order = Vec::with_capacity(count);
    for pass in 0.. {
        if order.len() >= count {
            break;
        }
        let mut stream = Stream::new(rng::key(seed, 0), Purpose::Encoder, pass, 0);
        let mut once: Vec<u32> = (0..n).collect();
        stream.shuffle(&mut once);
        order.extend(once.into_iter().take(count - order.len()));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(count: usize) -> Arc<Images> {
        let pixels = (0..count * 4).map(|i| (i * 37 % 256) as u8).collect();
        Arc::new(Images { count, rows: 2, columns: 2, pixels, labels: Some((0..count as u8).collect()) })
    }

    fn rate(present: f64, rest: f64, order: Order, count: Option<usize>) -> Presentation {
        Presentation::new(images(5), Coding::Rate { max_rate: 100.0 }, present, rest, order, count).unwrap()
    }

    #[test]
    fn every_step_belongs_to_its_presentation() {
        let p = rate(350.0, 150.0, Order::Sequential, Some(7));
        assert_eq!(p.end(), 3500.0);
        assert_eq!(p.order, [0, 1, 2, 3, 4, 0, 1]);
        for step in 0..36_000u64 {
            let (i, within) = (step / 5000, step % 5000);
            let expected = (i < 7 && within < 3500).then_some(i as usize);
            assert_eq!(p.shown_in(step, 0.1), expected, "step {step}");
        }
        let shown = p.onsets_and_labels();
        assert_eq!(shown[6], Shown { onset: 3000.0, sample: 1, label: Some(1) });
        let odd = rate(0.25, 0.1, Order::Sequential, None);
        let mut steps = [0; 5];
        (0..40).filter_map(|s| odd.shown_in(s, 0.1)).for_each(|i| steps[i] += 1);
        assert!(steps.iter().all(|&s| s == 2 || s == 3), "{steps:?}");
    }

    #[test]
    fn shuffling_is_a_permutation_of_every_pass_and_depends_on_the_seed() {
        let order = |seed| rate(10.0, 0.0, Order::Shuffled { seed }, Some(13)).order;
        for pass in order(1)[..10].chunks(5) {
            let mut sorted = pass.to_vec();
            sorted.sort();
            assert_eq!(sorted, [0, 1, 2, 3, 4]);
        }
        assert_eq!(order(1), order(1));
        assert!((2..10).any(|seed| order(seed) != order(1)));
        // Every sample comes first about equally often.
        let mut first = [0; 5];
        (0..5000).for_each(|seed| first[order(seed)[0] as usize] += 1);
        assert!(first.iter().all(|&f| (f - 1000i32).abs() < 150), "{first:?}");
    }

    #[test]
    fn brighter_is_earlier_and_black_is_silent() {
        let p = Presentation::new(images(5), Coding::Latency { window: 64.0 }, 100.0, 0.0, Order::Sequential, None).unwrap();
        assert_eq!((p.latency(255), p.latency(128), p.latency(1), p.latency(0)), (Some(0.25), Some(32.0), Some(63.75), None));
        assert!((1..255u8).all(|x| p.latency(x) > p.latency(x + 1)));
        let spikes = p.latency_spikes(1);
        assert_eq!(p.pixels(1), [148, 185, 222, 3]);
        assert_eq!(spikes, [(108.5, 2), (117.75, 1), (127.0, 0), (163.25, 3)]);
    }

    #[test]
    fn rows_of_the_table_are_the_pixels() {
        let p = rate(10.0, 0.0, Order::Sequential, None);
        let table = p.table(0.1).unwrap();
        assert_eq!(table.rows.len(), 256 * table.width);
        assert_eq!(poisson::count(table.row(0), u32::MAX), 0);
        let probability = |p: usize| 1.0 - table.row(p)[0] as f64 / 2f64.powi(32);
        assert!((probability(255) - (1.0 - (-0.01f64).exp())).abs() < 1e-9);
        assert!((probability(51) - (1.0 - (-0.002f64).exp())).abs() < 1e-9);
    }

    #[test]
    fn nonsense_is_refused() {
        let make = |coding, present, rest| Presentation::new(images(2), coding, present, rest, Order::Sequential, None);
        let fast = Coding::Rate { max_rate: 10.0 };
        assert!(make(fast, 0.0, 1.0).is_err() && make(fast, 1.0, -1.0).is_err() && make(fast, f64::NAN, 1.0).is_err());
        assert!(make(Coding::Rate { max_rate: -1.0 }, 1.0, 1.0).is_err());
        assert!(make(Coding::Latency { window: 2.0 }, 1.0, 1.0).unwrap_err().to_string().contains("does not fit"));
        assert!(make(Coding::Rate { max_rate: 1e9 }, 1.0, 1.0).unwrap().table(0.1).is_err());
    }
}
