//! What learns in one method with one seed: the file's network with its protections, the same on latents among dreams, a posterior
//! gated by context, or predictive coding. Promises that each goes on bit for bit from its state. Knows batches and labels; no tasks'
//! images and no files.

use super::gpu::Gpu;
use super::guard::Guards;
use super::{Engine, Kind, Method, Protocol, Replay};
use crate::error::{Error, Result};
use crate::learning::Chain;
use crate::learning::dreams::Dreams;
use crate::learning::gated::Gated;
use crate::learning::local::{Network, Outcome, Samples, Settings, Teacher, softmax};
use crate::learning::predictive::Coder;
use crate::learning::state::State;
use crate::learning::{Protection, posterior};
use std::ops::Range;

/// Images that are tested at a time.
pub(super) const PIECE: usize = 256;

/// One of the kinds.
#[allow(clippy::large_enum_variant)]
pub(super) enum Learner {
    Network(Local),
    Replay(Box<Dreaming>),
    Gated(Box<Gated>),
    Predictive(Box<Coder>),
}

/// The file's network, its protections, and where it learns.
pub(super) struct Local {
    pub network: Network,
    pub guards: Guards,
    /// Where it learns and is tested instead; what it learned there is brought back whenever training pauses.
    pub gpu: Option<Gpu>,
    /// As it was before the task under way, where its answers are kept, and the classes that it then knew.
    teacher: Option<Teacher>,
    known: Vec<bool>,
    distillation: Option<(f32, f32)>,
}

/// A network on latents, and the path to them.
pub(super) struct Dreaming {
    local: Local,
    dreams: Dreams,
    how: Replay,
    /// Classes of the task under way.
    own: Vec<u8>,
}

impl Learner {
    pub fn new(protocol: &Protocol, method: &Method, seed: u64) -> Result<Learner> {
        let sizes = &protocol.network.sizes;
        let classes = sizes[sizes.len() - 1];
        let on_cpu = |what: &str| match &protocol.engine {
            Engine::Cpu => Ok(()),
            Engine::Gpu { .. } => {
                Err(Error::input(format!("{what} does not learn on the gpu: method {}", method.name), "set engine = \"cpu\""))
            }
        };
        Ok(match &method.kind {
            Kind::Network => Learner::Network(Local::new(protocol, method, sizes.clone(), seed)?),
            Kind::Replay(how) => {
                on_cpu("internal replay")?;
                let dreams = Dreams::new(how.path.clone(), sizes[0], classes, seed)?;
                let mut own = sizes.clone();
                // One more input is always 1: a bias.
                own[0] = dreams.latents() + 1;
                let local = Local::new(protocol, method, own, seed)?;
                Learner::Replay(Box::new(Dreaming { local, dreams, how: how.clone(), own: vec![] }))
            }
            Kind::Gated(options) => {
                on_cpu("a posterior gated by context")?;
                let mut options = options.clone();
                options.seed = seed;
                Learner::Gated(Box::new(Gated::new(options)?))
            }
            Kind::Predictive(options) => {
                on_cpu("predictive coding")?;
                let mut options = options.clone();
                (options.seed, options.optimiser) = (seed, method.training.optimiser);
                Learner::Predictive(Box::new(Coder::new(options)?))
            }
        })
    }

    /// A task begins: some of its images (count x inputs), the classes that it has.
    pub fn begin_task(&mut self, images: impl FnOnce(usize) -> Vec<f32>, own: Vec<u8>) -> Result<()> {
        if let Learner::Replay(it) = self {
            it.own = own;
            if !it.dreams.ready() {
                it.dreams.begin(&images(it.dreams.images()))?;
            }
        }
        Ok(())
    }

    /// One batch at a rate; `pass` over the task's images. The outcome is that before the step, of dreams too where there are.
    pub fn learn(&mut self, inputs: &[f32], labels: &[u8], rate: f32, task: usize, pass: usize) -> Result<Outcome> {
        match self {
            Learner::Network(local) => local.learn(inputs, labels, rate),
            Learner::Replay(it) => it.learn(inputs, labels, rate, pass),
            Learner::Gated(net) => net.learn(inputs, labels, task),
            Learner::Predictive(net) => {
                net.set_rate(rate);
                net.learn(inputs, labels)
            }
        }
    }

