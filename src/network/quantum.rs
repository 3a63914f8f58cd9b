//! The weight of one integer unit, for every population and port. Promises that the sum of all weights onto one neuron in one
//! step stays below 2^31, that constant and given weights keep 1e-6 relative wherever 32 bits allow it, and that synapses fit
//! 16 bits where they can. Knows weights, and no connectivity beyond in-degrees.

use super::rules::indegree_bound;
use super::{Cell, Network, Projection, Rule};
use crate::error::{Error, Result};
use crate::model::Sign;
use crate::stimulus::{DriveKind, SpikeSource};
use std::collections::{HashMap, HashSet};

/// Largest weight of a narrow synapse, in units.
pub const NARROW: f64 = 32_767.0;
/// Relative accuracy of constant and given weights.
const ACCURACY: f64 = 1e-6;
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
    /// Few distinct magnitudes (zero left out).
    Constants(Vec<f64>),
    /// All but one in a million are at most `reach`; at most `bound` after clipping.
    Drawn { reach: f64, bound: f64 },
    /// Many given magnitudes up to `bound`.
    Given { bound: f64 },
}

impl Weights {
    pub fn bound(&self) -> f64 {
        match self {
            Weights::Constants(values) => values.iter().fold(0.0, |a: f64, &b| a.max(b)),
            Weights::Drawn { bound, .. } | Weights::Given { bound } => *bound,
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
        return (Weights::Given { bound: given.iter().fold(0.0f32, |a, w| a.max(w.abs())) as f64 }, signs);
    }
    let moments = projection.weight.moments();
    let signs = [moments.max >= 0.0, moments.min < 0.0];
    match projection.weight.constant() {
        Some(x) => (Weights::Constants(if x == 0.0 { Vec::new() } else { vec![x.abs()] }), signs),
        None => (Weights::Drawn { reach: projection.weight.reach(), bound: moments.min.abs().max(moments.max.abs()) }, signs),
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
    Ok((Weights::Drawn { reach: bound.abs(), bound: weights.bound().max(bound.abs()) }, [side == 0, side == 1]))
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

/// What a port has to sum.
#[derive(Clone, Debug, Default, PartialEq)]
struct Demand {
    /// Magnitudes to be met within ACCURACY.
    constants: Vec<f64>,
    /// Largest of them that a synapse has (drives need not fit 16 bits).
    fixed: f64,
    /// Reaches of drawn weights.
    drawn: Vec<f64>,
    /// Largest of many given magnitudes.
    given: f64,
    /// Largest stored weight of a dynamic synapse.
    dynamic: f64,
    /// Bound of the sum of magnitudes, and of the number of summands, onto one neuron in one step.
    sum: f64,
    count: f64,
}

/// Weight of one integer unit, per population and port (empty for populations that only emit).
///
/// # Errors
/// A projection onto a population without ports, or weights on one port too far apart to be summed in 32 bits.
pub fn quanta(net: &Network) -> Result<Vec<Vec<f64>>> {
    for projection in &net.projections {
        super::rules::check(net, projection)?;
    }
    let mut demands: Vec<Vec<Demand>> = net
        .populations
        .iter()
        .map(|p| match &p.cell {
            Cell::Neuron(instance) => vec![Demand::default(); instance.model.ports.len()],
            Cell::Source(_) => Vec::new(),
        })
        .collect();
    for projection in &net.projections {
        let (weights, signs) = reachable(projection)?;
        let reached = ports(net, projection)?;
        let headroom = match (is_dynamic(projection), &projection.synapse.model.plasticity) {
            (true, None) => Some(DYNAMIC_HEADROOM),
            (true, Some(_)) => Some(PLASTIC_HEADROOM),
            (false, _) => None,
        };
        let count = indegree_bound(net, projection) * multiplicity(net, projection.source);
        let mut seen = None;
        for port in (0..2).filter(|&s| signs[s]).filter_map(|s| reached[s]) {
            if seen.replace(port) != Some(port) {
                demands[projection.target][port].add(&weights, headroom, count);
            }
        }
    }
    for drive in &net.drives {
        if let DriveKind::Poisson { rate, weight, port } = &drive.kind {
            let Some(population) = net.populations.get(drive.population) else { continue };
            let n = population.n as usize;
            let most = (0..if rate.is_uniform() { 1 } else { n }).fold(0.0, |m: f64, i| m.max(rate.get(i)));
            if let Some(demand) = demands[drive.population].get_mut(*port).filter(|_| *weight != 0.0) {
                let events = poisson_bound(most * net.dt * 1e-3);
                demand.constants.push(weight.abs());
                demand.sum += weight.abs() * events;
                demand.count += events;
            }
        }
    }
    let mut quanta = Vec::with_capacity(demands.len());
    for (population, demands) in net.populations.iter().zip(&demands) {
        let chosen = demands.iter().map(Demand::choose).collect::<std::result::Result<_, String>>();
        quanta.push(chosen.map_err(|message| {
            Error::input(
                format!("population `{}`: {message}", population.name),
                "bring the weights closer together, lower the in-degree, or use different receptors",
            )
        })?);
    }
    Ok(quanta)
}

/// More events than a Poisson variable of this mean shows (probability of more below 2^-32, where the counts end).
fn poisson_bound(mean: f64) -> f64 {
    mean + 8.0 * mean.sqrt() + 16.0
}

/// Most spikes of one source in one step that accumulators have room for.
pub fn multiplicity(net: &Network, population: usize) -> f64 {
    match &net.populations[population].cell {
        Cell::Neuron(_) => 1.0,
        Cell::Source(SpikeSource::Poisson { rate, .. }) => {
            let n = if rate.is_uniform() { 1 } else { net.populations[population].n as usize };
            poisson_bound((0..n).fold(0.0, |m: f64, i| m.max(rate.get(i))) * net.dt * 1e-3)
        }
        Cell::Source(SpikeSource::Trains(trains)) => {
            let mut most = 1u32;
            let mut step = None;
            let mut count = HashMap::new();
            for (&time, &source) in trains.time.iter().zip(&trains.source) {
                let at = (time / net.dt - 1e-6).ceil() as i64;
                if step.replace(at) != Some(at) {
                    count.clear();
                }
                let n = count.entry(source).or_insert(0);
                *n += 1;
                most = most.max(*n);
            }
            most as f64
        }
        Cell::Source(SpikeSource::Presentation(_)) => poisson_bound(1.0),
    }
}

impl Demand {
    /// `headroom`: of dynamic synapses, how many times its largest weight one may transmit.
    fn add(&mut self, weights: &Weights, headroom: Option<f64>, count: f64) {
        let bound = weights.bound();
        if bound == 0.0 {
            return;
        }
        self.sum += bound * count * headroom.unwrap_or(1.0);
        self.count += count;
        if headroom.is_some() {
            self.dynamic = self.dynamic.max(bound);
            return;
        }
        match weights {
            Weights::Constants(values) => {
                self.constants.extend(values);
                self.fixed = self.fixed.max(bound);
            }
            Weights::Drawn { reach, .. } => self.drawn.push(reach.max(bound / NARROW)),
            Weights::Given { bound } => self.given = self.given.max(*bound),
        }
    }

    /// The grid that weights without exact values want: drawn ones use the whole 16 bits, but the smallest are not lost beside
    /// the largest; given and dynamic ones are as fine as FINE, dynamic ones coarser where 4-byte synapses share the port.
    fn grid(&self) -> Option<f64> {
        let widest = self.drawn.iter().copied().fold(0.0, f64::max) / NARROW;
        let dynamic = if widest > 0.0 || self.fixed > 0.0 { self.dynamic / NARROW } else { self.dynamic / FINE };
        let wanted = self.drawn.iter().map(|reach| widest.min(reach / COARSEST)).chain([self.given / FINE, dynamic]);
        wanted.filter(|q| *q > 0.0).reduce(f64::min)
    }

    fn choose(&self) -> std::result::Result<f64, String> {
        if self.sum == 0.0 {
            return Ok(1.0);
        }
        // Every summand may be rounded up by half a unit.
        let least = self.sum / (i32::MAX as f64 - 0.5 * self.count).max(1.0);
        let grid = self.grid();
        let Some(largest) = self.constants.iter().copied().reduce(f64::max) else {
            return Ok(grid.unwrap_or(1.0).max(least));
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
            return Ok(largest / k as f64);
        }
        let wanted = grid.unwrap_or(largest).min(2.0 * ACCURACY * smallest);
        if wanted > least {
            return Ok(largest / (largest / wanted).ceil().max(1.0));
        }
        // 32 bits do not hold the wanted accuracy: the best of the finest grids.
        let k = most(least).max(1);
        let candidates = (k - (k / 2).min(TRIES / 16)).max(1)..=k;
        let best = candidates.map(|k| (k, worst(k))).min_by(|a, b| a.1.total_cmp(&b.1)).unwrap_or((k, worst(k)));
        let q = largest / best.0 as f64;
        if q >= least && best.1 <= 0.01 {
            return Ok(q);
        }
        Err(format!(
            "weights from {smallest} to {largest} onto one receptor cannot be summed in 32 bits (the sum may reach {:.3e})",
            self.sum
        ))
    }
}

/// Relative error of a magnitude in units of `q`.
fn error(magnitude: f64, q: f64) -> f64 {
    let units = magnitude / q;
    (units - units.round()).abs() / units
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn demand(constants: &[f64], drawn: &[f64], count: f64) -> Demand {
        let largest = constants.iter().chain(drawn).copied().fold(0.0, f64::max);
        Demand {
            constants: constants.to_vec(),
            fixed: largest,
            drawn: drawn.to_vec(),
            sum: largest * count,
            count,
            ..Default::default()
        }
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
        assert!(demand(&[1e-9, 1.0], &[], 1e4).choose().is_err());
    }

    #[test]
    fn nothing_to_sum_has_a_quantum() {
        assert_eq!(Demand::default().choose().unwrap(), 1.0);
    }

    proptest! {
        /// Whatever is asked of a port, sums stay below 2^31; constants are met where the answer is a quantum at all.
        #[test]
        fn sums_never_overflow(
            constants in proptest::collection::vec(1e-3f64..1e3, 0..4),
            drawn in 0.0f64..1e3,
            given in prop_oneof![Just(0.0), 1e-3f64..1e3],
            dynamic in prop_oneof![Just(0.0), 1e-3f64..1e3],
            count in 1.0f64..1e6,
        ) {
            let mut d = Demand::default();
            d.add(&Weights::Constants(constants.clone()), None, count);
            d.add(&Weights::Drawn { reach: drawn, bound: 1.5 * drawn }, None, count);
            d.add(&Weights::Given { bound: given }, None, count);
            d.add(&Weights::Drawn { reach: dynamic, bound: dynamic }, Some(DYNAMIC_HEADROOM), count);
            if let Ok(q) = d.choose() {
                prop_assert!(q > 0.0 && q.is_finite());
                prop_assert!(d.sum / q + 0.5 * d.count <= i32::MAX as f64 * (1.0 + 1e-9));
                prop_assert!(constants.iter().all(|c| error(*c, q) <= 0.0101));
            }
        }
    }
}
