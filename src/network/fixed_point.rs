//! How the weights onto a port are summed in integers, for every population and port: which share one unit and one 32-bit sum, and
//! which are summed digit by digit ([`Digits`]). Promises that constant and given weights keep 1e-6 of themselves, that drawn ones
//! keep 1e-3 of their projection's median, that what dynamic synapses transmit keeps every bit, that no weight but 0 becomes 0 and
//! that no sum wraps, or refuses; and that synapses fit 16 bits where they can. Knows weights, and no connectivity beyond in-degrees.

use super::connectivity::{expected, indegree_bound};
use super::digits::{Digits, GIVEN_BITS, Kept, LEAST_EXPONENT, MOST_DIGITS, exponent};
use super::inputs::{DriveKind, SpikeSource, step_of};
use super::{Cell, Network, Projection, Rule};
use crate::error::{Error, Result};
use crate::model::Sign;
use std::collections::{HashMap, HashSet};

/// Largest weight of a narrow synapse, in units.
pub const NARROW: f64 = 32_767.0;
/// Relative accuracy of constant and given weights.
const ACCURACY: f64 = 1e-6;
/// Accuracy of drawn weights, relative to their median magnitude.
const DRAWN_ACCURACY: f64 = 1e-3;
/// All but this share of the values of a distribution are larger than its least.
const RARE: f64 = 1e-6;
/// Units that the widest value of any drawn weights has at least.
const COARSEST: f64 = 1024.0;
/// Resolution of weights that need not fit 16 bits: the largest has this many units.
const FINE: f64 = (1 << 20) as f64;
/// A dynamic synapse may transmit this many times its stored weight.
const DYNAMIC_HEADROOM: f64 = 16.0;
/// The same of a plastic one, and its largest weight: no more than rounding.
const PLASTIC_HEADROOM: f64 = 1.001;
/// Given weights with more distinct magnitudes than this are a distribution.
const FEW: usize = 64;
/// Candidates that a search looks at.
const TRIES: u64 = 1 << 20;

/// Ports that positive and negative weights of a projection reach; None where the model has none for that sign.
pub fn ports(net: &Network, projection: &Projection) -> Result<[Option<usize>; 2]> {
    let population = &net.populations[projection.target];
    let refuse =
        |message: String, remedy: &str| Err(Error::input(format!("projection `{}`: {message}", projection.name), remedy));
    let Cell::Neuron(instance) = &population.cell else {
        return refuse(format!("its target `{}` only emits spikes", population.name), "project onto a population of neurons");
    };
    let ports = &instance.model.ports;
    match projection.port {
        Some(port) if port < ports.len() => Ok([Some(port); 2]),
        Some(port) => refuse(
            format!("model `{}` has no port {port}, it has {}", instance.model.name, ports.len()),
            "name one of the model's receptors",
        ),
        None => {
            let positive = ports.iter().position(|p| matches!(p.sign, Sign::Positive | Sign::Any));
            let negative = ports.iter().position(|p| matches!(p.sign, Sign::Negative { .. } | Sign::Any));
            Ok([positive, negative])
        }
    }
}

/// Weights of a projection before they are drawn.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Weights {
    /// Few distinct magnitudes (zero left out), ascending.
    Constants(Vec<f64>),
    /// All but one in a million are at most `reach` and at least `least`; at most `bound` after clipping. `median` of the
    /// magnitudes other than 0.
    Drawn { reach: f64, bound: f64, median: f64, least: f64 },
    /// Many given magnitudes from `least` (zero left out) to `bound`.
    Given { least: f64, bound: f64 },
    /// Whatever a rule makes of them, up to `bound`.
    Plastic { bound: f64 },
}

impl Weights {
    pub fn bound(&self) -> f64 {
        match self {
            Weights::Constants(values) => values.iter().fold(0.0, |a: f64, &b| a.max(b)),
            Weights::Drawn { bound, .. } | Weights::Given { bound, .. } | Weights::Plastic { bound } => *bound,
        }
    }

    /// The smallest magnitude that has to be met, other than 0.
    fn least(&self) -> f64 {
        match self {
            Weights::Constants(values) => values.iter().fold(f64::INFINITY, |a: f64, &b| a.min(b)),
            Weights::Given { least, .. } => *least,
            Weights::Drawn { median, .. } => DRAWN_ACCURACY * median,
            Weights::Plastic { .. } => f64::INFINITY,
        }
    }

