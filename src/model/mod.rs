//! Models as data: a neuron or synapse model is one TOML file under models/, read at run time. This module promises checked
//! models in three equivalent shapes: WGSL text (what the GPU runs), a straight-line program (what the CPU runs) and host
//! expressions in f64 (derived constants, recordables, closed forms of the event engine). It knows naga, and no engine.

#[cfg(test)]
mod agreement;
mod compiled;
mod compose;
mod file;
mod instance;
mod interpret;
pub mod kernel;
pub mod library;
mod lower;
pub(crate) mod math;
pub(crate) mod ops;
pub(crate) mod program;

use crate::error::Place;
use crate::expr::Expr;
pub use compose::{Composed, compose};
pub use instance::{NeuronInstance, Recorder, SynapseInstance, Values, Words, number, word};
use std::sync::Arc;

/// A quantity of a model that the user may set, NEST's name and unit.
#[derive(Clone, Debug)]
pub struct Param {
    /// As scenarios call it.
    pub name: String,
    /// As the file writes it; empty for a plain number.
    pub unit: String,
    /// What it is, from the file, in one sentence.
    pub doc: String,
    /// Default, an expression over the parameters listed before it (most are plain numbers).
    pub default: Expr,
    /// Checked bounds: `(Some(0.0), false)` as `above` means strictly greater than zero.
    pub above: Option<f64>,
    /// The least value; None: no bound.
    pub at_least: Option<f64>,
    /// The greatest value; None: no bound.
    pub at_most: Option<f64>,
}

/// A relation between parameters that every neuron (synapse) must satisfy, checked in f64 whoever gave the values.
#[derive(Clone, Debug)]
pub struct Requirement {
    /// Over parameters, `dt` and `h` (ms); 0 or not a number where it does not hold.
    pub relation: Expr,
    /// What to do about it, where the file says so.
    pub message: Option<String>,
}

/// Scalar type of a constant or state variable inside the code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ty {
    /// 32-bit floating point.
    F32,
    /// 32-bit signed integer; wraps.
    I32,
    /// 32-bit unsigned integer; wraps.
    U32,
    /// Truth value; stored as 0 or 1.
    Bool,
}

impl Ty {
    /// WGSL's name (and Rust's).
    pub fn wgsl(self) -> &'static str {
        match self {
            Ty::F32 => "f32",
            Ty::I32 => "i32",
            Ty::U32 => "u32",
            Ty::Bool => "bool",
        }
    }
}

/// A constant computed on the host in f64 from parameters, `dt` (ms) and `h = dt/substeps` (ms), then rounded to `ty`.
#[derive(Clone, Debug)]
pub struct Derived {
    /// As the code calls it.
    pub name: String,
    /// Its type in the code.
    pub ty: Ty,
    /// Over parameters and the constants before it.
    pub value: Expr,
}

/// A state variable, one 32-bit word a neuron (or synapse).
#[derive(Clone, Debug)]
pub struct State {
    /// As the code and scenarios call it.
    pub name: String,
    /// Its type in the code.
    pub ty: Ty,
    /// As the file writes it; empty for a plain number.
    pub unit: String,
    /// What it is, from the file, in one sentence.
    pub doc: String,
    /// Initial value, an expression over parameters; of a synapse's u32 state also the name `random`.
    pub init: Expr,
}

impl State {
    /// The largest magnitude that an f32 state may have: potentials beyond 10^9 V are a fault though they are numbers.
    pub fn limit(&self) -> f32 {
        if self.unit == "mV" { 1e12 } else { f32::INFINITY }
    }

    /// Whether a word holds a number within the limit.
    pub fn is_sound(&self, word: u32) -> bool {
        self.ty != Ty::F32 || f32::from_bits(word).abs() <= self.limit()
    }

    /// A random word a synapse at the start: [`crate::network::SynapseInstance::random_word`].
    pub fn is_random(&self) -> bool {
        self.ty == Ty::U32 && self.init.text == RANDOM
    }
}

