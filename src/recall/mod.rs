//! The external hippocampus: experiences are found from a hint, completed from a part and replayed, by populations of spiking cells on the
//! engine's own synapse tables. Plain data on both sides; knows no file, no database and no language model.
//!
//! ```text
//! text -> encoder (mean vector, token vectors) -> codes (whitened, projected, k winners)  \
//!      -> words (a granule cell each, the rarest tell most)                               -> index (a cell an experience) -> first to fire
//! first to fire -> links (neighbours in time drive each other) -> late interaction (first 200) -> fuse (z-scores, confidence)
//! code, partial or noisy -> completion (recurrent synapses, k winners) -> code;   idle -> replay (links, forward and backward)
//! ```

pub mod codes;
pub mod completion;
pub mod encoder;
pub mod episode;
pub mod fuse;
pub mod hippocampus;
pub mod index;
pub mod read;
pub mod replay;
pub mod words;

pub use episode::{Act, Episode, Filter};
pub use fuse::Mix;
pub use hippocampus::{Ask, Hippocampus, Recalled};
