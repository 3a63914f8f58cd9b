//! Digits learned without labels: the network against a naive simulation of the same equations with the same spikes in, learning
//! against its control, and runs that are stopped and taken up again.

use crate::common::{Collected, shared};
use sharpwave::model::library::Library;
use sharpwave::protocol::diehl_cook::{EXCITATORY, INPUT, PLASTIC, Results, Settings, Told, file::read, run};
use sharpwave::protocol::{Options, file};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn settings(overrides: &[&str], quick: bool) -> Result<Settings, sharpwave::error::Error> {
    let (name, text) = file::find(Path::new("diehl_cook_2015"))?;
    let overrides: Vec<String> = overrides.iter().map(|o| o.to_string()).collect();
    read(&file::source(&name, &text, &overrides, quick)?, Library::built_in()?)
}

/// The equations of the paper in f64, dense arrays, Runge-Kutta steps of 0.01 ms; every event of the rule when it happens. Parameters are
/// those of the authors' script, not read from any file.
struct Naive {
    inputs: usize,
    n: usize,
    /// inputs x neurons
    w: Vec<f64>,
    v: Vec<f64>,
    ge: Vec<f64>,
    gi: Vec<f64>,
    theta: Vec<f64>,
    held: Vec<u32>,
    vi: Vec<f64>,
    gei: Vec<f64>,
    held_i: Vec<u32>,
    /// Steps at which each source and neuron spiked last, as the synapses see it.
    pre: Vec<Option<u64>>,
    post: Vec<Option<u64>>,
    /// Spikes of the step before, on their way.
    inputs_due: Vec<usize>,
    e_due: Vec<usize>,
    i_due: Vec<usize>,
    now: u64,
    /// Inhibition goes through inhibitory neurons.
    relay: bool,
    margin: f64,
}

const DT: f64 = 0.5;

/// dv/dt = (rest - v + ge (e_ex - v) + gi (e_in - v)) / c with conductances decaying over 1 and 2 ms, for one step.
fn membrane(v: &mut f64, ge: f64, gi: f64, [rest, e_in, c]: [f64; 3]) {
    let h = 0.01;
    let slope = |v: f64, t: f64| (rest - v - ge * (-t).exp() * v + gi * (-t / 2.0).exp() * (e_in - v)) / c;
    for k in 0..(DT / h).round() as usize {
        let t = k as f64 * h;
        let k1 = slope(*v, t);
        let k2 = slope(*v + h / 2.0 * k1, t + h / 2.0);
        let k3 = slope(*v + h / 2.0 * k2, t + h / 2.0);
        let k4 = slope(*v + h * k3, t + h);
        *v += h / 6.0 * (k1 + 2.0 * (k2 + k3) + k4);
    }
}

impl Naive {
    fn new(inputs: usize, n: usize, w: Vec<f64>, relay: bool) -> Naive {
        Naive {
            inputs,
            n,
            w,
            v: vec![-105.0; n],
            ge: vec![0.0; n],
            gi: vec![0.0; n],
            theta: vec![20.0; n],
            held: vec![0; n],
            vi: vec![-100.0; n],
            gei: vec![0.0; n],
            held_i: vec![0; n],
            pre: vec![None; inputs],
            post: vec![None; n],
            inputs_due: vec![],
            e_due: vec![],
            i_due: vec![],
            now: 0,
            relay,
            margin: f64::INFINITY,
        }
    }

    fn normalise(&mut self, sum: f64) {
        for j in 0..self.n {
            let all: f64 = (0..self.inputs).map(|i| self.w[i * self.n + j]).sum();
            (0..self.inputs).for_each(|i| self.w[i * self.n + j] = (self.w[i * self.n + j] * sum / all).min(1.0));
        }
    }

