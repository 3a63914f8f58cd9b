//! Leaky integrate-and-fire layers over a batch and its time steps, driven by constant currents or by the spikes of the layer below.
//! Promises the same spikes at any vector level and thread count (sums run over the sources in ascending order). Knows no learning.

use super::super::Layer;
use crate::simd::{for_every_level, level};
use crate::model::math::flush;
use rayon::prelude::*;

/// Neurons side by side: their weights from one source are contiguous, their spikes of one step a word.
pub const LANES: usize = 64;
/// Presentations that one thread takes through a tile of weights, so that the tile stays in its cache.
const SAMPLES: usize = 16;

/// Dynamics: v = leak v + I; a spike where v >= threshold, which then takes `threshold` off v.
#[derive(Clone, Copy, Debug)]
pub struct Neuron {
    /// Part of v that is left a step later, above 0 to 1.
    pub leak: f32,
    /// Above 0, in the unit of the input current.
    pub threshold: f32,
}

/// Spikes of a batch, one bit a neuron: presentations x steps x tiles.
#[derive(Clone, Debug, PartialEq)]
pub struct Spikes {
    /// Time steps.
    pub steps: usize,
    /// Neurons of the layer.
    pub neurons: usize,
    words: Vec<u64>,
}

impl Spikes {
    fn tiles(&self) -> usize {
        self.neurons.div_ceil(LANES)
    }

    /// The neurons that fired at a step, ascending.
    pub fn active(&self, sample: usize, step: usize) -> impl Iterator<Item = usize> + '_ {
        let words = &self.words[(sample * self.steps + step) * self.tiles()..][..self.tiles()];
        words.iter().enumerate().flat_map(|(tile, &word)| {
            std::iter::successors(Some(word), |w| Some(w & w.wrapping_sub(1)))
                .take_while(|w| *w != 0)
                .map(move |w| tile * LANES + w.trailing_zeros() as usize)
        })
    }

    /// Spikes in all.
    pub fn count(&self) -> u64 {
        self.words.iter().map(|w| w.count_ones() as u64).sum()
    }

    /// Traces of every step (presentations x steps x neurons): x = leak x + (1 - leak) s, a running mean of the spikes.
    pub fn traces(&self, leak: f32) -> Vec<f32> {
        let mut traces = vec![0.0; self.words.len() / self.tiles() * self.neurons];
        traces.par_chunks_mut(self.steps * self.neurons).enumerate().for_each(|(sample, rows)| {
            for step in 0..self.steps {
                let (before, row) = rows[..(step + 1) * self.neurons].split_at_mut(step * self.neurons);
                if step > 0 {
                    row.iter_mut().zip(&before[(step - 1) * self.neurons..]).for_each(|(x, b)| *x = flush(leak * b));
                }
                self.active(sample, step).for_each(|i| row[i] += 1.0 - leak);
            }
        });
        traces
    }
}

/// The weights of a layer regrouped for sums over spikes: tiles x inputs x LANES.
struct Packed {
    inputs: usize,
    values: Vec<f32>,
}

impl Packed {
    fn new(layer: &Layer) -> Self {
        let mut values = vec![0.0; layer.outputs.div_ceil(LANES) * layer.inputs * LANES];
        values.par_chunks_mut(layer.inputs * LANES).enumerate().for_each(|(tile, values)| {
            let rows = &layer.weight[tile * LANES * layer.inputs..];
            for (lane, row) in rows.chunks_exact(layer.inputs).take(LANES).enumerate() {
                row.iter().enumerate().for_each(|(i, w)| values[i * LANES + lane] = *w);
            }
        });
        Packed { inputs: layer.inputs, values }
    }

    fn tile(&self, tile: usize) -> &[f32] {
        &self.values[tile * self.inputs * LANES..][..self.inputs * LANES]
    }
}

/// What a layer did.
#[derive(Clone, Debug)]
pub struct Activity {
    /// presentations x steps x neurons.
    pub spikes: Spikes,
    /// Mean of the spikes with the kernel leak^(steps - 1 - t), 0 to 1: presentations x neurons.
    pub rate: Vec<f32>,
    /// Mean of the input current with the same kernel, in thresholds: presentations x neurons. rate ~ clamp(drive, 0, 1).
    pub drive: Vec<f32>,
    /// Pseudo-derivative max(0, 1 - |v - threshold| / threshold) before the reset, at every step, where asked for: presentations x
    /// steps x neurons.
    pub slope: Vec<f32>,
}

/// Where the currents of a layer come from.
pub enum Source<'a> {
    /// The same at every step: presentations x neurons.
    Constant(&'a [f32], usize),
    /// A layer's weights times the spikes of the layer below, without delay.
    Spikes(&'a Layer, &'a Spikes),
}

