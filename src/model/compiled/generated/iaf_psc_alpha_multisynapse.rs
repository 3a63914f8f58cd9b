//! iaf_psc_alpha_multisynapse: the program of models/neurons/iaf_psc_alpha_multisynapse.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: f32, c22: f32, c23: f32, c24: f32, c25: f32, c26: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: f32, s5: f32, s6: f32, s7: f32, s8: f32, s9: i32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, out: bool) -> (f32, f32, f32, f32, f32, f32, f32, f32, f32, i32, bool) {
    (s0, s1, s2, s3, s4, s5, s6, s7, s8, s9, out)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: f32, c22: f32, c23: f32, c24: f32, c25: f32, c26: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: f32, s5: f32, s6: f32, s7: f32, s8: f32, s9: i32, x0: f32, x1: f32, x2: f32, x3: f32, x4: f32, out: bool) -> (f32, f32, f32, f32, f32, f32, f32, f32, f32, i32, bool) {
    let v11 = i_eq(s9, 0_i32);
    let v13 = f_mul(s1, c10);
    let v15 = f_mul(s2, c9);
    let v16 = f_add(v13, v15);
    let v18 = f_mul(s3, c15);
    let v19 = f_add(v16, v18);
    let v21 = f_mul(s4, c14);
    let v22 = f_add(v19, v21);
    let v24 = f_mul(s5, c20);
    let v25 = f_add(v22, v24);
    let v27 = f_mul(s6, c19);
    let v28 = f_add(v25, v27);
    let v30 = f_mul(s7, c25);
    let v31 = f_add(v28, v30);
    let v33 = f_mul(s8, c24);
    let v34 = f_add(v31, v33);
    let v36 = f_mul(s0, c4);
    let v37 = f_add(v36, v34);
    let v40 = f_add(x4, c0);
    let v42 = f_mul(v40, c5);
    let v43 = f_add(v37, v42);
    let v44 = f_add(s0, v43);
    let v46 = f_max(v44, c3);
    let v48 = i_sub(s9, 1_i32);
    let v49 = f_select(v11, v46, s0);
    let v50 = i_select(v11, s9, v48);
    let v52 = f_mul(s2, c6);
    let v53 = f_add(s2, v52);
    let v55 = f_mul(s1, c7);
    let v56 = f_add(v53, v55);
    let v57 = f_mul(s1, c6);
    let v58 = f_add(s1, v57);
    let v61 = f_mul(x0, c8);
    let v62 = f_add(v58, v61);
    let v64 = f_mul(s4, c11);
    let v65 = f_add(s4, v64);
    let v67 = f_mul(s3, c12);
    let v68 = f_add(v65, v67);
    let v69 = f_mul(s3, c11);
    let v70 = f_add(s3, v69);
    let v73 = f_mul(x1, c13);
    let v74 = f_add(v70, v73);
    let v76 = f_mul(s6, c16);
    let v77 = f_add(s6, v76);
    let v79 = f_mul(s5, c17);
    let v80 = f_add(v77, v79);
    let v81 = f_mul(s5, c16);
    let v82 = f_add(s5, v81);
    let v85 = f_mul(x2, c18);
    let v86 = f_add(v82, v85);
    let v88 = f_mul(s8, c21);
    let v89 = f_add(s8, v88);
    let v91 = f_mul(s7, c22);
    let v92 = f_add(v89, v91);
    let v93 = f_mul(s7, c21);
    let v94 = f_add(s7, v93);
    let v97 = f_mul(x3, c23);
    let v98 = f_add(v94, v97);
    let v100 = f_le(c1, v49);
    let v103 = f_select(v100, c2, v49);
    let v104 = i_select(v100, c26, v50);
    let v105 = f_flush(v103);
    let v106 = f_flush(v62);
    let v107 = f_flush(v56);
    let v108 = f_flush(v74);
    let v109 = f_flush(v68);
    let v110 = f_flush(v86);
    let v111 = f_flush(v80);
    let v112 = f_flush(v98);
    let v113 = f_flush(v92);
    (v105, v106, v107, v108, v109, v110, v111, v112, v113, v104, v100)
}

crate::model::compiled::kernel! {
    "iaf_psc_alpha_multisynapse", 0x27c2661f22c7a150, integrate: false,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: f32, c22: f32, c23: f32, c24: f32, c25: f32, c26: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: f32 = 3, s4: f32 = 4, s5: f32 = 5, s6: f32 = 6, s7: f32 = 7, s8: f32 = 8, s9: i32 = 9),
    inputs: (x0, x1, x2, x3, x4),
    output: out: bool = 10
}
