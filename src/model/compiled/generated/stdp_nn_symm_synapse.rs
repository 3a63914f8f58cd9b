//! stdp_nn_symm_synapse: the program of models/synapses/stdp_nn_symm_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32) {
    (s0, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32) {
    let v4 = f_mul(s0, c6);
    let v6 = f_max(v4, 0.0_f32);
    let v8 = f_pow_by::<PLAIN>(v6, c1);
    let v9 = f_mul(c5, v8);
    let v10 = f_mul(v9, x7);
    let v11 = f_sub(s0, v10);
    let v12 = f_mul(v11, c6);
    let v13 = f_lt(0.0_f32, v12);
    let v14 = f_select(v13, v11, 0.0_f32);
    let v15 = f_flush(v14);
    (v15, v15)
}

crate::model::compiled::kernel! {
    "stdp_nn_symm_synapse", 0x5d92d25d32abfef8, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32),
    exponents: (c1),
    states: (s0: f32 = 0),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 1
}
