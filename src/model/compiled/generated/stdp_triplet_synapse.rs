//! stdp_triplet_synapse: the program of models/synapses/stdp_triplet_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32, f32) {
    (s0, s1, s2, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32, f32) {
    let v4 = f_neg(x1);
    let v6 = f_mul(v4, c5);
    let v7 = f_exp(v6);
    let v8 = f_mul(s2, v7);
    let v10 = f_abs(s0);
    let v14 = f_mul(c3, v8);
    let v15 = f_add(c2, v14);
    let v16 = f_mul(x7, v15);
    let v17 = f_sub(v10, v16);
    let v19 = f_max(v17, 0.0_f32);
    let v20 = f_mul(c6, v19);
    let v22 = f_add(v8, 1.0_f32);
    let v24 = f_mul(v4, c4);
    let v25 = f_exp(v24);
    let v26 = f_mul(s1, v25);
    let v27 = f_add(v26, 1.0_f32);
    let v28 = f_flush(v20);
    let v29 = f_flush(v27);
    let v30 = f_flush(v22);
    (v28, v29, v30, v28)
}

crate::model::compiled::kernel! {
    "stdp_triplet_synapse", 0x58fa058c2e2c03e1, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7, x8),
    output: out: f32 = 3
}