/// Run a layer of `neuron`s from rest through `steps` steps.
pub fn run(source: &Source, steps: usize, neuron: Neuron, with_slope: bool) -> Activity {
    let (batch, neurons, packed) = match source {
        Source::Constant(current, neurons) => (current.len() / neurons, *neurons, None),
        Source::Spikes(layer, below) => {
            (below.words.len() / (below.tiles() * steps), layer.outputs, Some((Packed::new(layer), *below)))
        }
    };
    let tiles = neurons.div_ceil(LANES);
    let mut words = vec![0; batch * steps * tiles];
    let (mut rate, mut drive) = (vec![0.0; batch * neurons], vec![0.0; batch * neurons]);
    let mut slope = vec![0.0; if with_slope { batch * steps * neurons } else { 0 }];
    let mut slopes: Vec<&mut [f32]> = slope.chunks_mut(SAMPLES * steps * neurons).collect();
    slopes.resize_with(batch.div_ceil(SAMPLES), || &mut []);
    let (total, level) = (kernel(steps, neuron.leak).1, level());
    (words.par_chunks_mut(SAMPLES * steps * tiles), rate.par_chunks_mut(SAMPLES * neurons))
        .into_par_iter()
        .zip(drive.par_chunks_mut(SAMPLES * neurons).zip(slopes))
        .enumerate()
        .for_each(|(piece, ((words, rate), (drive, slope)))| {
            let samples = rate.len() / neurons;
            let events = packed.as_ref().map(|(_, below)| Events::new(below, piece * SAMPLES, samples));
            let mut tile_words = vec![0; steps];
            let mut tile_slope = vec![[0.0; LANES]; slope.len().min(1) * steps];
            for tile in 0..tiles {
                let lanes = LANES.min(neurons - tile * LANES);
                for sample in 0..samples {
                    let at = sample * neurons + tile * LANES;
                    let (mut v, mut counted) = ([0.0; LANES], [0.0; LANES]);
                    let mut current = [0.0; LANES];
                    let input = match (source, &packed, &events) {
                        (Source::Spikes(..), Some((packed, _)), Some(events)) => {
                            Input::Events(packed.tile(tile), events.of(sample))
                        }
                        (Source::Constant(all, _), ..) => {
                            current[..lanes].copy_from_slice(&all[piece * SAMPLES * neurons + at..][..lanes]);
                            Input::Constant(&current)
                        }
                        _ => unreachable!("spikes come with their packed weights"),
                    };
                    let state = State { v: &mut v, counted: &mut counted, words: &mut tile_words, slope: &mut tile_slope };
                    run_tile(level, input, neuron, state);
                    for (step, word) in tile_words.iter().enumerate() {
                        let kept = if lanes == LANES { *word } else { word & ((1 << lanes) - 1) };
                        words[(sample * steps + step) * tiles + tile] = kept;
                    }
                    for lane in 0..lanes {
                        rate[at + lane] = flush(counted[lane] / total);
                        drive[at + lane] = flush((v[lane] / neuron.threshold + counted[lane]) / total);
                    }
                    for (step, from) in tile_slope.iter().enumerate() {
                        slope[(sample * steps + step) * neurons + tile * LANES..][..lanes].copy_from_slice(&from[..lanes]);
                    }
                }
            }
        });
    Activity { spikes: Spikes { steps, neurons, words }, rate, drive, slope }
}

/// The kernel leak^(steps - 1 - t) of the readout and of rates, divided by its sum, and that sum.
pub fn kernel(steps: usize, leak: f32) -> (Vec<f32>, f32) {
    let raw: Vec<f32> = (0..steps).map(|t| leak.powi((steps - 1 - t) as i32)).collect();
    let total = raw.iter().sum::<f32>();
    (raw.iter().map(|k| flush(k / total)).collect(), total)
}

/// Sources that fired, presentation by presentation and step by step.
struct Events {
    steps: usize,
    sources: Vec<u32>,
    ends: Vec<usize>,
}

impl Events {
    fn new(spikes: &Spikes, first: usize, samples: usize) -> Self {
        let mut events = Events { steps: spikes.steps, sources: vec![], ends: vec![0] };
        for sample in first..first + samples {
            for step in 0..spikes.steps {
                events.sources.extend(spikes.active(sample, step).map(|i| i as u32));
                events.ends.push(events.sources.len());
            }
        }
        events
    }

    fn of(&self, sample: usize) -> (&[u32], &[usize]) {
        (&self.sources, &self.ends[sample * self.steps..][..self.steps + 1])
    }
}

#[derive(Clone, Copy)]
enum Input<'a> {
    Constant(&'a [f32; LANES]),
    Events(&'a [f32], (&'a [u32], &'a [usize])),
}

struct State<'a> {
    v: &'a mut [f32; LANES],
    counted: &'a mut [f32; LANES],
    words: &'a mut [u64],
    slope: &'a mut [[f32; LANES]],
}

