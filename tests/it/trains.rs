//! Spike trains from HDF5 files as other tools write them, and sources whose rates change.

use crate::common;
use sharpwave::stimulus::Trains;

/// A file in SONATA's layout, times unsorted, ids of another integer type.
fn sonata(path: &std::path::Path, times: &[f64], ids: &[u64]) {
    let file = hdf5::File::create(path).unwrap();
    let group = file.create_group("spikes/input").unwrap();
    group.new_dataset_builder().with_data(times).create("timestamps").unwrap();
    group.new_dataset_builder().with_data(ids).create("node_ids").unwrap();
}

#[test]
fn sonata_spikes_become_trains() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spikes.h5");
    sonata(&path, &[3.0, 1.0, 2.0], &[7, 0, 9]);
    let expected = Trains { time: vec![1.0, 2.0, 3.0], source: vec![0, 9, 7] };
    assert_eq!(Trains::from_hdf5(&path, "input").unwrap(), expected);
    assert_eq!(Trains::from_hdf5(&path, "/spikes/input").unwrap(), expected);
    assert_eq!(Trains::from_hdf5_datasets(&path, "spikes/input/timestamps", "spikes/input/node_ids").unwrap(), expected);
}

#[test]
fn bad_files_are_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("spikes.h5");
    let refusal = |times: &[f64], ids: &[u64], name: &str| {
        sonata(&path, times, ids);
        let error = Trains::from_hdf5(&path, name).unwrap_err();
        assert!(error.to_string().contains("spikes.h5") && error.remedy().is_some(), "{error}");
        format!("{error} {}", error.remedy().unwrap())
    };
    assert!(refusal(&[1.0, f64::NAN], &[0, 1], "input").contains("NaN at row 1"));
    assert!(refusal(&[1.0, -2.0], &[0, 1], "input").contains("-2 at row 1"));
    assert!(refusal(&[1.0], &[0, 1], "input").contains("holds 1 values"));
    assert!(refusal(&[1.0], &[u64::MAX], "input").contains("row 0"));
    assert!(refusal(&[1.0], &[1], "imput").contains("spikes/imput/timestamps"));
    sonata(&path, &vec![1.0; 10_000], &vec![1; 10_000]);
    let bytes = std::fs::read(&path).unwrap();
    for cut in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        let error = Trains::from_hdf5(&path, "input").unwrap_err();
        assert!(error.to_string().contains("spikes.h5"), "{error}");
    }
}

/// Sources that follow a sine, arrays or a table fire alike on the grid's engines, and at the same rates in continuous time.
#[test]
fn rates_that_change_fire_alike_on_every_engine() {
    let folder = tempfile::tempdir().unwrap();
    let table = folder.path().join("rates.csv");
    std::fs::write(&table, "time,a,b\n0,0,400\n100,200,0\n").unwrap();
    let text = format!(
        r#"
[simulation]
duration = "200 ms"

[populations.sine]
model = "sinusoidal_poisson"
n = 200
rate = "100 Hz"
amplitude = {{ distribution = "uniform", low = "50 Hz", high = "200 Hz" }}
frequency = "20 Hz"
record = {{ spikes = true }}

[populations.table]
model = "inhomogeneous_poisson"
n = 2
file = {:?}
record = {{ spikes = true }}

[populations.arrays]
model = "inhomogeneous_poisson"
n = 100
times = ["20 ms", "0.1 s"]
rates = ["300 Hz", 0]
record = {{ spikes = true }}

[populations.E]
model = "iaf_psc_exp"
n = 20

[[projections]]
source = ["sine", "table", "arrays"]
target = "E"
rule = "all_to_all"
weight = "60 pA"
"#,
        table.display().to_string()
    );
    let plan = common::plan(&text, &[]);
    let first = |name: &str| {
        let p = plan.network.populations.iter().find(|p| p.name == name).unwrap();
        p.first..p.first + p.n
    };
    let cpu = common::simulate(&plan, "cpu", 1);
    assert_eq!(cpu.spikes, common::simulate(&plan, "cpu", 3).spikes);
    assert!(cpu.spikes.iter().filter(|s| first("E").contains(&s.id)).count() > 100);
    if common::device_there() {
        assert_eq!(cpu.spikes, common::simulate(&plan, "gpu", 1).spikes);
    }
    let event = common::simulate(&plan, "event", 1);
    for spikes in [&cpu.spikes, &event.spikes] {
        let count = |name: &str, from: f64, to: f64| {
            spikes.iter().filter(|s| first(name).contains(&s.id) && s.time > from && s.time <= to).count() as f64
        };
        assert_eq!(count("arrays", 0.0, 20.0) + count("arrays", 100.0, 200.0), 0.0);
        for (found, expected) in [
            (count("arrays", 20.0, 100.0), 2400.0f64),
            (count("table", 0.0, 100.0), 40.0),
            (count("table", 100.0, 200.0), 20.0),
            // The amplitude is 125 Hz on average; what is cut off below 0 adds a little. By halves of the 50 ms period.
            (count("sine", 0.0, 25.0) + count("sine", 50.0, 75.0), 200.0 * 0.05 * (100.0 + 125.0 * 2.0 / std::f64::consts::PI)),
        ] {
            assert!((found - expected).abs() < 5.0 * expected.sqrt(), "{found} for {expected}");
        }
        assert!(count("sine", 25.0, 50.0) < 0.4 * count("sine", 0.0, 25.0));
    }
}

