//! covariance_synapse_on_post: the program of models/synapses/covariance_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32, f32) {
    (s0, s1, s2, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32, f32) {
    let v4 = f_mul(c2, s1);
    let v6 = f_neg(x1);
    let v8 = f_mul(v6, c0);
    let v9 = f_exp(v8);
    let v10 = f_mul(v4, v9);
    let v12 = f_mul(c3, s2);
    let v14 = f_mul(v6, c1);
    let v15 = f_exp(v14);
    let v16 = f_mul(v12, v15);
    let v17 = f_sub(v10, v16);
    let v19 = f_abs(s0);
    let v20 = f_add(v19, v17);
    let v23 = f_max(v20, 0.0_f32);
    let v24 = f_min(v23, c5);
    let v25 = f_mul(c4, v24);
    let v26 = f_flush(v25);
    (v26, s1, s2, out)
}

crate::model::compiled::kernel! {
    "covariance_synapse_on_post", 0xb11459b15e8997cd, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7, x8),
    output: out: f32 = 3
}
