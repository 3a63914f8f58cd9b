//! How much memory a network takes, before any of it is allocated, and how much there is. Promises an estimate from the rules
//! alone (expected numbers of synapses), and a refusal that names both figures. Knows no engine.

use super::connectivity::expected;
use super::digits::Kept;
use super::fixed_point::{NARROW, Weights, is_dynamic, quanta, weights};
use super::{Cell, Network, Projection, Rule};
use crate::error::{Error, Result};
use std::path::Path;

/// Steps after which the recent spikes of plastic synapses' targets are forgotten.
pub const HISTORY_STEPS: u64 = 1 << 15;
/// Hz: neurons onto which plastic synapses project are expected to spike no more often.
const BUSY: f64 = 50.0;

/// Expected sizes; bytes unless said otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Estimate {
    /// Neurons and sources.
    pub neurons: u64,
    /// Expected number of synapses.
    pub synapses: u64,
    /// Synapse tables, dynamic synapses included.
    pub table_bytes: u64,
    /// Of these, weights and states of dynamic synapses.
    pub dynamic_bytes: u64,
    /// States, parameters given for each neuron, accumulators, and recent spikes of the targets of plastic synapses.
    pub state_bytes: u64,
    /// Indices that rules keep while the tables are built (and after, for reading weights).
    pub rules_bytes: u64,
    /// Everything together at the moment of most.
    pub peak_bytes: u64,
}

/// What the network takes with `blocks` blocks (threads, or 1 on a device).
pub fn estimate(net: &Network, blocks: usize) -> Estimate {
    let blocks = blocks.max(1);
    let (quantum, exact) = quanta(net).unwrap_or_default();
    let mut e = Estimate { neurons: net.populations.iter().map(|p| p.n as u64).sum(), ..Default::default() };
    let (mut synapses, mut table, mut dynamic, mut rules) = (0.0, 0.0, 0.0, 0.0);
    // Synapses and distinct delays of each source population, static and dynamic.
    let mut segments = vec![[(0.0, 0.0f64); 2]; net.populations.len()];
    let known = |p: &Projection| p.source.max(p.target) < net.populations.len();
    for (index, projection) in net.projections.iter().enumerate().filter(|(_, p)| known(p)) {
        let n = expected(net, projection);
        let sources = net.populations[projection.source].n as f64;
        let (count, spread) = &mut segments[projection.source][is_dynamic(projection) as usize];
        *count += n;
        *spread = delays(net, projection).max(*spread);
        synapses += n;
        if is_dynamic(projection) {
            let arrays = 4.0 * (1 + projection.synapse.model.states.len()) as f64 * n;
            dynamic += arrays;
            table += 4.0 * n + arrays;
        } else {
            let least = quantum.get(projection.target).and_then(|q| q.iter().copied().reduce(f64::min)).unwrap_or(0.0);
            let largest = match weights(projection).0 {
                Weights::Drawn { reach, .. } => reach,
                other => other.bound(),
            };
            // Digits: most weights have two or three, those on a grid rarely a second.
            let each = match [0, 1].map(|sign| exact.projection(index, sign)) {
                [Kept::Plain, Kept::Plain] if largest <= NARROW * least * 1.000001 => 4.0,
                [Kept::Plain, Kept::Plain] => 8.0,
                [Kept::Relative, _] | [_, Kept::Relative] => 12.0,
                _ => 6.0,
            };
            table += each * n;
        }
        rules += match &projection.rule {
            Rule::FixedIndegree { .. } => 4.0 * n + 8.0 * sources,
            Rule::FixedTotalNumber { .. } => 4.0 * sources,
            Rule::Distance { .. } => 12.0 * net.populations[projection.target].n as f64,
            _ => 0.0,
        };
    }
    // A header for every delay that occurs in a row (two words with dynamic synapses), in every block.
    for (population, kinds) in net.populations.iter().zip(segments) {
        let rows = population.n as f64 * blocks as f64;
        table += kinds.iter().zip([4.0, 8.0]).map(|((n, spread), bytes)| bytes * n.min(rows * spread)).sum::<f64>();
    }
    // Position and end of each row.
    table += 12.0 * e.neurons as f64 * blocks as f64;
    let mut state = 0u64;
    for (p, population) in net.populations.iter().enumerate() {
        let Cell::Neuron(instance) = &population.cell else { continue };
        let each = instance.params.iter().chain(&instance.derived).chain(&instance.initial).filter(|v| !v.is_uniform()).count();
        let words = instance.model.states.len()
            + instance.model.constants.len()
            + 2 * exact.planes(p, instance.model.ports.len()) as usize;
        state += population.n as u64 * (8 * each as u64 + 4 * words as u64);
    }
    for projection in &net.projections {
        let (Some(plasticity), Some(target)) = (&projection.synapse.model.plasticity, net.populations.get(projection.target))
        else {
            continue;
        };
        let spikes = HISTORY_STEPS as f64 * net.dt * 1e-3 * BUSY;
        state += (target.n as f64 * spikes * (8 + 4 * plasticity.traces.len()) as f64) as u64;
    }
    let bytes = |x: f64| if x < u64::MAX as f64 { x as u64 } else { u64::MAX };
    e.synapses = bytes(synapses);
    e.table_bytes = bytes(table);
    e.dynamic_bytes = bytes(dynamic);
    e.state_bytes = state;
    e.rules_bytes = bytes(rules);
    // Pieces under way, spikes in flight and the program itself: an allowance of 5 % and 64 MiB.
    let total = (table + rules + state as f64) * 1.05 + (64u64 << 20) as f64;
    e.peak_bytes = bytes(total);
    e
}

