//! iaf_psc_delta: the program of models/neurons/iaf_psc_delta.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: i32, s0: f32, s1: i32, x0: f32, x1: f32, out: bool) -> (f32, i32, bool) {
    (s0, s1, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: i32, s0: f32, s1: i32, x0: f32, x1: f32, out: bool) -> (f32, i32, bool) {
    let v3 = i_eq(s1, 0_i32);
    let v5 = f_mul(s0, c4);
    let v8 = f_add(x1, c0);
    let v10 = f_mul(v8, c5);
    let v11 = f_add(v5, v10);
    let v12 = f_add(s0, v11);
    let v14 = f_add(v12, x0);
    let v16 = f_max(v14, c3);
    let v18 = i_sub(s1, 1_i32);
    let v19 = f_select(v3, v16, s0);
    let v20 = i_select(v3, s1, v18);
    let v22 = f_le(c1, v19);
    let v25 = f_select(v22, c2, v19);
    let v26 = i_select(v22, c6, v20);
    let v27 = f_flush(v25);
    (v27, v26, v22)
}

crate::model::compiled::kernel! {
    "iaf_psc_delta", 0xa04aaeec469576ff, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: i32 = 1),
    inputs: (x0, x1),
    output: out: bool = 2
}
