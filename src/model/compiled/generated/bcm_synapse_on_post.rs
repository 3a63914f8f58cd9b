//! bcm_synapse_on_post: the program of models/synapses/bcm_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32) {
    let v4 = f_mul(x8, c3);
    let v5 = f_mul(v4, v4);
    let v7 = f_mul(v5, c4);
    let v9 = f_abs(s0);
    let v11 = f_mul(c0, s1);
    let v13 = f_neg(x1);
    let v15 = f_mul(v13, c1);
    let v16 = f_exp(v15);
    let v17 = f_mul(v11, v16);
    let v20 = f_mul(x7, c2);
    let v21 = f_sub(v20, v7);
    let v22 = f_mul(v17, v21);
    let v23 = f_add(v9, v22);
    let v26 = f_max(v23, 0.0_f32);
    let v27 = f_min(v26, c6);
    let v28 = f_mul(c5, v27);
    let v29 = f_flush(v28);
    (v29, s1, out)
}

crate::model::compiled::kernel! {
    "bcm_synapse_on_post", 0x2c85a5ec1371c126, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7, x8),
    output: out: f32 = 2
}