    /// Whether whole units of `q` are accurate enough.
    fn fit(&self, q: f64) -> bool {
        match self {
            Weights::Constants(values) => values.iter().all(|c| error(*c, q) <= ACCURACY),
            Weights::Given { least, .. } => 0.5 * q <= ACCURACY * least,
            // Of less than half a unit one unit is left.
            Weights::Drawn { median, least, .. } => {
                let farthest = if *least < 0.5 * q { q } else { 0.5 * q };
                farthest <= DRAWN_ACCURACY * median
            }
            Weights::Plastic { .. } => false,
        }
    }

    /// How digits hold them, and the exponent of the smallest unit that this takes.
    fn digits(&self) -> (Kept, i32) {
        match self {
            Weights::Drawn { median, .. } => {
                let grid = exponent(DRAWN_ACCURACY * median);
                (Kept::Grid(grid), grid)
            }
            _ => (Kept::Relative, exponent(self.least()) + 1 - GIVEN_BITS),
        }
    }
}

/// Weights of a projection, and whether positive (or zero) and negative ones occur.
pub(crate) fn weights(projection: &Projection) -> (Weights, [bool; 2]) {
    if let Rule::Explicit(edges) = &projection.rule
        && let Some(given) = &edges.weight
    {
        let signs = [given.iter().any(|w| *w >= 0.0), given.iter().any(|w| *w < 0.0)];
        let mut distinct = HashSet::new();
        let few = given.iter().filter(|w| **w != 0.0).all(|w| {
            distinct.insert(w.abs().to_bits());
            distinct.len() <= FEW
        });
        if few {
            let mut values: Vec<f64> = distinct.into_iter().map(|b| f32::from_bits(b) as f64).collect();
            values.sort_by(f64::total_cmp);
            return (Weights::Constants(values), signs);
        }
        let (least, bound) =
            given.iter().filter(|w| **w != 0.0).fold((f32::INFINITY, 0.0f32), |(a, b), w| (a.min(w.abs()), b.max(w.abs())));
        return (Weights::Given { least: least as f64, bound: bound as f64 }, signs);
    }
    let moments = projection.weight.moments();
    let signs = [moments.max >= 0.0, moments.min < 0.0];
    match projection.weight.constant() {
        Some(x) => (Weights::Constants(if x == 0.0 { Vec::new() } else { vec![x.abs()] }), signs),
        None => {
            let draw = &projection.weight;
            let (median, least) = (draw.magnitude(0.5), draw.magnitude(RARE));
            (Weights::Drawn { reach: draw.reach(), bound: moments.min.abs().max(moments.max.abs()), median, least }, signs)
        }
    }
}

/// Weights of a projection as they may become, and the signs that occur. A plastic weight stays within its bound, on its side.
pub(crate) fn reachable(projection: &Projection) -> Result<(Weights, [bool; 2])> {
    let (weights, signs) = weights(projection);
    let Some(bound) = projection.synapse.bound().map_err(|e| within(projection, e))? else { return Ok((weights, signs)) };
    let side = (bound < 0.0) as usize;
    let moments = projection.weight.moments();
    let (low, high) = match &projection.rule {
        Rule::Explicit(edges) if edges.weight.is_some() => {
            edges.weight.iter().flatten().fold((0.0f64, 0.0f64), |(a, b), &w| (a.min(w as f64), b.max(w as f64)))
        }
        _ => (moments.min, moments.max),
    };
    let wrong = if side == 0 { low < 0.0 } else { high > 0.0 };
    if wrong {
        let (sign, limit) = if side == 0 { ("negative", "low = 0.0") } else { ("positive", "high = 0.0") };
        return Err(Error::input(
            format!(
                "projection `{}`: a weight may be {sign}, and the bound of {} is {bound}",
                projection.name, projection.synapse.model.name
            ),
            format!("give the weights and the bound the same sign (limits with {limit}, redraw = true)"),
        ));
    }
    Ok((Weights::Plastic { bound: weights.bound().max(bound.abs()) }, [side == 0, side == 1]))
}

fn within(projection: &Projection, error: Error) -> Error {
    match error {
        Error::Input(fault) => {
            let remedy = fault.remedy.unwrap_or_else(|| "change the parameters of its synapse".into());
            Error::input(format!("projection `{}`: {}", projection.name, fault.message), remedy)
        }
        other => other,
    }
}

