//! iaf_psc_exp_multisynapse: the program of models/neurons/iaf_psc_exp_multisynapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: f32, s5: i32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, out: bool) -> (f32, f32, f32, f32, f32, i32, bool) {
    (s0, s1, s2, s3, s4, s5, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: f32, s5: i32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, out: bool) -> (f32, f32, f32, f32, f32, i32, bool) {
    let v7 = i_eq(s5, 0_i32);
    let v9 = f_mul(s0, c3);
    let v11 = f_mul(s1, c6);
    let v12 = f_add(v9, v11);
    let v14 = f_mul(s2, c8);
    let v15 = f_add(v12, v14);
    let v17 = f_mul(s3, c10);
    let v18 = f_add(v15, v17);
    let v20 = f_mul(s4, c12);
    let v21 = f_add(v18, v20);
    let v24 = f_add(x4, c0);
    let v26 = f_mul(v24, c4);
    let v27 = f_add(v21, v26);
    let v28 = f_add(s0, v27);
    let v30 = i_sub(s5, 1_i32);
    let v31 = f_select(v7, v28, s0);
    let v32 = i_select(v7, s5, v30);
    let v34 = f_mul(s1, c5);
    let v35 = f_add(s1, v34);
    let v37 = f_add(v35, x0);
    let v39 = f_mul(s2, c7);
    let v40 = f_add(s2, v39);
    let v42 = f_add(v40, x1);
    let v44 = f_mul(s3, c9);
    let v45 = f_add(s3, v44);
    let v47 = f_add(v45, x2);
    let v49 = f_mul(s4, c11);
    let v50 = f_add(s4, v49);
    let v52 = f_add(v50, x3);
    let v54 = f_le(c1, v31);
    let v57 = f_select(v54, c2, v31);
    let v58 = i_select(v54, c13, v32);
    let v59 = f_flush(v57);
    let v60 = f_flush(v37);
    let v61 = f_flush(v42);
    let v62 = f_flush(v47);
    let v63 = f_flush(v52);
    (v59, v60, v61, v62, v63, v58, v54)
}

crate::model::compiled::kernel! {
    "iaf_psc_exp_multisynapse", 0x60746f5bbb5fe4de, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: f32 = 3, s4: f32 = 4, s5: i32 = 5),
    inputs: (x0, x1, x2, x3, x4),
    output: out: bool = 6
}
