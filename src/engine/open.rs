//! The one way to an engine: a network connected, its tables built, and the engine of a kind set up on them. Promises that what an
//! engine or this machine cannot do is refused before anything large is built. Knows no scenario, no files.

use super::Engine;
use super::cpu::CpuEngine;
use super::event::EventEngine;
use crate::error::{Error, Result, nearest};
use crate::network::connectivity::Rows;
use crate::network::{Network, footprint, synapse_table};
use crate::system::cores;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Neurons from which `auto` prefers a real GPU: below, one step is shorter than a GPU's latency.
const GPU_WORTHWHILE: u32 = 20_000;
/// Below so many neurons a thread, meeting at the barrier costs more than the work saved.
const NEURONS_A_THREAD: usize = 2_000;

/// Which engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The cpu engine, or for a large network the gpu engine where this machine has a real GPU.
    #[default]
    Auto,
    /// Threads of this machine, on a grid of time.
    Cpu,
    /// A GPU, on a grid of time.
    Gpu,
    /// Threads of this machine, without a grid: exact spike times.
    Event,
}

impl Kind {
    /// In the order in which they are told.
    pub const ALL: [Kind; 4] = [Kind::Auto, Kind::Cpu, Kind::Gpu, Kind::Event];

    /// As scenarios and command lines spell it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Auto => "auto",
            Kind::Cpu => "cpu",
            Kind::Gpu => "gpu",
            Kind::Event => "event",
        }
    }

    /// What a network runs on: never [`Kind::Auto`].
    ///
    /// # Errors
    /// This program was built without the gpu engine.
    pub fn resolve(self, net: &Network) -> Result<Kind> {
        match self {
            Kind::Auto if net.neurons() >= GPU_WORTHWHILE && real_gpu() => Ok(Kind::Gpu),
            Kind::Auto => Ok(Kind::Cpu),
            Kind::Gpu if !cfg!(feature = "gpu") => Err(Error::input(
                "this binary was built without the gpu engine",
                "build with the default features, or use --engine cpu",
            )),
            kind => Ok(kind),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = Error;

    fn from_str(name: &str) -> Result<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name).ok_or_else(|| {
            let hint = nearest(name, Kind::ALL.map(Kind::name)).map_or(String::new(), |n| format!("did you mean `{n}`? "));
            Error::input(format!("unknown engine `{name}`"), format!("{hint}choose auto, cpu, gpu or event"))
        })
    }
}

/// Told of a phase before the simulation ("connect", "synapse tables") and how much of it is done, from 0 to 1.
pub type Phase<'a> = &'a (dyn Fn(&str, f64) + Sync);

/// How an engine is set up; the default is right for every network.
#[derive(Clone, Default)]
pub struct Options<'a> {
    /// Threads of the cpu engine; as many as pay when absent.
    pub threads: Option<usize>,
    /// GPU: index or part of the name.
    pub device: Option<String>,
    /// Who owns the accumulators on a GPU: "chosen" (what should pay), "shared", or the number of neurons that a workgroup owns.
    pub accumulators: Option<String>,
    /// Who hears of construction; None: nobody.
    pub progress: Option<Phase<'a>>,
}

impl Options<'_> {
    /// So many threads, all else as it is usual.
    pub fn threads(threads: usize) -> Options<'static> {
        Options { threads: Some(threads), ..Options::default() }
    }
}

/// Threads of the cpu engine for a network: those wanted, at most one a neuron, or as many as pay.
///
/// # Errors
/// None, or more than any machine has.
pub fn threads(net: &Network, wanted: Option<usize>) -> Result<usize> {
    let neurons = net.neurons() as usize;
    match wanted.unwrap_or(cores().min(neurons / NEURONS_A_THREAD).max(1)) {
        0 => {
            Err(Error::input("0 threads cannot simulate anything", "give --threads 1 or more, or leave it out to use every core"))
        }
        n if n > 1024 => Err(Error::input(format!("{n} threads are more than any machine has"), "give at most 1024")),
        n => Ok(n.min(neurons.max(1))),
    }
}

/// Connects a network and sets up an engine for it, which then keeps all of the network's rules by itself: whoever calls
/// [`Engine::advance`] gets its plasticity, its signals and its homeostasis.
///
/// # Errors
/// The network needs more memory than there is; the engine lacks what the network asks for, and says so by name; no device.
pub fn open(kind: Kind, net: &Arc<Network>, options: &Options) -> Result<Box<dyn Engine>> {
    let told = |phase: &'static str| move |done: f64| options.progress.iter().for_each(|progress| progress(phase, done));
    let kind = kind.resolve(net)?;
    if kind == Kind::Event {
        return Ok(Box::new(EventEngine::new(net, &told("connect"))?));
    }
    let blocks = if kind == Kind::Cpu { threads(net, options.threads)? } else { 1 };
    footprint::check(&footprint::estimate(net, blocks))?;
    let rows = Arc::new(Rows::prepare(net, &told("connect"))?);
    let tables = synapse_table::build(net, &rows, blocks, &told("synapse tables"))?;
    #[cfg(feature = "gpu")]
    if kind == Kind::Gpu {
        use super::gpu::{GpuEngine, GpuOptions};
        let accumulators = options.accumulators.as_deref().map_or(Ok(Default::default()), str::parse)?;
        let options = GpuOptions { device: options.device.clone(), accumulators, ..Default::default() };
        return Ok(Box::new(GpuEngine::new(net.clone(), rows, tables, options)?));
    }
    Ok(Box::new(CpuEngine::new(net.clone(), rows, tables)?))
}

/// Whether there is a GPU that is no driver computing on the processor.
#[cfg(feature = "gpu")]
pub fn real_gpu() -> bool {
    super::gpu::devices().iter().any(|d| d.real && d.usable.is_ok())
}
/// Without the gpu engine no GPU is of use.
#[cfg(not(feature = "gpu"))]
pub fn real_gpu() -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::testing::{network, neuron};

    #[test]
    fn kinds_are_read_as_they_are_told() {
        for kind in Kind::ALL {
            assert_eq!(kind.to_string().parse::<Kind>().unwrap(), kind);
            assert_eq!(serde_json::to_string(&kind).unwrap(), format!("\"{kind}\""));
        }
        let error = "evnet".parse::<Kind>().unwrap_err();
        assert!(error.remedy().is_some_and(|r| r.contains("did you mean `event`?")), "{error}");
        assert!(["", "CPU", "cpu "].iter().all(|name| name.parse::<Kind>().is_err()));
    }

    #[test]
    fn threads_are_what_pays_and_never_more_than_neurons() {
        let net = network(vec![(30, neuron(&[crate::model::Sign::Any]))]);
        assert_eq!((threads(&net, None).unwrap(), threads(&net, Some(7)).unwrap(), threads(&net, Some(99)).unwrap()), (1, 7, 30));
        assert!([0, 2000].iter().all(|n| threads(&net, Some(*n)).is_err()));
        assert_eq!(Kind::Auto.resolve(&net).unwrap(), Kind::Cpu);
    }
}
