//! stdp_nn_symm_synapse_on_post: the program of models/synapses/stdp_nn_symm_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32) {
    (s0, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32) {
    let v2 = f_neg(x1);
    let v4 = f_mul(v2, c3);
    let v5 = f_exp(v4);
    let v8 = f_mul(s0, c6);
    let v10 = f_sub(1.0_f32, v8);
    let v12 = f_max(v10, 0.0_f32);
    let v14 = f_pow_by::<PLAIN>(v12, c0);
    let v15 = f_mul(c4, v14);
    let v16 = f_mul(v15, v5);
    let v17 = f_add(s0, v16);
    let v19 = f_mul(v17, c6);
    let v20 = f_lt(v19, 1.0_f32);
    let v21 = f_select(v20, v17, c2);
    let v22 = f_flush(v21);
    (v22, out)
}

crate::model::compiled::kernel! {
    "stdp_nn_symm_synapse_on_post", 0x4f4a7165c72b42b0, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32),
    exponents: (c0),
    states: (s0: f32 = 0),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 1
}