/// The initial value that stands for a random word.
const RANDOM: &str = "random";

/// Where synaptic input arrives. A projection names a port, or leaves the choice to the sign of its weights.
#[derive(Clone, Debug)]
pub struct Port {
    /// Identifier in the code: the f32 sum of weights that arrive at the end of this step.
    pub name: String,
    /// Receptor name that a projection uses, for instance "excitatory".
    pub receptor: String,
    /// Of the weights that arrive there: pA, nS or mV.
    pub unit: String,
    /// What it is, from the file, in one sentence.
    pub doc: String,
    /// Which weights arrive there unasked.
    pub sign: Sign,
    /// Whether the code receives the number of spikes that arrive, whatever their weights.
    pub counts: bool,
    /// Integral of the post-synaptic current (pA ms) caused by weight 1, over parameters; None where it has no fixed value.
    /// Used by the mean-input compensation of down-scaled networks.
    pub charge: Option<Expr>,
}

/// Which weights a port takes when the projection names no receptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// All of them.
    Any,
    /// Those of zero or more.
    Positive,
    /// Takes negative weights; the code receives the (negative) sum unless `absolute` is set in the file.
    Negative {
        /// Whether the code receives the sum without its sign.
        absolute: bool,
    },
}

/// A variable a probe can record: a host expression over states, parameters and derived constants.
#[derive(Clone, Debug)]
pub struct Recordable {
    /// As probes call it.
    pub name: String,
    /// As the file writes it; empty for a plain number.
    pub unit: String,
    /// What it is, from the file, in one sentence.
    pub doc: String,
    /// What is recorded.
    pub value: Expr,
}

/// A constant that the code reads: a parameter or derived value, as the 32-bit type the code sees.
#[derive(Clone, Debug)]
pub struct Constant {
    /// As the code calls it.
    pub name: String,
    /// Its type in the code.
    pub ty: Ty,
}

/// A checked neuron model.
#[derive(Debug)]
pub struct NeuronModel {
    /// As scenarios call it.
    pub name: String,
    /// What it models, from the file.
    pub doc: String,
    /// The publication that the equations are from.
    pub source: String,
    /// Path and text of the file, for messages.
    pub place: Place,
    /// What a scenario may set, in the order of the file.
    pub params: Vec<Param>,
    /// Relations that parameters must satisfy.
    pub requires: Vec<Requirement>,
    /// In the order in which they are computed.
    pub derived: Vec<Derived>,
    /// In the order of the kernels' `states` argument.
    pub states: Vec<State>,
    /// In the order of the kernels' `inputs` argument.
    pub ports: Vec<Port>,
    /// Identifier of the injected current in the code (`I`), and its unit; None when the model takes none.
    pub current: Option<(String, String)>,
    /// What probes may record; the states are among them.
    pub recordables: Vec<Recordable>,
    /// Number of `integrate` calls in a step, an expression over parameters and `dt`; 1 when absent.
    pub substeps: Option<Expr>,
    /// The state that says how many spikes a neuron emits where it emits any; None: one.
    pub repeats: Option<usize>,
    /// Refractory time in ms (expression over parameters), for the summary and the event engine; None for models without.
    pub refractory: Option<Expr>,
    /// What must hold after each step for the integration to be stable in the next, as the file has it. Where it does not, the code
    /// makes states NaN (the first of type f32 among them) and sets `spike`: the run ends with an error.
    pub stable: Option<String>,
    /// Constants read by the code, in the order of the kernels' `constants` argument.
    pub constants: Vec<Constant>,
    /// What the CPU runs: `integrate` (repeated `substeps` times), then `update`.
    pub program: Arc<program::Program>,
    /// The WGSL module text spliced into shaders/update.wgsl: `var<private>` for constants, states, ports, current, `spike`;
    /// helper functions; `fn integrate()` and `fn update()`.
    pub wgsl: String,
    /// For the event engine; None where the model has no closed forms.
    pub event: Option<EventForm>,
}

