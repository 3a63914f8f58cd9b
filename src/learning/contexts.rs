//! Context cells: which of many tasks an image belongs to is read off the images themselves, without labels, boundaries or a counter.
//! A cell holds the mean image of its context; a slow trace of what was seen is compared with all cells, and one that resembles none
//! recruits the next cell. A context opens a few hidden units and closes the others. Promises that recruitment is a function of the
//! images in their order. Knows images as numbers; no task and no network.
//!
//! Gating by context after Masse et al. (2018, doi 10.1073/pnas.1803839115), who tell the network which task it is in; here it infers it.

use super::associative::dot;
use super::state::State;
use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream, key};

/// Owner of the random numbers that say which units a context opens.
const GATES: u32 = 8 << 16;

/// How cells are recruited. [`Options::new`] gives what a prototype chose on 20 tasks.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Options {
    /// Cosine below which the trace resembles no cell.
    pub alike: f32,
    /// Images over which the trace runs.
    pub trace: f32,
    /// Images between two comparisons.
    pub every: u64,
    /// Images after a recruitment before the next one.
    pub rest: u64,
    /// Images over which a cell's mean runs, at most.
    pub window: u64,
    /// Cells there are; the last one serves all that comes after it.
    pub budget: usize,
}

impl Options {
    /// A trace of 20 images, compared every 5, with cosine 0.5; up to 1,024 cells.
    pub fn new() -> Options {
        Options { alike: 0.5, trace: 20.0, every: 5, rest: 40, window: 1000, budget: 1024 }
    }

    /// Refuses what cannot recruit.
    ///
    /// # Errors
    /// A budget or interval of 0, a cosine outside of -1..1, a trace of less than one image.
    pub fn check(&self) -> Result<()> {
        let refuse = |what: String, remedy: &str| Err(Error::input(what, remedy));
        if self.budget == 0 {
            return refuse("a budget of 0 contexts".into(), "set budget to 1 or more: one context gates nothing");
        }
        if self.every == 0 || self.window == 0 {
            return refuse("every or window is 0".into(), "set them to 1 or more");
        }
        if !(self.trace >= 1.0 && self.trace.is_finite()) {
            return refuse(format!("a trace of {} images", self.trace), "set trace to 1 or more");
        }
        if !(-1.0..=1.0).contains(&self.alike) {
            return refuse(format!("alike {}", self.alike), "set alike, a cosine, from -1 to 1");
        }
        Ok(())
    }
}

impl Default for Options {
    fn default() -> Self {
        Options::new()
    }
}

/// The cells recruited so far, and the trace.
#[derive(Clone, Debug)]
pub struct Contexts {
    options: Options,
    size: usize,
    /// cells x size: mean of the images, each without its mean and of unit length.
    means: Vec<f32>,
    /// Images of each cell.
    counts: Vec<u64>,
    trace: Vec<f32>,
    /// Images seen, and those since the last recruitment.
    seen: u64,
    since: u64,
    /// The cell that wins at present.
    winner: usize,
}

impl Contexts {
    /// No cell yet; images of `size` pixels.
    ///
    /// # Errors
    /// What [`Options::check`] refuses.
    pub fn new(options: Options, size: usize) -> Result<Contexts> {
        options.check()?;
        Ok(Contexts { options, size, means: vec![], counts: vec![], trace: vec![0.0; size], seen: 0, since: 0, winner: 0 })
    }

    /// Cells recruited.
    pub fn count(&self) -> usize {
        self.counts.len()
    }

    /// An image of the stream: the cell whose context it belongs to, recruited where there was none.
    pub fn observe(&mut self, image: &[f32]) -> usize {
        let Options { alike, trace, every, rest, window, budget } = self.options;
        let x = centred(image);
        self.trace.iter_mut().zip(&x).for_each(|(t, x)| *t += (x - *t) / trace);
        self.since += 1;
        let compared = self.seen % every == 0;
        self.seen += 1;
        let mut familiar = 1.0;
        if compared && self.count() > 0 {
            (self.winner, familiar) = self.nearest(&self.trace);
        }
        let strange = self.count() == 0 || (compared && familiar < alike && self.since > rest);
        if strange && self.count() < budget {
            self.winner = self.count();
            self.means.extend_from_slice(&x);
            self.counts.push(1);
            self.trace.copy_from_slice(&x);
            self.since = 0;
        } else {
            let (cell, n) = (self.winner, &mut self.counts[self.winner]);
            *n += 1;
            let share = 1.0 / (*n).min(window) as f32;
            self.means[cell * self.size..][..self.size].iter_mut().zip(&x).for_each(|(m, x)| *m += (x - *m) * share);
        }
        self.winner
    }

