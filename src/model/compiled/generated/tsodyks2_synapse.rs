//! tsodyks2_synapse: the program of models/synapses/tsodyks2_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, s0: f32, s1: f32, x0: f32, x1: f32, out: f32) -> (f32, f32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, s0: f32, s1: f32, x0: f32, x1: f32, out: f32) -> (f32, f32, f32) {
    let v5 = f_lt(x1, 1e30_f32);
    let v6 = f_mul(s1, s0);
    let v7 = f_sub(s1, v6);
    let v9 = f_sub(v7, 1.0_f32);
    let v10 = f_neg(x1);
    let v12 = f_mul(v10, c1);
    let v13 = f_exp(v12);
    let v14 = f_mul(v9, v13);
    let v15 = f_add(1.0_f32, v14);
    let v17 = f_sub(1.0_f32, c0);
    let v18 = f_mul(s0, v17);
    let v20 = f_mul(v10, c2);
    let v21 = f_exp(v20);
    let v22 = f_mul(v18, v21);
    let v23 = f_add(c0, v22);
    let v24 = f_select(v5, v23, s0);
    let v25 = f_select(v5, v15, s1);
    let v26 = f_mul(x0, v24);
    let v27 = f_mul(v26, v25);
    let v28 = f_flush(v24);
    let v29 = f_flush(v25);
    (v28, v29, v27)
}

crate::model::compiled::kernel! {
    "tsodyks2_synapse", 0xd55e52206abfa704, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1),
    output: out: f32 = 2
}
