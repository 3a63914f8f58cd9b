//! Learning protocols end to end: every built-in file is read, mistakes are refused with their place before anything is written, a run that
//! is stopped goes on bit for bit, and short versions on MNIST keep thresholds of their own (the long ones are commands in the README).

use crate::common::shared;
use sharpwave::error::Error;
use sharpwave::model::library::Library;
use sharpwave::protocol::results::{Results, Run};
use sharpwave::protocol::{Event, Options, diehl_cook, file, run};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the file of a protocol is right; runs nothing.
fn check(text: &str, overrides: &[&str], quick: bool) -> Result<(), Error> {
    let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
    let source = file::source("p.toml", text, &overrides, quick)?;
    match source.kind()?.0 {
        "diehl_cook" => diehl_cook::file::read(&source, Library::built_in()?).map(drop),
        _ => file::read(&source).map(drop),
    }
}

struct Call<'a> {
    name: &'a str,
    set: &'a [&'a str],
    quick: bool,
    methods: &'a [&'a str],
    data: Option<PathBuf>,
    out: &'a Path,
    resume: bool,
    /// Stop at so many messages.
    stop_at: usize,
}

impl Call<'_> {
    fn run(&self) -> Result<Results, Error> {
        let (name, text) = file::find(Path::new(self.name))?;
        let set: Vec<String> = self.set.iter().map(|s| s.to_string()).collect();
        let protocol = file::read(&file::source(&name, &text, &set, self.quick)?)?;
        let mut options = Options::new(self.out);
        options.resume = self.resume;
        options.methods = (!self.methods.is_empty()).then(|| self.methods.iter().map(|m| m.to_string()).collect());
        options.data = self.data.clone().into_iter().collect();
        let (stop, mut told) = (AtomicBool::new(false), 0);
        let mut tell = |event: Event| {
            told += matches!(event, Event::Trained { .. } | Event::Task { .. }) as usize;
            stop.store(told >= self.stop_at, Ordering::Relaxed);
        };
        run(&protocol, &options, &mut tell, &stop)
    }
}

fn fold(out: &Path) -> Call<'_> {
    Call { name: "permuted_patterns", set: &[], quick: true, methods: &[], data: None, out, resume: false, stop_at: usize::MAX }
}

#[test]
fn built_in_protocols_are_right_and_have_short_versions() {
    let all: Vec<_> = file::built_in().collect();
    assert!(all.len() >= 5);
    for (name, text) in all {
        for quick in [false, true] {
            check(text, &[], quick).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
        assert!(text.contains("citation") || text.contains("\"patterns\""), "{name} says where it is from");
    }
}

#[test]
fn mistakes_are_refused_with_their_place_and_remedy() {
    let (_, text) = file::find(Path::new("permuted_patterns")).unwrap();
    let refused = |from: &str, to: &str| {
        assert!(text.contains(from), "the file has no `{from}`");
        let error = check(&text.replacen(from, to, 1), &[], false).expect_err(to);
        let Error::Input(fault) = &error else { panic!("{to}: {error}") };
        let line = fault.place.as_ref().map_or(0, |place| place.line_column().0);
        assert!(line > 1 && fault.remedy.is_some(), "{to}: {error}");
        error.to_string()
    };
    let rank = refused("{ method = \"svd\", energy = [0.95, 0.99] }", "{ method = \"svd\", budget = [197] }");
    assert!(rank.contains("197") && rank.contains("196"), "{rank}");
    for bad in ["deviation = 0.0", "deviation = -0.1", "prior = 0.0"] {
        refused("prior = 0.06, deviation = 0.06", bad);
    }
    refused("kind = \"ewc\"", "kind = \"ewk\"");
    refused("strength = 100", "strenght = 100");
    refused("fisher = \"exact\"", "fisher = \"guessed\"");
    refused("m = 10", "m = -1");
    refused("rate = 0.1", "rate = 0");
    refused("count = 4", "count = 0");
    refused("[methods.sequential]", "[methods.\"a/b\"]");
    assert!(refused("sizes = [196, 100, 100, 10]", "sizes = [196, 10]").contains("sizes"));
    assert!(refused("test = 500", "test = 500\nvalidation = 100").contains("validation"));
}

/// Images and labels that do not fit are refused once they are read, where the sizes are written; nothing is left on disk.
#[test]
fn data_that_do_not_fit_are_refused_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("tiny");
    std::fs::create_dir(&set).unwrap();
    let bytes = |head: &[u32], body: Vec<u8>| head.iter().flat_map(|h| h.to_be_bytes()).chain(body).collect::<Vec<u8>>();
    for part in ["train", "t10k"] {
        std::fs::write(set.join(format!("{part}-images-idx3-ubyte")), bytes(&[2051, 6, 3, 3], vec![9; 54])).unwrap();
        std::fs::write(set.join(format!("{part}-labels-idx1-ubyte")), bytes(&[2049, 6], vec![0, 1, 2, 3, 4, 1])).unwrap();
    }
    let refused = |out: &str, set: &[&str]| {
        let out = folder.path().join(out);
        let call = Call { set, quick: false, methods: &["sequential"], data: Some(folder.path().into()), ..fold(&out) };
        let error = call.run().expect_err("it does not fit").to_string();
        assert!(!out.exists(), "{error}");
        error
    };
    let own = ["data.set=\"tiny\"", "data.train=6", "data.test=6"];
    let with = |size: &'static str| [&own[..], &[size]].concat();
    let size = refused("a", &with("network.sizes=[10, 5, 5]"));
    assert!(size.contains("3 x 3") && size.contains("10 inputs"), "{size}");
    let label = refused("b", &with("network.sizes=[9, 5, 4]"));
    assert!(label.contains("label 4") && label.contains("image 4"), "{label}");
    let none = refused("c", &["data.set=\"nowhere\""]);
    assert!(none.contains("nowhere"), "{none}");
    let few = refused("d", &["data.set=\"tiny\"", "data.train=7", "data.test=6", "network.sizes=[9, 5, 5]"]);
    assert!(few.contains("7 images"), "{few}");
}

