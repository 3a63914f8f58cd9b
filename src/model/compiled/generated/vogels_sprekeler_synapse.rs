//! vogels_sprekeler_synapse: the program of models/synapses/vogels_sprekeler_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    let v3 = f_abs(s0);
    let v6 = f_mul(c0, x7);
    let v7 = f_add(v3, v6);
    let v9 = f_min(v7, c4);
    let v11 = f_sub(v9, c2);
    let v13 = f_max(v11, 0.0_f32);
    let v14 = f_mul(c3, v13);
    let v16 = f_neg(x1);
    let v18 = f_mul(v16, c1);
    let v19 = f_exp(v18);
    let v20 = f_mul(s1, v19);
    let v22 = f_add(v20, 1.0_f32);
    let v23 = f_flush(v14);
    let v24 = f_flush(v22);
    (v23, v24, v23)
}

crate::model::compiled::kernel! {
    "vogels_sprekeler_synapse", 0x5c1f4eb0299b033d, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 2
}
