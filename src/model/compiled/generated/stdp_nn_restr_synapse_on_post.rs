//! stdp_nn_restr_synapse_on_post: the program of models/synapses/stdp_nn_restr_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: u32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, u32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: u32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, u32, f32) {
    let v3 = u_eq(s1, 0_u32);
    let v5 = f_neg(x1);
    let v7 = f_mul(v5, c3);
    let v8 = f_exp(v7);
    let v11 = f_mul(s0, c6);
    let v13 = f_sub(1.0_f32, v11);
    let v15 = f_max(v13, 0.0_f32);
    let v17 = f_pow_by::<PLAIN>(v15, c0);
    let v18 = f_mul(c4, v17);
    let v19 = f_mul(v18, v8);
    let v20 = f_add(s0, v19);
    let v22 = f_mul(v20, c6);
    let v23 = f_lt(v22, 1.0_f32);
    let v24 = f_select(v23, v20, c2);
    let v25 = f_select(v3, v24, s0);
    let v27 = f_flush(v25);
    (v27, 1_u32, out)
}

crate::model::compiled::kernel! {
    "stdp_nn_restr_synapse_on_post", 0x09ab24ed1fe33c28, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32),
    exponents: (c0),
    states: (s0: f32 = 0, s1: u32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 2
}
