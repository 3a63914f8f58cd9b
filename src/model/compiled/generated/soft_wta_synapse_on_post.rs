//! soft_wta_synapse_on_post: the program of models/synapses/soft_wta_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: u32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, out: f32) -> (f32, u32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: u32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, out: f32) -> (f32, u32, f32) {
    let v3 = u_eq(s1, 1_u32);
    let v6 = f_le(x1, c0);
    let v7 = b_and(v3, v6);
    let v10 = f_neg(s0);
    let v12 = f_mul(v10, c4);
    let v13 = f_exp(v12);
    let v14 = f_mul(c1, v13);
    let v16 = f_select(v7, v14, 0.0_f32);
    let v18 = f_sub(v16, 1.0_f32);
    let v19 = f_mul(c3, v18);
    let v20 = f_add(s0, v19);
    let v22 = f_max(v20, 0.0_f32);
    let v23 = f_min(v22, c2);
    let v24 = f_flush(v23);
    (v24, s1, out)
}

crate::model::compiled::kernel! {
    "soft_wta_synapse_on_post", 0xcd51f65374176588, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: u32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6),
    output: out: f32 = 2
}
