//! Images and vectors to spikes: rate and latency encoding, presentation schedules.

/// Samples presented one after another to a source population.
#[derive(Clone, Debug)]
pub struct Presentation {}
