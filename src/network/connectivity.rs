//! Connectivity rules: which synapses a source has, with their weights and delays. Promises the same synapses for the same seed
//! whatever the number of threads or the order of asking, and no more work than there are synapses (no loop over all pairs
//! where few are connected). Knows no table format and no neuron model.
//!
//! Canonical order of a source's edges: projections in order; within one, the order of generation. Numbers are read from
//! Philox streams of (projection, purpose, element): targets and counts from `Connect`, weights from `Weight`, delays from
//! `Delay`, element = local id of the source (of the target for fixed_indegree's draws).

pub use super::edges::read_edges;
#[cfg(feature = "hdf5")]
pub use super::edges::write_edges;
use super::{Draw, Edge, Edges, Network, Profile, Projection, Rule};
use crate::error::{Error, Result};
use crate::rng::{Purpose, Stream, key};
use rayon::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

/// Prepared rules: everything that is needed to list the outgoing synapses of any source.
#[derive(Debug)]
pub struct Rows {
    /// First global id of each population, and one past the last neuron.
    first: Vec<u32>,
    /// Projections that leave each population.
    outgoing: Vec<Vec<usize>>,
    plans: Vec<Plan>,
}

#[derive(Debug)]
struct Plan {
    key: [u32; 2],
    sources: u32,
    targets: u32,
    /// A target to leave out: the source itself (autapses refused).
    no_self: bool,
    multapses: bool,
    weight: Draw,
    delay: Draw,
    rule: Prepared,
}

#[derive(Debug)]
enum Prepared {
    OneToOne,
    AllToAll,
    Bernoulli {
        p: f64,
    },
    Outdegree {
        k: u32,
    },
    /// Number of synapses of each source.
    Counts(Vec<u32>),
    /// Targets of each source, ascending.
    Index {
        start: Vec<u64>,
        target: Vec<u32>,
    },
    Distance(Sheet),
    Explicit(Arc<Edges>),
}

impl Rows {
    /// Checks every projection and draws what cannot be drawn source by source (`progress`: share done, 0 to 1).
    ///
    /// # Errors
    /// What cannot be connected: sizes that do not match, impossible degrees, distributions that cannot be drawn, missing
    /// positions, given edges that are out of range or not numbers.
    pub fn prepare(net: &Network, progress: &(dyn Fn(f64) + Sync)) -> Result<Rows> {
        for projection in &net.projections {
            check(net, projection)?;
        }
        let done = AtomicUsize::new(0);
        let plans = net
            .projections
            .par_iter()
            .enumerate()
            .map(|(index, projection)| {
                let plan = Plan::new(net, index, projection)?;
                progress((done.fetch_add(1, Ordering::Relaxed) + 1) as f64 / net.projections.len() as f64);
                Ok(plan)
            })
            .collect::<Result<Vec<_>>>()?;
        let mut outgoing = vec![Vec::new(); net.populations.len()];
        for (index, projection) in net.projections.iter().enumerate() {
            outgoing[projection.source].push(index);
        }
        let first = net.populations.iter().map(|p| p.first).chain([net.neurons()]).collect();
        Ok(Rows { first, outgoing, plans })
    }

    /// All outgoing edges of a source (global id), in canonical order. Replaces what `out` holds.
    pub fn row(&self, source: u32, out: &mut Vec<Edge>) {
        out.clear();
        let population = self.first.partition_point(|&f| f <= source) - 1;
        for &projection in self.outgoing.get(population).into_iter().flatten() {
            self.append(projection, source - self.first[population], out);
        }
    }

    /// The edges of one projection from a source (local id), in canonical order. Appends to `out`.
    pub fn append(&self, projection: usize, source: u32, out: &mut Vec<Edge>) {
        let plan = &self.plans[projection];
        let from = out.len();
        let edge = Edge { projection: projection as u32, target: 0, weight: 0.0, delay: 0.0 };
        plan.targets(source, |target| out.push(Edge { target, ..edge }));
        let edges = &mut out[from..];
        let given = match &plan.rule {
            Prepared::Explicit(given) => Some((given, given.start[source as usize] as usize)),
            _ => None,
        };
        match given.and_then(|(given, at)| Some((given.weight.as_ref()?, at))) {
            Some((weight, at)) => edges.iter_mut().zip(&weight[at..]).for_each(|(e, &w)| e.weight = w as f64),
            None => plan.draw(&plan.weight, Purpose::Weight, source, edges, |e, x| e.weight = x),
        }
        match given.and_then(|(given, at)| Some((given.delay.as_ref()?, at))) {
            Some((delay, at)) => edges.iter_mut().zip(&delay[at..]).for_each(|(e, &d)| e.delay = d),
            None => plan.draw(&plan.delay, Purpose::Delay, source, edges, |e, x| e.delay = x),
        }
    }

    /// Sources of a projection.
    pub fn sources(&self, projection: usize) -> u32 {
        self.plans[projection].sources
    }
}

impl Plan {
    fn new(net: &Network, index: usize, projection: &Projection) -> Result<Plan> {
        let (source, target) = (&net.populations[projection.source], &net.populations[projection.target]);
        let mut plan = Plan {
            key: key(net.seed, index as u32),
            sources: source.n,
            targets: target.n,
            no_self: projection.source == projection.target && !projection.autapses,
            multapses: projection.multapses,
            weight: projection.weight.clone(),
            delay: projection.delay.clone(),
            rule: Prepared::OneToOne,
        };
        plan.rule = match &projection.rule {
            Rule::OneToOne => Prepared::OneToOne,
            Rule::AllToAll => Prepared::AllToAll,
            Rule::PairwiseBernoulli { p } => Prepared::Bernoulli { p: *p },
            Rule::FixedOutdegree { outdegree } => Prepared::Outdegree { k: *outdegree },
            Rule::FixedTotalNumber { n } => Prepared::Counts(plan.split(*n)),
            Rule::FixedIndegree { indegree } => plan.transpose(*indegree),
            Rule::Distance { profile, radius, periodic } => {
                let positions = |p: &super::Population| p.positions.clone().expect("checked");
                let period = periodic.then_some(target.extent);
                Prepared::Distance(Sheet::new(positions(source), positions(target), *profile, *radius, period))
            }
            Rule::Explicit(edges) => Prepared::Explicit(edges.clone()),
        };
        Ok(plan)
    }

    /// Targets that one source can have.
    fn choices(&self) -> u32 {
        self.targets - self.no_self as u32
    }

    /// The `i`-th of the targets that `source` can have.
    #[inline(always)]
    fn choice(&self, source: u32, i: u32) -> u32 {
        if self.no_self && i >= source { i + 1 } else { i }
    }

    fn stream(&self, purpose: Purpose, element: u32) -> Stream {
        Stream::new(self.key, purpose, element, 0)
    }

    /// Local ids of the targets of a source.
    fn targets(&self, source: u32, mut emit: impl FnMut(u32)) {
        let connect = || self.stream(Purpose::Connect, source);
        match &self.rule {
            Prepared::OneToOne => {
                if !self.no_self {
                    emit(source);
                }
            }
            Prepared::AllToAll => (0..self.choices()).for_each(|i| emit(self.choice(source, i))),
            Prepared::Bernoulli { p } => {
                skip(&mut connect(), *p, self.choices() as u64, |_, i| emit(self.choice(source, i as u32)))
            }
            Prepared::Outdegree { k } => self.pick(&mut connect(), *k, source, emit),
            Prepared::Counts(counts) => self.pick(&mut connect(), counts[source as usize], source, emit),
            Prepared::Index { start, target } => {
                let range = start[source as usize] as usize..start[source as usize + 1] as usize;
                target[range].iter().for_each(|&t| emit(t));
            }
            Prepared::Distance(sheet) => sheet.targets(&mut connect(), source, self.no_self, emit),
            Prepared::Explicit(edges) => {
                let range = edges.start[source as usize] as usize..edges.start[source as usize + 1] as usize;
                edges.target[range].iter().for_each(|&t| emit(t));
            }
        }
    }

