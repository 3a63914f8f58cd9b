//! Checkpoints: the complete state of a run in one file. Promises that a checkpoint is either whole or absent (the previous one
//! stays until its successor is on disk), that a damaged or foreign one is refused, and that one is taken up only by a network
//! of the same structure: the same populations, models and projections; parameters, seed and stimuli may differ (a branch).

use super::RunInfo;
use crate::engine::Snapshot;
use crate::error::{Error, Result};
use crate::io::hdf5::{Element, Store, file_error};
use crate::io::output::Output;
use crate::network::{Cell, Network};
use std::path::Path;

const FORMAT: &str = "sharpwave checkpoint";
const FORMAT_VERSION: u32 = 2;

/// What has to agree for a state to fit, one fact a line: what it is about, a tab, what it says.
fn structure(net: &Network) -> Vec<String> {
    let mut facts = vec![format!("step\t{} ms", net.dt)];
    for population in &net.populations {
        let model = match &population.cell {
            Cell::Neuron(neuron) => {
                let states = neuron.model.states.iter().map(|s| format!("{}:{:?}", s.name, s.ty)).collect::<Vec<_>>();
                format!("{} ({})", neuron.model.name, states.join(" "))
            }
            Cell::Source(_) => "source".into(),
        };
        facts.push(format!("population {}\t{} x {model}", population.name, population.n));
    }
    for projection in &net.projections {
        let (source, target) = (&net.populations[projection.source].name, &net.populations[projection.target].name);
        let model = &projection.synapse.model;
        // With synapses that have a state of their own, every edge must be the same one.
        let edges = match model.program {
            Some(_) => format!(", {:?}, autapses {}, multapses {}", projection.rule, projection.autapses, projection.multapses),
            None => String::new(),
        };
        let edges = if edges.len() > 200 { format!(" ({:08x})", checksum_of(edges.as_bytes())) } else { edges };
        facts.push(format!("projection {}\t{source} to {target}, {}{edges}", projection.name, model.name));
    }
    facts
}

fn checksum_of(bytes: &[u8]) -> u32 {
    let mut sum = flate2::Crc::new();
    sum.update(bytes);
    sum.sum()
}

/// Writes and reads arrays one after another, with a checksum of all of them and of what they are called.
struct Summed {
    store: Store,
    sum: flate2::Crc,
}

impl Summed {
    fn note<T: bytemuck::NoUninit>(&mut self, name: &str, values: &[T]) {
        self.sum.update(name.as_bytes());
        // The library's counter holds 32 bits of length, the sum itself any number of bytes.
        for part in bytemuck::cast_slice::<T, u8>(values).chunks(1 << 24) {
            self.sum.update(part);
        }
    }

    fn write<T: Element + bytemuck::NoUninit>(&mut self, name: &str, values: &[T]) -> Result<()> {
        self.note(name, values);
        self.store.write(name, values)
    }

    fn read<T: Element + bytemuck::NoUninit>(&mut self, name: &str) -> Result<Vec<T>> {
        let values = self.store.read(name)?;
        self.note(name, &values);
        Ok(values)
    }
}

/// Writes a checkpoint; the file that was at `path` is replaced once the new one is complete on disk.
///
/// # Errors
/// The disk is full or the folder cannot be written; the previous checkpoint then still stands.
pub fn write(path: impl AsRef<Path>, net: &Network, info: &RunInfo, snapshot: &Snapshot) -> Result<()> {
    let output = Output::file(path.as_ref(), true)?;
    write_whole(output.part(), net, info, snapshot)?;
    output.keep()
}

