//! What the suite found, as plain data: rows with medians and spread, tables for the terminal and for Markdown, JSON, and the comparison
//! with an earlier report. Measures nothing.

use super::Options;
use super::machine::Machine;
use crate::error::{Error, Result};
use crate::record::summary::align;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Of several runs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The fastest run.
    pub least: f64,
    /// The middle run; of an even number the mean of the middle two.
    pub median: f64,
    /// The slowest run.
    pub greatest: f64,
}

impl Spread {
    /// All times a factor, as in another unit.
    pub fn scaled(self, factor: f64) -> Spread {
        Spread { least: self.least * factor, median: self.median * factor, greatest: self.greatest * factor }
    }

    /// None of nothing.
    pub fn of(mut values: Vec<f64>) -> Option<Spread> {
        values.sort_by(f64::total_cmp);
        let n = values.len();
        let (least, greatest) = (*values.first()?, *values.last()?);
        Some(Spread { least, median: (values[(n - 1) / 2] + values[n / 2]) / 2.0, greatest })
    }
}

/// One measurement.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// latency, update, delivery, network, learning
    pub part: String,
    /// What was timed.
    pub name: String,
    /// Engine and threads, or device.
    pub engine: String,
    /// Of `time`, less is better.
    pub unit: String,
    /// None where the row failed or was left out.
    pub time: Option<Spread>,
    /// Timed stretches.
    pub runs: usize,
    /// Why there is no time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub reason: Option<String>,
    /// The row was left out because it does not fit this machine, which is not a failure.
    #[serde(default)]
    pub left_out: bool,
    /// What else was measured.
    #[serde(flatten)]
    pub figures: Figures,
}

/// What else there is to know; None where it makes no sense.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Figures {
    /// Neurons of the network, sources included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub neurons: Option<u64>,
    /// Synapses of the network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub synapses: Option<u64>,
    /// Seconds of construction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub build_s: Option<f64>,
    /// Processor seconds a second of model time, all threads together (median).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_s: Option<f64>,
    /// Wall time over all updates of a neuron.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ns_per_update: Option<f64>,
    /// Synaptic events a second of wall time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_per_s: Option<f64>,
    /// Memory of the synapse tables over the number of synapses.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_synapse: Option<f64>,
    /// Largest memory of the process during the row.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak_bytes: Option<u64>,
    /// Bytes of synapses and states that have to be moved, over the time it took.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<f64>,
    /// The same over what the device copies a second: 1 is the floor.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_copy: Option<f64>,
    /// Dispatches that one step of the GPU engine records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dispatches_per_step: Option<f64>,
    /// Wall time of a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub us_per_step: Option<f64>,
    /// Host time that recording a step takes, where commands are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record_us_per_step: Option<f64>,
    /// Hz, by population.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rates: Vec<(String, f64)>,
    /// Part of the time, by phase, all threads together.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<(String, f64)>,
}

impl Row {
    /// Whether there should be a time and is none.
    pub fn failed(&self) -> bool {
        self.time.is_none() && !self.left_out
    }

    fn key(&self) -> (&str, &str, &str) {
        (&self.part, &self.name, &self.engine)
    }

    /// In short, for progress.
    pub fn line(&self) -> String {
        match (&self.time, &self.reason) {
            (Some(t), _) => format!("{}, {}: {} {}", self.name, self.engine, number(t.median), self.unit),
            (None, reason) => format!("{}, {}: {}", self.name, self.engine, reason.as_deref().unwrap_or("no time")),
        }
    }
}

/// A whole run of the suite.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// What it was measured on.
    pub machine: Machine,
    /// Whether the suite was the short one.
    pub quick: bool,
    /// Seed of the networks.
    pub seed: u64,
    /// Whether somebody stopped the suite before its last row.
    #[serde(default)]
    pub interrupted: bool,
    /// In the order they ran.
    pub rows: Vec<Row>,
}

/// A row of two reports.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Part, name and engine of the row.
    pub row: String,
    /// Median now over median then.
    pub ratio: f64,
    /// Slower than allowed, and the fastest run now slower than the slowest then.
    pub regressed: bool,
}

impl Report {
    /// A report with no row yet.
    pub fn new(machine: Machine, options: &Options) -> Report {
        Report { machine, quick: options.quick, seed: options.seed, interrupted: false, rows: Vec::new() }
    }