    /// The cell with the highest cosine and that cosine.
    fn nearest(&self, x: &[f32]) -> (usize, f32) {
        let length = dot(x, x).sqrt().max(f32::MIN_POSITIVE);
        let cosine = |m: &[f32]| dot(m, x) / (dot(m, m).sqrt().max(f32::MIN_POSITIVE) * length);
        let all = self.means.chunks_exact(self.size).map(cosine).enumerate();
        all.fold((0, f32::MIN), |best, (cell, c)| if c > best.1 { (cell, c) } else { best })
    }

    /// The context of a single image, by the signs of the cells alone (one bit a pixel), and how familiar it is: a cosine. None before
    /// the first image.
    pub fn infer(&self, image: &[f32]) -> Option<(usize, f32)> {
        let x = centred(image);
        let length = (self.size as f32).sqrt();
        let signed = |m: &[f32]| m.iter().zip(&x).map(|(m, x)| x.copysign(x * m.signum())).sum::<f32>() / length;
        let all = self.means.chunks_exact(self.size).map(signed).enumerate();
        all.fold(None, |best: Option<(usize, f32)>, (cell, c)| if best.is_none_or(|b| c > b.1) { Some((cell, c)) } else { best })
    }

    /// Bytes that are kept of all contexts when nothing more is learned: a bit a pixel.
    pub fn bytes(&self) -> usize {
        self.count() * self.size.div_ceil(8)
    }

    /// Everything that changes, as named arrays.
    pub fn state(&self) -> State {
        let mut state = State::default();
        state.put("means", &[self.count(), self.size], &self.means);
        state.put("counts", &[self.count()], &self.counts);
        state.put("trace", &[self.size], &self.trace);
        state.put("position", &[3], &[self.seen, self.since, self.winner as u64]);
        state
    }

    /// Takes back what [`Contexts::state`] gave.
    ///
    /// # Errors
    /// Arrays that are missing, of another size or not finite; then nothing has changed.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        let counts = state.any::<u64>("counts")?.to_vec();
        let means = state.get::<f32>("means", counts.len() * self.size)?.to_vec();
        let trace = state.get::<f32>("trace", self.size)?.to_vec();
        let position = state.get::<u64>("position", 3)?;
        let winner = position[2] as usize;
        if winner >= counts.len().max(1) {
            return Err(Error::input(format!("context {winner} of {}", counts.len()), "the file is damaged: start again"));
        }
        (self.seen, self.since, self.winner) = (position[0], position[1], winner);
        (self.means, self.counts, self.trace) = (means, counts, trace);
        Ok(())
    }
}

/// The `open` of `hidden` units that a context opens, ascending: a function of seed and context.
pub fn open_units(seed: u64, context: usize, hidden: usize, open: usize) -> Vec<u32> {
    let mut random = Stream::new(key(seed, GATES), Purpose::Connect, context as u32, 0);
    let mut units: Vec<u32> = (0..hidden as u32).collect();
    let open = open.min(hidden);
    for i in 0..open {
        let with = i + random.below((hidden - i) as u32) as usize;
        units.swap(i, with);
    }
    units.truncate(open);
    units.sort_unstable();
    units
}