/// True when the synapses of a projection run code of their own.
pub fn is_dynamic(projection: &Projection) -> bool {
    projection.synapse.model.program.is_some()
}

/// The most that a dynamic synapse may transmit, None for a static one. Plastic weights end at their bound.
pub fn limit(projection: &Projection) -> Result<Option<f64>> {
    if !is_dynamic(projection) {
        return Ok(None);
    }
    let headroom = if projection.synapse.model.plasticity.is_some() { 1.0 } else { DYNAMIC_HEADROOM };
    Ok(Some(headroom * reachable(projection)?.0.bound()))
}

/// What is summed digit by digit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exact {
    /// Per population and port; None where the plain sum is all.
    digits: Vec<Vec<Option<Digits>>>,
    /// How static weights are kept: of each projection those of zero or more, and the negative ones.
    projections: Vec<[Kept; 2]>,
    drives: Vec<Kept>,
}

impl Exact {
    /// The digits of a port; None where static synapses onto it need none.
    pub fn digits(&self, population: usize, port: usize) -> Option<Digits> {
        *self.digits.get(population)?.get(port)?
    }

    /// How weights of zero or more (0), or negative ones (1), are kept.
    pub fn projection(&self, projection: usize, sign: usize) -> Kept {
        self.projections.get(projection).map_or(Kept::Plain, |kept| kept[sign])
    }

    /// How the weight of a drive is kept.
    pub fn drive(&self, drive: usize) -> Kept {
        self.drives.get(drive).copied().unwrap_or_default()
    }

    /// Whether static synapses have digits anywhere.
    pub fn has_synapses(&self) -> bool {
        self.projections.iter().flatten().any(|kept| *kept != Kept::Plain)
    }

    /// Accumulators of a neuron with so many ports: one a port, then one a digit.
    pub fn planes(&self, population: usize, ports: usize) -> u32 {
        let digits = self.digits.get(population).into_iter().flatten().flatten();
        ports as u32 + digits.map(|d| d.count).sum::<u32>()
    }
}

/// Whose weights reach a port.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Whose {
    /// Positive (or zero), and negative ones.
    Projection(usize, [bool; 2]),
    Drive(usize),
}

/// Weights that reach a port.
#[derive(Clone, Debug)]
struct Part {
    whose: Whose,
    weights: Weights,
    /// Summands onto one neuron in one step at most.
    count: f64,
    /// Of dynamic synapses the most that one may transmit, in its largest weights.
    headroom: Option<f64>,
    /// What it costs to take digits.
    cost: f64,
}

impl Part {
    fn largest(&self) -> f64 {
        self.weights.bound() * self.headroom.unwrap_or(1.0)
    }

    fn name(&self, net: &Network) -> String {
        match self.whose {
            Whose::Projection(p, _) => format!("projection `{}`", net.projections[p].name),
            Whose::Drive(d) => format!("drive `{}`", net.drives[d].name),
        }
    }
}

/// What one sum of 32 bits has to hold.
#[derive(Clone, Debug, Default, PartialEq)]
struct Demand {
    /// Magnitudes to be met within ACCURACY.
    constants: Vec<f64>,
    /// Reaches of drawn weights.
    drawn: Vec<f64>,
    /// The finest grid that given magnitudes want.
    given: f64,
    /// Bound of the sum of magnitudes, and of the number of summands, onto one neuron in one step.
    sum: f64,
    count: f64,
}