    /// A task has ended: `inputs` and `labels` are some of its images; `rate` and `batch` are for sleep.
    pub fn end_task(&mut self, inputs: &[f32], labels: &[u8], rate: f32, batch: usize) -> Result<()> {
        match self {
            Learner::Network(local) => local.end_task(inputs, labels),
            Learner::Replay(it) => it.end_task(inputs, labels, rate, batch),
            Learner::Gated(net) => {
                net.end_task();
                Ok(())
            }
            Learner::Predictive(net) => {
                net.end_task();
                Ok(())
            }
        }
    }

    /// Hits on all samples, which are of task `task`; with `scores` only these classes are asked about.
    pub fn evaluate(&mut self, samples: &Samples, scores: Option<&Range<usize>>, task: usize) -> Result<Outcome> {
        if let (Learner::Network(local), None) = (&mut *self, scores) {
            return local.evaluate(samples);
        }
        let settled = self.local().map(|local| local.guards.settled(&local.network));
        let mut total = Outcome::default();
        let all: Vec<u32> = (0..samples.labels.len() as u32).collect();
        for chosen in all.chunks(PIECE) {
            let (inputs, labels) = samples.gather(chosen);
            let values = self.scores(settled.as_ref(), &inputs, task)?;
            let classes = values.len() / labels.len();
            let asked = scores.cloned().unwrap_or(0..classes);
            for (row, label) in values.chunks_exact(classes).zip(&labels) {
                let best = asked.clone().fold(asked.start, |best, c| if row[c] > row[best] { c } else { best });
                total.correct += (best == *label as usize) as usize;
            }
            total.presentations += labels.len();
        }
        Ok(total)
    }

    /// Scores of the classes (presentations x classes); `settled` is the network as it is tested, where there is one.
    fn scores(&self, settled: Option<&Network>, inputs: &[f32], task: usize) -> Result<Vec<f32>> {
        match (self, settled) {
            (Learner::Replay(it), _) if it.how.generative => Ok(it.dreams.classify(&it.dreams.encode(inputs).0)),
            (Learner::Replay(it), Some(network)) => network.predict(&it.seen(inputs).0),
            (Learner::Gated(net), _) => {
                let draws = net.predict(inputs, task, net.draws());
                let mut sum = vec![0.0; draws[0].len()];
                draws.iter().for_each(|draw| sum.iter_mut().zip(draw).for_each(|(s, p)| *s += p));
                Ok(sum)
            }
            (Learner::Predictive(net), _) => Ok(net.predict(inputs).0),
            (_, Some(network)) => network.predict(inputs),
            _ => Err(Error::input("no network to test", "report this as a fault")),
        }
    }

    /// Whether it learns on the gpu: then by way of [`Learner::lend`].
    pub fn is_on_gpu(&self) -> bool {
        self.local().is_some_and(|local| local.gpu.is_some())
    }

    /// The gpu with the network on it, and the protections, so that the rest can be asked while they learn; None elsewhere.
    pub fn lend(&mut self) -> Result<Option<(Gpu, Guards)>> {
        let Learner::Network(local) = self else { return Ok(None) };
        let Some(mut gpu) = local.gpu.take() else { return Ok(None) };
        gpu.set(local.network.clone())?;
        Ok(Some((gpu, std::mem::replace(&mut local.guards, Guards(Chain(vec![]))))))
    }

    /// Takes back what [`Learner::lend`] gave, and what the network learned meanwhile.
    pub fn take_back(&mut self, mut gpu: Gpu, guards: Guards) -> Result<()> {
        if let Learner::Network(local) = self {
            local.guards = guards;
            local.network.clone_from(gpu.network()?);
            local.gpu = Some(gpu);
        }
        Ok(())
    }

    fn local(&self) -> Option<&Local> {
        match self {
            Learner::Network(local) => Some(local),
            Learner::Replay(it) => Some(&it.local),
            _ => None,
        }
    }

    /// Class probabilities under samples of a posterior (draws x presentations x classes); None where there is none.
    pub fn draws(&self, inputs: &[f32], draws: u32, task: usize) -> Option<Result<Vec<Vec<f32>>>> {
        match self {
            Learner::Gated(net) if net.draws() > 1 => Some(Ok(net.predict(inputs, task, draws as usize))),
            Learner::Network(local) => {
                let posterior = local.guards.posterior()?;
                let classes = local.network.layers().last().map_or(1, |l| l.outputs);
                let probabilities = |draw| {
                    let mut scores = local.sampled(posterior, draw).predict(inputs)?;
                    for row in scores.chunks_exact_mut(classes) {
                        softmax(row);
                    }
                    Ok(scores)
                };
                Some((0..draws).map(probabilities).collect())
            }
            _ => None,
        }
    }

