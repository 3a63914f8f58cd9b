//! stdp_nn_pre_centered_synapse_on_post: the program of models/synapses/stdp_nn_pre_centered_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    let v3 = f_neg(x1);
    let v5 = f_mul(v3, c3);
    let v6 = f_exp(v5);
    let v7 = f_mul(s1, v6);
    let v10 = f_mul(s0, c6);
    let v12 = f_sub(1.0_f32, v10);
    let v14 = f_max(v12, 0.0_f32);
    let v16 = f_pow_by::<PLAIN>(v14, c0);
    let v17 = f_mul(c4, v16);
    let v18 = f_mul(v17, v7);
    let v19 = f_add(s0, v18);
    let v21 = f_mul(v19, c6);
    let v22 = f_lt(v21, 1.0_f32);
    let v23 = f_select(v22, v19, c2);
    let v24 = f_flush(v23);
    (v24, 0.0_f32, out)
}

crate::model::compiled::kernel! {
    "stdp_nn_pre_centered_synapse_on_post", 0x3cffb2ee3df9d339, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32),
    exponents: (c0),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 2
}
