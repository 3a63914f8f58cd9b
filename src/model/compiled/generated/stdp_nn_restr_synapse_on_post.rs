//! stdp_nn_restr_synapse_on_post: the program of models/synapses/stdp_nn_restr_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: u32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, u32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: u32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, u32, f32) {
    let v4 = u_eq(s1, 0_u32);
    let v6 = f_neg(x1);
    let v8 = f_mul(v6, c3);
    let v9 = f_exp(v8);
    let v12 = f_mul(s0, c6);
    let v14 = f_sub(1.0_f32, v12);
    let v16 = f_max(v14, 0.0_f32);
    let v18 = f_pow(v16, c0);
    let v19 = f_mul(c4, v18);
    let v20 = f_mul(v19, v9);
    let v21 = f_add(s0, v20);
    let v23 = f_mul(v21, c6);
    let v24 = f_lt(v23, 1.0_f32);
    let v25 = f_select(v24, v21, c2);
    let v26 = f_select(v4, v25, s0);
    (v26, 1_u32, x0)
}

crate::model::compiled::kernel! {
    "stdp_nn_restr_synapse_on_post", 0x3ed9fd5ba9717bb4, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32),
    states: (s0: f32 = 0, s1: u32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 2
}