#[test]
fn changing_rates_that_make_no_sense_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |keys: &str, table: &str| {
        std::fs::write(folder.path().join("rates.csv"), table).unwrap();
        let path = folder.path().join("rates.csv").display().to_string();
        let keys = keys.replace("FILE", &format!("{path:?}"));
        let text = format!("[simulation]\nduration = 10\n\n[populations.P]\nn = 3\n{keys}\n");
        let error = common::try_plan(&text, &[]).err().unwrap_or_else(|| panic!("{keys} {table}"));
        assert!(error.remedy().is_some_and(|r| !r.is_empty()), "{error}");
        error.to_string()
    };
    let arrays = |rest: &str| format!("model = \"inhomogeneous_poisson\"\n{rest}");
    assert!(refused(&arrays("times = [0, 5]\nrates = [1]"), "").contains("1 rates for 2 times"));
    assert!(refused(&arrays("times = [5, 5]\nrates = [1, 2]"), "").contains("times must increase"));
    assert!(refused(&arrays("times = [0]\nrates = [-1]"), "").contains("at least 0"));
    assert!(refused(&arrays("times = [0]\nrates = [[1, 2]]"), "").contains("2 rates for 3 sources"));
    assert!(refused(&arrays("times = [0.05]\nrates = [1]"), "").contains("not on the grid"));
    assert!(refused(&arrays("times = [0]\nrates = [1e8]"), "").contains("events in a step"));
    assert!(refused(&arrays("rates = [1]"), "").contains("no `times`"));
    assert!(refused(&arrays("times = [0]\nfile = FILE"), "time,rate\n0,1\n").contains("both given"));
    assert!(refused(&arrays("file = FILE"), "time,a,b\n0,1,2\n").contains("2 columns beside time"));
    assert!(refused(&arrays("file = FILE"), "when,rate\n0,1\n").contains("no column `time`"));
    assert!(refused(&arrays("file = FILE"), "time,rate\n0,1\n0,2\n").contains("rates.csv:3:1"));
    assert!(refused(&arrays("file = FILE"), "time,rate\n0,-1\n").contains("rates.csv:2:3"));
    assert!(refused(&arrays("file = FILE"), "time,rate\n").contains("no numbers"));
    let sine = "model = \"sinusoidal_poisson\"\nrate = 10\namplitude = 5\n";
    assert!(refused(sine, "").contains("no `frequency`"));
    assert!(refused(&format!("{sine}frequency = -1"), "").contains("frequency"));
    assert!(refused(&format!("{sine}frequency = 1\nphase = \"3 mV\""), "").contains("mV"));
}
