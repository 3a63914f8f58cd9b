//! Spike trains from HDF5 files as other tools write them.

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
