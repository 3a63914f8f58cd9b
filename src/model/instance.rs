//! A model with values: defaults, bounds, derived constants and initial states for one population or projection. Promises that
//! what is per neuron stays so and what is uniform is computed once. Knows no engine.

use super::kernel::Operand;
use super::{Constant, Derived, NeuronModel, Param, Recordable, Requirement, State, SynapseModel, Ty};
use crate::error::{Error, Result, nearest};
use crate::expr::{Bound, Expr};
use crate::rng::{Purpose, key, philox4x32};
use std::ops::Range;
use std::sync::Arc;

/// One value for all, or one an element.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// The same for all.
    Uniform(f64),
    /// In the order of the elements.
    Each(Arc<[f64]>),
}

impl Values {
    /// The value of element `i`.
    #[inline]
    pub fn get(&self, i: usize) -> f64 {
        match self {
            Values::Uniform(x) => *x,
            Values::Each(v) => v[i],
        }
    }
    /// Whether one value serves all elements.
    pub fn is_uniform(&self) -> bool {
        matches!(self, Values::Uniform(_))
    }
}

/// A model with its parameters for one population.
#[derive(Clone, Debug)]
pub struct NeuronInstance {
    /// The equations.
    pub model: Arc<NeuronModel>,
    /// In the order of `model.params`.
    pub params: Vec<Values>,
    /// In the order of `model.derived`.
    pub derived: Vec<Values>,
    /// Initial state in the order of `model.states`.
    pub initial: Vec<Values>,
    /// Steps of the model's own within one step of the network, at least 1.
    pub substeps: u32,
}

/// A synapse model with its parameters for one projection.
#[derive(Clone, Debug)]
pub struct SynapseInstance {
    /// The equations; those of a static synapse are empty.
    pub model: Arc<SynapseModel>,
    /// In the order of `model.params` and `model.derived`; uniform in a projection.
    pub params: Vec<f64>,
    /// In the order of `model.derived`.
    pub derived: Vec<f64>,
    /// Initial state in the order of `model.states`.
    pub initial: Vec<f64>,
}

/// A constant or initial state as the code sees it: 32-bit words, the same for all or one an element.
#[derive(Clone, Debug, PartialEq)]
pub enum Words {
    /// The same for all.
    Uniform(u32),
    /// In the order of the elements.
    Each(Arc<[u32]>),
}

impl Words {
    /// The word of element `i`.
    pub fn get(&self, i: usize) -> u32 {
        match self {
            Words::Uniform(word) => *word,
            Words::Each(words) => words[i],
        }
    }
    /// As a kernel takes it, for the elements of a range.
    pub fn operand(&self, range: Range<usize>) -> Operand<'_> {
        match self {
            Words::Uniform(word) => Operand::Uniform(*word),
            Words::Each(words) => Operand::Lanes(&words[range]),
        }
    }
}

/// A number as a word of a type: f32 rounds to nearest, denormal ones to 0; integers round towards zero and saturate.
pub fn word(value: f64, ty: Ty) -> u32 {
    match ty {
        Ty::F32 if (value as f32).is_subnormal() => 0,
        Ty::F32 => (value as f32).to_bits(),
        Ty::I32 => value as i32 as u32,
        Ty::U32 => value as u32,
        Ty::Bool => (value != 0.0) as u32,
    }
}

/// A word of a type as a number.
pub fn number(word: u32, ty: Ty) -> f64 {
    match ty {
        Ty::F32 => f32::from_bits(word) as f64,
        Ty::I32 => word as i32 as f64,
        Ty::U32 => word as f64,
        Ty::Bool => (word != 0) as u8 as f64,
    }
}

fn words(values: &Values, ty: Ty) -> Words {
    match values {
        Values::Uniform(x) => Words::Uniform(word(*x, ty)),
        Values::Each(all) => Words::Each(all.iter().map(|x| word(*x, ty)).collect()),
    }
}

/// Named values, from which expressions are computed.
#[derive(Default)]
struct Table {
    names: Vec<String>,
    values: Vec<Values>,
}

impl Table {
    fn add(&mut self, name: &str, values: Values) {
        self.names.push(name.to_string());
        self.values.push(values);
    }

    /// Last entry of that name.
    fn find(&self, name: &str) -> Option<usize> {
        self.names.iter().rposition(|n| n == name)
    }

