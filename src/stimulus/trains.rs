//! Spike trains from lists, CSV and HDF5. Promises trains sorted by time, finite and not negative, or an error that names file,
//! line and remedy. Knows no engine; HDF5 is read by the record module.

use crate::error::{Error, Place, Result};
use crate::record::hdf5::read_column_f64;
use crate::stimulus::Trains;
use std::path::Path;
use std::sync::Arc;

impl Trains {
    /// From (ms, local id) pairs in any order.
    pub fn from_pairs(mut spikes: Vec<(f64, u32)>) -> Result<Self> {
        if let Some(&(time, source)) = spikes.iter().find(|(time, _)| !(*time >= 0.0 && time.is_finite())) {
            let message = format!("a spike of source {source} at {time} ms");
            return Err(Error::input(message, "spike times are finite and not negative, in ms"));
        }
        spikes.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let (time, source) = spikes.into_iter().unzip();
        Ok(Trains { time, source })
    }

    /// From one list of times (ms) for each source, as a scenario gives them inline.
    pub fn from_lists(times: &[Vec<f64>]) -> Result<Self> {
        Self::from_pairs((0..).zip(times).flat_map(|(id, times)| times.iter().map(move |&t| (t, id))).collect())
    }

    /// From CSV with a header that names the columns `time` (ms) and `id` (local, from 0), in any order, among others.
    pub fn from_csv(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let text: Arc<str> = std::fs::read_to_string(path).map_err(|e| refuse(path, format!("cannot be read: {e}")))?.into();
        let file = path.display().to_string();
        let at = |span| Place { file: file.clone(), text: text.clone(), span };
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).comment(Some(b'#')).from_reader(text.as_bytes());
        let broken = |e: csv::Error| {
            let start = e.position().map_or(0, |p| p.byte() as usize).min(text.len());
            Error::at(
                at(line_from(&text, start)),
                format!("this line cannot be read as CSV: {e}"),
                "give every line as many fields as the header",
            )
        };
        let header = reader.headers().map_err(broken)?.clone();
        let column = |name: &str| {
            header.iter().position(|h| h.eq_ignore_ascii_case(name)).ok_or_else(|| {
                let start = header.position().map_or(0, |p| p.byte() as usize).min(text.len());
                Error::at(
                    at(line_from(&text, start)),
                    format!("no column `{name}`"),
                    "the first line must name the columns, as in: time,id",
                )
            })
        };
        let (time, id) = (column("time")?, column("id")?);
        let mut spikes = Vec::new();
        for record in reader.records() {
            let record = record.map_err(broken)?;
            let start = record.position().map_or(0, |p| p.byte() as usize).min(text.len());
            let wrong = |what: &str, remedy: &str| Error::at(at(line_from(&text, start)), what.to_string(), remedy);
            let (t, s) = (&record[time], &record[id]);
            let t = t.parse::<f64>().ok().filter(|t| *t >= 0.0 && t.is_finite());
            let t = t.ok_or_else(|| {
                wrong(&format!("`{}` is not a spike time", &record[time]), "times are finite and not negative, in ms")
            })?;
            let s = s.parse::<u32>().map_err(|_| wrong(&format!("`{s}` is not a source"), "ids count the sources from 0"))?;
            spikes.push((t, s));
        }
        Self::from_pairs(spikes)
    }

    /// From HDF5: a group that holds `timestamps` (ms) and `node_ids`, as SONATA has for each population in `/spikes`.
    /// `name` is the population (`spikes/<name>`), or the path of the group.
    pub fn from_hdf5(path: impl AsRef<Path>, name: &str) -> Result<Self> {
        let path = path.as_ref();
        let name = name.trim_matches('/');
        let group = if name.contains('/') { name.to_string() } else { format!("spikes/{name}") };
        Self::from_hdf5_datasets(path, &format!("{group}/timestamps"), &format!("{group}/node_ids"))
    }

    /// From two one-dimensional HDF5 datasets of equal length: times (ms) and local ids.
    pub fn from_hdf5_datasets(path: impl AsRef<Path>, times: &str, ids: &str) -> Result<Self> {
        let path = path.as_ref();
        let (time, id) = (read_column_f64(path, times)?, read_column_f64(path, ids)?);
        if time.len() != id.len() {
            return Err(refuse(path, format!("`{times}` holds {} values, `{ids}` holds {}", time.len(), id.len())));
        }
        let mut spikes = Vec::with_capacity(time.len());
        for (row, (&t, &s)) in time.iter().zip(&id).enumerate() {
            if !(t >= 0.0 && t.is_finite()) {
                return Err(refuse(path, format!("`{times}` holds {t} at row {row}; times are finite and not negative, in ms")));
            }
            if !(s >= 0.0 && s < u32::MAX as f64 && s.fract() == 0.0) {
                return Err(refuse(path, format!("`{ids}` holds {s} at row {row}; ids count the sources from 0")));
            }
            spikes.push((t, s as u32));
        }
        Self::from_pairs(spikes)
    }

    pub fn len(&self) -> usize {
        self.time.len()
    }

    pub fn is_empty(&self) -> bool {
        self.time.is_empty()
    }

    /// Refuses times that are not finite or not sorted and sources outside a population of `n`.
    pub fn check(&self, n: u32) -> Result<()> {
        if self.time.len() != self.source.len() {
            return Err(Error::input("spike trains have a source for every time", "build them with Trains::from_pairs"));
        }
        if let Some(i) = self.source.iter().position(|&s| s >= n) {
            let message = format!("a spike at {} ms belongs to source {}, the population has {n}", self.time[i], self.source[i]);
            return Err(Error::input(message, format!("ids run from 0 to {}; make the population larger", n as i64 - 1)));
        }
        if let Some(t) = self.time.iter().find(|t| !t.is_finite()) {
            return Err(Error::input(format!("a spike at {t} ms"), "spike times are finite, in ms"));
        }
        if !self.time.is_sorted() {
            return Err(Error::input("spike trains are not sorted by time", "build them with Trains::from_pairs"));
        }
        Ok(())
    }
}

