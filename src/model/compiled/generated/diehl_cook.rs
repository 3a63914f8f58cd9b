//! diehl_cook: the program of models/neurons/diehl_cook.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: i32, c16: f32, c17: f32, c18: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: i32, s5: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, i32, i32, bool) {
    let v5 = f_mul(s1, c13);
    let v7 = f_mul(s2, c14);
    let v9 = f_mul(s1, c11);
    let v11 = f_mul(s2, c12);
    let v13 = i_eq(s5, 0_i32);
    let v16 = f_add(x2, c2);
    let v18 = f_mul(c0, s0);
    let v19 = f_sub(v16, v18);
    let v21 = f_sub(s0, c5);
    let v22 = f_mul(s1, v21);
    let v23 = f_sub(v19, v22);
    let v25 = f_sub(s0, c6);
    let v26 = f_mul(s2, v25);
    let v27 = f_sub(v23, v26);
    let v29 = f_mul(v27, c7);
    let v31 = f_mul(c9, v29);
    let v32 = f_add(s0, v31);
    let v33 = f_mul(c0, v32);
    let v34 = f_sub(v16, v33);
    let v35 = f_sub(v32, c5);
    let v36 = f_mul(v5, v35);
    let v37 = f_sub(v34, v36);
    let v38 = f_sub(v32, c6);
    let v39 = f_mul(v7, v38);
    let v40 = f_sub(v37, v39);
    let v41 = f_mul(v40, c7);
    let v42 = f_mul(c9, v41);
    let v43 = f_add(s0, v42);
    let v44 = f_mul(c0, v43);
    let v45 = f_sub(v16, v44);
    let v46 = f_sub(v43, c5);
    let v47 = f_mul(v5, v46);
    let v48 = f_sub(v45, v47);
    let v49 = f_sub(v43, c6);
    let v50 = f_mul(v7, v49);
    let v51 = f_sub(v48, v50);
    let v52 = f_mul(v51, c7);
    let v54 = f_mul(c8, v52);
    let v55 = f_add(s0, v54);
    let v56 = f_mul(c0, v55);
    let v57 = f_sub(v16, v56);
    let v58 = f_sub(v55, c5);
    let v59 = f_mul(v9, v58);
    let v60 = f_sub(v57, v59);
    let v61 = f_sub(v55, c6);
    let v62 = f_mul(v11, v61);
    let v63 = f_sub(v60, v62);
    let v64 = f_mul(v63, c7);
    let v66 = f_add(v41, v52);
    let v68 = f_mul(2.0_f32, v66);
    let v69 = f_add(v29, v68);
    let v70 = f_add(v69, v64);
    let v71 = f_mul(c10, v70);
    let v72 = f_add(s0, v71);
    let v73 = f_select(v13, v72, s0);
    (v73, v9, v11, s3, s4, s5, out)
}

#[inline(always)]
fn update(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: i32, c16: f32, c17: f32, c18: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: i32, s5: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, i32, i32, bool) {
    let v7 = i_lt(0_i32, s5);
    let v9 = i_sub(s5, 1_i32);
    let v10 = i_select(v7, v9, s5);
    let v12 = f_add(s1, x0);
    let v14 = f_add(s2, x1);
    let v15 = i_add(s4, 1_i32);
    let v17 = i_le(c15, v15);
    let v19 = f_mul(s3, c17);
    let v20 = f_add(s3, v19);
    let v21 = f_select(v17, v20, s3);
    let v22 = i_select(v17, 0_i32, v15);
    let v24 = i_to_f(v22);
    let v26 = f_mul(v24, c16);
    let v27 = f_mul(v21, v26);
    let v28 = f_sub(v21, v27);
    let v29 = f_add(c3, v28);
    let v30 = f_lt(v29, s0);
    let v33 = f_add(v28, c1);
    let v35 = f_select(v30, c4, s0);
    let v36 = f_select(v30, v33, v21);
    let v37 = i_select(v30, 0_i32, v22);
    let v38 = i_select(v30, c18, v10);
    (v35, v12, v14, v36, v37, v38, v30)
}

crate::model::compiled::kernel! {
    "diehl_cook", 0x075c790cf15e5a07, integrate: true,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: i32, c16: f32, c17: f32, c18: i32),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: f32 = 3, s4: i32 = 4, s5: i32 = 5),
    inputs: (x0, x1, x2),
    output: out: bool = 6
}