/// Closed forms for the event engine. Names in the expressions: states, parameters, derived constants that do not depend on
/// dt, the injected current, `s` (ms elapsed since the state was valid), `w` (a synaptic weight).
#[derive(Clone, Debug)]
pub struct EventForm {
    /// Free evolution: every state after `s` ms, in the order of `states`.
    pub advance: Vec<Expr>,
    /// Evolution while refractory.
    pub hold: Vec<Expr>,
    /// For each port: the (state index, new value) pairs when weight `w` arrives, free and while refractory.
    pub receive: Vec<Vec<(usize, Expr)>>,
    /// The same while refractory.
    pub receive_held: Vec<Vec<(usize, Expr)>>,
    /// True (non-zero) when the state is at or above threshold.
    pub crossed: Expr,
    /// When it will be.
    pub crossing: Crossing,
    /// (state index, value) pairs at a spike.
    pub reset: Vec<(usize, Expr)>,
    /// ms of hold after a spike.
    pub refractory: Expr,
}

/// When will a freely evolving neuron reach threshold?
#[derive(Clone, Debug)]
pub enum Crossing {
    /// ms until threshold, infinity for never.
    Closed(Expr),
    /// threshold function f(s) = constant + sum of amplitude * s^power * exp(-s/tau); the crossing is its first root from below.
    Exponentials {
        /// f at infinity.
        constant: Expr,
        /// What decays.
        terms: Vec<ExpTerm>,
    },
}

/// amplitude * s^power * exp(-s/tau), s in ms.
#[derive(Clone, Debug)]
pub struct ExpTerm {
    /// In the unit of the threshold over ms^power.
    pub amplitude: Expr,
    /// ms, above 0.
    pub tau: Expr,
    /// 0 to 8: 1 for alpha functions, 0 for plain exponentials.
    pub power: u32,
}

/// A checked synapse model. `on_pre` runs when a spike of the source reaches the synapse.
#[derive(Debug)]
pub struct SynapseModel {
    /// As scenarios call it.
    pub name: String,
    /// What it models, from the file.
    pub doc: String,
    /// The publication that the rule is from.
    pub source: String,
    /// Path and text of the file, for messages.
    pub place: Place,
    /// What a scenario may set, in the order of the file.
    pub params: Vec<Param>,
    /// Relations that parameters must satisfy.
    pub requires: Vec<Requirement>,
    /// In the order in which they are computed.
    pub derived: Vec<Derived>,
    /// State per synapse beside its weight; empty and no program for static_synapse.
    pub states: Vec<State>,
    /// What probes may record of each synapse beside its weight, over states, parameters, derived constants and `elapsed` (ms since the
    /// source's last spike, infinity before the first), as they are when it is read; states that none of them reads are among them.
    pub recordables: Vec<Recordable>,
    /// Constants read by the code, in the order of the kernels' `constants` argument.
    pub constants: Vec<Constant>,
    /// Unless plastic, inputs in the code: `w` (f32, the stored weight), `elapsed` (f32, ms since the source's previous spike, infinity at the
    /// first). The code sets `psc` (f32): the weight transmitted.
    pub program: Option<Arc<program::Program>>,
    /// The WGSL text that is spliced into the engine's shaders.
    pub wgsl: String,
    /// Of a synapse whose weight changes. Its programs count `w` as their first state and take the inputs of [`Plasticity`].
    pub plasticity: Option<Plasticity>,
}

/// What a plastic synapse has besides: the weight is a state of the code, and so is what it needs of its target's past. When its codes
/// run, and on which clock, says the schedule of [`crate::engine`].
#[derive(Clone, Debug)]
pub struct Plasticity {
    /// Largest weight that the code lets a weight reach, over parameters; its sign is that of all weights.
    pub bound: Expr,
    /// What it remembers of the target's spikes.
    pub traces: Vec<PostTrace>,
    /// States of the target that the code reads.
    pub post_states: Vec<PostState>,
    /// Index into `post_states`: `on_post` runs, and traces grow, not at spikes of the target but at each step after which this state is not 0.
    pub post_event: Option<usize>,
    /// What the file calls the global signal that the code reads; None when it reads none.
    pub modulator: Option<String>,
    /// Runs for each spike (or event) of the target since the source's last spike, in order, before `on_pre`.
    pub on_post: Option<Arc<program::Program>>,
    /// Runs for each jump of the signal since the source's last spike, in order of time with `on_post`.
    pub on_modulator: Option<Arc<program::Program>>,
    /// Runs on a copy of the synapse when it is read at a time without an event: what weight and states follow between events.
    pub on_read: Option<Arc<program::Program>>,
}

