//! The parts of a step on their own, and what learning costs: kernels, delivery, barriers and launches, projection, posterior, the
//! three-factor rule, and an experience written into a language model.

use super::Place;
use super::machine::Machine;
use super::report::{Row, Spread};
use crate::engine::cpu::barrier_wait;
use crate::error::{Error, Result};
use crate::learning::local::{Network, Outcome, Samples, Settings as LocalSettings};
use crate::learning::posterior::{self, Gaussian, Posterior, Rule};
use crate::learning::projection::{self, Basis, Projection};
use crate::learning::{Layer, Protection};
use crate::memory::exchange::Exchange;
use crate::memory::experience::{self, Experience};
use crate::memory::key_statistics::Statistics;
use crate::memory::learner::Learner;
use crate::memory::questions::built_in_prompts;
use crate::memory::settings::Settings;
use crate::model::kernel::{BLOCK, Kernel, Lanes, Operand, Scratch};
use crate::model::{NeuronModel, Words};
use crate::network::NeuronInstance;
use crate::rng::{Purpose, Stream, key};
use crate::transformer::Source;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

/// Something to time alone.
#[derive(Clone, Debug)]
pub(super) enum Single {
    /// One update of a neuron of this model by its compiled kernel.
    Update(Arc<NeuronModel>),
    /// A meeting of so many threads, or a dispatch.
    Latency(Place),
    Learning(Learning, Place),
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Learning {
    /// x - H'(Hx), 100 rows, 784 inputs.
    Projection,
    /// Metaplasticity from uncertainty, 784 x 800 weights.
    Posterior,
    /// 784-800-800-10, 20 steps, local rule; the steps as they are, or kept off old tasks.
    ThreeFactor(Guard),
    /// An experience into the built-in language model: everything, and the writing alone.
    Wake,
    WakeWrite,
}

/// What stands between a rule and the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Guard {
    Nothing,
    /// Of rank 100 at most in every layer.
    Projection,
    Posterior,
}

/// Presentations in a batch, and batches that are learnt in one call.
const BATCH: usize = 64;
const BATCHES: usize = 8;

impl Single {
    pub fn name(&self) -> String {
        match self {
            Single::Update(model) => model.name.clone(),
            Single::Latency(Place::Gpu(_)) => "dispatch and barrier".into(),
            Single::Latency(_) => "barrier".into(),
            Single::Learning(what, _) => what.name().into(),
        }
    }

    fn part(&self) -> &'static str {
        match self {
            Single::Update(_) => "update",
            Single::Latency(_) => "latency",
            Single::Learning(..) => "learning",
        }
    }

    pub fn measure(&self, runs: usize, machine: &Machine) -> Row {
        let mut row = Row { part: self.part().into(), name: self.name(), runs, engine: "cpu".into(), ..Default::default() };
        match self.times(runs, machine, &mut row) {
            Ok(times) => row.time = Spread::of(times),
            Err(error) => row.reason = Some(error.to_string()),
        }
        row
    }

    fn times(&self, runs: usize, machine: &Machine, row: &mut Row) -> Result<Vec<f64>> {
        let mut unit = |unit: &str| row.unit = unit.into();
        match self {
            Single::Update(model) => {
                unit("ns per update");
                row.engine = format!("cpu, {}", model.kernel().describe());
                let mut cells = Cells::new(model, model.kernel())?;
                let ns = |seconds: f64| seconds * 1e9 / BLOCK as f64;
                let times: Vec<f64> = repeat(runs, 1000, || Ok(cells.step()))?.into_iter().map(ns).collect();
                // A block stays in the nearest cache, so what it moves is held against no copy.
                let words = 2 * (model.states.len() + model.ports.len());
                row.figures.bandwidth = Spread::of(times.clone()).map(|t| 4.0 * words as f64 / (t.median * 1e-9));
                Ok(times)
            }
            Single::Latency(Place::Cpu(threads)) => {
                unit("us");
                row.engine = format!("cpu, {threads} threads");
                Ok((0..runs).map(|_| barrier_wait(*threads, 20_000) * 1e6).collect())
            }
            #[cfg(feature = "gpu")]
            Single::Latency(Place::Gpu(device)) => {
                unit("us");
                row.engine = machine.gpu_name();
                let all = (0..runs).map(|_| crate::engine::gpu::latency(device.as_deref())).collect::<Result<Vec<_>>>()?;
                row.figures.record_us_per_step = all.iter().map(|l| l.record * 1e6).reduce(f64::min);
                row.figures.us_per_step = all.iter().map(|l| l.round_trip * 1e6).reduce(f64::min);
                Ok(all.iter().map(|l| l.dispatch * 1e6).collect())
            }
            Single::Latency(_) => Err(Error::input("this engine has no such latency", "measure it on cpu or gpu")),
            Single::Learning(what, place) => {
                row.engine = if let Place::Gpu(_) = place { machine.gpu_name() } else { "cpu".into() };
                what.times(place, runs, &mut |unit| row.unit = unit.into())
            }
        }
    }
}

