//! diehl_cook: the program of models/neurons/diehl_cook.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: i32, c15: f32, c16: f32, c17: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: i32, s5: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, i32, i32, bool) {
    let v5 = f_mul(s1, c9);
    let v7 = f_mul(s2, c10);
    let v9 = f_mul(s1, c7);
    let v11 = f_mul(s2, c8);
    let v13 = i_eq(s5, 0_i32);
    let v16 = f_add(x2, c1);
    let v19 = f_mul(v5, c12);
    let v20 = f_add(c11, v19);
    let v22 = f_mul(v7, c13);
    let v23 = f_add(v20, v22);
    let v24 = f_mul(s1, c12);
    let v25 = f_add(c11, v24);
    let v26 = f_mul(s2, c13);
    let v27 = f_add(v25, v26);
    let v28 = f_add(v27, v23);
    let v30 = f_mul(v28, 0.008333333_f32);
    let v32 = f_sub(0.041666668_f32, v30);
    let v33 = f_mul(v28, v32);
    let v35 = f_sub(0.16666667_f32, v33);
    let v36 = f_mul(v28, v35);
    let v38 = f_sub(0.5_f32, v36);
    let v39 = f_mul(v28, v38);
    let v41 = f_sub(1.0_f32, v39);
    let v42 = f_mul(v28, v41);
    let v43 = f_neg(v28);
    let v44 = f_exp(v43);
    let v45 = f_sub(1.0_f32, v44);
    let v47 = f_lt(v28, 0.1_f32);
    let v48 = f_select(v47, v42, v45);
    let v49 = f_mul(v23, 0.008333333_f32);
    let v50 = f_sub(0.041666668_f32, v49);
    let v51 = f_mul(v23, v50);
    let v52 = f_sub(0.16666667_f32, v51);
    let v53 = f_mul(v23, v52);
    let v54 = f_sub(0.5_f32, v53);
    let v55 = f_mul(v23, v54);
    let v56 = f_sub(1.0_f32, v55);
    let v57 = f_mul(v23, v56);
    let v58 = f_neg(v23);
    let v59 = f_exp(v58);
    let v60 = f_sub(1.0_f32, v59);
    let v61 = f_lt(v23, 0.1_f32);
    let v62 = f_select(v61, v57, v60);
    let v63 = f_sub(v48, v62);
    let v64 = f_div(v63, v48);
    let v67 = f_max(v64, 0.33333334_f32);
    let v68 = f_min(v67, 0.6666667_f32);
    let v70 = f_mul(3.0_f32, v68);
    let v71 = f_sub(v70, 1.0_f32);
    let v72 = f_div(v71, v68);
    let v73 = f_sub(1.0_f32, v68);
    let v74 = f_mul(v68, v73);
    let v75 = f_div(1.0_f32, v74);
    let v77 = f_sub(2.0_f32, v70);
    let v78 = f_div(v77, v73);
    let v80 = f_mul(s1, c4);
    let v81 = f_add(v16, v80);
    let v83 = f_mul(s2, c5);
    let v84 = f_add(v81, v83);
    let v86 = f_add(c6, s1);
    let v87 = f_add(v86, s2);
    let v88 = f_div(v84, v87);
    let v89 = f_mul(v72, v88);
    let v90 = f_mul(v5, c4);
    let v91 = f_add(v16, v90);
    let v92 = f_mul(v7, c5);
    let v93 = f_add(v91, v92);
    let v94 = f_add(c6, v5);
    let v95 = f_add(v94, v7);
    let v96 = f_div(v93, v95);
    let v97 = f_mul(v75, v96);
    let v98 = f_add(v89, v97);
    let v99 = f_mul(v9, c4);
    let v100 = f_add(v16, v99);
    let v101 = f_mul(v11, c5);
    let v102 = f_add(v100, v101);
    let v103 = f_add(c6, v9);
    let v104 = f_add(v103, v11);
    let v105 = f_div(v102, v104);
    let v106 = f_mul(v78, v105);
    let v107 = f_add(v98, v106);
    let v109 = f_div(v107, 6.0_f32);
    let v110 = f_sub(v109, s0);
    let v111 = f_mul(v48, v110);
    let v112 = f_add(s0, v111);
    let v113 = f_select(v13, v112, s0);
    (v113, v9, v11, s3, s4, s5, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: i32, c15: f32, c16: f32, c17: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: i32, s5: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, i32, i32, bool) {
    let v7 = i_lt(0_i32, s5);
    let v9 = i_sub(s5, 1_i32);
    let v10 = i_select(v7, v9, s5);
    let v12 = f_add(s1, x0);
    let v14 = f_add(s2, x1);
    let v15 = i_add(s4, 1_i32);
    let v17 = i_le(c14, v15);
    let v19 = f_mul(s3, c16);
    let v20 = f_add(s3, v19);
    let v21 = f_select(v17, v20, s3);
    let v22 = i_select(v17, 0_i32, v15);
    let v24 = i_to_f(v22);
    let v26 = f_mul(v24, c15);
    let v27 = f_mul(v21, v26);
    let v28 = f_sub(v21, v27);
    let v29 = f_add(c2, v28);
    let v30 = f_lt(v29, s0);
    let v33 = f_add(v28, c0);
    let v35 = f_select(v30, c3, s0);
    let v36 = f_select(v30, v33, v21);
    let v37 = i_select(v30, 0_i32, v22);
    let v38 = i_select(v30, c17, v10);
    let v39 = f_flush(v35);
    let v40 = f_flush(v12);
    let v41 = f_flush(v14);
    let v42 = f_flush(v36);
    (v39, v40, v41, v42, v37, v38, v30)
}

crate::model::compiled::kernel! {
    "diehl_cook", 0x65f6f43e68c658b9, integrate: true,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: i32, c15: f32, c16: f32, c17: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: f32 = 3, s4: i32 = 4, s5: i32 = 5),
    inputs: (x0, x1, x2),
    output: out: bool = 6
}
