//! oja_synapse_on_post: the program of models/synapses/oja_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    let v3 = f_abs(s0);
    let v6 = f_neg(x1);
    let v8 = f_mul(v6, c2);
    let v9 = f_exp(v8);
    let v10 = f_mul(s1, v9);
    let v13 = f_mul(c1, x7);
    let v14 = f_mul(v13, v3);
    let v15 = f_sub(v10, v14);
    let v16 = f_mul(c0, v15);
    let v17 = f_add(v3, v16);
    let v20 = f_max(v17, 0.0_f32);
    let v21 = f_min(v20, c4);
    let v22 = f_mul(c3, v21);
    let v23 = f_flush(v22);
    (v23, s1, out)
}

crate::model::compiled::kernel! {
    "oja_synapse_on_post", 0xa52908bfe29bd7a7, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 2
}