    /// One value when everything that the expression reads is uniform, else one an element.
    fn eval(&self, expr: &Expr) -> Result<Values> {
        let used: Vec<usize> = expr.names().filter_map(|n| self.find(n)).collect();
        let bound = expr.bind(|name| used.iter().position(|u| self.names[*u] == name)).map_err(|name| {
            Error::input(format!("`{name}` in `{}` is not known", expr.text), "use parameters listed before it")
        })?;
        let mut slots = vec![0.0; used.len()];
        let Some(n) = used.iter().find_map(|u| if let Values::Each(all) = &self.values[*u] { Some(all.len()) } else { None })
        else {
            used.iter().zip(&mut slots).for_each(|(u, slot)| *slot = self.values[*u].get(0));
            return Ok(Values::Uniform(bound.eval(&slots)));
        };
        let each = (0..n).map(|i| {
            used.iter().zip(&mut slots).for_each(|(u, slot)| *slot = self.values[*u].get(i));
            bound.eval(&slots)
        });
        Ok(Values::Each(each.collect()))
    }
}

fn all(values: &Values) -> &[f64] {
    match values {
        Values::Uniform(x) => std::slice::from_ref(x),
        Values::Each(all) => all,
    }
}

/// Parameters in the order of the model: given values, or defaults over the parameters before.
fn parameters(model: &str, params: &[Param], given: &[(String, Values)], table: &mut Table) -> Result<Vec<Values>> {
    let names = || params.iter().map(|p| p.name.as_str());
    if let Some((name, _)) = given.iter().find(|(name, _)| !names().any(|n| n == name)) {
        let remedy = nearest(name, names())
            .map_or_else(|| format!("it has {}", names().collect::<Vec<_>>().join(", ")), |n| format!("did you mean `{n}`?"));
        return Err(Error::input(format!("{model} has no parameter `{name}`"), remedy));
    }
    let mut lengths = given.iter().filter_map(|(name, v)| if let Values::Each(all) = v { Some((name, all.len())) } else { None });
    if let Some((first, n)) = lengths.next()
        && let Some((name, m)) = lengths.find(|(_, m)| *m != n)
    {
        return Err(Error::input(
            format!("`{first}` has {n} values and `{name}` {m}"),
            "give every parameter one value, or one a neuron",
        ));
    }
    for param in params {
        let values = match given.iter().rev().find(|(name, _)| *name == param.name) {
            Some((_, values)) => values.clone(),
            None => table.eval(&param.default)?,
        };
        for (i, value) in all(&values).iter().enumerate() {
            if let Err(bound) = param.check(*value) {
                let whose = if values.is_uniform() { String::new() } else { format!("neuron {i}: ") };
                return Err(Error::input(
                    format!("{whose}{} of {model} is {value} {} and must be {bound}", param.name, param.unit),
                    format!("change {}", param.name),
                ));
            }
        }
        table.add(&param.name, values);
    }
    Ok(table.values.clone())
}

/// Refuses parameters between which a relation does not hold: the first neuron, its values and the relation.
fn required(model: &str, list: &[Requirement], params: &[Param], table: &Table) -> Result<()> {
    for Requirement { relation, message } in list {
        let holds = table.eval(relation)?;
        let Some(i) = all(&holds).iter().position(|x| *x == 0.0 || x.is_nan()) else { continue };
        let mut names: Vec<&str> = relation.names().collect();
        names.dedup();
        let shown = |name: &&str| {
            let unit = params.iter().find(|p| p.name == **name).map_or("ms", |p| &p.unit);
            let value = table.find(name).map_or(f64::NAN, |at| table.values[at].get(i));
            if unit == "1" { format!("{name} = {value}") } else { format!("{name} = {value} {unit}") }
        };
        let values = names.iter().map(shown).collect::<Vec<_>>().join(", ");
        let whose = if holds.is_uniform() { model.to_string() } else { format!("neuron {i} ({model})") };
        let remedy = match (message, holds.is_uniform()) {
            (Some(message), true) => message.clone(),
            (Some(message), false) => format!("{message}; limit a distribution with low and high"),
            (None, true) => format!("change {}", names.join(" or ")),
            (None, false) => format!("change {}; limit a distribution with low and high", names.join(" or ")),
        };
        return Err(Error::input(format!("{whose} needs {}, and has {values}", relation.text), remedy));
    }
    Ok(())
}