/// Distinct delays, in steps, that most synapses of a projection have.
fn delays(net: &Network, projection: &Projection) -> f64 {
    if let Rule::Explicit(edges) = &projection.rule
        && let Some(given) = &edges.delay
    {
        let (low, high) = given.iter().fold((f64::INFINITY, 0.0f64), |(l, h), &d| (l.min(d), h.max(d)));
        return ((high - low).max(0.0) / net.dt).floor() + 1.0;
    }
    let moments = projection.delay.moments();
    let reach = (moments.max - moments.mean).min(2.0 * (moments.mean - moments.min).abs());
    ((moments.max.min(moments.mean + reach) - moments.min).max(0.0) / net.dt).floor() + 1.0
}

/// Refuses a network that needs more memory than there is.
///
/// # Errors
/// [`Error::Memory`] with what is needed and what there is. Passes where the system does not tell.
pub fn check(estimate: &Estimate) -> Result<()> {
    check_against(estimate, available())
}

fn check_against(estimate: &Estimate, available: Option<u64>) -> Result<()> {
    match available {
        Some(available) if estimate.peak_bytes > available => Err(Error::Memory {
            message: format!(
                "the network needs about {} of memory ({} neurons, {} synapses), {} are available",
                gib(estimate.peak_bytes),
                estimate.neurons,
                estimate.synapses,
                gib(available)
            ),
            remedy: "make the network smaller (fewer neurons or synapses), or close other programs".into(),
        }),
        _ => Ok(()),
    }
}

/// Refuses to draw numbers for `n` neurons where they would not fit, before the whole network can be estimated.
///
/// # Errors
/// [`Error::Input`] with what is needed and what there is; the caller knows the place.
pub fn room(n: u32) -> Result<()> {
    // A number is held as f64, and copied into what is derived from it.
    let needed = 24 * n as u64;
    match available().filter(|_| n > 1 << 20) {
        Some(available) if needed > available => Err(Error::input(
            format!("a number for each of {n} neurons needs about {} of memory, {} are available", gib(needed), gib(available)),
            "make the population smaller, or close other programs",
        )),
        _ => Ok(()),
    }
}

fn gib(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / (1u64 << 30) as f64)
}

/// Bytes that this process may still take: what the system has, what its control groups and its own limit (`ulimit -v`) leave.
/// None where it does not tell.
pub fn available() -> Option<u64> {
    let text = |path: &str| std::fs::read_to_string(path).ok();
    let system = text("/proc/meminfo").and_then(|t| meminfo(&t));
    let group =
        text("/proc/self/cgroup").map_or_else(Vec::new, |t| cgroups(&t)).into_iter().filter_map(|path| control(&path)).min();
    let own =
        text("/proc/self/limits").zip(text("/proc/self/status")).and_then(|(limits, status)| address_space(&limits, &status));
    [system, group, own].into_iter().flatten().min()
}

/// MemAvailable in bytes.
fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// What the limit of the address space leaves, in bytes; None where there is no limit.
fn address_space(limits: &str, status: &str) -> Option<u64> {
    let limit =
        limits.lines().find_map(|l| l.strip_prefix("Max address space"))?.split_whitespace().next()?.parse::<u64>().ok()?;
    let used = status.lines().find_map(|l| l.strip_prefix("VmSize:"))?.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?;
    Some(limit.saturating_sub(used * 1024))
}

/// Folders of the memory control groups of a process and their parents, from /proc/self/cgroup.
fn cgroups(text: &str) -> Vec<String> {
    let mut folders = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else { continue };
        let root = match controllers {
            "" => "/sys/fs/cgroup",
            c if c.split(',').any(|c| c == "memory") => "/sys/fs/cgroup/memory",
            _ => continue,
        };
        let mut path = Some(Path::new(path));
        while let Some(p) = path {
            folders.push(format!("{root}{}", p.display()));
            path = p.parent();
        }
    }
    folders
}

