//! Explicit edges from files. Promises that every value was read as it stands, and that a fault is shown with its place and a
//! remedy. Knows nothing of rules or tables.

use super::Edges;
use crate::error::{Error, Result};
use crate::io::csv::Table;
use crate::io::hdf5::{Store, read_column_f64, read_quantity};
use crate::io::is_hdf5;
use std::path::Path;

/// Edges from a file: a table (see `io::csv`) with the header `source,target[,weight][,delay]` (columns in any order), or HDF5 (`.h5`,
/// `.hdf5`) with one-dimensional datasets of these names, or a projection that a recording of ours has weights of, the last ones, or that
/// SONATA's layout has under `/edges`. `projection` names it where there are several. Ids are local to their population; delays in ms
/// and weights in `weight_unit`, or what the attribute `units` of their dataset says.
///
/// # Errors
/// The file cannot be read; a column is missing; a value is no number, an id is out of range, a delay is not above zero: with
/// line and column for CSV.
pub fn read_edges(
    path: impl AsRef<Path>,
    projection: Option<&str>,
    sources: u32,
    targets: u32,
    weight_unit: &str,
) -> Result<Edges> {
    let path = path.as_ref();
    let list = match is_hdf5(path) {
        true => read_edges_hdf5(path, projection, sources, targets, weight_unit)?,
        false if projection.is_some() => {
            return Err(Error::input("a table has no projections", "leave out `projection`, or name an HDF5 file"));
        }
        false => read_edges_csv(path, sources, targets)?,
    };
    Ok(list.sort(sources))
}

/// Writes edges as an HDF5 file for [`read_edges`]: local ids, weights in the unit of whoever reads them, delays in ms.
///
/// # Errors
/// There is such a file already, or it cannot be written.
#[cfg(feature = "hdf5")]
pub fn write_edges(
    path: impl AsRef<Path>,
    source: &[u32],
    target: &[u32],
    weight: Option<&[f64]>,
    delay: Option<&[f64]>,
) -> Result<()> {
    let store = Store::create(path.as_ref())?;
    store.write("source", source)?;
    store.write("target", target)?;
    weight.map_or(Ok(()), |weight| store.write("weight", weight))?;
    delay.map_or(Ok(()), |delay| store.write("delay", delay))?;
    store.close()
}

/// Edges in the order of the file.
#[derive(Default)]
struct EdgeList {
    source: Vec<u32>,
    target: Vec<u32>,
    weight: Option<Vec<f32>>,
    delay: Option<Vec<f64>>,
}

impl EdgeList {
    /// Stable counting sort by source.
    fn sort(self, sources: u32) -> Edges {
        let mut start = vec![0u64; sources as usize + 1];
        self.source.iter().for_each(|&s| start[s as usize + 1] += 1);
        (0..sources as usize).for_each(|s| start[s + 1] += start[s]);
        let mut next = start.clone();
        let place: Vec<usize> = self
            .source
            .iter()
            .map(|&s| {
                next[s as usize] += 1;
                next[s as usize] as usize - 1
            })
            .collect();
        fn permute<T: Copy + Default>(values: Vec<T>, place: &[usize]) -> Vec<T> {
            let mut sorted = vec![T::default(); values.len()];
            place.iter().zip(values).for_each(|(&at, x)| sorted[at] = x);
            sorted
        }
        Edges {
            target: permute(self.target, &place),
            weight: self.weight.map(|w| permute(w, &place)),
            delay: self.delay.map(|d| permute(d, &place)),
            start,
        }
    }
}

const COLUMNS: [&str; 4] = ["source", "target", "weight", "delay"];

/// What is wrong with a value of column `c` (index into COLUMNS): (message, remedy).
fn fault(c: usize, x: f64, count: [u32; 2]) -> Option<(String, String)> {
    let name = COLUMNS[c];
    if c < 2 {
        let integer = x.fract() == 0.0 && x >= 0.0;
        return match (integer, x < count[c] as f64) {
            (true, true) => None,
            (true, false) => Some((
                format!("{name} {x} is out of range: the {name} population has {} neurons", count[c]),
                format!("ids are local to the population and count from 0 to {}", count[c].saturating_sub(1)),
            )),
            _ => Some((format!("{name} {x} is not an id"), "ids are whole numbers from 0".to_string())),
        };
    }
    if !x.is_finite() || c == 2 && !(x as f32).is_finite() {
        return Some((format!("{name} {x} is not a finite number"), "give a number, or remove the edge".to_string()));
    }
    (c == 3 && x <= 0.0).then(|| (format!("delay {x} ms is not above zero"), "give a delay of at least one step".to_string()))
}

