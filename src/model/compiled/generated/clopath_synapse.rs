//! clopath_synapse: the program of models/synapses/clopath_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32) {
    let v3 = f_sub(s0, x8);
    let v5 = f_max(v3, c0);
    let v7 = f_neg(x1);
    let v9 = f_mul(v7, c2);
    let v10 = f_exp(v9);
    let v11 = f_mul(s1, v10);
    let v12 = f_add(v11, c2);
    let v13 = f_flush(v5);
    let v14 = f_flush(v12);
    (v13, v14, v13)
}

crate::model::compiled::kernel! {
    "clopath_synapse", 0xc2cf0235988e5c47, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7, x8),
    output: out: f32 = 2
}
