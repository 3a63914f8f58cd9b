//! What the evaluations gave, as plain data: for tables, JSON and plots.

use super::run::{Failure, Forget, Method, Row, Told};
use super::sequence::{Point, Sequence};
use crate::error::Result;
use crate::memory::settings::Settings;
use crate::transformer::Source;
use serde::Serialize;
use std::path::Path;

/// Mean over seeds, and half the width of its 95 % confidence interval (Student's t), where there are several.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// Mean of all values; 0 of none.
    pub mean: f64,
    /// None for fewer than two values.
    pub half: Option<f64>,
}

/// Quantiles 0.975 of Student's t for 1, 2, … degrees of freedom.
const T: [f64; 10] = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228];

impl Spread {
    /// From one value a seed.
    pub fn of(values: impl Iterator<Item = f64>) -> Spread {
        let values: Vec<f64> = values.collect();
        let n = values.len();
        let mean = values.iter().sum::<f64>() / n.max(1) as f64;
        let half = (n > 1).then(|| {
            let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1) as f64;
            T.get(n - 2).copied().unwrap_or(1.96) * (variance / n as f64).sqrt()
        });
        Spread { mean, half }
    }

    /// As text with so many digits after the point: `12.3±0.4`, or the mean alone.
    pub fn text(self, digits: usize) -> String {
        match self.half {
            Some(half) => format!("{:.digits$}±{half:.digits$}", self.mean),
            None => format!("{:.digits$}", self.mean),
        }
    }
}

/// Everything that was measured in one run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// [`Source::name`] of the model.
    pub model: String,
    /// [`Source::fingerprint`] of the model.
    pub fingerprint: String,
    /// File name of the cases, without its folder.
    pub data: String,
    /// Prompts that were protected.
    pub protected: usize,
    /// Of sharpwave.
    pub version: &'static str,
    /// How the memories learned.
    pub settings: Settings,
    /// Methods against each other, a row a method and seed.
    pub edits: Vec<Row>,
    /// Many facts in one memory, a curve a seed.
    pub sequences: Vec<Sequence>,
    /// One fact forgotten among many, a row a seed.
    pub forgets: Vec<Forget>,
    /// Actions that failed, a row a seed.
    pub failures: Vec<Failure>,
    /// Experiences as an agent has them, a row a seed.
    pub told: Vec<Told>,
    /// Largest memory of the process, all of it; None where the system does not tell.
    pub peak_bytes: Option<u64>,
}

impl Report {
    /// A report with no row yet. Reads the model's weights once, for the fingerprint.
    pub fn new(source: &Source, settings: &Settings, data: &Path, protected: usize) -> Result<Report> {
        Ok(Report {
            model: source.name.clone(),
            fingerprint: source.fingerprint()?,
            data: data.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            protected,
            version: env!("CARGO_PKG_VERSION"),
            settings: settings.clone(),
            edits: Vec::new(),
            sequences: Vec::new(),
            forgets: Vec::new(),
            failures: Vec::new(),
            told: Vec::new(),
            peak_bytes: None,
        })
    }

    /// One row in short.
    pub fn line(row: &Row) -> String {
        let s = &row.scores;
        format!(
            "{:15} W {:5.1} WP {:5.1} ES {:5.1} EA {:5.1} PS {:5.1} PA {:5.1} NS {:5.1} NK {:5.1} KL {:5.3} S {:5.1}, {:.2} s a fact",
            row.method, s.w, s.wp, s.es, s.ea, s.ps, s.pa, s.ns, s.nk, s.kl, s.s, row.seconds
        )
    }

    /// One way after so many facts in short.
    pub fn point(p: &Point) -> String {
        let s = &p.scores;
        let kl = if s.kl.is_nan() { "  –  ".to_string() } else { format!("{:5.3}", s.kl) };
        let text = p.text.map_or_else(String::new, |t| {
            format!(", perplexity {:+.1} %, {:.0} % of untaught prompts go on as before", t.rise(), t.continued)
        });
        format!(
            "{:6} {:11} W {:5.1} WP {:5.1} ES {:5.1} EA {:5.1} PS {:5.1} PA {:5.1} NS {:5.1} NK {:5.1} KL {kl}, first 1,000 EA {:5.1}; \
             other questions kept {:5.1}, answered with the fact {:5.1}; gate {:.2} ms{text}",
            p.facts,
            p.way.name(),
            s.w,
            s.wp,
            s.es,
            s.ea,
            s.ps,
            s.pa,
            s.ns,
            s.nk,
            p.first,
            p.other_kept,
            p.other_said,
            p.gate_ms
        )
    }

    /// Rows of the edits by method.
    pub fn table(&self) -> Vec<(&'static str, Vec<&Row>)> {
        let of = |m: Method| (m.name(), self.edits.iter().filter(|r| r.method == m.name()).collect::<Vec<_>>());
        Method::ALL.into_iter().map(of).filter(|(_, rows)| !rows.is_empty()).collect()
    }

    /// As indented JSON with a final newline.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}
