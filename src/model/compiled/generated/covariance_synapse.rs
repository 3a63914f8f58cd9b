//! covariance_synapse: the program of models/synapses/covariance_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32, f32) {
    (s0, s1, s2, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32, f32) {
    let v4 = f_abs(s0);
    let v7 = f_mul(c2, x7);
    let v8 = f_add(v4, v7);
    let v11 = f_mul(c3, x8);
    let v12 = f_sub(v8, v11);
    let v15 = f_max(v12, 0.0_f32);
    let v16 = f_min(v15, c5);
    let v17 = f_mul(c4, v16);
    let v19 = f_neg(x1);
    let v21 = f_mul(v19, c0);
    let v22 = f_exp(v21);
    let v23 = f_mul(s1, v22);
    let v25 = f_add(v23, 1.0_f32);
    let v27 = f_mul(v19, c1);
    let v28 = f_exp(v27);
    let v29 = f_mul(s2, v28);
    let v30 = f_add(v29, 1.0_f32);
    let v31 = f_flush(v17);
    let v32 = f_flush(v25);
    let v33 = f_flush(v30);
    (v31, v32, v33, v31)
}

crate::model::compiled::kernel! {
    "covariance_synapse", 0xcfd53def2c057c49, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7, x8),
    output: out: f32 = 3
}