fn checked(model: &str, name: &str, ty: Ty, values: Values) -> Result<Values> {
    let limits = match ty {
        // Infinite ones were meant.
        Ty::F32 if all(&values).iter().all(|x| x.is_infinite() || x.abs() <= f32::MAX as f64) => {
            (f64::NEG_INFINITY, f64::INFINITY)
        }
        Ty::F32 => (-f32::MAX as f64, f32::MAX as f64),
        Ty::Bool => (f64::NEG_INFINITY, f64::INFINITY),
        Ty::I32 => (i32::MIN as f64, i32::MAX as f64),
        Ty::U32 => (0.0, u32::MAX as f64),
    };
    match all(&values).iter().find(|x| !(limits.0..=limits.1).contains(*x)) {
        Some(x) if x.is_nan() => Err(Error::input(
            format!("{name} of {model} is not a number with these parameters"),
            "change the parameters it is computed from",
        )),
        Some(x) => Err(Error::input(
            match ty {
                Ty::F32 => format!("{name} of {model} is {x:e} with these parameters, beyond 32-bit arithmetic"),
                _ => format!("{name} of {model} is {x} with these parameters, which a whole number of 32 bits cannot hold"),
            },
            "change the parameters it is computed from",
        )),
        None => Ok(values),
    }
}

fn derived(model: &str, list: &[Derived], table: &mut Table) -> Result<Vec<Values>> {
    let mut computed = vec![];
    for derived in list {
        let values = checked(model, &derived.name, derived.ty, table.eval(&derived.value)?)?;
        table.add(&derived.name, values.clone());
        computed.push(values);
    }
    Ok(computed)
}

fn initial(model: &str, states: &[State], table: &Table) -> Result<Vec<Values>> {
    let value = |s: &State| if s.is_random() { Ok(Values::Uniform(0.0)) } else { table.eval(&s.init) };
    states.iter().map(|s| checked(model, &s.name, s.ty, value(s)?)).collect()
}

fn constants(list: &[Constant], params: &[Param], derived: &[Derived], values: impl Fn(usize, bool) -> Words) -> Vec<Words> {
    let find = |c: &Constant| match params.iter().position(|p| p.name == c.name) {
        Some(i) => values(i, false),
        None => values(derived.iter().position(|d| d.name == c.name).unwrap_or(0), true),
    };
    list.iter().map(find).collect()
}

impl NeuronInstance {
    /// A model with the parameters given (others take their defaults), on a grid of `dt` ms. Every `Values::Each` must have one
    /// value a neuron. Refuses unknown names, values out of bounds, and constants that are not numbers.
    pub fn new(model: &Arc<NeuronModel>, given: &[(String, Values)], dt: f64) -> Result<NeuronInstance> {
        let mut table = Table::default();
        let params = parameters(&model.name, &model.params, given, &mut table)?;
        table.add("dt", Values::Uniform(dt));
        let substeps = match &model.substeps {
            None => 1,
            Some(expr) => {
                let values = table.eval(expr)?;
                let most = all(&values).iter().copied().fold(0.0, |a: f64, b| if b.is_nan() { b } else { a.max(b) });
                if !(1.0..=1e6).contains(&most.ceil()) {
                    return Err(Error::input(
                        format!("{} would take {most} substeps a step", model.name),
                        "the number must lie between 1 and 1e6; change dt or the parameters",
                    ));
                }
                most.ceil() as u32
            }
        };
        table.add("h", Values::Uniform(dt / substeps as f64));
        required(&model.name, &model.requires, &model.params, &table)?;
        let derived = derived(&model.name, &model.derived, &mut table)?;
        let initial = initial(&model.name, &model.states, &table)?;
        Ok(NeuronInstance { model: model.clone(), params, derived, initial, substeps })
    }

    /// The constants that the code reads, in the order of `model.constants`.
    pub fn constants(&self) -> Vec<Words> {
        let value = |i: usize, is_derived: bool| match is_derived {
            false => words(&self.params[i], Ty::F32),
            true => words(&self.derived[i], self.model.derived[i].ty),
        };
        constants(&self.model.constants, &self.model.params, &self.model.derived, value)
    }

