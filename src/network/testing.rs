//! Small networks for tests, made by hand: no model file is read here.

use super::inputs::{SpikeSource, Trains};
use super::{Cell, Draw, Limits, Network, NeuronInstance, Population, Projection, Rule, SynapseInstance};
use crate::error::Place;
use crate::expr::Expr;
use crate::model::program::Program;
use crate::model::{NeuronModel, Port, Sign, State, SynapseModel, Ty};
use std::sync::Arc;

fn place() -> Place {
    Place { file: "test.toml".into(), text: "".into(), span: 0..0 }
}

pub fn neuron(signs: &[Sign]) -> Cell {
    let port = |(i, sign): (usize, &Sign)| Port {
        name: format!("port{i}"),
        receptor: format!("receptor{i}"),
        unit: "pA".into(),
        doc: String::new(),
        sign: *sign,
        counts: false,
        charge: None,
    };
    Cell::Neuron(NeuronInstance {
        model: Arc::new(NeuronModel {
            name: "test_neuron".into(),
            doc: String::new(),
            source: String::new(),
            place: place(),
            params: Vec::new(),
            requires: Vec::new(),
            derived: Vec::new(),
            states: Vec::new(),
            ports: signs.iter().enumerate().map(port).collect(),
            current: None,
            recordables: Vec::new(),
            substeps: None,
            repeats: None,
            refractory: None,
            stable: None,
            constants: Vec::new(),
            program: Arc::new(Program::default()),
            wgsl: String::new(),
            event: None,
        }),
        params: Vec::new(),
        derived: Vec::new(),
        initial: Vec::new(),
        substeps: 1,
    })
}

/// One port that takes every weight.
pub fn one_port() -> Cell {
    neuron(&[Sign::Any])
}

/// A port for excitation, another for inhibition.
pub fn two_ports() -> Cell {
    neuron(&[Sign::Positive, Sign::Negative { absolute: false }])
}

pub fn source() -> Cell {
    Cell::Source(SpikeSource::Trains(Arc::new(Trains::default())))
}

/// A synapse with `states.len()` states of its own; static when there are none.
pub fn synapse(states: &[f64]) -> SynapseInstance {
    let state =
        |i: usize| State { name: format!("x{i}"), ty: Ty::F32, unit: "1".into(), doc: String::new(), init: Expr::number(0.0) };
    SynapseInstance {
        model: Arc::new(SynapseModel {
            name: if states.is_empty() { "static_synapse".into() } else { "test_synapse".into() },
            doc: String::new(),
            source: String::new(),
            place: place(),
            params: Vec::new(),
            requires: Vec::new(),
            derived: Vec::new(),
            states: (0..states.len()).map(state).collect(),
            recordables: Vec::new(),
            constants: Vec::new(),
            program: (!states.is_empty()).then(|| Arc::new(Program::default())),
            wgsl: String::new(),
            plasticity: None,
        }),
        params: Vec::new(),
        derived: Vec::new(),
        initial: states.to_vec(),
    }
}

/// Populations of these sizes and cells, no projections; steps of 0.1 ms.
pub fn network(populations: Vec<(u32, Cell)>) -> Network {
    let mut first = 0;
    let populations = populations
        .into_iter()
        .enumerate()
        .map(|(i, (n, cell))| {
            first += n;
            let name = format!("p{i}");
            Population { name, first: first - n, n, cell, positions: None, extent: [0.0; 2], record_spikes: None }
        })
        .collect();
    Network {
        dt: 0.1,
        seed: 42,
        stimulus_seed: 42,
        populations,
        projections: Vec::new(),
        drives: Vec::new(),
        probes: Vec::new(),
        modulators: Vec::new(),
        homeostasis: Vec::new(),
    }
}

pub fn projection(source: usize, target: usize, rule: Rule) -> Projection {
    Projection {
        name: format!("p{source}_p{target}"),
        source,
        target,
        rule,
        port: None,
        weight: Draw::Constant(1.0),
        delay: Draw::Constant(1.0),
        synapse: synapse(&[]),
        autapses: true,
        multapses: true,
        axonal: 0.0,
        modulator: None,
    }
}

pub fn normal(mean: f64, std: f64, low: f64, high: f64) -> Draw {
    Draw::Normal { mean, std, limits: Limits { low, high, redraw: true } }
}
