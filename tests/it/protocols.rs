//! Learning protocols end to end: every built-in file is read, mistakes are refused with their place before anything is written, a run that
//! is stopped goes on bit for bit, and short versions on MNIST keep thresholds of their own (the long ones are commands in the README).

use crate::common::shared;
use sharpwave::error::Error;
use sharpwave::model::library::Library;
use sharpwave::protocol::results::{Results, Run};
use sharpwave::protocol::{Event, Options, diehl_cook, e_prop, file, run};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the file of a protocol is right; runs nothing.
fn check(text: &str, overrides: &[&str], quick: bool) -> Result<(), Error> {
    let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
    let source = file::source("p.toml", text, &overrides, quick)?;
    match source.kind()?.0 {
        "diehl_cook" => diehl_cook::file::read(&source, Library::built_in()?).map(drop),
        "e_prop" => e_prop::file::read(&source).map(drop),
        "suite" => file::parts(&source)?.iter().try_for_each(|(_, part)| file::read(part).map(drop)),
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

/// A protocol on made-up images, 14 x 14 pixels, as the built-in ones are written.
fn made_up(kind: &str, tasks: &str, methods: &str) -> String {
    format!(
        "title = \"made up\"\nkind = \"{kind}\"\nseeds = [1]\n[data]\nset = \"patterns\"\ntrain = 900\ntest = 300\nnoise = 0.4\n\
         [tasks]\n{tasks}\n[network]\nsizes = [196, 60, 10]\n[training]\nrate = 0.05\nmomentum = 0\nschedule = \"constant\"\nbatch = 20\n\
         samples = 200\n{methods}"
    )
}

fn run_text(text: &str, set: &[&str], out: &Path, resume: bool, stop_at: usize) -> Result<Results, Error> {
    let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
    let protocol = file::read(&file::source("p.toml", text, &set, false)?)?;
    let mut options = Options::new(out);
    options.resume = resume;
    let (stop, mut told) = (AtomicBool::new(false), 0);
    let mut tell = |event: Event| {
        told += matches!(event, Event::Trained { .. } | Event::Task { .. }) as usize;
        stop.store(told >= stop_at, Ordering::Relaxed);
    };
    run(&protocol, &options, &mut tell, &stop)
}

/// Runs a protocol whole and in pieces: they agree, and it is handed over.
fn whole_and_in_pieces(text: &str, set: &[&str]) -> Results {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let all = run_text(text, set, &whole, false, usize::MAX).unwrap();
    let mut results = run_text(text, set, &parts, false, 2).unwrap();
    for _ in 0..500 {
        if results.complete {
            break;
        }
        results = run_text(text, set, &parts, true, 2).unwrap();
    }
    assert!(all.complete && results.complete);
    assert_eq!(without_time(&results), without_time(&all));
    assert_eq!(Results::read(&whole.join("results.json")).unwrap().runs, all.runs);
    all
}

const REPLAY: &str = "latents = 20, filters = 16, patch = 5, winners = 4, regions = 3, images = 400";

#[test]
fn classes_are_learned_two_at_a_time_without_their_images() {
    let methods = format!(
        "[methods.sequential]\n[methods.joint]\njoint = true\n[methods.dreams]\nreplay = {{ {REPLAY}, sleep = 40 }}\n\
         [methods.classes]\nreplay = {{ {REPLAY}, readout = \"classes\" }}\n[methods.no_dreams]\nreplay = {{ {REPLAY}, dream = false }}\n\
         [methods.rehearsal]\nrehearsal = 20000\n\
         [methods.lwf]\ndistillation = {{ strength = 2 }}\n[methods.mas]\nimportance = {{ kind = \"mas\", strength = 1 }}\n\
         [methods.cascade]\ncascade = {{ levels = 4, coupling = 0.2 }}\n"
    );
    let text = made_up("split", "count = 5\nclasses = 2", &methods);
    let results = whole_and_in_pieces(&text, &[]);
    let acc = |method: &str| results.of(method).next().unwrap().acc;
    println!("{:?}", results.methods.iter().map(|m| (m.0.as_str(), acc(&m.0))).collect::<Vec<_>>());
    assert!(acc("sequential") < 0.35 && acc("no_dreams") < 0.5, "only the newest classes stay");
    assert!(acc("dreams") > 0.8 && acc("classes") > 0.9 && acc("rehearsal") > acc("sequential") + 0.3);
    let bytes = |method: &str| results.of(method).next().unwrap().bytes;
    assert_eq!(bytes("classes"), 10 * 4 * (20 + 210));
    assert!(bytes("rehearsal") <= 20_000 && bytes("rehearsal") > 19_000 && bytes("sequential") == 0);
    assert_eq!(results.kind, "split, class-incremental");
    assert!(acc("lwf") >= acc("sequential") && bytes("lwf") == 4 * (196 * 60 + 60 * 10), "{}", acc("lwf"));
    assert!(bytes("cascade") == 4 * bytes("lwf") && bytes("mas") == 2 * bytes("lwf") + 8);

    // With the task told, or a number within it asked for, nothing has to be kept to be above chance.
    let plain = made_up("split", "count = 5\nclasses = 2", "[methods.sequential]\n");
    let folder = tempfile::tempdir().unwrap();
    let of = |out: &str, set: &[&str]| run_text(&plain, set, &folder.path().join(out), false, usize::MAX).unwrap().runs[0].acc;
    let (task, domain) = (of("t", &["tasks.asked=\"task\""]), of("d", &["tasks.asked=\"domain\"", "network.sizes=[196, 60, 2]"]));
    assert!(task > 0.6 && task > acc("sequential") + 0.2 && domain > 0.4, "{task} {domain}");
}

#[test]
fn contexts_keep_many_tasks_that_are_tested_at_the_end() {
    let methods = "[methods.inferred]\ncontexts = { hidden = 80, open = 20, window = 1e5 }\n\
                   [methods.oracle]\ncontexts = { hidden = 80, open = 20, rule = \"bgd\", gate = \"oracle\" }\n\
                   [methods.random]\ncontexts = { hidden = 80, open = 20, window = 1e5, gate = \"random\" }\n\
                   [methods.plain]\ncontexts = { open = 20, hidden = 20, rule = \"sgd\", rate = 0.05, gate = \"none\" }\n\
                   [uncertainty]\nagainst = [\"permuted\"]\nimages = 100\n";
    let text = made_up("permuted", "count = 6\ntested = \"end\"", methods);
    let results = whole_and_in_pieces(&text, &["data.offset=0.5", "data.scale=3.0", "data.test=100"]);
    let run = |method: &str| results.of(method).next().unwrap().clone();
    println!("{:?}", results.methods.iter().map(|m| (m.0.as_str(), run(&m.0).acc)).collect::<Vec<_>>());
    assert!(results.runs.iter().all(|r| r.matrix.len() == 1 && r.matrix[0].len() == 6 && r.bwt.is_none()));
    assert!(run("inferred").acc > 0.85 && run("oracle").acc > 0.85 && run("inferred").acc > run("random").acc + 0.2);
    assert!(run("inferred").reports.iter().any(|line| line.contains("6 for 6 tasks")), "{:?}", run("inferred").reports);
    let auc = run("inferred").uncertainty.unwrap().outside[0].auc_epistemic.unwrap();
    assert!(auc > 0.65 && run("plain").uncertainty.is_none(), "{auc}");
}

#[test]
fn predictive_coding_learns_by_spikes() {
    let text = made_up(
        "permuted",
        "count = 2",
        "[methods.predictive]\noptimiser = \"adam\"\nrate = 2e-3\npasses = 2\npredictive = {}\n",
    );
    let results = whole_and_in_pieces(&text, &["network.sizes=[196, 50, 40, 10]"]);
    let run = &results.runs[0];
    assert!(run.matrix[0][0] > 0.9 && run.spikes_per_image > 1.0, "{run:?}");
    assert!(run.reports[0].contains("spikes a unit"), "{:?}", run.reports);
}

#[test]
fn mistakes_in_what_learns_are_refused_with_their_place() {
    let refused = |kind: &str, tasks: &str, methods: &str, part: &str| {
        let error = check(&made_up(kind, tasks, methods), &[], false).expect_err(methods);
        let Error::Input(fault) = &error else { panic!("{methods}: {error}") };
        assert!(fault.place.is_some() && fault.remedy.is_some(), "{error}");
        assert!(error.to_string().contains(part), "{error}");
    };
    let split = "count = 5\nclasses = 2";
    refused("split", "count = 6\nclasses = 2", "[methods.a]\n", "6 tasks of 2 classes do not fit 10 outputs");
    refused("split", "count = 5\nclasses = 2\nasked = \"domain\"", "[methods.a]\n", "do not fit 10 outputs");
    refused("split", "count = 5\nclasses = 2\nasked = \"view\"", "[methods.a]\n", "view");
    refused("permuted", "count = 5\nclasses = 2", "[methods.a]\n", "kind \"split\"");
    refused("permuted", "count = 3", "[methods.a]\nreplay = {}\n", "dreams of classes");
    refused("split", split, "[methods.a]\nreplay = { patch = 15 }\n", "do not fit images of 14 x 14");
    refused("split", split, "[methods.a]\nreplay = { latents = 0 }\n", "latents");
    refused("split", split, "[methods.a]\nreplay = { readout = \"classes\", sleep = 3 }\n", "no network learns");
    refused("split", split, "[methods.a]\nrehearsal = 195\n", "195 bytes hold no image");
    refused("split", split, "[methods.a]\njoint = true\nrehearsal = 2000\n", "sees all tasks");
    refused("permuted", "count = 3", "[methods.a]\ncontexts = { budget = 0 }\n", "budget of 0");
    refused("permuted", "count = 3", "[methods.a]\ncontexts = { open = 61 }\n", "61 open units of 60");
    refused("permuted", "count = 3", "[methods.a]\ncontexts = { rule = \"bgd\", window = 10 }\n", "window belongs to");
    refused("permuted", "count = 3", "[methods.a]\ncontexts = {}\npredictive = {}\n", "two ways");
    refused(
        "permuted",
        "count = 3",
        "[methods.a]\ncontexts = {}\nprojection = { method = \"svd\" }\n",
        "does not act on contexts",
    );
    refused("permuted", "count = 3", "[methods.a]\npredictive = { steps = 1 }\n", "1 steps for 2 layers");
    refused("permuted", "count = 3", "[methods.a]\npredictive = { thresholds = [0.1, 0.5] }\n", "0.1 to 0.5");
}

#[test]
fn a_suite_runs_its_parts_with_their_own_settings() {
    let methods = "[methods.sequential]\n[methods.dreams]\nreplay = { latents = 20, filters = 16, patch = 5 }\n\
                   [parts.classes]\n\"tasks.asked\" = \"class\"\n\
                   [parts.same]\nwithout = [\"dreams\"]\nkind = \"permuted\"\ntasks = { count = 2 }\n";
    let text =
        made_up("suite", "count = 5\nclasses = 2", methods).replace("[parts.classes]\n", "[parts.classes]\nkind = \"split\"\n");
    let source = |text: &str| file::source("p.toml", text, &[], false).unwrap();
    let parts = file::parts(&source(&text)).unwrap();
    let read: Vec<_> = parts.iter().map(|(name, part)| (name.as_str(), file::read(part).unwrap())).collect();
    assert_eq!(
        read.iter().map(|p| (p.0, p.1.tasks.count(), p.1.methods.len())).collect::<Vec<_>>(),
        [("classes", 5, 2), ("same", 2, 1)]
    );
    let refused =
        |from: &str, to: &str| file::parts(&source(&text.replace(from, to))).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(refused("\"dreams\"]", "\"dream\"]").contains("no method `dream`"));
    assert!(refused("[parts.same]", "[parts.\"a/b\"]").contains("no name of a part"));
}

/// Runs the short evidence task of `e_prop`, stopped at so many messages.
fn e_prop_run(
    set: &[&str],
    methods: &[&str],
    data: Option<PathBuf>,
    out: &Path,
    resume: bool,
    stop_at: usize,
) -> Result<Results, Error> {
    let (name, text) = file::find(Path::new("e_prop"))?;
    let set: Vec<String> = set.iter().map(|s| s.to_string()).collect();
    let settings = e_prop::file::read(&file::source(&name, &text, &set, true)?)?;
    let mut options = Options::new(out);
    options.resume = resume;
    options.methods = Some(methods.iter().map(|m| m.to_string()).collect());
    options.data = data.into_iter().collect();
    let (stop, mut told) = (AtomicBool::new(false), 0);
    let mut tell = |_: Event| {
        told += 1;
        stop.store(told >= stop_at, Ordering::Relaxed);
    };
    e_prop::run(&settings, &options, &mut tell, &stop)
}

#[test]
fn evidence_is_counted_by_eligibility_traces_and_not_by_the_outputs_alone() {
    let folder = tempfile::tempdir().unwrap();
    let set = ["task.delay=\"50 ms\"", "task.trials=3200", "task.tested=128"];
    let results = e_prop_run(&set, &["symmetric", "outputs_alone"], None, folder.path(), false, usize::MAX).unwrap();
    assert!(results.complete && results.tasks == 1 && results.kind == "e_prop");
    let [learned, alone] = ["symmetric", "outputs_alone"].map(|name| results.of(name).next().unwrap());
    assert!(learned.acc > 0.9 && alone.acc < learned.acc - 0.05, "{} {}", learned.acc, alone.acc);
    assert!(learned.reports[0].starts_with("solved after"), "{:?}", learned.reports);
    assert!(alone.curve.len() == 10 && alone.curve[9].0 == 3200, "{:?}", alone.curve);
}

#[test]
fn eligibility_traces_go_on_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let set = ["task.trials=192", "training.batch=16", "task.every=32", "task.tested=16", "training.schedule=\"linear\""];
    let all = e_prop_run(&set, &["random", "no_adaptation"], None, &whole, false, usize::MAX).unwrap();
    let mut results = e_prop_run(&set, &["random", "no_adaptation"], None, &parts, false, 1).unwrap();
    let mut pieces = 1;
    while !results.complete && pieces < 100 {
        results = e_prop_run(&set, &["random", "no_adaptation"], None, &parts, true, 1).unwrap();
        pieces += 1;
    }
    assert!(pieces > 10, "{pieces} pieces");
    assert_eq!(without_time(&results), without_time(&all));
}

#[test]
fn spoken_digits_are_told_above_chance_and_damaged_recordings_refused() {
    let folder = tempfile::tempdir().unwrap();
    let set = [
        "task={ set = \"spoken\", passes = 2, shift = 2, validation = true }",
        "network.dt=\"10 ms\"",
        "network.learning_rate=0.02",
        "training.batch=32",
    ];
    let none = e_prop_run(&set, &["symmetric"], Some(folder.path().into()), &folder.path().join("none"), false, usize::MAX);
    let none = none.expect_err("there is nothing").to_string();
    assert!(none.contains("not there") && none.contains("--data"), "{none}");
    let own = folder.path().join("fsdd-spikes");
    std::fs::create_dir(&own).unwrap();
    std::fs::write(own.join("fsdd-spikes.bin.gz"), b"nothing of the kind").unwrap();
    let damaged = e_prop_run(&set, &["symmetric"], Some(folder.path().into()), &folder.path().join("none"), false, usize::MAX);
    let damaged = damaged.expect_err("it is damaged").to_string();
    assert!(damaged.contains("fsdd-spikes.bin.gz"), "{damaged}");
    assert!(!folder.path().join("none").exists());
    let Some(data) = shared("data/fsdd-spikes").and_then(|path| path.parent().map(Path::to_path_buf)) else { return };
    let results = e_prop_run(&set, &["symmetric"], Some(data), &folder.path().join("out"), false, usize::MAX).unwrap();
    assert_eq!([results.data.train, results.data.test], [2400, 300]);
    let run = &results.runs[0];
    assert!(run.acc > 0.3 && run.curve.len() == 2 && run.curve[1].0 == 4800, "{run:?}");
}

#[test]
fn mistakes_in_e_prop_are_refused_with_their_place() {
    let (_, text) = file::find(Path::new("e_prop")).unwrap();
    let refused = |from: &str, to: &str, part: &str| {
        assert!(text.contains(from), "the file has no `{from}`");
        let error = check(&text.replacen(from, to, 1), &[], false).expect_err(to);
        let Error::Input(fault) = &error else { panic!("{to}: {error}") };
        assert!(fault.place.is_some() && fault.remedy.is_some(), "{error}");
        assert!(error.to_string().contains(part), "{to}: {error}");
    };
    refused("set = \"evidence\"", "set = \"evident\"", "evident");
    refused("channels = 40", "channels = 42", "42 channels");
    refused("cues = 7", "cues = 8", "8 cues");
    refused("weaker = 0.3", "weaker = 1.3", "1.3");
    refused("signal = \"150 ms\"", "signal = \"0 ms\"", "at least one");
    refused("delay = \"1050 ms\"", "delay = \"1050 mV\"", "mV");
    refused("lif = 50\nalif = 50", "lif = 0\nalif = 0", "0 neurons");
    refused("tau_a = \"2000 ms\"", "tau_a = \"0 ms\"", "tau_a");
    refused("feedback = \"random\"", "feedback = \"randon\"", "randon");
    refused("frozen = true", "frozen = true\ndt = \"2 ms\"", "the same trials");
    refused("frozen = true", "froze = true", "froze");
    refused("batch = 64", "batch = 0", "batch");
    let spoken = |task: &str| check(&text, &[task], false).err().map(|e| e.to_string()).unwrap_or_default();
    assert!(spoken("task={ set = \"spoken\", speaker = 6 }").contains("no speaker 6"));
    assert!(spoken("task={ set = \"spoken\", cues = 3 }").contains("cues"));
    assert_eq!(spoken("task={ set = \"spoken\", speaker = 5 }"), "");
}