/// Weight of one unit of the plain sum, per population and port (empty for populations that only emit), and what is summed in digits.
///
/// # Errors
/// A projection onto a population without ports, or weights on one port that not even digits can hold.
pub fn quanta(net: &Network) -> Result<(Vec<Vec<f64>>, Exact)> {
    for projection in &net.projections {
        super::connectivity::check(net, projection)?;
    }
    let mut parts: Vec<Vec<Vec<Part>>> = net
        .populations
        .iter()
        .map(|p| match &p.cell {
            Cell::Neuron(instance) => vec![Vec::new(); instance.model.ports.len()],
            Cell::Source(_) => Vec::new(),
        })
        .collect();
    for (p, projection) in net.projections.iter().enumerate() {
        let (weights, signs) = reachable(projection)?;
        let reached = ports(net, projection)?;
        let headroom = match (is_dynamic(projection), &projection.synapse.model.plasticity) {
            (true, None) => Some(DYNAMIC_HEADROOM),
            (true, Some(_)) => Some(PLASTIC_HEADROOM),
            (false, _) => None,
        };
        let count = indegree_bound(net, projection) * multiplicity(net, projection.source);
        let cost = expected(net, projection);
        for port in 0..parts[projection.target].len() {
            let here = [0, 1].map(|s| signs[s] && reached[s] == Some(port));
            if here != [false; 2] {
                let whose = Whose::Projection(p, here);
                parts[projection.target][port].push(Part { whose, weights: weights.clone(), count, headroom, cost });
            }
        }
    }
    for (d, drive) in net.drives.iter().enumerate() {
        if let DriveKind::Poisson { rate, weight, port } = &drive.kind {
            let Some(population) = net.populations.get(drive.population) else { continue };
            let n = population.n as usize;
            let most = (0..if rate.is_uniform() { 1 } else { n }).fold(0.0, |m: f64, i| m.max(rate.get(i)));
            if let Some(parts) = parts[drive.population].get_mut(*port).filter(|_| *weight != 0.0) {
                let (weights, count) = (Weights::Constants(vec![weight.abs()]), poisson_bound(most * net.dt * 1e-3));
                // A drive counts its events anew for every digit.
                parts.push(Part { whose: Whose::Drive(d), weights, count, headroom: None, cost: f64::INFINITY });
            }
        }
    }
    let mut exact = Exact {
        digits: Vec::with_capacity(parts.len()),
        projections: vec![[Kept::Plain; 2]; net.projections.len()],
        drives: vec![Kept::Plain; net.drives.len()],
    };
    let mut quanta = Vec::with_capacity(parts.len());
    for (population, ports) in net.populations.iter().zip(parts) {
        let (mut own, mut digits, mut first) = (Vec::new(), Vec::new(), ports.len() as u32);
        for parts in ports {
            let (quantum, long) = divide(net, parts).map_err(|e| onto(&population.name, e))?;
            for part in long.iter().filter(|part| part.headroom.is_none()) {
                match part.whose {
                    Whose::Projection(p, signs) => {
                        (0..2).filter(|s| signs[*s]).for_each(|s| exact.projections[p][s] = part.weights.digits().0);
                    }
                    Whose::Drive(d) => exact.drives[d] = part.weights.digits().0,
                }
            }
            let chosen = choose_digits(net, &long, first).map_err(|e| onto(&population.name, e))?;
            first += chosen.map_or(0, |d| d.count);
            own.push(quantum);
            digits.push(chosen);
        }
        quanta.push(own);
        exact.digits.push(digits);
    }
    Ok((quanta, exact))
}

fn onto(population: &str, message: String) -> Error {
    Error::input(
        format!("population `{population}`: {message}"),
        "bring the weights closer together, lower the in-degree, or use different receptors or --engine event",
    )
}

/// Divides the weights onto one port: the unit of those that share the plain sum, and those that are summed in digits. What dynamic
/// synapses transmit takes any value; otherwise digits are for the fewest synapses.
fn divide(net: &Network, mut parts: Vec<Part>) -> std::result::Result<(f64, Vec<Part>), String> {
    parts.retain(|part| part.weights.bound() > 0.0);
    let sum: f64 = parts.iter().map(|part| part.largest() * part.count).sum();
    if let Some(part) = parts.iter().filter(|_| sum >= f32::MAX as f64).max_by(|a, b| a.largest().total_cmp(&b.largest())) {
        let (name, largest) = (part.name(net), part.weights.bound());
        return Err(format!("{name} has weights up to {largest}, and their sum is beyond the largest number of 32 bits"));
    }
    let small = |part: &&Part| part.headroom.is_none() && part.weights.least() < f32::MIN_POSITIVE as f64;
    if let Some(part) = parts.iter().find(small) {
        return Err(format!(
            "{} has weights down to {:e}, which numbers of 32 bits do not hold",
            part.name(net),
            part.weights.least()
        ));
    }
    let (mut long, mut plain): (Vec<Part>, Vec<Part>) = parts.into_iter().partition(|part| part.headroom.is_some());
    loop {
        let quantum = Demand::of(&plain).choose();
        let misfits: Vec<usize> = match quantum {
            Some(q) => (0..plain.len()).filter(|&k| !plain[k].weights.fit(q)).collect(),
            None => {
                let least = (0..plain.len()).min_by(|&a, &b| plain[a].weights.least().total_cmp(&plain[b].weights.least()));
                let most = (0..plain.len()).max_by(|&a, &b| plain[a].largest().total_cmp(&plain[b].largest()));
                least.into_iter().chain(most).collect()
            }
        };
        match misfits.into_iter().min_by(|&a, &b| plain[a].cost.total_cmp(&plain[b].cost)) {
            Some(k) => long.push(plain.remove(k)),
            None => return Ok((quantum.unwrap_or(1.0), long)),
        }
    }
}