/// All that counts of a run, without what a clock says.
fn without_time(results: &Results) -> Vec<Run> {
    let timeless = |run: &Run| Run { train_s: 0.0, test_s: 0.0, ..run.clone() };
    results.runs.iter().map(timeless).collect()
}

#[test]
fn a_stopped_protocol_goes_on_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let all = fold(&whole).run().unwrap();
    assert!(all.complete && all.runs.len() == all.methods.len());
    let mut stopped = 0;
    let mut results = Call { stop_at: 2, ..fold(&parts) }.run().unwrap();
    while !results.complete {
        stopped += 1;
        assert!(stopped < 500, "it does not come to an end");
        results = Call { resume: true, stop_at: 2, ..fold(&parts) }.run().unwrap();
    }
    assert!(stopped > 5, "stopped {stopped} times only");
    assert_eq!(without_time(&results), without_time(&all));
    for run in &all.runs {
        let name = format!("{}_seed{}.h5", run.method, run.seed);
        let learned = |folder: &Path| sharpwave::learning::state::State::load(folder.join(&name)).unwrap();
        let (a, b) = (learned(&whole), learned(&parts));
        assert!(a.part("network") == b.part("network"), "{name}");
    }
    let again = fold(&whole).run().unwrap_err().to_string();
    assert!(again.contains("exists already"), "{again}");
    let other = Call { resume: true, set: &["training.rate=0.2"], ..fold(&whole) }.run().unwrap_err().to_string();
    assert!(other.contains("settings"), "{other}");
}

/// A short version on MNIST, by networks of 784-200-200-10: forgetting of each method, in points.
fn forgetting(name: &str, set: &[&str], methods: &[&str]) -> Option<Vec<(f64, f64)>> {
    let data = shared("data/mnist")?;
    let folder = tempfile::tempdir().unwrap();
    let sizes = ["network.sizes=[784, 200, 200, 10]", "data.train=6000", "data.test=1000", "tasks.count=3"];
    let call = Call { name, set: &[&sizes, set].concat(), quick: false, methods, data: Some(data), ..fold(folder.path()) };
    let results = call.run().unwrap();
    let of = |m: &&str| {
        let run = results.of(m).next().unwrap();
        (100.0 * run.acc, 100.0 * run.forgetting.unwrap())
    };
    let all: Vec<(f64, f64)> = methods.iter().map(of).collect();
    println!("{name}: {methods:?} ACC and forgetting {all:.1?}");
    Some(all)
}

#[test]
fn projection_importance_and_posterior_keep_old_tasks() {
    let methods = ["sequential", "hebbian", "ewc", "mesu"];
    let Some(all) = forgetting("permuted_mnist", &[], &methods) else { return };
    let [plain, hebbian, ewc, mesu] = all[..] else { panic!("{all:?}") };
    assert!(plain.1 > 5.0, "nothing to protect: {all:?}");
    assert!(hebbian.1 < plain.1 / 4.0 && hebbian.0 > plain.0 + 3.0, "{all:?}");
    assert!(ewc.1 < plain.1 / 2.0 && mesu.1 < plain.1 / 2.0, "{all:?}");
    assert!(all.iter().all(|a| a.0 > 70.0), "{all:?}");
}

#[test]
fn metaplasticity_keeps_old_tasks_without_their_boundaries() {
    let methods = ["sequential", "metaplastic"];
    let Some(all) = forgetting("metaplastic_mnist", &[], &methods) else { return };
    // So few images at a constant rate make even the unprotected network forget little: two points, ten times what the other one does.
    assert!(all[0].1 > 1.5 && all[1].1 < all[0].1 / 3.0 && all[1].0 > all[0].0 && all[1].0 > 80.0, "{all:?}");
}

#[test]
fn digits_are_told_by_local_rules_and_a_posterior_knows_what_is_none() {
    let Some(data) = shared("data") else { return };
    let folder = tempfile::tempdir().unwrap();
    let set = ["network.sizes=[784, 200, 200, 10]", "data.train=6000", "data.test=1000", "training.passes=2"];
    let results =
        Call { name: "supervised_mnist", set: &set, quick: false, data: Some(data), ..fold(folder.path()) }.run().unwrap();
    let of = |m: &str| results.of(m).next().unwrap().clone();
    assert!(of("local").acc > 0.9, "{}", of("local").acc);
    let doubt = of("mesu").uncertainty.unwrap();
    println!("local {:.3}, mesu {:.3}: {doubt:?}", of("local").acc, of("mesu").acc);
    assert!(doubt.outside.len() == 2 && doubt.calibration_error.is_some_and(|e| e < 0.2), "{doubt:?}");
    let auc = |name: &str| doubt.outside.iter().find(|o| o.set == name).and_then(|o| o.auc_epistemic).unwrap();
    assert!(auc("permuted") > 0.8 && auc("kmnist") > 0.7, "{doubt:?}");
}