fn read_edges_csv(path: &Path, sources: u32, targets: u32) -> Result<EdgeList> {
    const NAMES: &str = "source,target,weight,delay";
    let table = Table::open(path)?;
    let mut column = [None; 4];
    for (i, name) in table.header().unwrap_or(&[]).iter().enumerate() {
        let Some(c) = COLUMNS.iter().position(|c| c.eq_ignore_ascii_case(name)) else {
            let remedy = match crate::error::nearest(name, COLUMNS) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("the first line names the columns, some of {NAMES}"),
            };
            return Err(table.fault(format!("unknown column `{name}`"), remedy));
        };
        if column[c].replace(i).is_some() {
            return Err(table.fault(format!("column `{name}` is given twice"), "keep one of them"));
        }
    }
    COLUMNS[..2].iter().try_for_each(|name| table.need(name, NAMES).map(drop))?;
    let mut list = EdgeList { weight: column[2].map(|_| Vec::new()), delay: column[3].map(|_| Vec::new()), ..Default::default() };
    let mut rows = table.rows()?;
    while let Some(row) = rows.next()? {
        let mut values = [0.0; 4];
        for (c, i) in column.iter().enumerate().filter_map(|(c, i)| Some((c, (*i)?))) {
            values[c] = row.number(i, COLUMNS[c])?;
            if let Some((message, remedy)) = fault(c, values[c], [sources, targets]) {
                return Err(row.fault(Some(i), message, remedy));
            }
        }
        list.source.push(values[0] as u32);
        list.target.push(values[1] as u32);
        list.weight.iter_mut().for_each(|w| w.push(values[2] as f32));
        list.delay.iter_mut().for_each(|d| d.push(values[3]));
    }
    Ok(list)
}

/// Names of the datasets of a file's columns.
fn datasets(store: &Store, projection: Option<&str>) -> Result<[String; 4]> {
    if projection.is_none() && store.has(COLUMNS[0]) {
        return Ok(COLUMNS.map(String::from));
    }
    let groups = ["weights", "edges"].map(|kind| store.members(kind).into_iter().map(move |name| (kind, name)));
    let all: Vec<(&str, String)> = groups.into_iter().flatten().collect();
    let names = || all.iter().map(|(_, name)| format!("\"{name}\"")).collect::<Vec<_>>().join(", ");
    let wrong = |message: String, remedy: String| Error::File { path: store.path().into(), message, remedy: Some(remedy) };
    let found = match (projection, &all[..]) {
        (None, []) => return Ok(COLUMNS.map(String::from)),
        (None, [one]) => one,
        (None, _) => return Err(wrong("holds several projections".into(), format!("add projection = NAME, one of {}", names()))),
        (Some(name), _) => all.iter().find(|(_, there)| there == name).ok_or_else(|| {
            let remedy = if all.is_empty() { "leave out `projection`".into() } else { format!("it has {}", names()) };
            wrong(format!("has no projection \"{name}\""), remedy)
        })?,
    };
    Ok(match found {
        ("weights", name) => ["source_node_id", "target_node_id", "weight", "delay"].map(|c| format!("weights/{name}/{c}")),
        (kind, name) => ["source_node_id", "target_node_id", "0/syn_weight", "0/delay"].map(|c| format!("{kind}/{name}/{c}")),
    })
}

/// The last row of weights over time, in `unit`.
fn last_weights(store: &Store, name: &str, unit: &str) -> Result<Vec<f64>> {
    let table = store.open_table::<f32>(name)?;
    let rows = table.rows();
    let written = store.get_text(name, "units").unwrap_or_default();
    let factor = match written.trim() {
        "" => 1.0,
        written => crate::units::factor(written, unit).map_err(|(message, remedy)| Error::File {
            path: store.path().into(),
            message,
            remedy: Some(remedy),
        })?,
    };
    let weights = if rows == 0 { Vec::new() } else { table.read(rows - 1..rows)? };
    Ok(weights.into_iter().map(|w| w as f64 * factor).collect())
}

