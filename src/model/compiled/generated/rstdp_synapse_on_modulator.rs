//! rstdp_synapse_on_modulator: the program of models/synapses/rstdp_synapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

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
    let v10 = f_mul(c6, x6);
    let v11 = f_mul(v10, v7);
    let v12 = f_add(s0, v11);
    let v15 = f_max(v12, c4);
    let v16 = f_min(v15, c5);
    let v17 = f_flush(v16);
    let v18 = f_flush(v7);
    (v17, v18, s2, out)
}

crate::model::compiled::kernel! {
    "rstdp_synapse_on_modulator", 0x4a38ab65cad2b8fd, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2),
    inputs: (x0, x1, x2, x3, x4, x5, x6, x7),
    output: out: f32 = 3
}
