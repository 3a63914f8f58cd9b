//! stdp_synapse: the program of models/synapses/stdp_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    let v5 = f_mul(s0, c6);
    let v7 = f_max(v5, 0.0_f32);
    let v9 = f_pow_by::<PLAIN>(v7, c1);
    let v10 = f_mul(c5, v9);
    let v11 = f_mul(v10, x7);
    let v12 = f_sub(s0, v11);
    let v13 = f_mul(v12, c6);
    let v14 = f_lt(0.0_f32, v13);
    let v15 = f_select(v14, v12, 0.0_f32);
    let v17 = f_neg(x1);
    let v19 = f_mul(v17, c3);
    let v20 = f_exp(v19);
    let v21 = f_mul(s1, v20);
    let v23 = f_add(v21, 1.0_f32);
    let v24 = f_flush(v15);
    let v25 = f_flush(v23);
    (v24, v25, v24)
}

crate::model::compiled::kernel! {
    "stdp_synapse", 0x7e4afe76ef977e77, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32),
    exponents: (c1),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 2
}