impl Plasticity {
    /// Inputs of all programs before the traces and then the states of the target. In ms: between the source's previous spike and
    /// this one (infinite at its first); from the last spike of the source (a source starts with one at 0, as in NEST) and of the
    /// target (infinite before its first) to this event; from the synapse's previous event of any kind that has code (0 at the start).
    /// Then the signal at this event (`on_modulator`: before the jump; the others: after one that coincides), the signal just after
    /// the synapse's previous event, and the amount of the jump (`on_modulator` only).
    pub const INPUTS: [&str; 7] = ["elapsed", "since_pre", "since_post", "since_event", "modulator", "modulator_start", "jump"];
    /// Position of `elapsed` among [`Plasticity::INPUTS`].
    pub const ELAPSED: usize = 0;
    /// Position of `since_pre`.
    pub const SINCE_PRE: usize = 1;
    /// Position of `since_post`.
    pub const SINCE_POST: usize = 2;
    /// Position of `since_event`.
    pub const SINCE_EVENT: usize = 3;
    /// Position of `modulator`.
    pub const MODULATOR: usize = 4;
    /// Position of `modulator_start`.
    pub const MODULATOR_START: usize = 5;
    /// Position of `jump`.
    pub const JUMP: usize = 6;

    /// Number of inputs of each program.
    pub fn inputs(&self) -> usize {
        Plasticity::INPUTS.len() + self.traces.len() + self.post_states.len()
    }
    /// Input of a trace.
    pub fn trace_input(&self, trace: usize) -> usize {
        Plasticity::INPUTS.len() + trace
    }
    /// Input of a state of the target.
    pub fn state_input(&self, state: usize) -> usize {
        Plasticity::INPUTS.len() + self.traces.len() + state
    }
    /// What the rule has that only some engines do, in words; None for a rule of spikes alone.
    pub fn special(&self) -> Option<&'static str> {
        match (&self.modulator, self.post_event, self.post_states.is_empty()) {
            (Some(_), ..) => Some("modulators"),
            (_, Some(_), _) => Some("events of the target other than spikes"),
            (_, _, false) => Some("states of the target that a synapse reads"),
            _ => None,
        }
    }
}

/// A state of a synapse's target that its code reads, as it is after the step that ends at the event (on the target's clock).
#[derive(Clone, Debug)]
pub struct PostState {
    /// Name of the state in the target's model.
    pub name: String,
    /// What it is, from the file, in one sentence.
    pub doc: String,
}

/// A checked modifier: code that changes the steps of any plastic rule (models/modifiers). [`compose`] makes a synapse model of both.
#[derive(Debug)]
pub struct Modifier {
    /// As scenarios call it.
    pub name: String,
    /// What it changes, from the file.
    pub doc: String,
    /// The publication that it is from.
    pub source: String,
    /// Path and text of the file, for messages.
    pub place: Place,
    /// What a scenario may set, in the order of the file.
    pub params: Vec<Param>,
    /// In the order in which they are computed.
    pub derived: Vec<Derived>,
    /// What it adds to the state of each synapse.
    pub states: Vec<State>,
    /// What it adds to the traces of the target.
    pub traces: Vec<PostTrace>,
    /// What the file calls the signal that it reads.
    pub modulator: Option<String>,
    /// Functions of its own, by name, and the statements of `on_step`.
    pub(crate) functions: Vec<String>,
}