/// An image without its mean, of unit length; an even one is 0.
fn centred(image: &[f32]) -> Vec<f32> {
    let mean = image.iter().sum::<f32>() / image.len().max(1) as f32;
    let mut x: Vec<f32> = image.iter().map(|p| p - mean).collect();
    let length = dot(&x, &x).sqrt();
    if length > 0.0 {
        x.iter_mut().for_each(|x| *x /= length);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Images of a context: one pattern of the context and noise.
    fn image(context: u32, index: u32) -> Vec<f32> {
        let mut pattern = Stream::new(key(1, 0), Purpose::Encoder, context, 0);
        let mut noise = Stream::new(key(1, 1), Purpose::Encoder, context, index);
        (0..200).map(|_| (pattern.normal() + noise.normal()) as f32).collect()
    }

    #[test]
    fn contexts_are_recruited_and_come_back() {
        let mut contexts = Contexts::new(Options::new(), 200).unwrap();
        assert!(contexts.infer(&image(0, 0)).is_none());
        let mut own = vec![];
        for (visit, context) in [0, 1, 2, 0, 3, 1].into_iter().enumerate() {
            let cells: Vec<usize> = (0..200).map(|i| contexts.observe(&image(context, visit as u32 * 1000 + i))).collect();
            let last = cells[199];
            assert!(cells[60..].iter().all(|c| *c == last), "settled within 60 images");
            own.push(last);
        }
        assert_eq!(own, [0, 1, 2, 0, 3, 1]);
        assert_eq!((contexts.count(), contexts.bytes()), (4, 100));
        // One image says its context; one of no context is less familiar than all of them.
        let known: Vec<(usize, f32)> = (0..4).map(|c| contexts.infer(&image(c, 77_777)).unwrap()).collect();
        assert_eq!(known.iter().map(|k| k.0).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let strange = contexts.infer(&image(9, 1)).unwrap().1;
        assert!(known.iter().all(|k| k.1 > 2.0 * strange), "{known:?} {strange}");
    }

    #[test]
    fn a_full_budget_recruits_no_more_and_a_restored_stream_goes_on() {
        let options = Options { budget: 2, ..Options::new() };
        let mut whole = Contexts::new(options, 200).unwrap();
        let images: Vec<Vec<f32>> = (0..4).flat_map(|c| (0..100).map(move |i| image(c, i))).collect();
        let all: Vec<usize> = images.iter().map(|x| whole.observe(x)).collect();
        assert_eq!(whole.count(), 2);
        let mut half = Contexts::new(options, 200).unwrap();
        let mut cells: Vec<usize> = images[..150].iter().map(|x| half.observe(x)).collect();
        let mut other = Contexts::new(options, 200).unwrap();
        other.restore(&half.state()).unwrap();
        cells.extend(images[150..].iter().map(|x| other.observe(x)));
        assert_eq!(cells, all);
        assert_eq!(other.state(), whole.state());
        // An image without contrast neither recruits for ever nor leaves anything that is not a number.
        let flat = vec![0.3; 200];
        (0..200).for_each(|_| assert!(other.observe(&flat) < 2));
        assert!(other.means.iter().all(|m| m.is_finite()) && other.infer(&flat).is_some());
    }

    #[test]
    fn gates_are_functions_of_the_context() {
        let units = open_units(3, 5, 800, 50);
        assert_eq!((units.len(), &units), (50, &open_units(3, 5, 800, 50)));
        assert!(units.windows(2).all(|w| w[0] < w[1]) && units != open_units(3, 6, 800, 50));
        assert_eq!(open_units(3, 5, 4, 9), [0, 1, 2, 3]);
        // Each unit is opened about equally often.
        let mut opened = vec![0; 100];
        (0..1000).for_each(|c| open_units(1, c, 100, 10).iter().for_each(|u| opened[*u as usize] += 1));
        assert!(opened.iter().all(|n| (60..150).contains(n)), "{opened:?}");
    }

    #[test]
    fn what_cannot_recruit_is_refused() {
        let message = |change: fn(&mut Options)| {
            let mut options = Options::new();
            change(&mut options);
            Contexts::new(options, 4).err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert!(message(|o| o.budget = 0).contains("budget of 0"));
        assert!(message(|o| o.alike = 1.5).contains("1.5"));
        assert!(message(|o| o.trace = f32::NAN).contains("NaN"));
        assert!(message(|o| o.every = 0).contains("0"));
    }
}