fn write_whole(path: &Path, net: &Network, info: &RunInfo, snapshot: &Snapshot) -> Result<()> {
    let mut file = Summed { store: Store::create_scratch(path)?, sum: flate2::Crc::new() };
    let texts = [
        ("title", &info.title),
        ("scenario_path", &info.scenario_path),
        ("scenario", &info.scenario_text),
        ("overrides", &info.overrides.join("\n")),
        ("engine", &info.engine),
        ("version", &info.version),
        ("structure", &structure(net).join("\n")),
    ];
    for (name, text) in texts {
        let text = text.replace('\0', "");
        file.store.write_text(&format!("/info/{name}"), &text)?;
        file.note(name, text.as_bytes());
    }
    file.write(
        "/info/numbers",
        &[info.seed, info.threads as u64, info.duration.to_bits(), info.warmup.to_bits(), info.stimulus_seed],
    )?;
    let shape: Vec<u64> = snapshot.states.iter().map(|s| s.len() as u64).collect();
    let dynamic: Vec<u64> = snapshot.synapses.iter().map(|s| s.len() as u64).collect();
    file.write("/state/step", &[snapshot.step])?;
    file.write("/state/variables", &shape)?;
    file.write("/state/synapse_variables", &dynamic)?;
    for (p, states) in snapshot.states.iter().enumerate() {
        for (k, words) in states.iter().enumerate() {
            file.write(&format!("/state/populations/{p}/{k}"), words)?;
        }
    }
    for (p, states) in snapshot.synapses.iter().enumerate() {
        for (k, values) in states.iter().enumerate() {
            file.write(&format!("/state/projections/{p}/{k}"), values)?;
        }
    }
    file.write("/state/recent/step", &snapshot.recent.iter().map(|r| r.0).collect::<Vec<_>>())?;
    file.write("/state/recent/id", &snapshot.recent.iter().map(|r| r.1).collect::<Vec<_>>())?;
    file.write("/state/last_spike", &snapshot.last_spike)?;
    let parts = snapshot.parts();
    file.write("/state/extras", &[parts.len() as u64])?;
    for (k, (name, words)) in parts.iter().enumerate() {
        file.store.write_text(&format!("/state/extra/{k}/name"), name)?;
        file.note("name", name.as_bytes());
        file.write(&format!("/state/extra/{k}/words"), words)?;
    }
    // Last, so that its presence says that all the rest is there.
    file.store.set_text("/info", "format", FORMAT)?;
    file.store.set("/info", "format_version", FORMAT_VERSION)?;
    file.store.set("/info", "checksum", file.sum.sum())?;
    file.store.close()
}

/// Reads a checkpoint for a network.
///
/// # Errors
/// The file is missing, damaged, foreign, of a newer format, or belongs to a network of another structure.
pub fn read(path: impl AsRef<Path>, net: &Network) -> Result<(RunInfo, Snapshot)> {
    let path = path.as_ref();
    let (mut file, info, theirs, expected) = open(path)?;
    compare(path, &theirs, &structure(net))?;
    let (mut snapshot, parts) = read_snapshot(path, &mut file)?;
    if file.sum.sum() != expected {
        return Err(damaged(path));
    }
    snapshot.take(parts, net)?;
    check(path, &snapshot, net)?;
    Ok((info, snapshot))
}

/// What a checkpoint says of the run that wrote it; its state is not looked at.
///
/// # Errors
/// The file is missing, damaged, foreign or of a newer format.
pub fn origin(path: impl AsRef<Path>) -> Result<RunInfo> {
    open(path.as_ref()).map(|opened| opened.1)
}

/// The file after its head: the run that wrote it, the structure of its network, the checksum to come to.
fn open(path: &Path) -> Result<(Summed, RunInfo, String, u32)> {
    let store = Store::open(path)?;
    if !store.has("/info") || store.get_text("/info", "format")? != FORMAT {
        return Err(file_error(path, "this is not a checkpoint", "give a file that --checkpoint-every or Ctrl-C left"));
    }
    let version = store.get::<u32>("/info", "format_version")?;
    if version > FORMAT_VERSION {
        let message = format!("checkpoint format {version} is newer than this program, which reads up to {FORMAT_VERSION}");
        return Err(file_error(path, message, "use the version of sharpwave that wrote it, or a newer one"));
    }
    let expected = store.get::<u32>("/info", "checksum")?;
    let mut file = Summed { store, sum: flate2::Crc::new() };
    let text = |file: &mut Summed, name: &str| -> Result<String> {
        let text = file.store.read_text(&format!("/info/{name}"))?;
        file.note(name, text.as_bytes());
        Ok(text)
    };
    let mut info = RunInfo {
        title: text(&mut file, "title")?,
        scenario_path: text(&mut file, "scenario_path")?,
        scenario_text: text(&mut file, "scenario")?,
        overrides: text(&mut file, "overrides")?.lines().map(str::to_string).collect(),
        engine: text(&mut file, "engine")?,
        version: text(&mut file, "version")?,
        ..Default::default()
    };
    let theirs = text(&mut file, "structure")?;
    let numbers = file.read::<u64>("/info/numbers")?;
    let [seed, threads, duration, warmup, stimulus_seed] = numbers[..] else { return Err(damaged(path)) };
    (info.seed, info.stimulus_seed, info.threads) = (seed, stimulus_seed, threads as usize);
    (info.duration, info.warmup) = (f64::from_bits(duration), f64::from_bits(warmup));
    Ok((file, info, theirs, expected))
}

