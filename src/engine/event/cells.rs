//! The neurons of one population, each with its own clock, brought forward by the closed forms of its model. Promises exact
//! evolution between inputs and the time of the next threshold crossing. Knows neither synapses nor the queue.

use super::roots::{HIGHEST_POWER, MOST_RATES, Sum};
use super::tape::{Meaning, Tape};
use crate::engine::faults::not_a_number;
use crate::error::{Error, Result};
use crate::expr::Expr;
use crate::model::library::Library;
use crate::model::math::flush64;
use crate::model::{Crossing, EventForm, NeuronModel};
use crate::network::{Cell, NeuronInstance, Population, Values};

/// Words of a neuron's record before its states.
const VALID: usize = 0;
const HELD: usize = 1;
const NEXT: usize = 2;
const QUEUED: usize = 3;
const TOUCHED: usize = 4;
const HEAD: usize = 5;

/// Writes its outputs to states.
#[derive(Clone, Debug)]
struct Update {
    tape: Tape,
    states: Vec<usize>,
}

impl Update {
    #[inline]
    fn apply(&mut self, i: usize, state: &mut [f64], elapsed: f64, weight: f64, current: f64) {
        self.tape.run(i, state, elapsed, weight, current);
        for (k, s) in self.states.iter().enumerate() {
            state[*s] = flush64(self.tape.output(k));
        }
    }
}

#[derive(Clone, Debug)]
enum Threshold {
    /// ms until the crossing.
    Closed(Tape),
    /// Outputs: constant, then amplitude and tau of every term; the powers, and the tau where it is the same for all.
    Exponentials { tape: Tape, terms: Vec<Term> },
}

#[derive(Clone, Copy, Debug)]
struct Term {
    power: usize,
    /// 1/tau and the largest value of s^power exp(-s/tau), where tau is one constant.
    known: Option<(f64, f64)>,
}

impl Term {
    /// 1/tau and the peak of s^power exp(-s/tau).
    fn of(tau: f64, power: usize) -> (f64, f64) {
        let peak = if power == 0 { 1.0 } else { (power as f64 * tau / std::f64::consts::E).powi(power as i32) };
        (1.0 / tau, peak)
    }
}

#[derive(Clone, Debug)]
pub struct Cells {
    name: String,
    pub first: u32,
    pub n: usize,
    /// The state (of those that change) that says how many spikes are emitted; None: one.
    repeats: Option<usize>,
    /// Model state behind each state that changes here; the others keep their initial values.
    moving: Vec<usize>,
    initial: Vec<Values>,
    /// `HEAD` words (ms: states valid at, refractory until, next crossing, earliest queued crossing; a batch number), then states.
    records: Vec<f64>,
    stride: usize,
    /// pA, one a neuron; empty where no current is ever injected.
    current: Vec<f64>,
    advance: Update,
    hold: Update,
    receive: Vec<Update>,
    receive_held: Vec<Update>,
    crossed: Tape,
    threshold: Threshold,
    reset: Update,
    refractory: Tape,
    scratch: Vec<f64>,
}

/// Every state that a form writes anything but itself to, in the model's order.
fn moving_states(model: &NeuronModel, form: &EventForm) -> Vec<usize> {
    let own = |list: &[Expr], s: usize| list.get(s).is_some_and(|e| e.text.trim() != model.states[s].name);
    let written = |updates: &[(usize, Expr)], s: usize| updates.iter().any(|(to, _)| *to == s);
    (0..model.states.len())
        .filter(|&s| {
            own(&form.advance, s)
                || own(&form.hold, s)
                || form.receive.iter().chain(&form.receive_held).any(|u| written(u, s))
                || written(&form.reset, s)
        })
        .collect()
}

/// The built-in models that have closed forms, in words.
fn exact_models() -> String {
    let names = |library: &Library| library.neurons().filter(|m| m.event.is_some()).map(|m| m.name.clone()).collect::<Vec<_>>();
    match Library::built_in() {
        Ok(library) => format!("one of {}", names(library).join(", ")),
        Err(_) => "a model with an [event] section".into(),
    }
}

