//! if_soft_reset: the program of models/neurons/if_soft_reset.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, s0: f32, s1: f32, x0: f32, x1: f32, out: bool) -> (f32, f32, bool) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, s0: f32, s1: f32, x0: f32, x1: f32, out: bool) -> (f32, f32, bool) {
    let v3 = f_mul(s1, c2);
    let v4 = f_add(s0, v3);
    let v7 = f_mul(x1, c1);
    let v8 = f_add(v4, v7);
    let v10 = f_add(v8, x0);
    let v12 = f_le(c0, v10);
    let v13 = f_sub(v10, c0);
    let v14 = f_select(v12, v13, v10);
    let v15 = f_flush(v14);
    (v15, s1, v12)
}

crate::model::compiled::kernel! {
    "if_soft_reset", 0x60dfc4ae122669b8, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1),
    inputs: (x0, x1),
    output: out: bool = 2
}
