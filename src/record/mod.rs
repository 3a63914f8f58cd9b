//! What a run leaves behind: an HDF5 file in SONATA's layout, checkpoints, a summary. Promises bounded memory, files that stay
//! readable when a run is cut off, and that nothing already on disk is overwritten unasked. Knows no format of bytes.

pub mod checkpoint;
pub mod read;
pub(crate) mod sonata;
pub mod summary;

pub use sonata::Recorder;

/// What is stored about the run beside the data.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RunInfo {
    /// The scenario's title.
    pub title: String,
    /// Path of the scenario as given.
    pub scenario_path: String,
    /// The scenario text as run, and the `--set` overrides applied to it.
    pub scenario_text: String,
    /// `--set` settings, in order.
    pub overrides: Vec<String>,
    /// Named settings of the scenario that were applied; None where it has none.
    pub variant: Option<String>,
    /// The scenario with all of them in their places: run again, with `models`, it gives the same spikes.
    pub resolved: String,
    /// The user's own models: file and text of each.
    pub models: Vec<(String, String)>,
    /// The command line, as it can be given again; empty where a program ran it.
    pub command: String,
    /// Of the network, and of the stimuli of all runs but branches.
    pub seed: u64,
    /// Seed of the stimuli: differs from `seed` in a branch.
    pub stimulus_seed: u64,
    /// The engine, with what it ran on: "cpu, " and its vector instructions, or the GPU's name.
    pub engine: String,
    /// Threads that it ran on.
    pub threads: usize,
    /// ms
    pub duration: f64,
    /// ms at the start that statistics leave out.
    pub warmup: f64,
    /// Of sharpwave.
    pub version: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::RunInfo;
    use crate::network::{Cell, Draw, Network, Population, Projection, Rule, SpikeRecord, SynapseInstance, Values};
    use crate::stimulus::SpikeSource;
    use std::sync::Arc;

    /// Populations of sources: enough for what is recorded about a network.
    pub fn network(populations: &[(&str, u32)]) -> Network {
        let mut net = Network::new(0.1, 1);
        for &(name, n) in populations {
            let cell = Cell::Source(SpikeSource::Poisson { rate: Values::Uniform(1.0), start: 0.0, stop: f64::INFINITY });
            net.add(Population { record_spikes: Some(SpikeRecord::first(n)), ..Population::new(name, n, cell) });
        }
        net
    }

    pub fn projection(name: &str, source: usize, target: usize) -> Projection {
        let place = crate::error::Place { file: String::new(), text: "".into(), span: 0..0 };
        let model = crate::model::SynapseModel {
            name: "static_synapse".into(),
            doc: String::new(),
            source: String::new(),
            place,
            params: vec![],
            requires: vec![],
            derived: vec![],
            states: vec![],
            recordables: vec![],
            constants: vec![],
            program: None,
            wgsl: String::new(),
            plasticity: None,
        };
        let synapse = SynapseInstance { model: Arc::new(model), params: vec![], derived: vec![], initial: vec![] };
        Projection {
            name: name.into(),
            source,
            target,
            rule: Rule::AllToAll,
            port: None,
            weight: Draw::Constant(1.0),
            delay: Draw::Constant(1.0),
            synapse,
            autapses: true,
            multapses: true,
            axonal: 0.0,
            modulator: None,
        }
    }

    pub fn info() -> RunInfo {
        RunInfo {
            title: "A test, with ümlauts".into(),
            scenario_path: "test.toml".into(),
            scenario_text: "[simulation]\nduration = 100\n".into(),
            overrides: vec!["a=1".into(), "b=2".into()],
            variant: None,
            resolved: String::new(),
            models: vec![],
            command: String::new(),
            seed: u64::MAX - 3,
            stimulus_seed: 12,
            engine: "cpu, portable".into(),
            threads: 2,
            duration: 100.0,
            warmup: 10.0,
            version: "0.0.0".into(),
        }
    }
}
