//! diehl_cook_synapse_on_post: the program of models/synapses/diehl_cook_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32) {
    let v3 = f_mul(c1, s1);
    let v5 = f_neg(x1);
    let v7 = f_mul(v5, c3);
    let v8 = f_exp(v7);
    let v9 = f_mul(v3, v8);
    let v11 = f_mul(v9, x8);
    let v12 = f_add(s0, v11);
    let v14 = f_min(v12, c2);
    let v15 = f_flush(v14);
    (v15, s1, out)
}

crate::model::compiled::kernel! {
    "diehl_cook_synapse_on_post", 0xf7c7d76bc8e0b1d6, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7, x8),
    output: out: f32 = 2
}
