//! aeif_cond_exp: the program of models/neurons/aeif_cond_exp.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: f32, c22: f32, c23: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, i32, bool) {
    let v7 = f_mul(s2, c21);
    let v9 = f_mul(s3, c22);
    let v11 = f_mul(s2, c19);
    let v13 = f_mul(s3, c20);
    let v16 = f_add(x2, c4);
    let v18 = i_eq(s4, 0_i32);
    let v20 = f_min(s0, c7);
    let v23 = f_sub(v20, c5);
    let v25 = f_mul(v23, c12);
    let v26 = f_exp(v25);
    let v27 = f_mul(c11, v26);
    let v28 = f_add(v16, v27);
    let v30 = f_mul(c0, v20);
    let v31 = f_sub(v28, v30);
    let v33 = f_sub(v20, c9);
    let v34 = f_mul(s2, v33);
    let v35 = f_sub(v31, v34);
    let v37 = f_sub(v20, c10);
    let v38 = f_mul(s3, v37);
    let v39 = f_sub(v35, v38);
    let v40 = f_sub(v39, s1);
    let v42 = f_mul(v40, c13);
    let v44 = f_mul(c2, v20);
    let v45 = f_sub(v44, s1);
    let v47 = f_mul(v45, c14);
    let v49 = f_mul(c17, v42);
    let v50 = f_add(s0, v49);
    let v51 = f_min(v50, c7);
    let v52 = f_mul(c17, v47);
    let v53 = f_add(s1, v52);
    let v54 = f_sub(v51, c5);
    let v55 = f_mul(v54, c12);
    let v56 = f_exp(v55);
    let v57 = f_mul(c11, v56);
    let v58 = f_add(v16, v57);
    let v59 = f_mul(c0, v51);
    let v60 = f_sub(v58, v59);
    let v61 = f_sub(v51, c9);
    let v62 = f_mul(v7, v61);
    let v63 = f_sub(v60, v62);
    let v64 = f_sub(v51, c10);
    let v65 = f_mul(v9, v64);
    let v66 = f_sub(v63, v65);
    let v67 = f_sub(v66, v53);
    let v68 = f_mul(v67, c13);
    let v69 = f_mul(c2, v51);
    let v70 = f_sub(v69, v53);
    let v71 = f_mul(v70, c14);
    let v72 = f_mul(c17, v68);
    let v73 = f_add(s0, v72);
    let v74 = f_min(v73, c7);
    let v75 = f_mul(c17, v71);
    let v76 = f_add(s1, v75);
    let v77 = f_sub(v74, c5);
    let v78 = f_mul(v77, c12);
    let v79 = f_exp(v78);
    let v80 = f_mul(c11, v79);
    let v81 = f_add(v16, v80);
    let v82 = f_mul(c0, v74);
    let v83 = f_sub(v81, v82);
    let v84 = f_sub(v74, c9);
    let v85 = f_mul(v7, v84);
    let v86 = f_sub(v83, v85);
    let v87 = f_sub(v74, c10);
    let v88 = f_mul(v9, v87);
    let v89 = f_sub(v86, v88);
    let v90 = f_sub(v89, v76);
    let v91 = f_mul(v90, c13);
    let v92 = f_mul(c2, v74);
    let v93 = f_sub(v92, v76);
    let v94 = f_mul(v93, c14);
    let v96 = f_mul(c16, v91);
    let v97 = f_add(s0, v96);
    let v98 = f_min(v97, c7);
    let v99 = f_mul(c16, v94);
    let v100 = f_add(s1, v99);
    let v101 = f_sub(v98, c5);
    let v102 = f_mul(v101, c12);
    let v103 = f_exp(v102);
    let v104 = f_mul(c11, v103);
    let v105 = f_add(v16, v104);
    let v106 = f_mul(c0, v98);
    let v107 = f_sub(v105, v106);
    let v108 = f_sub(v98, c9);
    let v109 = f_mul(v11, v108);
    let v110 = f_sub(v107, v109);
    let v111 = f_sub(v98, c10);
    let v112 = f_mul(v13, v111);
    let v113 = f_sub(v110, v112);
    let v114 = f_sub(v113, v100);
    let v115 = f_mul(v114, c13);
    let v116 = f_mul(c2, v98);
    let v117 = f_sub(v116, v100);
    let v118 = f_mul(v117, c14);
    let v120 = f_add(v68, v91);
    let v122 = f_mul(2.0_f32, v120);
    let v123 = f_add(v42, v122);
    let v124 = f_add(v123, v115);
    let v125 = f_mul(c18, v124);
    let v126 = f_add(s0, v125);
    let v128 = f_le(c6, v126);
    let v129 = f_mul(v27, c13);
    let v131 = f_max(v129, 1e-20_f32);
    let v132 = f_sub(v20, c6);
    let v133 = f_mul(v132, c12);
    let v134 = f_exp(v133);
    let v136 = f_add(1.0_f32, v134);
    let v138 = f_mul(0.5_f32, v136);
    let v139 = f_sub(v42, v131);
    let v140 = f_mul(v138, v139);
    let v141 = f_div(v140, v131);
    let v142 = f_sub(1.0_f32, v141);
    let v143 = f_div(v142, v131);
    let v145 = f_sub(1.0_f32, v134);
    let v146 = f_mul(c1, v145);
    let v147 = f_div(1.0_f32, v42);
    let v148 = f_abs(v139);
    let v150 = f_mul(0.2_f32, v131);
    let v151 = f_lt(v148, v150);
    let v152 = f_select(v151, v143, v147);
    let v153 = f_mul(v146, v152);
    let v155 = f_max(v153, 0.0_f32);
    let v156 = f_min(v155, c16);
    let v157 = f_lt(0.0_f32, c1);
    let v158 = f_select(v157, v156, c16);
    let v159 = f_sub(c16, v158);
    let v161 = i_eq(c23, 0_i32);
    let v162 = f_select(v161, v159, 0.0_f32);
    let v163 = f_mul(v158, v47);
    let v164 = f_add(s1, v163);
    let v166 = f_add(v164, c3);
    let v168 = f_sub(c8, c5);
    let v169 = f_mul(v168, c12);
    let v170 = f_exp(v169);
    let v171 = f_mul(c11, v170);
    let v172 = f_add(v16, v171);
    let v173 = f_mul(c0, c8);
    let v174 = f_sub(v172, v173);
    let v175 = f_sub(c8, c9);
    let v176 = f_mul(v11, v175);
    let v177 = f_sub(v174, v176);
    let v178 = f_sub(c8, c10);
    let v179 = f_mul(v13, v178);
    let v180 = f_sub(v177, v179);
    let v181 = f_sub(v180, v166);
    let v182 = f_mul(v181, c13);
    let v183 = f_mul(v162, v182);
    let v184 = f_add(c8, v183);
    let v185 = f_mul(c2, c8);
    let v186 = f_sub(v185, v166);
    let v187 = f_mul(v186, c14);
    let v188 = f_mul(v159, v187);
    let v189 = f_add(v166, v188);
    let v191 = i_add(c23, 1_i32);
    let v192 = i_lt(0_i32, c23);
    let v193 = i_select(v192, v191, 0_i32);
    let v194 = f_add(v71, v94);
    let v195 = f_mul(2.0_f32, v194);
    let v196 = f_add(v47, v195);
    let v197 = f_add(v196, v118);
    let v198 = f_mul(c18, v197);
    let v199 = f_add(s1, v198);
    let v200 = f_select(v128, v184, v126);
    let v201 = f_select(v128, v189, v199);
    let v202 = i_select(v128, v193, s4);
    let v203 = b_or(v128, out);
    let v204 = f_sub(s1, v185);
    let v206 = f_mul(v204, c15);
    let v207 = f_add(v185, v206);
    let v208 = f_select(v18, v200, s0);
    let v209 = f_select(v18, v201, v207);
    let v210 = i_select(v18, v202, s4);
    let v211 = b_select(v18, v203, out);
    (v208, v209, v11, v13, v210, v211)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: f32, c22: f32, c23: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, i32, bool) {
    let v7 = i_lt(0_i32, s4);
    let v9 = i_sub(s4, 1_i32);
    let v10 = i_select(v7, v9, s4);
    let v12 = f_add(s2, x0);
    let v14 = f_add(s3, x1);
    let v15 = i_lt(0_i32, v10);
    let v18 = f_add(c0, v12);
    let v19 = f_add(v18, v14);
    let v20 = f_mul(c16, v19);
    let v22 = f_mul(v20, c13);
    let v24 = f_lt(v22, 2.78_f32);
    let v25 = b_or(v15, v24);
    let v26 = b_not(v25);
    let v29 = u_select(v25, 0_u32, 2143289344_u32);
    let v30 = u_as_f(v29);
    let v31 = b_or(out, v26);
    let v32 = f_select(v25, s0, v30);
    let v33 = f_select(v25, v12, v30);
    let v34 = f_select(v25, v14, v30);
    let v35 = f_flush(v32);
    let v36 = f_flush(s1);
    let v37 = f_flush(v33);
    let v38 = f_flush(v34);
    (v35, v36, v37, v38, v10, v31)
}

crate::model::compiled::kernel! {
    "aeif_cond_exp", 0x0efba95b2685f6d8, integrate: true,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: f32, c22: f32, c23: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: f32 = 3, s4: i32 = 4),
    inputs: (x0, x1, x2),
    output: out: bool = 5
}