/// The closed forms of a population's model; None for a source. Refuses a model without.
pub fn closed_form(population: &Population) -> Result<Option<&EventForm>> {
    let Cell::Neuron(instance) = &population.cell else { return Ok(None) };
    let model = &instance.model;
    model.event.as_ref().map(Some).ok_or_else(|| {
        Error::input(
            format!("population `{}`: {} has no closed forms for the event engine", population.name, model.name),
            format!("run it on the cpu or gpu engine, or use {}", exact_models()),
        )
    })
}

/// What a name in a closed form stands for.
fn meaning(instance: &NeuronInstance, moving: &[usize], driven: bool, name: &str) -> Option<Meaning> {
    let model = &*instance.model;
    let constant = |values: &Values| match values {
        Values::Uniform(x) => Meaning::Number(*x),
        Values::Each(each) => Meaning::Each(each.clone()),
    };
    if let Some(s) = model.state(name) {
        return Some(moving.iter().position(|m| *m == s).map_or_else(|| constant(&instance.initial[s]), Meaning::State));
    }
    if model.current.as_ref().is_some_and(|(current, _)| current == name) {
        return Some(if driven { Meaning::Current } else { Meaning::Number(0.0) });
    }
    if let Some(p) = model.param(name) {
        return Some(constant(&instance.params[p]));
    }
    match (name, model.derived.iter().position(|d| d.name == name)) {
        (_, Some(d)) => Some(constant(&instance.derived[d])),
        ("s", None) => Some(Meaning::Elapsed),
        ("w", None) => Some(Meaning::Weight),
        _ => None,
    }
}

impl Cells {
    /// All neurons at time 0. `driven`: a current is injected at some time.
    pub fn new(population: &Population, instance: &NeuronInstance, driven: bool) -> Result<Cells> {
        let model = &*instance.model;
        let Some(form) = closed_form(population)? else {
            return Err(Error::input(format!("population `{}` only emits spikes", population.name), "give it a neuron model"));
        };
        let moving = moving_states(model, form);
        let n = population.n as usize;
        let lookup = |name: &str| meaning(instance, &moving, driven, name);
        let tape = |exprs: Vec<&Expr>| Tape::compile(exprs, &lookup, &model.name);
        let all = |list: &[Expr]| -> Result<Update> {
            let tape = tape(moving.iter().map(|&s| &list[s]).collect())?;
            Ok(Update { tape, states: (0..moving.len()).collect() })
        };
        let some = |list: &[(usize, Expr)]| -> Result<Update> {
            let states = list.iter().filter_map(|(s, _)| moving.iter().position(|m| m == s)).collect();
            Ok(Update { tape: tape(list.iter().map(|(_, e)| e).collect())?, states })
        };
        let ports = |list: &[Vec<(usize, Expr)>]| list.iter().map(|u| some(u)).collect::<Result<Vec<_>>>();
        let threshold = match &form.crossing {
            Crossing::Closed(expr) => Threshold::Closed(tape(vec![expr])?),
            Crossing::Exponentials { constant, terms } => {
                if terms.len() >= MOST_RATES || terms.iter().any(|t| t.power as usize > HIGHEST_POWER) {
                    return Err(Error::input(
                        format!(
                            "{}: a threshold function of {} terms is more than the event engine solves",
                            model.name,
                            terms.len()
                        ),
                        format!("use at most {} terms with powers up to {HIGHEST_POWER}", MOST_RATES - 1),
                    ));
                }
                let exprs = std::iter::once(constant).chain(terms.iter().flat_map(|t| [&t.amplitude, &t.tau])).collect();
                let tape = tape(exprs)?;
                let term = |(k, t): (usize, &crate::model::ExpTerm)| {
                    let power = t.power as usize;
                    Term { power, known: tape.constant(2 + 2 * k).map(|tau| Term::of(tau, power)) }
                };
                Threshold::Exponentials { terms: terms.iter().enumerate().map(term).collect(), tape }
            }
        };
        let mut cells = Cells {
            name: population.name.clone(),
            first: population.first,
            n,
            stride: HEAD + moving.len(),
            records: Vec::new(),
            current: vec![0.0; if driven { n } else { 0 }],
            advance: all(&form.advance)?,
            hold: all(&form.hold)?,
            receive: ports(&form.receive)?,
            receive_held: ports(&form.receive_held)?,
            crossed: tape(vec![&form.crossed])?,
            threshold,
            reset: some(&form.reset)?,
            refractory: tape(vec![&form.refractory])?,
            scratch: vec![0.0; moving.len()],
            initial: instance.initial.clone(),
            repeats: instance.model.repeats.and_then(|state| moving.iter().position(|m| *m == state)),
            moving,
        };
        cells.check_constants()?;
        cells.records = Vec::with_capacity(n * cells.stride);
        for i in 0..n {
            cells.records.extend([0.0, 0.0, f64::INFINITY, f64::INFINITY, -1.0]);
            let initial = &cells.initial;
            cells.records.extend(cells.moving.iter().map(|&s| initial[s].get(i)));
        }
        Ok(cells)
    }