    /// `k` targets of `source`, uniformly, with or without repetition.
    #[inline]
    fn pick(&self, stream: &mut Stream, k: u32, source: u32, mut emit: impl FnMut(u32)) {
        let n = self.choices();
        if self.multapses {
            (0..k).for_each(|_| emit(self.choice(source, stream.below(n))));
        } else {
            distinct(stream, k, n, |i| emit(self.choice(source, i)));
        }
    }

    fn draw(&self, draw: &Draw, purpose: Purpose, source: u32, edges: &mut [Edge], mut set: impl FnMut(&mut Edge, f64)) {
        if let Some(x) = draw.constant() {
            return edges.iter_mut().for_each(|e| set(e, x));
        }
        let mut stream = self.stream(purpose, source);
        edges.iter_mut().for_each(|e| set(e, draw.sample(&mut stream)));
    }

    /// How `n` uniform pairs fall on the sources: multinomial by conditional binomials; without repetition the multivariate
    /// hypergeometric law, by conditional hypergeometrics.
    fn split(&self, n: u64) -> Vec<u32> {
        let mut stream = Stream::new(self.key, Purpose::Connect, 0, 1);
        let (mut left, choices) = (n, self.choices() as u64);
        (0..self.sources as u64)
            .map(|source| {
                let sources_left = self.sources as u64 - source;
                let count = if sources_left == 1 {
                    left
                } else if self.multapses {
                    binomial(&mut stream, left, 1.0 / sources_left as f64)
                } else {
                    hypergeometric(&mut stream, choices, choices * (sources_left - 1), left)
                };
                left -= count;
                count as u32
            })
            .collect()
    }

    /// The sources that target `target` draws, for fixed_indegree.
    fn sources_of(&self, target: u32, indegree: u32, mut emit: impl FnMut(u32)) {
        let mut stream = self.stream(Purpose::Connect, target);
        let n = self.sources - self.no_self as u32;
        let source = |i: u32| if self.no_self && i >= target { i + 1 } else { i };
        if self.multapses {
            (0..indegree).for_each(|_| emit(source(stream.below(n))));
        } else {
            distinct(&mut stream, indegree, n, |i| emit(source(i)));
        }
    }

    /// Every target draws its sources; a counting sort turns them into targets by source. The draws are made twice, so that
    /// only the index itself (4 bytes a synapse) takes memory.
    fn transpose(&self, indegree: u32) -> Prepared {
        let n = self.sources as usize;
        let degree: Vec<AtomicU32> = (0..n).map(|_| AtomicU32::new(0)).collect();
        let each_target = |visit: &(dyn Fn(u32, u32) + Sync)| {
            (0..self.targets).into_par_iter().with_min_len(64).for_each(|t| self.sources_of(t, indegree, |s| visit(s, t)));
        };
        each_target(&|s, _| {
            degree[s as usize].fetch_add(1, Ordering::Relaxed);
        });
        let mut start = Vec::with_capacity(n + 1);
        let mut sum = 0u64;
        start.push(0);
        for d in &degree {
            sum += d.swap(0, Ordering::Relaxed) as u64;
            start.push(sum);
        }
        let target: Vec<AtomicU32> = (0..sum).map(|_| AtomicU32::new(0)).collect();
        each_target(&|s, t| {
            let at = degree[s as usize].fetch_add(1, Ordering::Relaxed) as u64 + start[s as usize];
            target[at as usize].store(t, Ordering::Relaxed);
        });
        let mut target: Vec<u32> = target.into_iter().map(AtomicU32::into_inner).collect();
        // Threads fill a source's list in any order; sorted, it is a function of the seed alone.
        let mut lists = Vec::with_capacity(n);
        let mut rest = target.as_mut_slice();
        for pair in start.windows(2) {
            let (list, tail) = rest.split_at_mut((pair[1] - pair[0]) as usize);
            lists.push(list);
            rest = tail;
        }
        lists.into_par_iter().with_min_len(64).for_each(|list| list.sort_unstable());
        Prepared::Index { start, target }
    }
}

/// Visits each of `n` candidates with probability `p`, by geometric steps: work in proportion to what is visited.
fn skip(stream: &mut Stream, p: f64, n: u64, mut visit: impl FnMut(&mut Stream, u64)) {
    if p >= 1.0 {
        return (0..n).for_each(|i| visit(stream, i));
    }
    if p <= 0.0 {
        return;
    }
    let scale = 1.0 / (-p).ln_1p();
    let mut i = 0u64;
    loop {
        // A gap beyond u64 saturates, and ends the walk.
        i = i.saturating_add((stream.uniform().ln() * scale) as u64);
        if i >= n {
            return;
        }
        visit(stream, i);
        i += 1;
    }
}

/// A uniform subset of `k` of 0..n (Floyd; Bentley & Floyd 1987, "A sample of brilliance").
fn distinct(stream: &mut Stream, k: u32, n: u32, mut emit: impl FnMut(u32)) {
    let mut taken = Taken::new(k);
    for last in n - k..n {
        let i = stream.below(last + 1);
        let i = if taken.insert(i) {
            i
        } else {
            taken.insert(last);
            last
        };
        emit(i);
    }
}

/// Set of numbers below 2^32 - 1, open addressing.
struct Taken {
    slots: Vec<u32>,
    shift: u32,
}

impl Taken {
    fn new(k: u32) -> Self {
        let bits = (2 * k as u64).next_power_of_two().trailing_zeros().max(3);
        Taken { slots: vec![u32::MAX; 1 << bits], shift: 64 - bits }
    }

