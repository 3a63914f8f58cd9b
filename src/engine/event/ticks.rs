//! The grain of time within which two events of the event engine count as one. Knows nothing else.

/// Times of one synapse are compared as whole multiples of this, ms: NEST's stdp_eps. Sums of times on a grid that differ in
/// their last bits are equal this way, and being equal is transitive.
pub const TICK: f64 = 1e-6;

/// A time as a number of ticks.
#[inline]
pub fn ticks(ms: f64) -> i64 {
    (ms * (1.0 / TICK)).round_ties_even() as i64
}