    /// # Errors
    /// A file that is none of ours.
    pub fn read(path: &Path) -> Result<Report> {
        let refused = |message: String| Error::File {
            path: path.to_path_buf(),
            message,
            remedy: Some("name a file that `sharpwave bench --json FILE` wrote".into()),
        };
        let text = std::fs::read_to_string(path).map_err(|e| refused(format!("cannot be read: {e}")))?;
        serde_json::from_str(&text).map_err(|e| refused(format!("is no report of the benchmark suite: {e}")))
    }

    /// As indented JSON with a final newline; [`Report::read`] reads it.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// Rows that failed.
    pub fn failures(&self) -> usize {
        self.rows.iter().filter(|r| r.failed()).count()
    }

    /// Rows that both reports timed. A row regressed when its median grew by more than `allowed` (0.15: 15 %) and even its fastest run is
    /// slower than the earlier slowest.
    pub fn changes(&self, earlier: &Report, allowed: f64) -> Vec<Change> {
        let pair = |row: &Row| {
            let (now, then) = (row.time?, earlier.rows.iter().find(|r| r.key() == row.key() && r.unit == row.unit)?.time?);
            let ratio = now.median / then.median;
            let regressed = ratio > 1.0 + allowed && now.least > then.greatest;
            Some(Change { row: format!("{}, {}", row.name, row.engine), ratio, regressed })
        };
        self.rows.iter().filter_map(pair).collect()
    }

    /// Machine and date.
    pub fn heading(&self) -> Vec<String> {
        let m = &self.machine;
        let gigabytes = |bytes: f64| format!("{:.1} GB/s", bytes * 1e-9);
        let mut lines = vec![format!(
            "{}, {} cores, {}, {}; sharpwave {}, {}, seed {}",
            m.processor, m.cores, m.vector, m.system, m.version, m.date, self.seed
        )];
        let memory = m.memory_bytes.map_or(String::new(), |b| format!("{:.1} GB of memory; ", b as f64 * 1e-9));
        let load = m.load.map_or(String::new(), |l| format!("; load {l:.2} before"));
        lines.push(format!(
            "{memory}copies {} with one core, {} with all{load}",
            gigabytes(m.copy_bandwidth_one),
            gigabytes(m.copy_bandwidth)
        ));
        if let Some(gpu) = &m.gpu {
            let copies = gpu.copy_bandwidth.map_or(String::new(), |b| format!(", copies {}", gigabytes(b)));
            lines.push(format!("{} ({}, {}){copies}", gpu.name, gpu.backend, gpu.driver));
        }
        lines
    }

    /// The rows as cells, a heading first.
    fn cells(&self) -> Vec<Vec<String>> {
        let heading = [
            "row",
            "least",
            "median",
            "greatest",
            "unit",
            "CPU s",
            "build s",
            "ns/update",
            "events/s",
            "B/synapse",
            "peak",
            "GB/s",
            "of copy",
            "us/step",
            "dispatches/step",
            "recording us/step",
        ];
        let mut all = vec![heading.map(String::from).to_vec()];
        for row in &self.rows {
            let f = &row.figures;
            let time = |get: fn(&Spread) -> f64| row.time.as_ref().map_or("-".into(), |t| number(get(t)));
            let some = |x: Option<f64>| x.map_or(String::new(), number);
            all.push(vec![
                format!("{}, {}", row.name, row.engine),
                time(|t| t.least),
                time(|t| t.median),
                time(|t| t.greatest),
                row.unit.clone(),
                some(f.cpu_s),
                some(f.build_s),
                some(f.ns_per_update),
                f.events_per_s.map_or(String::new(), |e| format!("{:.0} M", e * 1e-6)),
                some(f.bytes_per_synapse),
                f.peak_bytes.map_or(String::new(), |b| format!("{:.2} GB", b as f64 * 1e-9)),
                some(f.bandwidth.map(|b| b * 1e-9)),
                f.of_copy.map_or(String::new(), |x| format!("{:.0} %", 100.0 * x)),
                some(f.us_per_step),
                some(f.dispatches_per_step),
                some(f.record_us_per_step),
            ]);
        }
        // Columns that say nothing are left out.
        let says = |c: usize| all[1..].iter().any(|row| !row[c].is_empty());
        let kept: Vec<usize> = (0..heading.len()).filter(|c| says(*c)).collect();
        all.iter().map(|row| kept.iter().map(|c| row[*c].clone()).collect()).collect()
    }

