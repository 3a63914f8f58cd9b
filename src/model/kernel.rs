//! How an engine on the CPU calls a model's code: lanes of 32-bit words, structure of arrays. Two implementations promise the
//! same bits: the block interpreter of any program, and the compiled form of the built-in models (chosen by program hash).

/// Lanes in one call at most; a multiple of every vector width.
pub const BLOCK: usize = 1024;

/// A constant: the same for all lanes, or one word a lane.
#[derive(Clone, Copy, Debug)]
pub enum Operand<'a> {
    /// The same word for all lanes.
    Uniform(u32),
    /// A word a lane.
    Lanes(&'a [u32]),
}

/// One call: up to [`BLOCK`] neurons of one population (or synapses of one segment).
pub struct Lanes<'a> {
    /// Lanes in use.
    pub n: usize,
    /// In the order of `model.constants`.
    pub constants: &'a [Operand<'a>],
    /// In the order of `model.states`; f32, i32 or u32 as bits.
    pub states: &'a mut [&'a mut [u32]],
    /// Neurons: the ports in order, then the current where the model has one. Synapses: `w`, `elapsed`.
    pub inputs: &'a [&'a [f32]],
    /// Neurons: 1 where the lane spiked, else 0. Synapses: `psc` as f32 bits.
    pub output: &'a mut [u32],
}

/// The update of one model on the CPU: compiled in for built-in models, interpreted for others.
pub trait Kernel: Send + Sync {
    /// `substeps` calls of `integrate`, then `update` (threshold and reset included).
    fn run(&self, lanes: &mut Lanes, substeps: u32, scratch: &mut Scratch);
    /// How it runs, in words: the instructions, or that it is interpreted.
    fn describe(&self) -> &str;
}

/// Registers of the interpreter, reused between calls; one a thread.
#[derive(Default)]
pub struct Scratch {
    /// Room that grows as programs need it.
    pub words: Vec<u32>,
    /// For each part of a program, the values that are the same for all lanes.
    pub(super) uniform: [Vec<Option<u32>>; 2],
}
