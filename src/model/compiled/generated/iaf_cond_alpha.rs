//! iaf_cond_alpha: the program of models/neurons/iaf_cond_alpha.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: i32, c17: f32, c18: f32, s0: f32, s1: f32, s2: f32, s3: f32, s4: f32, s5: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, f32, i32, bool) {
    let v7 = f_mul(c8, s1);
    let v8 = f_add(s2, v7);
    let v10 = f_mul(v8, c12);
    let v11 = f_mul(c8, s3);
    let v12 = f_add(s4, v11);
    let v14 = f_mul(v12, c13);
    let v16 = f_mul(c7, s1);
    let v17 = f_add(s2, v16);
    let v19 = f_mul(v17, c10);
    let v20 = f_mul(c7, s3);
    let v21 = f_add(s4, v20);
    let v23 = f_mul(v21, c11);
    let v25 = i_eq(s5, 0_i32);
    let v28 = f_add(x2, c1);
    let v30 = f_mul(c0, s0);
    let v31 = f_sub(v28, v30);
    let v33 = f_sub(s0, c4);
    let v34 = f_mul(s2, v33);
    let v35 = f_sub(v31, v34);
    let v37 = f_sub(s0, c5);
    let v38 = f_mul(s4, v37);
    let v39 = f_sub(v35, v38);
    let v41 = f_mul(v39, c6);
    let v42 = f_mul(c8, v41);
    let v43 = f_add(s0, v42);
    let v44 = f_mul(c0, v43);
    let v45 = f_sub(v28, v44);
    let v46 = f_sub(v43, c4);
    let v47 = f_mul(v10, v46);
    let v48 = f_sub(v45, v47);
    let v49 = f_sub(v43, c5);
    let v50 = f_mul(v14, v49);
    let v51 = f_sub(v48, v50);
    let v52 = f_mul(v51, c6);
    let v53 = f_mul(c8, v52);
    let v54 = f_add(s0, v53);
    let v55 = f_mul(c0, v54);
    let v56 = f_sub(v28, v55);
    let v57 = f_sub(v54, c4);
    let v58 = f_mul(v10, v57);
    let v59 = f_sub(v56, v58);
    let v60 = f_sub(v54, c5);
    let v61 = f_mul(v14, v60);
    let v62 = f_sub(v59, v61);
    let v63 = f_mul(v62, c6);
    let v64 = f_mul(c7, v63);
    let v65 = f_add(s0, v64);
    let v66 = f_mul(c0, v65);
    let v67 = f_sub(v28, v66);
    let v68 = f_sub(v65, c4);
    let v69 = f_mul(v19, v68);
    let v70 = f_sub(v67, v69);
    let v71 = f_sub(v65, c5);
    let v72 = f_mul(v23, v71);
    let v73 = f_sub(v70, v72);
    let v74 = f_mul(v73, c6);
    let v76 = f_add(v52, v63);
    let v78 = f_mul(2.0_f32, v76);
    let v79 = f_add(v41, v78);
    let v80 = f_add(v79, v74);
    let v81 = f_mul(c9, v80);
    let v82 = f_add(s0, v81);
    let v83 = f_select(v25, v82, s0);
    let v84 = f_mul(s1, c10);
    let v85 = f_mul(s3, c11);
    (v83, v84, v19, v85, v23, s5, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: i32, c17: f32, c18: f32, s0: f32, s1: f32, s2: f32, s3: f32, s4: f32, s5: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, f32, i32, bool) {
    let v7 = i_lt(0_i32, s5);
    let v9 = i_sub(s5, 1_i32);
    let v10 = i_select(v7, v9, s5);
    let v13 = f_mul(x0, c14);
    let v14 = f_add(s1, v13);
    let v17 = f_mul(x1, c15);
    let v18 = f_add(s3, v17);
    let v20 = f_le(c2, s0);
    let v23 = f_select(v20, c3, s0);
    let v24 = i_select(v20, c16, v10);
    let v25 = i_lt(0_i32, v24);
    let v28 = f_add(c0, s2);
    let v29 = f_add(v28, s4);
    let v31 = f_mul(v14, c17);
    let v32 = f_add(v29, v31);
    let v34 = f_mul(v18, c18);
    let v35 = f_add(v32, v34);
    let v36 = f_mul(c7, v35);
    let v38 = f_mul(v36, c6);
    let v40 = f_lt(v38, 2.78_f32);
    let v41 = b_or(v25, v40);
    let v42 = b_not(v41);
    let v45 = u_select(v41, 0_u32, 2143289344_u32);
    let v46 = u_as_f(v45);
    let v47 = b_or(v20, v42);
    let v48 = f_select(v41, v23, v46);
    let v49 = f_select(v41, v14, v46);
    let v50 = f_select(v41, s2, v46);
    let v51 = f_select(v41, v18, v46);
    let v52 = f_select(v41, s4, v46);
    let v53 = f_flush(v48);
    let v54 = f_flush(v49);
    let v55 = f_flush(v50);
    let v56 = f_flush(v51);
    let v57 = f_flush(v52);
    (v53, v54, v55, v56, v57, v24, v47)
}

crate::model::compiled::kernel! {
    "iaf_cond_alpha", 0x23ae5e6e7eab46af, integrate: true,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: i32, c17: f32, c18: f32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: f32 = 3, s4: f32 = 4, s5: i32 = 5),
    inputs: (x0, x1, x2),
    output: out: bool = 6
}
