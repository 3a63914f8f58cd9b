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

#[cfg(feature = "llm")]
pub mod bench;
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
#[cfg(feature = "hdf5")]
pub mod record;
pub mod rng;
#[cfg(feature = "hdf5")]
pub mod run;
pub mod scenario;
pub mod simd;
pub mod stimulus;
pub mod system;
#[cfg(feature = "llm")]
pub mod transformer;
pub mod units;