fn damaged(path: &Path) -> Error {
    file_error(path, "the checkpoint is damaged: its checksum does not agree", "use another checkpoint, or run from the start")
}

/// A list of words by its name.
type Part = (String, Vec<u64>);

/// What a checkpoint holds, and the parts that are to be taken up when the checksum is known to agree.
fn read_snapshot(path: &Path, file: &mut Summed) -> Result<(Snapshot, Vec<Part>)> {
    let step = *file.read::<u64>("/state/step")?.first().ok_or_else(|| damaged(path))?;
    let shape = file.read::<u64>("/state/variables")?;
    let dynamic = file.read::<u64>("/state/synapse_variables")?;
    let mut states = Vec::new();
    for (p, &n) in shape.iter().enumerate() {
        states.push((0..n).map(|k| file.read(&format!("/state/populations/{p}/{k}"))).collect::<Result<Vec<Vec<u32>>>>()?);
    }
    let mut synapses = Vec::new();
    for (p, &n) in dynamic.iter().enumerate() {
        synapses.push((0..n).map(|k| file.read(&format!("/state/projections/{p}/{k}"))).collect::<Result<Vec<Vec<f32>>>>()?);
    }
    let stamps = file.read::<u64>("/state/recent/step")?;
    let ids = file.read::<u32>("/state/recent/id")?;
    let last_spike = file.read("/state/last_spike")?;
    let extras = *file.read::<u64>("/state/extras")?.first().ok_or_else(|| damaged(path))?;
    let mut parts = Vec::new();
    for k in 0..extras {
        let name = file.store.read_text(&format!("/state/extra/{k}/name"))?;
        file.note("name", name.as_bytes());
        parts.push((name, file.read(&format!("/state/extra/{k}/words"))?));
    }
    let recent = stamps.into_iter().zip(ids).collect();
    Ok((Snapshot { step, states, recent, last_spike, synapses, ..Snapshot::default() }, parts))
}

/// Refuses a checkpoint of another structure, naming the first difference.
fn compare(path: &Path, theirs: &str, ours: &[String]) -> Result<()> {
    let theirs: Vec<&str> = theirs.lines().collect();
    let split = |fact: &str| fact.split_once('\t').map_or((fact.to_string(), String::new()), |(a, b)| (a.into(), b.into()));
    let longest = theirs.len().max(ours.len());
    for at in 0..longest {
        let difference = match (theirs.get(at), ours.get(at)) {
            (Some(a), Some(b)) if a == b => continue,
            (Some(a), Some(b)) => {
                let ((subject, there), (here_subject, here)) = (split(a), split(b));
                match subject == here_subject {
                    true => format!("{subject} is {there} in the checkpoint and {here} in the scenario"),
                    false => format!("the checkpoint has {subject} where the scenario has {here_subject}"),
                }
            }
            (Some(a), None) => format!("the checkpoint has {}, the scenario has not", split(a).0),
            (None, Some(b)) => format!("the scenario has {}, the checkpoint has not", split(b).0),
            (None, None) => continue,
        };
        return Err(Error::Input(Box::new(crate::error::Fault {
            message: format!("{}: the checkpoint is of another network: {difference}", path.display()),
            place: None,
            remedy: Some("resume it with the scenario it was made from; parameters, seed and stimuli may differ".into()),
        })));
    }
    Ok(())
}

