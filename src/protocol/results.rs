//! What came out of a protocol, as plain data and as the JSON on disk. Knows numbers only; not how they were made.

use crate::error::{Error, Result};
use crate::learning::projection::Report;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// All runs of a protocol so far, and what they were made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// What the protocol's file calls itself.
    pub title: String,
    /// The paper that it follows; empty where there is none.
    pub citation: String,
    /// "supervised", "permuted", or "split" with what is asked.
    pub kind: String,
    /// Tasks that are learned in turn.
    pub tasks: usize,
    /// Inputs, hidden layers, classes.
    pub sizes: Vec<usize>,
    /// The images that were used.
    pub data: Source,
    /// Methods asked for, in order: name and title.
    pub methods: Vec<(String, String)>,
    /// Seeds asked for, in order, each once.
    pub seeds: Vec<u64>,
    /// Every run asked for is there.
    pub complete: bool,
    /// Finished runs, in the order they ended.
    pub runs: Vec<Run>,
    /// Of sharpwave.
    pub version: String,
    /// Threads of the process.
    pub threads: usize,
    /// The protocol's file as named.
    pub file: String,
    /// `--quick` and `--set`s.
    pub settings: Vec<String>,
    /// The text of the protocol's file.
    pub protocol: String,
}

/// The images that a protocol used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Name of the data set.
    pub set: String,
    /// Training images.
    pub train: usize,
    /// Test images.
    pub test: usize,
    /// Over pixels and labels.
    pub checksum: u64,
}

/// One method with one seed. Accuracies are parts of 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The method's name.
    pub method: String,
    /// The run's seed.
    pub seed: u64,
    /// Whether all tasks were learned at once.
    pub joint: bool,
    /// Mean accuracy over all tasks at the end.
    pub acc: f64,
    /// None for one task, and for joint training.
    pub bwt: Option<f64>,
    /// Mean drop from the best accuracy that each task had (Chaudhry et al. 2018); None where `bwt` is.
    pub forgetting: Option<f64>,
    /// Row i: accuracy on every task after task i was learned (joint training, and tests at the end alone: one row).
    pub matrix: Vec<Vec<f64>>,
    /// Accuracy while learning, a number a task.
    pub learning: Vec<f64>,
    /// Hidden spikes an image while learning.
    pub spikes_per_image: f64,
    /// Wall seconds of training.
    pub train_s: f64,
    /// Wall seconds of all tests.
    pub test_s: f64,
    /// Rank and free dimension of every layer after every task, under a projection.
    pub layers: Vec<Report>,
    /// What the protections said at the end; warnings start with "warning:".
    pub reports: Vec<String>,
    /// Bytes kept of old tasks beside the network that all methods have: protections, dreams, images; of a gated posterior all of it.
    #[serde(default)]
    pub bytes: u64,
    /// None for methods without a posterior, and where the protocol measures none.
    pub uncertainty: Option<Doubt>,
    /// Trials learned, and accuracy then, where a protocol looks on the way.
    #[serde(default)]
    pub curve: Vec<(u64, f64)>,
}

/// Uncertainty under samples of a posterior, nats.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Doubt {
    /// Weight samples.
    pub draws: u32,
    /// Test images that it was measured on.
    pub images: usize,
    /// Of the mean prediction.
    pub accuracy: f64,
    /// Expected calibration error, 0 to 1; None where it is not defined.
    pub calibration_error: Option<f64>,
    /// Mean over the images of what the samples disagree about.
    pub epistemic: f64,
    /// Mean over the images of what every sample is unsure about.
    pub aleatoric: f64,
    /// The same on images of other sets.
    pub outside: Vec<Outside>,
}

/// Uncertainty on images of another distribution, and how well it tells them from the test images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outside {
    /// Name of the set.
    pub set: String,
    /// Mean epistemic uncertainty there.
    pub epistemic: f64,
    /// Mean aleatoric uncertainty there.
    pub aleatoric: f64,
    /// Area under the ROC curve of telling these images from the test images by epistemic uncertainty; None without images.
    pub auc_epistemic: Option<f64>,
    /// The same by aleatoric uncertainty.
    pub auc_aleatoric: Option<f64>,
    /// The same by the sum of both.
    pub auc_total: Option<f64>,
}

/// Mean and standard deviation over seeds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Over the seeds.
    pub mean: f64,
    /// None for one value.
    pub deviation: Option<f64>,
}

impl Spread {
    /// None without values.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let deviation = (n > 1.0).then(|| (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt());
        (n > 0.0).then_some(Spread { mean, deviation })
    }

    /// Times `factor`, with so many digits.
    pub fn text(&self, factor: f64, digits: usize) -> String {
        let deviation = self.deviation.map_or(String::new(), |d| format!(" ± {:.digits$}", d * factor));
        format!("{:.digits$}{deviation}", self.mean * factor)
    }
}

impl Results {
    /// The runs of a method.
    pub fn of<'a>(&'a self, method: &'a str) -> impl Iterator<Item = &'a Run> + 'a {
        self.runs.iter().filter(move |run| run.method == method)
    }

    /// A number of a method's runs over seeds; None where no run has it.
    pub fn spread(&self, method: &str, number: impl Fn(&Run) -> Option<f64>) -> Option<Spread> {
        Spread::of(&self.of(method).filter_map(number).collect::<Vec<_>>())
    }

    /// Mean over seeds of a method's matrix.
    pub fn matrix(&self, method: &str) -> Option<Vec<Vec<f64>>> {
        let all: Vec<&Run> = self.of(method).collect();
        let mut mean = all.first()?.matrix.clone();
        for (i, row) in mean.iter_mut().enumerate() {
            for (j, a) in row.iter_mut().enumerate() {
                *a = all.iter().map(|run| run.matrix[i][j]).sum::<f64>() / all.len() as f64;
            }
        }
        Some(mean)
    }

    /// Every run asked for, in order: the seeds outside, so that methods can be compared early.
    pub fn wanted(&self) -> Vec<(u64, String)> {
        self.seeds.iter().flat_map(|seed| self.methods.iter().map(|m| (*seed, m.0.clone()))).collect()
    }

    /// Whether this run is finished.
    pub fn has(&self, seed: u64, method: &str) -> bool {
        self.runs.iter().any(|run| run.seed == seed && run.method == method)
    }

    /// The text on disk.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Reads what [`Results::json`] wrote.
    ///
    /// # Errors
    /// A file that is missing or no results, or whose matrices have not the shape that they say.
    pub fn read(path: &Path) -> Result<Results> {
        let refuse = |message: String| Error::File {
            path: path.to_path_buf(),
            message,
            remedy: Some("give the results.json of `sharpwave protocol`, whole and unchanged".into()),
        };
        let text = std::fs::read_to_string(path).map_err(|e| refuse(format!("cannot be read: {e}")))?;
        let results: Results = serde_json::from_str(&text).map_err(|e| refuse(format!("holds no results: {e}")))?;
        let fits = |run: &Run| {
            let rows = if run.joint || run.matrix.len() == 1 { 1 } else { results.tasks };
            run.matrix.len() == rows && run.matrix.iter().all(|row| row.len() == results.tasks)
        };
        match results.runs.iter().find(|run| !fits(run)) {
            Some(run) => Err(refuse(format!("the matrix of {} with seed {} is not whole", run.method, run.seed))),
            None => Ok(results),
        }
    }
}
