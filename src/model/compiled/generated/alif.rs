//! alif: the program of models/neurons/alif.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: i32, s0: f32, s1: f32, s2: i32, x0: f32, x1: f32, out: bool) -> (f32, f32, i32, bool) {
    (s0, s1, s2, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: i32, s0: f32, s1: f32, s2: i32, x0: f32, x1: f32, out: bool) -> (f32, f32, i32, bool) {
    let v4 = f_mul(s0, c4);
    let v7 = f_add(x1, c1);
    let v9 = f_mul(v7, c5);
    let v10 = f_add(v4, v9);
    let v11 = f_add(s0, v10);
    let v13 = f_add(v11, x0);
    let v15 = f_max(v13, c3);
    let v17 = f_mul(s1, c6);
    let v18 = f_add(s1, v17);
    let v20 = i_sub(s2, 1_i32);
    let v22 = i_max(v20, 0_i32);
    let v23 = i_eq(v22, 0_i32);
    let v26 = f_mul(c0, v18);
    let v27 = f_add(c2, v26);
    let v28 = f_le(v27, v15);
    let v29 = b_and(v23, v28);
    let v30 = f_sub(v15, c2);
    let v32 = f_add(v18, c7);
    let v34 = f_select(v29, v30, v15);
    let v35 = f_select(v29, v32, v18);
    let v36 = i_select(v29, c8, v22);
    let v37 = f_flush(v34);
    let v38 = f_flush(v35);
    (v37, v38, v36, v29)
}

crate::model::compiled::kernel! {
    "alif", 0x43a830f6d4eebf45, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: i32 = 2),
    inputs: (x0, x1),
    output: out: bool = 3
}
