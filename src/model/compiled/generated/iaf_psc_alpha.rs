//! iaf_psc_alpha: the program of models/neurons/iaf_psc_alpha.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: f32, s5: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, f32, i32, bool) {
    (s0, s1, s2, s3, s4, s5, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: f32, s5: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, f32, i32, bool) {
    let v7 = i_eq(s5, 0_i32);
    let v9 = f_mul(s1, c14);
    let v11 = f_mul(s2, c12);
    let v12 = f_add(v9, v11);
    let v14 = f_mul(s3, c15);
    let v15 = f_add(v12, v14);
    let v17 = f_mul(s4, c13);
    let v18 = f_add(v15, v17);
    let v21 = f_add(x2, c0);
    let v23 = f_mul(v21, c5);
    let v24 = f_add(v18, v23);
    let v26 = f_mul(s0, c4);
    let v27 = f_add(v26, v24);
    let v28 = f_add(s0, v27);
    let v30 = f_max(v28, c3);
    let v32 = i_sub(s5, 1_i32);
    let v33 = f_select(v7, v30, s0);
    let v34 = i_select(v7, s5, v32);
    let v36 = f_mul(s2, c6);
    let v37 = f_add(s2, v36);
    let v39 = f_mul(s1, c8);
    let v40 = f_add(v37, v39);
    let v41 = f_mul(s1, c6);
    let v42 = f_add(s1, v41);
    let v45 = f_mul(x0, c10);
    let v46 = f_add(v42, v45);
    let v48 = f_mul(s4, c7);
    let v49 = f_add(s4, v48);
    let v51 = f_mul(s3, c9);
    let v52 = f_add(v49, v51);
    let v53 = f_mul(s3, c7);
    let v54 = f_add(s3, v53);
    let v57 = f_mul(x1, c11);
    let v58 = f_add(v54, v57);
    let v60 = f_le(c1, v33);
    let v63 = f_select(v60, c2, v33);
    let v64 = i_select(v60, c16, v34);
    let v65 = f_flush(v63);
    let v66 = f_flush(v46);
    let v67 = f_flush(v40);
    let v68 = f_flush(v58);
    let v69 = f_flush(v52);
    (v65, v66, v67, v68, v69, v64, v60)
}

crate::model::compiled::kernel! {
    "iaf_psc_alpha", 0xcc17d672a60ce640, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: f32 = 3, s4: f32 = 4, s5: i32 = 5),
    inputs: (x0, x1, x2),
    output: out: bool = 6
}