/// The bytes of the line of data that follows `start` (blank lines and comments are passed over).
fn line_from(text: &str, start: usize) -> std::ops::Range<usize> {
    let mut at = start;
    for line in text[start..].split_inclusive('\n') {
        if !line.trim().is_empty() && !line.starts_with('#') {
            return at..at + line.trim_end().len();
        }
        at += line.len();
    }
    start..start
}

fn refuse(path: &Path, message: String) -> Error {
    Error::File { path: path.to_path_buf(), message, remedy: Some("give spike times in ms and source ids from 0".into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str) -> Result<Trains> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spikes.csv");
        std::fs::write(&path, text).unwrap();
        Trains::from_csv(path)
    }

    #[test]
    fn lists_are_sorted_by_time() {
        let trains = Trains::from_lists(&[vec![5.0, 1.0], vec![], vec![1.0, 0.5]]).unwrap();
        assert_eq!(trains, Trains { time: vec![0.5, 1.0, 1.0, 5.0], source: vec![2, 0, 2, 0] });
        assert!(trains.check(3).is_ok() && trains.check(2).is_err());
        assert!(Trains::from_lists(&[vec![f64::NAN]]).is_err() && Trains::from_lists(&[vec![-1.0]]).is_err());
        assert!(Trains::from_lists(&[]).unwrap().is_empty());
    }

    #[test]
    fn csv_with_any_column_order() {
        let trains = csv("# recorded\nid, time, note\n3, 2.5, a\n\n1, 0.5, b\n").unwrap();
        assert_eq!(trains, Trains { time: vec![0.5, 2.5], source: vec![1, 3] });
        assert!(csv("time,id\n").unwrap().is_empty());
    }

    #[test]
    fn csv_mistakes_name_the_line() {
        for (text, place, part) in [
            ("time,id\n1.0,0\nNaN,0\n", ":3:1", "`NaN` is not a spike time"),
            ("time,id\n1.0,0\n\n-2,0\n", ":4:1", "`-2`"),
            ("time,id\n1.0,x\n", ":2:1", "`x` is not a source"),
            ("time,id\n1.0,-1\n", ":2:1", "`-1` is not a source"),
            ("# c\ntimes,id\n1.0,0\n", ":2:1", "no column `time`"),
            ("time,id\n1.0,0\n2.0\n", ":3:1", "CSV"),
            ("", ":1:1", "no column `time`"),
            ("time,id\r\n1.0,0\r\ninf,0\r\n", ":3:1", "`inf`"),
        ] {
            let error = csv(text).unwrap_err();
            let shown = error.to_string();
            assert!(
                shown.contains("spikes.csv") && shown.contains(place) && shown.contains(part),
                "{shown} (wanted {place} {part})"
            );
            assert!(error.remedy().is_some());
        }
        assert!(Trains::from_csv("nowhere.csv").unwrap_err().to_string().contains("nowhere.csv"));
    }
}
