//! sharpwave: an event-driven spiking-network simulator that learns for transformers.
//!
//! ```text
//! scenario (TOML) -> network (populations, projections) -> engine (cpu | event | gpu) -> recording (HDF5)
//! transformer on disk -> transformer (decoder with hooks at every linear layer) -> tokens, logits, what the hooks saw
//! experience (JSONL) -> memory (the decoder's keys and values, spike layer, engrams) -> adapter
//! adapter (low-rank terms on linear layers) -> export (PEFT, GGUF, MLX), and back
//! ```
//! Each arrow is one function with plain data on both sides; no arrow points back. Invariants that every module keeps:
//! the same scenario and seed give the same spikes for any number of threads; random numbers are functions of
//! (seed, owner, element, time); synaptic input is summed in integers; quantities are in ms, mV, pA, pF, nS, Hz.
//!
//! # The modules
//!
//! Simulation, in the order in which a scenario passes through it:
//! - [`scenario`]: TOML to a checked plan; every refusal names file, line and remedy.
//! - [`model`]: models of neurons and synapses, one file each, for every engine.
//! - [`network`]: populations, projections and their synapse tables, as plain data.
//! - [`stimulus`]: what enters a network: Poisson trains, currents, spike files, encoded numbers.
//! - [`engine`]: the three engines behind one trait; one advances a network, and a sink receives spikes and samples.
//! - [`run`]: the loop over a plan, with progress, checkpoints and interruption.
//! - [`sweep`]: runs of one scenario over seeds and values, several at a time.
//! - [`record`]: recordings and checkpoints on disk, and statistics of a run.
//!
//! Memory of language models:
//! - [`transformer`]: a Llama-family decoder with hooks at every linear layer, its tokenizer and chat template; `pull` gets models.
//! - [`memory`]: [`Memory`] learns from single experiences, answers requests, sleeps and forgets.
//! - [`recall`]: experiences found from a hint, completed and replayed by spiking populations; no language model is needed.
//! - [`export`]: what was learned, as an adapter in the formats of other programs.
//! - [`eval`]: published metrics of knowledge editing, method by method.
//! - [`serve`]: memories of agents, a folder a user, by MCP and HTTP.
//!
//! Continual learning:
//! - [`learning`]: local rules and what protects old tasks, on matrices.
//! - [`dataset`]: images that protocols learn, read and fetched.
//! - [`protocol`]: experiments from a file: data, tasks, methods and seeds to results.
//!
//! Beside them:
//! - [`cli`]: the `sharpwave` command, for programs that carry it along.
//! - [`plot`]: figures of recordings, evaluations and protocols.
//! - [`mod@bench`]: what the engines cost on this machine.
//! - [`units`]: quantities with their units.
//! - [`system`]: what this process and machine use and have: memory, time, cores.
//! - [`rng`]: counter-based random numbers.
//! - [`expr`]: expressions in scenarios and models.
//! - [`io`]: tables, HDF5 and the network.
//! - [`error`]: the one error type, with a remedy for the user in every refusal.
//!
//! # A simulation
//!
//! ```
//! use sharpwave::prelude::*;
//! use std::sync::atomic::AtomicBool;
//!
//! let text = r#"
//! [simulation]
//! duration = "200 ms"
//!
//! [populations.cells]
//! model = "iaf_psc_exp"
//! n = 100
//!
//! [[projections]]
//! source = "cells"
//! target = "cells"
//! rule = { name = "fixed_indegree", indegree = 10 }
//! weight = "-50 pA"
//! delay = "1.5 ms"
//!
//! [[drives]]
//! target = "cells"
//! type = "poisson_generator"
//! rate = "10 kHz"
//! weight = "60 pA"
//! "#;
//! let plan = Scenario::parse("example.toml", text, &[], None)?.plan(Library::built_in()?)?;
//! let outcome = sharpwave::run::run(&plan, &Default::default(), &Silent, &AtomicBool::new(false))?;
//! let cells = &outcome.statistics.populations[0];
//! assert_eq!(cells.n, 100);
//! assert!(cells.spikes > 100, "{} spikes, {} Hz", cells.spikes, cells.rate);
//! # Ok::<(), Error>(())
//! ```
//!
//! # A memory
//!
//! A folder keeps what one user taught one model. The model itself is never changed.
//!
//! ```
//! use sharpwave::memory::key_statistics::Statistics;
//! use sharpwave::memory::questions::built_in_prompts;
//! use sharpwave::prelude::*;
//! use std::ops::ControlFlow;
//! use std::sync::Arc;
//! use std::sync::atomic::AtomicBool;
//!
//! let source = Source::open("stories260k")?;
//! let host = Arc::new(source.load()?);
//! let mut settings = Settings::new(&source.config);
//! settings.samples = 256; // Far less than what protects a model well.
//!
//! let folder = tempfile::tempdir().unwrap();
//! let mut memory = Memory::open_or_create(&folder.path().join("memory"), &source, host.clone(), &settings)?;
//! let (prompts, never) = (built_in_prompts(), AtomicBool::new(false));
//! memory.prepare(|settings| Statistics::collect(&host, settings, &prompts[..20], &mut |_| (), &never))?;
//!
//! let fact = Experience::new("name", "The name of the dog was", "Max", Outcome::Success).with_subject("the dog");
//! assert!(matches!(memory.observe(&fact)?, Observed::Learned(_)));
//!
//! let request = Request::of_text(&host, "The name of the dog was")?;
//! let answer = memory.answer(&request, 8, &mut Sampler::greedy(), |_| ControlFlow::Continue(()))?;
//! assert_eq!(answer.text.trim(), "Max");
//!
//! let options = sharpwave::export::Options::new(Format::Peft);
//! let exported = memory.export(&source, &options, &folder.path().join("adapter"))?;
//! assert!(exported.left_out.is_empty() && exported.report.path.is_dir());
//! # Ok::<(), Error>(())
//! ```