/// The digits that hold these weights, from the plane `first` on.
fn choose_digits(net: &Network, parts: &[Part], first: u32) -> std::result::Result<Option<Digits>, String> {
    let Some(largest) = parts.iter().max_by(|a, b| a.largest().total_cmp(&b.largest())) else { return Ok(None) };
    let dynamic = parts.iter().any(|part| part.headroom.is_some());
    let count: f64 = parts.iter().map(|part| part.count).sum();
    let Some(bits) = Digits::width(count, dynamic) else {
        return Err(format!("{count:.0} synapses onto one neuron are more than a sum in digits can hold"));
    };
    // Above the largest, with room for a carry.
    let top = exponent(largest.largest()) + 3;
    let fixed = parts.iter().filter(|part| part.headroom.is_none());
    let least = fixed.min_by_key(|part| part.weights.digits().1);
    let wanted = least.map_or(top - 1, |part| part.weights.digits().1);
    let (count, lowest) = if dynamic {
        // As far down as whole digits below the largest go, for a plastic weight may become anything; a smaller static weight takes
        // one more, the unit of which is still a number.
        let count = ((top - LEAST_EXPONENT).max(0) as u32 / bits).clamp(1, MOST_DIGITS);
        match (top - (count * bits) as i32).max(LEAST_EXPONENT) {
            lowest if wanted < lowest && LEAST_EXPONENT + ((count * bits) as i32) <= f32::MAX_EXP - 1 => {
                (count + 1, LEAST_EXPONENT)
            }
            lowest => (count, lowest),
        }
    } else {
        (((top - wanted) as u32).div_ceil(bits), wanted)
    };
    if let Some(least) = least.filter(|_| wanted < lowest.max(LEAST_EXPONENT) || count > MOST_DIGITS) {
        return Err(format!(
            "{} has weights down to {:e} and {} transmits up to {:e}, too far apart for one receptor, or too small",
            least.name(net),
            least.weights.least(),
            largest.name(net),
            largest.largest()
        ));
    }
    Ok(Some(Digits { first, count, bits, lowest }))
}

/// More events than a Poisson variable of this mean shows (probability of more below 2^-32, where the counts end).
fn poisson_bound(mean: f64) -> f64 {
    mean + 8.0 * mean.sqrt() + 16.0
}

/// Most spikes of one source in one step that accumulators have room for.
pub fn multiplicity(net: &Network, population: usize) -> f64 {
    multiplicity_of(net, population, &mut Vec::new())
}

/// The same; `asked` are the populations of which it is being found out, as parrots may repeat one another.
fn multiplicity_of(net: &Network, population: usize, asked: &mut Vec<usize>) -> f64 {
    /// A list of spikes has no room for more.
    const MOST: f64 = 65_535.0;
    match &net.populations[population].cell {
        Cell::Neuron(neuron) if neuron.model.repeats.is_none() => 1.0,
        Cell::Neuron(_) if asked.contains(&population) => MOST,
        Cell::Neuron(_) => {
            asked.push(population);
            let onto = net.projections.iter().filter(|p| p.target == population);
            let repeated: f64 = onto.map(|p| indegree_bound(net, p) * multiplicity_of(net, p.source, asked)).sum();
            asked.pop();
            let drives = net.drives.iter().filter(|d| d.population == population).map(|drive| match &drive.kind {
                DriveKind::Poisson { rate, .. } => {
                    let n = if rate.is_uniform() { 1 } else { net.populations[population].n as usize };
                    poisson_bound((0..n).fold(0.0, |m: f64, i| m.max(rate.get(i))) * net.dt * 1e-3)
                }
                _ => 0.0,
            });
            (repeated + drives.sum::<f64>()).clamp(1.0, MOST)
        }
        Cell::Source(SpikeSource::Poisson { rate, .. }) => {
            let n = if rate.is_uniform() { 1 } else { net.populations[population].n as usize };
            poisson_bound((0..n).fold(0.0, |m: f64, i| m.max(rate.get(i))) * net.dt * 1e-3)
        }
        Cell::Source(SpikeSource::Course(course)) => {
            poisson_bound(course.peak(net.populations[population].n as usize) * net.dt * 1e-3)
        }
        Cell::Source(SpikeSource::Trains(trains)) => {
            let mut most = 1u32;
            let mut step = None;
            let mut count = HashMap::new();
            for (&time, &source) in trains.time.iter().zip(&trains.source) {
                let at = step_of(time, net.dt);
                if step.replace(at) != Some(at) {
                    count.clear();
                }
                let n = count.entry(source).or_insert(0);
                *n += 1;
                most = most.max(*n);
            }
            most as f64
        }
        // Of latencies at most one a presentation, which is no shorter than a step.
        Cell::Source(SpikeSource::Presentation(shown)) => poisson_bound((shown.rate(u8::MAX) * net.dt * 1e-3).max(1.0)),
    }
}

