//! aeif_psc_alpha: the program of models/neurons/aeif_psc_alpha.toml as Rust. Written by the test of compiled/mod.rs; do not edit.

use crate::model::ops::*;

#[inline(always)]
fn integrate<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: f32, c22: f32, c23: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: f32, s5: f32, s6: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, f32, f32, i32, bool) {
    let v9 = f_mul(c14, s2);
    let v10 = f_add(s3, v9);
    let v12 = f_mul(v10, c17);
    let v13 = f_mul(c14, s4);
    let v14 = f_add(s5, v13);
    let v16 = f_mul(v14, c18);
    let v19 = f_add(x2, c4);
    let v20 = f_add(v19, s3);
    let v21 = f_sub(v20, s5);
    let v23 = f_mul(c15, s2);
    let v24 = f_add(s3, v23);
    let v26 = f_mul(v24, c19);
    let v27 = f_add(v19, v26);
    let v28 = f_mul(c15, s4);
    let v29 = f_add(s5, v28);
    let v31 = f_mul(v29, c20);
    let v32 = f_sub(v27, v31);
    let v33 = f_add(v19, v12);
    let v34 = f_sub(v33, v16);
    let v36 = i_eq(s6, 0_i32);
    let v38 = f_min(s0, c7);
    let v41 = f_sub(v38, c5);
    let v43 = f_mul(v41, c10);
    let v44 = f_exp(v43);
    let v45 = f_mul(c9, v44);
    let v46 = f_add(v21, v45);
    let v48 = f_mul(c0, v38);
    let v49 = f_sub(v46, v48);
    let v50 = f_sub(v49, s1);
    let v52 = f_mul(v50, c11);
    let v54 = f_mul(c2, v38);
    let v55 = f_sub(v54, s1);
    let v57 = f_mul(v55, c12);
    let v58 = f_mul(c15, v52);
    let v59 = f_add(s0, v58);
    let v60 = f_min(v59, c7);
    let v61 = f_mul(c15, v57);
    let v62 = f_add(s1, v61);
    let v63 = f_sub(v60, c5);
    let v64 = f_mul(v63, c10);
    let v65 = f_exp(v64);
    let v66 = f_mul(c9, v65);
    let v67 = f_add(v32, v66);
    let v68 = f_mul(c0, v60);
    let v69 = f_sub(v67, v68);
    let v70 = f_sub(v69, v62);
    let v71 = f_mul(v70, c11);
    let v72 = f_mul(c2, v60);
    let v73 = f_sub(v72, v62);
    let v74 = f_mul(v73, c12);
    let v75 = f_mul(c15, v71);
    let v76 = f_add(s0, v75);
    let v77 = f_min(v76, c7);
    let v78 = f_mul(c15, v74);
    let v79 = f_add(s1, v78);
    let v80 = f_sub(v77, c5);
    let v81 = f_mul(v80, c10);
    let v82 = f_exp(v81);
    let v83 = f_mul(c9, v82);
    let v84 = f_add(v32, v83);
    let v85 = f_mul(c0, v77);
    let v86 = f_sub(v84, v85);
    let v87 = f_sub(v86, v79);
    let v88 = f_mul(v87, c11);
    let v89 = f_mul(c2, v77);
    let v90 = f_sub(v89, v79);
    let v91 = f_mul(v90, c12);
    let v92 = f_mul(c14, v88);
    let v93 = f_add(s0, v92);
    let v94 = f_min(v93, c7);
    let v95 = f_mul(c14, v91);
    let v96 = f_add(s1, v95);
    let v97 = f_sub(v94, c5);
    let v98 = f_mul(v97, c10);
    let v99 = f_exp(v98);
    let v100 = f_mul(c9, v99);
    let v101 = f_add(v34, v100);
    let v102 = f_mul(c0, v94);
    let v103 = f_sub(v101, v102);
    let v104 = f_sub(v103, v96);
    let v105 = f_mul(v104, c11);
    let v106 = f_mul(c2, v94);
    let v107 = f_sub(v106, v96);
    let v108 = f_mul(v107, c12);
    let v110 = f_add(v71, v88);
    let v112 = f_mul(2.0_f32, v110);
    let v113 = f_add(v52, v112);
    let v114 = f_add(v113, v105);
    let v115 = f_mul(c16, v114);
    let v116 = f_add(s0, v115);
    let v117 = f_mul(v45, c11);
    let v119 = f_max(v117, 1e-20_f32);
    let v122 = f_lt(0.0_f32, c1);
    let v123 = f_sub(v52, v119);
    let v124 = f_abs(v123);
    let v126 = f_mul(0.2_f32, v119);
    let v127 = f_lt(v124, v126);
    let v128 = b_and(v122, v127);
    let v130 = f_sub(v38, c6);
    let v131 = f_mul(v130, c10);
    let v132 = f_exp(v131);
    let v134 = f_sub(1.0_f32, v132);
    let v135 = f_mul(c1, v134);
    let v136 = f_div(1.0_f32, v52);
    let v137 = f_add(1.0_f32, v132);
    let v139 = f_mul(0.5_f32, v137);
    let v140 = f_mul(v139, v123);
    let v141 = f_div(v140, v119);
    let v142 = f_sub(1.0_f32, v141);
    let v143 = f_div(v142, v119);
    let v144 = f_select(v128, v143, v136);
    let v145 = f_mul(v135, v144);
    let v146 = f_le(c6, v116);
    let v147 = f_le(v145, c14);
    let v148 = b_and(v128, v147);
    let v149 = b_or(v146, v148);
    let v150 = f_max(v145, 0.0_f32);
    let v151 = f_min(v150, c14);
    let v152 = f_select(v122, v151, c14);
    let v153 = f_sub(c14, v152);
    let v155 = i_eq(c23, 0_i32);
    let v156 = f_select(v155, v153, 0.0_f32);
    let v157 = f_mul(v152, v57);
    let v158 = f_add(s1, v157);
    let v160 = f_add(v158, c3);
    let v162 = f_sub(c8, c5);
    let v163 = f_mul(v162, c10);
    let v164 = f_exp(v163);
    let v165 = f_mul(c9, v164);
    let v166 = f_add(v34, v165);
    let v167 = f_mul(c0, c8);
    let v168 = f_sub(v166, v167);
    let v169 = f_sub(v168, v160);
    let v170 = f_mul(v169, c11);
    let v171 = f_mul(v156, v170);
    let v172 = f_add(c8, v171);
    let v173 = f_mul(c2, c8);
    let v174 = f_sub(v173, v160);
    let v175 = f_mul(v174, c12);
    let v176 = f_mul(v153, v175);
    let v177 = f_add(v160, v176);
    let v179 = i_add(c23, 1_i32);
    let v180 = i_lt(0_i32, c23);
    let v181 = i_select(v180, v179, 0_i32);
    let v182 = f_add(v74, v91);
    let v183 = f_mul(2.0_f32, v182);
    let v184 = f_add(v57, v183);
    let v185 = f_add(v184, v108);
    let v186 = f_mul(c16, v185);
    let v187 = f_add(s1, v186);
    let v188 = f_select(v149, v172, v116);
    let v189 = f_select(v149, v177, v187);
    let v190 = i_select(v149, v181, s6);
    let v191 = b_or(v149, out);
    let v192 = f_sub(s1, v173);
    let v194 = f_mul(v192, c13);
    let v195 = f_add(v173, v194);
    let v196 = f_select(v36, v188, s0);
    let v197 = f_select(v36, v189, v195);
    let v198 = i_select(v36, v190, s6);
    let v199 = b_select(v36, v191, out);
    let v200 = f_mul(s2, c17);
    let v201 = f_mul(s4, c18);
    (v196, v197, v200, v12, v201, v16, v198, v199)
}