fn read_edges_hdf5(path: &Path, projection: Option<&str>, sources: u32, targets: u32, weight_unit: &str) -> Result<EdgeList> {
    let store = Store::open(path)?;
    let names = datasets(&store, projection)?;
    let mut columns: [Option<Vec<f64>>; 4] = Default::default();
    for (c, name) in names.iter().enumerate() {
        if c >= 2 && !store.has(name) {
            continue;
        }
        let values = match c {
            2 if store.shape(name)?.len() == 2 => last_weights(&store, name, weight_unit)?,
            2 => read_quantity(path, name, weight_unit)?,
            3 => read_quantity(path, name, "ms")?,
            _ => read_column_f64(path, name)?,
        };
        let wrong = |message: String, remedy: String| Error::File { path: path.into(), message, remedy: Some(remedy) };
        if let Some((i, (message, remedy))) =
            values.iter().enumerate().find_map(|(i, &x)| Some((i, fault(c, x, [sources, targets])?)))
        {
            return Err(wrong(format!("dataset \"{name}\", entry {i}: {message}"), remedy));
        }
        if let Some(first) = columns[0].as_ref().filter(|first| first.len() != values.len()) {
            return Err(wrong(
                format!("dataset \"{name}\" has {} entries, \"{}\" has {}", values.len(), names[0], first.len()),
                "give every dataset one entry an edge".into(),
            ));
        }
        columns[c] = Some(values);
    }
    let ids = |values: Option<Vec<f64>>| values.unwrap_or_default().into_iter().map(|x| x as u32).collect();
    let numbers = |values: Option<Vec<f64>>| values.map(|v| v.into_iter().map(|x| x as f32).collect());
    let [source, target, weight, delay] = columns;
    Ok(EdgeList { source: ids(source), target: ids(target), weight: numbers(weight), delay })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_from_csv_and_hdf5() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edges.csv");
        std::fs::write(&path, "# made by hand\nsource, target, delay, weight\n2,1,1.5,0.25\n0,3,2.0,-1\n\n2,0,0.5,1e-3\n")
            .unwrap();
        let expected = Edges {
            start: vec![0, 1, 1, 3],
            target: vec![3, 1, 0],
            weight: Some(vec![-1.0, 0.25, 1e-3]),
            delay: Some(vec![2.0, 1.5, 0.5]),
        };
        let same =
            |a: &Edges, b: &Edges| a.start == b.start && a.target == b.target && a.weight == b.weight && a.delay == b.delay;
        assert!(same(&read_edges(&path, None, 3, 4, "1").unwrap(), &expected));
        std::fs::write(&path, "weight;Delay;source;target\n.25;1.5;2;1\n-1;2;0;3\n0.001;0.5;2;0\n").unwrap();
        assert!(same(&read_edges(&path, None, 3, 4, "1").unwrap(), &expected));

        let path = dir.path().join("edges.h5");
        let store = Store::create(&path).unwrap();
        store.write("source", &[2u64, 0, 2]).unwrap();
        store.write("target", &[1u64, 3, 0]).unwrap();
        store.write("weight", &[0.25f32, -1.0, 1e-3]).unwrap();
        store.write("delay", &[1.5f64, 2.0, 0.5]).unwrap();
        store.set_text("delay", "units", "s").unwrap();
        store.set_text("weight", "units", "nA").unwrap();
        store.close().unwrap();
        let scaled = read_edges(&path, None, 3, 4, "pA").unwrap();
        assert_eq!(scaled.delay, Some(vec![2000.0, 1500.0, 500.0]));
        assert_eq!(scaled.weight, Some(vec![-1000.0, 250.0, 1.0]));
        assert!(read_edges(&path, None, 3, 4, "mV").unwrap_err().to_string().contains("a current (`nA`)"));
        let store = Store::open_to_write(&path).unwrap();
        store.set_text("delay", "units", "ms").unwrap();
        store.set_text("weight", "units", "pA").unwrap();
        store.close().unwrap();
        let read_edges = |path: &Path, within, sources, targets, _: &str| read_edges(path, within, sources, targets, "pA");
        assert!(same(&read_edges(&path, None, 3, 4, "1").unwrap(), &expected));
        let message = read_edges(&path, None, 2, 4, "1").unwrap_err().to_string();
        assert!(message.contains("source 2 is out of range"), "{message}");
    }

    #[test]
    fn wrong_edge_files_are_refused_with_their_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("edges.csv");
        let refuse = |text: &str, line_column: (usize, usize), part: &str| {
            std::fs::write(&path, text).unwrap();
            match read_edges(&path, None, 3, 4, "1").expect_err(text) {
                Error::Input(fault) => {
                    let place = fault.place.expect("a place");
                    assert_eq!(place.line_column(), line_column, "{text}: {}", fault.message);
                    assert!(fault.message.contains(part), "{}", fault.message);
                    assert!(fault.remedy.is_some_and(|r| !r.is_empty()));
                }
                other => panic!("{other}"),
            }
        };
        refuse("source,target,weight\n0,1,0.5\n1, NaN,2\n", (3, 4), "target NaN is not a finite number");
        refuse("source,target,weight\n0,1,nan\n", (2, 5), "not a finite number");
        refuse("source,target,weight\n0,1,5\n0,1,five\n", (3, 5), "`five` is not a number");
        refuse("source,target\n0,1\n3,1\n", (3, 1), "out of range");
        refuse("source,target\n0,1\n\n0,4\n", (4, 3), "out of range");
        refuse("source,target\n0,1.5\n", (2, 3), "not an id");
        refuse("source,target,delay\n0,1,0\n", (2, 5), "not above zero");
        refuse("source,target\n0,1\n0\n", (3, 1), "1 values where 2 columns");
        refuse("source,weight\n0,1\n", (1, 1), "no column `target`");
        refuse("source,targt\n0,1\n", (1, 1), "unknown column `targt`");
        refuse("", (1, 1), "nothing in this file");
        refuse("0,1\n", (1, 1), "no column `source`");
        refuse("source;target;weight\n0;1;0,5\n", (2, 5), "`0,5` is not a number");
        assert!(read_edges(dir.path().join("none.csv"), None, 3, 4, "1").is_err());
        std::fs::write(dir.path().join("bad.h5"), "no").unwrap();
        assert!(read_edges(dir.path().join("bad.h5"), None, 3, 4, "1").is_err());
    }
}
