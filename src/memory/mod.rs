//! What a model learned from experience: the experiences themselves, what each left in a layer, and how both are kept.
//! Plain data on both sides; file formats of adapters are the export's.
//!
//! ```text
//! experience -> exchange (tokens) -> context_target (one forward: keys, values) -> spiking_code -> engrams -> layer_memory -> Adapter
//!                  asleep: explore (noise, reward) -> engrams of the early layer; those awake go
//! request -> coverage (which experiences it asks for) -> composition: in their own words layer_memory of their engrams -> Adapter;
//!            in others, where relation says that they ask for the same, their values
//! facade::Memory = store (what is kept) + learner (what is at work) + standing (what holds)
//! ```

mod canaries;
mod cells;
mod codec;
pub mod composition;
pub mod context_target;
pub mod coverage;
pub mod episodic;
pub mod exchange;
pub mod experience;
pub mod facade;
mod held;
pub mod journal;
pub mod jsonl;
pub mod key_statistics;
mod layer_memory;
pub mod learner;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod questions;
pub mod relation;
pub mod settings;
pub mod spiking_code;
mod standing;
pub mod store;
mod value_search;
mod wake;

pub use canaries::Damage;
pub use coverage::Topic;
pub use episodic::Episodic;
pub use facade::Memory;
pub use value_search::Found;
pub use wake::Check;

use crate::transformer::site::Site;

/// What one experience left in one linear layer: the makings of a rank-1 term. The layer's whole change is a function of its
/// engrams in the order they were written, so taking one out leaves a memory that never held it.
#[derive(Clone, Debug, PartialEq)]
pub struct Engram {
    /// `id` of the experience.
    pub experience: String,
    /// The linear layer.
    pub site: Site,
    /// Digest of the tokens before the position written: engrams of the same place have the same key, whoever wrote them.
    pub place: u64,
    /// Input of the layer at the position written: inputs.
    pub key: Vec<f32>,
    /// The key whitened by the layer's prior, as spikes coded it or exactly: inputs.
    pub trace: Vec<f32>,
    /// The trace as a factor on keys (W' trace, W the whitener): inputs.
    pub factor: Vec<f32>,
    /// What the layer's output should change by at the key: outputs. All zeros for a guard, which wants no change.
    pub value: Vec<f32>,
    /// How softly it is held, in units of the trace's own energy: above 0; a larger one is softer.
    pub ridge: f32,
}