    /// How familiar an image is, where contexts are inferred.
    pub fn familiarity(&self, image: &[f32]) -> Option<f32> {
        if let Learner::Gated(net) = self { net.familiarity(image) } else { None }
    }

    /// Part of a task's test images that are taken for its own context, where contexts are inferred.
    pub fn assigned(&self, images: &[f32], task: usize) -> Option<f64> {
        if let Learner::Gated(net) = self { net.assigned(images, task) } else { None }
    }

    /// What stands after the tasks so far, a line each.
    pub fn reports(&self) -> Vec<String> {
        match self {
            Learner::Network(local) => local.guards.0.report(),
            Learner::Replay(it) => {
                let kept = it.dreams.bytes() as f64 / 1000.0;
                let mut lines = vec![format!("internal replay: {kept:.0} kB kept of {} classes", it.dreams.known().len())];
                lines.extend(it.local.guards.0.report());
                lines
            }
            Learner::Gated(net) => net.report(),
            Learner::Predictive(net) => {
                let [rates, errors] = net.spikes();
                vec![format!("spikes a unit and image while learning: {rates:.2} of rates, {errors:.2} of errors")]
            }
        }
    }

    /// Bytes that are kept of old tasks beside the network that all methods have.
    pub fn bytes(&self) -> u64 {
        match self {
            Learner::Network(local) => {
                let weights = local.network.layers().iter().map(|l| l.weight.len()).sum::<usize>();
                local.guards.bytes() as u64 + if local.teacher.is_some() { 4 * weights as u64 } else { 0 }
            }
            Learner::Replay(it) => (it.dreams.bytes() + it.local.guards.bytes()) as u64,
            Learner::Gated(net) => net.bytes() as u64,
            Learner::Predictive(_) => 0,
        }
    }

    /// Rank and free dimensions under a projection.
    pub fn layers(&self) -> Vec<crate::learning::projection::Report> {
        self.local().and_then(|local| local.guards.projection()).map_or(vec![], |p| p.reports().to_vec())
    }

    /// Everything that changes.
    pub fn state(&self) -> State {
        let part = |name: &str, own: State| {
            let mut state = State::default();
            state.put_part(name, own);
            state
        };
        match self {
            Learner::Network(local) => local.state(),
            Learner::Replay(it) => {
                let mut state = it.local.state();
                state.put_part("dreams", it.dreams.state());
                state
            }
            Learner::Gated(net) => part("gated", net.state()),
            Learner::Predictive(net) => part("predictive", net.state()),
        }
    }

    /// Takes back what [`Learner::state`] gave.
    pub fn restore(&mut self, state: &State) -> Result<()> {
        match self {
            Learner::Network(local) => local.restore(state),
            Learner::Replay(it) => {
                it.local.restore(state)?;
                it.dreams.restore(&state.part("dreams"))
            }
            Learner::Gated(net) => net.restore(&state.part("gated")),
            Learner::Predictive(net) => net.restore(&state.part("predictive")),
        }
    }
}

impl Local {
    fn new(protocol: &Protocol, method: &Method, sizes: Vec<usize>, seed: u64) -> Result<Local> {
        let settings = Settings { seed, sizes, optimiser: method.training.optimiser, ..protocol.network.clone() };
        let mut network = Network::new(settings)?;
        let guards = Guards::make(&method.guards, &mut network, &method.training, seed)?;
        let gpu = match &protocol.engine {
            Engine::Cpu => None,
            Engine::Gpu { device } => Some(Gpu::new(network.clone(), device.as_deref())?),
        };
        if let (Some(_), Some(_)) = (&gpu, method.distillation) {
            return Err(Error::input(
                format!("distillation does not learn on the gpu: method {}", method.name),
                "set engine = \"cpu\"",
            ));
        }
        let known = vec![false; network.settings().sizes[network.settings().sizes.len() - 1]];
        Ok(Local { network, guards, gpu, teacher: None, known, distillation: method.distillation })
    }

    /// A task has ended: protections hold it, and a teacher stays behind.
    fn end_task(&mut self, inputs: &[f32], labels: &[u8]) -> Result<()> {
        self.guards.end_task(&mut self.network, inputs, labels)?;
        if let Some((strength, temperature)) = self.distillation {
            let (network, known) = (self.guards.settled(&self.network), self.known.clone());
            self.teacher = Some(Teacher { network, known, strength, temperature });
        }
        Ok(())
    }

