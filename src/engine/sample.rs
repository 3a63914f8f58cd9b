//! Recorded variables: the host expression of a recordable, bound to one population's parameters. Shared by all engines.

use crate::error::{Error, Result, nearest};
use crate::model::expr::Bound;
use crate::model::instance::value;
use crate::network::{NeuronInstance, Values};

/// Evaluates one recordable for any neuron of a population.
#[derive(Clone, Debug)]
pub struct Sampler {
    bound: Bound,
    /// What each slot of the expression holds.
    slots: Vec<Slot>,
}

#[derive(Clone, Debug)]
enum Slot {
    State(usize, crate::model::Ty),
    Constant(Values),
}

impl Sampler {
    /// Errors when the model has no recordable of that name (the nearest is suggested).
    pub fn new(instance: &NeuronInstance, variable: &str) -> Result<Sampler> {
        let model = &instance.model;
        let recordable = model.recordable(variable).ok_or_else(|| {
            let names: Vec<&str> = model.recordables.iter().map(|r| r.name.as_str()).collect();
            let hint = nearest(variable, names.iter().copied()).map(|n| format!("did you mean `{n}`? ")).unwrap_or_default();
            Error::input(
                format!("{} has no variable `{variable}` to record", model.name),
                format!("{hint}it has: {}", names.join(", ")),
            )
        })?;
        let mut slots: Vec<(String, Slot)> = Vec::new();
        slots.extend(model.states.iter().enumerate().map(|(i, s)| (s.name.clone(), Slot::State(i, s.ty))));
        slots.extend(model.params.iter().zip(&instance.params).map(|(p, v)| (p.name.clone(), Slot::Constant(v.clone()))));
        slots.extend(model.derived.iter().zip(&instance.derived).map(|(d, v)| (d.name.clone(), Slot::Constant(v.clone()))));
        // A state shadows a parameter of the same name; of the rest only what the expression reads is kept.
        let names = recordable.value.names();
        slots.retain(|(name, _)| names.iter().any(|n| n == name));
        let bound = recordable
            .value
            .bind(|name| slots.iter().position(|(n, _)| n == name))
            .map_err(|name| Error::input(format!("{}: unknown name `{name}` in recordable `{variable}`", model.name), "fix the model file"))?;
        Ok(Sampler { bound, slots: slots.into_iter().map(|(_, slot)| slot).collect() })
    }

    /// Value for the neuron with local id `i`; `word(s)` gives its state variable `s` as 32 bits.
    pub fn value(&self, i: usize, word: impl Fn(usize) -> u32) -> f64 {
        self.value64(i, |s, ty| value(ty, word(s)))
    }

    /// The same from states held in f64.
    pub fn value64(&self, i: usize, state: impl Fn(usize, crate::model::Ty) -> f64) -> f64 {
        let mut slots = [0.0f64; 32];
        for (slot, from) in slots.iter_mut().zip(&self.slots) {
            *slot = match from {
                Slot::State(s, ty) => state(*s, *ty),
                Slot::Constant(values) => values.get(i),
            };
        }
        self.bound.eval(&slots[..self.slots.len().min(32)])
    }
}
