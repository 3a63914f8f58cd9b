//! rstdp_synapse_on_post: the program of models/synapses/rstdp_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32, f32) {
    (s0, s1, s2, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32, f32) {
    let v3 = f_neg(x3);
    let v5 = f_mul(v3, c3);
    let v6 = f_exp(v5);
    let v7 = f_mul(s1, v6);
    let v9 = f_mul(c0, s2);
    let v11 = f_neg(x1);
    let v13 = f_mul(v11, c2);
    let v14 = f_exp(v13);
    let v15 = f_mul(v9, v14);
    let v16 = f_add(v7, v15);
    let v17 = f_flush(v16);
    (s0, v17, s2, out)
}

crate::model::compiled::kernel! {
    "rstdp_synapse_on_post", 0x92c123d75bc31379, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 3
}
