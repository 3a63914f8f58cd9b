//! aeif_psc_exp: the program of models/neurons/aeif_psc_exp.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, i32, bool) {
    let v7 = f_mul(s2, c17);
    let v9 = f_mul(s3, c18);
    let v12 = f_add(x2, c4);
    let v13 = f_add(v12, s2);
    let v14 = f_sub(v13, s3);
    let v16 = f_mul(s2, c19);
    let v17 = f_add(v12, v16);
    let v19 = f_mul(s3, c20);
    let v20 = f_sub(v17, v19);
    let v21 = f_add(v12, v7);
    let v22 = f_sub(v21, v9);
    let v24 = i_eq(s4, 0_i32);
    let v26 = f_min(s0, c7);
    let v29 = f_sub(v26, c5);
    let v31 = f_mul(v29, c10);
    let v32 = f_exp(v31);
    let v33 = f_mul(c9, v32);
    let v34 = f_add(v14, v33);
    let v36 = f_mul(c0, v26);
    let v37 = f_sub(v34, v36);
    let v38 = f_sub(v37, s1);
    let v40 = f_mul(v38, c11);
    let v42 = f_mul(c2, v26);
    let v43 = f_sub(v42, s1);
    let v45 = f_mul(v43, c12);
    let v47 = f_mul(c15, v40);
    let v48 = f_add(s0, v47);
    let v49 = f_min(v48, c7);
    let v50 = f_mul(c15, v45);
    let v51 = f_add(s1, v50);
    let v52 = f_sub(v49, c5);
    let v53 = f_mul(v52, c10);
    let v54 = f_exp(v53);
    let v55 = f_mul(c9, v54);
    let v56 = f_add(v20, v55);
    let v57 = f_mul(c0, v49);
    let v58 = f_sub(v56, v57);
    let v59 = f_sub(v58, v51);
    let v60 = f_mul(v59, c11);
    let v61 = f_mul(c2, v49);
    let v62 = f_sub(v61, v51);
    let v63 = f_mul(v62, c12);
    let v64 = f_mul(c15, v60);
    let v65 = f_add(s0, v64);
    let v66 = f_min(v65, c7);
    let v67 = f_mul(c15, v63);
    let v68 = f_add(s1, v67);
    let v69 = f_sub(v66, c5);
    let v70 = f_mul(v69, c10);
    let v71 = f_exp(v70);
    let v72 = f_mul(c9, v71);
    let v73 = f_add(v20, v72);
    let v74 = f_mul(c0, v66);
    let v75 = f_sub(v73, v74);
    let v76 = f_sub(v75, v68);
    let v77 = f_mul(v76, c11);
    let v78 = f_mul(c2, v66);
    let v79 = f_sub(v78, v68);
    let v80 = f_mul(v79, c12);
    let v82 = f_mul(c14, v77);
    let v83 = f_add(s0, v82);
    let v84 = f_min(v83, c7);
    let v85 = f_mul(c14, v80);
    let v86 = f_add(s1, v85);
    let v87 = f_sub(v84, c5);
    let v88 = f_mul(v87, c10);
    let v89 = f_exp(v88);
    let v90 = f_mul(c9, v89);
    let v91 = f_add(v22, v90);
    let v92 = f_mul(c0, v84);
    let v93 = f_sub(v91, v92);
    let v94 = f_sub(v93, v86);
    let v95 = f_mul(v94, c11);
    let v96 = f_mul(c2, v84);
    let v97 = f_sub(v96, v86);
    let v98 = f_mul(v97, c12);
    let v100 = f_add(v60, v77);
    let v102 = f_mul(2.0_f32, v100);
    let v103 = f_add(v40, v102);
    let v104 = f_add(v103, v95);
    let v105 = f_mul(c16, v104);
    let v106 = f_add(s0, v105);
    let v108 = f_le(c6, v106);
    let v109 = f_mul(v33, c11);
    let v111 = f_max(v109, 1e-20_f32);
    let v112 = f_sub(v26, c6);
    let v113 = f_mul(v112, c10);
    let v114 = f_exp(v113);
    let v116 = f_add(1.0_f32, v114);
    let v118 = f_mul(0.5_f32, v116);
    let v119 = f_sub(v40, v111);
    let v120 = f_mul(v118, v119);
    let v121 = f_div(v120, v111);
    let v122 = f_sub(1.0_f32, v121);
    let v123 = f_div(v122, v111);
    let v125 = f_sub(1.0_f32, v114);
    let v126 = f_mul(c1, v125);
    let v127 = f_div(1.0_f32, v40);
    let v128 = f_abs(v119);
    let v130 = f_mul(0.2_f32, v111);
    let v131 = f_lt(v128, v130);
    let v132 = f_select(v131, v123, v127);
    let v133 = f_mul(v126, v132);
    let v135 = f_max(v133, 0.0_f32);
    let v136 = f_min(v135, c14);
    let v137 = f_lt(0.0_f32, c1);
    let v138 = f_select(v137, v136, c14);
    let v139 = f_sub(c14, v138);
    let v141 = i_eq(c21, 0_i32);
    let v142 = f_select(v141, v139, 0.0_f32);
    let v143 = f_mul(v138, v45);
    let v144 = f_add(s1, v143);
    let v146 = f_add(v144, c3);
    let v148 = f_sub(c8, c5);
    let v149 = f_mul(v148, c10);
    let v150 = f_exp(v149);
    let v151 = f_mul(c9, v150);
    let v152 = f_add(v22, v151);
    let v153 = f_mul(c0, c8);
    let v154 = f_sub(v152, v153);
    let v155 = f_sub(v154, v146);
    let v156 = f_mul(v155, c11);
    let v157 = f_mul(v142, v156);
    let v158 = f_add(c8, v157);
    let v159 = f_mul(c2, c8);
    let v160 = f_sub(v159, v146);
    let v161 = f_mul(v160, c12);
    let v162 = f_mul(v139, v161);
    let v163 = f_add(v146, v162);
    let v165 = i_add(c21, 1_i32);
    let v166 = i_lt(0_i32, c21);
    let v167 = i_select(v166, v165, 0_i32);
    let v168 = f_add(v63, v80);
    let v169 = f_mul(2.0_f32, v168);
    let v170 = f_add(v45, v169);
    let v171 = f_add(v170, v98);
    let v172 = f_mul(c16, v171);
    let v173 = f_add(s1, v172);
    let v174 = f_select(v108, v158, v106);
    let v175 = f_select(v108, v163, v173);
    let v176 = i_select(v108, v167, s4);
    let v177 = b_or(v108, out);
    let v178 = f_sub(s1, v159);
    let v180 = f_mul(v178, c13);
    let v181 = f_add(v159, v180);
    let v182 = f_select(v24, v174, s0);
    let v183 = f_select(v24, v175, v181);
    let v184 = i_select(v24, v176, s4);
    let v185 = b_select(v24, v177, out);
    (v182, v183, v7, v9, v184, v185)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, i32, bool) {
    let v6 = i_lt(0_i32, s4);
    let v8 = i_sub(s4, 1_i32);
    let v9 = i_select(v6, v8, s4);
    let v11 = f_add(s2, x0);
    let v13 = f_add(s3, x1);
    let v14 = f_flush(s0);
    let v15 = f_flush(s1);
    let v16 = f_flush(v11);
    let v17 = f_flush(v13);
    (v14, v15, v16, v17, v9, out)
}

crate::model::compiled::kernel! {
    "aeif_psc_exp", 0xe9c95eb8b958f500, integrate: true,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: f32 = 3, s4: i32 = 4),
    inputs: (x0, x1, x2),
    output: out: bool = 5
}