for_every_level! {
    /// One tile of neurons through one presentation.
    fn run_tile(input: Input, neuron: Neuron, state: State) {
        let Neuron { leak, threshold } = neuron;
        let mut v = *state.v;
        let mut counted = *state.counted;
        for step in 0..state.words.len() {
            let current = match input {
                Input::Constant(current) => *current,
                Input::Events(weights, (sources, ends)) => sum(weights, &sources[ends[step]..ends[step + 1]]),
            };
            let mut flags = [0u8; LANES];
            for lane in 0..LANES {
                v[lane] = leak * v[lane] + current[lane];
                flags[lane] = (v[lane] >= threshold) as u8;
            }
            if let Some(slope) = state.slope.get_mut(step) {
                for lane in 0..LANES {
                    slope[lane] = (1.0 - (v[lane] - threshold).abs() / threshold).max(0.0);
                }
            }
            for lane in 0..LANES {
                let spike = if v[lane] >= threshold { 1.0 } else { 0.0 };
                v[lane] -= threshold * spike;
                counted[lane] = leak * counted[lane] + spike;
            }
            // Eight flags of one byte to eight bits by one product.
            state.words[step] = (0..LANES / 8).fold(0, |word, group| {
                let bytes: [u8; 8] = std::array::from_fn(|i| flags[group * 8 + i]);
                word | (u64::from_le_bytes(bytes).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (group * 8)
            });
        }
        *state.v = v;
        *state.counted = counted;
    }
}

/// Sum of the weights from the sources that fired.
#[inline(always)]
fn sum(weights: &[f32], sources: &[u32]) -> [f32; LANES] {
    let mut total = [0.0; LANES];
    for &source in sources {
        let row = &weights[source as usize * LANES..][..LANES];
        for lane in 0..LANES {
            total[lane] += row[lane];
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream, key};

    /// Neuron by neuron and step by step, as the equations read.
    #[test]
    fn layers_agree_with_a_naive_loop() {
        let (batch, steps, inputs, neurons) = (19, 7, 70, 100);
        let neuron = Neuron { leak: 0.9, threshold: 1.0 };
        let mut random = Stream::new(key(1, 0), Purpose::Weight, 0, 0);
        let currents: Vec<f32> = (0..batch * inputs).map(|_| random.normal() as f32 * 0.6).collect();
        let weight = (0..inputs * neurons).map(|_| random.normal() as f32 * 0.2).collect();
        let layer = Layer { inputs, outputs: neurons, weight };
        let below = run(&Source::Constant(&currents, inputs), steps, neuron, false);
        let above = run(&Source::Spikes(&layer, &below.spikes), steps, neuron, true);
        let traces = above.spikes.traces(neuron.leak);
        let (kernel, _) = kernel(steps, neuron.leak);
        let mut fired = 0;
        for b in 0..batch {
            for i in 0..inputs {
                let (mut v, mut rate) = (0.0, 0.0);
                for t in 0..steps {
                    v = 0.9 * v + currents[b * inputs + i];
                    let spike = v >= 1.0;
                    assert_eq!(below.spikes.active(b, t).any(|j| j == i), spike);
                    v -= spike as u8 as f32;
                    rate += kernel[t] * spike as u8 as f32;
                }
                assert!((below.rate[b * inputs + i] - rate).abs() < 1e-6);
                assert!((below.drive[b * inputs + i] - currents[b * inputs + i]).abs() < 1e-5);
            }
            for o in 0..neurons {
                let (mut v, mut drive, mut trace) = (0.0, 0.0, 0.0);
                for t in 0..steps {
                    let current: f32 = below.spikes.active(b, t).fold(0.0, |sum, i| sum + layer.weight[o * inputs + i]);
                    v = 0.9 * v + current;
                    drive += kernel[t] * current;
                    let spike = v >= 1.0;
                    fired += spike as u64;
                    assert_eq!(above.spikes.active(b, t).any(|j| j == o), spike);
                    trace = 0.9 * trace + if spike { 0.1 } else { 0.0 };
                    assert!((traces[(b * steps + t) * neurons + o] - trace).abs() < 1e-6);
                    assert_eq!(above.slope[(b * steps + t) * neurons + o], (1.0 - (v - 1.0).abs()).max(0.0));
                    v -= spike as u8 as f32;
                }
                assert!((above.drive[b * neurons + o] - drive).abs() < 1e-5);
            }
        }
        assert_eq!(above.spikes.count(), fired);
        assert!(fired > 1000, "{fired} spikes");
    }

    /// Nothing renews what the one spike of a long presentation leaves: traces, rates and drives end at 0, not among the denormal numbers.
    #[test]
    fn what_one_spike_leaves_ends_at_zero() {
        let (steps, neuron) = (400, Neuron { leak: 0.5, threshold: 1.0 });
        let below = Spikes { steps, neurons: 2, words: std::iter::once(1).chain(std::iter::repeat_n(0, steps - 1)).collect() };
        let layer = Layer { inputs: 2, outputs: 2, weight: vec![2.5, 0.0, 0.3, 0.0] };
        let above = run(&Source::Spikes(&layer, &below), steps, neuron, true);
        assert_eq!(above.spikes.count(), 1);
        let traces = below.traces(0.5);
        assert!(traces[0] == 0.5 && traces[2 * 60] != 0.0 && traces[2 * 399] == 0.0);
        assert_eq!((&above.rate[..], &above.drive[..]), (&[0.0; 2][..], &[0.0; 2][..]));
        let kernel = kernel(steps, 0.5).0;
        assert!(traces.iter().chain(&kernel).all(|x| !x.is_subnormal()) && kernel[399] == 0.5 && kernel[0] == 0.0);
    }
}
