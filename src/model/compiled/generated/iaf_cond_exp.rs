//! iaf_cond_exp: the program of models/neurons/iaf_cond_exp.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: i32, s0: f32, s1: f32, s2: f32, s3: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, i32, bool) {
    let v5 = f_mul(s1, c12);
    let v7 = f_mul(s2, c13);
    let v9 = f_mul(s1, c10);
    let v11 = f_mul(s2, c11);
    let v13 = i_eq(s3, 0_i32);
    let v16 = f_add(x2, c1);
    let v18 = f_mul(c0, s0);
    let v19 = f_sub(v16, v18);
    let v21 = f_sub(s0, c4);
    let v22 = f_mul(s1, v21);
    let v23 = f_sub(v19, v22);
    let v25 = f_sub(s0, c5);
    let v26 = f_mul(s2, v25);
    let v27 = f_sub(v23, v26);
    let v29 = f_mul(v27, c6);
    let v31 = f_mul(c8, v29);
    let v32 = f_add(s0, v31);
    let v33 = f_mul(c0, v32);
    let v34 = f_sub(v16, v33);
    let v35 = f_sub(v32, c4);
    let v36 = f_mul(v5, v35);
    let v37 = f_sub(v34, v36);
    let v38 = f_sub(v32, c5);
    let v39 = f_mul(v7, v38);
    let v40 = f_sub(v37, v39);
    let v41 = f_mul(v40, c6);
    let v42 = f_mul(c8, v41);
    let v43 = f_add(s0, v42);
    let v44 = f_mul(c0, v43);
    let v45 = f_sub(v16, v44);
    let v46 = f_sub(v43, c4);
    let v47 = f_mul(v5, v46);
    let v48 = f_sub(v45, v47);
    let v49 = f_sub(v43, c5);
    let v50 = f_mul(v7, v49);
    let v51 = f_sub(v48, v50);
    let v52 = f_mul(v51, c6);
    let v54 = f_mul(c7, v52);
    let v55 = f_add(s0, v54);
    let v56 = f_mul(c0, v55);
    let v57 = f_sub(v16, v56);
    let v58 = f_sub(v55, c4);
    let v59 = f_mul(v9, v58);
    let v60 = f_sub(v57, v59);
    let v61 = f_sub(v55, c5);
    let v62 = f_mul(v11, v61);
    let v63 = f_sub(v60, v62);
    let v64 = f_mul(v63, c6);
    let v66 = f_add(v41, v52);
    let v68 = f_mul(2.0_f32, v66);
    let v69 = f_add(v29, v68);
    let v70 = f_add(v69, v64);
    let v71 = f_mul(c9, v70);
    let v72 = f_add(s0, v71);
    let v73 = f_select(v13, v72, s0);
    (v73, v9, v11, s3, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: i32, s0: f32, s1: f32, s2: f32, s3: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, i32, bool) {
    let v5 = i_lt(0_i32, s3);
    let v7 = i_sub(s3, 1_i32);
    let v8 = i_select(v5, v7, s3);
    let v10 = f_add(s1, x0);
    let v12 = f_add(s2, x1);
    let v14 = f_le(c2, s0);
    let v17 = f_select(v14, c3, s0);
    let v18 = i_select(v14, c14, v8);
    let v19 = i_lt(0_i32, v18);
    let v22 = f_add(c0, v10);
    let v23 = f_add(v22, v12);
    let v24 = f_mul(c7, v23);
    let v26 = f_mul(v24, c6);
    let v28 = f_lt(v26, 2.78_f32);
    let v29 = b_or(v19, v28);
    let v30 = b_not(v29);
    let v33 = u_select(v29, 0_u32, 2143289344_u32);
    let v34 = u_as_f(v33);
    let v35 = b_or(v14, v30);
    let v36 = f_select(v29, v17, v34);
    let v37 = f_select(v29, v10, v34);
    let v38 = f_select(v29, v12, v34);
    let v39 = f_flush(v36);
    let v40 = f_flush(v37);
    let v41 = f_flush(v38);
    (v39, v40, v41, v18, v35)
}

crate::model::compiled::kernel! {
    "iaf_cond_exp", 0x04e70fc47eeb502e, integrate: true,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: i32 = 3),
    inputs: (x0, x1, x2),
    output: out: bool = 4
}