    fn learn(&mut self, inputs: &[f32], labels: &[u8], rate: f32) -> Result<Outcome> {
        self.network.set_rate(rate);
        labels.iter().for_each(|l| self.known[*l as usize] = true);
        self.network.learn_from(inputs, labels, self.teacher.as_ref(), self.guards.protection())
    }

    fn evaluate(&mut self, samples: &Samples) -> Result<Outcome> {
        let settled = self.guards.settled(&self.network);
        match &mut self.gpu {
            None => settled.evaluate(samples),
            Some(gpu) => {
                gpu.set(settled)?;
                gpu.evaluate(samples)
            }
        }
    }

    fn sampled(&self, posterior: &posterior::Posterior, draw: u32) -> Network {
        let mut network = self.network.clone();
        network.layers_mut().iter_mut().enumerate().for_each(|(l, layer)| posterior.draw_test(l, draw, layer));
        network
    }

    fn state(&self) -> State {
        let mut state = self.guards.state();
        state.put_part("network", self.network.state());
        if self.distillation.is_some() {
            let bits = |known: &[bool]| known.iter().map(|k| *k as u64).collect::<Vec<u64>>();
            state.put("known", &[self.known.len()], &bits(&self.known));
            if let Some(teacher) = &self.teacher {
                state.put_part("teacher", teacher.network.state());
                state.put("taught", &[teacher.known.len()], &bits(&teacher.known));
            }
        }
        state
    }

    fn restore(&mut self, state: &State) -> Result<()> {
        self.network.restore(&state.part("network"))?;
        if let Some((strength, temperature)) = self.distillation {
            let bits = |name: &str| {
                Ok::<_, Error>(state.get::<u64>(name, self.known.len())?.iter().map(|k| *k == 1).collect::<Vec<bool>>())
            };
            let known = bits("known")?;
            self.teacher = match state.has("taught") {
                false => None,
                true => {
                    let mut network = self.network.clone();
                    network.restore(&state.part("teacher"))?;
                    Some(Teacher { network, known: bits("taught")?, strength, temperature })
                }
            };
            self.known = known;
        }
        self.guards.restore(state)
    }
}

impl Dreaming {
    /// Latents of images and a last input of 1, and the spikes of the path.
    fn seen(&self, images: &[f32]) -> (Vec<f32>, Vec<f32>, u64) {
        let (latents, spikes) = self.dreams.encode(images);
        (with_bias(&latents, self.dreams.latents()), latents, spikes)
    }

    fn learn(&mut self, images: &[f32], labels: &[u8], rate: f32, pass: usize) -> Result<Outcome> {
        let (mut inputs, latents, spikes) = self.seen(images);
        if pass == 0 {
            self.dreams.observe(&latents, labels);
        }
        if self.how.generative {
            return Ok(Outcome { presentations: labels.len(), spikes, ..Outcome::default() });
        }
        let mut labels = labels.to_vec();
        let old: Vec<u8> = self.dreams.known().into_iter().filter(|c| !self.own.contains(c)).collect();
        // As many of each old class as of each class of the task.
        let wanted = if self.how.dream { labels.len() * old.len() / self.own.len().max(1) } else { 0 };
        if let Some((dreamt, of)) = self.dreams.dream(wanted, &old) {
            inputs.extend(with_bias(&dreamt, self.dreams.latents()));
            labels.extend(of);
        }
        let outcome = self.local.learn(&inputs, &labels, rate)?;
        Ok(Outcome { spikes: outcome.spikes + spikes, ..outcome })
    }

    fn end_task(&mut self, images: &[f32], labels: &[u8], rate: f32, batch: usize) -> Result<()> {
        self.dreams.settle()?;
        if self.how.generative {
            return Ok(());
        }
        let known = self.dreams.known();
        for _ in 0..self.how.sleep {
            if let Some((dreamt, of)) = self.dreams.dream(batch * known.len().div_ceil(2), &known) {
                self.local.learn(&with_bias(&dreamt, self.dreams.latents()), &of, rate)?;
            }
        }
        let inputs = self.seen(images).0;
        self.local.guards.end_task(&mut self.local.network, &inputs, labels)
    }
}

/// Rows of latents with a last value of 1.
fn with_bias(latents: &[f32], size: usize) -> Vec<f32> {
    latents.chunks_exact(size).flat_map(|row| row.iter().copied().chain([1.0])).collect()
}
