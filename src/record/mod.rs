//! What a run leaves behind: an HDF5 file in SONATA's layout, checkpoints, a summary. Promises bounded memory, files that stay
//! readable when a run is cut off, and that nothing already on disk is overwritten unasked. Only hdf5.rs knows HDF5.

pub mod checkpoint;
pub mod hdf5;
pub mod read;
pub mod summary;

/// What is stored about the run beside the data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunInfo {
    pub scenario_path: String,
    /// The scenario text as run, and the `--set` overrides applied to it.
    pub scenario_text: String,
    pub overrides: Vec<String>,
    pub seed: u64,
    pub engine: String,
    pub threads: usize,
    /// ms
    pub duration: f64,
    pub warmup: f64,
    pub version: String,
}