    /// A step at whose end these sources spike; gives the excitatory and inhibitory neurons that do.
    fn step(&mut self, sources: &[usize]) -> (Vec<usize>, Vec<usize>) {
        self.now += 1;
        let (now, n) = (self.now, self.n);
        let (e_due, i_due) = (std::mem::take(&mut self.e_due), std::mem::take(&mut self.i_due));
        for j in 0..n {
            if self.held[j] == 0 {
                membrane(&mut self.v[j], self.ge[j], self.gi[j], [-65.0, -100.0, 100.0]);
            }
            if self.held_i[j] == 0 {
                membrane(&mut self.vi[j], self.gei[j], 0.0, [-60.0, -85.0, 10.0]);
            }
            self.held[j] = self.held[j].saturating_sub(1);
            self.held_i[j] = self.held_i[j].saturating_sub(1);
            self.ge[j] *= (-DT).exp();
            self.gi[j] *= (-DT / 2.0).exp();
            self.gei[j] *= (-DT).exp();
            self.theta[j] *= (-DT / 1e7f64).exp();
        }
        for i in std::mem::take(&mut self.inputs_due) {
            (0..n).for_each(|j| self.ge[j] += self.w[i * n + j]);
        }
        if self.relay {
            e_due.iter().for_each(|j| self.gei[*j] += 10.4);
        }
        for i in if self.relay { &i_due } else { &e_due } {
            (0..n).filter(|j| j != i).for_each(|j| self.gi[j] += 17.0);
        }
        // On the clock of the synapses a spike of the target counts a delay later; first these, then the spikes of sources.
        let since = |last: u64| (now - last) as f64 * DT;
        for &j in &e_due {
            let slow = self.post[j].map_or(0.0, |last| (-since(last) / 40.0).exp());
            for i in 0..self.inputs {
                let fast = self.pre[i].map_or(0.0, |last| (-since(last) / 20.0).exp());
                let w = &mut self.w[i * n + j];
                *w = (*w + 0.01 * fast * slow).min(1.0);
            }
        }
        for &i in sources {
            for j in 0..n {
                let trace = self.post[j].map_or(0.0, |last| (-since(last) / 20.0).exp());
                let w = &mut self.w[i * n + j];
                *w = (*w - 1e-4 * trace).max(0.0);
            }
        }
        sources.iter().for_each(|i| self.pre[*i] = Some(now));
        e_due.iter().for_each(|j| self.post[*j] = Some(now));
        self.inputs_due = sources.to_vec();
        for j in 0..n {
            let above = self.v[j] - (self.theta[j] - 20.0 - 52.0);
            self.margin = self.margin.min(above.abs());
            if above > 0.0 {
                self.v[j] = -65.0;
                self.theta[j] += 0.05;
                self.held[j] = 10;
                self.e_due.push(j);
            }
            if self.vi[j] > -40.0 {
                self.vi[j] = -45.0;
                self.held_i[j] = 4;
                self.i_due.push(j);
            }
        }
        (self.e_due.clone(), self.i_due.clone())
    }
}

#[test]
fn a_naive_simulation_spikes_and_learns_alike() {
    [false, true].into_iter().for_each(agree);
}

fn agree(relay: bool) {
    let (inputs, n) = (100, 12);
    let s = settings(&["network.sizes=[100, 12, 2]", &format!("network.relay={relay}")], false).unwrap();
    let net = Arc::new(s.network.clone());
    let mut engine = crate::common::open(&net, "cpu", 1).unwrap();
    let weights = |engine: &mut dyn sharpwave::engine::Engine| -> Vec<f64> {
        let mut w = vec![0.0; inputs * n];
        for (i, j, weight) in engine.weights(PLASTIC).unwrap() {
            w[i as usize * n + j as usize - inputs] = weight as f64;
        }
        w
    };
    let mut naive = Naive::new(inputs, n, weights(engine.as_mut()), relay);
    let (mut spikes, mut changed) = (0, 0.0f64);
    for digit in 0..6 {
        let before = naive.w.clone();
        engine.scale_weights(PLASTIC, &|_, sum| 20.0 / sum).unwrap();
        naive.normalise(20.0);
        let lit = |i: usize| (i * 7 + digit * 31) % 100 < 40;
        let rates: Vec<f64> = (0..inputs).map(|i| if lit(i) { 100.0 } else { 0.0 }).collect();
        for (steps, rates) in [(700, rates), (300, vec![0.0; inputs])] {
            engine.set_rates(INPUT, &rates).unwrap();
            let mut seen = Collected::default();
            engine.advance(steps, &mut seen).unwrap();
            let mut theirs = seen.spikes.iter().map(|s| ((s.time / DT).round() as u64, s.id as usize)).peekable();
            for _ in 0..steps {
                let now = naive.now + 1;
                let at: Vec<usize> = std::iter::from_fn(|| theirs.next_if(|s| s.0 == now)).map(|s| s.1).collect();
                let sources: Vec<usize> = at.iter().copied().filter(|id| *id < inputs).collect();
                let (e, i) = naive.step(&sources);
                let own: Vec<usize> = e.iter().map(|j| inputs + j).chain(i.iter().map(|j| inputs + n + j)).collect();
                assert_eq!(&at[sources.len()..], own, "relay {relay}, step {now}, digit {digit}, margin {} mV", naive.margin);
                spikes += e.len();
            }
        }
        engine.scale_weights(PLASTIC, &|_, _| 1.0).unwrap();
        for (a, b) in weights(engine.as_mut()).iter().zip(&naive.w) {
            assert!((a - b).abs() < 1e-5 * b.abs().max(0.01), "digit {digit}: {a} for {b}");
        }
        changed = changed.max(naive.w.iter().zip(&before).fold(0.0, |m, (a, b)| m.max((a - b).abs())));
    }
    assert!(spikes > 60 && changed > 0.05, "{spikes} spikes, change {changed}");
    let state = engine.snapshot().unwrap();
    let sharpwave::network::Cell::Neuron(cell) = &net.populations[EXCITATORY].cell else { panic!("neurons") };
    let theta = &state.states[EXCITATORY][cell.model.state("th").unwrap()];
    for (word, theta) in theta.iter().zip(&naive.theta) {
        assert!((f32::from_bits(*word) as f64 - theta).abs() < 2e-3, "{} {theta}", f32::from_bits(*word));
    }
}

