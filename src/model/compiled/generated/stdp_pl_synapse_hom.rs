//! stdp_pl_synapse_hom: the program of models/synapses/stdp_pl_synapse_hom.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, s0: f32, s1: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32) {
    let v3 = f_mul(c4, s0);
    let v5 = f_mul(v3, x7);
    let v6 = f_sub(s0, v5);
    let v8 = f_max(v6, 0.0_f32);
    let v10 = f_neg(x1);
    let v12 = f_mul(v10, c3);
    let v13 = f_exp(v12);
    let v14 = f_mul(s1, v13);
    let v16 = f_add(v14, 1.0_f32);
    let v17 = f_flush(v8);
    let v18 = f_flush(v16);
    (v17, v18, v17)
}

crate::model::compiled::kernel! {
    "stdp_pl_synapse_hom", 0xd45e8458e8310137, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 2
}
