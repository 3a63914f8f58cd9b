//! parrot_neuron: the program of models/neurons/parrot_neuron.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(s0: f32, x0: f32, out: bool) -> (f32, bool) {
    (s0, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(s0: f32, x0: f32, out: bool) -> (f32, bool) {
    let v2 = f_add(x0, 0.5_f32);
    let v3 = f_floor(v2);
    let v5 = f_lt(0.0_f32, v3);
    let v7 = f_lt(v3, 65536.0_f32);
    let v8 = b_not(v7);
    let v11 = u_select(v7, 0_u32, 2143289344_u32);
    let v12 = u_as_f(v11);
    let v13 = b_or(v5, v8);
    let v14 = f_select(v7, v3, v12);
    let v15 = f_flush(v14);
    (v15, v13)
}

crate::model::compiled::kernel! {
    "parrot_neuron", 0x1b1924e4653ec58f, integrate: false,
    constants: (),
    exponents: (),
    states: (s0: f32 = 0),
    inputs: (x0),
    output: out: bool = 1
}
