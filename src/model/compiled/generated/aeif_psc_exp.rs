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
    let v107 = f_mul(v33, c11);
    let v109 = f_max(v107, 1e-20_f32);
    let v112 = f_lt(0.0_f32, c1);
    let v113 = f_sub(v40, v109);
    let v114 = f_abs(v113);
    let v116 = f_mul(0.2_f32, v109);
    let v117 = f_lt(v114, v116);
    let v118 = b_and(v112, v117);
    let v120 = f_sub(v26, c6);
    let v121 = f_mul(v120, c10);
    let v122 = f_exp(v121);
    let v124 = f_sub(1.0_f32, v122);
    let v125 = f_mul(c1, v124);
    let v126 = f_div(1.0_f32, v40);
    let v127 = f_add(1.0_f32, v122);
    let v129 = f_mul(0.5_f32, v127);
    let v130 = f_mul(v129, v113);
    let v131 = f_div(v130, v109);
    let v132 = f_sub(1.0_f32, v131);
    let v133 = f_div(v132, v109);
    let v134 = f_select(v118, v133, v126);
    let v135 = f_mul(v125, v134);
    let v136 = f_le(c6, v106);
    let v137 = f_le(v135, c14);
    let v138 = b_and(v118, v137);
    let v139 = b_or(v136, v138);
    let v140 = f_max(v135, 0.0_f32);
    let v141 = f_min(v140, c14);
    let v142 = f_select(v112, v141, c14);
    let v143 = f_sub(c14, v142);
    let v145 = i_eq(c21, 0_i32);
    let v146 = f_select(v145, v143, 0.0_f32);
    let v147 = f_mul(v142, v45);
    let v148 = f_add(s1, v147);
    let v150 = f_add(v148, c3);
    let v152 = f_sub(c8, c5);
    let v153 = f_mul(v152, c10);
    let v154 = f_exp(v153);
    let v155 = f_mul(c9, v154);
    let v156 = f_add(v22, v155);
    let v157 = f_mul(c0, c8);
    let v158 = f_sub(v156, v157);
    let v159 = f_sub(v158, v150);
    let v160 = f_mul(v159, c11);
    let v161 = f_mul(v146, v160);
    let v162 = f_add(c8, v161);
    let v163 = f_mul(c2, c8);
    let v164 = f_sub(v163, v150);
    let v165 = f_mul(v164, c12);
    let v166 = f_mul(v143, v165);
    let v167 = f_add(v150, v166);
    let v169 = i_add(c21, 1_i32);
    let v170 = i_lt(0_i32, c21);
    let v171 = i_select(v170, v169, 0_i32);
    let v172 = f_add(v63, v80);
    let v173 = f_mul(2.0_f32, v172);
    let v174 = f_add(v45, v173);
    let v175 = f_add(v174, v98);
    let v176 = f_mul(c16, v175);
    let v177 = f_add(s1, v176);
    let v178 = f_select(v139, v162, v106);
    let v179 = f_select(v139, v167, v177);
    let v180 = i_select(v139, v171, s4);
    let v181 = b_or(v139, out);
    let v182 = f_sub(s1, v163);
    let v184 = f_mul(v182, c13);
    let v185 = f_add(v163, v184);
    let v186 = f_select(v24, v178, s0);
    let v187 = f_select(v24, v179, v185);
    let v188 = i_select(v24, v180, s4);
    let v189 = b_select(v24, v181, out);
    (v186, v187, v7, v9, v188, v189)
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
    "aeif_psc_exp", 0x6b50d6406b30b354, integrate: true,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: f32 = 3, s4: i32 = 4),
    inputs: (x0, x1, x2),
    output: out: bool = 5
}
