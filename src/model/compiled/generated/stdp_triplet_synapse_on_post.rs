//! stdp_triplet_synapse_on_post: the program of models/synapses/stdp_triplet_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32, f32) {
    (s0, s1, s2, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, x8: f32, out: f32) -> (f32, f32, f32, f32) {
    let v3 = f_neg(x1);
    let v5 = f_mul(v3, c4);
    let v6 = f_exp(v5);
    let v7 = f_mul(s1, v6);
    let v11 = f_mul(c1, x8);
    let v12 = f_add(c0, v11);
    let v13 = f_mul(v7, v12);
    let v15 = f_abs(s0);
    let v16 = f_add(v15, v13);
    let v18 = f_min(v16, c7);
    let v19 = f_mul(c6, v18);
    let v20 = f_flush(v19);
    (v20, s1, s2, out)
}

crate::model::compiled::kernel! {
    "stdp_triplet_synapse_on_post", 0x69e826c5e02a0b2f, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7, x8),
    output: out: f32 = 3
}