impl Demand {
    fn of(parts: &[Part]) -> Demand {
        let mut demand = Demand::default();
        parts.iter().for_each(|part| demand.add(&part.weights, part.count));
        demand
    }

    fn add(&mut self, weights: &Weights, count: f64) {
        let bound = weights.bound();
        self.sum += bound * count;
        self.count += count;
        match weights {
            Weights::Constants(values) => self.constants.extend(values),
            Weights::Drawn { reach, .. } => self.drawn.push(reach.max(bound / NARROW)),
            Weights::Given { least, bound } => {
                let wanted = (bound / FINE).min(2.0 * ACCURACY * least);
                self.given = if self.given > 0.0 { self.given.min(wanted) } else { wanted };
            }
            Weights::Plastic { .. } => {}
        }
    }

    /// The grid that weights without exact values want: drawn ones use the whole 16 bits, but the smallest are not lost beside
    /// the largest; given ones are as fine as FINE and as the smallest of them asks.
    fn grid(&self) -> Option<f64> {
        let widest = self.drawn.iter().copied().fold(0.0, f64::max) / NARROW;
        let wanted = self.drawn.iter().map(|reach| widest.min(reach / COARSEST)).chain([self.given]);
        wanted.filter(|q| *q > 0.0).reduce(f64::min)
    }

    /// None: weights too far apart for one sum.
    fn choose(&self) -> Option<f64> {
        if self.sum == 0.0 {
            return Some(1.0);
        }
        // Every summand may be rounded up by half a unit.
        let least = self.sum / (i32::MAX as f64 - 0.5 * self.count).max(1.0);
        let grid = self.grid();
        let Some(largest) = self.constants.iter().copied().reduce(f64::max) else {
            return Some(grid.unwrap_or(1.0).max(least));
        };
        let smallest = self.constants.iter().copied().fold(largest, f64::min);
        let worst = |k: u64| self.constants.iter().map(|c| error(*c, largest / k as f64)).fold(0.0, f64::max);
        let exact = |k: &u64| worst(*k) <= ACCURACY;
        // Some whole number of units in the largest constant serves all of them: the smallest such number, or with a grid that is
        // wanted the one just above the grid (below it for given weights, which are wide anyway).
        let most = |q: f64| (largest / q.max(least) * (1.0 + 1e-12)) as u64;
        let found = match grid {
            None => (1..=most(least).min(TRIES)).find(exact),
            Some(grid) if self.given > 0.0 => {
                let from = ((largest / grid).ceil() as u64).max(1);
                (from..=most(least).min(from.saturating_add(TRIES / 16))).find(exact)
            }
            Some(grid) => (most(grid) / 2 + 1..=most(grid)).rev().take(TRIES as usize).find(exact),
        };
        if let Some(k) = found {
            return Some(largest / k as f64);
        }
        let wanted = grid.unwrap_or(largest).min(2.0 * ACCURACY * smallest);
        if wanted > least {
            return Some(largest / (largest / wanted).ceil().max(1.0));
        }
        // 32 bits do not hold the wanted accuracy: the best of the finest grids.
        let k = most(least).max(1);
        let candidates = (k - (k / 2).min(TRIES / 16)).max(1)..=k;
        let best = candidates.map(|k| (k, worst(k))).min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((k, worst(k)));
        let q = largest / best.0 as f64;
        (q >= least && best.1 <= 0.01).then_some(q)
    }
}

