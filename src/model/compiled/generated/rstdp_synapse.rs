//! rstdp_synapse: the program of models/synapses/rstdp_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32, f32) {
    (s0, s1, s2, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, s0: f32, s1: f32, s2: f32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, x5: f32, x6: f32, x7: f32, out: f32) -> (f32, f32, f32, f32) {
    let v4 = f_neg(x3);
    let v6 = f_mul(v4, c3);
    let v7 = f_exp(v6);
    let v8 = f_mul(s1, v7);
    let v11 = f_mul(c1, x7);
    let v12 = f_sub(v8, v11);
    let v14 = f_neg(x1);
    let v16 = f_mul(v14, c2);
    let v17 = f_exp(v16);
    let v18 = f_mul(s2, v17);
    let v20 = f_add(v18, 1.0_f32);
    let v21 = f_flush(v12);
    let v22 = f_flush(v20);
    (s0, v21, v22, s0)
}

crate::model::compiled::kernel! {
    "rstdp_synapse", 0xa5464981deb37fa4, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 3
}