    /// Time constants must be positive, refractory times not negative.
    fn check_constants(&mut self) -> Result<()> {
        let state = vec![0.0; self.moving.len()];
        for i in 0..self.n {
            self.refractory.run(i, &state, 0.0, 0.0, 0.0);
            let refractory = self.refractory.output(0);
            if !(refractory >= 0.0 && refractory.is_finite()) {
                return Err(self.wrong(
                    i,
                    &format!("the refractory time is {refractory} ms"),
                    "give a finite time of at least 0 ms",
                ));
            }
            if let Threshold::Exponentials { tape, terms } = &mut self.threshold {
                tape.run(i, &state, 0.0, 0.0, 0.0);
                for k in 0..terms.len() {
                    let tau = tape.output(2 + 2 * k);
                    if !(tau > 0.0 && tau.is_finite()) {
                        return Err(self.wrong(i, &format!("a time constant is {tau} ms"), "give a finite time above 0 ms"));
                    }
                }
            }
        }
        Ok(())
    }

    fn wrong(&self, i: usize, message: &str, remedy: &str) -> Error {
        Error::input(format!("population `{}`, neuron {i}: {message}", self.name), remedy)
    }

    #[inline]
    fn record(&self, i: usize) -> &[f64] {
        &self.records[i * self.stride..(i + 1) * self.stride]
    }

    #[inline]
    fn current_of(&self, i: usize) -> f64 {
        if self.current.is_empty() { 0.0 } else { self.current[i] }
    }

    /// Bring neuron `i` to time `t` (ms), through the end of its refractory time where that lies between.
    #[inline]
    pub fn settle(&mut self, i: usize, t: f64) {
        let current = self.current_of(i);
        let record = &mut self.records[i * self.stride..(i + 1) * self.stride];
        let (head, state) = record.split_at_mut(HEAD);
        evolve(&mut self.advance, &mut self.hold, i, state, [head[VALID], head[HELD], t], current);
        head[VALID] = t;
    }