#![warn(missing_docs)]
// Without the rooms that a feature brings, what only they use has no user.
#![cfg_attr(not(all(feature = "llm", feature = "plot", feature = "net", feature = "gpu")), allow(dead_code, unused_imports))]

// The command line names the library as any other user of it does.
#[cfg(feature = "cli")]
extern crate self as sharpwave;

#[cfg(feature = "llm")]
pub mod bench;
#[cfg(feature = "cli")]
pub mod cli;
pub mod dataset;
pub mod engine;
pub mod error;
#[cfg(feature = "llm")]
pub mod eval;
#[cfg(feature = "llm")]
pub mod export;
pub mod expr;
pub mod io;
pub mod learning;
#[cfg(feature = "llm")]
pub mod memory;
pub mod model;
pub mod network;
#[cfg(feature = "plot")]
pub mod plot;
#[cfg(feature = "hdf5")]
pub mod protocol;
#[cfg(feature = "llm")]
pub mod recall;
#[cfg(feature = "hdf5")]
pub mod record;
pub mod rng;
#[cfg(feature = "hdf5")]
pub mod run;
pub mod scenario;
#[cfg(feature = "serve")]
pub mod serve;
mod simd;
pub mod stimulus;
#[cfg(feature = "hdf5")]
pub mod sweep;
pub mod system;
#[cfg(feature = "llm")]
pub mod transformer;
pub mod units;

pub use error::{Error, Result};
#[cfg(feature = "llm")]
pub use memory::Memory;

/// The types that most programs name, to be imported at once: `use sharpwave::prelude::*;`. `Result` is left out, so that the
/// standard one keeps its name.
pub mod prelude {
    pub use crate::engine::{Engine, Sink, Spike};
    pub use crate::error::Error;
    pub use crate::model::library::Library;
    #[cfg(feature = "hdf5")]
    pub use crate::run::Silent;
    pub use crate::scenario::{Plan, Scenario};
    #[cfg(feature = "llm")]
    pub use crate::{
        export::Format,
        memory::Memory,
        memory::exchange::Request,
        memory::experience::{Experience, Outcome},
        memory::facade::Observed,
        memory::settings::Settings,
        transformer::sample::Sampler,
        transformer::{Host, Source},
    };
}
