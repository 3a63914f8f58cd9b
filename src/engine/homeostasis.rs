//! What acts on all weights onto a target at stated times, the same on every engine. Promises that it acts right after the step that
//! ends at its time, however steps fall into calls, and that spikes counted for it outlive a checkpoint. Knows no engine but by
//! [`Engine::scale_weights`].

use super::{Engine, Sink, Snapshot, Spike, is_plastic};
use crate::error::{Error, Result};
use crate::network::inputs::steps_between;
use crate::network::{Homeostasis, HomeostasisKind, Network};
use std::ops::Range;

/// All homeostasis of a network.
#[derive(Default)]
pub(crate) struct Balance {
    entries: Vec<Entry>,
}

struct Entry {
    rule: Homeostasis,
    /// Steps between two times, each a multiple of it.
    every: u64,
    /// That many steps, in s.
    seconds: f64,
    /// Global ids of the targets, and spikes of each since it last acted.
    ids: Range<u32>,
    counts: Vec<u64>,
}

impl Balance {
    /// # Errors
    /// Weights that do not change by a rule are to be scaled, or times are not above 0 ms.
    pub fn new(net: &Network) -> Result<Balance> {
        let entry = |rule: &Homeostasis| {
            if !is_plastic(net, rule.projection)? {
                return Err(Error::input(
                    format!("homeostasis of projection `{}`: its weights do not change", net.projections[rule.projection].name),
                    "name a projection whose synapse is plastic",
                ));
            }
            if !(rule.every > 0.0 && rule.every.is_finite()) {
                return Err(Error::input(format!("homeostasis every {} ms", rule.every), "give a time above 0 ms"));
            }
            let every = steps_between(rule.every, net.dt);
            let target = &net.populations[net.projections[rule.projection].target];
            let (ids, counts) = (target.first..target.first + target.n, vec![0; target.n as usize]);
            Ok(Entry { rule: rule.clone(), every, seconds: every as f64 * net.dt / 1e3, ids, counts })
        };
        Ok(Balance { entries: net.homeostasis.iter().map(entry).collect::<Result<_>>()? })
    }

    /// The first step after `step` at the end of which something acts.
    fn next(&self, step: u64) -> u64 {
        self.entries.iter().map(|e| (step / e.every + 1) * e.every).min().unwrap_or(u64::MAX)
    }

    /// Advances an engine that has done `step` steps by `steps`: `go` by so many at a time, and whatever is due in between.
    /// `own` is where the engine keeps this.
    pub fn advance<E: Engine>(
        engine: &mut E,
        own: fn(&mut E) -> &mut Balance,
        [step, steps]: [u64; 2],
        sink: &mut dyn Sink,
        go: fn(&mut E, u64, &mut dyn Sink) -> Result<()>,
    ) -> Result<()> {
        if own(engine).entries.is_empty() {
            return go(engine, steps, sink);
        }
        let (mut now, end) = (step, step + steps);
        while now < end {
            let until = own(engine).next(now).min(end);
            let mut counting = Counting { balance: std::mem::take(own(engine)), sink: &mut *sink };
            let gone = go(engine, until - now, &mut counting);
            *own(engine) = counting.balance;
            gone?;
            now = until;
            for k in 0..own(engine).entries.len() {
                if !now.is_multiple_of(own(engine).entries[k].every) {
                    continue;
                }
                let Entry { rule, seconds, counts, .. } = &mut own(engine).entries[k];
                let (rule, seconds, none) = (rule.clone(), *seconds, vec![0; counts.len()]);
                let counts = std::mem::replace(counts, none);
                let factor = |target: u32, sum: f64| match rule.kind {
                    HomeostasisKind::Normalise { sum: _ } if sum == 0.0 => 1.0,
                    HomeostasisKind::Normalise { sum: wanted } => wanted / sum,
                    HomeostasisKind::Scaling { target: wanted, gain } => {
                        (1.0 + gain * (wanted - counts[target as usize] as f64 / seconds)).max(0.0)
                    }
                };
                engine.scale_weights(rule.projection, &factor)?;
            }
        }
        Ok(())
    }

    /// The spikes counted, as a snapshot holds them.
    pub fn counts(&self) -> Vec<u64> {
        self.entries.iter().flat_map(|e| e.counts.iter().copied()).collect()
    }

    /// The reverse.
    ///
    /// # Errors
    /// The snapshot holds other counts than this network's, or none.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<()> {
        if snapshot.counts.len() != self.entries.iter().map(|e| e.counts.len()).sum::<usize>() {
            return Err(Error::input(
                "the checkpoint does not hold the spike counts that [[homeostasis]] needs",
                "resume with the scenario that wrote it",
            ));
        }
        self.entries.iter_mut().flat_map(|e| &mut e.counts).zip(&snapshot.counts).for_each(|(count, word)| *count = *word);
        Ok(())
    }
}

/// Hands everything on, and counts the spikes of targets.
struct Counting<'a> {
    balance: Balance,
    sink: &'a mut dyn Sink,
}

impl Sink for Counting<'_> {
    fn spikes(&mut self, spikes: &[Spike]) -> Result<()> {
        for Entry { ids, counts, .. } in &mut self.balance.entries {
            spikes.iter().filter(|s| ids.contains(&s.id)).for_each(|s| counts[(s.id - ids.start) as usize] += 1);
        }
        self.sink.spikes(spikes)
    }

    fn sample(&mut self, probe: usize, time: f64, values: &[f32]) -> Result<()> {
        self.sink.sample(probe, time, values)
    }
}