    /// Fetch the record of neuron `i` into the cache.
    #[inline]
    pub fn prefetch(&self, i: usize) {
        #[cfg(target_arch = "x86_64")]
        for word in [i * self.stride, (i + 1) * self.stride - 1] {
            if let Some(word) = self.records.get(word) {
                // SAFETY: a prefetch of an address inside the slice has no effect but on the cache.
                unsafe { std::arch::x86_64::_mm_prefetch(word as *const f64 as *const i8, std::arch::x86_64::_MM_HINT_T0) };
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = i;
    }

    /// Weight `w` arrives at port `port`, at the time neuron `i` was last settled to.
    #[inline]
    pub fn receive(&mut self, i: usize, port: usize, w: f64) {
        let current = self.current_of(i);
        let record = &mut self.records[i * self.stride..(i + 1) * self.stride];
        let (head, state) = record.split_at_mut(HEAD);
        let update = if head[VALID] < head[HELD] { &mut self.receive_held[port] } else { &mut self.receive[port] };
        update.apply(i, state, 0.0, w, current);
    }

    /// Whether neuron `i` was not yet touched in `batch`; it now is.
    #[inline]
    pub fn touch(&mut self, i: usize, batch: f64) -> bool {
        let mark = &mut self.records[i * self.stride + TOUCHED];
        let fresh = *mark != batch;
        *mark = batch;
        fresh
    }

    /// At or above threshold, and free to fire, at the time it was last settled to.
    #[inline]
    pub fn crossed(&mut self, i: usize) -> bool {
        let current = self.current_of(i);
        let record = &self.records[i * self.stride..(i + 1) * self.stride];
        if record[VALID] < record[HELD] {
            return false;
        }
        self.crossed.run(i, &record[HEAD..], 0.0, 0.0, current);
        self.crossed.output(0) != 0.0
    }

    /// Reset after a spike at the time it was last settled to; refractory from then on.
    pub fn fire(&mut self, i: usize) {
        let current = self.current_of(i);
        let record = &mut self.records[i * self.stride..(i + 1) * self.stride];
        let (head, state) = record.split_at_mut(HEAD);
        self.refractory.run(i, state, 0.0, 0.0, current);
        self.reset.apply(i, state, 0.0, 0.0, current);
        head[HELD] = head[VALID] + self.refractory.output(0);
    }

    /// How many spikes neuron `i`, at threshold, emits.
    pub fn spikes_of(&self, i: usize) -> usize {
        self.repeats.map_or(1, |state| self.records[i * self.stride + HEAD + state].round() as usize)
    }

    /// Compute the next crossing (ms, infinity for none) from the state as it is, remember and return it. An error when the
    /// state is not a number.
    #[inline]
    pub fn predict(&mut self, i: usize) -> Result<f64> {
        let current = self.current_of(i);
        let record = &mut self.records[i * self.stride..(i + 1) * self.stride];
        let (head, state) = record.split_at_mut(HEAD);
        let (mut from, mut state) = (head[VALID], &*state);
        let mut over = false;
        if from < head[HELD] {
            self.scratch.copy_from_slice(state);
            evolve(&mut self.advance, &mut self.hold, i, &mut self.scratch, [from, head[HELD], head[HELD]], current);
            (from, state) = (head[HELD], &self.scratch);
            self.crossed.run(i, state, 0.0, 0.0, current);
            over = self.crossed.output(0) != 0.0;
        }
        let wait = if over { 0.0 } else { self.threshold.wait(i, state, current) };
        if wait.is_nan() {
            return Err(not_a_number(&self.name, i, head[VALID]));
        }
        head[NEXT] = from + wait.max(0.0);
        Ok(head[NEXT])
    }

    /// The predicted crossing, ms.
    pub fn next(&self, i: usize) -> f64 {
        self.record(i)[NEXT]
    }

    pub fn set_next(&mut self, i: usize, time: f64) {
        self.records[i * self.stride + NEXT] = time;
    }

    /// The earliest entry in the queue for neuron `i`, ms; infinity for none.
    pub fn queued(&self, i: usize) -> f64 {
        self.record(i)[QUEUED]
    }

    pub fn set_queued(&mut self, i: usize, time: f64) {
        self.records[i * self.stride + QUEUED] = time;
    }

    pub fn set_current(&mut self, i: usize, value: f64) {
        self.current[i] = value;
    }

    /// The moving states of neuron `i` at time `t`, not before the time it was settled to; the neuron stays as it is.
    pub fn states_at(&mut self, i: usize, t: f64) {
        let current = self.current_of(i);
        let record = &self.records[i * self.stride..(i + 1) * self.stride];
        self.scratch.copy_from_slice(&record[HEAD..]);
        evolve(&mut self.advance, &mut self.hold, i, &mut self.scratch, [record[VALID], record[HELD], t], current);
    }

    /// Model state `s` of neuron `i` as [`Cells::states_at`] has just left it.
    pub fn sampled(&self, i: usize, s: usize) -> f64 {
        match self.moving.iter().position(|m| *m == s) {
            Some(k) => self.scratch[k],
            None => self.initial[s].get(i),
        }
    }

    /// Every state of the model at time `t`: for each state the low and high half of the f64 of every neuron.
    pub fn halves_at(&mut self, t: f64) -> Vec<Vec<u32>> {
        let mut all: Vec<Vec<u32>> = vec![Vec::with_capacity(2 * self.n); self.initial.len()];
        for i in 0..self.n {
            self.states_at(i, t);
            for (s, out) in all.iter_mut().enumerate() {
                let bits = self.sampled(i, s).to_bits();
                out.extend([bits as u32, (bits >> 32) as u32]);
            }
        }
        all
    }

    /// Clock, end of refractoriness and moving states of every neuron, as bits.
    pub fn save(&self) -> Vec<u64> {
        let keep = |r: &[f64]| -> Vec<u64> { [r[VALID], r[HELD]].iter().chain(&r[HEAD..]).map(|x| x.to_bits()).collect() };
        self.records.chunks_exact(self.stride).flat_map(keep).collect()
    }

    /// The reverse; crossings are then to be predicted again, from the same states and with the same result. With `now`, the
    /// states at that time replace those at the neurons' own clocks: for parameters that were changed in between. False when
    /// the sizes do not fit.
    pub fn load(&mut self, words: &[u64], now: Option<(f64, &[Vec<u32>])>) -> bool {
        let saved = 2 + self.moving.len();
        let halves = |states: &[Vec<u32>]| states.len() == self.initial.len() && states.iter().all(|s| s.len() == 2 * self.n);
        if words.len() != saved * self.n || now.is_some_and(|(_, states)| !halves(states)) {
            return false;
        }
        for (i, words) in words.chunks_exact(saved).enumerate() {
            let record = &mut self.records[i * self.stride..(i + 1) * self.stride];
            let word = |k: usize| f64::from_bits(words[k]);
            record[..HEAD].copy_from_slice(&[word(0), word(1), f64::INFINITY, f64::INFINITY, -1.0]);
            record[HEAD..].iter_mut().enumerate().for_each(|(k, x)| *x = word(2 + k));
            if let Some((t, states)) = now {
                record[VALID] = t;
                let half = |s: usize, k: usize| states[s][2 * i + k] as u64;
                self.moving
                    .iter()
                    .zip(&mut record[HEAD..])
                    .for_each(|(&s, x)| *x = f64::from_bits(half(s, 0) | half(s, 1) << 32));
            }
        }
        true
    }
}

/// From `from` to `to` (ms): held until `held`, free afterwards.
#[inline]
fn evolve(advance: &mut Update, hold: &mut Update, i: usize, state: &mut [f64], [mut from, held, to]: [f64; 3], current: f64) {
    if from < held {
        let end = held.min(to);
        hold.apply(i, state, end - from, 0.0, current);
        from = end;
    }
    if from < to {
        advance.apply(i, state, to - from, 0.0, current);
    }
}

impl Threshold {
    /// ms until a free neuron below threshold reaches it.
    #[inline]
    fn wait(&mut self, i: usize, state: &[f64], current: f64) -> f64 {
        match self {
            Threshold::Closed(tape) => {
                tape.run(i, state, 0.0, 0.0, current);
                tape.output(0)
            }
            Threshold::Exponentials { tape, terms } => {
                tape.run(i, state, 0.0, 0.0, current);
                let constant = tape.output(0);
                // Most arrivals lead nowhere: all positive terms at their peaks together stay below threshold.
                let mut bound = constant;
                for (k, term) in terms.iter().enumerate() {
                    let (_, peak) = term.known.unwrap_or_else(|| Term::of(tape.output(2 + 2 * k), term.power));
                    let amplitude = tape.output(1 + 2 * k);
                    // Not max(), which would hide a NaN.
                    bound += if amplitude <= 0.0 { 0.0 } else { amplitude * peak };
                }
                if bound < 0.0 {
                    return f64::INFINITY;
                }
                if bound.is_nan() {
                    return bound;
                }
                let mut sum = Sum::new(constant);
                for (k, term) in terms.iter().enumerate() {
                    let (rate, _) = term.known.unwrap_or_else(|| Term::of(tape.output(2 + 2 * k), term.power));
                    sum.add(tape.output(1 + 2 * k), rate, term.power);
                }
                sum.first_crossing()
            }
        }
    }
}