    /// Initial states in the order of `model.states`.
    pub fn initial_words(&self) -> Vec<Words> {
        self.initial.iter().zip(&self.model.states).map(|(v, s)| words(v, s.ty)).collect()
    }

    /// A host expression over states, parameters, derived constants and `more` names, made ready to be computed for any neuron.
    pub fn bind(&self, expr: &Expr, more: &[&str]) -> std::result::Result<Recorder, String> {
        let model = &self.model;
        let value = |name: &str| match model.param(name) {
            Some(p) => Some(self.params[p].clone()),
            None => model.derived.iter().position(|d| d.name == name).map(|d| self.derived[d].clone()),
        };
        Recorder::of(expr, &model.states, value, more)
    }

    /// What a probe of that name records; refuses unknown names.
    pub fn recorder(&self, name: &str) -> Result<Recorder> {
        let unknown = || unknown(&self.model.name, &self.model.recordables, name);
        let recordable = self.model.recordable(name).ok_or_else(unknown)?;
        self.bind(&recordable.value, &[]).map_err(|_| unknown())
    }
}

/// The refusal of a name that a model does not record.
fn unknown(model: &str, known: &[Recordable], name: &str) -> Error {
    let names = || known.iter().map(|r| r.name.as_str());
    let remedy = match nearest(name, names()) {
        Some(n) => format!("did you mean `{n}`?"),
        None if known.is_empty() => "it has no states; name another model".into(),
        None => format!("it has {}", names().collect::<Vec<_>>().join(", ")),
    };
    Error::input(format!("{model} records no `{name}`"), remedy)
}

/// A recordable of a population.
#[derive(Clone, Debug)]
pub struct Recorder {
    value: Bound,
    reads: Vec<Read>,
}

#[derive(Clone, Debug)]
enum Read {
    State(usize, Ty),
    Value(Values),
    More(usize),
}

impl Recorder {
    /// Of an expression over states, named values and `more` names; the name that is none of them otherwise.
    fn of(
        expr: &Expr,
        states: &[State],
        value: impl Fn(&str) -> Option<Values>,
        more: &[&str],
    ) -> std::result::Result<Recorder, String> {
        let mut reads = vec![];
        for name in expr.names() {
            reads.push(if let Some(s) = states.iter().position(|s| s.name == name) {
                Read::State(s, states[s].ty)
            } else if let Some(values) = value(name) {
                Read::Value(values)
            } else if let Some(i) = more.iter().position(|m| *m == name) {
                Read::More(i)
            } else {
                return Err(name.to_string());
            });
        }
        let names: Vec<&str> = expr.names().collect();
        let value = expr.bind(|name| names.iter().position(|n| *n == name))?;
        Ok(Recorder { value, reads })
    }

    /// The value for neuron `i` (local id) whose state words are given by `state(index)`.
    pub fn value(&self, i: usize, state: impl Fn(usize) -> u32) -> f64 {
        self.value_with(i, |s, ty| number(state(s), ty), &[])
    }

    /// The same with states as numbers, and the values of the `more` names it was bound with.
    pub fn value_with(&self, i: usize, state: impl Fn(usize, Ty) -> f64, more: &[f64]) -> f64 {
        let read = |read: &Read| match read {
            Read::State(s, ty) => state(*s, *ty),
            Read::Value(values) => values.get(i),
            Read::More(m) => more[*m],
        };
        if self.reads.len() <= 8 {
            let mut slots = [0.0; 8];
            self.reads.iter().zip(&mut slots).for_each(|(r, slot)| *slot = read(r));
            return self.value.eval(&slots);
        }
        self.value.eval(&self.reads.iter().map(read).collect::<Vec<f64>>())
    }
}

impl SynapseInstance {
    /// A model with the parameters given (others take their defaults), on a grid of `dt` ms; a signal that it reads stays.
    pub fn new(model: &Arc<SynapseModel>, given: &[(String, f64)], dt: f64) -> Result<SynapseInstance> {
        Self::modulated(model, given, dt, f64::INFINITY)
    }

