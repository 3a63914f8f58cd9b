//! stdp_pl_synapse_hom_on_post: the program of models/synapses/stdp_pl_synapse_hom.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    let v4 = f_pow_by::<PLAIN>(s0, c1);
    let v5 = f_mul(c0, v4);
    let v7 = f_neg(x1);
    let v9 = f_mul(v7, c3);
    let v10 = f_exp(v9);
    let v11 = f_mul(s1, v10);
    let v12 = f_mul(v5, v11);
    let v13 = f_add(s0, v12);
    let v15 = f_min(v13, c2);
    let v16 = f_flush(v15);
    (v16, s1, out)
}

crate::model::compiled::kernel! {
    "stdp_pl_synapse_hom_on_post", 0x22d6b707faeacd56, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32),
    exponents: (c1),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 2
}
