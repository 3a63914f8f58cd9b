//! Spike trains from lists, CSV, HDF5, and the text files of NEST and SONATA. Promises trains sorted by time, finite and not negative,
//! or an error that names file, line and remedy. Knows no engine; HDF5 is read by the record module.

use crate::error::{Error, Place, Result};
use crate::io::csv::Table;
use crate::io::hdf5::{read_column_f64, read_quantity};
use crate::stimulus::Trains;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

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

    /// From a table (see `io::csv`) whose first line names the columns `time` (ms) and `id` (local, from 0), in any order, among
    /// others.
    pub fn from_csv(path: impl AsRef<Path>) -> Result<Self> {
        let mut spikes = Vec::new();
        in_csv(path.as_ref(), |time, id, _| {
            spikes.push((time, id));
            None
        })?;
        Self::from_pairs(spikes)
    }

    /// The refusal of a spike of a table, at its line.
    pub(crate) fn fault_in_csv(path: &Path, spike: (f64, u32), message: &str, remedy: &str) -> Error {
        let here = |time: f64, id, fault: &dyn Fn(&str, &str) -> Error| (spike == (time, id)).then(|| fault(message, remedy));
        in_csv(path, here).err().unwrap_or_else(|| Error::input(message, remedy))
    }

    /// Whether a text file is one that [`Trains::from_text`] reads: NEST's by its name, SONATA's by the names of its columns.
    pub fn is_text(path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        let nest = path.extension().is_some_and(|e| e == "dat" || e == "gdf");
        let line = |file: File| BufReader::new(file.take(1 << 12)).lines().next().and_then(|line| line.ok()).unwrap_or_default();
        nest || File::open(path).is_ok_and(|file| words(&line(file)).any(|word| word == "timestamps"))
    }

    /// From a text file of another simulator, its columns parted by blanks, tabs or commas: NEST's `.dat` and `.gdf` (`sender`,
    /// `time_ms`), where `first_id` is the id of the first neuron, or SONATA's (`timestamps`, `population`, `node_ids`), of which
    /// `population` is taken.
    ///
    /// # Errors
    /// A line that is no spike, an id before the first, times in steps.
    pub fn from_text(path: impl AsRef<Path>, population: &str, first_id: Option<u32>) -> Result<Self> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path).map_err(|e| Error::file(path, e))?;
        let mut columns: [Option<usize>; 3] = [Some(1), Some(0), None];
        let (mut spikes, mut start, mut begun) = (Vec::new(), 0, false);
        for line in text.split_inclusive('\n') {
            let span = start..start + line.trim_end().len();
            start += line.len();
            let fault = |message: String, remedy: &str| {
                let place = Place { file: path.display().to_string(), text: text.as_str().into(), span: span.clone() };
                Error::at(place, message, remedy)
            };
            let values: Vec<&str> = words(line).collect();
            if values.is_empty() || line.trim_start().starts_with('#') {
                continue;
            }
            if !std::mem::replace(&mut begun, true) && values.iter().all(|v| v.parse::<f64>().is_err()) {
                let find = |names: &[&str]| values.iter().position(|v| names.contains(v));
                if values.contains(&"time_step") {
                    let remedy = "record with time_in_steps = false";
                    return Err(fault("times are in steps here, whose length the file does not tell".into(), remedy));
                }
                columns = [find(&["time_ms", "timestamps"]), find(&["sender", "node_ids"]), find(&["population"])];
                if columns[0].is_none() || columns[1].is_none() {
                    let remedy =
                        "columns are `sender` and `time_ms` (NEST), or `timestamps`, `population` and `node_ids` (SONATA)";
                    return Err(fault("these columns are not known".into(), remedy));
                }
                continue;
            }
            let value = |column: Option<usize>| column.and_then(|k| values.get(k)).copied();
            if columns[2].is_some() && value(columns[2]).is_none_or(|name| name != population) {
                continue;
            }
            let time = value(columns[0]).and_then(|v| v.parse::<f64>().ok()).filter(|t| *t >= 0.0 && t.is_finite());
            let id = value(columns[1]).and_then(|v| v.parse::<u32>().ok());
            let (Some(time), Some(id)) = (time, id) else {
                return Err(fault("this line is no spike".into(), "a spike is an id from 0 and a time in ms, not negative"));
            };
            let Some(local) = id.checked_sub(first_id.unwrap_or(0)) else {
                let message = format!("the id {id} lies before first_id = {}", first_id.unwrap_or(0));
                return Err(fault(message, "give the id of the population's first neuron as first_id"));
            };
            spikes.push((time, local));
        }
        Self::from_pairs(spikes)
    }

    /// From HDF5: a group that holds `timestamps` (ms, or what their attribute `units` says) and `node_ids`, as SONATA has for each population in `/spikes`.
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
        let (time, id) = (read_quantity(path, times, "ms")?, read_column_f64(path, ids)?);
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

    /// Number of trains: one a source.
    pub fn len(&self) -> usize {
        self.time.len()
    }

    /// Whether there is no source.
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

/// The values of a line.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split([' ', '\t', ',', ';', '\r', '\n']).filter(|word| !word.is_empty())
}

/// Calls `each` with time, source and a maker of refusals for every spike of a table, until it returns one.
fn in_csv(path: &Path, mut each: impl FnMut(f64, u32, &dyn Fn(&str, &str) -> Error) -> Option<Error>) -> Result<()> {
    let table = Table::open(path)?;
    let (time, id) = (table.need("time", "time,id")?, table.need("id", "time,id")?);
    let mut rows = table.rows()?;
    while let Some(row) = rows.next()? {
        let (t, source) = (row.number(time, "time")?, row.id(id, "id", u32::MAX as u64)?);
        if t < 0.0 {
            return Err(row.fault(Some(time), format!("{t} is not a spike time"), "times are finite and not negative, in ms"));
        }
        if let Some(error) = each(t, source, &|message, remedy| row.fault(Some(time), message, remedy)) {
            return Err(error);
        }
    }
    Ok(())
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
    fn csv_with_any_column_order_and_separator() {
        for text in
            ["# recorded\nid, time, note\n3, 2.5, a\n\n1, 0.5, b\n", "ID;Time\n3;2.5\n1;0.5", "time\tid\n2.5\t3\n0.5\t1\n"]
        {
            assert_eq!(csv(text).unwrap(), Trains { time: vec![0.5, 2.5], source: vec![1, 3] }, "{text}");
        }
        assert!(csv("time,id\n").unwrap().is_empty());
    }

    #[test]
    fn csv_mistakes_name_the_line() {
        for (text, place, part) in [
            ("time,id\n1.0,0\nNaN,0\n", ":3:1", "time NaN is not a finite number"),
            ("time,id\n1.0,0\n\n-2,0\n", ":4:1", "-2 is not a spike time"),
            ("time,id\n1.0,x\n", ":2:5", "id `x` is not a number"),
            ("time,id\n1.0,-1\n", ":2:5", "id -1 is not an id"),
            ("id;time\n0;1,5\n", ":2:3", "time `1,5` is not a number"),
            ("# c\ntimes,id\n1.0,0\n", ":2:1", "no column `time`"),
            ("1.0,0\n", ":1:1", "no column `time`"),
            ("time,id\n1.0,0\n2.0\n", ":3:1", "1 values where 2 columns"),
            ("", ":1:1", "nothing in this file"),
            ("time,id\r\n1.0,0\r\ninf,0\r\n", ":3:1", "inf is not"),
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