/// Relative error of a magnitude in units of `q`.
fn error(magnitude: f64, q: f64) -> f64 {
    let units = magnitude / q;
    (units - units.round()).abs() / units
}

#[cfg(test)]
mod tests {
    use super::super::testing::{network, normal, one_port, projection, source, synapse};
    use super::super::{Draw, Limits};
    use super::*;
    use crate::stimulus::Trains;
    use proptest::prelude::*;
    use std::sync::Arc;

    fn demand(constants: &[f64], drawn: &[f64], count: f64) -> Demand {
        let largest = constants.iter().chain(drawn).copied().fold(0.0, f64::max);
        Demand { constants: constants.to_vec(), drawn: drawn.to_vec(), sum: largest * count, count, ..Default::default() }
    }

    #[test]
    fn commensurable_constants_are_exact_and_narrow() {
        let q = demand(&[0.1, 0.5], &[], 1000.0).choose().unwrap();
        assert!((0.1 / q - 1.0).abs() < 1e-9, "the coarsest grid is one tenth, not {q}");
        let q = demand(&[87.8, 175.6, 351.2], &[], 8000.0).choose().unwrap();
        assert!((87.8 / q - 1.0).abs() < 1e-9);
        // The large one does not fit 16 bits; the small one still does.
        assert_eq!(demand(&[1.0, 50_000.0], &[], 1000.0).choose().unwrap(), 1.0);
    }

    #[test]
    fn small_drawn_weights_are_not_lost_beside_large_ones() {
        let q = demand(&[], &[1000.0, 0.01], 10.0).choose().unwrap();
        assert!(0.01 / q > 0.999 * COARSEST && 1e4 / q < i32::MAX as f64);
        let q = demand(&[1000.0], &[0.01], 10.0).choose().unwrap();
        assert!(0.01 / q > 1000.0 && error(1000.0, q) < ACCURACY);
    }

    #[test]
    fn a_constant_shares_the_grid_of_drawn_weights() {
        let q = demand(&[87.8], &[263.0], 8000.0).choose().unwrap();
        assert!(error(87.8, q) < 1e-9 && 263.0 / q <= NARROW && 263.0 / q > 0.9 * NARROW);
    }

    #[test]
    fn incommensurable_constants_go_wide_or_as_near_as_32_bits_allow() {
        let constants = [std::f64::consts::PI, 1.0, std::f64::consts::E, 2f64.sqrt(), 3f64.sqrt(), 5f64.sqrt(), 7f64.cbrt()];
        let q = demand(&constants, &[], 100.0).choose().unwrap();
        assert!(constants.iter().all(|c| error(*c, q) <= ACCURACY), "wide weights keep 1e-6");
        let crowded = demand(&constants, &[], 1e5);
        let q = crowded.choose().unwrap();
        assert!(crowded.sum / q < i32::MAX as f64 && constants.iter().all(|c| error(*c, q) < 1e-3));
        assert!(demand(&[1e-9, 1.0], &[], 1e4).choose().is_none());
    }

    #[test]
    fn nothing_to_sum_has_a_quantum() {
        assert_eq!(Demand::default().choose().unwrap(), 1.0);
    }

    /// Distributions that 16 bits hold well enough keep the unit that they always had, wider ones take digits.
    #[test]
    fn distributions_take_digits_where_a_unit_loses_them() {
        let lognormal = |sigma: f64| Draw::Lognormal { mu: 0.0, sigma, limits: Limits::NONE };
        for (draw, plain) in [
            (normal(87.8, 8.78, 0.0, f64::INFINITY), true),
            (normal(0.0, 1.0, f64::NEG_INFINITY, f64::INFINITY), true),
            (Draw::Uniform { low: -2.0, high: 0.0 }, true),
            (Draw::Exponential { mean: 3.0, limits: Limits::NONE }, true),
            (lognormal(0.8), true),
            (lognormal(1.0), false),
            (lognormal(2.0), false),
        ] {
            let mut net = network(vec![(10, one_port())]);
            net.projections.push(projection(0, 0, Rule::FixedIndegree { indegree: 5 }));
            net.projections[0].weight = draw.clone();
            let (quanta, exact) = quanta(&net).unwrap();
            assert_eq!(exact.digits(0, 0).is_none(), plain, "{draw:?}");
            if plain {
                let q = draw.reach().max(draw.moments().max.max(-draw.moments().min) / NARROW) / NARROW;
                assert!((quanta[0][0] / q - 1.0).abs() < 1e-12, "{draw:?}");
            }
        }
    }