fn learn(s: &Settings, out: &Path, data: Option<&Path>, resume: bool, digits: Option<u64>) -> Results {
    let mut options = Options::new(out);
    (options.resume, options.data) = (resume, data.iter().map(|d| d.to_path_buf()).collect());
    let (stop, left) = (AtomicBool::new(false), AtomicU64::new(digits.unwrap_or(u64::MAX)));
    let tell = &mut |told: Told| {
        if let Told::Phase(..) = told
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            stop.store(true, Ordering::Relaxed);
        }
    };
    run(s, &options, tell, &stop).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn a_stopped_run_goes_on_bit_for_bit() {
    let s = settings(&["training.digits=60", "training.every=20", "training.labelling=20", "data.test=20"], true).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let one = learn(&s, &whole, None, false, None);
    assert!(one.complete && one.curve.len() == 2);
    let first = learn(&s, &parts, None, false, Some(27));
    assert!(!first.complete && first.outcome.is_none());
    // Once more while the test goes on.
    let second = learn(&s, &parts, None, true, Some(40));
    assert!(!second.complete && second.digits == 60);
    let last = learn(&s, &parts, None, true, None);
    assert_eq!(one.weights, last.weights);
    assert_eq!((&one.curve, one.presentations, one.spikes_per_digit), (&last.curve, last.presentations, last.spikes_per_digit));
    let facts = |r: &Results| r.outcome.clone().map(|o| (o.confusion, o.class));
    assert_eq!(facts(&one), facts(&last));
    let drawn = sharpwave::plot::digits(&parts, &last).unwrap();
    assert!(drawn.iter().any(|f| f.ends_with("fields.png")) && drawn.iter().any(|f| f.ends_with("index.html")));
    // Neither overwritten unasked, nor mixed with another rule.
    let none = AtomicBool::new(false);
    let mut options = Options::new(parts.clone());
    assert!(run(&s, &options, &mut |_| (), &none).unwrap_err().to_string().contains("exists already"));
    let other = settings(&["training.digits=60", "network.inhibit=3"], true).unwrap();
    options.resume = true;
    let refused = run(&other, &options, &mut |_| (), &none).unwrap_err().to_string();
    assert!(refused.contains("other settings"), "{refused}");
}

#[test]
fn digits_are_told_after_learning_and_not_without() {
    let Some(data) = shared("data") else { return };
    let overrides = [
        "network.sizes=[784, 60, 10]",
        "data.train=500",
        "data.test=200",
        "training.digits=500",
        "training.every=250",
        "training.labelling=500",
    ];
    let folder = tempfile::tempdir().unwrap();
    let accuracy = |name: &str, more: &[&str]| {
        let s = settings(&[&overrides[..], more].concat(), false).unwrap();
        let results = learn(&s, &folder.path().join(name), Some(&data), false, None);
        let outcome = results.outcome.unwrap();
        assert_eq!(outcome.confusion.iter().flatten().sum::<u64>(), 200);
        outcome.accuracy
    };
    let (learned, control) = (accuracy("learned", &[]), accuracy("control", &["training.plasticity=false"]));
    assert!(learned > 0.45 && learned > control + 0.1, "{learned} with learning, {control} without");
}

#[test]
fn what_cannot_be_run_is_refused() {
    let refused = |overrides: &[&str]| match settings(overrides, false) {
        Err(error) => error.to_string(),
        Ok(_) => panic!("{overrides:?} is taken"),
    };
    for (setting, message) in [
        ("network.sizes=[784, 10]", "2 sizes"),
        ("network.sizes=[784, 1, 10]", "a network of 784 inputs, 1 neurons"),
        ("network.synapse.model=static_synapse", "static_synapse keeps its weight"),
        ("network.excitatory.model=qif_psc_delta", "parameter"),
        ("network.synapse.params.tau=3", "unknown key `tau`"),
        ("presentation.time=0.3", "present"),
        ("training.normalise=0", "normalise"),
        ("training.digit=5", "unknown key `digit`"),
        ("data.noise=0.5", "noise belongs to the data set `patterns`"),
    ] {
        let error = refused(&[setting]);
        assert!(error.contains(message) || message == "present" && error.contains("whole number of steps"), "{setting}: {error}");
    }
    // Labels and images that do not fit.
    let folder = tempfile::tempdir().unwrap();
    let bars = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/scenarios");
    let set = folder.path().join("bars");
    std::fs::create_dir(&set).unwrap();
    for part in ["train", "t10k"] {
        std::fs::copy(bars.join("bars-images.idx3-ubyte"), set.join(format!("{part}-images-idx3-ubyte"))).unwrap();
        std::fs::copy(bars.join("bars-labels.idx1-ubyte"), set.join(format!("{part}-labels-idx1-ubyte"))).unwrap();
    }
    for (sizes, message) in [("[784, 10, 4]", "12 x 12 pixels"), ("[144, 10, 2]", "outside the network's 2 classes")] {
        let s = settings(&["data.set=bars", &format!("network.sizes={sizes}")], false).unwrap();
        let mut options = Options::new(folder.path().join("out"));
        options.data = vec![folder.path().into()];
        let error = run(&s, &options, &mut |_| (), &AtomicBool::new(false)).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
