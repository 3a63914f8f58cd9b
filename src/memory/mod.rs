//! What a model learned from experience: the experiences themselves, what each left in a layer, and how both are kept.
//! Plain data on both sides; file formats of adapters are the export's.
//!
//! ```text
//! experience -> contrast (two forwards: key, value) -> hippocampus (spikes) -> area (engrams of a layer) -> Adapter
//!                                     asleep: explore (noise, reward) -> the early area; the wake engram goes
//! ```

pub mod area;
mod cells;
pub mod contrast;
pub mod entry;
pub mod exchange;
pub mod experience;
pub mod explore;
pub mod hippocampus;
pub mod keeper;
pub mod learner;
pub mod lines;
pub mod protect;
mod record;
pub mod replay;
pub mod settings;
pub mod store;
pub mod wake;

use crate::bridge::hooks::Site;

/// What one experience left in one linear layer: the makings of a rank-1 term. The layer's whole change is a function of its
/// engrams in the order they were written, so taking one out leaves a memory that never held it.
#[derive(Clone, Debug, PartialEq)]
pub struct Engram {
    /// `id` of the experience.
    pub experience: String,
    pub site: Site,
    /// Input of the layer at the position written: inputs.
    pub key: Vec<f32>,
    /// The presynaptic trace as spikes coded it, in whitened coordinates: inputs; empty where the key itself counts.
    pub trace: Vec<f32>,
    /// What the layer's output should change by at the key: outputs. Where `adds`, on top of what engrams before give there.
    pub value: Vec<f32>,
    /// A failure pushes away from what is there; a success says what should be there.
    pub adds: bool,
    /// Further keys whose outputs it must not change: any number x inputs.
    pub guards: Vec<f32>,
}
