//! A plastic rule as one projection uses it, resolved once for all engines: its traces, what each of its codes reads, how large a weight
//! may become, which signal it hears; and every refusal that does not depend on the engine. How a rule is carried out is each engine's
//! own. Knows networks and models; no engine.

use crate::error::{Error, Result};
use crate::model::program::Program;
use crate::model::{MAX_TRACES, Plasticity};
use crate::network::fixed_point::limit;
use crate::network::{Network, Projection};

/// A trace of a synapse's target.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trace {
    /// ms
    pub tau: f64,
    /// Only the nearest spike counts; otherwise they add up.
    pub nearest: bool,
}

impl Trace {
    /// per ms
    pub fn rate(self) -> f32 {
        (1.0 / self.tau) as f32
    }
}

/// What one of a rule's codes reads, beside `since_pre` and its own weight and states.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Reads {
    pub elapsed: bool,
    /// `since_post` or traces.
    pub past: bool,
    /// Which traces.
    pub traces: [bool; MAX_TRACES],
    pub since_event: bool,
    pub modulator: bool,
    pub modulator_start: bool,
    /// States of the target.
    pub states: bool,
}

impl Reads {
    /// Nothing where there is no such code.
    fn of(program: Option<&Program>, rule: &Plasticity) -> Reads {
        let Some(program) = program else { return Reads::default() };
        let traces = std::array::from_fn(|t| t < rule.traces.len() && program.reads(rule.trace_input(t)));
        Reads {
            elapsed: program.reads(Plasticity::ELAPSED),
            past: program.reads(Plasticity::SINCE_POST) || traces.contains(&true),
            traces,
            since_event: program.reads(Plasticity::SINCE_EVENT),
            modulator: program.reads(Plasticity::MODULATOR),
            modulator_start: program.reads(Plasticity::MODULATOR_START),
            states: (0..rule.post_states.len()).any(|k| program.reads(rule.state_input(k))),
        }
    }

    /// When the synapse's previous event was, or the signal then.
    pub fn needs_every_event(self) -> bool {
        self.since_event || self.modulator || self.modulator_start
    }

    /// Nothing but `elapsed` and `since_pre`.
    pub fn is_nothing(self) -> bool {
        !self.past && !self.needs_every_event() && !self.states
    }
}

/// The rule of a projection.
#[derive(Clone, Debug)]
pub(crate) struct PlasticRule {
    pub traces: Vec<Trace>,
    pub on_pre: Reads,
    pub on_post: Reads,
    pub on_modulator: Reads,
    pub on_read: Reads,
    /// Weights lie between 0 and this.
    pub bound: f64,
    /// Nothing larger is a weight or transmitted: the sum of all inputs has been bounded by it.
    pub limit: f32,
    /// Index in `Network::modulators` of the signal that the code reads.
    pub signal: Option<usize>,
}

impl PlasticRule {
    /// None for a synapse that keeps its weight.
    ///
    /// # Errors
    /// A trace does not decay; a code asks for what is not known when it runs; a signal is read and none is named; a bound that is
    /// no number.
    pub fn of(net: &Network, projection: &Projection) -> Result<Option<PlasticRule>> {
        let (synapse, model) = (&projection.synapse, &projection.synapse.model);
        let Some(rule) = &model.plasticity else { return Ok(None) };
        let refuse =
            |what: String, remedy: String| Err(Error::input(format!("projection `{}`: {what}", projection.name), remedy));
        let mut traces = Vec::with_capacity(rule.traces.len());
        for trace in &rule.traces {
            let tau = synapse.evaluate(&trace.tau)?;
            if !(tau > 0.0 && tau.is_finite()) {
                return refuse(
                    format!("the time constant of `{}` of {} is {tau} ms", trace.name, model.name),
                    format!("give {} a value above 0 ms", trace.tau.text),
                );
            }
            traces.push(Trace { tau, nearest: trace.nearest });
        }
        let programs = [&model.program, &rule.on_post, &rule.on_modulator, &rule.on_read];
        let [on_pre, on_post, on_modulator, on_read] = programs.map(|program| Reads::of(program.as_deref(), rule));
        for (name, code) in [("on_post", on_post), ("on_modulator", on_modulator)] {
            if code.elapsed {
                return refuse(
                    format!("{name} of {} reads `elapsed` before the source spikes again, when it is not known yet", model.name),
                    "read since_pre or since_event there, or elapsed in on_pre".into(),
                );
            }
        }
        let signal = projection.modulator.filter(|_| rule.modulator.is_some());
        match (&rule.modulator, signal) {
            (Some(name), None) => {
                return refuse(
                    format!("{} reads a modulator (`{name}`), and none is named", model.name),
                    "set Projection::modulator to one of the network's".into(),
                );
            }
            (_, Some(signal)) if signal >= net.modulators.len() => {
                return refuse(
                    format!("there is no modulator {signal}"),
                    format!("name one of the network's {}, the first is 0", net.modulators.len()),
                );
            }
            _ => {}
        }
        let bound = synapse.bound()?.unwrap_or(0.0);
        let limit = limit(projection)?.unwrap_or(0.0) as f32;
        Ok(Some(PlasticRule { traces, on_pre, on_post, on_modulator, on_read, bound, limit, signal }))
    }

    /// Time constants (ms) of the traces that add up, each once, in order: what has to be kept of a target's spikes.
    pub fn taus(&self) -> Vec<f64> {
        let mut taus = Vec::new();
        for trace in self.traces.iter().filter(|t| !t.nearest) {
            if !taus.contains(&trace.tau) {
                taus.push(trace.tau);
            }
        }
        taus
    }
}

/// Where a trace stands among time constants that are kept; None where only the nearest spike counts.
pub(crate) fn column(taus: &[f64], trace: Trace) -> Option<usize> {
    taus.iter().position(|tau| *tau == trace.tau).filter(|_| !trace.nearest)
}
