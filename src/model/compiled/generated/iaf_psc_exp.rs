//! iaf_psc_exp: the program of models/neurons/iaf_psc_exp.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: i32, s0: f32, s1: f32, s2: f32, s3: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, i32, bool) {
    (s0, s1, s2, s3, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: i32, s0: f32, s1: f32, s2: f32, s3: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, i32, bool) {
    let v5 = i_eq(s3, 0_i32);
    let v7 = f_mul(s0, c3);
    let v9 = f_mul(s1, c7);
    let v10 = f_add(v7, v9);
    let v12 = f_mul(s2, c8);
    let v13 = f_add(v10, v12);
    let v16 = f_add(x2, c0);
    let v18 = f_mul(v16, c4);
    let v19 = f_add(v13, v18);
    let v20 = f_add(s0, v19);
    let v22 = i_sub(s3, 1_i32);
    let v23 = f_select(v5, v20, s0);
    let v24 = i_select(v5, s3, v22);
    let v26 = f_mul(s1, c5);
    let v27 = f_add(s1, v26);
    let v29 = f_add(v27, x0);
    let v31 = f_mul(s2, c6);
    let v32 = f_add(s2, v31);
    let v34 = f_add(v32, x1);
    let v36 = f_le(c1, v23);
    let v39 = f_select(v36, c2, v23);
    let v40 = i_select(v36, c9, v24);
    let v41 = f_flush(v39);
    let v42 = f_flush(v29);
    let v43 = f_flush(v34);
    (v41, v42, v43, v40, v36)
}

crate::model::compiled::kernel! {
    "iaf_psc_exp", 0x2119f3603014561e, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: i32 = 3),
    inputs: (x0, x1, x2),
    output: out: bool = 4
}
