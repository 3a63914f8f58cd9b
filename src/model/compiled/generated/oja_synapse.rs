//! oja_synapse: the program of models/synapses/oja_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    let v3 = f_neg(x1);
    let v5 = f_mul(v3, c2);
    let v6 = f_exp(v5);
    let v7 = f_mul(s1, v6);
    let v9 = f_add(v7, 1.0_f32);
    let v10 = f_flush(v9);
    (s0, v10, s0)
}

crate::model::compiled::kernel! {
    "oja_synapse", 0x8d507af74ff78367, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 2
}