/// A trace of a synapse's target: at a spike it jumps by 1 (to 1 when only the nearest counts), between them it decays with `tau`.
/// The code sees it just before the event.
#[derive(Clone, Debug)]
pub struct PostTrace {
    /// As the code calls it.
    pub name: String,
    /// What it is, from the file, in one sentence.
    pub doc: String,
    /// ms, over parameters.
    pub tau: Expr,
    /// Whether a spike sets it to 1 instead of adding 1.
    pub nearest: bool,
}

/// Traces of its target that a synapse may have.
pub const MAX_TRACES: usize = 5;

/// States of its target that a synapse may read.
pub const MAX_POST_STATES: usize = 4;

impl NeuronModel {
    /// Index of a parameter by its name.
    pub fn param(&self, name: &str) -> Option<usize> {
        self.params.iter().position(|p| p.name == name)
    }
    /// What probes may record under this name.
    pub fn recordable(&self, name: &str) -> Option<&Recordable> {
        self.recordables.iter().find(|r| r.name == name)
    }
    /// The state by which an engine knows that a neuron which spikes has left the range of stable integration.
    pub(crate) fn stability_mark(&self) -> Option<usize> {
        self.stable.as_ref().and_then(|_| self.states.iter().position(|s| s.ty == Ty::F32))
    }
    /// Index of a state by its name.
    pub fn state(&self, name: &str) -> Option<usize> {
        self.states.iter().position(|s| s.name == name)
    }
    /// Index of a state that a synapse of model `reader` reads of its target.
    ///
    /// # Errors
    /// There is no such state; names those there are.
    pub(crate) fn reads_state(&self, reader: &str, state: &str) -> crate::error::Result<usize> {
        self.state(state).ok_or_else(|| {
            let all = self.states.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
            crate::error::Error::input(
                format!("{reader} reads the state `{state}` of its target, which {} has not", self.name),
                format!("project onto a model with that state; {} has {}", self.name, if all.is_empty() { "none" } else { &all }),
            )
        })
    }
    /// What runs this model on the CPU: its compiled form where there is one, else the interpreter.
    pub fn kernel(&self) -> Arc<dyn kernel::Kernel> {
        compiled::find(&self.program).unwrap_or_else(|| self.interpreter())
    }

    /// The interpreter of this model's program.
    pub fn interpreter(&self) -> Arc<dyn kernel::Kernel> {
        Arc::new(interpret::Interpreter::new(&self.program))
    }
}

impl SynapseModel {
    /// What runs this model on the CPU; None for a static synapse.
    pub fn kernel(&self) -> Option<Arc<dyn kernel::Kernel>> {
        self.program.as_ref().and_then(|p| compiled::find(p)).or_else(|| self.interpreter())
    }

    /// The interpreter of this model's program; None for a static synapse.
    pub fn interpreter(&self) -> Option<Arc<dyn kernel::Kernel>> {
        self.program.as_ref().map(|p| Arc::new(interpret::Interpreter::new(p)) as Arc<dyn kernel::Kernel>)
    }

    /// What runs `on_post` on the CPU, where there is one.
    pub fn post_kernel(&self) -> Option<Arc<dyn kernel::Kernel>> {
        Some(kernel_of(self.plasticity.as_ref()?.on_post.as_ref()?))
    }

    /// What runs `on_modulator` on the CPU, where there is one.
    pub fn modulator_kernel(&self) -> Option<Arc<dyn kernel::Kernel>> {
        Some(kernel_of(self.plasticity.as_ref()?.on_modulator.as_ref()?))
    }

    /// What runs `on_read` on the CPU, where there is one.
    pub fn read_kernel(&self) -> Option<Arc<dyn kernel::Kernel>> {
        Some(kernel_of(self.plasticity.as_ref()?.on_read.as_ref()?))
    }
}

/// The compiled form of a program where there is one, else the interpreter.
fn kernel_of(program: &Arc<program::Program>) -> Arc<dyn kernel::Kernel> {
    compiled::find(program).unwrap_or_else(|| Arc::new(interpret::Interpreter::new(program)))
}