    /// Rows without a time, and phases.
    fn notes(&self) -> Vec<String> {
        let reason = |row: &Row| Some(format!("{}, {}: {}", row.name, row.engine, row.reason.as_ref()?));
        let phases = |row: &Row| {
            let parts: Vec<String> =
                row.figures.phases.iter().map(|(name, part)| format!("{name} {:.0} %", 100.0 * part)).collect();
            (!parts.is_empty()).then(|| format!("{}, {}: {}", row.name, row.engine, parts.join(", ")))
        };
        self.rows.iter().filter_map(reason).chain(self.rows.iter().filter_map(phases)).collect()
    }

    /// For the terminal.
    pub fn text(&self) -> String {
        let mut text = self.heading().join("\n") + "\n\n" + &align(&self.cells());
        let notes = self.notes();
        if !notes.is_empty() {
            text += &format!("\n{}\n", notes.join("\n"));
        }
        text
    }

    /// As Markdown tables.
    pub fn markdown(&self) -> String {
        let mut text = self.heading().join("  \n") + "\n\n";
        for (i, row) in self.cells().iter().enumerate() {
            text += &format!("| {} |\n", row.iter().map(|c| c.replace('|', "/")).collect::<Vec<_>>().join(" | "));
            if i == 0 {
                text += &format!("|{}\n", "---|".repeat(row.len()));
            }
        }
        for note in self.notes() {
            text += &format!("\n- {note}");
        }
        text + "\n"
    }
}

/// Three significant digits.
fn number(x: f64) -> String {
    let digits = if x == 0.0 { 0 } else { (2 - x.abs().log10().floor() as i32).clamp(0, 6) };
    format!("{x:.*}", digits as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, times: &[f64]) -> Row {
        let time = Spread::of(times.to_vec());
        Row { part: "network".into(), name: name.into(), engine: "cpu".into(), unit: "s".into(), time, ..Default::default() }
    }

    fn report(rows: Vec<Row>) -> Report {
        Report { rows, ..Report::new(Machine::default(), &Options::default()) }
    }

    #[test]
    fn spreads_of_odd_and_even_numbers_of_runs() {
        assert_eq!(Spread::of(vec![]), None);
        assert_eq!(Spread::of(vec![3.0, 1.0, 2.0]), Some(Spread { least: 1.0, median: 2.0, greatest: 3.0 }));
        assert_eq!(Spread::of(vec![4.0, 1.0]).map(|s| s.median), Some(2.5));
    }

    /// Only a median that grew beyond what is allowed, with no overlap of the runs, is a regression.
    #[test]
    fn regressions_are_told_from_noise() {
        let then = report(vec![
            row("same", &[1.0, 1.1, 1.2]),
            row("slow", &[1.0, 1.1, 1.2]),
            row("noisy", &[1.0, 1.1, 2.0]),
            row("gone", &[1.0]),
        ]);
        let now = report(vec![
            row("same", &[1.0, 1.2, 1.3]),
            row("slow", &[1.3, 1.4, 1.5]),
            row("noisy", &[1.5, 1.6, 1.7]),
            row("new", &[9.0]),
        ]);
        let changes = now.changes(&then, 0.15);
        let told: Vec<(&str, bool)> = changes.iter().map(|c| (c.row.as_str(), c.regressed)).collect();
        assert_eq!(told, [("same, cpu", false), ("slow, cpu", true), ("noisy, cpu", false)]);
        assert!((changes[1].ratio - 1.4 / 1.1).abs() < 1e-12);
    }

    #[test]
    fn reports_survive_their_file() {
        let failed = Row { reason: Some("E fires at 0 Hz".into()), time: None, ..row("wrong", &[]) };
        let mut report = report(vec![row("right", &[1.5, 2.5]), failed]);
        report.rows[0].figures = Figures { synapses: Some(12), rates: vec![("E".into(), 2.5)], ..Default::default() };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), report.json()).unwrap();
        assert_eq!(Report::read(file.path()).unwrap(), report);
        assert_eq!(report.failures(), 1);
        let (text, markdown) = (report.text(), report.markdown());
        for told in ["right", "2.00", "E fires at 0 Hz"] {
            assert!(text.contains(told) && markdown.contains(told), "{text}\n{markdown}");
        }
        assert!(!text.contains("us/step"), "a column without a figure");
        std::fs::write(file.path(), "{}").unwrap();
        let error = Report::read(file.path()).unwrap_err();
        assert!(error.to_string().contains("no report") && error.remedy().is_some(), "{error}");
    }
}