/// Neurons of one model with some input, ready to be updated again and again.
pub struct Cells {
    kernel: Arc<dyn Kernel>,
    instance: NeuronInstance,
    constants: Vec<Words>,
    states: Vec<Vec<u32>>,
    inputs: Vec<Vec<f32>>,
    output: Vec<u32>,
    scratch: Scratch,
}

impl Cells {
    /// A block of neurons with default parameters; `kernel` is the model's, compiled or interpreted.
    ///
    /// # Errors
    /// Default parameters that the model refuses.
    pub fn new(model: &Arc<NeuronModel>, kernel: Arc<dyn Kernel>) -> Result<Cells> {
        let instance = NeuronInstance::new(model, &[], 0.1)?;
        let states = instance.initial_words().iter().map(|w| (0..BLOCK).map(|i| w.get(i)).collect()).collect();
        let input = |port: usize| (0..BLOCK).map(|i| if port == 0 { (i % 7) as f32 } else { 0.0 }).collect();
        let inputs = (0..model.ports.len() + model.current.is_some() as usize).map(input).collect();
        let constants = instance.constants();
        Ok(Cells { kernel, instance, constants, states, inputs, output: vec![0; BLOCK], scratch: Scratch::default() })
    }

    /// One step of all of them.
    pub fn step(&mut self) {
        let constants: Vec<Operand> = self.constants.iter().map(|c| c.operand(0..BLOCK)).collect();
        let mut states: Vec<&mut [u32]> = self.states.iter_mut().map(Vec::as_mut_slice).collect();
        let inputs: Vec<&[f32]> = self.inputs.iter().map(Vec::as_slice).collect();
        let output = &mut self.output;
        let mut lanes = Lanes { n: BLOCK, constants: &constants, states: &mut states, inputs: &inputs, output };
        self.kernel.run(&mut lanes, self.instance.substeps, &mut self.scratch);
    }
}

impl Learning {
    fn name(self) -> &'static str {
        match self {
            Learning::Projection => "orthogonal projection, rank 100 of 784",
            Learning::Posterior => "Bayesian update, 784 x 800",
            Learning::ThreeFactor(Guard::Nothing) => "three-factor learning, 784-800-800-10",
            Learning::ThreeFactor(Guard::Projection) => "three-factor learning, 784-800-800-10, orthogonal to rank 100",
            Learning::ThreeFactor(Guard::Posterior) => "three-factor learning, 784-800-800-10, of a Bayesian posterior",
            Learning::Wake => "an experience, stories260k",
            Learning::WakeWrite => "its adapter update, stories260k",
        }
    }

    fn times(self, place: &Place, runs: usize, unit: &mut impl FnMut(&str)) -> Result<Vec<f64>> {
        let mut stream = Stream::new(key(1, 0), Purpose::Weight, 0, 0);
        let mut drawn = |n: usize| (0..n).map(|_| stream.normal() as f32).collect::<Vec<f32>>();
        let us_a_sample = |seconds: f64| seconds * 1e6 / BATCH as f64;
        match self {
            Learning::Projection => {
                unit("us per sample");
                let mut basis = Basis::new(784);
                for _ in 0..100 {
                    let mut row = drawn(784);
                    basis.project(&mut row);
                    basis.append(&row);
                }
                let batch = drawn(BATCH * 784);
                Ok(repeat(runs, 20, || Ok(basis.project(&mut batch.clone())))?.into_iter().map(us_a_sample).collect())
            }
            Learning::Posterior => {
                unit("us per sample");
                let layer = Layer { inputs: 784, outputs: 800, weight: drawn(784 * 800).iter().map(|x| 0.05 * x).collect() };
                let mut posterior = Gaussian::new(&layer, 0.05, 0.1)?;
                let gradient: Vec<f64> = drawn(784 * 800).iter().map(|x| 1e-3 * f64::from(*x)).collect();
                let mut weight = vec![0.0; layer.weight.len()];
                let mut presentation = 0;
                // One update and one draw a batch.
                let once = || {
                    posterior.update(&Rule::mesu(1e5), None, &gradient, &gradient);
                    posterior.sample(1, 0, presentation, &mut weight);
                    presentation += 1;
                    Ok(())
                };
                Ok(repeat(runs, 5, once)?.into_iter().map(us_a_sample).collect())
            }
            Learning::ThreeFactor(guard) => {
                unit("us per sample");
                three_factor(guard, place, runs)
            }
            Learning::Wake | Learning::WakeWrite => {
                unit("ms per experience");
                let source = Source::open("stories260k")?;
                let host = std::sync::Arc::new(source.load()?);
                let settings = Settings::new(&source.config);
                let statistics =
                    Statistics::collect(&host, &settings, &built_in_prompts(), &mut |_| (), &AtomicBool::new(false))?;
                let mut learner = Learner::new(host.clone(), &settings, &statistics.texts)?;
                learner.study(statistics)?;
                let animals = ["dog", "cat", "bird", "fish", "bear", "frog", "duck", "lion", "mouse", "rabbit", "fox", "cow"];
                let mut times = Vec::new();
                for animal in animals.iter().cycle().take(runs.max(5).min(animals.len())) {
                    let prompt = format!("The name of the {animal} was");
                    let fact = Experience::new(animal, &prompt, "Max", experience::Outcome::Success);
                    let begin = Instant::now();
                    let lesson = learner.learn(animal, &Exchange::of(&host, &fact)?, 1.0)?;
                    let whole = begin.elapsed().as_secs_f64();
                    if !lesson.engrams.is_empty() {
                        times.push(1e3 * if self == Learning::Wake { whole } else { lesson.write_s });
                    }
                }
                match times.is_empty() {
                    true => Err(Error::Run { message: "no experience was written".into(), remedy: "report this".into() }),
                    false => Ok(times),
                }
            }
        }
    }
}