#[inline(always)]
fn update<const PLAIN: bool>(c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: f32, c22: f32, c23: i32, s0: f32, s1: f32, s2: f32, s3: f32, s4: f32, s5: f32, s6: i32, x0: f32, x1: f32, x2: f32, out: bool) -> (f32, f32, f32, f32, f32, f32, i32, bool) {
    let v8 = i_lt(0_i32, s6);
    let v10 = i_sub(s6, 1_i32);
    let v11 = i_select(v8, v10, s6);
    let v14 = f_mul(x0, c21);
    let v15 = f_add(s2, v14);
    let v18 = f_mul(x1, c22);
    let v19 = f_add(s4, v18);
    let v20 = f_flush(s0);
    let v21 = f_flush(s1);
    let v22 = f_flush(v15);
    let v23 = f_flush(s3);
    let v24 = f_flush(v19);
    let v25 = f_flush(s5);
    (v20, v21, v22, v23, v24, v25, v11, out)
}

crate::model::compiled::kernel! {
    "aeif_psc_alpha", 0x280dfb44dfab8c5f, integrate: true,
    constants: (c0: f32, c1: f32, c2: f32, c3: f32, c4: f32, c5: f32, c6: f32, c7: f32, c8: f32, c9: f32, c10: f32, c11: f32, c12: f32, c13: f32, c14: f32, c15: f32, c16: f32, c17: f32, c18: f32, c19: f32, c20: f32, c21: f32, c22: f32, c23: i32),
    exponents: (),
    states: (s0: f32 = 0, s1: f32 = 1, s2: f32 = 2, s3: f32 = 3, s4: f32 = 4, s5: f32 = 5, s6: i32 = 6),
    inputs: (x0, x1, x2),
    output: out: bool = 7
}