    /// Only what needs digits takes them, as few synapses as possible; the rest is summed as if alone.
    #[test]
    fn digits_are_for_the_few() {
        let mut net = network(vec![(1000, one_port()), (1, source())]);
        for (s, rule, weight) in [
            (0, Rule::FixedIndegree { indegree: 100 }, 1.0),
            (1, Rule::AllToAll, 1e-9),
            (0, Rule::FixedIndegree { indegree: 50 }, -2.0),
        ] {
            net.projections.push(projection(s, 0, rule));
            net.projections.last_mut().unwrap().weight = Draw::Constant(weight);
        }
        net.projections.push(projection(1, 0, Rule::AllToAll));
        net.projections[3].synapse = synapse(&[1.0]);
        let (quanta, exact) = quanta(&net).unwrap();
        assert_eq!((quanta[0][0], exact.projection(0, 0), exact.projection(2, 1)), (1.0, Kept::Plain, Kept::Plain));
        assert_eq!(exact.projection(1, 0), Kept::Relative);
        let digits = exact.digits(0, 0).unwrap();
        assert!(digits.first == 1 && digits.lowest < -100 && exact.planes(0, 1) == 1 + digits.count);
    }

    #[test]
    fn what_no_sum_holds_is_refused_by_name() {
        let refuse = |weights: &[f64], part: &str| {
            let mut net = network(vec![(3, one_port()), (1, source())]);
            for (k, w) in weights.iter().enumerate() {
                let mut p = projection(1, 0, Rule::AllToAll);
                (p.weight, p.name) = (Draw::Constant(*w), format!("w{k}"));
                net.projections.push(p);
            }
            let error = quanta(&net).expect_err(part);
            assert!(error.to_string().contains(part) && error.remedy().is_some(), "{error}");
        };
        refuse(&[1.0, 1e-39], "projection `w1` has weights down to 1e-39");
        refuse(&[2e38, 3e38], "projection `w1` has weights up to 3");
        refuse(&[1e-34, 1e30, 1.0], "`w0` has weights down to 1e-34");
    }

    /// Spikes that the emission puts into one step are counted in one step, wherever they lie in it.
    #[test]
    fn spikes_are_counted_by_the_steps_in_which_they_are_emitted() {
        let trains = Trains::from_lists(&[vec![5.0, 5.00005, 5.1, 5.11, 5.19, 5.2], vec![5.15]]).unwrap();
        let mut net = network(vec![(2, Cell::Source(SpikeSource::Trains(Arc::new(trains.clone()))))]);
        for dt in [0.1, 0.025, 1.0, 0.05] {
            net.dt = dt;
            let mut most = HashMap::new();
            for (t, s) in trains.time.iter().zip(&trains.source) {
                *most.entry((step_of(*t, dt), *s)).or_insert(0) += 1;
            }
            assert_eq!(multiplicity(&net, 0), *most.values().max().unwrap() as f64, "{dt}");
        }
        net.dt = 0.1;
        assert_eq!(multiplicity(&net, 0), 3.0);
    }

    proptest! {
        /// Whatever is asked of a plain sum, it stays below 2^31; constants are met where the answer is a quantum at all.
        #[test]
        fn sums_never_overflow(
            constants in proptest::collection::vec(1e-3f64..1e3, 0..4),
            drawn in 0.0f64..1e3,
            given in prop_oneof![Just(0.0), 1e-3f64..1e3],
            count in 1.0f64..1e6,
        ) {
            let mut d = Demand::default();
            d.add(&Weights::Constants(constants.clone()), count);
            d.add(&Weights::Drawn { reach: drawn, bound: 1.5 * drawn, median: 0.3 * drawn, least: 0.0 }, count);
            if given > 0.0 {
                d.add(&Weights::Given { least: 0.1 * given, bound: given }, count);
            }
            if let Some(q) = d.choose() {
                prop_assert!(q > 0.0 && q.is_finite());
                prop_assert!(d.sum / q + 0.5 * d.count <= i32::MAX as f64 * (1.0 + 1e-9));
                prop_assert!(constants.iter().all(|c| error(*c, q) <= 0.0101));
            }
        }
    }
}
