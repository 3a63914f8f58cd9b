//! stdp_nn_restr_synapse: the program of models/synapses/stdp_nn_restr_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: u32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, u32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: u32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, u32, f32) {
    let v3 = u_eq(s1, 1_u32);
    let v7 = f_mul(s0, c6);
    let v9 = f_max(v7, 0.0_f32);
    let v11 = f_pow_by::<PLAIN>(v9, c1);
    let v12 = f_mul(c5, v11);
    let v13 = f_mul(v12, x7);
    let v14 = f_sub(s0, v13);
    let v15 = f_mul(v14, c6);
    let v16 = f_lt(0.0_f32, v15);
    let v17 = f_select(v16, v14, 0.0_f32);
    let v18 = f_select(v3, v17, s0);
    let v20 = f_flush(v18);
    (v20, 0_u32, v20)
}

crate::model::compiled::kernel! {
    "stdp_nn_restr_synapse", 0xab1d4d964e5a2bbe, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32),
    exponents: (c1),
    states: (s0: f32 = 0, s1: u32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 2
}