/// What a control group leaves: its limit less what it uses, where file pages that can be dropped do not count.
fn control(folder: &str) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(Path::new(folder).join(name)).ok();
    let number = |names: [&str; 2]| names.iter().find_map(|n| read(n)?.trim().parse::<u64>().ok());
    let limit = number(["memory.max", "memory.limit_in_bytes"])?;
    let used = number(["memory.current", "memory.usage_in_bytes"])?;
    let stat = read("memory.stat").unwrap_or_default();
    let droppable = |name: &str| stat.lines().find_map(|l| l.strip_prefix(name)?.trim().parse::<u64>().ok());
    let cached = droppable("inactive_file ").or_else(|| droppable("total_inactive_file ")).unwrap_or(0);
    Some(limit.saturating_sub(used.saturating_sub(cached)))
}

#[cfg(test)]
mod tests {
    use super::super::connectivity::Rows;
    use super::super::synapse_table::build;
    use super::super::testing::{network, normal, one_port, projection, source, synapse, two_ports};
    use super::*;

    #[test]
    fn the_estimate_is_near_what_the_tables_take() {
        let mut net = network(vec![(1500, two_ports()), (400, one_port()), (100, source())]);
        for (s, t, n) in [(0, 0, 300_000), (0, 1, 100_000), (1, 0, 80_000), (2, 0, 40_000)] {
            net.projections.push(projection(s, t, Rule::FixedTotalNumber { n }));
            net.projections.last_mut().unwrap().weight = normal(2.0, 0.2, f64::NEG_INFINITY, f64::INFINITY);
            net.projections.last_mut().unwrap().delay = normal(1.5, 0.75, 0.1, f64::INFINITY);
        }
        net.projections[1].synapse = synapse(&[0.5, 0.25]);
        net.projections[3].rule = Rule::PairwiseBernoulli { p: 0.25 };
        for blocks in [1, 2] {
            let e = estimate(&net, blocks);
            let rows = Rows::prepare(&net, &|_| {}).unwrap();
            let tables = build(&net, &rows, blocks, &|_| {}).unwrap();
            let ratio = |estimate: u64, actual: u64| estimate as f64 / actual as f64;
            assert!((ratio(e.synapses, tables.synapses()) - 1.0).abs() < 0.01);
            let bytes = ratio(e.table_bytes, tables.bytes());
            assert!((0.9..1.35).contains(&bytes), "{} estimated, {} taken", e.table_bytes, tables.bytes());
            assert_eq!(e.dynamic_bytes, 100_000 * 12);
            assert!(e.peak_bytes > tables.bytes());
        }
    }

    #[test]
    fn estimates_of_networks_that_will_be_refused_do_not_fail() {
        let mut net = network(vec![(10, one_port())]);
        net.projections.push(projection(0, 7, Rule::AllToAll));
        net.projections.push(projection(0, 0, Rule::PairwiseBernoulli { p: f64::NAN }));
        net.projections[1].delay = super::super::Draw::Constant(f64::NAN);
        assert_eq!(estimate(&net, 0).neurons, 10);
    }

    #[test]
    fn too_large_a_network_is_refused_with_both_figures() {
        let mut net = network(vec![(4_000_000, one_port())]);
        net.projections.push(projection(0, 0, Rule::FixedIndegree { indegree: 100_000 }));
        let e = estimate(&net, 2);
        assert_eq!(e.synapses, 400_000_000_000);
        let error = check_against(&e, Some(24 << 30)).unwrap_err();
        let text = error.to_string();
        assert!(
            matches!(error, Error::Memory { .. }) && text.contains("24.00 GiB") && text.contains("400000000000 synapses"),
            "{text}"
        );
        assert!(check_against(&e, None).is_ok() && check_against(&e, Some(u64::MAX)).is_ok());
    }

    #[test]
    fn figures_of_the_system_are_read() {
        assert_eq!(meminfo("MemTotal: 100 kB\nMemAvailable:     2048 kB\n"), Some(2048 * 1024));
        assert_eq!(meminfo("MemTotal: 100 kB\n"), None);
        let folders = cgroups("5:cpu:/a\n4:memory,x:/b/c\n0::/d\n");
        assert_eq!(
            folders,
            [
                "/sys/fs/cgroup/memory/b/c",
                "/sys/fs/cgroup/memory/b",
                "/sys/fs/cgroup/memory/",
                "/sys/fs/cgroup/d",
                "/sys/fs/cgroup/"
            ]
        );
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let folder = dir.path().to_str().unwrap();
        assert_eq!(control(folder), None);
        write("memory.max", "1000\n");
        write("memory.current", "700\n");
        write("memory.stat", "anon 5\ninactive_file 200\n");
        assert_eq!(control(folder), Some(500));
        write("memory.max", "max\n");
        assert_eq!(control(folder), None);
        if cfg!(target_os = "linux") {
            assert!(available().is_some_and(|bytes| bytes > 1 << 20));
            assert!(room(1000).is_ok());
            let limits = "Limit  Soft Limit  Hard Limit  Units\nMax address space  4000000  unlimited  bytes\n";
            assert_eq!(address_space(limits, "Name: x\nVmSize:\t  1000 kB\n"), Some(4_000_000 - 1_024_000));
            assert_eq!(address_space("Max address space  unlimited  unlimited  bytes", "VmSize: 1 kB"), None);
        }
    }
}
