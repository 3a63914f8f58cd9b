//! diehl_cook_synapse: the program of models/synapses/diehl_cook_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32) {
    let v3 = f_mul(c0, x7);
    let v4 = f_sub(s0, v3);
    let v6 = f_max(v4, 0.0_f32);
    let v8 = f_flush(v6);
    (v8, 1.0_f32, v8)
}

crate::model::compiled::kernel! {
    "diehl_cook_synapse", 0xd9cec0bd2dffffc6, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7, x8),
    output: out: f32 = 2
}