    /// False when `x` was there already.
    fn insert(&mut self, x: u32) -> bool {
        let mut at = ((x as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> self.shift) as usize;
        loop {
            match self.slots[at] {
                u32::MAX => {
                    self.slots[at] = x;
                    return true;
                }
                y if y == x => return false,
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }
}

/// ln n! minus Stirling's leading terms, n >= 1 (Loader 2000, "Fast and accurate computation of binomial probabilities").
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        let factorial: f64 = (2..=n as u32).map(|i| (i as f64).ln()).sum();
        return factorial - (n + 0.5) * n.ln() + n - 0.5 * std::f64::consts::TAU.ln();
    }
    let n2 = n * n;
    (1.0 / 12.0 - (1.0 / 360.0 - (1.0 / 1260.0 - (1.0 / 1680.0 - 1.0 / 1188.0 / n2) / n2) / n2) / n2) / n
}

/// x ln(x/np) + np - x, without cancellation (Loader 2000).
fn deviance(x: f64, np: f64) -> f64 {
    if (x - np).abs() >= 0.1 * (x + np) {
        return x * (x / np).ln() + np - x;
    }
    let v = (x - np) / (x + np);
    let (mut sum, mut term) = ((x - np) * v, 2.0 * x * v);
    for j in 1.. {
        term *= v * v;
        let next = sum + term / (2 * j + 1) as f64;
        if next == sum {
            break;
        }
        sum = next;
    }
    sum
}

/// Binomial probability of k successes in n trials.
fn binomial_mass(k: u64, n: u64, p: f64) -> f64 {
    let (x, m, q) = (k as f64, n as f64, 1.0 - p);
    if k == 0 {
        return (m * (-p).ln_1p()).exp();
    }
    if k == n {
        return (m * p.ln()).exp();
    }
    let log = stirling_error(m) - stirling_error(x) - stirling_error(m - x) - deviance(x, m * p) - deviance(m - x, m * q);
    log.exp() * (m / (std::f64::consts::TAU * x * (m - x))).sqrt()
}

/// Inverse transform that starts at the mode and takes the values on both sides in turn: about one standard deviation of steps.
/// `ratio(k)` = mass(k + 1) / mass(k).
fn from_mode(stream: &mut Stream, low: u64, high: u64, mode: u64, mass: f64, ratio: impl Fn(u64) -> f64) -> u64 {
    let mut u = stream.uniform() - mass;
    let (mut up, mut mass_up, mut down, mut mass_down) = (mode, mass, mode, mass);
    while u >= 0.0 && mass_up + mass_down > 1e-25 {
        if up < high {
            mass_up *= ratio(up);
            up += 1;
            u -= mass_up;
            if u < 0.0 {
                return up;
            }
        } else {
            mass_up = 0.0;
        }
        if down > low {
            down -= 1;
            mass_down /= ratio(down);
            u -= mass_down;
            if u < 0.0 {
                return down;
            }
        } else {
            mass_down = 0.0;
        }
    }
    mode
}

/// Successes in n trials of probability p < 1.
fn binomial(stream: &mut Stream, n: u64, p: f64) -> u64 {
    if n == 0 || p <= 0.0 {
        return 0;
    }
    let mode = (((n + 1) as f64 * p) as u64).min(n);
    let odds = p / (1.0 - p);
    from_mode(stream, 0, n, mode, binomial_mass(mode, n, p), |k| odds * (n - k) as f64 / (k + 1) as f64)
}

/// Good ones among `draws` taken without replacement from `good` and `bad` ones.
fn hypergeometric(stream: &mut Stream, good: u64, bad: u64, draws: u64) -> u64 {
    let (low, high) = (draws.saturating_sub(bad), draws.min(good));
    if low == high {
        return low;
    }
    let all = good + bad;
    let mode = (((draws + 1) as u128 * (good + 1) as u128 / (all + 2) as u128) as u64).clamp(low, high);
    let p = draws as f64 / all as f64;
    let mass = binomial_mass(mode, good, p) * binomial_mass(draws - mode, bad, p) / binomial_mass(draws, all, p);
    from_mode(stream, low, high, mode, mass, |k| {
        (good - k) as f64 * (draws - k) as f64 / ((k + 1) as f64 * (bad + k + 1 - draws) as f64)
    })
}

impl Profile {
    /// Connection probability at `distance` mm.
    pub fn probability(&self, distance: f64) -> f64 {
        match *self {
            Profile::Constant { p } => p,
            Profile::Gaussian { p0, sigma } => p0 * (-0.5 * (distance / sigma).powi(2)).exp(),
            Profile::Exponential { p0, lambda } => p0 * (-distance / lambda).exp(),
        }
    }

    fn check(&self) -> Option<String> {
        let (p, width) = match *self {
            Profile::Constant { p } => (p, 1.0),
            Profile::Gaussian { p0, sigma } => (p0, sigma),
            Profile::Exponential { p0, lambda } => (p0, lambda),
        };
        if !(0.0..=1.0).contains(&p) {
            return Some(format!("the connection probability {p} is not between 0 and 1"));
        }
        (!(width > 0.0 && width.is_finite())).then(|| format!("the width {width} mm of the profile is not above zero"))
    }
}

/// Targets on a 2-D sheet, sorted into cells.
#[derive(Debug)]
struct Sheet {
    sources: Arc<[[f32; 2]]>,
    targets: Arc<[[f32; 2]]>,
    profile: Profile,
    radius: f64,
    period: Option<[f64; 2]>,
    grid: Grid,
}

#[derive(Debug)]
struct Grid {
    origin: [f64; 2],
    cell: [f64; 2],
    cells: [usize; 2],
    start: Vec<u32>,
    /// Local ids by cell, ascending within one.
    member: Vec<u32>,
}

impl Grid {
    /// Cells about as wide as the radius, but not many more cells than points.
    fn new(points: &[[f32; 2]], radius: f64, period: Option<[f64; 2]>) -> Grid {
        let (mut low, mut high) = ([f64::INFINITY; 2], [f64::NEG_INFINITY; 2]);
        for p in points {
            for d in 0..2 {
                low[d] = low[d].min(p[d] as f64);
                high[d] = high[d].max(p[d] as f64);
            }
        }
        let extent = period.unwrap_or_else(|| std::array::from_fn(|d| (high[d] - low[d]).max(0.0)));
        let most = ((points.len() as f64).sqrt().ceil()).clamp(1.0, 4096.0);
        let cells: [usize; 2] = std::array::from_fn(|d| (2.0 * extent[d] / radius).floor().clamp(1.0, most) as usize);
        let cell = std::array::from_fn(|d| if extent[d] > 0.0 { extent[d] / cells[d] as f64 } else { 1.0 });
        let mut grid = Grid { origin: low, cell, cells, start: vec![0; cells[0] * cells[1] + 1], member: vec![0; points.len()] };
        let of: Vec<usize> = points.iter().map(|p| grid.cell_of(p, period)).collect();
        of.iter().for_each(|&c| grid.start[c + 1] += 1);
        (1..grid.start.len()).for_each(|c| grid.start[c] += grid.start[c - 1]);
        let mut next = grid.start.clone();
        for (i, &c) in of.iter().enumerate() {
            grid.member[next[c] as usize] = i as u32;
            next[c] += 1;
        }
        grid
    }

    fn cell_of(&self, p: &[f32; 2], period: Option<[f64; 2]>) -> usize {
        let at: [usize; 2] = std::array::from_fn(|d| {
            let x = p[d] as f64 - self.origin[d];
            let x = period.map_or(x, |period| x.rem_euclid(period[d]));
            ((x / self.cell[d]) as usize).min(self.cells[d] - 1)
        });
        at[1] * self.cells[0] + at[0]
    }

    /// Cells along axis `d` that a disc of `radius` around `x` can touch: (first, number); they wrap around when periodic.
    fn span(&self, d: usize, x: f64, radius: f64, period: Option<[f64; 2]>) -> (usize, usize) {
        let (n, x) = (self.cells[d] as i64, x - self.origin[d]);
        // One cell more on each side than exact arithmetic needs: positions on a border may round either way.
        let first = ((x - radius) / self.cell[d]).floor() as i64 - 1;
        let last = ((x + radius) / self.cell[d]).floor() as i64 + 1;
        if period.is_some() {
            return if last - first + 1 >= n {
                (0, n as usize)
            } else {
                (first.rem_euclid(n) as usize, (last - first + 1) as usize)
            };
        }
        let (first, last) = (first.clamp(0, n - 1), last.clamp(0, n - 1));
        (first as usize, (last - first + 1) as usize)
    }