    /// The same for a signal that decays with `tau_modulator` ms.
    pub fn modulated(model: &Arc<SynapseModel>, given: &[(String, f64)], dt: f64, tau_modulator: f64) -> Result<SynapseInstance> {
        let given: Vec<(String, Values)> = given.iter().map(|(n, x)| (n.clone(), Values::Uniform(*x))).collect();
        let mut table = Table::default();
        let params = parameters(&model.name, &model.params, &given, &mut table)?;
        table.add("dt", Values::Uniform(dt));
        table.add("h", Values::Uniform(dt));
        required(&model.name, &model.requires, &model.params, &table)?;
        table.add("tau_modulator", Values::Uniform(tau_modulator));
        let derived = derived(&model.name, &model.derived, &mut table)?;
        let initial = initial(&model.name, &model.states, &table)?;
        let plain = |list: Vec<Values>| list.iter().map(|v| v.get(0)).collect();
        Ok(SynapseInstance { model: model.clone(), params: plain(params), derived: plain(derived), initial: plain(initial) })
    }

    /// The constants that the code reads, in the order of `model.constants`.
    pub fn constants(&self) -> Vec<Words> {
        let value = |i: usize, is_derived: bool| match is_derived {
            false => Words::Uniform(word(self.params[i], Ty::F32)),
            true => Words::Uniform(word(self.derived[i], self.model.derived[i].ty)),
        };
        constants(&self.model.constants, &self.model.params, &self.model.derived, value)
    }

    /// What is recorded of each synapse under a name; the one name more that it is computed with is `elapsed`.
    ///
    /// # Errors
    /// The model records nothing of that name.
    pub fn recorder(&self, name: &str) -> Result<Recorder> {
        let model = &self.model;
        let unknown = || unknown(&model.name, &model.recordables, name);
        let recordable = model.recordables.iter().find(|r| r.name == name).ok_or_else(unknown)?;
        let value = |name: &str| match model.params.iter().position(|p| p.name == name) {
            Some(p) => Some(Values::Uniform(self.params[p])),
            None => model.derived.iter().position(|d| d.name == name).map(|d| Values::Uniform(self.derived[d])),
        };
        Recorder::of(&recordable.value, &model.states, value, &["elapsed"]).map_err(|_| unknown())
    }

    /// An expression over parameters.
    pub fn evaluate(&self, expr: &Expr) -> Result<f64> {
        let place = |name: &str| self.model.params.iter().position(|p| p.name == name);
        let bound = expr.bind(place).map_err(|name| {
            Error::input(format!("`{name}` in `{}` of {} is not known", expr.text, self.model.name), "use parameters")
        })?;
        Ok(bound.eval(&self.params))
    }

    /// Largest weight of a plastic synapse (negative where weights are); None for others. Refuses one that is no finite number.
    pub fn bound(&self) -> Result<Option<f64>> {
        let Some(plasticity) = &self.model.plasticity else { return Ok(None) };
        match self.evaluate(&plasticity.bound)? {
            bound if bound.is_finite() && bound != 0.0 => Ok(Some(bound)),
            bound => Err(Error::input(
                format!("{}: {bound} is no bound of weights", self.model.name),
                format!("give {} a finite value other than 0; its sign is that of the weights", plasticity.bound.text),
            )),
        }
    }

    /// What a random state of a synapse starts with, the same on every engine: `seed` of the network, index of the projection, of
    /// the state in `model.states`, and of the synapse in canonical order.
    pub fn random_word(seed: u64, projection: usize, state: usize, synapse: u64) -> u32 {
        let counter = [synapse as u32, (synapse >> 32) as u32, state as u32, Purpose::SynapseParameter as u32];
        philox4x32(counter, key(seed, projection as u32))[0]
    }