/// The arrays must fit the network, whatever wrote them.
fn check(path: &Path, snapshot: &Snapshot, net: &Network) -> Result<()> {
    let fits = snapshot.states.len() == net.populations.len()
        && snapshot.states.iter().zip(&net.populations).all(|(states, population)| match &population.cell {
            Cell::Neuron(neuron) => {
                let n = population.n as usize;
                (states.is_empty() || states.len() >= neuron.model.states.len())
                    && states.iter().all(|s| s.len() == n || s.len() == 2 * n)
            }
            Cell::Source(_) => true,
        })
        && snapshot.recent.iter().all(|&(_, id)| id < net.neurons());
    match fits {
        true => Ok(()),
        false => Err(file_error(path, "the state does not fit the network", "use another checkpoint, or run from the start")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Draw, Rule};
    use crate::record::tests::{info, network, projection};

    fn net() -> Network {
        let mut net = network(&[("E", 5), ("I", 3)]);
        net.projections = vec![projection("E_I", 0, 1)];
        net
    }

    fn snapshot() -> Snapshot {
        Snapshot {
            step: 123_456_789_012,
            states: vec![vec![(0..5).collect(), vec![u32::MAX; 5]], vec![]],
            recent: vec![(123_456_789_000, 2), (123_456_789_001, 7)],
            last_spike: vec![0, 5, u64::MAX],
            synapses: vec![vec![vec![0.5, f32::MIN_POSITIVE, -0.0], vec![1.0, 2.0, f32::INFINITY]], vec![]],
            elapsed: vec![4, 17],
            notes: vec![("clock / of α".into(), vec![1, u64::MAX]), ("empty".into(), vec![])],
            ..Snapshot::default()
        }
    }

    #[test]
    fn state_comes_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.checkpoint");
        write(&path, &net(), &info(), &snapshot()).unwrap();
        assert_eq!(read(&path, &net()).unwrap(), (info(), snapshot()));
        let mut next = snapshot();
        next.step += 1;
        write(&path, &net(), &info(), &next).unwrap();
        assert_eq!(read(&path, &net()).unwrap().1, next);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        write(&path, &net(), &info(), &Snapshot { states: vec![vec![], vec![]], ..Default::default() }).unwrap();
    }

    #[test]
    fn parameters_may_differ_and_structure_may_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.checkpoint");
        write(&path, &net(), &info(), &snapshot()).unwrap();
        let mut branch = net();
        branch.seed = 99;
        branch.projections[0].weight = Draw::Constant(7.0);
        branch.projections[0].rule = Rule::FixedIndegree { indegree: 2 };
        assert!(read(&path, &branch).is_ok());
        let refused = |change: &dyn Fn(&mut Network), word: &str| {
            let mut other = net();
            change(&mut other);
            let error = read(&path, &other).unwrap_err();
            assert!(error.to_string().contains(word), "{error}");
            assert!(error.remedy().is_some());
        };
        refused(&|n| n.dt = 0.2, "step is 0.1 ms in the checkpoint and 0.2 ms");
        refused(&|n| n.populations[1].n = 4, "population I is 3 x source in the checkpoint and 4 x source");
        refused(&|n| n.populations[0].name = "F".into(), "the checkpoint has population E where the scenario has population F");
        refused(&|n| n.projections.clear(), "the checkpoint has projection E_I, the scenario has not");
        refused(&|n| n.projections[0].target = 0, "projection E_I is E to I");
    }

    #[test]
    fn damaged_and_foreign_files_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run.checkpoint");
        let net = net();
        assert!(read(&path, &net).is_err());
        let mut state = snapshot();
        state.states[0] = vec![(0..5).map(|k| 0x1234_5600 + k).collect()];
        write(&path, &net, &info(), &state).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for keep in (0..16).map(|k| whole.len() * k / 16) {
            std::fs::write(&path, &whole[..keep]).unwrap();
            assert!(read(&path, &net).unwrap_err().remedy().is_some());
        }
        // A changed bit in the data.
        let at = whole.windows(4).position(|w| w == 0x1234_5602u32.to_le_bytes()).unwrap();
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let error = read(&path, &net).unwrap_err();
        assert!(error.to_string().contains("checksum"), "{error}");
        // A recording is no checkpoint, and neither is one of a later format.
        let recording = dir.path().join("run.h5");
        let recorder = crate::record::Recorder::create(&recording, &net, &info(), false).unwrap();
        recorder.finish(true, &Default::default(), 0.0).unwrap();
        assert!(read(&recording, &net).unwrap_err().to_string().contains("not a checkpoint"));
        std::fs::write(&path, &whole).unwrap();
        let store = Store::open_to_write(&path).unwrap();
        store.set("/info", "format_version", FORMAT_VERSION + 1).unwrap();
        store.close().unwrap();
        assert!(read(&path, &net).unwrap_err().to_string().contains("newer"));
        // A state that does not fit.
        write(&path, &net, &info(), &Snapshot::default()).unwrap();
        assert!(read(&path, &net).unwrap_err().to_string().contains("does not fit"));
    }

    #[test]
    fn a_failed_write_leaves_the_previous_checkpoint() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("folder");
        std::fs::create_dir(&path).unwrap();
        std::fs::write(path.join("inside"), "x").unwrap();
        assert!(write(&path, &net(), &info(), &snapshot()).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(path.join("inside/place"), &net(), &info(), &snapshot()).is_err());
    }
}