    /// Members of all cells that the disc can touch, list by list.
    fn near(&self, at: [f64; 2], radius: f64, period: Option<[f64; 2]>, mut each: impl FnMut(&[u32])) {
        let (x, nx) = self.span(0, at[0], radius, period);
        let (y, ny) = self.span(1, at[1], radius, period);
        for row in (y..y + ny).map(|r| r % self.cells[1] * self.cells[0]) {
            // Neighbouring cells of a row are neighbours in `member`: one list, or two where the row wraps.
            let mut list =
                |from: usize, to: usize| each(&self.member[self.start[row + from] as usize..self.start[row + to] as usize]);
            list(x, (x + nx).min(self.cells[0]));
            if x + nx > self.cells[0] {
                list(0, x + nx - self.cells[0]);
            }
        }
    }
}

impl Sheet {
    fn new(sources: Arc<[[f32; 2]]>, targets: Arc<[[f32; 2]]>, profile: Profile, radius: f64, period: Option<[f64; 2]>) -> Sheet {
        let grid = Grid::new(&targets, radius, period);
        Sheet { sources, targets, profile, radius, period, grid }
    }

    /// Candidates are thinned with the largest probability by geometric steps, then with what their distance leaves of it.
    fn targets(&self, stream: &mut Stream, source: u32, no_self: bool, mut emit: impl FnMut(u32)) {
        let at = self.sources[source as usize].map(|x| x as f64);
        let peak = self.profile.probability(0.0);
        self.grid.near(at, self.radius, self.period, |list| {
            skip(stream, peak, list.len() as u64, |stream, i| {
                let target = list[i as usize];
                let distance = distance(at, self.targets[target as usize].map(|x| x as f64), self.period);
                if distance > self.radius || no_self && target == source {
                    return;
                }
                let p = self.profile.probability(distance);
                if p >= peak || stream.uniform() * peak < p {
                    emit(target);
                }
            });
        });
    }
}

/// Distance on the plane, or to the nearest image on a torus.
pub(crate) fn distance(a: [f64; 2], b: [f64; 2], period: Option<[f64; 2]>) -> f64 {
    let d: [f64; 2] = std::array::from_fn(|d| {
        let x = a[d] - b[d];
        period.map_or(x, |period| x - period[d] * (x / period[d]).round())
    });
    d[0].hypot(d[1])
}

/// Refuses a projection that cannot be connected.
pub(crate) fn check(net: &Network, projection: &Projection) -> Result<()> {
    let refuse =
        |message: String, remedy: &str| Err(Error::input(format!("projection `{}`: {message}", projection.name), remedy));
    let n = net.populations.len();
    if projection.source >= n || projection.target >= n {
        return refuse("it names a population that does not exist".into(), "list the population first");
    }
    for (what, draw) in [("weight", &projection.weight), ("delay", &projection.delay)] {
        if let Err(error) = draw.check() {
            return refuse(format!("{what}: {error}"), error.remedy().unwrap_or("correct the distribution"));
        }
    }
    check_bound(projection)?;
    let (source, target) = (&net.populations[projection.source], &net.populations[projection.target]);
    let (ns, nt) = (source.n as u64, target.n as u64);
    let no_self = (projection.source == projection.target && !projection.autapses) as u64;
    let probability = |p: f64| match (0.0..=1.0).contains(&p) {
        true => Ok(()),
        false => refuse(format!("the connection probability {p} is not between 0 and 1"), "give a probability"),
    };
    let degree = |what: &str, k: u32, all: u64| {
        let choices = all.saturating_sub(no_self);
        let enough = if projection.multapses { k == 0 || choices > 0 } else { k as u64 <= choices };
        if enough {
            return Ok(());
        }
        let autapses = if no_self > 0 { " other than itself" } else { "" };
        refuse(
            format!("{what} = {k} is impossible: a neuron finds {choices} partners{autapses}"),
            "lower it, enlarge the population, or allow multapses (multapses = true)",
        )
    };
    match &projection.rule {
        Rule::OneToOne if ns != nt => refuse(
            format!("one_to_one joins populations of different sizes: `{}` has {ns}, `{}` has {nt}", source.name, target.name),
            "give both the same size, or choose another rule",
        ),
        Rule::OneToOne | Rule::AllToAll => Ok(()),
        Rule::PairwiseBernoulli { p } => probability(*p),
        Rule::FixedIndegree { indegree } if nt > 0 => degree("indegree", *indegree, ns),
        Rule::FixedOutdegree { outdegree } if ns > 0 => degree("outdegree", *outdegree, nt),
        Rule::FixedIndegree { .. } | Rule::FixedOutdegree { .. } => Ok(()),
        Rule::FixedTotalNumber { n } => {
            let pairs = ns as u128 * nt.saturating_sub(no_self) as u128;
            let enough = if projection.multapses { *n == 0 || pairs > 0 } else { *n as u128 <= pairs };
            if !enough {
                return refuse(
                    format!("{n} synapses are impossible: there are {pairs} pairs of neurons"),
                    "lower n, enlarge the populations, or allow multapses (multapses = true)",
                );
            }
            if *n / ns.max(1) >= 1 << 31 {
                return refuse(format!("{n} synapses are too many for {ns} sources"), "lower n");
            }
            Ok(())
        }
        Rule::Distance { profile, radius, periodic } => {
            if let Some(fault) = profile.check() {
                return refuse(fault, "give a probability between 0 and 1 and a width above zero");
            }
            if !(*radius > 0.0 && radius.is_finite()) {
                return refuse(format!("the radius {radius} mm is not above zero"), "give a finite radius above zero");
            }
            for population in [source, target] {
                let Some(positions) = &population.positions else {
                    return refuse(
                        format!("population `{}` has no positions", population.name),
                        "give it positions (a distance-dependent rule needs those of source and target)",
                    );
                };
                if positions.len() != population.n as usize {
                    return refuse(
                        format!(
                            "population `{}` has {} neurons and {} positions",
                            population.name,
                            population.n,
                            positions.len()
                        ),
                        "give one position a neuron",
                    );
                }
                if let Some(i) = positions.iter().position(|p| !p.iter().all(|x| x.is_finite())) {
                    return refuse(format!("the position of neuron {i} of `{}` is not a number", population.name), "correct it");
                }
            }
            let usable = target.extent.iter().all(|x| *x > 0.0 && x.is_finite());
            if *periodic && (!usable || source.extent != target.extent) {
                return refuse(
                    format!("periodic boundaries need one sheet, not {:?} and {:?} mm", source.extent, target.extent),
                    "give both populations the same extent above zero",
                );
            }
            Ok(())
        }
        Rule::Explicit(edges) => check_edges(edges, ns, nt).or_else(|fault| refuse(fault, "correct the list of edges")),
    }
}

/// Refuses initial weights beyond the bound of a plastic synapse, or of the other sign.
pub(crate) fn check_bound(projection: &Projection) -> Result<()> {
    let (name, model) = (&projection.name, &projection.synapse.model);
    let refuse = |message: String, remedy: String| Err(Error::input(format!("projection `{name}`: {message}"), remedy));
    let bound = match projection.synapse.bound() {
        Ok(None) => return Ok(()),
        Ok(Some(bound)) => bound,
        Err(Error::Input(fault)) => {
            return refuse(fault.message, fault.remedy.unwrap_or_else(|| "change the parameters of its synapse".into()));
        }
        Err(error) => return Err(error),
    };
    let (low, high) = projection.weight_range();
    let (extreme, wrong) = if bound < 0.0 { (low, high > 0.0) } else { (high, low < 0.0) };
    if wrong {
        let (sign, limit) = if bound < 0.0 { ("positive", "high = 0.0") } else { ("negative", "low = 0.0") };
        return refuse(
            format!("a weight may be {sign}, and the bound of {} is {bound}", model.name),
            format!("give the weights and the bound the same sign (limits with {limit}, redraw = true)"),
        );
    }
    // A weight of a file has 32 bits.
    if extreme / bound <= 1.0 + 1e-6 {
        return Ok(());
    }
    let text = model.plasticity.as_ref().map_or("the bound", |p| &p.bound.text);
    let (side, limit) = if bound < 0.0 { ("low", "below") } else { ("high", "above") };
    let given = matches!(&projection.rule, Rule::Explicit(edges) if edges.weight.is_some());
    match given || projection.weight.constant().is_some() {
        true => refuse(
            format!("an initial weight of {extreme} lies {limit} the bound of {}, {text} = {bound}", model.name),
            format!("give weights within the bound, or a larger {text}"),
        ),
        false => refuse(
            format!("initial weights are drawn up to {extreme}, {limit} the bound of {}, {text} = {bound}", model.name),
            format!("limit the distribution with {side} = {bound} (and redraw = true), or give a larger {text}"),
        ),
    }
}

fn check_edges(edges: &Edges, sources: u64, targets: u64) -> std::result::Result<(), String> {
    let n = edges.target.len();
    if edges.start.len() as u64 != sources + 1 || edges.start.first() != Some(&0) || edges.start.last() != Some(&(n as u64)) {
        return Err(format!("the given edges are not sorted by {sources} sources"));
    }
    if edges.start.windows(2).any(|w| w[0] > w[1]) {
        return Err("the given edges are not sorted by source".into());
    }
    if let Some(t) = edges.target.iter().find(|&&t| t as u64 >= targets) {
        return Err(format!("a given edge ends at neuron {t}, the target population has {targets}"));
    }
    fn usable<T: Copy + std::fmt::Display>(what: &str, n: usize, values: &[T], usable: impl Fn(T) -> bool) -> Result<(), String> {
        match values.iter().position(|&x| !usable(x)) {
            _ if values.len() != n => Err(format!("{n} edges are given with {} {what}s", values.len())),
            Some(i) => Err(format!("{what} {i} of the given edges is {}", values[i])),
            None => Ok(()),
        }
    }
    edges.weight.iter().try_for_each(|w| usable("weight", n, w, |x: f32| x.is_finite()))?;
    edges.delay.iter().try_for_each(|d| usable("delay", n, d, |x: f64| x > 0.0 && x.is_finite()))
}

/// Expected number of synapses of a projection (exact where the rule fixes it). Invalid rules give some finite number.
pub(crate) fn expected(net: &Network, projection: &Projection) -> f64 {
    let (Some(source), Some(target)) = (net.populations.get(projection.source), net.populations.get(projection.target)) else {
        return 0.0;
    };
    let (ns, nt) = (source.n as f64, target.n as f64);
    let no_self = projection.source == projection.target && !projection.autapses;
    let pairs = ns * (nt - no_self as u32 as f64).max(0.0);
    let count = match &projection.rule {
        Rule::OneToOne => {
            if no_self {
                0.0
            } else {
                ns
            }
        }
        Rule::AllToAll => pairs,
        Rule::PairwiseBernoulli { p } => pairs * p,
        Rule::FixedIndegree { indegree } => nt * *indegree as f64,
        Rule::FixedOutdegree { outdegree } => ns * *outdegree as f64,
        Rule::FixedTotalNumber { n } => *n as f64,
        Rule::Distance { profile, radius, .. } => {
            let area = (target.extent[0] * target.extent[1]).max(f64::MIN_POSITIVE);
            (ns * nt / area * profile.integral(*radius)).min(pairs * profile.probability(0.0))
        }
        Rule::Explicit(edges) => edges.target.len() as f64,
    };
    if count.is_finite() { count.max(0.0) } else { 0.0 }
}

impl Profile {
    /// Integral of the probability over the disc, mm^2.
    fn integral(&self, radius: f64) -> f64 {
        let turn = std::f64::consts::TAU;
        match *self {
            Profile::Constant { p } => p * turn / 2.0 * radius * radius,
            Profile::Gaussian { p0, sigma } => p0 * turn * sigma * sigma * -(-0.5 * (radius / sigma).powi(2)).exp_m1(),
            Profile::Exponential { p0, lambda } => {
                let x = radius / lambda;
                p0 * turn * lambda * lambda * (1.0 - (1.0 + x) * (-x).exp())
            }
        }
    }
}

/// More synapses of a projection than any target receives (for random rules: with probability above 1 - 1e-20 a target).
pub(crate) fn indegree_bound(net: &Network, projection: &Projection) -> f64 {
    let (source, target) = (&net.populations[projection.source], &net.populations[projection.target]);
    let (ns, nt) = (source.n as f64, target.n.max(1) as f64);
    // Bernstein: P(X >= m + t) < exp(-t^2 / (2 (m + t/3))) for sums of independent (or negatively associated) indicators.
    let tail = |m: f64| m + 10.0 * m.sqrt() + 32.0;
    let once = |m: f64| tail(m).min(ns);
    let repeated = |m: f64| if projection.multapses { tail(m) } else { once(m) };
    match &projection.rule {
        Rule::OneToOne => 1.0,
        Rule::AllToAll => ns,
        Rule::PairwiseBernoulli { p } => once(ns * p),
        Rule::FixedIndegree { indegree } => *indegree as f64,
        // Without autapses a target is one of nt - 1 choices of each source.
        Rule::FixedOutdegree { outdegree } => repeated(ns * *outdegree as f64 / (nt - 1.0).max(1.0)),
        Rule::FixedTotalNumber { n } => repeated(*n as f64 / (nt - 1.0).max(1.0)),
        Rule::Distance { profile, radius, periodic } => {
            let (Some(from), Some(to)) = (&source.positions, &target.positions) else { return ns };
            let period = periodic.then_some(target.extent);
            let grid = Grid::new(from, *radius, period);
            let crowd = to.par_iter().map(|at| {
                let mut near = 0;
                grid.near(at.map(|x| x as f64), *radius, period, |list| near += list.len());
                near
            });
            once(crowd.max().unwrap_or(0) as f64 * profile.probability(0.0))
        }
        Rule::Explicit(edges) => {
            let mut count = vec![0u32; target.n as usize];
            edges.target.iter().for_each(|&t| count[t as usize] += 1);
            count.into_iter().max().unwrap_or(0) as f64
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::super::testing::{network, normal, one_port, projection};
    use super::*;
    use proptest::prelude::*;
    use std::collections::{HashMap, HashSet};

    /// Two populations of 12 and 20 neurons, joined by `rule`; or the first with itself.
    fn net(n: [u32; 2], target: usize, rule: Rule) -> Network {
        let mut net = network(n.map(|n| (n, one_port())).to_vec());
        net.projections.push(projection(0, target, rule));
        net
    }

    fn pairs(net: &Network) -> Vec<(u32, u32)> {
        edges(net).into_iter().map(|(s, e)| (s, e.target)).collect()
    }

    fn edges(net: &Network) -> Vec<(u32, Edge)> {
        let rows = Rows::prepare(net, &|_| {}).unwrap();
        let mut all = Vec::new();
        for source in 0..net.neurons() {
            let mut row = Vec::new();
            rows.row(source, &mut row);
            all.extend(row.into_iter().map(|e| (source, e)));
        }
        all
    }

    /// Chi-square of counts that should be equal, as standard deviations from its expectation.
    fn uneven(counts: &[f64], expected: f64) -> f64 {
        let dof = counts.len() as f64 - 1.0;
        let chi: f64 = counts.iter().map(|c| (c - expected).powi(2) / expected).sum();
        (chi - dof) / (2.0 * dof).sqrt()
    }

    #[test]
    fn one_to_one_and_all_to_all_are_what_loops_give() {
        assert_eq!(pairs(&net([4, 4], 1, Rule::OneToOne)), [(0, 0), (1, 1), (2, 2), (3, 3)]);
        let naive: Vec<_> = (0..3).flat_map(|s| (0..5).map(move |t| (s, t))).collect();
        assert_eq!(pairs(&net([3, 5], 1, Rule::AllToAll)), naive);
        let mut own = net([4, 1], 0, Rule::AllToAll);
        own.projections[0].autapses = false;
        let naive: Vec<_> = (0..4).flat_map(|s| (0..4).filter(move |t| *t != s).map(move |t| (s, t))).collect();
        assert_eq!(pairs(&own), naive);
        own.projections[0].rule = Rule::OneToOne;
        assert_eq!(pairs(&own), []);
    }

    #[test]
    fn explicit_edges_come_as_given() {
        let edges_given = Edges {
            start: vec![0, 2, 2, 3],
            target: vec![3, 1, 0],
            weight: Some(vec![0.5, -2.0, 7.0]),
            delay: Some(vec![1.0, 2.5, 0.3]),
        };
        let got = edges(&net([3, 4], 1, Rule::Explicit(Arc::new(edges_given))));
        let edge = |target, weight, delay: f64| Edge { projection: 0, target, weight, delay };
        assert_eq!(got, [(0, edge(3, 0.5, 1.0)), (0, edge(1, -2.0, 2.5)), (2, edge(0, 7.0, 0.3))]);
    }

    #[test]
    fn pairwise_bernoulli_connects_every_pair_alike() {
        assert_eq!(pairs(&net([3, 5], 1, Rule::PairwiseBernoulli { p: 1.0 })).len(), 15);
        assert_eq!(pairs(&net([3, 5], 1, Rule::PairwiseBernoulli { p: 0.0 })), []);
        let (trials, p) = (4000, 0.3);
        let mut counts = HashMap::new();
        let mut sizes = Vec::new();
        for seed in 0..trials {
            let mut net = net([4, 6], 1, Rule::PairwiseBernoulli { p });
            net.seed = seed;
            let found = pairs(&net);
            sizes.push(found.len() as f64);
            found.into_iter().for_each(|pair| *counts.entry(pair).or_insert(0.0) += 1.0);
        }
        let (expected, sd) = (trials as f64 * p, (trials as f64 * p * (1.0 - p)).sqrt());
        assert!(counts.len() == 24 && counts.values().all(|c: &f64| (c - expected).abs() < 4.5 * sd), "{counts:?}");
        let mean = sizes.iter().sum::<f64>() / trials as f64;
        let var = sizes.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / trials as f64;
        assert!((var / (24.0 * p * (1.0 - p)) - 1.0).abs() < 0.12, "pairs are independent: variance {var}");
    }

    #[test]
    fn fixed_outdegree_is_exact_and_its_targets_uniform() {
        let rule = Rule::FixedOutdegree { outdegree: 10 };
        for multapses in [true, false] {
            let mut net = net([4000, 30], 1, rule.clone());
            net.projections[0].multapses = multapses;
            let found = pairs(&net);
            let mut indegree = vec![0.0; 30];
            found.iter().for_each(|p| indegree[p.1 as usize] += 1.0);
            for row in found.chunk_by(|a, b| a.0 == b.0) {
                assert_eq!(row.len(), 10);
                let distinct = row.iter().collect::<HashSet<_>>().len();
                assert!(multapses || distinct == 10);
            }
            // Without repetition the targets of a source avoid each other: less variance, by (30 - 10)/(30 - 1).
            let z = uneven(&indegree, 40_000.0 / 30.0);
            assert!((-4.0..4.0).contains(&z), "{z}");
        }
    }

    #[test]
    fn fixed_indegree_is_exact_and_its_sources_uniform() {
        for (multapses, autapses) in [(true, true), (false, true), (true, false), (false, false)] {
            let mut net = net([60, 1], 0, Rule::FixedIndegree { indegree: 40 });
            net.projections[0].multapses = multapses;
            net.projections[0].autapses = autapses;
            let mut outdegree = vec![0.0; 60];
            for seed in 0..50 {
                net.seed = seed;
                let found = pairs(&net);
                let mut indegree = vec![0; 60];
                found.iter().for_each(|p| indegree[p.1 as usize] += 1);
                found.iter().for_each(|p| outdegree[p.0 as usize] += 1.0);
                assert!(indegree.iter().all(|&k| k == 40));
                assert!(autapses || found.iter().all(|p| p.0 != p.1));
                assert!(multapses || found.iter().collect::<HashSet<_>>().len() == found.len());
                assert!(found.is_sorted());
            }
            let z = uneven(&outdegree, 50.0 * 40.0);
            assert!(z < 4.0, "multapses {multapses}, autapses {autapses}: {z}");
        }
    }

    /// The joint law of n uniform pairs: every pair equally often, and with multinomial variance.
    #[test]
    fn fixed_total_number_draws_uniform_pairs() {
        let (n, trials) = (50, 3000);
        for (target, autapses, size) in [(1, true, 35), (0, true, 25), (0, false, 20)] {
            let mut counts: HashMap<(u32, u32), f64> = HashMap::new();
            let mut per_pair = Vec::new();
            for seed in 0..trials {
                let mut net = net([5, 7], target, Rule::FixedTotalNumber { n });
                net.projections[0].autapses = autapses;
                net.seed = seed;
                let found = pairs(&net);
                assert_eq!(found.len(), n as usize);
                per_pair.push(found.iter().filter(|p| **p == (1, 2)).count() as f64);
                found.into_iter().for_each(|pair| *counts.entry(pair).or_insert(0.0) += 1.0);
            }
            assert_eq!(counts.len(), size);
            assert!(autapses || counts.keys().all(|p| p.0 != p.1));
            let values: Vec<f64> = counts.into_values().collect();
            let z = uneven(&values, (n * trials) as f64 / size as f64);
            assert!(z.abs() < 4.5, "{z}");
            let p = 1.0 / size as f64;
            let var = per_pair.iter().map(|c| (c - n as f64 * p).powi(2)).sum::<f64>() / trials as f64;
            assert!((var / (n as f64 * p * (1.0 - p)) - 1.0).abs() < 0.15, "variance of one pair {var}");
        }
    }

    #[test]
    fn fixed_total_number_without_multapses_is_a_uniform_subset() {
        let (n, trials) = (12, 4000);
        for (target, autapses, size) in [(1, true, 35.0), (0, false, 20.0)] {
            let mut counts: HashMap<(u32, u32), f64> = HashMap::new();
            for seed in 0..trials {
                let mut net = net([5, 7], target, Rule::FixedTotalNumber { n });
                net.projections[0].autapses = autapses;
                net.projections[0].multapses = false;
                net.seed = seed;
                let found = pairs(&net);
                assert_eq!(found.iter().collect::<HashSet<_>>().len(), n as usize);
                found.into_iter().for_each(|pair| *counts.entry(pair).or_insert(0.0) += 1.0);
            }
            let p = n as f64 / size;
            let (expected, sd) = (trials as f64 * p, (trials as f64 * p * (1.0 - p)).sqrt());
            assert!(counts.len() as f64 == size && counts.values().all(|c| (c - expected).abs() < 4.5 * sd), "{counts:?}");
        }
        let mut all = net([5, 7], 1, Rule::FixedTotalNumber { n: 35 });
        all.projections[0].multapses = false;
        assert_eq!(pairs(&all).into_iter().collect::<HashSet<_>>().len(), 35);
    }

    /// Chi-square of draws against masses computed from factorials.
    #[test]
    fn binomial_and_hypergeometric_draws_follow_their_laws() {
        let choose = |n: u64, k: u64| (0..k).fold(1.0, |c, i| c * (n - i) as f64 / (i + 1) as f64);
        let trials = 100_000;
        let check = |name: &str, mass: &dyn Fn(u64) -> f64, high: u64, draw: &mut dyn FnMut() -> u64| {
            let mut counts = vec![0.0; high as usize + 1];
            (0..trials).for_each(|_| counts[draw() as usize] += 1.0);
            let (mut chi, mut dof) = (0.0, -1.0f64);
            for (k, &count) in counts.iter().enumerate() {
                let expected = trials as f64 * mass(k as u64);
                if expected > 5.0 {
                    chi += (count - expected).powi(2) / expected;
                    dof += 1.0;
                } else {
                    assert!(count <= expected + 30.0, "{name}: {count} at {k}, expected {expected}");
                }
            }
            assert!((chi - dof) / (2.0 * dof).sqrt() < 4.5, "{name}: chi-square {chi} with {dof} degrees of freedom");
        };
        let mut s = Stream::new(key(9, 9), Purpose::Connect, 0, 0);
        for (n, p) in [(10, 0.3f64), (40, 0.5), (100, 0.02), (1, 0.5)] {
            let mass = |k: u64| choose(n, k) * p.powi(k as i32) * (1.0f64 - p).powi((n - k) as i32);
            (0..=n).for_each(|k| assert!((binomial_mass(k, n, p) / mass(k) - 1.0).abs() < 1e-12, "mass {k} of {n}"));
            check(&format!("binomial {n} {p}"), &mass, n, &mut || binomial(&mut s, n, p));
        }
        for (good, bad, draws) in [(7, 28, 12), (20, 5, 22), (30, 30, 30), (3, 1000, 50)] {
            let mass = |k: u64| {
                if draws > bad + k || k > good.min(draws) {
                    0.0
                } else {
                    choose(good, k) * choose(bad, draws - k) / choose(good + bad, draws)
                }
            };
            check(&format!("hypergeometric {good} {bad} {draws}"), &mass, draws, &mut || {
                hypergeometric(&mut s, good, bad, draws)
            });
        }
        // Large numbers: mean and variance.
        let (n, p) = (4_000_000_000u64, 1.0 / 3000.0);
        let x: Vec<f64> = (0..20_000).map(|_| binomial(&mut s, n, p) as f64 - n as f64 * p).collect();
        let var = n as f64 * p * (1.0 - p);
        let mean = x.iter().sum::<f64>() / 2e4;
        assert!(mean.abs() < 4.5 * (var / 2e4).sqrt(), "mean off by {mean}");
        assert!((x.iter().map(|x| x * x).sum::<f64>() / 2e4 / var - 1.0).abs() < 0.05);
    }

    fn sheet(n: [u32; 2], extent: [f64; 2], rule: Rule) -> Network {
        let mut net = net(n, 1, rule);
        for (i, population) in net.populations.iter_mut().enumerate() {
            let mut s = Stream::new(key(3, i as u32), Purpose::Position, 0, 0);
            let place = |_| std::array::from_fn(|d| (extent[d] * (s.uniform() - 0.5)) as f32);
            population.positions = Some((0..population.n).map(place).collect());
            population.extent = extent;
        }
        net
    }

    /// Distance on a torus by trying all images.
    fn naive_distance(a: [f32; 2], b: [f32; 2], period: Option<[f64; 2]>) -> f64 {
        let shifts = |d: usize| period.map_or(vec![0.0], |p| vec![-p[d], 0.0, p[d]]);
        let mut least = f64::INFINITY;
        for sx in shifts(0) {
            for sy in shifts(1) {
                let (dx, dy) = (a[0] as f64 - b[0] as f64 + sx, a[1] as f64 - b[1] as f64 + sy);
                least = least.min((dx * dx + dy * dy).sqrt());
            }
        }
        least
    }

    #[test]
    fn distance_rule_finds_exactly_the_neighbours() {
        for periodic in [false, true] {
            for radius in [0.05, 0.3, 0.9, 5.0] {
                let rule = Rule::Distance { profile: Profile::Constant { p: 1.0 }, radius, periodic };
                let net = sheet([60, 300], [2.0, 1.0], rule);
                let (from, to) = (net.populations[0].positions.clone().unwrap(), net.populations[1].positions.clone().unwrap());
                let period = periodic.then_some([2.0, 1.0]);
                let mut found = pairs(&net);
                found.sort_unstable();
                let near = |s: u32, t: u32| naive_distance(from[s as usize], to[t as usize], period) <= radius;
                let naive: Vec<_> = (0..60).flat_map(|s| (0..300).map(move |t| (s, t))).filter(|p| near(p.0, p.1)).collect();
                assert_eq!(found, naive, "periodic {periodic}, radius {radius}");
            }
        }
    }

    #[test]
    fn distance_rule_follows_its_profile() {
        let profiles = [Profile::Gaussian { p0: 0.6, sigma: 0.2 }, Profile::Exponential { p0: 0.9, lambda: 0.15 }];
        for profile in profiles {
            let net = sheet([400, 2000], [1.0, 1.0], Rule::Distance { profile, radius: 0.5, periodic: true });
            let (from, to) = (net.populations[0].positions.clone().unwrap(), net.populations[1].positions.clone().unwrap());
            let at = |s: u32, t: u32| naive_distance(from[s as usize], to[t as usize], Some([1.0, 1.0]));
            let (mut expected, mut found, mut variance) = ([0.0; 10], [0.0; 10], [0.0; 10]);
            for s in 0..400 {
                for t in 0..2000 {
                    let d = at(s, t);
                    if d <= 0.5 {
                        let bin = ((d * 20.0) as usize).min(9);
                        let p = profile.probability(d);
                        expected[bin] += p;
                        variance[bin] += p * (1.0 - p);
                    }
                }
            }
            let all = pairs(&net);
            assert_eq!(all.iter().collect::<HashSet<_>>().len(), all.len(), "no multapses");
            all.iter().for_each(|p| found[((at(p.0, p.1) * 20.0) as usize).min(9)] += 1.0);
            for bin in 0..10 {
                assert!(
                    (found[bin] - expected[bin]).abs() < 4.5 * f64::sqrt(variance[bin]),
                    "{profile:?} bin {bin}: {found:?} {expected:?}"
                );
            }
            let estimate = super::expected(&net, &net.projections[0]);
            assert!((estimate / all.len() as f64 - 1.0).abs() < 0.05, "estimate {estimate} for {}", all.len());
        }
    }

    fn rich() -> Network {
        let mut net = sheet([40, 55], [1.0, 1.0], Rule::FixedIndegree { indegree: 17 });
        let rules = [
            Rule::FixedTotalNumber { n: 900 },
            Rule::PairwiseBernoulli { p: 0.2 },
            Rule::Distance { profile: Profile::Gaussian { p0: 0.5, sigma: 0.2 }, radius: 0.4, periodic: true },
            Rule::FixedOutdegree { outdegree: 9 },
        ];
        net.projections.extend(rules.map(|rule| projection(0, 1, rule)));
        net.projections.push(projection(1, 0, Rule::FixedIndegree { indegree: 11 }));
        for p in &mut net.projections {
            p.weight = normal(1.0, 0.3, 0.0, f64::INFINITY);
            p.delay = Draw::Lognormal { mu: 0.4, sigma: 0.5, limits: Limits::NONE };
        }
        net
    }

    #[test]
    fn rows_do_not_depend_on_threads_or_order() {
        let net = rich();
        let of = |threads: usize| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(|| edges(&net));
        let one = of(1);
        assert!(one == of(2) && one == of(3));
        let rows = Rows::prepare(&net, &|_| {}).unwrap();
        let mut row = Vec::new();
        for source in (0..net.neurons()).rev() {
            rows.row(source, &mut row);
            assert!(row.iter().eq(one.iter().filter(|e| e.0 == source).map(|e| &e.1)), "source {source}");
        }
        let mut other = net.clone();
        other.seed += 1;
        assert_ne!(edges(&other), one);
    }

    #[test]
    fn weights_and_delays_follow_their_draws() {
        let mut net = net([200, 200], 1, Rule::AllToAll);
        net.projections[0].weight = normal(87.8, 8.78, 0.0, f64::INFINITY);
        net.projections[0].delay = normal(1.5, 0.75, 0.1, f64::INFINITY);
        let all = edges(&net);
        let n = all.len() as f64;
        for (values, draw) in [
            (all.iter().map(|e| e.1.weight).collect::<Vec<_>>(), &net.projections[0].weight),
            (all.iter().map(|e| e.1.delay).collect(), &net.projections[0].delay),
        ] {
            let mean = values.iter().sum::<f64>() / n;
            let sd = (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
            let expected = draw.moments();
            assert!((mean - expected.mean).abs() < 4.5 * sd / n.sqrt(), "{mean} for {expected:?}");
            assert!(values.iter().all(|x| *x >= expected.min));
        }
        let covariance = all.iter().map(|e| (e.1.weight - 87.8) / 8.78 * (e.1.delay - 1.54)).sum::<f64>() / n;
        assert!(covariance.abs() < 4.5 * 0.72 / n.sqrt(), "weights and delays are independent: {covariance}");
    }

    #[test]
    fn impossible_projections_are_refused_by_name() {
        let refuse = |mut net: Network, change: &dyn Fn(&mut Network)| {
            change(&mut net);
            let error = Rows::prepare(&net, &|_| {}).expect_err("must be refused");
            assert!(error.to_string().contains("projection `p0_p"), "{error}");
            assert!(error.remedy().is_some_and(|r| !r.is_empty()));
        };
        let none: &dyn Fn(&mut Network) = &|_| {};
        let simple: &dyn Fn(&mut Network) = &|n| {
            n.projections[0].multapses = false;
            n.projections[0].autapses = false;
        };
        refuse(net([4, 5], 1, Rule::OneToOne), none);
        refuse(net([4, 5], 1, Rule::PairwiseBernoulli { p: 1.5 }), none);
        refuse(net([4, 5], 1, Rule::PairwiseBernoulli { p: f64::NAN }), none);
        refuse(net([4, 5], 0, Rule::FixedIndegree { indegree: 4 }), simple);
        refuse(net([4, 5], 1, Rule::FixedOutdegree { outdegree: 6 }), simple);
        refuse(net([1, 5], 0, Rule::FixedIndegree { indegree: 1 }), &|n| n.projections[0].autapses = false);
        refuse(net([4, 5], 1, Rule::FixedTotalNumber { n: 21 }), simple);
        refuse(net([4, 5], 0, Rule::FixedTotalNumber { n: 13 }), simple);
        refuse(net([0, 5], 1, Rule::FixedTotalNumber { n: 1 }), none);
        refuse(net([4, 5], 1, Rule::AllToAll), &|n| n.projections[0].weight = Draw::Constant(f64::NAN));
        refuse(net([4, 5], 1, Rule::AllToAll), &|n| n.projections[0].target = 7);
        let near = Rule::Distance { profile: Profile::Constant { p: 0.5 }, radius: 0.1, periodic: true };
        refuse(net([4, 5], 1, near.clone()), none);
        refuse(sheet([4, 5], [1.0, 1.0], near.clone()), &|n| n.populations[0].extent = [2.0, 1.0]);
        refuse(sheet([4, 5], [1.0, 1.0], near.clone()), &|n| n.populations[0].positions = Some([[0.0; 2]].into()));
        refuse(sheet([1, 5], [1.0, 1.0], near), &|n| n.populations[0].positions = Some([[f32::NAN; 2]].into()));
        let edges = |start: &[u64], target: &[u32], weight: &[f32]| {
            Rule::Explicit(Arc::new(Edges {
                start: start.to_vec(),
                target: target.to_vec(),
                weight: Some(weight.to_vec()),
                delay: None,
            }))
        };
        refuse(net([2, 3], 1, edges(&[0, 1], &[0], &[1.0])), none);
        refuse(net([2, 3], 1, edges(&[0, 2, 1], &[0], &[1.0])), none);
        refuse(net([2, 3], 1, edges(&[0, 1, 1], &[3], &[1.0])), none);
        refuse(net([2, 3], 1, edges(&[0, 1, 1], &[2], &[f32::NAN])), none);
        refuse(net([2, 3], 1, edges(&[0, 1, 1], &[2], &[])), none);
    }

    proptest! {
        /// Whatever the rule, sizes and flags: ids in range, flags kept, in-degrees within the bound, expectation plausible.
        #[test]
        fn flags_and_bounds_hold(
            seed: u64, ns in 1u32..40, nt in 1u32..40, own: bool, autapses: bool, multapses: bool, which in 0usize..5, share in 0.0f64..1.0,
        ) {
            let nt = if own { ns } else { nt };
            let rule = match which {
                0 => Rule::PairwiseBernoulli { p: share },
                1 => Rule::FixedIndegree { indegree: (share * (ns - own as u32) as f64) as u32 },
                2 => Rule::FixedOutdegree { outdegree: (share * (nt - own as u32) as f64) as u32 },
                3 => Rule::FixedTotalNumber { n: (share * (ns * (nt - own as u32)) as f64) as u64 },
                _ => Rule::AllToAll,
            };
            let mut net = net([ns, nt], !own as usize, rule);
            net.seed = seed;
            net.projections[0].autapses = autapses;
            net.projections[0].multapses = multapses;
            let found = pairs(&net);
            prop_assert!(found.iter().all(|p| p.1 < nt));
            prop_assert!(!own || autapses || found.iter().all(|p| p.0 != p.1));
            let repeats = found.len() - found.iter().collect::<HashSet<_>>().len();
            prop_assert!(repeats == 0 || multapses && matches!(which, 1..=3));
            let mut indegree = vec![0.0; nt as usize];
            found.iter().for_each(|p| indegree[p.1 as usize] += 1.0);
            let bound = indegree_bound(&net, &net.projections[0]);
            prop_assert!(indegree.iter().all(|k: &f64| *k <= bound));
            let expected = super::expected(&net, &net.projections[0]);
            let spread = if which == 0 { 7.0 * (expected + 1.0).sqrt() } else { 0.0 };
            prop_assert!((found.len() as f64 - expected).abs() <= spread, "{} for {expected}", found.len());
        }
    }
}