    /// Initial states in the order of `model.states`; random ones are 0 here.
    pub fn initial_words(&self) -> Vec<u32> {
        self.initial.iter().zip(&self.model.states).map(|(v, s)| word(*v, s.ty)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::library::Library;

    fn each(values: &[f64]) -> Values {
        Values::Each(values.into())
    }

    #[test]
    fn defaults_follow_other_parameters_and_stay_uniform_where_they_can() {
        let model = Library::built_in().unwrap().neuron("iaf_psc_exp").unwrap();
        let given = [("E_L".to_string(), each(&[-70.0, -65.0])), ("tau_m".to_string(), Values::Uniform(20.0))];
        let instance = NeuronInstance::new(&model, &given, 0.1).unwrap();
        assert_eq!(instance.params[model.param("V_m").unwrap()], each(&[-70.0, -65.0]));
        let theta = model.derived.iter().position(|d| d.name == "theta").unwrap();
        assert_eq!(instance.derived[theta], each(&[15.0, 10.0]));
        let names: Vec<&str> = model.constants.iter().map(|c| c.name.as_str()).collect();
        let words = instance.constants();
        assert_eq!(
            words[names.iter().position(|n| *n == "theta").unwrap()],
            Words::Each([15f32.to_bits(), 10f32.to_bits()].into())
        );
        assert_eq!(words[names.iter().position(|n| *n == "ref_steps").unwrap()], Words::Uniform(20));
        assert_eq!(words.iter().filter(|w| matches!(w, Words::Each(_))).count(), 2);
        assert_eq!(instance.initial_words()[0].get(1), 0);
        let recorder = instance.recorder("V_m").unwrap();
        assert_eq!(recorder.value(1, |_| 2.5f32.to_bits()), -62.5);
    }

    #[test]
    fn refusals() {
        let model = Library::built_in().unwrap().neuron("iaf_psc_exp").unwrap();
        let said = |given: &[(String, Values)], dt: f64| NeuronInstance::new(&model, given, dt).unwrap_err().to_string();
        let one = |name: &str, value: f64| [(name.to_string(), Values::Uniform(value))];
        assert_eq!(said(&one("tau", 1.0), 0.1), "iaf_psc_exp has no parameter `tau` (did you mean `tau_m`?)");
        assert_eq!(said(&one("tau_m", 0.0), 0.1), "tau_m of iaf_psc_exp is 0 ms and must be above 0 (change tau_m)");
        assert!(said(&one("C_m", f64::NAN), 0.1).contains("must be a number"));
        assert!(said(&one("C_m", 1e-40), 0.1).contains("R_m of iaf_psc_exp is 1e41 with these parameters, beyond 32-bit"));
        assert!(said(&one("t_ref", 1e12), 0.1).contains("which a whole number of 32 bits cannot hold"));
        let two = [("E_L".to_string(), each(&[1.0, 2.0])), ("C_m".to_string(), each(&[1.0, 2.0, 3.0]))];
        assert!(said(&two, 0.1).contains("`E_L` has 2 values and `C_m` 3"));
        let instance = NeuronInstance::new(&model, &[], 0.1).unwrap();
        assert_eq!(instance.recorder("V").unwrap_err().to_string(), "iaf_psc_exp records no `V` (did you mean `V_m`?)");
    }

    /// Amplitudes of a train through the kernel, against the recursion of the paper in f64.
    #[test]
    fn short_term_plasticity_follows_its_recursion() {
        let model = Library::built_in().unwrap().synapse("tsodyks2_synapse").unwrap();
        let (u0, tau_rec, tau_fac) = (0.25, 500.0, 200.0);
        let given = [("U", u0), ("tau_rec", tau_rec), ("tau_fac", tau_fac)].map(|(n, x)| (n.to_string(), x));
        let instance = SynapseInstance::new(&model, &given, 0.1).unwrap();
        let (words, kernel) = (instance.constants(), model.kernel().unwrap());
        let operands: Vec<Operand> = words.iter().map(|w| w.operand(0..1)).collect();
        let mut states: Vec<Vec<u32>> = instance.initial_words().iter().map(|w| vec![*w]).collect();
        let (mut x, mut u) = (1.0, u0);
        for (k, gap) in [f64::INFINITY, 50.0, 50.0, 20.0, 550.0, 1400.0].into_iter().enumerate() {
            if k > 0 {
                x = 1.0 + (x - x * u - 1.0) * (-gap / tau_rec).exp();
                u = u0 + u * (1.0 - u0) * (-gap / tau_fac).exp();
            }
            let (w, elapsed, mut psc) = ([250.0f32], [gap as f32], [0u32]);
            let mut views: Vec<&mut [u32]> = states.iter_mut().map(Vec::as_mut_slice).collect();
            let inputs = [&w[..], &elapsed[..]];
            let mut lanes =
                super::super::kernel::Lanes { n: 1, constants: &operands, states: &mut views, inputs: &inputs, output: &mut psc };
            kernel.run(&mut lanes, 1, &mut Default::default());
            let got = f32::from_bits(psc[0]) as f64;
            assert!((got - 250.0 * x * u).abs() < 1e-4 * got, "spike {k}: {got} {}", 250.0 * x * u);
        }
    }
}