/// us a sample of a network of leaky neurons that learns from noise; only the work counts, which is the same whatever it sees.
fn three_factor(guard: Guard, place: &Place, runs: usize) -> Result<Vec<f64>> {
    const SIZES: [usize; 4] = [784, 800, 800, 10];
    let mut stream = Stream::new(key(1, 0), Purpose::Weight, 0, 1);
    let count = BATCH * BATCHES;
    let pixels: Vec<u8> = (0..count * SIZES[0]).map(|_| stream.below(256) as u8).collect();
    let labels: Vec<u8> = (0..count).map(|i| (i % SIZES[3]) as u8).collect();
    let samples = Samples::new(&pixels, SIZES[0], &labels);
    let order: Vec<u32> = (0..count as u32).collect();
    let mut network = Network::new(LocalSettings::new(SIZES.to_vec(), 1))?;
    let mut protection: Option<Box<dyn Protection>> = match guard {
        Guard::Nothing => None,
        Guard::Projection => {
            let mut projection = Projection::new(&SIZES[..3], projection::Options::svd(vec![0.99]))?;
            let old: Vec<f32> = pixels[..100 * SIZES[0]].iter().map(|&p| f32::from(p) / 255.0).collect();
            network.end_task(&old, &mut projection)?;
            Some(Box::new(projection))
        }
        Guard::Posterior => {
            let layers = network.layers().iter().map(|l| Gaussian::new(l, 0.05, 0.1)).collect::<Result<_>>()?;
            let posterior = Posterior::new(layers, posterior::Options::new(Rule::mesu(1e5), 0.05))?;
            network.layers_mut().iter_mut().enumerate().for_each(|(l, layer)| posterior.draw(l, layer));
            Some(Box::new(posterior))
        }
    };
    fn own(protection: &mut Option<Box<dyn Protection>>) -> Option<&mut dyn Protection> {
        protection.as_mut().map(|p| &mut **p as &mut dyn Protection)
    }
    let quiet = &mut |_: &Outcome| Ok(());
    let seconds = match place {
        #[cfg(feature = "gpu")]
        Place::Gpu(device) => {
            let mut gpu = crate::engine::gpu::GpuNetwork::new(network, device.as_deref())?;
            repeat(runs, 1, || gpu.train(&samples, &order, BATCH, own(&mut protection), quiet))
        }
        _ => repeat(runs, 1, || network.train(&samples, &order, BATCH, own(&mut protection), quiet)),
    };
    Ok(seconds?.into_iter().map(|s| s * 1e6 / count as f64).collect())
}

/// Seconds of one call, run by run, each over `calls`; one call before, which is not counted.
fn repeat<T>(runs: usize, calls: usize, mut call: impl FnMut() -> Result<T>) -> Result<Vec<f64>> {
    call()?;
    (0..runs)
        .map(|_| {
            let begin = Instant::now();
            for _ in 0..calls {
                std::hint::black_box(call()?);
            }
            Ok(begin.elapsed().as_secs_f64() / calls as f64)
        })
        .collect()
}
