//! soft_wta_synapse: the program of models/synapses/soft_wta_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: u32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, out: f32) -> (f32, u32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: u32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, out: f32) -> (f32, u32, f32) {
    (s0, 1_u32, s0)
}

crate::model::compiled::kernel! {
    "soft_wta_synapse", 0x9a2b9142b866a941, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: u32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6),
    output: out: f32 = 2
}
