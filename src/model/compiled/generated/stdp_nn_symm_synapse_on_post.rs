//! stdp_nn_symm_synapse_on_post: the program of models/synapses/stdp_nn_symm_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32) {
    (s0, out)
}

#[inline(always)]
fn update(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32) {
    let v3 = f_neg(x1);
    let v5 = f_mul(v3, c3);
    let v6 = f_exp(v5);
    let v9 = f_mul(s0, c6);
    let v11 = f_sub(1.0_f32, v9);
    let v13 = f_max(v11, 0.0_f32);
    let v15 = f_pow(v13, c0);
    let v16 = f_mul(c4, v15);
    let v17 = f_mul(v16, v6);
    let v18 = f_add(s0, v17);
    let v20 = f_mul(v18, c6);
    let v21 = f_lt(v20, 1.0_f32);
    let v22 = f_select(v21, v18, c2);
    (v22, x0)
}

crate::model::compiled::kernel! {
    "stdp_nn_symm_synapse_on_post", 0xf447095e17500f9d, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32),
    states: (s0: f32 = 0),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 1
}
